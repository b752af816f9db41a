"""What a cancelled booking gives back of its payment: reckoned before anybody confirms it, and again under the lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from app.audit import service as audit
from app.audit.actor import Actor
from app.db import require_transaction, utcnow
from app.extensions import db
from app.money import written
from app.payments import ledger, refundable, refunds
from app.payments.models import Payment, Refund
from app.payments.refundable import OVER
from app.states import move

# The client key of the refund that a cancellation begins.
BEGUN = "cancellation"
# What was asked for and nobody has approved: the cancellation decides on the same money.
_OPEN = "PENDING_APPROVAL"


@dataclass(frozen=True)
class Due:
    """How the money of a payment is divided once its booking is cancelled; amounts in minor units.

    `refunded_minor` has gone back or is on its way already and counts towards what is promised, `refund_minor` follows
    now, and `beyond_minor` is what could go back on top of it. The rest is what both sides keep.
    """

    paid_minor: int
    refunded_minor: int
    goodwill_minor: int
    disputed_minor: int
    refund_minor: int
    beyond_minor: int
    provider_minor: int
    commission_minor: int


NOTHING = Due(0, 0, 0, 0, 0, 0, 0, 0)


def reckon(payment: Payment | None, promised_minor: int) -> Due:
    """Divide a payment of which this much is promised back. One that was never captured has nothing to divide.

    Goodwill of before is a gift and doesn't count towards what is promised; requests that nobody has approved yet don't
    either: they give way. A verb that acts on it holds the payment's lock.
    """
    if payment is None or payment.succeeded_at is None:
        return NOTHING
    live = db.session.scalars(select(Refund).where(Refund.payment_id == payment.id, Refund.status.not_in(OVER))).all()
    promised = [refund for refund in live if not _is_open(refund)]
    given = sum(refund.amount_minor for refund in promised if refund.kind == "goodwill")
    counted = sum(refund.amount_minor for refund in promised) - given
    room = max(payment.amount_minor - counted - given - payment.disputed_minor, 0)
    refund_minor = min(max(promised_minor - counted, 0), room)
    # What is approved has not reached the books before it is submitted.
    coming = sum(refund.amount_minor for refund in promised if _is_unposted(refund))
    sides = ledger.sides_of(payment.id)
    taken = min(coming + refund_minor, sides.provider_minor + sides.commission_minor)
    shares = refundable.shares_of(payment, taken, "standard")
    return Due(
        paid_minor=payment.amount_minor,
        refunded_minor=counted,
        goodwill_minor=given,
        disputed_minor=payment.disputed_minor,
        refund_minor=refund_minor,
        beyond_minor=room - refund_minor,
        provider_minor=sides.provider_minor - shares["provider_minor"],
        commission_minor=sides.commission_minor - shares["commission_minor"],
    )


def is_owed_back(payment: Payment) -> bool:
    """Whether no booking took this payment, so that all of it goes back."""
    return ledger.sides_of(payment.id).owed_back


def give_back(payment: Payment, due: Due, *, reason: str, everything: bool, by: Actor) -> list[Refund]:
    """Start what is due, and with `everything` ask for the rest as goodwill, by the rules of refunds: a second person
    may have to approve it. Requests that stand in the way give way. The caller holds the payment's lock.

    Raises NotAllowed, and Conflict for goodwill while the payment is held.
    """
    require_transaction()
    goodwill_minor = due.beyond_minor if everything else 0
    _make_room(payment, due.refund_minor + goodwill_minor, by=by)
    started = []
    if due.refund_minor:
        refund = refunds.by_policy(payment, amount_minor=due.refund_minor, reason=reason, by=by)
        refund.client_key = BEGUN
        started.append(refund)
    if goodwill_minor:
        started.append(
            refunds.request(
                payment.id,
                amount_minor=goodwill_minor,
                reason="goodwill",
                note="Everything comes back, beyond what the cancellation promises.",
                kind="goodwill",
                key=f"{BEGUN}_goodwill",
                by=by,
                again=True,
            )
        )
    return started


def started_by(payment_id: int) -> Sequence[Refund]:
    """The refunds that the cancellation of a payment's booking began, by id."""
    keys = (BEGUN, f"{BEGUN}_goodwill")
    begun = select(Refund).where(Refund.payment_id == payment_id, Refund.client_key.in_(keys))
    return db.session.scalars(begun.order_by(Refund.id)).all()


def _is_open(refund: Refund) -> bool:
    return _OPEN in (refund.status, refund.held_status)


def _is_unposted(refund: Refund) -> bool:
    return refund.kind == "standard" and "APPROVED" in (refund.status, refund.held_status)


def _make_room(payment: Payment, amount_minor: int, *, by: Actor) -> None:
    """Reject requests that nobody has approved, the newest first, until this much is left."""
    short = amount_minor - refundable.left_of(payment)
    for refund in reversed(refundable.lock_all(payment, _OPEN, "ON_HOLD")):
        if short <= 0:
            return
        if not _is_open(refund):
            continue
        if refund.status == "ON_HOLD":
            move(refund, _OPEN)
            refund.held_status = None
        move(refund, "REJECTED")
        refund.decided_by_id, refund.decided_at = by.id, utcnow()
        why = f"The booking was cancelled; {written(amount_minor, payment.currency)} comes back with that instead."
        audit.record(by, "refund.reject", refund, reason=why)
        short -= refund.amount_minor
