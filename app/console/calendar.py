"""A month of a package's days as a grid: price, what is left, what is closed, and days to start a change from."""

from __future__ import annotations

from calendar import Calendar, day_name
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import select

from app.catalog.models import Availability, Package
from app.catalog.packages import today_at
from app.errors import Invalid
from app.extensions import db
from app.money import Money

_FIRST_YEAR, _LAST_YEAR = 2000, 2100


@dataclass(frozen=True)
class Day:
    """One cell of the grid; `state` is past, open, few, sold-out, closed or none (not on the calendar)."""

    day: date
    in_month: bool
    is_today: bool
    is_chosen: bool
    state: str
    words: str
    price: dict[str, Any] | None
    sold: str | None
    min_nights: int | None
    href: str | None


def month_of(value: str | None, package: Package) -> date:
    """The first of the month that an address names, such as 2026-12; this month when it names none. Raises Invalid."""
    if not value:
        return today_at(package).replace(day=1)
    try:
        month = date.fromisoformat(f"{value}-01")
    except ValueError:
        raise Invalid.field("month", "A month is written as 2026-12.") from None
    if not _FIRST_YEAR <= month.year <= _LAST_YEAR:
        raise Invalid.field("month", f"The calendar shows the years {_FIRST_YEAR} to {_LAST_YEAR}.")
    return month


def grid(package: Package, month: date, chosen: tuple[date | None, date | None], *, may_choose: bool) -> dict[str, Any]:
    """The month's weeks, Monday first, and the way to the months around it.

    `chosen` is the first and last day picked so far: a day's link picks the first, then the last.
    """
    weeks = Calendar().monthdatescalendar(month.year, month.month)
    rows = db.session.scalars(
        select(Availability).where(
            Availability.package_id == package.id, Availability.day.between(weeks[0][0], weeks[-1][-1])
        )
    )
    found, today = {row.day: row for row in rows}, today_at(package)
    return {
        "title": f"{month:%B %Y}",
        "weekdays": list(day_name),
        "weeks": [
            [_cell(package, found.get(day), day, month, today, chosen, may_choose) for day in week] for week in weeks
        ],
        "before": _href((month - timedelta(days=1)).replace(day=1), chosen),
        "after": _href((month + timedelta(days=32)).replace(day=1), chosen),
        "this": _href(today.replace(day=1), chosen) if month != today.replace(day=1) else None,
    }


def _cell(
    package: Package,
    row: Availability | None,
    day: date,
    month: date,
    today: date,
    chosen: tuple[date | None, date | None],
    may_choose: bool,
) -> Day:
    first, last = chosen
    state, words = _state(row, package)
    return Day(
        day=day,
        in_month=day.month == month.month,
        is_today=day == today,
        is_chosen=first is not None and first <= day <= (last or first),
        state="past" if day < today else state,
        words=words,
        price=Money(row.price_minor, package.currency).json() if row else None,
        sold=_sold(row) if row else None,
        min_nights=row.min_nights if row else None,
        href=_href(month, _next_choice(chosen, day)) if may_choose and day >= today else None,
    )


def _state(row: Availability | None, package: Package) -> tuple[str, str]:
    if row is None:
        return "none", "No departure" if package.type == "tour" else "Not offered"
    left = row.capacity - row.held - row.booked
    if row.closed:
        return "closed", "Closed"
    if left == 0:
        return "sold-out", "Sold out" if row.held + row.booked else "No units"
    return "open", f"{left:,} of {row.capacity:,} left"


def _sold(row: Availability) -> str | None:
    said = [f"{count:,} {word}" for count, word in ((row.booked, "booked"), (row.held, "held")) if count]
    return ", ".join(said) or None


def _next_choice(chosen: tuple[date | None, date | None], day: date) -> tuple[date, date | None]:
    first, last = chosen
    return (first, day) if first is not None and last is None and day >= first else (day, None)


def _href(month: date, chosen: tuple[date | None, date | None]) -> str:
    picked = {name: day.isoformat() for name, day in zip(("first", "last"), chosen, strict=True) if day}
    return "?" + urlencode({"month": f"{month:%Y-%m}", **picked}) + "#calendar"
