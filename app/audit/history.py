"""Who was first, where two people wanted the same: read from the trail for whoever comes second."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NoReturn

from sqlalchemy import ColumnElement, Select, select

from app import states
from app.audit.models import AuditEntry
from app.db import utcnow
from app.errors import Conflict
from app.extensions import Model, db
from app.states import Stateful, may_move, no_way

_UNITS = ((3600, "hour"), (60, "minute"), (1, "second"))


def last_by(row: Model, action: str) -> str | None:
    """Who did this to the row last, and when, in words; None when nobody did."""
    return _who_and_when(_newest(row, AuditEntry.action == action))


def move(row: Stateful, to: str) -> None:
    """The same as `states.move`, for staff: the Conflict says who brought the row to where it is."""
    if not may_move(row, to):
        refuse_move(row, to)
    states.move(row, to)


def refuse_move(row: Stateful, to: str) -> NoReturn:
    """Raise the Conflict that `move` raises; for a verb that takes only one of the ways to a state."""
    said = no_way(row, to)
    who = _who_and_when(_newest(row, AuditEntry.after["status"].astext == row.status))
    raise Conflict(f"{said} That was {who}." if who else said)


def _newest(row: Model, *which: ColumnElement[bool]) -> Select[Any]:
    return (
        select(AuditEntry)
        .where(
            AuditEntry.object_type == row.__tablename__,
            AuditEntry.object_id == row.id,  # type: ignore[attr-defined]  # every audited table has one
            *which,
        )
        .order_by(AuditEntry.id.desc())
    )


def _who_and_when(entries: Select[Any]) -> str | None:
    entry = db.session.scalar(entries.limit(1))
    return f"{entry.actor_label}, on {entry.at.day} {entry.at:%b %Y at %H:%M} UTC" if entry else None


def ago(at: datetime) -> str:
    """When something happened, for whoever comes a little later: `4 seconds ago`; beyond a day, when it was."""
    seconds = int((utcnow() - at).total_seconds())
    if seconds < 1:
        return "just now"
    if seconds >= 86_400:
        return f"on {at.day} {at:%b %Y at %H:%M} UTC"
    count, unit = next((seconds // size, unit) for size, unit in _UNITS if seconds >= size)
    return f"{count} {unit}{'' if count == 1 else 's'} ago"
