"""Jobs that watch the clock for reviews."""

from __future__ import annotations

from app.reviews import service as reviews
from jobs import job


@job
def settle() -> None:
    """Show what can't be undone any more."""
    reviews.settle_due()
