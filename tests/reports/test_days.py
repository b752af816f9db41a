"""The sums by day: equal to what their rows come to, to the cent, whatever is written while they are made."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select, text, update

from app import rollups
from app.bookings import service as bookings
from app.db import transaction, utcnow
from app.extensions import db
from app.payments import ledger, stripe_gateway
from app.payments.ledger_days import LedgerDay
from app.reports import invariants
from app.reports import service as reports
from app.reports.findings import at_leisure
from app.reports.revenue_days import MEASURES, Measure, RevenueDay
from app.rollups import BEGINNING, Rollup
from tests import concurrency, factories
from tests.conftest import tampering

BALANCES = text(
    """
    SELECT a.code, e.currency,
           sum(e.amount_minor) FILTER (WHERE e.debit_account = a.code),
           sum(e.amount_minor) FILTER (WHERE e.credit_account = a.code)
    FROM ledger_accounts a JOIN ledger_entries e ON a.code IN (e.debit_account, e.credit_account)
    GROUP BY 1, 2 ORDER BY 2, 1
    """
)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed is settled: the clocks of a test are one."""
    monkeypatch.setattr(rollups, "_MARGIN", timedelta(0))


def settle() -> None:
    db.session.rollback()  # or what the test has read holds the mark back
    reports.add_up()


def mark(name: str = "ledger_days") -> object:
    db.session.rollback()
    found = db.session.scalars(select(Rollup.settled_until).where(Rollup.name == name)).one()
    db.session.rollback()
    return found


def broken() -> list[str]:
    lines = []
    for sums in reports.SUMS:
        with at_leisure():
            lines += db.session.execute(text(sums.contradictions)).scalars().all()
    return lines


def gross_kept(provider_id: int) -> int:
    db.session.rollback()
    of = RevenueDay.dimension == "provider", RevenueDay.key == str(provider_id)
    return db.session.scalar(select(func.coalesce(func.sum(RevenueDay.gross_minor), 0)).where(*of)) or 0


def plain_balances() -> list[tuple[str, str, int, int]]:
    db.session.rollback()
    return [(code, currency, debit or 0, credit or 0) for code, currency, debit, credit in db.session.execute(BALANCES)]


def balances() -> list[tuple[str, str, int, int]]:
    db.session.rollback()
    return [(b.code, b.currency, b.debit_minor, b.credit_minor) for b in ledger.trial_balance()]


def test_what_is_settled_is_added_up_once(app: Flask, at_once: None) -> None:
    booking = factories.paid_booking()
    settle()
    assert gross_kept(booking.provider_id) == booking.total_minor
    settle()
    assert gross_kept(booking.provider_id) == booking.total_minor
    assert broken() == []


def test_what_came_after_the_mark_is_read_from_the_rows(app: Flask, at_once: None) -> None:
    settle()
    booking = factories.paid_booking()
    assert gross_kept(booking.provider_id) == 0
    assert balances() == plain_balances()
    settle()
    assert balances() == plain_balances()


def test_a_transaction_that_is_still_open_holds_the_mark_back(app: Flask, at_once: None) -> None:
    """What it writes has the time it began at, which the mark may not have passed."""
    settle()
    settled = mark()
    booking = factories.booking()
    intent = factories.intent_of(booking)
    factories.confirm(intent.id)
    paid = stripe_gateway.retrieve_intent(intent.id)
    with transaction():
        began = db.session.scalars(select(func.now())).one()
        assert concurrency.at_once(app, reports.add_up) == [None]
        bookings.payment_changed(paid)
    assert settled <= mark() <= began
    settle()
    assert mark() > began
    assert gross_kept(booking.provider_id) == booking.total_minor
    assert broken() == []


