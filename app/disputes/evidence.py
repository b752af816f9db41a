"""Verbs of answering a chargeback: evidence is staged, submitted once, or the dispute accepted; a job asks Stripe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, case, func

from app.audit import edits, reasons
from app.audit import service as audit
from app.audit.actor import STRIPE, Actor
from app.audit.edits import Editable
from app.db import lock, transaction, utcnow
from app.disputes import chargebacks
from app.disputes.chargebacks import MAY_ACT, lock_with_payment
from app.disputes.models import UNDECIDED, Dispute
from app.errors import Conflict, Invalid
from app.extensions import db
from app.payments import stripe_gateway
from app.payments.stripe_gateway import KeptFailure
from app.payments.stripe_objects import StripeDispute
from app.states import in_words

# Stripe takes 20,000 characters a field and 150,000 of all (https://docs.stripe.com/api/disputes/update).
MOST = {
    "customer_name": 500,
    "customer_email_address": 500,
    "service_date": 500,
    "product_description": 15_000,
    "cancellation_policy_disclosure": 15_000,
    "cancellation_rebuttal": 15_000,
    "refund_policy_disclosure": 15_000,
    "refund_refusal_explanation": 15_000,
    "uncategorized_text": 15_000,
}
# What Stripe is being asked, in words.
ASKED = {"STAGE": "staged", "SUBMIT": "submitted to the bank", "ACCEPT": "accepted"}


def _reader(name: str) -> Callable[[str], str]:
    def read(typed: str) -> str:
        if len(typed) > MOST[name]:
            raise Invalid.field(name, f"Use at most {MOST[name]:,} characters.")
        return typed.strip()

    return read


FIELDS = {name: Editable(name, _reader(name)) for name in MOST}


def written_of(dispute: Dispute) -> dict[str, str]:
    """What we say so far, without the empty fields."""
    return {name: value for name in MOST if (value := getattr(dispute, name))}


def is_staged(dispute: Dispute) -> bool:
    """Whether Stripe has exactly what we say so far."""
    return bool(dispute.evidence_at_stripe) and dispute.evidence_at_stripe == written_of(dispute)


# The same of a row as an expression: where the evidence is; NULL where the dispute was over before any was submitted.
_WRITTEN = func.jsonb_strip_nulls(
    func.jsonb_build_object(*chain.from_iterable((name, func.nullif(getattr(Dispute, name), "")) for name in MOST))
)
STATE: ColumnElement[str | None] = case(
    (Dispute.submitted_at.is_not(None), "SUBMITTED"),
    (Dispute.status.not_in(UNDECIDED), None),
    (and_(Dispute.evidence_at_stripe != {}, Dispute.evidence_at_stripe == _WRITTEN), "STAGED"),
    else_="DRAFT",
)


def why_not_answer(dispute: Dispute) -> str | None:
    """Why no evidence can be written or submitted now, in words; None when it can."""
    if dispute.status not in UNDECIDED:
        return f"This dispute is {in_words(dispute.status)}."
    if dispute.submitted_at is not None:
        return "The evidence was submitted; Stripe takes it once."
    if not dispute.needs_response or dispute.evidence_due_by is None:
        return "The bank takes no evidence for this dispute."
    if dispute.evidence_due_by <= utcnow():
        return "The time to answer is over."
    return _why_not_ask(dispute)


def why_not_submit(dispute: Dispute) -> str | None:
    """Why the evidence can't be submitted now, in words; None when it can."""
    if (refusal := why_not_answer(dispute)) is not None:
        return refusal
    return None if is_staged(dispute) else "Stage the evidence first: what is submitted is what Stripe shows as staged."


def why_not_accept(dispute: Dispute) -> str | None:
    """Why the dispute can't be accepted now, in words; None when it can."""
    if dispute.status not in UNDECIDED or not dispute.needs_response:
        return "Only a dispute that waits for our answer can be accepted."
    return _why_not_ask(dispute)


def _why_not_ask(dispute: Dispute) -> str | None:
    if dispute.asked is not None and dispute.due_at is not None:
        return f"It is being {ASKED[dispute.asked]} at the moment; wait for Stripe's answer."
    return None


