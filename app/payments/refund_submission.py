"""Refunds at Stripe: submitted by a job, settled by what Stripe says, and those that were made in its dashboard."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from app.audit import service as audit
from app.audit.actor import STRIPE, SYSTEM
from app.db import lock, require_transaction, transaction, utcnow
from app.errors import Conflict, NotFound, Unavailable
from app.extensions import db
from app.logs import request_id
from app.payments import disputed, holds, ledger, refundable, stripe_gateway
from app.payments.models import Payment, Refund
from app.payments.refunds import new_key
from app.payments.stripe_gateway import KeptFailure
from app.payments.stripe_objects import StripeRefund
from app.states import may_move, move

_PENDING_CHECK = timedelta(hours=6)
_HELD_CHECK = timedelta(hours=1)
# https://docs.stripe.com/api/refunds/object#refund_object-status
_FAILED = ("failed", "canceled")
_NO_ROOM = "Stripe has refunded so much else meanwhile that nothing is left for it."


def submit(refund_id: int) -> None:
    """Have Stripe pay an approved refund. State and shares are committed before the call, so an unknown outcome is
    looked up and asked again with the same key; while its payment is held by now, it is looked up only.

    Raises Unavailable when Stripe gave no answer.
    """
    with transaction():
        payment, refund = refundable.lock_with_payment(refund_id)
        if refund.due_at is None or refund.status not in ("APPROVED", "SUBMITTED"):
            return
        asked_before = refund.status == "SUBMITTED"
        if not asked_before:
            refundable.submit_shares(payment, refund)
            move(refund, "SUBMITTED")
            audit.record(SYSTEM, "refund.submit", refund)
        intent_id, amount, key = payment.stripe_payment_intent_id, refund.amount_minor, refund.idempotency_key
        submission, known_id = refund.submission, refund.stripe_refund_id
        paid_minor, is_held = payment.amount_minor, bool(holds.of(payment.id))
    if intent_id is None:
        raise NotFound(f"Payment {payment.id} has no Stripe intent to refund.")
    answer = None
    if known_id is not None:
        # Pending when Stripe last told of it; one of its dashboard has no mark of ours to be found by.
        answer = stripe_gateway.retrieve_refund(known_id)
    elif asked_before:
        # Asked without an answer, or about to ask when the worker died: look first whether the money has left.
        made = stripe_gateway.refunds_of(intent_id)
        answer = next((one for one in made if (one.refund_id, one.submission) == (refund_id, submission)), None)
        if answer is None and is_held and amount > paid_minor - _standing_minor(made):
            # Waiting for a hold, it would keep room that what Stripe has made needs in the books.
            answer = StripeRefund("", "failed", _NO_ROOM, refund_id=refund_id, submission=submission)
    if answer is None and is_held:
        _look_again_later(refund_id, submission)
        return
    if answer is None:
        answer = _create(intent_id, amount, key, refund_id, submission)
    with transaction():
        settle(refund_id, answer)


def _standing_minor(made: list[StripeRefund]) -> int:
    return sum(refund.amount_minor for refund in made if refund.status not in _FAILED)


def _look_again_later(refund_id: int, submission: int) -> None:
    """Stripe has not made it, and a hold keeps us from asking for it: whoever lifts that hands it out."""
    with transaction():
        payment, refund = refundable.lock_with_payment(refund_id)
        if not _is_asked(refund, submission) or not holds.of(payment.id):
            return
        refund.leased_until, refund.due_at = None, utcnow() + _HELD_CHECK
        refund.last_error = "Stripe has not made it, and is not asked again before the hold of its payment is lifted."


def _create(intent_id: str, amount_minor: int, key: str, refund_id: int, submission: int) -> StripeRefund:
    try:
        return stripe_gateway.create_refund(
            intent_id=intent_id, amount_minor=amount_minor, key=key, refund_id=refund_id, submission=submission
        )
    except Conflict as refusal:
        return StripeRefund("", "failed", refusal.detail, refund_id=refund_id, submission=submission)
    except KeptFailure:
        # The next try looks first, so a new key can't pay twice. Meanwhile it may be another submission's turn.
        with transaction():
            refund = lock(Refund, refund_id)
            if refund.idempotency_key == key:
                refund.idempotency_key = new_key()
        raise


def is_about_ours(stripe_refund_id: str, intent_id: str | None) -> bool:
    """Whether one of Stripe's refunds is of a payment of ours, as far as an event about it tells."""
    known = select(Refund.id).where(Refund.stripe_refund_id == stripe_refund_id)
    return db.session.scalar(known) is not None or _payment_with(intent_id) is not None


def told(answer: StripeRefund) -> None:
    """Stripe tells of a refund: ours is settled; one made in its dashboard gets its row first, as does a second one
    that it made for a submission of ours.

    Told twice, or of an earlier submission, it does nothing. Raises NotFound when its payment isn't ours, Unavailable
    while more would be refunded than was paid: Stripe has refused or failed another one, and has yet to tell of it.
    """
    with transaction():
        known = db.session.scalar(select(Refund).where(Refund.stripe_refund_id == answer.id))
        payment_id = known.payment_id if known else _payment_with(answer.intent_id)
        if payment_id is None:
            raise NotFound(f"No payment here belongs to {answer.id}.")
        _take_over(lock(Payment, payment_id), answer)


