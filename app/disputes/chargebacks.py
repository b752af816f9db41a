"""What Stripe tells of a chargeback, taken over in one transaction: the dispute, the hold on its payment, the books."""

from __future__ import annotations

from sqlalchemy import or_, select

from app.audit import reasons
from app.audit import service as audit
from app.audit.actor import STRIPE, Actor
from app.db import changes, lock, require_transaction, transaction, utcnow
from app.disputes import prefill
from app.disputes.models import NEEDS_RESPONSE, NO_ANSWER, UNDECIDED, Dispute
from app.errors import Conflict, NotFound, Unavailable
from app.extensions import db
from app.logs import request_id
from app.payments import disputed, holds
from app.payments.disputed import Movements
from app.payments.models import Payment
from app.payments.stripe_objects import StripeDispute
from app.states import move

MAY_ACT = ("finance", "admin")

# https://docs.stripe.com/api/disputes/object#dispute_object-status; in the order in which they follow each other, of
# the last ones only one.
_STATUSES = {
    "warning_needs_response": "OPEN",
    "warning_under_review": "EVIDENCE_SUBMITTED",
    # An inquiry that ended without becoming a chargeback.
    "warning_closed": "WITHDRAWN",
    "needs_response": "OPEN",
    "under_review": "EVIDENCE_SUBMITTED",
    "won": "WON",
    "lost": "LOST",
    # Paid back by the network's own rules before it became a chargeback: without a fee, but the money is gone.
    "prevented": "LOST",
}
_ORDER = {status: place for place, status in enumerate(_STATUSES)} | dict.fromkeys(("won", "lost", "prevented"), 99)
# The same as people read them.
_STATUSES_IN_WORDS = {
    "warning_needs_response": "inquiry, needs a response",
    "warning_under_review": "inquiry, under review",
    "warning_closed": "inquiry, closed",
    "needs_response": "needs a response",
    "under_review": "under review",
    "won": "won",
    "lost": "lost",
    "prevented": "paid back before it became a chargeback",
}
_ENDINGS = {"WON": "The dispute was won", "LOST": "The dispute was lost", "WITHDRAWN": "The inquiry was closed"}
REASONS = {
    "bank_cannot_process": "the bank could not process it",
    "check_returned": "check returned",
    "credit_not_processed": "a promised refund did not come",
    "customer_initiated": "initiated by the customer",
    "debit_not_authorized": "debit not authorized",
    "duplicate": "charged twice",
    "fraudulent": "fraudulent",
    "general": "no reason given",
    "incorrect_account_details": "wrong account details",
    "insufficient_funds": "insufficient funds",
    "noncompliant": "not by the network's rules",
    "product_not_received": "not received",
    "product_unacceptable": "not as described",
    "subscription_canceled": "cancelled before it was charged",
    "unrecognized": "not recognized by the cardholder",
}


def reason_in_words(dispute: Dispute) -> str:
    """Why the cardholder disputes it, by what Stripe calls it; a reason that is new, by its own name."""
    return REASONS.get(dispute.reason, dispute.reason.replace("_", " "))


def stripe_status_in_words(dispute: Dispute) -> str | None:
    """Where a chargeback is at Stripe; None for a dispute that isn't there."""
    return _STATUSES_IN_WORDS[dispute.stripe_status].capitalize() if dispute.stripe_status else None


def is_about_ours(charge_id: str | None, intent_id: str | None) -> bool:
    """Whether a dispute of Stripe's is over a payment of ours, as far as an event about it tells."""
    return _payment_id(charge_id, intent_id) is not None


