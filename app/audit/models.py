"""The audit trail's two tables. The app may only add to them; triggers refuse the rest to everybody else too."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, FetchedValue, ForeignKey, Identity, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Model


class AuditEntry(Model):
    """One thing somebody did to one object. `transaction_id` tells the sealing job which entries can still be joined by
    earlier ones.
    """

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index("ix_audit_entries_object", "object_type", "object_id", "id"),
        Index("ix_audit_entries_request_id", "request_id"),
        # Where a period begins and ends.
        Index("ix_audit_entries_at", "at", "id"),
        # What one person did, or one action is in the trail for, newest first.
        Index("ix_audit_entries_actor_id", "actor_id", "id"),
        Index("ix_audit_entries_actor_label", "actor_label", "id"),
        Index("ix_audit_entries_action", "action", "id", postgresql_ops={"action": "text_pattern_ops"}),
        # The order of the chain.
        Index("ix_audit_entries_transaction_id", "transaction_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    transaction_id: Mapped[int] = mapped_column(BigInteger, server_default=FetchedValue())
    actor_kind: Mapped[str]
    actor_id: Mapped[int | None] = mapped_column(BigInteger)
    actor_label: Mapped[str]
    address: Mapped[str | None]
    action: Mapped[str]
    object_type: Mapped[str]
    object_id: Mapped[int] = mapped_column(BigInteger)
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None]
    request_id: Mapped[str]


class AuditSeal(Model):
    """An entry's place in the hash chain: `digest` covers the entry and the digest before it."""

    __tablename__ = "audit_seals"

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    entry_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("audit_entries.id"), unique=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
