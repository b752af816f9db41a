"""Verbs of payments: making the intent, and taking what Stripe tells us of it."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from sqlalchemy import select

from app.audit import service as audit
from app.audit.actor import STRIPE, SYSTEM, Actor
from app.config import settings
from app.db import lock, require_transaction, transaction, utcnow
from app.errors import Conflict, Unavailable
from app.extensions import db
from app.logs import request_id
from app.money import share
from app.payments import ledger, refunds, stripe_gateway
from app.payments.models import Payment
from app.payments.stripe_gateway import KeptFailure
from app.payments.stripe_objects import Intent
from app.states import may_move, move

# Somebody may be in the middle of paying when the hold runs out: their money is taken, and placed or given back. Later
# than this, Stripe refuses.
_LATE_PAYMENT_GRACE = timedelta(hours=1)

# https://docs.stripe.com/payments/paymentintents/lifecycle
_STATUS_OF_INTENT = {
    "requires_payment_method": "FAILED",
    "requires_action": "REQUIRES_ACTION",
    "processing": "PROCESSING",
    "canceled": "CANCELLED",
}


def live_payment(booking_id: int) -> Payment | None:
    """The payment of a booking that isn't cancelled, if it has one."""
    return db.session.scalar(select(Payment).where(Payment.booking_id == booking_id, Payment.status != "CANCELLED"))


def open_payment(*, booking_id: int, provider_id: int, amount_minor: int, currency: str, by: Actor) -> Payment:
    """The payment of a booking, made when it has none yet. The caller holds the booking's lock. Raises Conflict when it
    is paid.
    """
    require_transaction()
    payment = live_payment(booking_id)
    if payment is None:
        payment = Payment(
            booking_id=booking_id,
            provider_id=provider_id,
            status="REQUIRES_PAYMENT",
            amount_minor=amount_minor,
            commission_minor=share(amount_minor, settings().commission_basis_points),
            currency=currency,
            idempotency_key=_new_key(),
            request_id=request_id.get(),
        )
        db.session.add(payment)
        audit.record(by, "payment.open", payment)
    elif payment.status == "PROCESSING":
        raise Conflict("A payment for this booking is being processed.")
    elif payment.status not in Payment.PAYABLE:
        raise Conflict("This booking is paid already.")
    return payment


def intent_for(payment_id: int, *, booking_reference: str) -> Intent:
    """The payable Stripe intent of a payment, made on first asking; the same one after that. Raises Unavailable,
    Conflict.
    """
    payment = db.session.get_one(Payment, payment_id)
    try:
        intent = stripe_gateway.create_intent(
            amount_minor=payment.amount_minor,
            currency=payment.currency,
            key=payment.idempotency_key,
            payment_id=payment.id,
            booking_reference=booking_reference,
        )
    except KeptFailure:
        # If an intent was made after all, nobody has its secret, so nobody can pay it.
        with transaction():
            lock(Payment, payment_id).idempotency_key = _new_key()
        raise
    with transaction():
        payment = lock(Payment, payment_id)
        if payment.stripe_payment_intent_id is None:
            payment.stripe_payment_intent_id = intent.id
    return intent


def payment_of(intent: Intent) -> Payment | None:
    """Our payment behind a Stripe intent; None when it isn't one of ours. The webhook may be quicker than our own note
    of its id.
    """
    payment = db.session.scalar(select(Payment).where(Payment.stripe_payment_intent_id == intent.id))
    if payment is None and intent.payment_id is not None:
        named = db.session.get(Payment, intent.payment_id)
        payment = named if named is not None and named.stripe_payment_intent_id is None else None
    return payment


def capture(payment_id: int, intent: Intent, *, placed: bool) -> Payment:
    """Book that Stripe took the money. `placed` says whether a booking takes it; if not, all of it is refunded at once.

    Once only: the payment's own state refuses a second time. Raises Unavailable while Stripe doesn't know its fee yet,
    Conflict when amount or currency are not what was asked.
    """
    payment = lock(Payment, payment_id)
    if intent.fee_minor is None or intent.charge_id is None:
        raise Unavailable("Stripe has not settled the fee of this payment yet.")
    if (intent.amount_minor, intent.currency) != (payment.amount_minor, payment.currency):
        raise Conflict(
            f"Stripe took {intent.amount_minor} {intent.currency}, but payment {payment.id} is about"
            f" {payment.amount_minor} {payment.currency}."
        )
    payment.stripe_payment_intent_id = intent.id
    payment.stripe_charge_id = intent.charge_id
    payment.fee_minor = intent.fee_minor
    payment.failure_code = payment.failure_message = None
    payment.finished()
    move(payment, "SUCCEEDED", at=intent.captured_at)
    if placed:
        ledger.post_capture(payment, fee_minor=intent.fee_minor)
    else:
        ledger.post_capture_owed_back(payment, fee_minor=intent.fee_minor)
    audit.record(STRIPE, "payment.captured", payment)
    if not placed:
        refunds.owed_back(payment)
    return payment


def follow(payment_id: int, intent: Intent) -> Payment:
    """Take over what Stripe says of an intent that is not paid; what is older than what we know changes nothing."""
    payment = lock(Payment, payment_id)
    payment.stripe_payment_intent_id = intent.id
    to = _STATUS_OF_INTENT.get(intent.status)
    untouched = intent.status == "requires_payment_method" and intent.failure_code is None
    if to is None or untouched or not may_move(payment, to):
        return payment
    told = (to, intent.failure_code, intent.failure_message)
    if told == (payment.status, payment.failure_code, payment.failure_message):
        return payment
    payment.failure_code, payment.failure_message = intent.failure_code, intent.failure_message
    if to == "CANCELLED":
        payment.finished()
    if to != payment.status:
        move(payment, to)
    audit.record(STRIPE, f"payment.{to.lower()}", payment)
    return payment


def close_later(booking_id: int) -> None:
    """The booking no longer wants money: have its intent closed once nobody can be in the middle of paying it."""
    require_transaction()
    payment = live_payment(booking_id)
    if payment is not None and payment.status in (*Payment.PAYABLE, "PROCESSING"):
        payment.due_at = utcnow() + _LATE_PAYMENT_GRACE
        payment.request_id = request_id.get()


def close_intent(payment_id: int) -> None:
    """Cancel a payment's intent at Stripe; its own event then moves the payment. Raises Unavailable, Conflict."""
    payment = db.session.get(Payment, payment_id)
    if payment is None or payment.due_at is None:
        return
    intent = (
        stripe_gateway.cancel_intent(payment.stripe_payment_intent_id) if payment.stripe_payment_intent_id else None
    )
    with transaction():
        payment = lock(Payment, payment_id)
        payment.finished()
        if may_move(payment, "CANCELLED"):
            move(payment, "CANCELLED")
            audit.record(SYSTEM, "payment.cancelled", payment, after={"intent": intent.status if intent else None})


def _new_key() -> str:
    return f"pay_{uuid4().hex}"
