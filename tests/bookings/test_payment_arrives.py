"""Stripe tells of a payment: in time, late, declined, twice, in any order, or not as it was asked for."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from app.audit.actor import Actor
from app.audit.models import AuditEntry
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.db import transaction
from app.errors import Conflict, NotFound, Unavailable
from app.extensions import db
from app.payments import inbox, ledger_checks, stripe_gateway
from app.payments import service as payments
from app.payments.models import LedgerEntry, Payment, Refund, WebhookEvent
from app.payments.stripe_objects import Intent
from tests import factories, queued
from tests.concurrency import at_once


def payment_of(booking: Booking) -> Payment:
    db.session.rollback()
    query = select(Payment).where(Payment.booking_id == booking.id).execution_options(populate_existing=True)
    return db.session.scalars(query).one()


def postings(booking: Booking) -> dict[str, int]:
    rows = db.session.execute(
        select(LedgerEntry.kind, LedgerEntry.amount_minor).where(LedgerEntry.booking_id == booking.id)
    )
    return dict(rows.all())


def refunds_of(booking: Booking) -> list[Refund]:
    query = select(Refund).join(Payment, Payment.id == Refund.payment_id).where(Payment.booking_id == booking.id)
    return list(db.session.scalars(query.execution_options(populate_existing=True)))


def paid_intent(booking: Booking) -> Intent:
    """The booking's intent, paid at Stripe, which hasn't told us yet."""
    intent = factories.intent_of(booking)
    assert factories.confirm(intent.id).ok
    return stripe_gateway.retrieve_intent(intent.id)


def expire(booking: Booking) -> None:
    with transaction():
        db.session.execute(
            text("UPDATE bookings SET expires_at = now() - interval '1 second' WHERE id = :id"), {"id": booking.id}
        )
    assert bookings.expire(booking.id)


def tell(kind: str, intent_id: str, **values: Any) -> WebhookEvent:
    """Stripe's event about an intent comes in; a worker still has to work it through."""
    body = factories.event(kind, {"id": intent_id, "object": "payment_intent"}, **values)
    inbox.receive(body)
    return db.session.scalars(select(WebhookEvent).where(WebhookEvent.stripe_event_id == body["id"])).one()


CAPTURED = {"capture.provider_share": 17_000, "capture.commission": 3_000, "capture.stripe_fee": 610}
OWED_BACK = {"capture.owed_back": 20_000, "capture.stripe_fee": 610}


def test_asking_to_pay_twice_gives_the_same_intent_and_one_payment(app: Flask) -> None:
    booking = factories.booking()
    first, second = factories.intent_of(booking), factories.intent_of(booking)
    assert (first.id, first.client_secret) == (second.id, second.client_secret)
    payment = payment_of(booking)
    assert (payment.stripe_payment_intent_id, payment.status) == (first.id, "REQUIRES_PAYMENT")
    assert (payment.amount_minor, payment.currency, first.amount_minor) == (20_000, "USD", 20_000)


def test_asking_to_pay_from_two_places_at_once_makes_one_payment(app: Flask) -> None:
    booking = factories.booking()
    by = Actor("traveller", booking.traveller_id, "The traveller")
    booking_id = booking.id
    outcomes = at_once(app, *[lambda: bookings.start_payment(booking_id, by=by).id] * 4)
    assert len(set(outcomes)) == 1
    assert payment_of(booking).stripe_payment_intent_id == outcomes[0]


def test_another_person_cannot_pay(app: Flask) -> None:
    booking = factories.booking()
    with pytest.raises(NotFound):
        bookings.start_payment(booking.id, by=factories.actor())
    assert payments.live_payment(booking.id) is None


def test_a_paid_booking_asks_for_no_more_money(app: Flask) -> None:
    booking = factories.paid_booking()
    with pytest.raises(Conflict, match="nothing to pay"):
        factories.intent_of(booking)


def test_a_capture_posts_share_commission_and_fee(app: Flask) -> None:
    booking = factories.paid_booking()
    assert postings(booking) == CAPTURED
    payment = payment_of(booking)
    assert payment.stripe_charge_id is not None
    assert payment.succeeded_at is not None
    assert refunds_of(booking) == []


def test_told_again_it_does_nothing_more(app: Flask) -> None:
    package = factories.package()
    booking = factories.paid_booking(of=package)
    intent_id = payment_of(booking).stripe_payment_intent_id or ""
    before = db.session.scalar(select(func.count()).select_from(AuditEntry))
    for _ in range(3):
        bookings.payment_changed(stripe_gateway.retrieve_intent(intent_id))
    assert db.session.scalar(select(func.count()).select_from(AuditEntry)) == before
    assert postings(booking) == CAPTURED
    assert factories.stock(package) == (0, 1)


