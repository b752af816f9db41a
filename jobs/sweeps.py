"""Finding work that Redis or a worker lost: every table that is an outbox is swept."""

from __future__ import annotations

from app.payments.models import Payment, Refund, WebhookEvent
from app.queue import sweep
from jobs import job

SWEPT = (WebhookEvent, Refund, Payment)


@job
def sweep_all() -> None:
    """Enqueue what is due and has no job on its way."""
    for model in SWEPT:
        sweep(model)
