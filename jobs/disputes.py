"""Jobs of disputes: what Stripe is asked for one, and reminders of what waits for an answer."""

from __future__ import annotations

from app.disputes import evidence, reminders
from app.disputes.models import Dispute
from app.errors import TripdeskError
from app.queue import note_failure
from jobs import due, job


@job
def send(dispute_id: int) -> None:
    """Have Stripe stage or submit evidence, or accept a dispute, or ask again what became of it."""
    if due(Dispute, dispute_id) is None:
        return
    try:
        evidence.send(dispute_id)
    except TripdeskError as error:
        note_failure(Dispute, dispute_id, error.detail)


@job
def remind() -> None:
    """Mail finance of deadlines that come near."""
    reminders.remind_due()
