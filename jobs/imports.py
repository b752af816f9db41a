"""The jobs that work through an import, and forget its file when it is old."""

from __future__ import annotations

from app.errors import Unavailable
from app.extensions import db
from app.imports import service as imports
from app.imports import work as working
from app.imports.models import Import
from app.logs import request_id
from jobs import job


@job
def work(import_id: int) -> None:
    """Check or import some of a file's rows."""
    found = db.session.get(Import, import_id)
    if found is None or found.due_at is None:
        return
    # The work goes on under the id of the request that asked for it, whatever sweep handed it out.
    request_id.set(found.request_id)
    try:
        working.go_on(import_id)
    except Unavailable as error:
        working.note_failure(import_id, error)


@job
def forget_files() -> None:
    """Delete the files of imports of long ago."""
    imports.forget_files()