def changed(told: StripeDispute) -> Dispute:
    """Take over a dispute as Stripe shows it now: its facts and state, the hold on its payment, and the ledger.

    Told twice, or of what is older than what we know, it changes nothing. Raises NotFound when its payment isn't ours,
    Unavailable while that isn't booked as captured yet, Conflict for what Stripe has never said before.
    """
    with transaction():
        payment_id = _payment_id(told.charge_id, told.intent_id)
        if payment_id is None:
            raise NotFound(f"No payment here belongs to {told.id}.")
        payment = lock(Payment, payment_id)
        if payment.succeeded_at is None:
            raise Unavailable(f"Payment {payment.id} is not booked as captured yet.")
        if told.currency != payment.currency:
            raise Conflict(f"{told.id} is in {told.currency}, but payment {payment.id} in {payment.currency}.")
        if told.status not in _STATUSES:
            raise Conflict(f"{told.id} is {told.status} at Stripe, a state that is not known here.")
        dispute = _row_of(payment, told)
        if dispute is None:
            dispute = _open(payment, told)
        elif _is_older(told, dispute):
            return dispute
        _take(dispute, told)
        _move(dispute, _STATUSES[told.status])
        if not dispute.is_charge_refundable:
            # What was lifted while it was an inquiry is held again once it is a chargeback.
            dispute.hold_lifted_at = None
        _note(dispute)
        disputed.book(
            payment, _movements_of(dispute), stripe_dispute_id=told.id, is_lost=_STATUSES[told.status] == "LOST"
        )
        _hold(dispute)
        # What was decided before we heard of it was never held.
        holds.give_way(payment, because=holds.BY_DISPUTE)
    return dispute


def _payment_id(charge_id: str | None, intent_id: str | None) -> int | None:
    # What isn't given must not find the payments that have none.
    known = select(Payment.id).where(
        or_(Payment.stripe_payment_intent_id == (intent_id or ""), Payment.stripe_charge_id == (charge_id or ""))
    )
    return db.session.scalar(known.limit(1))


def _row_of(payment: Payment, told: StripeDispute) -> Dispute | None:
    """The row of this dispute, read under the payment's lock. An inquiry that had its answer and becomes a chargeback
    is answered anew, as another one: None.
    """
    newest = (
        select(Dispute.id)
        .where(Dispute.stripe_dispute_id == told.id, Dispute.payment_id == payment.id)
        .order_by(Dispute.id.desc())
        .limit(1)
    )
    dispute_id = db.session.scalar(newest)
    if dispute_id is None:
        return None
    dispute = lock(Dispute, dispute_id)
    is_chargeback_now = dispute.is_inquiry and not told.status.startswith("warning_")
    if not is_chargeback_now or dispute.status == "OPEN":
        return dispute
    if dispute.status in UNDECIDED:
        _move(dispute, "WITHDRAWN")
        audit.record(STRIPE, "dispute.escalate", dispute, reason="The bank has made a chargeback of it.")
        _hold(dispute)
    return None


def _open(payment: Payment, told: StripeDispute) -> Dispute:
    dispute = Dispute(
        source="CHARGEBACK",
        status="OPEN",
        payment_id=payment.id,
        booking_id=payment.booking_id,
        amount_minor=told.amount_minor,
        currency=told.currency,
        reason=told.reason,
        stripe_dispute_id=told.id,
        stripe_status=told.status,
        withdrawn_minor=0,
        reinstated_minor=0,
        fee_minor=0,
        fee_returned_minor=0,
        opened_at=told.created_at,
        request_id=request_id.get(),
        created_at=utcnow(),
        **prefill.of(payment),
    )
    db.session.add(dispute)
    return dispute


def _is_older(told: StripeDispute, dispute: Dispute) -> bool:
    """Whether another worker has heard later news from Stripe before this one came to write."""
    return _ORDER[told.status] < _ORDER[dispute.stripe_status or ""]


def _take(dispute: Dispute, told: StripeDispute) -> None:
    dispute.stripe_status, dispute.amount_minor, dispute.reason = told.status, told.amount_minor, told.reason
    dispute.is_charge_refundable = told.is_charge_refundable
    if dispute.evidence_due_by != told.due_by:
        dispute.evidence_due_by, dispute.reminded_hours = told.due_by, None
    if dispute.evidence_at_stripe != told.evidence:
        dispute.evidence_at_stripe = told.evidence
    # Nothing that was moved is ever unmoved, so whoever read less has read earlier.
    movements = _movements(told)
    dispute.withdrawn_minor = max(dispute.withdrawn_minor, movements.withdrawn_minor)
    dispute.fee_minor = max(dispute.fee_minor, movements.fee_minor)
    dispute.reinstated_minor = max(dispute.reinstated_minor, movements.reinstated_minor)
    dispute.fee_returned_minor = max(dispute.fee_returned_minor, movements.fee_returned_minor)


def _movements(told: StripeDispute) -> Movements:
    moved = told.movements
    return Movements(
        withdrawn_minor=-sum(min(one.amount_minor, 0) for one in moved),
        fee_minor=sum(max(one.fee_minor, 0) for one in moved),
        reinstated_minor=sum(max(one.amount_minor, 0) for one in moved),
        fee_returned_minor=-sum(min(one.fee_minor, 0) for one in moved),
    )


