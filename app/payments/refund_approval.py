"""Verbs of the second person: who has to be asked for a refund, approving, rejecting, and what nobody decided on."""

from __future__ import annotations

from typing import NoReturn

from sqlalchemy import ColumnElement, and_, func, select

from app.audit import history, reasons
from app.audit import service as audit
from app.audit.actor import SYSTEM, Actor
from app.audit.models import AuditEntry
from app.db import lock, transaction, utcnow
from app.errors import Busy, Conflict, Invalid, NotAllowed
from app.extensions import db
from app.money import MAX_CHARGE_MINOR, written
from app.payments import holds, refundable
from app.payments.models import Payment, Refund, RefundLimit
from app.payments.refundable import OVER
from app.states import in_words, move, no_way

MAY_APPROVE = ("finance", "admin")
MAY_SET_LIMITS = ("admin",)

_DECISIONS = {"refund.approve": "approved", "refund.reject": "rejected", "refund.expire": "let go"}
_BATCH = 200


def why_second_person(payment: Payment, amount_minor: int, *, by: Actor) -> str | None:
    """Why somebody else has to approve this refund, in words; None when asking for it is enough.

    What somebody has refunded of the same payment on their own counts, or a limit would be passed in small steps.
    """
    if not by.has(MAY_APPROVE):
        return "Support asks for refunds; somebody from finance or an admin approves them."
    limit = limit_of(by, payment.currency)
    alone: int = db.session.scalars(
        select(func.coalesce(func.sum(Refund.amount_minor), 0)).where(Refund.payment_id == payment.id, is_alone(by))
    ).one()
    if amount_minor + int(alone) <= limit:
        return None
    before = (
        f", and {written(int(alone), payment.currency)} of this payment are refunded by you already" if alone else ""
    )
    return f"Your limit is {written(limit, payment.currency)}{before}. A second person approves what goes beyond it."


def is_alone(by: Actor) -> ColumnElement[bool]:
    """Which refunds somebody has both asked for and approved."""
    return and_(Refund.requested_by_id == by.id, Refund.decided_by_id == by.id, Refund.status.not_in(OVER))


def limit_of(by: Actor, currency: str) -> int:
    """Up to how much somebody may refund of one payment alone, by the highest limit of their roles; in minor units."""
    limits = select(func.max(RefundLimit.amount_minor)).where(
        RefundLimit.role.in_(by.roles), RefundLimit.currency == currency
    )
    return db.session.scalar(limits) or 0


def limits() -> list[RefundLimit]:
    """Every role's limit, the lowest first."""
    return list(db.session.scalars(select(RefundLimit).order_by(RefundLimit.currency, RefundLimit.amount_minor)))


def set_limit(limit_id: int, amount_minor: int, *, by: Actor, reason: str | None) -> RefundLimit:
    """Change up to how much a role refunds alone; 0 has a second person approve everything.

    Raises NotAllowed, NotFound, Invalid by field.
    """
    by.require(*MAY_SET_LIMITS)
    reason = reasons.given(reason)
    if not 0 <= amount_minor <= MAX_CHARGE_MINOR:
        raise Invalid.field("amount", "Give an amount of zero or more, and not more than one payment can be.")
    with transaction():
        limit = lock(RefundLimit, limit_id)
        limit.amount_minor = amount_minor
        audit.record(by, "refund_limit.change", limit, reason=reason)
    return limit


def approve(refund_id: int, *, by: Actor) -> Refund:
    """Let a refund go out that somebody else asked for.

    Raises NotAllowed for who asked for it, NotFound, Conflict when it is held, its time is over, no money is left for
    it, or it was decided on: by whom and how long ago.
    """
    by.require(*MAY_APPROVE)
    with transaction():
        payment, refund = refundable.lock_with_payment(refund_id)
        if refund.requested_by_id == by.id:
            raise NotAllowed("You asked for this refund yourself. Somebody else has to approve it.")
        if refund.status in ("PENDING_APPROVAL", "ON_HOLD"):
            holds.refuse_if_held(payment)
        if refund.status != "PENDING_APPROVAL":
            _refuse(refund, "APPROVED")
        if refund.expires_at is not None and refund.expires_at <= utcnow():
            raise Conflict("The time to approve this refund is over. Ask for it again.")
        if refundable.left_of(payment) < 0:
            raise Conflict("Not enough is left of this payment for this refund and the others under way.")
        _decide(refund, "APPROVED", by=by)
        refund.hand_out()
        audit.record(by, "refund.approve", refund)
    return refund


def reject(refund_id: int, *, by: Actor, reason: str | None) -> Refund:
    """Refuse a refund that waits, with the reason for whoever asked for it; who asked may take it back so as well,
    where they may decide on refunds.

    Raises NotAllowed, NotFound, Invalid without a reason, Conflict when it was decided on: by whom and how long ago.
    """
    by.require(*MAY_APPROVE)
    reason = reasons.given(reason)
    with transaction():
        _, refund = refundable.lock_with_payment(refund_id)
        if refund.status != "PENDING_APPROVAL":
            _refuse(refund, "REJECTED")
        _decide(refund, "REJECTED", by=by)
        audit.record(by, "refund.reject", refund, reason=reason)
    return refund


def expire_due() -> int:
    """Let go of the refunds that nobody decided on in time; returns how many. One that somebody is at waits for the
    next time.
    """
    due = select(Refund.id).where(Refund.status == "PENDING_APPROVAL", Refund.expires_at <= utcnow())
    expired = 0
    for refund_id in db.session.scalars(due.order_by(Refund.id).limit(_BATCH)).all():
        try:
            expired += _expire(refund_id)
        except Busy:
            continue
    return expired


def _expire(refund_id: int) -> bool:
    with transaction():
        _, refund = refundable.lock_with_payment(refund_id)
        if refund.status != "PENDING_APPROVAL" or refund.expires_at is None or refund.expires_at > utcnow():
            return False
        _decide(refund, "EXPIRED", by=SYSTEM)
        audit.record(SYSTEM, "refund.expire", refund)
    return True


def _decide(refund: Refund, to: str, *, by: Actor) -> None:
    move(refund, to)
    refund.decided_by_id, refund.decided_at = by.id, utcnow()


def _refuse(refund: Refund, to: str) -> NoReturn:
    """Raise the Conflict that says who was first, whatever became of the refund since."""
    raise Conflict(what_happened(refund.id) or no_way(refund, to))


def what_happened(refund_id: int) -> str:
    """Who decided on a refund, how long ago, and what it is now, as sentences; empty where nobody did."""
    first = db.session.scalar(
        select(AuditEntry)
        .where(
            AuditEntry.object_type == Refund.__tablename__,
            AuditEntry.object_id == refund_id,
            AuditEntry.action.in_(_DECISIONS),
        )
        .order_by(AuditEntry.id.desc())
        .limit(1)
    )
    if first is None:
        return ""
    now = in_words(db.session.scalars(select(Refund.status).where(Refund.id == refund_id)).one())
    return f"{first.actor_label} {_DECISIONS[first.action]} this refund {history.ago(first.at)}. It is {now} now."
