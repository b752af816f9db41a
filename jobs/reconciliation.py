"""The jobs that reconcile a day with Stripe, and begin with those whose turn it is."""

from __future__ import annotations

from app.errors import Unavailable
from app.queue import note_failure
from app.reports import reconciliation
from app.reports.models import Reconciliation
from jobs import due, job


@job
def work(reconciliation_id: int) -> None:
    """Go on with a day."""
    if due(Reconciliation, reconciliation_id) is None:
        return
    try:
        reconciliation.go_on(reconciliation_id)
    except Unavailable as error:
        note_failure(Reconciliation, reconciliation_id, error.detail, give_up=reconciliation.fail)


@job
def reconcile_due() -> None:
    """Begin with yesterday, and again with days that somebody still has to look at."""
    reconciliation.reconcile_due()
