"""The job that hands a mail to the mail server."""

from __future__ import annotations

from app.notifications import service as notifications
from app.notifications.models import Notification
from jobs import due, job


@job
def send(notification_id: int) -> None:
    """Send one mail, at most once."""
    if due(Notification, notification_id):
        notifications.send(notification_id)
