"""Verbs of what differs between Stripe's balance and the ledger: whose it is, what explains it, what would fix it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import func, select, text

from app.accounts.models import StaffRole, User
from app.audit import history, reasons
from app.audit import service as audit
from app.audit.actor import Actor
from app.bookings import service as bookings
from app.db import lock, transaction
from app.disputes import chargebacks
from app.errors import Conflict, Invalid, NotFound
from app.extensions import db
from app.payments import ledger, refund_submission, stripe_gateway
from app.payments.models import LedgerEntry, Payment
from app.reports.models import Difference
from app.reports.movements import BOOKED
from app.reports.reconciliation import MAY_RECONCILE

_FEE_OF_CAPTURE = "capture.stripe_fee"

_BOOKED = text(
    f"""
    SELECT booked.amount, booked.fee
    FROM (SELECT CAST(:source AS text) AS source, CAST(:booked_as AS text) AS booked_as) AS told
    CROSS JOIN LATERAL ({BOOKED}) AS booked
    """  # noqa: S608  # nosec B608 - constants of the program
)


@dataclass(frozen=True)
class Proposal:
    """What would fix a difference: the entries to post, by kind in minor units; or, without any, to ask Stripe about
    the object and take over what it says, as the event that was missed would have.
    """

    entries: dict[str, int]

    @property
    def asks_stripe(self) -> bool:
        """Whether what is missing is taken over from Stripe rather than posted as a correction."""
        return not self.entries


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


def why_no_fix(row: Difference) -> str | None:
    """Why a difference can only be explained, in words; None when it can be fixed."""
    if row.status == "FIXED":
        return "It no longer differs."
    if row.payment_id is None:
        return "No payment here belongs to it, so there is nothing to book it for. Find out what it is, and explain it."
    if row.entry_id is not None:
        return f"Entry {row.entry_id} corrected it once, and it differs again. Find out why, and explain it."
    if row.kind == "missing_here" and row.booked_as not in _TAKES_OVER:
        return "Its own event books it. Have Stripe send that again, and it is booked as soon as it arrives."
    return None


def propose(row: Difference) -> Proposal:
    """What would fix a difference. Raises Conflict where nothing would."""
    refusal = why_no_fix(row)
    if refusal is not None:
        raise Conflict(refusal)
    if row.kind == "missing_here":
        return Proposal({})
    amount, fee = row.there_minor - row.here_minor, row.there_fee_minor - row.here_fee_minor
    if _is_capture_without_fee(row):
        return Proposal({_FEE_OF_CAPTURE: fee})
    entries = {
        "correction.received": max(amount, 0),
        "correction.paid_out": max(-amount, 0),
        "correction.fee": max(fee, 0),
        "correction.fee_returned": max(-fee, 0),
    }
    return Proposal({kind: minor for kind, minor in entries.items() if minor})


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
    take_over = _TAKES_OVER[seen.booked_as](seen) if proposal.asks_stripe else None
    with transaction():
        row = lock(Difference, difference_id)
        if propose(row) != proposal:
            raise Conflict("This differs in another way by now. Look at it again.")
        newest = db.session.scalar(select(func.max(LedgerEntry.id))) or 0
        if take_over is not None:
            take_over()
        else:
            _post(row, proposal.entries)
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


def _is_capture_without_fee(row: Difference) -> bool:
    """A capture whose fee the payment knows and the ledger doesn't: it is posted as it should have been."""
    if row.booked_as != "capture" or row.here_minor != row.there_minor or row.here_fee_minor:
        return False
    payment = db.session.get(Payment, row.payment_id)
    return (
        payment is not None and payment.stripe_charge_id == row.source_id and payment.fee_minor == row.there_fee_minor
    )


def _post(row: Difference, entries: dict[str, int]) -> None:
    payment = lock(Payment, row.payment_id or 0)
    if _FEE_OF_CAPTURE in entries:
        ledger.post_capture_fee(payment)
    else:
        ledger.post_correction(payment, entries, source_id=f"difference_{row.id}")


def _why_still(row: Difference) -> str:
    if row.booked_as == "refund.paid":
        return "Stripe has not finished this refund. It is booked when it has; look again then."
    return "This would still differ from what Stripe says, so nothing was changed. Find out why, and explain it."


def _take_over_payment(row: Difference) -> Callable[[], None]:
    return partial(bookings.payment_changed, stripe_gateway.retrieve_intent(row.stripe_payment_intent_id or ""))


def _take_over_refund(row: Difference) -> Callable[[], None]:
    return partial(refund_submission.told, stripe_gateway.retrieve_refund(row.source_id))


def _take_over_dispute(row: Difference) -> Callable[[], object]:
    return partial(chargebacks.changed, stripe_gateway.retrieve_dispute(row.source_id))


# What is booked by taking over what Stripe says of the object: what asks it, and gives the verb to call.
_TAKES_OVER: dict[str, Callable[[Difference], Callable[[], object]]] = {
    "capture": _take_over_payment,
    "refund.paid": _take_over_refund,
    "refund.failed": _take_over_refund,
    "dispute.withdrawn": _take_over_dispute,
    "dispute.reinstated": _take_over_dispute,
}
