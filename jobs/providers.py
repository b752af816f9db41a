"""The job that looks after the files of providers' documents."""

from __future__ import annotations

from app.catalog import documents
from jobs import job


@job
def sweep_files() -> None:
    """Delete files that no document has any more, or never had."""
    documents.sweep_files()
