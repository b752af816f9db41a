"""Verbs of what differs between Stripe's balance and the ledger: whose it is, what explains it, what fixes it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, text

from app.accounts.models import StaffRole, User
from app.audit import history, reasons
from app.audit import service as audit
from app.audit.actor import Actor
from app.db import lock, transaction
from app.errors import Conflict, Invalid, NotFound
from app.extensions import db
from app.payments import disputed, ledger, ledger_checks
from app.payments.models import LedgerEntry, Payment
from app.reports.models import Difference
from app.reports.movements import BOOKED
from app.reports.proposals import TAKES_OVER, propose
from app.reports.reconciliation import MAY_RECONCILE

_BOOKED = text(
    f"""
    SELECT booked.amount, booked.fee
    FROM (SELECT CAST(:source AS text) AS source, CAST(:booked_as AS text) AS booked_as) AS told
    CROSS JOIN LATERAL ({BOOKED}) AS booked
    """  # noqa: S608  # nosec B608 - constants of the program
)


def assign(difference_id: int, person_id: int | None, *, by: Actor) -> Difference:
    """Say who looks into a difference, or that nobody does.

    Raises NotAllowed, NotFound, Invalid for somebody who may not reconcile, Conflict for one that is fixed.
    """
    by.require(*MAY_RECONCILE)
    with transaction():
        row = lock(Difference, difference_id)
        if person_id is not None and person_id not in {person.id for person in assignees()}:
            raise Invalid.field("person", "Choose somebody who is active and has the role finance or admin.")
        if row.status == "FIXED":
            raise Conflict("This no longer differs: there is nothing to look into.")
        row.assigned_to_id = person_id
        audit.record(by, "difference.assign", row)
    return row


def assignees() -> Sequence[User]:
    """Who can look into a difference, by name."""
    roles = select(StaffRole.user_id).where(StaffRole.role.in_(MAY_RECONCILE))
    return db.session.scalars(select(User).where(User.id.in_(roles), User.is_active).order_by(User.name, User.id)).all()


def explain(difference_id: int, reason: str | None, *, by: Actor) -> Difference:
    """Leave a difference as it is, and say why it is right so. It is OPEN again should it change.

    Raises NotAllowed, NotFound, Invalid without words, Conflict for one that is dealt with already.
    """
    by.require(*MAY_RECONCILE)
    words = reasons.given(reason)
    with transaction():
        row = lock(Difference, difference_id)
        history.move(row, "EXPLAINED")
        row.explanation = words
        audit.record(by, "difference.explain", row, reason=words)
    return row


def reopen(difference_id: int, reason: str | None, *, by: Actor) -> Difference:
    """Take an explanation back. Raises NotAllowed, NotFound, Invalid without words, Conflict for one without any."""
    by.require(*MAY_RECONCILE)
    words = reasons.given(reason)
    with transaction():
        row = lock(Difference, difference_id)
        if row.status != "EXPLAINED":
            history.refuse_move(row, "OPEN")
        history.move(row, "OPEN")
        row.explanation = row.closed_at = None
        audit.record(by, "difference.reopen", row, reason=words)
    return row


def fix(difference_id: int, reason: str | None, *, by: Actor) -> Difference:
    """Do what `propose` says, and see that the two agree after it.

    Raises NotAllowed, NotFound, Invalid without words, Conflict when it can't be fixed, was meanwhile, or would still
    differ; Unavailable when Stripe gives no answer.
    """
    by.require(*MAY_RECONCILE)
    words = reasons.given(reason)
    seen = db.session.get(Difference, difference_id, populate_existing=True)
    if seen is None:
        raise NotFound(f"There is no difference {difference_id}.")
    proposal = propose(seen)
    take_over = TAKES_OVER[seen.booked_as](seen) if proposal.asks_stripe else None
    with transaction():
        row = lock(Difference, difference_id)
        if propose(row) != proposal:
            raise Conflict("This differs in another way by now. Look at it again.")
        newest = db.session.scalar(select(func.max(LedgerEntry.id))) or 0
        if take_over is not None:
            take_over()
        else:
            _post(row, proposal.entries, by=by)
        db.session.flush()
        booked = db.session.execute(_BOOKED, {"source": row.source_id, "booked_as": row.booked_as}).one()
        row.here_minor, row.here_fee_minor = booked.amount, booked.fee
        if (row.here_minor, row.here_fee_minor) != (row.there_minor, row.there_fee_minor):
            raise Conflict(_why_still(row))
        row.entry_id = db.session.scalar(
            select(func.min(LedgerEntry.id)).where(LedgerEntry.payment_id == row.payment_id, LedgerEntry.id > newest)
        )
        history.move(row, "FIXED")
        row.explanation = words
        audit.record(by, "difference.fix", row, reason=words)
    return row


def _post(row: Difference, entries: dict[str, int], *, by: Actor) -> None:
    """Post what is proposed. Raises Conflict where that would mend one thing and break another."""
    payment = lock(Payment, row.payment_id or 0)
    wrong = ledger_checks.contradictions_of(payment.id)
    if payment.stripe_charge_id == row.source_id and payment.fee_minor != row.there_fee_minor:
        payment.fee_minor = row.there_fee_minor
        audit.record(by, "payment.fee_corrected", payment)
    ledger.post_correction(payment, entries, source_id=row.source_id)
    if row.booked_as.startswith("dispute."):
        disputed.follow(payment, by=by)
    db.session.flush()
    if broken := ledger_checks.contradictions_of(payment.id) - wrong:
        raise Conflict(
            f"Nothing was changed: the books would have {' and '.join(sorted(broken))}. Find out why, and explain it."
        )


def _why_still(row: Difference) -> str:
    if row.booked_as == "refund.paid":
        return "Stripe has not finished this refund. It is booked when it has; look again then."
    return "This would still differ from what Stripe says, so nothing was changed. Find out why, and explain it."