def _movements_of(dispute: Dispute) -> Movements:
    return Movements(dispute.withdrawn_minor, dispute.fee_minor, dispute.reinstated_minor, dispute.fee_returned_minor)


def _move(dispute: Dispute, to: str) -> None:
    if dispute.status != to:
        if (dispute.status, to) == ("WON", "LOST"):
            raise Conflict(
                f"{dispute.stripe_dispute_id} is lost at Stripe, but was won before and is booked so. Stripe documents"
                " no such turn: ask its support, and book what it moved as a difference."
            )
        move(dispute, to)
        # Whatever Stripe was to be asked, it has its answer, or comes too late.
        dispute.asked = dispute.idempotency_key = None
        dispute.finished()
    needs_answer = dispute.status in UNDECIDED and dispute.stripe_status in NEEDS_RESPONSE
    dispute.answer_by = (dispute.evidence_due_by or NO_ANSWER) if needs_answer else NO_ANSWER


_TOLD_AS = {
    "OPEN": "dispute.open",
    "EVIDENCE_SUBMITTED": "dispute.submitted",
    "WON": "dispute.won",
    "LOST": "dispute.lost",
    "WITHDRAWN": "dispute.withdrawn",
}


def _note(dispute: Dispute) -> None:
    """The audit entry of what Stripe told; none where it told nothing new."""
    db.session.flush()
    before, after = changes(dispute)
    if before is None:
        audit.record(STRIPE, "dispute.open", dispute)
    elif after:
        audit.record(STRIPE, _TOLD_AS[dispute.status] if "status" in after else "dispute.update", dispute)


def _hold(dispute: Dispute) -> None:
    """While nobody has decided, the payment is held, unless somebody has lifted that; after that it isn't."""
    require_transaction()
    source = dispute.hold_source
    if dispute.status not in UNDECIDED:
        holds.lift(source, by=STRIPE, reason=_ENDINGS[dispute.status])
        return
    if dispute.hold_lifted_at is not None:
        return
    reason, until = _why_held(dispute), dispute.evidence_due_by if dispute.needs_response else None
    if not any(
        (hold.source, hold.reason, hold.until) == (source, reason, until) for hold in holds.of(dispute.payment_id)
    ):
        holds.place(dispute.payment_id, source=source, reason=reason, until=until, by=STRIPE)


def _why_held(dispute: Dispute) -> str:
    what = "The cardholder's bank inquires into it" if dispute.is_inquiry else "The cardholder has charged it back"
    awaits = "" if dispute.needs_response else "; our evidence is with the bank"
    return f"{what} ({reason_in_words(dispute)}){awaits}"


def lift_hold(dispute_id: int, *, by: Actor, reason: str | None) -> Dispute:
    """Let refunds of a disputed payment go on though nobody has decided, where Stripe still lets it be refunded: while
    it is an inquiry, a refund may end it.

    Raises NotAllowed, NotFound, Invalid without a reason, Conflict when it is decided, lifted or not refundable.
    """
    by.require(*MAY_ACT)
    reason = reasons.given(reason)
    with transaction():
        dispute = lock_with_payment(dispute_id)
        if (refusal := why_not_lift(dispute)) is not None:
            raise Conflict(refusal)
        dispute.hold_lifted_at = utcnow()
        audit.record(by, "dispute.lift_hold", dispute, reason=reason)
        holds.lift(dispute.hold_source, by=by, reason=reason)
    return dispute


def why_not_lift(dispute: Dispute) -> str | None:
    """Why the hold of a dispute can't be lifted, in words; None when it can."""
    if dispute.status not in UNDECIDED:
        return "This dispute is decided; it holds nothing."
    if dispute.hold_lifted_at is not None:
        return "Its hold is lifted already."
    if not dispute.is_charge_refundable:
        return "Stripe doesn't let a charged back payment be refunded, so the hold stays until the bank has decided."
    return None


def lock_with_payment(dispute_id: int) -> Dispute:
    """A dispute, locked after its payment. Raises NotFound."""
    payment_id = db.session.scalar(select(Dispute.payment_id).where(Dispute.id == dispute_id))
    if payment_id is None:
        raise NotFound(f"There is no dispute {dispute_id}.")
    lock(Payment, payment_id)
    return lock(Dispute, dispute_id)
