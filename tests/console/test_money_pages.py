"""Payments, the ledger and the inbox of Stripe's events, as finance sees them."""

from __future__ import annotations

from html import unescape
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from app.audit.models import AuditEntry
from app.bookings.models import Booking
from app.db import transaction
from app.extensions import db
from app.payments import inbox, ledger
from app.payments import service as payments
from app.payments.models import LedgerEntry, Payment, WebhookEvent
from jobs.payments import check_books
from tests import factories, queued
from tests.conftest import tampering
from tests.console.browser import Browser, signed_in


def payment_of(booking: Booking) -> Payment:
    found = payments.live_payment(booking.id)
    assert found is not None
    return found


def event(**values: Any) -> WebhookEvent:
    """A stored event that nobody listens to, not worked on yet."""
    told = factories.event("customer.created", {"id": "cus_1", "object": "customer", **values})
    assert inbox.receive(told)
    return db.session.scalars(select(WebhookEvent).where(WebhookEvent.stripe_event_id == told["id"])).one()


def shown(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return unescape(answer.text)


# ------------------------------------------------------------------ payments


def test_a_payment_is_found_by_its_booking_intent_and_charge(app: Flask) -> None:
    booking, other = factories.paid_booking(), factories.paid_booking()
    payment, browser = payment_of(booking), signed_in(app, "finance")
    for words in (booking.reference.lower(), payment.stripe_payment_intent_id, payment.stripe_charge_id):
        page = shown(browser, f"/console/payments/?q={words}")
        assert booking.reference in page
        assert other.reference not in page
        assert "1 payment<" in page
    assert "No payments match" in shown(browser, "/console/payments/?q=ch_nothing")


def test_payments_are_filtered_by_state(app: Flask) -> None:
    open_one, paid = factories.booking(), factories.paid_booking()
    factories.intent_of(open_one)
    page = shown(signed_in(app, "finance"), "/console/payments/?status=REQUIRES_PAYMENT")
    assert open_one.reference in page
    assert paid.reference not in page


def test_a_payments_page_has_its_money_its_postings_its_story_and_its_booking(app: Flask) -> None:
    booking = factories.paid_booking()
    payment = payment_of(booking)
    page = shown(signed_in(app, "finance"), f"/console/payments/{payment.id}/")
    for words in ("$200.00", "$30.00", "$170.00", "$6.10", "Payment, provider's share", "Payment captured"):
        assert words in page, words
    assert f'href="/console/bookings/{booking.id}/"' in page
    assert str(payment.stripe_charge_id) in page


# ------------------------------------------------------------------ the ledger


def test_the_books_are_shown_by_account_and_both_sides_agree(empty_app: Flask) -> None:
    browser = signed_in(empty_app, "finance")
    assert "No account has an entry yet." in shown(browser, "/console/ledger/")
    factories.paid_booking()
    page = shown(browser, "/console/ledger/")
    for words in ("Provider payable", "$170.00", "Commission revenue", "$30.00", "Both sides, USD", "$206.10"):
        assert words in page, words
    assert "Balanced" in page
    assert "Not balanced" not in page
    assert "3 entries" in page


def test_entries_are_filtered_by_account_posting_booking_and_day(app: Flask) -> None:
    booking, other = factories.paid_booking(), factories.paid_booking()
    browser, today = signed_in(app, "finance"), factories.utcnow().date()
    for query, count in (
        (f"booking={booking.reference.lower()}", 3),
        (f"booking={booking.reference}&account=stripe_fees", 1),
        (f"booking={booking.reference}&account=stripe_balance", 3),
        (f"booking={booking.reference}&kind=capture.commission", 1),
        (f"booking={booking.reference}&from={today}&to={today}", 3),
    ):
        page = shown(browser, f"/console/ledger/?{query}")
        assert f"{count} {'entry' if count == 1 else 'entries'}<" in page, query
        assert other.reference not in page
    for query in ("to=2020-01-01", "from=2999-01-01", "booking=TD-NONE"):
        assert "No entries match" in shown(browser, f"/console/ledger/?{query}")


@pytest.mark.parametrize("query", ["from=yesterday", "to=2026-13-01", "account=petty_cash", "kind=none"])
def test_a_filter_that_makes_no_sense_is_refused_in_words(app: Flask, query: str) -> None:
    assert signed_in(app, "finance").get(f"/console/ledger/?{query}").status_code == 422


def test_an_entry_shows_what_was_posted_with_it_and_that_it_balances(app: Flask) -> None:
    payment = payment_of(factories.paid_booking())
    entry = db.session.scalars(select(LedgerEntry).where(LedgerEntry.payment_id == payment.id)).first()
    assert entry is not None
    page = shown(signed_in(app, "finance"), f"/console/ledger/{entry.id}/")
    for kind in ("Payment, provider's share", "Payment, our commission", "Stripe's fee of a payment"):
        assert kind in page
    assert "Balanced" in page
    assert page.count("$206.10") == 2


def test_the_books_are_checked_when_asked_and_the_page_says_what_was_found(empty_app: Flask) -> None:
    payment = payment_of(factories.paid_booking())
    browser = signed_in(empty_app, "finance")
    assert "Not checked yet" in shown(browser, "/console/ledger/")
    browser.post("/console/ledger/check", token_from="/console/ledger/")
    assert ("jobs.payments.check_books", ()) in queued.calls()
    assert queued.work_off() == []
    assert "In order, checked" in shown(browser, "/console/ledger/")
    with tampering(empty_app) as cursor:
        cursor.execute("UPDATE ledger_entries SET amount_minor = 1 WHERE kind = 'capture.commission'")
    check_books()
    page = shown(browser, "/console/ledger/")
    assert "The books are not in order." in page
    assert f"payment {payment.id}: captured 20000, posted 17001" in page


def test_the_sums_are_those_of_the_entries_whatever_way_they_are_added_up(empty_app: Flask) -> None:
    for _ in range(2):
        factories.paid_booking()
    entries = db.session.scalars(select(LedgerEntry)).all()
    for balance in ledger.trial_balance():
        assert balance.debit_minor == sum(e.amount_minor for e in entries if e.debit_account == balance.code)
        assert balance.credit_minor == sum(e.amount_minor for e in entries if e.credit_account == balance.code)


# ------------------------------------------------------------------ the inbox


def test_an_events_page_has_its_payload_without_what_could_pay_an_intent(app: Flask) -> None:
    told = event(client_secret="pi_1_secret_2", nested=[{"client_secret": "pi_3_secret_4"}], name="Ada <b>")
    browser = signed_in(app, "finance")
    page = browser.get(f"/console/webhooks/{told.id}/").text
    assert "_secret_" not in page
    assert "(left out)" in page
    assert "Ada &lt;b&gt;" in page
    assert told.stripe_event_id in page


def test_an_event_and_a_payment_without_an_intent_have_nothing_of_each_other(app: Flask) -> None:
    held = factories.booking()
    with transaction():
        payment = payments.open_payment(
            booking_id=held.id,
            provider_id=held.provider_id,
            amount_minor=held.total_minor,
            currency=held.currency,
            by=factories.actor(factories.traveller()),
        )
    told = event()
    assert (told.stripe_payment_intent_id, payment.stripe_payment_intent_id) == (None, None)
    browser = signed_in(app, "finance")
    assert "Payment of TD-" not in shown(browser, f"/console/webhooks/{told.id}/")
    assert "customer.created" not in shown(browser, f"/console/payments/{payment.id}/")


def test_a_long_payload_is_folded(app: Flask) -> None:
    browser = signed_in(app, "finance")
    assert (
        "<details" not in browser.get(f"/console/webhooks/{event().id}/").text.split("Payload")[1].split("Timeline")[0]
    )
    long = event(lines=list(range(200)))
    assert '<details class="fold">' in browser.get(f"/console/webhooks/{long.id}/").text


def test_a_failed_event_says_why_and_is_worked_through_again(app: Flask) -> None:
    failed = event()
    for _ in range(12):
        inbox.note_failure(failed.id, ValueError("Stripe said no"))
    app.extensions["redis"].flushdb()
    browser = signed_in(app, "finance")
    listed = shown(browser, f"/console/webhooks/?status=FAILED&q={failed.stripe_event_id}")
    assert "ValueError: Stripe said no" in listed
    page = f"/console/webhooks/{failed.id}/"
    answer = browser.post(f"{page}replay", token_from=page)
    assert (answer.status_code, answer.location) == (302, page)
    after = factories.reread(failed)
    assert (after.status, after.attempts) == ("RECEIVED", 0)
    assert ("jobs.webhooks.process", (failed.id,)) in queued.calls()
    now = shown(browser, page)
    assert "is being worked through again." in now
    assert "Worked through again" in now


def test_an_event_that_is_being_worked_on_is_not_taken_up_twice(app: Flask) -> None:
    waiting = event()
    app.extensions["redis"].flushdb()
    browser, page = signed_in(app, "admin"), f"/console/webhooks/{waiting.id}/"
    assert "1 not possible now" in shown(browser, page)
    answer = browser.post(f"{page}replay", token_from=page)
    assert answer.status_code == 409
    assert queued.calls() == []
    about = (AuditEntry.object_type == "webhook_events", AuditEntry.object_id == waiting.id)
    assert db.session.scalars(select(AuditEntry).where(*about)).all() == []
