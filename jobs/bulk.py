"""The jobs of bulk runs: working through one, and deleting the files that some leave."""

from __future__ import annotations

from app.bulk import exporting
from app.bulk import work as working
from app.bulk.models import Bulk
from app.errors import Unavailable
from jobs import due, job


@job
def work(bulk_id: int) -> None:
    """Do some of a run's chunks."""
    if due(Bulk, bulk_id) is None:
        return
    try:
        working.go_on(bulk_id)
    except Unavailable as error:
        working.note_failure(bulk_id, error)


@job
def delete_files() -> None:
    """Delete what was exported long enough ago."""
    while exporting.delete_old():
        continue
