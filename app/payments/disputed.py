"""What a chargeback does to the books: taken while it is open, given back when won, borne by the sides when lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import case, func, or_, select

from app.audit import service as audit
from app.audit.actor import STRIPE, Actor
from app.db import require_transaction
from app.errors import Conflict
from app.extensions import db
from app.money import written
from app.payments import ledger, refundable
from app.payments.models import LedgerEntry, Payment, Refund


@dataclass(frozen=True)
class Movements:
    """What one dispute has moved on our Stripe balance so far, in minor units, each above zero."""

    withdrawn_minor: int
    fee_minor: int
    reinstated_minor: int
    fee_returned_minor: int


def book(payment: Payment, movements: Movements, *, stripe_dispute_id: str, is_lost: bool) -> None:
    """Post what a dispute has moved, and once it is lost who bears it; that is taken back, or borne anew, where it was
    decided otherwise or part of it came back later.

    The payment is locked; its `disputed_minor` follows. Raises Conflict where Stripe has moved more than once in one
    direction.
    """
    require_transaction()
    amounts = {
        "dispute.withdrawn": movements.withdrawn_minor,
        "dispute.fee": movements.fee_minor,
        "dispute.reinstated": movements.reinstated_minor,
        "dispute.fee_returned": movements.fee_returned_minor,
    }
    ledger.post_dispute(payment, amounts, stripe_dispute_id=stripe_dispute_id)
    _refuse_more(payment, amounts, stripe_dispute_id)
    rest = max(movements.withdrawn_minor - movements.reinstated_minor, 0) if is_lost else 0
    borne = ledger.losses_of(payment.id)
    if stripe_dispute_id not in borne:
        _bear(payment, stripe_dispute_id, rest)
    elif borne[stripe_dispute_id] != rest:
        ledger.reverse_losses(payment.id)
        for dispute_id, minor in (borne | {stripe_dispute_id: rest}).items():
            _bear(payment, dispute_id, minor)
    follow(payment, by=STRIPE)


def follow(payment: Payment, *, by: Actor) -> None:
    """Have `disputed_minor` be what all disputes of a locked payment have taken and not given back, as posted."""
    disputed_minor = min(_withdrawn(payment), payment.amount_minor)
    if payment.disputed_minor != disputed_minor:
        payment.disputed_minor = disputed_minor
        audit.record(by, "payment.disputed", payment)


def _refuse_more(payment: Payment, amounts: dict[str, int], stripe_dispute_id: str) -> None:
    """A dispute has one withdrawal and one reinstatement at most; what comes beside them is looked at by somebody.

    https://docs.stripe.com/api/disputes/object#dispute_object-balance_transactions
    """
    posted = dict.fromkeys(amounts, 0) | ledger.posted_of(stripe_dispute_id)
    for kind, minor in amounts.items():
        if posted[kind] != minor:
            raise Conflict(
                f"Stripe has moved {written(minor, payment.currency)} for {stripe_dispute_id}, but"
                f" {written(posted[kind], payment.currency)} is booked as {kind}: it moved money twice, which the books"
                " can't follow by themselves. Book the rest as a difference."
            )


@contextmanager
def borne_anew(payment: Payment) -> Iterator[None]:
    """What refunds of a payment take changes by what Stripe tells: its lost disputes are borne anew, by whoever has
    something left then, as if that had been told first. The payment is locked.
    """
    borne = ledger.losses_of(payment.id)
    ledger.reverse_losses(payment.id)
    yield
    for dispute_id, minor in borne.items():
        _bear(payment, dispute_id, minor)


def _bear(payment: Payment, stripe_dispute_id: str, amount_minor: int) -> None:
    if amount_minor:
        ledger.post_loss(payment, _borne(payment, amount_minor), stripe_dispute_id=stripe_dispute_id)


def _borne(payment: Payment, amount_minor: int) -> dict[str, int]:
    """Who bears a lost dispute, by entry kind: each side by its share as for a refund, and we what goes beyond what
    the payment has left, as it was refunded before.
    """
    sides = ledger.sides_of(payment.id)
    if sides.owed_back:
        borne = min(amount_minor, _still_owed(payment))
        return {"dispute.lost.owed_back": borne, "dispute.lost.excess": amount_minor - borne}
    borne = min(amount_minor, sides.provider_minor + sides.commission_minor)
    shares = refundable.shares_of(payment, borne, "standard")
    return {
        "dispute.lost.provider_share": shares["provider_minor"],
        "dispute.lost.commission": shares["commission_minor"],
        "dispute.lost.excess": amount_minor - borne,
    }


def _still_owed(payment: Payment) -> int:
    """What the traveller of a payment that was never ours is still owed, without what refunds have taken."""
    refunded: int = db.session.scalars(
        select(func.coalesce(func.sum(Refund.amount_minor), 0)).where(
            Refund.payment_id == payment.id, Refund.status.in_(("SUBMITTED", "SUCCEEDED"))
        )
    ).one()
    return max(payment.amount_minor - int(refunded) - sum(ledger.losses_of(payment.id).values()), 0)


def _withdrawn(payment: Payment) -> int:
    """What all disputes of a payment have taken and not given back, as posted."""
    moved = func.sum(
        case((LedgerEntry.credit_account == ledger.STRIPE_BALANCE, 1), else_=-1) * LedgerEntry.amount_minor
    )
    of_disputes = or_(LedgerEntry.kind.like("dispute.withdrawn%"), LedgerEntry.kind.like("dispute.reinstated%"))
    found = db.session.scalar(select(moved).where(LedgerEntry.payment_id == payment.id, of_disputes))
    return max(int(found or 0), 0)
