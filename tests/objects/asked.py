"""What a request is about, made for whoever owns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from app.audit.models import AuditEntry
from app.extensions import db

NOT_THERE = 2**62


@dataclass(frozen=True)
class Asked:
    """What a request is about: the parts of its address, and what it sends, by GET in its query."""

    args: dict[str, Any]
    body: dict[str, Any] | None = None


def last_entry(table: str, row_id: int) -> int:
    """The newest entry of a row's history."""
    about = (AuditEntry.object_type == table, AuditEntry.object_id == row_id)
    return db.session.scalar(select(func.max(AuditEntry.id)).where(*about)) or 0
