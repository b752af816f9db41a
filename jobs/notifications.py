"""The job that hands a mail to the mail server."""

from __future__ import annotations

from app.notifications import service as notifications
from jobs import job


@job
def send(notification_id: int) -> None:
    """Send one mail, at most once."""
    notifications.send(notification_id)
