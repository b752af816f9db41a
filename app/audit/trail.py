"""The audit trail as people read it: each entry as a moment on a timeline, with what changed from what to what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import and_, or_, select

from app.audit.action_names import action_in_words
from app.audit.models import AuditEntry
from app.extensions import db
from app.logs import OUTSIDE_A_REQUEST
from app.money import Money
from app.states import in_words

# Bookkeeping of the rows themselves: no news to a reader of a timeline.
_QUIET_COLUMNS = {
    *("due_at", "leased_until", "attempts", "last_error", "idempotency_key", "file_until"),
    *("answer_by", "reminded_hours", "hours_left", "asked", "asked_by_id", "assigned_to_id", "evidence_at_stripe"),
    *("undo_until", "moderated_by", "moderation_reason", "cancel_reason", "ended_because"),
    *("sums", "step", "failure_message", "reached", "explanation", "entry_id", "source"),
    *("by_id", "request_id", "columns", "defaults", "dry_run", "created", "updated", "unchanged", "rejected"),
    "folded",
}
# Whose values are words of ours or Stripe's, where they are no sentence of somebody's.
_CODES = {"status", "stripe_status", "failure_code", "failure_reason", "reason", "kind"}
_CODE = re.compile(r"[a-z_]+|[A-Z_]+")
# A timeline is read by a person: of a record with more entries than this, the newest are told.
_MOST = 500
# A timeline shows how a longer text begins; the history has all of it.
_LONG_TEXT = 300
# As the trail keeps a time, which is in UTC.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")


@dataclass(frozen=True)
class Moment:
    """One thing that happened. `icon` says of which sort, `tone` whether it was good or bad news."""

    at: datetime
    icon: str
    title: str
    detail: str | None = None
    actor: str | None = None
    request_id: str | None = None
    link: str | None = None
    tone: str | None = None
    fields: Sequence[dict[str, Any]] = ()
    lines: Sequence[dict[str, Any]] = field(default=())


# What an action is called on a timeline, its icon and tone.
Title = tuple[str, str, str | None]


def moments(
    about: Mapping[str, Sequence[int]], *, titles: Mapping[str, Title] | None = None, currency: str = "USD"
) -> Iterator[Moment]:
    """The audit entries of these objects (table to ids), oldest first; an action without a title is told by its name.

    `currency` is that of the objects' amounts, which the trail keeps in minor units without one.
    """
    objects = [
        and_(AuditEntry.object_type == table, AuditEntry.object_id.in_(ids)) for table, ids in about.items() if ids
    ]
    if not objects:
        return
    newest = select(AuditEntry).where(or_(*objects)).order_by(AuditEntry.id.desc()).limit(_MOST)
    for entry in reversed(db.session.scalars(newest).all()):
        title, icon, tone = (titles or {}).get(entry.action, (action_in_words(entry.action), "audit", None))
        yield Moment(
            at=entry.at,
            icon=icon,
            title=title,
            detail=entry.reason or _failure(entry.after or {}),
            actor=entry.actor_label,
            request_id=entry.request_id if entry.request_id != OUTSIDE_A_REQUEST else None,
            tone=tone,
            fields=_news(entry, currency) if entry.before is not None else (),
        )


def changes(entry: AuditEntry) -> list[dict[str, Any]]:
    """Every column of an entry as `{"name", "before", "after"}`, as it is kept; not those that were and are empty."""
    before, after = entry.before or {}, entry.after or {}
    found = [{"name": name, "before": before.get(name), "after": after.get(name)} for name in {**before, **after}]
    return [change for change in found if (change["before"], change["after"]) != (None, None)]


def _failure(after: dict[str, Any]) -> str | None:
    words = str(after.get("failure_message") or after.get("failure_reason") or "")
    # Where Stripe has no words for it, it has a code.
    return (words if " " in words else words.replace("_", " ").capitalize()) or None


def _news(entry: AuditEntry, currency: str) -> list[dict[str, Any]]:
    return [
        {
            "name": label_of(change["name"]),
            "before": _shown(change["name"], change["before"], currency),
            "after": _shown(change["name"], change["after"], currency),
        }
        for change in changes(entry)
        if change["name"] not in _QUIET_COLUMNS and not change["name"].endswith(("_at", "_since"))
    ]


def label_of(column: str) -> str:
    """A column as people read it: `total_minor` is "Total"."""
    return column.removesuffix("_minor").replace("_", " ").capitalize()


def code_in_words(column: str, value: Any) -> str | None:
    """A state, kind or reason that is kept as a code, as people read it; None for any other value."""
    if column in _CODES and isinstance(value, str) and _CODE.fullmatch(value):
        return in_words(value).capitalize()
    return None


def _shown(column: str, value: Any, currency: str) -> Any:
    if (words := code_in_words(column, value)) is not None:
        return words
    if column.endswith("_minor") and isinstance(value, int):
        return Money(value, currency).json()
    if isinstance(value, str) and _TIME.fullmatch(value):
        at = datetime.fromisoformat(value)
        return f"{at.day} {at:%b %Y at %H:%M} UTC"
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    if isinstance(value, str) and len(value) > _LONG_TEXT:
        return f"{value[:_LONG_TEXT].rstrip()}…"
    return value
