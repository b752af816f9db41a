"""What of a payment can still go back, and who bears it: reckoned under the payment's lock by every verb of refunds."""

from __future__ import annotations

from sqlalchemy import func, select

from app.accounts.models import User
from app.audit import history
from app.audit import service as audit
from app.audit.actor import STRIPE, SYSTEM
from app.db import lock, utcnow
from app.errors import Conflict, NotFound
from app.extensions import db
from app.money import written
from app.payments import ledger
from app.payments.models import Payment, Refund
from app.states import move

# In these a refund takes nothing of its payment any more.
OVER = ("FAILED", "REJECTED", "EXPIRED")
# In these Stripe has not heard of it yet.
WAITING = ("PENDING_APPROVAL", "APPROVED", "ON_HOLD")


def lock_with_payment(refund_id: int) -> tuple[Payment, Refund]:
    """A refund and its payment, locked, the payment first. Raises NotFound."""
    payment_id = db.session.scalar(select(Refund.payment_id).where(Refund.id == refund_id))
    if payment_id is None:
        raise NotFound(f"There is no refund {refund_id}.")
    return lock(Payment, payment_id), lock(Refund, refund_id)


def lock_all(payment: Payment, *statuses: str) -> list[Refund]:
    """The refunds of a locked payment in these states, each locked, in the order of their ids."""
    wanted = select(Refund.id).where(Refund.payment_id == payment.id, Refund.status.in_(statuses)).order_by(Refund.id)
    return [lock(Refund, refund_id) for refund_id in db.session.scalars(wanted).all()]


def left_of(payment: Payment) -> int:
    """What can still be refunded of a captured payment, in minor units: its amount without what refunds that are under
    way or paid take, and without what a dispute has withdrawn.

    Below zero when a dispute took what refunds on hold were meant to, or what was refunded in Stripe's dashboard.
    """
    return _not_refunded(payment) - payment.disputed_minor


def _not_refunded(payment: Payment) -> int:
    if payment.succeeded_at is None:
        return 0
    taken: int = db.session.scalars(
        select(func.coalesce(func.sum(Refund.amount_minor), 0)).where(
            Refund.payment_id == payment.id, Refund.status.not_in(OVER)
        )
    ).one()
    return payment.amount_minor - int(taken)


def require_left(payment: Payment, amount_minor: int) -> None:
    """Raises Conflict when less than this is left, saying how much."""
    if (refusal := too_much(payment, amount_minor)) is not None:
        raise Conflict(refusal)


def too_much(payment: Payment, amount_minor: int) -> str | None:
    """Why this much can't go back of a payment, in words, with who refunded of it last; None when it can."""
    if payment.succeeded_at is None:
        return "This payment was never captured, so there is nothing to refund."
    left = left_of(payment)
    if amount_minor <= left:
        return None
    if left <= 0:
        refusal = "Nothing is left to refund of this payment."
    else:
        rest, asked = written(left, payment.currency), written(amount_minor, payment.currency)
        refusal = f"Only {rest} is left to refund of this payment, which is less than {asked}."
    live = select(Refund).where(Refund.payment_id == payment.id, Refund.status.not_in(OVER))
    newest = db.session.scalar(live.order_by(Refund.id.desc()).limit(1))
    return f"{refusal} {told_of(newest)}" if newest is not None else refusal


def told_of(refund: Refund) -> str:
    """Who started a refund, for how much and how long ago, as a sentence."""
    amount, ago = written(refund.amount_minor, refund.currency), history.ago(refund.created_at)
    if refund.reason == "stripe_dashboard":
        return f"{amount} of it were refunded in Stripe's dashboard {ago}."
    who = db.session.scalar(select(User.name).where(User.id == refund.requested_by_id)) or SYSTEM.label
    return f"{who} started a refund of {amount} {ago}."


def kind_for(payment: Payment, wanted: str) -> str:
    """The kind of a refund of this payment: money that no booking took is owed back, whatever it is called."""
    return "owed_back" if ledger.sides_of(payment.id).owed_back else wanted


def shares_of(payment: Payment, amount_minor: int, kind: str) -> dict[str, int]:
    """How much of a refund each side bears, as the columns of its row.

    A standard refund takes from both in the proportion in which they got it, reckoned over everything taken so far, so
    that what is rounded never adds up, and the last one takes exactly the rest. Raises Conflict when the sides have
    less than that.
    """
    if kind != "standard":
        goodwill = amount_minor if kind == "goodwill" else 0
        return {"provider_minor": 0, "commission_minor": 0, "goodwill_minor": goodwill}
    sides = ledger.sides_of(payment.id)
    rest = sides.provider_minor + sides.commission_minor
    if amount_minor > rest:
        raise Conflict(f"The books have only {written(rest, payment.currency)} left of this payment for both sides.")
    taken = payment.amount_minor - rest + amount_minor
    target = (2 * taken * payment.commission_minor + payment.amount_minor) // (2 * payment.amount_minor)
    due = target - (payment.commission_minor - sides.commission_minor)
    # One that failed meanwhile may have left the sides uneven; neither ever gets something by a refund.
    commission = min(max(due, 0), amount_minor)
    return {"provider_minor": amount_minor - commission, "commission_minor": commission, "goodwill_minor": 0}


def submit_shares(payment: Payment, refund: Refund) -> None:
    """Number the refund's next submission, fix who bears it, and post that."""
    shares = shares_of(payment, refund.amount_minor, refund.kind)
    refund.submission += 1
    for column, minor in shares.items():
        setattr(refund, column, minor)
    ledger.post_refund_shares(payment, refund)


def make_room(payment: Payment, amount_minor: int, *, because: str) -> bool:
    """Money has left beside our refunds: those that Stripe has not heard of give way, the newest first, until this much
    is left. Says whether it is now.
    """
    return _make_room(payment, amount_minor - left_of(payment), because)


def make_room_at_stripe(payment: Payment, amount_minor: int, *, because: str) -> bool:
    """The same for a refund that Stripe has made: it minds only what was refunded, not what a dispute took."""
    return _make_room(payment, amount_minor - _not_refunded(payment), because)


def _make_room(payment: Payment, short: int, because: str) -> bool:
    if short > 0:
        for refund in reversed(lock_all(payment, *WAITING)):
            if short > 0:
                _give_way(refund, because)
                short -= refund.amount_minor
    return short <= 0


def _give_way(refund: Refund, because: str) -> None:
    if refund.status == "ON_HOLD":
        move(refund, refund.held_status or "PENDING_APPROVAL")
        refund.held_status = None
    refund.finished()
    if refund.status == "APPROVED":
        refund.failure_reason = because
        move(refund, "FAILED")
    else:
        refund.decided_at = utcnow()
        move(refund, "REJECTED")
    audit.record(STRIPE, "refund.give_way", refund, reason=because)