def test_the_mark_never_goes_back(app: Flask, at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    booking = factories.paid_booking()
    settle()
    settled = mark()
    monkeypatch.setattr(rollups, "_MARGIN", timedelta(hours=1))
    settle()
    assert mark() == settled
    assert gross_kept(booking.provider_id) == booking.total_minor
    assert broken() == []


def test_two_at_once_add_nothing_twice(app: Flask, at_once: None) -> None:
    paid = [factories.paid_booking() for _ in range(3)]
    db.session.rollback()
    concurrency.at_once(app, *[reports.add_up] * 4)
    settle()
    assert [gross_kept(booking.provider_id) for booking in paid] == [b.total_minor for b in paid]
    assert broken() == []


def test_made_anew_they_are_what_they_were(app: Flask, at_once: None) -> None:
    booking = factories.paid_booking()
    settle()
    before = balances()
    with transaction():
        db.session.execute(update(RevenueDay).values(gross_minor=RevenueDay.gross_minor + 1))
    told: list[str] = []
    reports.rebuild(told.append)
    assert balances() == before
    assert gross_kept(booking.provider_id) == booking.total_minor
    assert broken() == []
    assert told == [f"Adding up {sums.name}" for sums in reports.SUMS]


def test_years_are_added_up_a_month_at_a_time(empty_app: Flask, at_once: None) -> None:
    factories.paid_booking()
    with tampering(empty_app) as cursor:
        cursor.execute(
            "INSERT INTO ledger_entries (posted_at, kind, debit_account, credit_account, amount_minor, currency,"
            " source_id, payment_id, booking_id, provider_id)"
            " SELECT now() - n * interval '1 day', kind, debit_account, credit_account, amount_minor, currency,"
            " source_id || '-' || n, payment_id, booking_id, provider_id"
            " FROM ledger_entries CROSS JOIN generate_series(1, 400, 7) n"
        )
    settle()
    assert mark() > utcnow() - timedelta(hours=1)
    assert db.session.scalar(select(func.count(LedgerDay.day.distinct()))) == 59
    assert broken() == []


def test_with_nothing_to_add_up_the_mark_moves_all_the_same(empty_app: Flask, at_once: None) -> None:
    assert mark() == BEGINNING
    settle()
    assert mark() != BEGINNING


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE ledger_days SET debit_minor = debit_minor + 1 WHERE account = 'stripe_balance'",
        "DELETE FROM ledger_days WHERE account = 'stripe_fees'",
        "UPDATE revenue_days SET commission_minor = commission_minor - 1 WHERE dimension = 'all'",
        "UPDATE revenue_days SET day = day - 1 WHERE dimension = 'provider'",
        "UPDATE revenue_months SET refunds_minor = refunds_minor + 1 WHERE dimension = 'provider'",
        "UPDATE activity_days SET times = times + 1 WHERE action = 'booking.confirm'",
        "DELETE FROM activity_days WHERE action = 'booking.hold'",
        "UPDATE rollups SET settled_until = settled_until + interval '1 hour' WHERE name = 'ledger_days'",
    ],
)
def test_the_invariants_find_sums_that_are_wrong(empty_app: Flask, at_once: None, harm: str) -> None:
    factories.paid_booking()
    settle()
    assert [finding.wrong for finding in invariants.check_database() if "sums of" in finding.statement] == [[]] * len(
        reports.SUMS
    )
    if "rollups" in harm:  # what comes in behind a mark that ran ahead is in nobody's sums
        db.session.rollback()
        with transaction():
            db.session.execute(text(harm))
        factories.paid_booking()
    else:
        with transaction():
            db.session.execute(text(harm))
    (wrong,) = [
        finding.wrong for finding in invariants.check_database() if "sums of" in finding.statement and finding.wrong
    ]
    assert harm.split()[1 if harm.startswith("UPDATE") else 2] in wrong[0] or "rollups" in harm


def test_every_posting_says_what_it_means_for_revenue() -> None:
    assert set(ledger.POSTINGS) <= set(MEASURES)


def test_commission_and_fees_are_what_their_accounts_say() -> None:
    """Told from the accounts of each kind, and not from the table that the sums are built by. What is of no payment is
    of no sale.
    """
    for kind, (debit, credit) in ledger.POSTINGS.items():
        if kind in ledger.OF_NO_PAYMENT:
            assert MEASURES[kind] == Measure(), kind
            continue
        measure = MEASURES[kind]
        assert measure.commission == (credit == ledger.COMMISSION_REVENUE) - (debit == ledger.COMMISSION_REVENUE), kind
        assert measure.fees == (debit == ledger.STRIPE_FEES) - (credit == ledger.STRIPE_FEES), kind
