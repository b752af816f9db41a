"""Verbs of refunds up to Stripe's door: what one would do, asking for one, what is promised or owed, trying again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, exists, func, select
from sqlalchemy.orm import aliased

from app.audit import history
from app.audit import service as audit
from app.audit.actor import SYSTEM, Actor
from app.config import settings
from app.db import lock, require_transaction, transaction, utcnow
from app.errors import Conflict, Invalid, NotFound
from app.extensions import db
from app.logs import request_id
from app.money import MAX_CHARGE_MINOR
from app.payments import holds, ledger, refundable
from app.payments.holds import Hold
from app.payments.models import LedgerAccount, Payment, Refund
from app.payments.refund_approval import MAY_APPROVE, why_second_person
from app.payments.refundable import OVER

MAY_REQUEST = ("support", "finance", "admin")
MAX_NOTE = 2_000

KINDS = {"standard": "Standard", "goodwill": "Goodwill"}
# What a person chooses from, and what only the program gives.
REASONS = {
    "cancelled": "Cancelled by the guest",
    "provider_failed": "The provider could not host",
    "stay_problem": "Something was wrong with the stay",
    "duplicate": "Paid twice",
    "overcharged": "Charged too much",
    "fraud": "Payment was fraudulent",
    "goodwill": "Goodwill towards the guest",
    "other": "Something else",
}
ALL_REASONS = {
    **REASONS,
    "cancelled_by_support": "Cancelled by support",
    "late_payment": "Paid when the booking could not take it any more",
    "stripe_dashboard": "Refunded in Stripe's dashboard",
}


class TwinRefund(Conflict):
    """Somebody else has just started the same refund; it can be asked for again, if that is meant."""


@dataclass(frozen=True)
class Line:
    """One posting that a refund would make: the names of its accounts, and the amount in minor units."""

    kind: str
    debit: str
    credit: str
    amount_minor: int


@dataclass(frozen=True)
class Quote:
    """What a refund would do, before anybody asks for it; amounts in minor units.

    `refusal` says why it can't be asked for, `second_person` why somebody else would have to approve it.
    """

    amount_minor: int
    currency: str
    kind: str
    left_minor: int
    left_after_minor: int
    provider_minor: int
    platform_minor: int
    lines: list[Line]
    holds: list[Hold]
    second_person: str | None
    refusal: str | None


def quote(payment_id: int, amount_minor: int, kind: str = "standard", *, by: Actor) -> Quote:
    """What a refund of this much would do. Changes nothing. Raises NotAllowed, NotFound, Invalid."""
    by.require(*MAY_REQUEST)
    _check_amount(amount_minor, kind)
    payment = db.session.get(Payment, payment_id)
    if payment is None:
        raise NotFound(f"There is no payment {payment_id}.")
    standing, left, kind = holds.of(payment.id), refundable.left_of(payment), refundable.kind_for(payment, kind)
    refusal = " ".join(hold.words for hold in standing) or refundable.too_much(payment, amount_minor)
    # Shares are those at this moment: what else is submitted before it may shift a cent.
    shares = refundable.shares_of(payment, amount_minor, kind) if refusal is None else None
    return Quote(
        amount_minor=amount_minor,
        currency=payment.currency,
        kind=kind,
        left_minor=max(left, 0),
        left_after_minor=max(left - amount_minor, 0),
        provider_minor=shares["provider_minor"] if shares else 0,
        platform_minor=shares["commission_minor"] + shares["goodwill_minor"] if shares else 0,
        lines=_lines(shares, amount_minor) if shares else [],
        holds=standing,
        second_person=why_second_person(payment, amount_minor, by=by),
        refusal=refusal,
    )


def lines_of(refund: Refund) -> list[Line]:
    """What a refund has posted with its newest submission, or would post now where it has none."""
    if refund.submission:
        sides = ("provider_minor", "commission_minor", "goodwill_minor")
        return _lines({side: getattr(refund, side) for side in sides}, refund.amount_minor)
    payment = db.session.get_one(Payment, refund.payment_id)
    if refund.status in OVER or refundable.left_of(payment) < 0:
        return []
    try:
        shares = refundable.shares_of(payment, refund.amount_minor, refund.kind)
    except Conflict:
        # A worker has sent it to Stripe since it was read, and the books have its shares already.
        db.session.refresh(refund)
        return lines_of(refund) if refund.submission else []
    return _lines(shares, refund.amount_minor)


def _lines(shares: Mapping[str, int], amount_minor: int) -> list[Line]:
    names = dict(db.session.execute(select(LedgerAccount.code, LedgerAccount.name)).all())
    amounts = {**ledger.refund_lines(**shares), "refund.paid": amount_minor}
    accounts = {kind: ledger.POSTINGS[kind] for kind in amounts}
    return [
        Line(kind, names[accounts[kind][0]], names[accounts[kind][1]], minor)
        for kind, minor in amounts.items()
        if minor
    ]


def request(
    payment_id: int,
    *,
    amount_minor: int | None = None,
    reason: str,
    note: str = "",
    kind: str = "standard",
    key: str,
    by: Actor,
    again: bool = False,
    alone: bool = True,
) -> Refund:
    """Ask for part of a payment to go back, or for all that is left of it; approved at once up to the asker's limit,
    else by a second person.

    `key` makes a request that comes twice one refund. `again` says that it is meant, though somebody else has just
    asked for the same. Without `alone` a second person approves it however little it is, as it is one of many. Raises
    NotAllowed, NotFound, Invalid by field, Conflict when it is held, more than is left, or under way already.
    """
    by.require(*MAY_REQUEST)
    _check_amount(1 if amount_minor is None else amount_minor, kind)
    note = checked_note(reason, note)
    with transaction():
        payment = lock(Payment, payment_id)
        kind = refundable.kind_for(payment, kind)
        if (made := _made_with(payment, key)) is not None:
            asked = (amount_minor or made.amount_minor, kind, reason, by.id)
            if (made.amount_minor, made.kind, made.reason, made.requested_by_id) != asked:
                raise Conflict(
                    f"This was sent before, for another refund. {refundable.told_of(made)} Load the page again."
                )
            return made
        holds.refuse_if_held(payment)
        amount_minor = amount_minor or max(refundable.left_of(payment), 1)
        refundable.require_left(payment, amount_minor)
        if not again:
            _refuse_twin(payment, amount_minor, by=by)
        waits = not alone or why_second_person(payment, amount_minor, by=by) is not None
        refund = _new(
            payment, amount_minor, reason, status="PENDING_APPROVAL" if waits else "APPROVED", kind=kind, by=by
        )
        refund.note, refund.client_key = note or None, key
        _begin(refund, "refund.request" if waits else "refund.approve", by=by)
    return refund


def _check_amount(amount_minor: int, kind: str) -> None:
    if kind not in KINDS:
        raise Invalid.field("kind", f"Choose one of {', '.join(KINDS)}.")
    if not 0 < amount_minor <= MAX_CHARGE_MINOR:
        raise Invalid.field("amount", "Give an amount above zero, and not more than one payment can be.")


def checked_note(reason: str, note: str) -> str:
    """The words beside a reason, as they are kept. Raises Invalid by field."""
    note = note.strip()
    if reason not in REASONS:
        raise Invalid.field("reason", "Choose a reason.")
    if len(note) > MAX_NOTE or (reason == "other" and not note):
        raise Invalid.field("note", f"Say in 1 to {MAX_NOTE:,} characters what it is for.")
    return note


def _made_with(payment: Payment, key: str) -> Refund | None:
    return db.session.scalar(select(Refund).where(Refund.payment_id == payment.id, Refund.client_key == key))


def _refuse_twin(payment: Payment, amount_minor: int, *, by: Actor) -> None:
    """Two people who have the same complaint before them mean one refund."""
    twin = db.session.scalar(
        select(Refund)
        .where(
            Refund.payment_id == payment.id,
            Refund.amount_minor == amount_minor,
            Refund.status.not_in(OVER),
            Refund.created_at > utcnow() - timedelta(seconds=settings().refund_twin_seconds),
            Refund.requested_by_id != by.id,
        )
        .order_by(Refund.id.desc())
        .limit(1)
    )
    if twin is not None:
        raise TwinRefund(f"{refundable.told_of(twin)} Refund again only if that is meant.")


def by_policy(payment: Payment, *, amount_minor: int, reason: str, by: Actor) -> Refund:
    """Give back what a cancellation promises, inside its transaction; it needs no second person.

    While the payment is held, so is this: it goes out when the hold is lifted. Raises Conflict for more than is left.
    """
    require_transaction()
    payment = lock(Payment, payment.id)
    refundable.require_left(payment, amount_minor)
    kind = refundable.kind_for(payment, "standard")
    refund = _new(payment, amount_minor, reason, status="APPROVED", kind=kind, by=by)
    _begin(refund, "refund.approve", by=by)
    holds.put_new_aside(payment, refund, by=by)
    return refund


def owed_back(payment: Payment) -> Refund:
    """Give back all of a payment that no booking can take, inside the transaction that books its capture."""
    refund = _new(payment, payment.amount_minor, "late_payment", status="APPROVED", kind="owed_back", by=SYSTEM)
    _begin(refund, "refund.approve", by=SYSTEM)
    return refund


def _new(payment: Payment, amount_minor: int, reason: str, *, status: str, kind: str, by: Actor) -> Refund:
    now = utcnow()
    is_approved = status == "APPROVED"
    return Refund(
        payment_id=payment.id,
        status=status,
        kind=kind,
        amount_minor=amount_minor,
        currency=payment.currency,
        reason=reason,
        requested_by_id=by.id,
        decided_by_id=by.id if is_approved else None,
        decided_at=now if is_approved else None,
        expires_at=None if is_approved else now + timedelta(days=settings().refund_approval_days),
        idempotency_key=new_key(),
        request_id=request_id.get(),
        created_at=now,
    )


def _begin(refund: Refund, action: str, *, by: Actor) -> None:
    db.session.add(refund)
    if refund.status == "APPROVED":
        refund.hand_out()
    audit.record(by, action, refund, reason=refund.note or ALL_REASONS.get(refund.reason, refund.reason))


def retry(refund_id: int, *, by: Actor) -> Refund:
    """Send a refund that failed to Stripe once more, as a new submission with a key of its own; one that got no answer
    in all its tries is asked for again, and looked up first.

    Raises NotAllowed, NotFound, Conflict when it is held, no money is left, who tries again what nobody else has
    approved is past their limit by now, or it failed and was made in Stripe's dashboard.
    """
    by.require(*MAY_APPROVE)
    with transaction():
        payment, refund = refundable.lock_with_payment(refund_id)
        if refund.status == "FAILED":
            if refund.reason == "stripe_dashboard":
                raise Conflict("This refund was made in Stripe's dashboard. Ask for a new one here.")
            if (refusal := why_not_again(payment, refund, by=by)) is not None:
                raise Conflict(refusal)
            history.move(refund, "APPROVED")
            refund.idempotency_key, refund.stripe_refund_id, refund.failure_reason = new_key(), None, None
        elif refund.status not in ("APPROVED", "SUBMITTED") or refund.due_at is not None:
            history.refuse_move(refund, "APPROVED")
        refund.attempts = 0
        refund.hand_out()
        audit.record(by, "refund.retry", refund)
    return refund


def why_not_again(payment: Payment, refund: Refund, *, by: Actor) -> str | None:
    """Why `by` can't send a refund that failed once more, in words; None when they can.

    One that failed takes nothing of a limit: what its asker has refunded alone since then does.
    """
    if standing := holds.of(payment.id):
        return " ".join(hold.words for hold in standing)
    if (refusal := refundable.too_much(payment, refund.amount_minor)) is not None:
        return refusal
    is_alone = refund.requested_by_id == refund.decided_by_id == by.id
    why = why_second_person(payment, refund.amount_minor, by=by) if is_alone else None
    return why and f"{why} Nobody else has approved this refund: somebody else has to try it again."


def has_no_answer() -> ColumnElement[bool]:
    """Which refunds are on their way, but no more tried: Stripe gave no answer so often that a person has to look."""
    return and_(Refund.status.in_(("APPROVED", "SUBMITTED")), Refund.given_up())


def is_still_owed() -> ColumnElement[bool]:
    """Which refunds have failed while their money is with us still: no refund of their payment was asked for since they
    failed, however late that was, and no dispute took it.
    """
    live = aliased(Refund)
    of_payment = and_(live.payment_id == Refund.payment_id, live.status.not_in(OVER))
    taken = select(func.coalesce(func.sum(live.amount_minor), 0)).where(of_payment).correlate(Refund).scalar_subquery()
    has_left = Payment.amount_minor - Payment.disputed_minor - taken >= Refund.amount_minor
    return and_(
        Refund.status == "FAILED",
        ~exists().where(of_payment, live.created_at > Refund.failed_at),
        exists().where(Payment.id == Refund.payment_id, has_left),
    )


def new_key() -> str:
    """A key that makes Stripe pay one submission of a refund once."""
    return f"refund_{uuid4().hex}"
