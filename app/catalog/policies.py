"""Cancellation policies: what part of the price a guest gets back, by how many days before the start they cancel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from app.money import share

# (at least so many days before the start, per cent back), most days first.
Tiers = Sequence[tuple[int, int]]

# What there is from the beginning; admins change these and make others.
POLICIES: dict[str, Tiers] = {
    "flexible": ((1, 100), (0, 0)),
    "moderate": ((5, 100), (1, 50), (0, 0)),
    "strict": ((14, 100), (7, 50), (0, 0)),
}
# What a package has that says nothing else.
USUAL = "moderate"

# The policy that the package `p` has now, as two columns of a read: what `terms` takes.
POLICY = """p.cancellation_policy AS policy, ARRAY(
    SELECT ARRAY[t.days_before, t.refund_percent] FROM cancellation_policies c
    JOIN cancellation_policy_tiers t ON t.policy_id = c.id AND t.version = c.version
    WHERE c.code = p.cancellation_policy ORDER BY t.days_before DESC) AS tiers"""


def terms(code: str, tiers: Tiers) -> dict[str, Any]:
    """A policy as it is kept with a booking, so that a later change of the policy doesn't touch what was sold."""
    return {
        "name": code,
        "tiers": [{"daysBefore": days, "refundPercent": percent} for days, percent in tiers],
    }


def in_words(kept: Mapping[str, Any]) -> str:
    """What a guest who cancels gets back by these terms, and until when."""
    tiers = [(tier["daysBefore"], tier["refundPercent"]) for tier in kept["tiers"] if tier["refundPercent"]]
    if not tiers:
        return "nothing back"
    return ", ".join(f"{percent} % {_until(days)}" for days, percent in tiers)


def policy_in_words(kept: Mapping[str, Any]) -> str:
    """The same behind the policy's name."""
    return f"{kept['name'].replace('-', ' ').capitalize()}: {in_words(kept)}"


def _until(days: int) -> str:
    if days == 0:
        return "until the day itself"
    return f"until {days} {'day' if days == 1 else 'days'} before"


@dataclass(frozen=True)
class Quote:
    """What a policy gives back of a price at one moment; amounts in minor units, adding up to the price.

    `today` is the day where the package is, `days_before` how many days it is before the start. From `until` on it is
    only `next_percent`; None when it doesn't become less.
    """

    percent: int
    refund_minor: int
    kept_minor: int
    today: date
    days_before: int
    until: datetime | None
    next_percent: int


def quote(kept: Mapping[str, Any], price_minor: int, *, starts_on: date, time_zone: str, at: datetime) -> Quote:
    """What the `terms` kept with a booking give back of its price, cancelled `at` that moment.

    Whole days are counted, from midnight to midnight where the package is; half a cent goes to the guest. After the
    first day nothing comes back.
    """
    zone = ZoneInfo(time_zone)
    today = at.astimezone(zone).date()
    days_before = (starts_on - today).days
    # However few days are left, something is said about it.
    tiers = [*((tier["daysBefore"], tier["refundPercent"]) for tier in kept["tiers"]), (min(days_before, -1), 0)]
    percent = next(percent for days, percent in tiers if days_before >= days)
    same = [days for days, refund in tiers if days <= days_before and refund >= percent]
    less = [refund for days, refund in tiers if days <= days_before and refund < percent]
    refund_minor = share(price_minor, percent * 100)
    return Quote(
        percent=percent,
        refund_minor=refund_minor,
        kept_minor=price_minor - refund_minor,
        today=today,
        days_before=days_before,
        until=_first_moment(starts_on - timedelta(days=same[-1] - 1), zone) if less else None,
        next_percent=less[0] if less else percent,
    )


def _first_moment(day: date, zone: ZoneInfo) -> datetime:
    # Where the clocks go forward at midnight, that time isn't there; read as before the change, it is the same moment.
    return datetime.combine(day, time(), zone).astimezone(UTC)