def test_told_twice_at_once_it_is_done_once_and_nobody_is_refused(app: Flask) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    intent = paid_intent(booking)
    outcomes = at_once(app, *[lambda: bookings.payment_changed(intent)] * 4)
    assert outcomes == [None] * 4
    assert factories.reread(booking).status == "CONFIRMED"
    assert postings(booking) == CAPTURED
    assert refunds_of(booking) == []
    assert factories.stock(package) == (0, 1)


# ------------------------------------------------------------------ late


def test_a_late_payment_gets_its_stock_back_when_it_is_still_there(app: Flask) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    intent = paid_intent(booking)
    expire(booking)
    bookings.payment_changed(intent)
    assert factories.reread(booking).status == "CONFIRMED"
    assert factories.stock(package) == (0, 1)
    assert postings(booking) == CAPTURED
    assert payment_of(booking).due_at is None
    entry = db.session.scalars(
        select(AuditEntry).where(AuditEntry.action == "booking.confirm", AuditEntry.object_id == booking.id)
    ).one()
    assert entry.reason == "Paid after the hold ran out; the stock was still there."


def test_a_late_payment_without_stock_is_refunded_in_full(app: Flask) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    intent = paid_intent(booking)
    expire(booking)
    other = factories.booking(of=package)
    bookings.payment_changed(intent)

    assert factories.reread(booking).status == "EXPIRED"
    assert factories.stock(package) == (1, 0)
    assert payment_of(booking).status == "SUCCEEDED"
    assert postings(booking) == OWED_BACK
    (refund,) = refunds_of(booking)
    assert (refund.status, refund.amount_minor) == ("APPROVED", 20_000)
    assert queued.calls() == [("jobs.payments.submit_refund", (refund.id,)), ("jobs.sweeps.notifications", ())]

    assert queued.work_off() == []
    (refund,) = refunds_of(booking)
    payment = payment_of(booking)
    assert (refund.status, refund.due_at, bool(refund.stripe_refund_id)) == ("SUCCEEDED", None, True)
    assert (payment.status, payment.refunded_minor) == ("REFUNDED", 20_000)
    assert payment.succeeded_at is not None
    assert postings(booking) == {**OWED_BACK, "refund.paid": 20_000}
    assert factories.reread(other).status == "PENDING_PAYMENT"


def test_a_stay_that_lost_only_one_of_its_nights_is_refunded_and_takes_none(app: Flask) -> None:
    package = factories.package()
    booking = factories.booking(of=package, nights=3)
    intent = paid_intent(booking)
    expire(booking)
    factories.booking(of=package, nights=1)
    bookings.payment_changed(intent)
    assert factories.reread(booking).status == "EXPIRED"
    assert [factories.stock(package, day) for day in booking.stock_days] == [(1, 0), (0, 0), (0, 0)]


@pytest.mark.parametrize("by_whom", ["guest", "support", "provider"])
def test_a_payment_on_a_cancelled_booking_is_refunded_in_full(app: Flask, by_whom: str) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    intent = paid_intent(booking)
    guest = Actor("traveller", booking.traveller_id, "The guest")
    by = guest if by_whom == "guest" else factories.actor(factories.staff("support"))
    bookings.cancel(booking.id, by=by, on_behalf_of=by_whom, reason="Because")
    bookings.payment_changed(intent)
    assert queued.work_off() == []
    assert factories.reread(booking).status == bookings.CANCELLED_BY[by_whom]
    assert payment_of(booking).status == "REFUNDED"
    assert postings(booking) == {**OWED_BACK, "refund.paid": 20_000}
    assert factories.stock(package) == (0, 0)


# ------------------------------------------------------------------ declined


def test_a_declined_card_leaves_the_booking_held_and_a_second_card_pays_the_same_intent(app: Flask) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    intent = factories.intent_of(booking)
    assert factories.confirm(intent.id, "pm_card_chargeDeclinedInsufficientFunds").status_code == 402
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    payment = payment_of(booking)
    assert (payment.status, payment.failure_code) == ("FAILED", "insufficient_funds")
    assert payment.failure_message
    assert factories.reread(booking).status == "PENDING_PAYMENT"
    assert factories.stock(package) == (1, 0)
    assert postings(booking) == {}

    assert factories.intent_of(booking).id == intent.id
    assert factories.confirm(intent.id).ok
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    payment = payment_of(booking)
    assert (payment.status, payment.failure_code, payment.failure_message) == ("SUCCEEDED", None, None)
    assert factories.reread(booking).status == "CONFIRMED"
    assert postings(booking) == CAPTURED


def test_a_card_that_asks_for_3d_secure_waits_for_it(app: Flask) -> None:
    booking = factories.booking()
    intent = factories.intent_of(booking)
    assert factories.confirm(intent.id, "pm_card_threeDSecure2Required").ok
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    assert payment_of(booking).status == "REQUIRES_ACTION"
    assert factories.reread(booking).status == "PENDING_PAYMENT"


def test_an_intent_nobody_tried_to_pay_is_no_failure(app: Flask) -> None:
    booking = factories.booking()
    intent = factories.intent_of(booking)
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    payment = payment_of(booking)
    assert (payment.status, payment.failure_code) == ("REQUIRES_PAYMENT", None)


