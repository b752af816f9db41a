"""Jobs that watch the clock for bookings."""

from __future__ import annotations

from app.bookings import service as bookings
from jobs import job


@job
def expire_holds() -> None:
    """Free the holds whose time is over."""
    bookings.expire_due()


@job
def complete_stays() -> None:
    """Complete the stays that are over."""
    bookings.complete_due()
