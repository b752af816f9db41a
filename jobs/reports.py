"""Jobs of reports."""

from __future__ import annotations

from app.reports import service as reports
from jobs import job


@job
def add_up() -> None:
    """Bring the sums by day up to what is settled."""
    reports.add_up()
