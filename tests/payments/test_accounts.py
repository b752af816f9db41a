"""The ledger by account: balances at any moment, and statements whose running balance is what the entries come to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text

from app import rollups
from app.console.accounts import _ORDER
from app.console.listing import Listing
from app.db import transaction, utcnow
from app.extensions import db
from app.payments import accounts, ledger
from app.payments.accounts import Account, Totals
from app.payments.ledger_names import ACCOUNTS, KINDS, kind_in_words
from app.payments.models import LedgerAccount, LedgerEntry
from app.reports import service as reports
from tests import factories

CURRENCY = "XTS"  # nobody else's
PAYABLE = Account("provider_payable", "Provider payable", "liability", CURRENCY)
BALANCE = Account("stripe_balance", "Stripe balance", "asset", CURRENCY)


@pytest.fixture(params=["in the sums", "behind their mark"])
def posted(empty_app: Flask, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Entries of 40 days, several at the same moment, by time and id: (posted_at, id, debit, credit, amount)."""
    monkeypatch.setattr(rollups, "_MARGIN", timedelta(0))
    noon = utcnow().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=40)
    booking = factories.booking()
    factories.intent_of(booking)
    with transaction():
        db.session.execute(
            text(
                """
                INSERT INTO ledger_entries (posted_at, kind, debit_account, credit_account, amount_minor, currency,
                                            source_id, payment_id, booking_id, provider_id)
                SELECT CAST(:noon AS timestamptz) + (n / 3) * interval '7 hours', 'capture.provider_share',
                       CASE WHEN n % 5 = 0 THEN 'provider_payable' ELSE 'stripe_balance' END,
                       CASE WHEN n % 5 = 0 THEN 'refunds_payable'
                            WHEN n % 3 = 0 THEN 'commission_revenue' ELSE 'provider_payable' END,
                       n, :currency, 'made_' || n, p.id, b.id, b.provider_id
                FROM generate_series(1, 400) n, bookings b JOIN payments p ON p.booking_id = b.id
                """
            ),
            {"noon": noon, "currency": CURRENCY},
        )
    if request.param == "in the sums":
        reports.add_up()
    columns = (LedgerEntry.posted_at, LedgerEntry.id, LedgerEntry.debit_account, LedgerEntry.credit_account)
    rows = select(*columns, LedgerEntry.amount_minor).order_by(LedgerEntry.posted_at, LedgerEntry.id)
    yield list(db.session.execute(rows))


def plain(rows: list[Any], code: str, until: datetime) -> Totals:
    return Totals(
        sum(row.amount_minor for row in rows if row.posted_at < until and row.debit_account == code),
        sum(row.amount_minor for row in rows if row.posted_at < until and row.credit_account == code),
    )


def test_a_balance_at_any_moment_is_what_was_posted_before_it(posted: list[Any]) -> None:
    edges = [posted[n].posted_at for n in (0, 1, 50, 200, 399)]
    for at in [*edges, *(edge + timedelta(microseconds=1) for edge in edges), utcnow(), edges[0] - timedelta(days=1)]:
        found = {balance.code: balance for balance in accounts.balances_at(at)}
        for code in {row.debit_account for row in posted} | {row.credit_account for row in posted}:
            expected = plain(posted, code, at)
            kept = found.get(code)
            assert (kept.debit_minor, kept.credit_minor) == expected if kept else expected == (0, 0)
        assert sum(b.debit_minor for b in found.values()) == sum(b.credit_minor for b in found.values())


@pytest.mark.parametrize("account", [PAYABLE, BALANCE], ids=lambda account: account.code)
def test_page_by_page_the_running_balance_goes_on_from_opening_to_closing(posted: list[Any], account: Account) -> None:
    since, until = (posted[0].posted_at + timedelta(days=days) for days in (3, 30))
    listing = Listing(account.entries(since, until), _ORDER)
    expected, balance = [], account.balance(account.totals_at(since))
    assert balance == account.balance(plain(posted, account.code, since))
    for row in posted:
        if since <= row.posted_at < until and account.code in (row.debit_account, row.credit_account):
            is_more = (row.debit_account == account.code) is account.is_debit
            balance += row.amount_minor if is_more else -row.amount_minor
            expected.append((row.id, balance))
    found, page = [], listing.page(7, is_place=False)
    while True:
        found += list(zip([row.id for row in page.all], account.running(page.all), strict=True))
        if page.on is None:
            break
        page = listing.page(7, _ORDER.beyond(_ORDER.place("after", page.on), greater=True))
    assert found == expected
    assert account.balance(account.totals_at(until)) == balance


def test_a_page_backwards_is_the_page_that_was_left(posted: list[Any]) -> None:
    listing = Listing(PAYABLE.entries(posted[0].posted_at, utcnow()), _ORDER)
    first = listing.page(7, is_place=False)
    second = listing.page(7, _ORDER.beyond(_ORDER.place("after", str(first.on)), greater=True))
    back = listing.page(7, _ORDER.beyond(_ORDER.place("before", str(second.back)), greater=False), backwards=True)
    assert [row.id for row in back.all] == [row.id for row in first.all]


def test_every_posting_and_account_has_a_name_that_says_more_than_its_code(app: Flask) -> None:
    by_code = {kind: kind.replace(".", " ").replace("_", " ").capitalize() for kind in ledger.POSTINGS}
    assert {kind for kind, code in by_code.items() if KINDS[kind] == code} <= {"refund.paid", "dispute.fee"}
    assert dict(db.session.execute(select(LedgerAccount.code, LedgerAccount.name)).all()) == ACCOUNTS
    assert set(accounts.kinds().values()) == {"asset", "liability", "revenue", "expense"}
    assert len(set(KINDS.values())) == len(KINDS)
    assert kind_in_words("payout.sent_off") == "Payout sent off"
