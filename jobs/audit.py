"""The job that seals the audit trail."""

from __future__ import annotations

from app.audit import service as audit
from jobs import job


@job
def seal() -> None:
    """Chain what was written since the last time."""
    while audit.seal():
        pass
