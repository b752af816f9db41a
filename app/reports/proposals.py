"""What would fix a difference between Stripe's balance and the ledger: asking Stripe about the object, or entries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import select

from app.bookings import service as bookings
from app.disputes import chargebacks
from app.errors import Conflict
from app.extensions import db
from app.money import written
from app.payments import ledger, refund_submission, stripe_gateway
from app.payments.models import Payment, Refund
from app.reports.models import Difference
from app.reports.movements import ENTRIES


@dataclass(frozen=True)
class Proposal:
    """What would fix a difference: the entries to post, by kind in minor units, none where the ledger agrees by now; or
    to ask Stripe about the object and take over what it says, as the event that was missed would have.
    """

    entries: dict[str, int]
    asks_stripe: bool = False


def why_no_fix(row: Difference) -> str | None:
    """Why a difference can only be explained, in words; None when it can be fixed."""
    if row.status == "FIXED":
        return "It no longer differs."
    if row.payment_id is None:
        return "No payment here belongs to it, so there is nothing to book it for. Find out what it is, and explain it."
    if row.entry_id is not None:
        return f"Entry {row.entry_id} corrected it once, and it differs again. Find out why, and explain it."
    if row.booked_as not in TAKES_OVER:
        return "Its own event books it. Have Stripe send that again, and it is booked as soon as it arrives."
    if row.booked_as == "capture" and (payment := _captured_by(row)) is not None:
        return _why_not_as_captured(row, payment)
    if row.booked_as == "capture" and row.kind not in ("missing_here", "missing_there"):
        return f"Payment {row.payment_id} has another charge. Find out what this one is, and explain it."
    return None


def propose(row: Difference) -> Proposal:
    """What would fix a difference. Raises Conflict where nothing would."""
    refusal = why_no_fix(row)
    if refusal is not None:
        raise Conflict(refusal)
    if row.kind == "missing_here" and not _is_known(row):
        return Proposal({}, asks_stripe=True)
    posted = ledger.posted_of(row.source_id)
    entries = {}
    for kind, due in _due(row).items():
        short = due - posted.get(kind, 0)
        if short > 0:
            entries[f"{kind}.more" if kind in posted else kind] = short
        elif short < 0:
            entries[f"{kind}.less"] = -short
    return Proposal(entries)


def _captured_by(row: Difference) -> Payment | None:
    """The payment that this charge captured, as far as is known here."""
    payment = db.session.get(Payment, row.payment_id)
    return payment if payment is not None and payment.stripe_charge_id == row.source_id else None


def _why_not_as_captured(row: Difference, payment: Payment) -> str | None:
    if row.there_minor == payment.amount_minor:
        return None
    ours = written(payment.amount_minor, payment.currency)
    if row.kind == "missing_there":
        return (
            f"Payment {payment.id} is captured with {ours} here, and Stripe has nothing of it. No entry mends that: "
            "find out where the money is, and explain it."
        )
    return (
        f"Stripe took {written(row.there_minor, row.currency)}, and payment {payment.id} is over {ours}. No entry "
        "mends that: refund what was taken too much at Stripe, or find out why, and explain it."
    )


def _is_known(row: Difference) -> bool:
    """Whether we know that this happened, so that nothing but its entries is missing: its event would change nothing.

    Of a dispute it is never known: what is posted of one is looked through each time Stripe is asked.
    """
    if row.booked_as == "capture":
        return _captured_by(row) is not None
    ended = {"refund.paid": ("SUCCEEDED", "FAILED"), "refund.failed": ("FAILED",)}.get(row.booked_as, ())
    mine = select(Refund.id).where(Refund.stripe_refund_id == row.source_id, Refund.status.in_(ended))
    return db.session.scalar(mine) is not None


def _due(row: Difference) -> dict[str, int]:
    """What the ledger should have of it, by kind in minor units."""
    kinds, fees = ENTRIES[row.booked_as]
    due = dict.fromkeys((*kinds, *fees), 0) | {fee: abs(row.there_fee_minor) for fee in fees}
    if row.booked_as != "capture":
        return due | {row.booked_as: abs(row.there_minor)}
    payment = _captured_by(row)
    if payment is None:
        return due
    if _is_owed_back(payment):
        return due | {"capture.owed_back": payment.amount_minor}
    return due | {
        "capture.provider_share": payment.amount_minor - payment.commission_minor,
        "capture.commission": payment.commission_minor,
    }


def _is_owed_back(payment: Payment) -> bool:
    """Whether no booking could take it. Then all of it was refunded at once, whatever the ledger has of it now."""
    late = select(Refund.id).where(Refund.payment_id == payment.id, Refund.kind == "owed_back")
    return db.session.scalar(late.limit(1)) is not None


def _take_over_payment(row: Difference) -> Callable[[], None]:
    return partial(bookings.payment_changed, stripe_gateway.retrieve_intent(row.stripe_payment_intent_id or ""))


def _take_over_refund(row: Difference) -> Callable[[], None]:
    return partial(refund_submission.told, stripe_gateway.retrieve_refund(row.source_id))


def _take_over_dispute(row: Difference) -> Callable[[], object]:
    return partial(chargebacks.changed, stripe_gateway.retrieve_dispute(row.source_id))


# What is booked by taking over what Stripe says of the object: what asks it, and gives the verb to call.
TAKES_OVER: dict[str, Callable[[Difference], Callable[[], object]]] = {
    "capture": _take_over_payment,
    "refund.paid": _take_over_refund,
    "refund.failed": _take_over_refund,
    "dispute.withdrawn": _take_over_dispute,
    "dispute.reinstated": _take_over_dispute,
}
