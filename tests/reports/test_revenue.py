"""What revenue is: told from the ledger alone, by day and by what was sold, and compared with as many days before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from app import rollups
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.db import utcnow
from app.extensions import db
from app.payments import stripe_gateway
from app.payments.models import Payment
from app.reports import figures, queries
from app.reports import service as reports
from app.reports.figures import Bar, Unit
from app.reports.periods import Period
from app.reports.queries import Activity, Scope, Takings
from tests import factories
from tests.conftest import tampering

# One posting of each kind, with amounts of which each sum can only be made in one way.
POSTED = {
    "capture.provider_share": 1,
    "capture.commission": 10,
    "capture.owed_back": 100,
    "capture.stripe_fee": 1_000,
    "refund.provider_share": 10_000,
    "refund.commission": 100_000,
    "refund.goodwill": 1_000_000,
    "refund.provider_share.reversed": 10_000_000,
    "refund.commission.reversed": 100_000_000,
    "refund.goodwill.reversed": 1_000_000_000,
    "refund.paid": 10_000_000_000,
    "dispute.fee": 100_000_000_000,
    "dispute.lost.provider_share": 1_000_000_000_000,
    "dispute.lost.commission": 10_000_000_000_000,
    "dispute.fee_returned": 100_000_000_000_000,
}
SUMS = Takings(
    gross_minor=11,
    refunds_minor=1_110_000 - 1_110_000_000,
    chargebacks_minor=11_000_000_000_000,
    commission_minor=10 - 100_000 + 100_000_000 - 10_000_000_000_000,
    fees_minor=1_000 + 100_000_000_000 - 100_000_000_000_000,
)


@pytest.fixture(params=["added up", "still to be added up"])
def posted(app: Flask, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Booking]:
    """A booking nobody paid for, with one entry of each kind: in the sums by day, or behind their mark."""
    monkeypatch.setattr(rollups, "_MARGIN", timedelta(0))
    booking = factories.booking()
    factories.intent_of(booking)
    payment_id = db.session.scalars(select(Payment.id).where(Payment.booking_id == booking.id)).one()
    db.session.rollback()
    if request.param != "added up":
        reports.add_up()
    with tampering(app) as cursor:
        for kind, amount in POSTED.items():
            cursor.execute(
                "INSERT INTO ledger_entries (kind, debit_account, credit_account, amount_minor, currency, source_id,"
                " payment_id, booking_id, provider_id)"
                " VALUES (%s, 'stripe_balance', 'provider_payable', %s, 'USD', %s, %s, %s, %s)",
                (kind, amount, f"planted_{booking.id}", payment_id, booking.id, booking.provider_id),
            )
    if request.param == "added up":
        reports.add_up()
    yield booking
    with tampering(app) as cursor:  # the books of the other tests are in order
        cursor.execute("DELETE FROM ledger_entries WHERE source_id = %s", (f"planted_{booking.id}",))
    reports.rebuild(lambda line: None)


def these_days() -> Period:
    """Yesterday to tomorrow: what a test does is in it though midnight passes meanwhile."""
    today = utcnow().date()
    return Period(today - timedelta(days=1), today + timedelta(days=1))


def of_provider(booking: Booking) -> Takings:
    return queries.total(queries.takings(these_days(), "USD", Scope("provider", str(booking.provider_id))).values())


def test_each_kind_of_posting_counts_as_what_it_means(posted: Booking) -> None:
    found = of_provider(posted)
    assert found[:5] == SUMS[:5]
    assert (found.captures, found.refunds) == (1, 0)
    assert found.returned_minor == SUMS.refunds_minor + SUMS.chargebacks_minor
    assert found.net_minor == 11 - found.returned_minor


def test_types_places_and_providers_each_add_up_to_everything(posted: Booking) -> None:
    period = these_days()
    everything = queries.total(queries.takings(period, "USD").values())
    for dimension in ("type", "place", "provider"):
        assert queries.total(now for now, _ in queries.takings_by(dimension, period, "USD").values()) == everything
    now, _before = queries.takings_by("provider", period, "USD")[str(posted.provider_id)]
    assert now == of_provider(posted)


def test_another_currency_is_another_sum(posted: Booking) -> None:
    assert queries.takings(these_days(), "EUR", Scope("provider", str(posted.provider_id))) == {}


def test_the_period_before_is_kept_apart(posted: Booking) -> None:
    last = these_days().last
    now, before = queries.takings_by("provider", Period(last + timedelta(days=1), last + timedelta(days=3)), "USD")[
        str(posted.provider_id)
    ]
    assert (now, before) == (Takings(), of_provider(posted))


def test_what_happens_is_counted_once_each(app: Flask) -> None:
    period = these_days()

    def so_far() -> tuple[Activity, dict[str, int]]:
        return queries.all_activity(queries.activity(period).values())

    before, failed_before = so_far()
    factories.paid_booking()
    declined = factories.intent_of(factories.booking())
    factories.confirm(declined.id, "pm_card_chargeDeclinedInsufficientFunds")
    bookings.payment_changed(stripe_gateway.retrieve_intent(declined.id))
    after, failed = so_far()
    assert [b - a for a, b in zip(before, after, strict=True)] == [
        *(2, 1, 0, 0, 0, 0),
        *(1, 1),
        after.travellers - before.travellers,
    ]
    assert after.travellers > before.travellers
    assert failed.get("insufficient_funds", 0) == failed_before.get("insufficient_funds", 0) + 1


def test_rates_of_nothing_are_no_rates() -> None:
    assert (Activity().success_rate, Activity().cancellation_rate, Takings().average_minor) == (None, None, None)
    assert Activity(paid=3, failed=1).success_rate == 0.75
    assert Activity(confirmed=4, cancelled_paid=1).cancellation_rate == 0.25
    assert Takings(gross_minor=1_001, captures=2).average_minor == 500


def test_the_period_before_has_as_many_days_and_ends_the_day_before() -> None:
    march = Period(date(2026, 3, 1), date(2026, 3, 31))
    assert (march.days, march.before) == (31, Period(date(2026, 1, 29), date(2026, 2, 28)))


def test_a_period_is_its_whole_months_and_the_days_beside_them() -> None:
    months, days = Period(date(2025, 12, 30), date(2026, 3, 1)).in_months()
    assert months == [date(2026, 1, 1), date(2026, 2, 1)]
    assert days == [date(2025, 12, 30), date(2025, 12, 31), date(2026, 3, 1)]
    assert Period(date(2026, 2, 1), date(2026, 2, 28)).in_months() == ([date(2026, 2, 1)], [])
    assert Period(date(2026, 2, 2), date(2026, 2, 28)).in_months()[0] == []


def test_a_correction_of_a_payment_adds_to_it_and_is_not_another_one(empty_app: Flask) -> None:
    booking = factories.paid_booking()
    before = of_provider(booking)
    with tampering(empty_app) as cursor:
        cursor.execute(
            "INSERT INTO ledger_entries (posted_at, kind, debit_account, credit_account, amount_minor, currency,"
            " source_id, payment_id, booking_id, provider_id)"
            " SELECT posted_at - interval '2 days', 'capture.commission.more', debit_account, credit_account, 70,"
            " currency, source_id, payment_id, booking_id, provider_id"
            " FROM ledger_entries WHERE kind = 'capture.commission'"
        )
    period = Period(these_days().first - timedelta(days=9), these_days().last)
    scope = Scope("provider", str(booking.provider_id))
    after = queries.total(queries.takings(period, "USD", scope).values())
    assert (after.gross_minor, after.commission_minor) == (before.gross_minor + 70, before.commission_minor + 70)
    assert after.captures == before.captures == 1


@pytest.mark.parametrize("is_added_up", [True, False])
def test_months_are_read_as_their_days_come_to(empty_app: Flask, is_added_up: bool) -> None:
    booking = factories.paid_booking()
    with tampering(empty_app) as cursor:
        cursor.execute(
            "INSERT INTO ledger_entries (posted_at, kind, debit_account, credit_account, amount_minor, currency,"
            " source_id, payment_id, booking_id, provider_id)"
            " SELECT timestamptz '2024-03-15 12:00Z' + n * interval '9 days', kind, debit_account, credit_account,"
            " amount_minor + n, currency, source_id || '-' || n, payment_id, booking_id, provider_id"
            " FROM ledger_entries CROSS JOIN generate_series(0, 60) n WHERE kind LIKE 'capture.%'"
        )
    if is_added_up:
        reports.add_up()
    scope = Scope("provider", str(booking.provider_id))
    for first, last in (
        (date(2024, 8, 1), date(2025, 1, 31)),  # whole months, and the part of one before
        (date(2024, 7, 20), date(2024, 11, 3)),
        (date(2024, 9, 10), date(2024, 9, 20)),
    ):
        period = Period(first, last)
        now, before = queries.takings_by("provider", period, "USD")[scope.key]
        assert now == queries.total(queries.takings(period, "USD", scope).values())
        assert before == queries.total(queries.takings(period.before, "USD", scope).values())
        assert now.captures > 0


@pytest.mark.parametrize(
    ("step", "firsts"),
    [
        ("day", [date(2026, 2, 25) + timedelta(days=n) for n in range(7)]),
        ("week", [date(2026, 2, 25), date(2026, 3, 2)]),
        ("month", [date(2026, 2, 25), date(2026, 3, 1)]),
    ],
)
def test_a_period_is_cut_into_all_of_its_days(step: str, firsts: list[date]) -> None:
    period = Period(date(2026, 2, 25), date(2026, 3, 3))
    pieces = period.cut(step)
    assert [piece.first for piece in pieces] == firsts
    assert pieces[-1].last == period.last
    assert sum(piece.days for piece in pieces) == period.days


def test_a_figure_is_plain_json_with_amounts_where_they_belong() -> None:
    bars = [Bar("2026-11-21", "Sat", 12_345, 0, "/there"), Bar("2026-11-22", "Sun", 0, 5)]
    figure = figures.over_time(bars, Unit("USD"))
    now, *_, before = figure["data"]
    assert (now["x"], now["y"], now["customdata"]) == (("2026-11-21", "2026-11-22"), [123.45, 0], ("/there", None))
    assert before["y"] == [0, 0.05]
    assert now["hovertemplate"] == "$%{y:,.2f}<extra></extra>"
    assert figures.over_time(bars, Unit("JPY"))["data"][0]["y"] == [12_345, 0]
    assert figures.over_time(bars, Unit("JPY"))["data"][0]["hovertemplate"].startswith("%{y:,.0f}\u00a0JPY")
    assert figures.ranked(bars, Unit())["data"][0]["x"] == [12_345, 0]


def test_an_axis_of_nothing_is_not_cut_into_thousandths() -> None:
    assert figures.over_time([Bar("2026-11-22", "Sun", 0, 0)], Unit("USD"))["layout"]["yaxis"]["tickvals"] == [0]
    assert figures.ranked([Bar("Oslo", "Oslo", 0, 0)], Unit("USD"))["layout"]["xaxis"]["tickvals"] == [0]


def test_what_is_counted_is_marked_by_whole_numbers_alone() -> None:
    few, many = [Bar("2026-11-22", "Sun", 1, 0)], [Bar("2026-11-22", "Sun", 90, 0)]
    assert figures.over_time(few, Unit())["layout"]["yaxis"]["dtick"] == 1
    assert figures.ranked(few, Unit())["layout"]["xaxis"]["dtick"] == 1
    for figure in (figures.over_time(many, Unit()), figures.over_time(few, Unit("USD"))):
        assert "dtick" not in figure["layout"]["yaxis"]
