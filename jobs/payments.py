"""Jobs that speak to Stripe for a payment or refund."""

from __future__ import annotations

from app.errors import TripdeskError
from app.payments import ledger_checks, refund_approval, refund_submission
from app.payments import service as payments
from app.payments.models import Payment, Refund
from app.queue import note_failure
from app.workers import note_check
from jobs import due, job


@job
def submit_refund(refund_id: int) -> None:
    """Have Stripe pay an approved refund, or ask again what became of it."""
    if due(Refund, refund_id) is None:
        return
    try:
        refund_submission.submit(refund_id)
    except TripdeskError as error:
        note_failure(Refund, refund_id, error.detail)


@job
def close_intent(payment_id: int) -> None:
    """Cancel the intent of a payment that nobody should make any more."""
    if due(Payment, payment_id) is None:
        return
    try:
        payments.close_intent(payment_id)
    except TripdeskError as error:
        note_failure(Payment, payment_id, error.detail)


@job
def expire_refunds() -> None:
    """Let go of the refunds that nobody approved or rejected in time."""
    refund_approval.expire_due()


@job
def check_books() -> None:
    """Check every posting, and keep what was found for the ledger's page."""
    note_check("ledger", ledger_checks.verify(patient=True))
