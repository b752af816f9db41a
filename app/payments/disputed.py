"""What a chargeback does to the books: taken while it is open, given back when won, borne by the sides when lost."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import case, func, or_, select

from app.audit import service as audit
from app.audit.actor import STRIPE
from app.db import require_transaction
from app.extensions import db
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
    """Post what a dispute has moved, and once it is lost who bears it. What is posted already is left as it is.

    The payment is locked; its `disputed_minor` follows.
    """
    require_transaction()
    amounts = {
        "dispute.withdrawn": movements.withdrawn_minor,
        "dispute.fee": movements.fee_minor,
        "dispute.reinstated": movements.reinstated_minor,
        "dispute.fee_returned": movements.fee_returned_minor,
    }
    ledger.post_dispute(payment, amounts, stripe_dispute_id=stripe_dispute_id)
    rest = movements.withdrawn_minor - movements.reinstated_minor
    if is_lost and rest > 0 and not _is_borne(stripe_dispute_id):
        ledger.post_dispute(payment, _borne(payment, rest), stripe_dispute_id=stripe_dispute_id)
    disputed_minor = min(_withdrawn(payment), payment.amount_minor)
    if payment.disputed_minor != disputed_minor:
        payment.disputed_minor = disputed_minor
        audit.record(STRIPE, "payment.disputed", payment)


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


def _is_borne(stripe_dispute_id: str) -> bool:
    lost = select(LedgerEntry.id).where(
        LedgerEntry.source_id == stripe_dispute_id, LedgerEntry.kind.like("dispute.lost.%")
    )
    return db.session.scalar(lost.limit(1)) is not None


def _still_owed(payment: Payment) -> int:
    """What the traveller of a payment that was never ours is still owed, without what is on its way at Stripe."""
    owed = ledger.balance_of(payment.id, ledger.REFUNDS_PAYABLE)
    on_its_way: int = db.session.scalars(
        select(func.coalesce(func.sum(Refund.amount_minor), 0)).where(
            Refund.payment_id == payment.id, Refund.status == "SUBMITTED"
        )
    ).one()
    return max(-owed - int(on_its_way), 0)


def _withdrawn(payment: Payment) -> int:
    """What all disputes of a payment have taken and not given back, as posted."""
    moved = func.sum(
        case((LedgerEntry.credit_account == ledger.STRIPE_BALANCE, 1), else_=-1) * LedgerEntry.amount_minor
    )
    of_disputes = or_(LedgerEntry.kind.like("dispute.withdrawn%"), LedgerEntry.kind.like("dispute.reinstated%"))
    found = db.session.scalar(select(moved).where(LedgerEntry.payment_id == payment.id, of_disputes))
    return max(int(found or 0), 0)
