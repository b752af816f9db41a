"""What Stripe does with our balance by itself: payouts and its own fees are booked when their day is compared."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from app.db import transaction, utcnow
from app.extensions import db
from app.payments import ledger, ledger_checks, stripe_gateway
from app.payments.models import LedgerEntry
from app.payments.stripe_objects import BalanceTransaction
from app.reports import own_movements, queries, stripe_balance
from app.reports.movements import booked_as
from app.reports.periods import Period
from tests import factories
from tests.reports.days import a_day, at_stripe, differences, noon, paid, paid_out, posted, reconciled, trail

pytestmark = pytest.mark.usefixtures("app")


def entries(source_id: str) -> list[LedgerEntry]:
    db.session.rollback()
    return list(db.session.scalars(select(LedgerEntry).where(LedgerEntry.source_id == source_id)))


def wrong_at_stripe(source_id: str) -> list[str]:
    return [line for line in stripe_balance.check().wrong if source_id in line]


def test_a_day_with_a_payout_agrees_and_the_bank_has_the_money() -> None:
    day = a_day()
    one, payout = paid(day).told(), paid_out(day)
    row = reconciled(day)
    assert (row.status, row.matched, row.differing) == ("DONE", 2, 0)
    assert differences(day) == []
    (line,) = [line for line in row.sums if line["booked_as"] == "payout.sent"]
    assert (line["there_minor"], line["here_minor"], line["movements"]) == (-3_000, -3_000, 1)
    (entry,) = entries(payout)
    assert (entry.debit_account, entry.credit_account, entry.amount_minor) == ("bank", "stripe_balance", 3_000)
    assert (entry.payment_id, entry.booking_id, entry.provider_id) == (None, None, None)
    assert trail(entry) == ["ledger.book"]
    assert ledger.sides_of(one.payment_id).provider_minor == 17_000
    assert wrong_at_stripe(payout) == []


def test_a_payout_that_comes_back_on_another_day_is_taken_back_from_the_bank() -> None:
    day = a_day()
    later = day + timedelta(days=1)
    payout = paid_out(day)
    at_stripe(later, f"payouts/{payout}/settle", outcome="failed")
    assert [reconciled(one).differing for one in (day, later)] == [0, 0]
    assert posted(payout) == {"payout.sent": 3_000, "payout.returned": 3_000}
    assert wrong_at_stripe(payout) == []


def test_fees_of_no_payment_are_each_booked_though_they_are_alike() -> None:
    day = a_day()
    fees = [at_stripe(day, "fees", amount=1_500, description="Dispute countered")["id"] for _ in range(2)]
    assert reconciled(day).differing == 0
    assert [posted(fee) for fee in fees] == [{"account.fee": 1_500}] * 2
    assert [wrong_at_stripe(fee) for fee in fees] == [[], []]


def test_fees_that_stripe_gives_the_same_source_are_each_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    day = a_day()
    fees = [
        BalanceTransaction(f"txn_{day}_{n}", "stripe_fee", f"du_{day}", -1_500, 0, "USD", noon(day)) for n in range(2)
    ]
    monkeypatch.setattr(stripe_gateway, "balance_transactions_after", lambda *_, **__: (fees, False))
    assert reconciled(day).differing == 0
    assert [posted(fee.id) for fee in fees] == [{"account.fee": 1_500}] * 2


def test_a_day_that_is_compared_again_books_nothing_twice() -> None:
    day = a_day()
    payout = paid_out(day)
    assert [reconciled(day).differing for _ in range(2)] == [0, 0]
    (entry,) = entries(payout)
    assert trail(entry) == ["ledger.book"]


def test_one_of_stripes_types_that_no_posting_is_known_for_stays_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    day = a_day()
    odd = BalanceTransaction(f"txn_{day}_odd", "climate_order_purchase", "climorder_1", -700, 0, "USD", noon(day))
    monkeypatch.setattr(stripe_gateway, "balance_transactions_after", lambda *_, **__: ([odd], False))
    assert reconciled(day).differing == 1
    (found,) = differences(day)
    assert (found.kind, found.booked_as, found.status) == ("missing_here", "climate_order_purchase", "OPEN")


def test_a_payouts_own_fee_is_booked_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    day = a_day()
    instant = BalanceTransaction(f"txn_{day}_i", "payout", f"po_{day}_i", -9_000, 90, "USD", noon(day))
    back = BalanceTransaction(f"txn_{day}_j", "payout_failure", f"po_{day}_i", 9_000, -90, "USD", noon(day))
    monkeypatch.setattr(stripe_gateway, "balance_transactions_after", lambda *_, **__: ([instant, back], False))
    assert reconciled(day).differing == 0
    assert posted(f"po_{day}_i") == {
        "payout.sent": 9_000,
        "payout.fee": 90,
        "payout.returned": 9_000,
        "payout.fee_returned": 90,
    }


@pytest.mark.parametrize(
    ("kind", "amount", "fee", "name"),
    [("payout_failure", 9_000, 90, "payout.returned"), ("payout", -9_000, -90, "payout.sent")],
)
def test_a_payouts_fee_that_goes_the_other_way_than_its_posting_stays_a_difference(
    monkeypatch: pytest.MonkeyPatch, kind: str, amount: int, fee: int, name: str
) -> None:
    day = a_day()
    odd = BalanceTransaction(f"txn_{day}_o", kind, f"po_{day}_o", amount, fee, "USD", noon(day))
    monkeypatch.setattr(stripe_gateway, "balance_transactions_after", lambda *_, **__: ([odd], False))
    assert reconciled(day).differing == 1
    (found,) = differences(day)
    assert (found.kind, found.there_fee_minor, found.here_fee_minor) == ("fee", fee, 0)
    assert posted(f"po_{day}_o") == {name: 9_000}


@pytest.mark.parametrize(
    ("kind", "amount", "name"),
    [
        ("payout", -100, "payout.sent"),
        # Of a balance below zero, which our bank makes good.
        ("payout", 100, "payout.returned"),
        ("payout_cancel", 100, "payout.returned"),
        ("payout_failure", 100, "payout.returned"),
        ("stripe_fee", -100, "account.fee"),
        ("stripe_fee", 100, "account.fee_returned"),
        ("tax_fee", -100, "account.fee"),
        ("reserve_transaction", -100, None),
    ],
)
def test_each_of_stripes_types_is_booked_by_where_the_money_went(kind: str, amount: int, name: str | None) -> None:
    assert booked_as(BalanceTransaction("txn_1", kind, None, amount, 0, "USD", utcnow())) == name


def test_revenue_is_told_without_what_is_of_no_sale() -> None:
    day = a_day()
    paid_out(day)
    at_stripe(day, "fees", amount=1_500)
    now = utcnow().date()
    lately = Period(now - timedelta(days=1), now + timedelta(days=1))
    before = queries.takings(lately, "USD")
    reconciled(day)
    assert queries.takings(lately, "USD") == before


def test_the_books_are_whole_with_entries_of_no_payment() -> None:
    day = a_day()
    payout = paid_out(day)
    reconciled(day)
    (entry,) = entries(payout)
    assert [line for line in ledger_checks.verify(most=1_000) if payout in line or f"entry {entry.id} " in line] == []


@pytest.mark.parametrize(
    ("kind", "of_a_payment"), [("payout.sent", True), ("account.fee", True), ("capture.stripe_fee", False)]
)
def test_the_database_refuses_a_payout_of_a_payment_and_anything_else_without_one(
    kind: str, of_a_payment: bool
) -> None:
    booking = factories.paid_booking()
    of = "payment_id, booking_id, provider_id" if of_a_payment else "NULL, NULL, NULL"
    with pytest.raises(IntegrityError, match="ck_ledger_entries_of_a_payment"), transaction():
        db.session.execute(
            text(
                "INSERT INTO ledger_entries (kind, debit_account, credit_account, amount_minor, currency, source_id,"
                f" payment_id, booking_id, provider_id) SELECT :kind, 'bank', 'stripe_balance', 5, 'USD', 'po_x', {of}"
                " FROM ledger_entries WHERE booking_id = :id LIMIT 1"
            ),
            {"kind": kind, "id": booking.id},
        )
    assert entries("po_x") == []


def test_booking_needs_a_transaction() -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        own_movements.book(utcnow(), utcnow())
