"""Undo: a decision can be taken back for a short while, and what it does outside waits until that is over."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Mapped

from app.config import settings
from app.db import require_transaction, utcnow
from app.extensions import Model, db

_BATCH = 5_000


class Undoable(Model):
    """A row whose last decision can be undone while `undo_until` lies ahead.

    The row is its own work order: until `undo_until` is empty, what the decision does outside (what the public is
    shown, mail, the index) has not been done. `settle` empties it under the row's lock, as undoing does, so what was
    shown can't be undone any more and what was undone was never shown.
    """

    __abstract__ = True
    id: Mapped[int]
    undo_until: Mapped[datetime | None]

    def may_be_undone(self) -> bool:
        """Whether the window is still open; ask it of a locked row."""
        return self.undo_until is not None and self.undo_until > utcnow()


def window() -> timedelta:
    """How long a decision can be undone."""
    return timedelta(seconds=settings().undo_seconds)


def settle(model: type[Undoable]) -> list[int]:
    """Close windows that have passed, a batch in one statement; the ids whose outside effects are to be done, in this
    same transaction. Rows that somebody is working on wait for the next time.
    """
    require_transaction()
    passed = (
        select(model.id)
        .where(model.undo_until <= utcnow())
        .order_by(model.undo_until)
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    )
    closed = update(model).where(model.id.in_(passed)).values(undo_until=None).returning(model.id)
    return list(db.session.scalars(closed.execution_options(synchronize_session=False)))
