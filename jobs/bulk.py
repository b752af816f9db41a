"""The job that works through a bulk run."""

from __future__ import annotations

from app.bulk import service as bulk
from app.bulk.models import Bulk
from app.errors import Unavailable
from jobs import due, job


@job
def work(bulk_id: int) -> None:
    """Do some of a run's chunks."""
    if due(Bulk, bulk_id) is None:
        return
    try:
        bulk.work(bulk_id)
    except Unavailable as error:
        bulk.note_failure(bulk_id, error)
