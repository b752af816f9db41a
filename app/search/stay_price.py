"""What a stay costs where it can be had, as SQL over `stock_months`: the same rules as booking one unit of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from app.bookings.stay import MAX_AHEAD
from app.db import utcnow
from app.money import MAX_CHARGE_MINOR
from app.search.engine import Question


@dataclass(frozen=True)
class StayPrice:
    """Parts of a SELECT from `search_documents d` with its `live_type`: with `joins` and under `condition`, `price` is
    minor units, or null where the stay can't be had; `departure` the day on which a tour costs `page.cost_minor`.
    """

    joins: str
    condition: str
    price: str
    departure: str
    parameters: dict[str, Any]


def of(question: Question) -> StayPrice | None:
    """What the asked days cost; None when no days were asked for.

    A hotel's stay is the sum of its nights, each of them free, and no shorter than the check-in's minimum. A tour is
    its cheapest free departure, of equal ones the first. Neither is booked in a past of its own time zone, nor too far
    ahead.
    """
    days = question.days
    if not days:
        return None
    months = sorted({day.replace(day=1) for day in days})
    joins = [_months(number, optional=len(months) > 1) for number in range(len(months))]
    parameters: dict[str, Any] = {f"month_{number}": month for number, month in enumerate(months)}
    parameters["max_charge"] = MAX_CHARGE_MINOR
    nights = {day: f"m{months.index(day.replace(day=1))}.prices[{day.day}]" for day in days}
    departures, condition = nights, "true"
    if _is_near_an_edge(days):
        joins.append("JOIN packages p ON p.id = d.package_id CROSS JOIN LATERAL")
        joins.append("(SELECT CAST(timezone(p.time_zone, now()) AS date) AS today) AS there")
        departures = {day: f"CASE WHEN {_can_begin(day)} THEN {price} END" for day, price in nights.items()}
        condition = f"(d.live_type = 'tour' OR {_can_begin(days[0])})"
    cheapest = f"least({', '.join(departures.values())})"
    if question.departure is not None:
        condition, price = "d.live_type = 'tour'", cheapest
    else:
        price = f"CASE d.live_type WHEN 'hotel' THEN {' + '.join(nights.values())} ELSE {cheapest} END"
        condition += f" AND (d.live_type = 'tour' OR {_long_enough(days[0])})"
        parameters["nights"] = len(days)
    cases = " ".join(f"WHEN {price} = page.cost_minor THEN {_literal(day)}" for day, price in departures.items())
    departure = f"CASE WHEN page.type = 'tour' THEN CASE {cases} END END"
    return StayPrice(" ".join(joins), condition, price, departure, parameters)


def _months(number: int, *, optional: bool) -> str:
    # A tour may have departures in only one of several months; what has none in any has no price.
    kind = "LEFT JOIN" if optional else "JOIN"
    alias = f"m{number}"
    return f"{kind} stock_months {alias} ON {alias}.package_id = d.package_id AND {alias}.month = :month_{number}"


def _long_enough(check_in: date) -> str:
    # A minimum of the day's own counts; else the package's, and those with a longer one are few.
    longer = "SELECT id FROM packages WHERE min_nights > :nights"
    return f"coalesce(m0.min_nights[{check_in.day}] <= :nights, d.package_id NOT IN ({longer}))"


def _is_near_an_edge(days: Sequence[date]) -> bool:
    """Whether it depends on a package's time zone if one of these is past, or too far ahead."""
    today = utcnow().date()
    return days[0] <= today or days[-1] >= today + MAX_AHEAD - timedelta(days=1)


def _can_begin(day: date) -> str:
    return f"{_literal(day)} BETWEEN there.today AND there.today + {MAX_AHEAD.days}"


def _literal(day: date) -> str:
    return f"DATE '{day.isoformat()}'"
