"""Refunds: paid once whatever becomes of Stripe's answers, followed afterwards, and in the ledger."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import requests
from flask import Flask, current_app
from sqlalchemy import select, text

from app.audit.models import AuditEntry
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.db import lock, transaction, utcnow
from app.errors import Unavailable
from app.extensions import db
from app.payments import inbox, refund_submission, stripe_gateway
from app.payments.models import LedgerEntry, Payment, Refund, WebhookEvent
from app.payments.stripe_objects import StripeRefund
from app.queue import BACKOFF_SECONDS, MAX_ATTEMPTS, sweep
from tests import factories, queued
from tests.concurrency import at_once
from tests.conftest import wait_for


def owed_back(payment_method: str = "pm_card_visa") -> Refund:
    """A refund in full that waits to be submitted: its payment came after the booking was cancelled."""
    booking = factories.booking()
    intent = factories.intent_of(booking)
    assert factories.confirm(intent.id, payment_method).ok
    bookings.cancel(booking.id, by=factories.actor(factories.staff("support")), on_behalf_of="support", reason="Fraud")
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    return db.session.scalars(
        select(Refund).join(Payment, Payment.id == Refund.payment_id).where(Payment.booking_id == booking.id)
    ).one()


def payment_of(refund: Refund) -> Payment:
    return db.session.get_one(Payment, factories.reread(refund).payment_id, populate_existing=True)


def postings(refund: Refund) -> dict[str, int]:
    rows = db.session.execute(
        select(LedgerEntry.kind, LedgerEntry.amount_minor).where(
            LedgerEntry.payment_id == factories.reread(refund).payment_id, LedgerEntry.kind.like("refund.%")
        )
    )
    return dict(rows.all())


def at_stripe(refund: Refund) -> list[dict[str, Any]]:
    """What Stripe has paid back of the refund's payment."""
    settings = current_app.extensions["settings"]
    answer = requests.get(
        f"{settings.stripe_api_base}/v1/refunds",
        params={"payment_intent": payment_of(refund).stripe_payment_intent_id},
        auth=(settings.stripe_secret_key.get_secret_value(), ""),
        timeout=10,
    )
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def make_due(refund: Refund) -> None:
    with transaction():
        row = lock(Refund, factories.reread(refund).id)
        row.due_at, row.leased_until = utcnow() - timedelta(seconds=1), None


def test_a_refund_is_submitted_paid_and_posted(app: Flask) -> None:
    refund = owed_back()
    refund_submission.submit(refund.id)
    refund = factories.reread(refund)
    assert (refund.status, refund.due_at) == ("SUCCEEDED", None)
    assert None not in (refund.submitted_at, refund.succeeded_at, refund.stripe_refund_id)
    assert payment_of(refund).status == "REFUNDED"
    assert postings(refund) == {"refund.paid": 20_000}
    assert [found["amount"] for found in at_stripe(refund)] == [20_000]
    actions = db.session.scalars(
        select(AuditEntry.action)
        .where(AuditEntry.object_type == "refunds", AuditEntry.object_id == refund.id)
        .order_by(AuditEntry.id)
    ).all()
    assert actions == ["refund.approve", "refund.submit", "refund.succeeded"]


def test_submitting_twice_pays_once(app: Flask) -> None:
    refund = owed_back()
    refund_submission.submit(refund.id)
    refund_submission.submit(refund.id)
    assert len(at_stripe(refund)) == 1
    assert postings(refund) == {"refund.paid": 20_000}


def test_two_workers_at_once_pay_once(app: Flask) -> None:
    refund = owed_back()
    refund_id = refund.id
    outcomes = at_once(app, *[lambda: refund_submission.submit(refund_id)] * 3)
    assert [outcome for outcome in outcomes if outcome is not None and not isinstance(outcome, Unavailable)] == []
    make_due(refund)
    refund_submission.submit(refund_id)
    assert factories.reread(refund).status == "SUCCEEDED"
    assert len(at_stripe(refund)) == 1
    assert postings(refund) == {"refund.paid": 20_000}
    assert payment_of(refund).refunded_minor == 20_000


