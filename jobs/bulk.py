"""The jobs of bulk runs: working through one, and deleting the files that some leave."""

from __future__ import annotations

from app.bulk import exporting
from app.bulk import service as bulk
from app.bulk.models import Bulk
from app.errors import Unavailable
from app.extensions import db
from app.logs import request_id
from jobs import job


@job
def work(bulk_id: int) -> None:
    """Do some of a run's chunks."""
    run = db.session.get(Bulk, bulk_id)
    if run is None or run.due_at is None:
        return
    # The work goes on under the id of the request that asked for it, whatever sweep handed it out.
    request_id.set(run.request_id)
    try:
        bulk.work(bulk_id)
    except Unavailable as error:
        bulk.note_failure(bulk_id, error)


@job
def delete_files() -> None:
    """Delete what was exported long enough ago."""
    while exporting.delete_old():
        continue
