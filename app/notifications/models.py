"""The notification: one mail to one person, written with what it tells of and sent afterwards."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, FetchedValue, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.queue import Outbox
from app.states import Stateful, moves, status_check


class Notification(Stateful, Outbox):
    """A mail, as its kind and the values its templates are filled with.

    SENDING is committed before the server is given the mail: who finds it later knows that somebody was at it. UNKNOWN
    means that nobody can say whether it left; only a person has it sent again. FAILED was refused, or tried too often.
    `secrets`, such as a link that lets somebody in, are needed for sending alone and emptied by it.
    """

    JOB = "jobs.notifications.send"
    SWEEP = "jobs.sweeps.notifications"
    QUEUE = "mail"
    MOVES = moves(
        {
            "QUEUED": "SENDING FAILED",
            "SENDING": "SENT QUEUED FAILED UNKNOWN",
            "SENT": "QUEUED",
            "FAILED": "QUEUED",
            "UNKNOWN": "QUEUED SENT",
        }
    )
    STAMPS = {"SENDING": "sending_at", "SENT": "sent_at"}

    __tablename__ = "notifications"
    __table_args__ = (
        status_check(MOVES),
        CheckConstraint("(object_type IS NULL) = (object_id IS NULL)", name="object"),
        CheckConstraint("status <> 'SENT' OR secrets IS NULL", name="secrets"),
        Index("ix_notifications_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_notifications_object", "object_type", "object_id"),
        Index("ix_notifications_recipient", "recipient", "id"),
        Index("ix_notifications_created_at", "created_at", "id"),
        Index("ix_notifications_status", "status", "id"),
        Index("ix_notifications_kind", "kind", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str]
    # Names the fact: the same fact is told once.
    key: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(default="QUEUED", server_default="QUEUED")
    recipient: Mapped[str]
    recipient_name: Mapped[str]
    # The row it tells of, as the audit trail names rows.
    object_type: Mapped[str | None]
    object_id: Mapped[int | None] = mapped_column(BigInteger)
    values: Mapped[dict[str, Any]]
    secrets: Mapped[dict[str, Any] | None]
    # The same however often one sending is tried, so that a mailbox which has it already can tell.
    message_id: Mapped[str]
    # What was sent, without its secrets: the templates may have changed since. `body` is its text.
    subject: Mapped[str | None]
    body: Mapped[str | None]
    html: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    sending_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
