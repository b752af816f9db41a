"""What is of no booking, in the pages that otherwise name one."""

from __future__ import annotations

import csv
import io
from html import unescape
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from app.bulk.exports import EXPORTS
from app.extensions import db
from app.payments.models import LedgerEntry
from tests import factories
from tests.console.browser import Browser, signed_in
from tests.reports.days import a_day, at_stripe, finance, paid_out, reconciled


@pytest.fixture
def browser(app: Flask) -> Browser:
    return signed_in(app, "finance")


def shown(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, path
    return " ".join(unescape(answer.text).split())


def entry_of(source_id: str) -> LedgerEntry:
    return db.session.scalars(select(LedgerEntry).where(LedgerEntry.source_id == source_id)).one()


def test_a_payout_is_in_the_days_sums_the_ledger_and_the_banks_statement(empty_app: Flask) -> None:
    browser, day = signed_in(empty_app, "finance"), a_day()
    payout = paid_out(day, 4_321)
    row = reconciled(day)
    page = shown(browser, f"/console/reconciliation/{row.id}/")
    for words in ("Stripe and the ledger agree on 1 movement.", "Payouts to our bank", "-$43.21"):
        assert words in page.replace("−", "-"), words
    entry = entry_of(payout)
    for path in ("/console/ledger/?kind=payout.sent", "/console/ledger/?account=bank"):
        assert payout in shown(browser, path)
    page = shown(browser, f"/console/ledger/{entry.id}/")
    for words in ("Paid out to our bank: from Stripe balance to Bank", "of no booking", "$43.21", "Balanced"):
        assert words in page, words
    assert "Payment of" not in page
    for account in ("bank", "stripe_balance"):
        page = shown(browser, f"/console/accounts/{account}/")
        line = page[: page.index(payout)].rpartition("<tr")[2]
        assert f'href="/console/ledger/{entry.id}/"' in line
    assert "Bank" in shown(browser, "/console/accounts/")


def test_a_fee_of_no_payment_is_among_the_days_sums(browser: Browser) -> None:
    day = a_day()
    at_stripe(day, "fees", amount=1_500)
    row = reconciled(day)
    assert "Stripe's fees of no payment" in shown(browser, f"/console/reconciliation/{row.id}/")


def test_what_is_of_no_booking_is_exported_with_the_others(app: Flask) -> None:
    day = a_day()
    payout = paid_out(day)
    reconciled(day)
    booking = factories.paid_booking()
    sold = db.session.scalars(select(LedgerEntry).where(LedgerEntry.booking_id == booking.id)).first()
    assert sold is not None
    asked: dict[str, Any] = {"columns": ["kind", "source", "booking"], "clear": []}
    lines, there = EXPORTS["ledger"].part([entry_of(payout).id, sold.id], asked, finance())
    assert len(there) == 2
    first, second = csv.reader(io.StringIO(lines.decode()))
    assert first[1:] == ["Paid out to our bank", payout, ""]
    assert second[-1] == booking.reference


def test_that_a_payout_was_booked_is_in_the_trail_and_leads_to_its_entry(app: Flask) -> None:
    day = a_day()
    payout = paid_out(day)
    reconciled(day)
    entry = entry_of(payout)
    page = shown(signed_in(app, "admin"), f"/console/audit/?object_type=ledger_entries&object_id={entry.id}")
    assert "Payout or fee of Stripe's booked" in page