def _payment_with(intent_id: str | None) -> int | None:
    # A refund without an intent is none of ours, and payments that have none yet are not its.
    return db.session.scalar(select(Payment.id).where(Payment.stripe_payment_intent_id == (intent_id or "")))


def _row_of(payment: Payment, answer: StripeRefund) -> Refund | None:
    """Our refund behind one of Stripe's, read under the payment's lock; None where the books have it already, or it
    moved nothing.
    """
    mine = select(Refund).where(Refund.payment_id == payment.id).execution_options(populate_existing=True)
    known = db.session.scalar(mine.where(Refund.stripe_refund_id == answer.id))
    if known is not None:
        return known
    marked = db.session.scalar(mine.where(Refund.id == answer.refund_id)) if answer.refund_id else None
    if marked is None or _is_asked(marked, answer.submission):
        return marked or _from_dashboard(payment, answer)
    # Of an earlier submission, which has failed, or a second one for the same: our keys and the search before a new one
    # keep Stripe from that, but what it did all the same is booked.
    is_settled = answer.status in _FAILED and not answer.came_back
    return None if is_settled or ledger.posted_of(answer.id) else _from_dashboard(payment, answer, marked)


def _is_asked(refund: Refund, submission: int) -> bool:
    """Whether Stripe was asked for this submission, and has told nothing of it yet."""
    return (refund.status, refund.submission, refund.stripe_refund_id) == ("SUBMITTED", submission, None)


def _from_dashboard(payment: Payment, answer: StripeRefund, marked: Refund | None = None) -> Refund:
    because = "Refunded in Stripe's dashboard meanwhile."
    # What has failed by now needs no room, and is borne by nobody.
    stands = answer.status not in _FAILED
    if stands and not refundable.make_room_at_stripe(payment, answer.amount_minor, because=because):
        raise Unavailable("Other refunds of this payment are still under way at Stripe.")
    now = utcnow()
    refund = Refund(
        payment_id=payment.id,
        status="SUBMITTED",
        kind=refundable.kind_for(payment, "standard"),
        amount_minor=answer.amount_minor,
        currency=payment.currency,
        reason="stripe_dashboard",
        note=f"Stripe made it for refund {marked.id}, which has another one there or has failed." if marked else None,
        idempotency_key=new_key(),
        stripe_refund_id=answer.id,
        submitted_at=now,
        created_at=now,
        due_at=now,
        request_id=request_id.get(),
    )
    db.session.add(refund)
    db.session.flush()
    if stands:
        with disputed.borne_anew(payment):
            refundable.submit_shares(payment, refund)
    audit.record(STRIPE, "refund.dashboard", refund, reason=refund.note)
    if stands:
        holds.give_way(payment, because=because)
    return refund


def settle(refund_id: int, answer: StripeRefund) -> None:
    """Take over what Stripe answered to a refund of ours: paid, pending, or failed; the ledger follows. Told twice, or
    of an earlier submission, it does nothing.
    """
    require_transaction()
    payment, _ = refundable.lock_with_payment(refund_id)
    _take_over(payment, answer)


def _take_over(payment: Payment, answer: StripeRefund) -> None:
    row = _row_of(payment, answer)
    if row is None:
        return
    refund = lock(Refund, row.id)
    if answer.id:
        refund.stripe_refund_id = answer.id
    if answer.status == "succeeded" and may_move(refund, "SUCCEEDED"):
        move(refund, "SUCCEEDED")
        refund.finished()
        payment.refunded_minor += refund.amount_minor
        ledger.post_refund_paid(payment, refund)
        _follow(payment)
        audit.record(STRIPE, "refund.succeeded", refund)
    elif answer.status in _FAILED and refund.status in ("SUBMITTED", "SUCCEEDED"):
        _fail(payment, refund, answer)
    elif answer.status in ("pending", "requires_action") and refund.status == "SUBMITTED":
        if answer.has_left:
            # Stripe's balance pays at once, however long the traveller's bank takes.
            ledger.post_refund_paid(payment, refund)
        # Its event tells us when it is through; look ourselves in case that never comes.
        refund.leased_until = None
        refund.due_at = utcnow() + _PENDING_CHECK


def _fail(payment: Payment, refund: Refund, answer: StripeRefund) -> None:
    was_paid = refund.status == "SUCCEEDED"
    move(refund, "FAILED")
    refund.finished()
    refund.failure_reason = answer.failure_reason or answer.status
    if answer.came_back and not was_paid:
        # It left Stripe's balance and came back while it was pending: both happened there.
        ledger.post_refund_paid(payment, refund)
    if answer.came_back or was_paid:
        ledger.post_refund_failed(payment, refund)
    with disputed.borne_anew(payment):
        ledger.reverse_refund_shares(refund)
    if was_paid:
        payment.refunded_minor -= refund.amount_minor
        _follow(payment)
    audit.record(STRIPE, "refund.failed", refund)


def _follow(payment: Payment) -> None:
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