def stage(dispute_id: int, typed: Mapping[str, str], *, seen: int, by: Actor) -> Dispute:
    """Keep what is said against a dispute, opened at the version `seen`, and have Stripe keep it, too; the bank sees
    nothing of it yet.

    Raises NotAllowed, NotFound, Invalid by field, SavedMeanwhile, Conflict when no evidence is taken any more.
    """
    by.require(*MAY_ACT)
    with transaction():
        dispute = lock_with_payment(dispute_id)
        _refuse(why_not_answer(dispute))
        for column, value in edits.merge(dispute, FIELDS, typed, seen=seen).items():
            setattr(dispute, column, value)
        if not written_of(dispute):
            raise Invalid("There is no evidence. Say something in at least one field.")
        _ask(dispute, "STAGE", "dispute.stage", by=by)
    return dispute


def submit(dispute_id: int, *, by: Actor) -> Dispute:
    """Have the bank get what is staged. It works once and can't be taken back.

    Raises NotAllowed, NotFound, Conflict when it can't be submitted now.
    """
    by.require(*MAY_ACT)
    with transaction():
        dispute = lock_with_payment(dispute_id)
        _refuse(why_not_submit(dispute))
        _ask(dispute, "SUBMIT", "dispute.submit", by=by)
    return dispute


def accept(dispute_id: int, *, by: Actor, reason: str | None) -> Dispute:
    """Give a dispute up: it is lost for good. Raises NotAllowed, NotFound, Invalid without a reason, Conflict."""
    by.require(*MAY_ACT)
    reason = reasons.given(reason)
    with transaction():
        dispute = lock_with_payment(dispute_id)
        _refuse(why_not_accept(dispute))
        _ask(dispute, "ACCEPT", "dispute.accept", by=by, reason=reason)
    return dispute


def _refuse(refusal: str | None) -> None:
    if refusal is not None:
        raise Conflict(refusal)


def _ask(dispute: Dispute, what: str, action: str, *, by: Actor, reason: str | None = None) -> None:
    dispute.asked, dispute.asked_by_id, dispute.idempotency_key = what, by.id, _new_key()
    dispute.attempts, dispute.refusal = 0, None
    dispute.hand_out()
    audit.record(by, action, dispute, reason=reason)


def _new_key() -> str:
    return f"dispute_{uuid4().hex}"


def send(dispute_id: int) -> None:
    """Ask Stripe what somebody has decided, once however often this runs, and take over what it answers.

    What Stripe refuses is looked up, as the answer before may have been lost. Raises Unavailable.
    """
    dispute = db.session.get(Dispute, dispute_id)
    if dispute is None or dispute.due_at is None or dispute.asked is None:
        return
    asked, key, stripe_id = dispute.asked, dispute.idempotency_key or "", dispute.stripe_dispute_id or ""
    # A field that was emptied is taken back.
    said = {**dict.fromkeys(dispute.evidence_at_stripe, ""), **written_of(dispute)}
    refusal = None
    try:
        told = _told_by_stripe(asked, stripe_id, said, key)
    except Conflict as conflict:
        # Where it was done already, or is decided, its state ends this, and the refusal counts for nothing.
        told, refusal = stripe_gateway.retrieve_dispute(stripe_id), conflict.detail
    except KeptFailure:
        # Asked under another key, what was done after all is refused, and found.
        with transaction():
            lock_with_payment(dispute_id).idempotency_key = _new_key()
        raise
    _answered(dispute_id, key, told, refusal)


def _told_by_stripe(asked: str, stripe_id: str, said: Mapping[str, str], key: str) -> StripeDispute:
    if asked == "ACCEPT":
        return stripe_gateway.close_dispute(stripe_id, key=key)
    if asked == "SUBMIT":
        return stripe_gateway.submit_evidence(stripe_id, said, key=key)
    return stripe_gateway.stage_evidence(stripe_id, said, key=key)


def _answered(dispute_id: int, key: str, told: StripeDispute, refusal: str | None) -> None:
    with transaction():
        chargebacks.changed(told)
        dispute = lock(Dispute, dispute_id)
        if dispute.idempotency_key != key:
            # Its event came before, and has ended this; or it is asked something else already.
            return
        dispute.asked = dispute.idempotency_key = None
        dispute.finished()
        dispute.refusal = refusal
        audit.record(STRIPE, "dispute.refused" if refusal else "dispute.answered", dispute, reason=refusal)
