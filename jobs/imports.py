"""The jobs that work through an import, and forget its file when it is old."""

from __future__ import annotations

from app.errors import Unavailable
from app.imports import service as imports
from app.imports import work as working
from app.imports.models import Import
from jobs import due, job


@job
def work(import_id: int) -> None:
    """Check or import some of a file's rows."""
    if due(Import, import_id) is None:
        return
    try:
        working.go_on(import_id)
    except Unavailable as error:
        working.note_failure(import_id, error)


@job
def forget_files() -> None:
    """Delete the files of imports of long ago."""
    imports.forget_files()