@pytest.mark.parametrize("fault", ["hang_up", "error_after", "error_before", "rate_limit"])
def test_whatever_becomes_of_stripes_answer_the_money_leaves_once(app: Flask, switches: Any, fault: str) -> None:
    refund = owed_back()
    switches(api=[{"fault": fault, "method": "POST", "path": "/v1/refunds"}])
    assert queued.work_off() == []
    switches(api=[])
    row = factories.reread(refund)
    assert (row.status, row.attempts, row.due_at is not None) == ("SUBMITTED", 1, True)
    assert row.last_error
    assert len(at_stripe(refund)) == (1 if fault in ("hang_up", "error_after") else 0)
    assert postings(refund) == {}

    make_due(refund)
    assert sweep(Refund) >= 1
    assert queued.work_off() == []
    row = factories.reread(refund)
    assert (row.status, row.due_at, row.last_error) == ("SUCCEEDED", None, None)
    assert [found["id"] for found in at_stripe(refund)] == [row.stripe_refund_id]
    assert postings(refund) == {"refund.paid": 20_000}


def test_a_worker_that_died_after_stripe_did_the_work_is_followed_by_one_that_pays_nothing_more(app: Flask) -> None:
    refund = owed_back()
    key, intent_id = refund.idempotency_key, payment_of(refund).stripe_payment_intent_id or ""
    refund = factories.reread(refund)
    stripe_gateway.create_refund(intent_id=intent_id, amount_minor=20_000, key=key, refund_id=refund.id, submission=1)
    refund_submission.submit(factories.reread(refund).id)
    assert factories.reread(refund).status == "SUCCEEDED"
    assert len(at_stripe(refund)) == 1


def test_while_stripe_is_down_a_refund_waits_longer_each_time_and_then_for_a_person(app: Flask, switches: Any) -> None:
    refund = owed_back()
    switches(api=[{"fault": "rate_limit", "path": "/v1/refunds"}])
    began = utcnow()
    assert queued.work_off() == []
    row = factories.reread(refund)
    assert began < row.due_at - timedelta(seconds=BACKOFF_SECONDS[0]) <= utcnow()
    with transaction():
        lock(Refund, row.id).attempts = MAX_ATTEMPTS - 1
    make_due(refund)
    assert sweep(Refund) >= 1
    assert queued.work_off() == []
    row = factories.reread(refund)
    assert (row.status, row.attempts, row.due_at) == ("SUBMITTED", MAX_ATTEMPTS, None)
    assert "Stripe" in row.last_error
    switches(api=[])
    assert at_stripe(refund) == []


def test_what_stripe_refuses_has_failed_and_is_not_posted(app: Flask) -> None:
    refund = owed_back()
    payment = payment_of(refund)
    settings = app.extensions["settings"]
    taken = requests.post(
        f"{settings.stripe_api_base}/v1/refunds",
        data={"payment_intent": payment.stripe_payment_intent_id},
        auth=(settings.stripe_secret_key.get_secret_value(), ""),
        timeout=10,
    )
    assert taken.ok
    refund_submission.submit(factories.reread(refund).id)
    row = factories.reread(refund)
    assert (row.status, row.due_at) == ("FAILED", None)
    assert "refunded" in row.failure_reason
    assert payment_of(refund).status == "SUCCEEDED"
    assert postings(refund) == {}


def test_a_pending_refund_is_settled_by_its_event(app: Flask) -> None:
    refund = owed_back("pm_card_pendingRefund")
    refund_submission.submit(refund.id)
    row = factories.reread(refund)
    # Stripe takes it from the balance at once.
    assert (row.status, postings(refund)) == ("SUBMITTED", {"refund.paid": 20_000})
    assert row.due_at > utcnow() + timedelta(hours=5)
    wait_for(lambda: at_stripe(refund)[0]["status"] == "succeeded", "Stripe to settle the refund")
    inbox.receive(factories.event("refund.updated", {"id": row.stripe_refund_id, "object": "refund"}))
    assert queued.work_off() == []
    assert factories.reread(refund).status == "SUCCEEDED"
    assert postings(refund) == {"refund.paid": 20_000}


def test_a_pending_refund_whose_event_never_comes_is_looked_up(app: Flask) -> None:
    refund = owed_back("pm_card_pendingRefund")
    refund_submission.submit(refund.id)
    wait_for(lambda: at_stripe(refund)[0]["status"] == "succeeded", "Stripe to settle the refund")
    make_due(refund)
    refund_submission.submit(factories.reread(refund).id)
    assert factories.reread(refund).status == "SUCCEEDED"
    assert len(at_stripe(refund)) == 1


