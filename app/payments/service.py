"""Verbs of payments and refunds: making the intent, taking what Stripe tells us, giving money back."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from sqlalchemy import select

from app.audit import service as audit
from app.audit.actor import STRIPE, SYSTEM, Actor
from app.config import settings
from app.db import lock, require_transaction, transaction, utcnow
from app.errors import Conflict, NotFound, Unavailable
from app.extensions import db
from app.logs import request_id
from app.money import share
from app.payments import ledger, stripe_gateway
from app.payments.models import Payment, Refund
from app.payments.stripe_gateway import Intent, KeptFailure, StripeRefund
from app.states import may_move, move

# Somebody may be in the middle of paying when the hold runs out: their money is taken, and placed or given back. Later
# than this, Stripe refuses.
_LATE_PAYMENT_GRACE = timedelta(hours=1)
_PENDING_REFUND_CHECK = timedelta(hours=6)

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
            idempotency_key=_new_key("pay"),
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
            lock(Payment, payment_id).idempotency_key = _new_key("pay")
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
        _refund_in_full(payment, reason="The payment came when the booking could not take it any more.")
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


def _refund_in_full(payment: Payment, *, reason: str) -> Refund:
    refund = Refund(
        payment_id=payment.id,
        status="APPROVED",
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        reason=reason,
        idempotency_key=_new_key("refund"),
        request_id=request_id.get(),
    )
    db.session.add(refund)
    refund.hand_out()
    audit.record(SYSTEM, "refund.approve", refund, reason=reason)
    return refund


def submit_refund(refund_id: int) -> None:
    """Have Stripe pay an approved refund. The state is committed before the call, so an unknown outcome is asked again
    with the same key.

    Raises Unavailable when Stripe gave no answer.
    """
    with transaction():
        refund = lock(Refund, refund_id)
        if refund.due_at is None or refund.status not in ("APPROVED", "SUBMITTED"):
            return
        if refund.status == "APPROVED":
            move(refund, "SUBMITTED")
            audit.record(SYSTEM, "refund.submit", refund)
        asked_before = refund.attempts > 0 or refund.stripe_refund_id is not None
        payment = db.session.get_one(Payment, refund.payment_id)
        intent_id, amount, key = payment.stripe_payment_intent_id, refund.amount_minor, refund.idempotency_key
    if intent_id is None:
        raise NotFound(f"Payment {payment.id} has no Stripe intent to refund.")
    # Asked before without an answer: look first whether the money has left.
    answer = stripe_gateway.find_refund(intent_id=intent_id, refund_id=refund_id) if asked_before else None
    if answer is None:
        answer = _create_refund(intent_id, amount, key, refund_id)
    with transaction():
        settle_refund(refund_id, answer)


def _create_refund(intent_id: str, amount_minor: int, key: str, refund_id: int) -> StripeRefund:
    try:
        return stripe_gateway.create_refund(
            intent_id=intent_id, amount_minor=amount_minor, key=key, refund_id=refund_id
        )
    except Conflict as refusal:
        return StripeRefund("", "failed", refusal.detail)
    except KeptFailure:
        # The next try looks first, so a new key can't pay twice.
        with transaction():
            lock(Refund, refund_id).idempotency_key = _new_key("refund")
        raise


def _new_key(kind: str) -> str:
    return f"{kind}_{uuid4().hex}"


def refund_of(stripe_refund_id: str) -> Refund | None:
    """Our refund behind one of Stripe's."""
    return db.session.scalar(select(Refund).where(Refund.stripe_refund_id == stripe_refund_id))


def settle_refund(refund_id: int, answer: StripeRefund) -> None:
    """Take over what Stripe says of a refund: paid, pending, or failed; the ledger follows. Told twice, it does
    nothing.
    """
    require_transaction()
    payment_id = db.session.scalars(select(Refund.payment_id).where(Refund.id == refund_id)).one()
    payment = lock(Payment, payment_id)
    refund = lock(Refund, refund_id)
    if answer.id:
        refund.stripe_refund_id = answer.id
    if answer.status == "succeeded" and may_move(refund, "SUCCEEDED"):
        move(refund, "SUCCEEDED")
        refund.finished()
        payment.refunded_minor += refund.amount_minor
        ledger.post_refund_paid(payment, refund)
        _follow_refunds(payment)
        audit.record(STRIPE, "refund.succeeded", refund)
    elif answer.status in ("failed", "canceled") and may_move(refund, "FAILED"):
        had_left = refund.status == "SUCCEEDED"
        move(refund, "FAILED")
        refund.finished()
        refund.failure_reason = answer.failure_reason or answer.status
        if had_left:
            payment.refunded_minor -= refund.amount_minor
            ledger.post_refund_failed(payment, refund)
            _follow_refunds(payment)
        audit.record(STRIPE, "refund.failed", refund)
    elif answer.status in ("pending", "requires_action") and refund.status == "SUBMITTED":
        # Its event tells us when it is through; look ourselves in case that never comes.
        refund.leased_until = None
        refund.due_at = utcnow() + _PENDING_REFUND_CHECK


def _follow_refunds(payment: Payment) -> None:
    if payment.refunded_minor == 0:
        to = "SUCCEEDED"
    elif payment.refunded_minor == payment.amount_minor:
        to = "REFUNDED"
    else:
        to = "PARTIALLY_REFUNDED"
    if payment.status != to:
        stamped = payment.succeeded_at
        move(payment, to)
        payment.succeeded_at = stamped
        audit.record(STRIPE, "payment.refunded", payment)
