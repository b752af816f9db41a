"""What happened to a row since somebody looked at it, for whoever acts on what they saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import select

from app.audit import history
from app.audit.models import AuditEntry
from app.audit.trail import Title
from app.db import lock, transaction
from app.errors import Conflict
from app.extensions import Model, db
from app.states import in_words


def newest(row: Model) -> AuditEntry | None:
    """The last thing that happened to the row; its id is the version of the row that somebody who reads it now sees."""
    return db.session.scalars(
        select(AuditEntry)
        .where(
            AuditEntry.object_type == row.__tablename__,
            AuditEntry.object_id == row.id,  # type: ignore[attr-defined]  # every audited table has one
        )
        .order_by(AuditEntry.id.desc())
        .limit(1)
    ).first()


@contextmanager
def as_seen(
    model: type[Model],
    row_id: int,
    seen: int,
    *,
    titles: Mapping[str, Title] | None = None,
    parent: tuple[type[Model], int] | None = None,
) -> Iterator[None]:
    """Do a verb to the row only if nothing happened to it since the entry `seen`, or 0 for none; the row is locked
    meanwhile, behind its `parent` where the verb locks one.

    Raises NotFound, and Conflict saying what happened, by whom and how long ago.
    """
    with transaction():
        if parent is not None:
            lock(*parent)
        entry = newest(lock(model, row_id))
        if entry is not None and entry.id > seen:
            raise Conflict(told(entry, titles=titles))
        yield


def told(entry: AuditEntry, *, titles: Mapping[str, Title] | None = None) -> str:
    """An entry as a sentence: "Approved by Ada Lovelace 4 seconds ago." An action without a title is told by the state
    that it led to.
    """
    status = (entry.after or {}).get("status")
    if titles and entry.action in titles:
        what = titles[entry.action][0]
    else:
        what = in_words(status).capitalize() if status else "Changed"
    return f"{what} by {entry.actor_label} {history.ago(entry.at)}."