def test_old_news_of_a_decline_changes_nothing_after_the_capture(app: Flask) -> None:
    booking = factories.booking()
    intent = factories.intent_of(booking)
    factories.confirm(intent.id, "pm_card_chargeDeclined")
    old = stripe_gateway.retrieve_intent(intent.id)
    factories.confirm(intent.id)
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    bookings.payment_changed(old)
    payment = payment_of(booking)
    assert (payment.status, payment.failure_code) == ("SUCCEEDED", None)
    assert factories.reread(booking).status == "CONFIRMED"


# ------------------------------------------------------------------ not as asked for


@pytest.mark.parametrize("wrong", [{"amount_minor": 19_999}, {"amount_minor": 20_001}, {"currency": "EUR"}])
def test_another_amount_or_currency_than_asked_is_refused(app: Flask, wrong: dict[str, Any]) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    intent = paid_intent(booking)
    with pytest.raises(Conflict, match="Stripe took"):
        bookings.payment_changed(replace(intent, **wrong))
    assert factories.reread(booking).status == "PENDING_PAYMENT"
    assert payment_of(booking).status == "REQUIRES_PAYMENT"
    assert postings(booking) == {}
    assert factories.stock(package) == (1, 0)


def test_an_intent_that_is_none_of_ours_is_refused(app: Flask) -> None:
    booking = factories.booking()
    intent = paid_intent(booking)
    with pytest.raises(NotFound, match="No payment here"):
        bookings.payment_changed(replace(intent, id="pi_somebody_elses", payment_id=None))
    assert factories.reread(booking).status == "PENDING_PAYMENT"


def test_an_intent_that_names_our_payment_but_is_not_its_own_is_refused(app: Flask) -> None:
    booking = factories.booking()
    intent = paid_intent(booking)
    with pytest.raises(NotFound):
        bookings.payment_changed(replace(intent, id="pi_another"))
    assert factories.reread(booking).status == "PENDING_PAYMENT"


def test_the_event_may_be_quicker_than_our_own_note_of_the_intent(app: Flask) -> None:
    booking = factories.booking()
    intent = paid_intent(booking)
    with transaction():
        db.session.execute(
            text("UPDATE payments SET stripe_payment_intent_id = NULL WHERE booking_id = :id"), {"id": booking.id}
        )
    bookings.payment_changed(intent)
    assert payment_of(booking).stripe_payment_intent_id == intent.id
    assert factories.reread(booking).status == "CONFIRMED"


def test_a_capture_waits_until_stripe_knows_its_fee(app: Flask, switches: Any) -> None:
    switches(timing={"settle": 2, "balance_transaction": 1})
    booking = factories.booking()
    intent = paid_intent(booking)
    assert intent.fee_minor is None
    with pytest.raises(Unavailable, match="fee"):
        bookings.payment_changed(intent)
    assert factories.reread(booking).status == "PENDING_PAYMENT"
    assert postings(booking) == {}
    event = tell("payment_intent.succeeded", intent.id)
    assert queued.work_off() == []
    event = factories.reread(event)
    assert (event.status, event.attempts, "fee" in (event.last_error or "")) == ("RECEIVED", 1, True)


# ------------------------------------------------------------------ through the inbox


@pytest.mark.parametrize("seed", range(4))
def test_events_shuffled_and_doubled_come_to_the_same(app: Flask, seed: int) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    intent = factories.intent_of(booking)
    factories.confirm(intent.id, "pm_card_chargeDeclined")
    factories.confirm(intent.id)
    about = {"id": intent.id, "object": "payment_intent"}
    kinds = ("created", "payment_failed", "processing", "succeeded")
    bodies = [factories.event(f"payment_intent.{kind}", about) for kind in kinds] * 3
    random.Random(seed).shuffle(bodies)
    for body in bodies:
        inbox.receive(body)
        assert queued.work_off() == []
    states = db.session.scalars(
        select(WebhookEvent.status).where(WebhookEvent.stripe_payment_intent_id == intent.id)
    ).all()
    assert sorted(states) == ["IGNORED", "PROCESSED", "PROCESSED", "PROCESSED"]
    assert factories.reread(booking).status == "CONFIRMED"
    assert postings(booking) == CAPTURED
    assert factories.stock(package) == (0, 1)


def test_an_event_replayed_after_its_effect_does_nothing_more(app: Flask) -> None:
    booking = factories.booking()
    intent = paid_intent(booking)
    event = tell("payment_intent.succeeded", intent.id)
    assert queued.work_off() == []
    assert factories.reread(event).status == "PROCESSED"
    inbox.replay(event.id, by=factories.actor(factories.staff("finance")))
    assert factories.reread(event).status == "RECEIVED"
    assert queued.work_off() == []
    assert factories.reread(event).status == "PROCESSED"
    assert postings(booking) == CAPTURED
    assert ledger_checks.verify() == []
