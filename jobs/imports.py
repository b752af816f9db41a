"""The jobs that work through an import, and forget its file when it is old."""

from __future__ import annotations

from app.errors import Unavailable
from app.imports import service as imports
from app.imports import work as working
from app.imports.models import Import
from app.queue import note_failure
from jobs import due, job


@job
def work(import_id: int) -> None:
    """Check or import some of a file's rows."""
    if due(Import, import_id) is None:
        return
    try:
        working.go_on(import_id)
    except Unavailable as error:
        note_failure(Import, import_id, error.detail, give_up=working.fail)


@job
def forget_files() -> None:
    """Delete the files of imports of long ago."""
    imports.forget_files()
