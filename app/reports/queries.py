"""What the revenue page and home read: the sums by day, and what came after their mark, in one statement each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from app.db import read
from app.reports.activity_days import ACTIVITY_DAYS
from app.reports.periods import Period
from app.reports.revenue_days import REVENUE_DAYS, REVENUE_MONTHS


class Takings(NamedTuple):
    """Sums in minor units of one currency, and how many payments and refunds they are of."""

    gross_minor: int = 0
    refunds_minor: int = 0
    chargebacks_minor: int = 0
    commission_minor: int = 0
    fees_minor: int = 0
    captures: int = 0
    refunds: int = 0

    @property
    def returned_minor(self) -> int:
        """What went back to travellers, by us or by their banks."""
        return self.refunds_minor + self.chargebacks_minor

    @property
    def net_minor(self) -> int:
        """What is left of the gross for the providers and us."""
        return self.gross_minor - self.returned_minor

    @property
    def average_minor(self) -> int | None:
        """What one payment comes to; None without any."""
        return round(self.gross_minor / self.captures) if self.captures else None


class Activity(NamedTuple):
    """What happened in a period."""

    booked: int = 0
    confirmed: int = 0
    expired: int = 0
    cancelled_unpaid: int = 0
    cancelled_paid: int = 0
    completed: int = 0
    paid: int = 0
    failed: int = 0
    travellers: int = 0

    @property
    def success_rate(self) -> float | None:
        """Of the payments that were tried, the part that succeeded; None when nobody tried."""
        return self.paid / (self.paid + self.failed) if self.paid + self.failed else None

    @property
    def cancellation_rate(self) -> float | None:
        """Paid bookings that were cancelled, for each that was confirmed; None when none was."""
        return self.cancelled_paid / self.confirmed if self.confirmed else None


@dataclass(frozen=True)
class Scope:
    """What revenue is of: everything, or one type, place or provider."""

    dimension: str = "all"
    key: str = ""


EVERYTHING = Scope()

_AMOUNTS = ", ".join(f"CAST(coalesce(sum({name}), 0) AS bigint) AS {name}" for name in Takings._fields)
_OF_PERIOD = "currency = %(currency)s AND day BETWEEN %(first)s AND %(last)s"

_BY_DAY = f"""
SELECT day, {_AMOUNTS} FROM ({REVENUE_DAYS.all}) AS d
WHERE dimension = %(dimension)s AND key = %(key)s AND {_OF_PERIOD}
GROUP BY day
"""  # noqa: S608  # nosec B608 - our own tables

_NAMES = ", ".join(Takings._fields)
# Whole months by their sums, and only the days beside them by theirs: there are as many rows as providers a day.
_BY_KEY = f"""
SELECT key, day >= %(since)s AS is_now, {_AMOUNTS} FROM (
    SELECT dimension, currency, key, day, {_NAMES} FROM ({REVENUE_DAYS.all}) AS of_days WHERE day = ANY(%(days)s)
    UNION ALL
    SELECT dimension, currency, key, month, {_NAMES} FROM ({REVENUE_MONTHS.all}) AS of_months
    WHERE month = ANY(%(months)s)) AS d
WHERE dimension = %(dimension)s AND currency = %(currency)s
GROUP BY 1, 2
"""  # noqa: S608  # nosec B608 - our own tables

_CURRENCIES = f"""
SELECT currency, sum(captures) AS captures FROM ({REVENUE_DAYS.all}) AS d
WHERE dimension = 'all' AND day BETWEEN %(first)s AND %(last)s GROUP BY 1 ORDER BY 2 DESC, 1
"""  # noqa: S608  # nosec B608 - our own tables

_ACTIVITY = f"""
SELECT action, day, detail, CAST(sum(times) AS bigint) AS times FROM ({ACTIVITY_DAYS.all}) AS d
WHERE day BETWEEN %(first)s AND %(last)s GROUP BY 1, 2, 3
"""  # noqa: S608  # nosec B608 - our own tables


def currencies(period: Period) -> list[str]:
    """The currencies that money moved in, the most common first."""
    return [row.currency for row in read(_CURRENCIES, {"first": period.first, "last": period.last})]


def takings(period: Period, currency: str, scope: Scope = EVERYTHING) -> dict[date, Takings]:
    """Each day's takings; a day without any is left out."""
    found = read(
        _BY_DAY,
        {
            "dimension": scope.dimension,
            "key": scope.key,
            "currency": currency,
            "first": period.first,
            "last": period.last,
        },
    )
    return {row.day: Takings(*row[1:]) for row in found}


def takings_by(dimension: str, period: Period, currency: str) -> dict[str, tuple[Takings, Takings]]:
    """The takings of each type, place or provider (its id): in the period and in the one before."""
    months, days = (now + before for now, before in zip(period.in_months(), period.before.in_months(), strict=True))
    asked = {"dimension": dimension, "currency": currency, "since": period.first, "months": months, "days": days}
    found = read(_BY_KEY, asked)
    by_key: dict[str, tuple[Takings, Takings]] = {}
    for row in found:
        now, before = by_key.get(row.key, (Takings(), Takings()))
        sums = Takings(*row[2:])
        by_key[row.key] = (sums, before) if row.is_now else (now, sums)
    return by_key


def total(days: Iterable[Takings]) -> Takings:
    """What several days come to."""
    found = list(days)
    return Takings(*(sum(column) for column in zip(*found, strict=True))) if found else Takings()


def activity(period: Period) -> dict[date, tuple[Activity, dict[str, int]]]:
    """What happened on each day, and why payments failed (Stripe's code, how often). Days without any are left out."""
    found = read(_ACTIVITY, {"first": period.first, "last": period.last})
    counts: dict[date, dict[str, int]] = {}
    failures: dict[date, dict[str, int]] = {}
    for row in found:
        of_day = counts.setdefault(row.day, {})
        field = _field(row.action, row.detail)
        of_day[field] = of_day.get(field, 0) + row.times
        if field == "failed":
            failures.setdefault(row.day, {})[row.detail] = row.times
    return {day: (Activity(**of_day), failures.get(day, {})) for day, of_day in counts.items()}


_FIELDS = {
    "booking.hold": "booked",
    "booking.confirm": "confirmed",
    "booking.expire": "expired",
    "booking.complete": "completed",
    "payment.captured": "paid",
    "payment.failed": "failed",
    "user.register": "travellers",
}


def _field(action: str, detail: str) -> str:
    if action == "booking.cancel":
        return "cancelled_paid" if detail.startswith("CONFIRMED ") else "cancelled_unpaid"
    return _FIELDS[action]


def all_activity(days: Iterable[tuple[Activity, dict[str, int]]]) -> tuple[Activity, dict[str, int]]:
    """What several days come to."""
    found = list(days)
    if not found:
        return Activity(), {}
    failures: dict[str, int] = {}
    for _, reasons in found:
        for reason, times in reasons.items():
            failures[reason] = failures.get(reason, 0) + times
    counted = Activity(*(sum(column) for column in zip(*(counts for counts, _ in found), strict=True)))
    return counted, failures
