"""What a cancellation policy gives back: to the cent, by whole days of the package's own time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalog.policies import POLICIES, Quote, quote, terms
from app.catalog.time_zones import all_zones

policies = st.sampled_from(sorted(POLICIES))
zones = st.sampled_from(all_zones())
moments = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  (bounds have none)
prices = st.integers(1, 99_999_999)


def asked(policy: str, starts_on: date, zone: str, at: datetime, price: int = 20_000) -> Quote:
    return quote(terms(policy, POLICIES[policy]), price, starts_on=starts_on, time_zone=zone, at=at)


@pytest.mark.parametrize(
    ("policy", "days_before", "percent"),
    [
        ("flexible", 1, 100),
        ("flexible", 0, 0),
        ("moderate", 5, 100),
        ("moderate", 4, 50),
        ("moderate", 1, 50),
        ("moderate", 0, 0),
        ("strict", 14, 100),
        ("strict", 13, 50),
        ("strict", 7, 50),
        ("strict", 6, 0),
        ("strict", -1, 0),
        ("flexible", -400, 0),
    ],
)
def test_each_tier_counts_from_its_day_on(policy: str, days_before: int, percent: int) -> None:
    noon = datetime(2027, 6, 18, 12, tzinfo=ZoneInfo("Europe/Oslo")) - timedelta(days=days_before)
    quoted = asked(policy, date(2027, 6, 18), "Europe/Oslo", noon)
    assert (quoted.percent, quoted.days_before, quoted.refund_minor) == (percent, days_before, 200 * percent)


@pytest.mark.parametrize(
    ("zone", "starts_on", "last_moment"),
    [
        ("Pacific/Kiritimati", date(2027, 6, 18), "2027-06-17T09:59:59+00:00"),
        ("America/Los_Angeles", date(2027, 6, 18), "2027-06-18T06:59:59+00:00"),
        ("Asia/Kathmandu", date(2027, 6, 18), "2027-06-17T18:14:59+00:00"),
        # The last day that counts has 23 hours, and 25.
        ("Europe/Oslo", date(2027, 3, 29), "2027-03-28T21:59:59+00:00"),
        ("Europe/Oslo", date(2027, 11, 1), "2027-10-31T22:59:59+00:00"),
        # The day of the start begins at one o'clock, as its midnight is skipped.
        ("Asia/Beirut", date(2027, 3, 28), "2027-03-27T21:59:59+00:00"),
        # Its midnight comes twice, and the first counts.
        ("America/Havana", date(2027, 11, 7), "2027-11-07T03:59:59+00:00"),
    ],
)
def test_the_day_ends_at_midnight_where_the_package_is(zone: str, starts_on: date, last_moment: str) -> None:
    last = datetime.fromisoformat(last_moment)
    assert asked("flexible", starts_on, zone, last).percent == 100
    assert asked("flexible", starts_on, zone, last).until == last + timedelta(seconds=1)
    assert asked("flexible", starts_on, zone, last + timedelta(seconds=1)).percent == 0


@given(policies, st.integers(-30, 30), zones, moments, prices)
def test_both_parts_make_the_price_and_it_never_becomes_more(
    policy: str, days: int, zone: str, at: datetime, price: int
) -> None:
    starts_on = at.date() + timedelta(days=days)
    quoted = asked(policy, starts_on, zone, at, price)
    assert quoted.refund_minor + quoted.kept_minor == price
    assert quoted.refund_minor >= 0 <= quoted.kept_minor
    assert abs(100 * quoted.refund_minor - price * quoted.percent) <= 50
    later = asked(policy, starts_on, zone, at + timedelta(hours=7), price)
    assert later.refund_minor <= quoted.refund_minor


@given(policies, st.integers(-2, 30), zones, moments)
def test_it_becomes_less_exactly_when_it_was_said(policy: str, days: int, zone: str, at: datetime) -> None:
    starts_on = at.date() + timedelta(days=days)
    quoted = asked(policy, starts_on, zone, at)
    if quoted.until is None:
        assert quoted.percent == quoted.next_percent == 0
        return
    assert quoted.until > at
    assert asked(policy, starts_on, zone, quoted.until - timedelta(microseconds=1)).percent == quoted.percent
    assert asked(policy, starts_on, zone, quoted.until).percent == quoted.next_percent < quoted.percent


def test_half_a_cent_goes_to_the_guest() -> None:
    quoted = asked("moderate", date(2027, 6, 18), "Europe/Oslo", datetime(2027, 6, 15, 12, tzinfo=UTC), 333)
    assert (quoted.refund_minor, quoted.kept_minor) == (167, 166)
