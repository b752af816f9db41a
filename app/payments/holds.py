"""Holds on a payment: while one stands, nothing of it is refunded, by whatever door somebody comes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, select

from app.audit import service as audit
from app.audit.actor import Actor
from app.config import settings
from app.db import lock, transaction, utcnow
from app.errors import Conflict
from app.extensions import db
from app.payments import refundable
from app.payments.models import Payment, PaymentHold, Refund
from app.states import move

BY_DISPUTE = "The money went to the traveller by a dispute."


@dataclass(frozen=True)
class Hold:
    """Why a payment is held and until when, for whoever is shown it; without `until`, until somebody lifts it."""

    source: str
    reason: str
    until: datetime | None
    placed_at: datetime

    @property
    def words(self) -> str:
        """The reason as a sentence with its deadline."""
        held, reason = "Refunds of this payment are on hold", self.reason.rstrip(".")
        at = f"{self.until.day} {self.until:%b %Y at %H:%M} UTC" if self.until else None
        if self.source.startswith("dispute:"):
            # Its deadline is that of our evidence: it is held for as long as nobody has decided.
            due = f"; evidence is due by {at}" if at else ""
            return f"{held} until the dispute is decided: {reason}{due}."
        return f"{held}, until {at}: {reason}." if at else f"{held}: {reason}."


def of(payment_id: int) -> list[Hold]:
    """The holds that stand, oldest first."""
    return [Hold(row.source, row.reason, row.until, row.placed_at) for row in db.session.scalars(_standing(payment_id))]


def refuse_if_held(payment: Payment) -> None:
    """Raises Conflict with the reason and the deadline when a locked payment is held."""
    if standing := of(payment.id):
        raise Conflict(" ".join(hold.words for hold in standing))


def place(payment_id: int, *, source: str, reason: str, until: datetime | None, by: Actor) -> None:
    """Hold a payment; refunds that Stripe has not heard of are put aside as they are. Placed again by the same source,
    its reason and deadline are replaced.

    What Stripe has made goes on; what it was asked for, and has not made, is not asked for again. Raises NotFound,
    Conflict when the source holds another payment.
    """
    with transaction():
        payment = lock(Payment, payment_id)
        hold = db.session.scalar(_live(source))
        if hold is not None and hold.payment_id != payment.id:
            raise Conflict(
                f"{source} holds payment {hold.payment_id} already, and can't hold payment {payment.id} too."
            )
        if hold is None:
            hold = PaymentHold(payment_id=payment.id, source=source, placed_by=by.label)
            db.session.add(hold)
        else:
            hold = lock(PaymentHold, hold.id)
        hold.reason, hold.until = reason, until
        audit.record(by, "payment.hold", payment, reason=reason, after={"source": source, "until": until})
        for refund in refundable.lock_all(payment, "PENDING_APPROVAL", "APPROVED"):
            _put_aside(refund, by=by, reason=reason)


def lift(source: str, *, by: Actor, reason: str) -> None:
    """Lift what a source has placed, if it still stands; with the last hold gone, refunds go on from where they were.

    Those that no money is left for, as a dispute was lost, give way, the newest first.
    """
    with transaction():
        payment_id = db.session.scalar(_live(source).with_only_columns(PaymentHold.payment_id))
        if payment_id is None:
            return
        payment = lock(Payment, payment_id)
        hold = db.session.scalar(_live(source).with_for_update().execution_options(populate_existing=True))
        if hold is None:
            return
        hold.lifted_at, hold.lifted_by, hold.lifted_because = utcnow(), by.label, reason
        audit.record(by, "payment.release", payment, reason=reason, after={"source": source})
        if of(payment.id):
            return
        give_way(payment, because=BY_DISPUTE)
        for refund in refundable.lock_all(payment, "ON_HOLD"):
            _go_on(refund, by=by, reason=reason)
        for refund in refundable.lock_all(payment, "SUBMITTED"):
            if refund.stripe_refund_id is None and refund.due_at is not None:
                # Asked for without an answer, and only looked up since.
                refund.hand_out()


def give_way(payment: Payment, *, because: str) -> None:
    """Where nothing holds a locked payment, refunds that no money is left for give way, the newest first. While it is
    held they wait, as the money may come back.
    """
    if not of(payment.id):
        refundable.make_room(payment, 0, because=because)


def put_new_aside(payment: Payment, refund: Refund, *, by: Actor) -> bool:
    """Put a new refund aside at once where its payment is held; says whether. The payment is locked."""
    standing = of(payment.id)
    if standing:
        _put_aside(refund, by=by, reason=standing[0].reason)
    return bool(standing)


def _put_aside(refund: Refund, *, by: Actor, reason: str) -> None:
    refund.held_status = refund.status
    move(refund, "ON_HOLD")
    refund.finished()
    audit.record(by, "refund.hold", refund, reason=reason)


def _go_on(refund: Refund, *, by: Actor, reason: str) -> None:
    to = refund.held_status or "PENDING_APPROVAL"
    refund.held_status = None
    move(refund, to)
    if to == "APPROVED":
        refund.hand_out()
    else:
        # Nobody could decide meanwhile.
        refund.expires_at = utcnow() + timedelta(days=settings().refund_approval_days)
    audit.record(by, "refund.release", refund, reason=reason)


def _standing(payment_id: int) -> Select[Any]:
    return (
        select(PaymentHold)
        .where(PaymentHold.payment_id == payment_id, PaymentHold.lifted_at.is_(None))
        .order_by(PaymentHold.id)
        .execution_options(populate_existing=True)
    )


def _live(source: str) -> Select[Any]:
    return select(PaymentHold).where(PaymentHold.source == source, PaymentHold.lifted_at.is_(None))