def test_a_refund_that_fails_late_is_owed_again(app: Flask) -> None:
    refund = owed_back("pm_card_refundFail")
    refund_submission.submit(refund.id)
    row = factories.reread(refund)
    assert (row.status, payment_of(refund).status) == ("SUCCEEDED", "REFUNDED")
    wait_for(lambda: at_stripe(refund)[0]["status"] == "failed", "Stripe to fail the refund")
    for _ in range(2):
        inbox.receive(factories.event("refund.failed", {"id": row.stripe_refund_id, "object": "refund"}))
        assert queued.work_off() == []
    row = factories.reread(refund)
    assert (row.status, bool(row.failure_reason)) == ("FAILED", True)
    payment = payment_of(refund)
    assert (payment.status, payment.refunded_minor) == ("SUCCEEDED", 0)
    assert payment.succeeded_at is not None
    assert postings(refund) == {"refund.paid": 20_000, "refund.failed": 20_000}


def test_told_twice_that_a_refund_is_paid_it_is_posted_once(app: Flask) -> None:
    refund = owed_back()
    refund_submission.submit(refund.id)
    row = factories.reread(refund)
    for _ in range(2):
        with transaction():
            refund_submission.settle(row.id, StripeRefund(row.stripe_refund_id, "succeeded", None))
    assert postings(refund) == {"refund.paid": 20_000}
    assert payment_of(refund).refunded_minor == 20_000


def test_a_refund_nobody_here_asked_for_is_kept_and_ignored(app: Flask) -> None:
    body = factories.event("refund.updated", {"id": "re_from_the_dashboard", "object": "refund"})
    inbox.receive(body)
    assert queued.work_off() == []
    event = db.session.scalars(select(WebhookEvent).where(WebhookEvent.stripe_event_id == body["id"])).one()
    assert event.status == "IGNORED"


# ------------------------------------------------------------------ closing an intent nobody should pay


def expired_with_intent() -> Booking:
    booking = factories.booking()
    factories.intent_of(booking)
    with transaction():
        db.session.execute(
            text("UPDATE bookings SET expires_at = now() - interval '1 second' WHERE id = :id"), {"id": booking.id}
        )
    assert bookings.expire(booking.id)
    with transaction():
        db.session.execute(
            text("UPDATE payments SET due_at = now() - interval '1 second' WHERE booking_id = :id"), {"id": booking.id}
        )
    return booking


def payment_for(booking: Booking) -> Payment:
    db.session.rollback()
    return db.session.scalars(
        select(Payment).where(Payment.booking_id == booking.id).execution_options(populate_existing=True)
    ).one()


def test_the_intent_of_an_expired_booking_is_cancelled_at_stripe(app: Flask) -> None:
    booking = expired_with_intent()
    assert sweep(Payment) >= 1
    assert queued.work_off() == []
    payment = payment_for(factories.reread(booking))
    assert (payment.status, payment.due_at) == ("CANCELLED", None)
    assert payment.cancelled_at is not None
    answer = factories.confirm(payment.stripe_payment_intent_id or "")
    assert answer.status_code == 400


def test_an_intent_that_was_paid_meanwhile_is_not_closed(app: Flask) -> None:
    booking = expired_with_intent()
    intent_id = payment_for(booking).stripe_payment_intent_id or ""
    assert factories.confirm(intent_id).ok
    assert sweep(Payment) >= 1
    assert queued.work_off() == []
    payment = payment_for(factories.reread(booking))
    assert (payment.status, payment.attempts) == ("REQUIRES_PAYMENT", 1)
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent_id))
    payment = payment_for(factories.reread(booking))
    assert (payment.status, payment.due_at) == ("SUCCEEDED", None)


def test_a_payment_whose_key_stripe_burned_gets_a_new_one(app: Flask, switches: Any) -> None:
    booking = factories.booking()
    switches(api=[{"fault": "error_after", "method": "POST", "path": "/v1/payment_intents", "times": 1}])
    with pytest.raises(Unavailable):
        factories.intent_of(booking)
    intent = factories.intent_of(factories.reread(booking))
    assert factories.confirm(intent.id).ok
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    assert factories.reread(booking).status == "CONFIRMED"


def test_without_a_key_payments_say_that_they_are_not_set_up(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    booking = factories.booking()
    monkeypatch.setitem(app.extensions, "stripe", None)
    with pytest.raises(Unavailable, match="STRIPE_SECRET_KEY is not set"):
        factories.intent_of(booking)
