"""Status changes: allowed by the model's MOVES table, made only here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import ClassVar

from sqlalchemy import CheckConstraint, func, update
from sqlalchemy.orm import Mapped

from app.db import require_transaction, utcnow
from app.errors import Conflict
from app.extensions import Model, db

Moves = Mapping[str, frozenset[str]]


class Stateful(Model):
    """A model with a status. MOVES says from where to where; STAMPS which column keeps the time of arriving."""

    __abstract__ = True
    MOVES: ClassVar[Moves]
    STAMPS: ClassVar[Mapping[str, str]] = {}
    id: Mapped[int]
    status: Mapped[str]


def moves(table: Mapping[str, str]) -> Moves:
    """A MOVES table from one line per state: `{"OPEN": "CLOSED VOID", "CLOSED": "", "VOID": ""}`."""
    return {state: frozenset(targets.split()) for state, targets in table.items()}


def status_check(table: Moves) -> CheckConstraint:
    """The database's own list of the states in a MOVES table."""
    return CheckConstraint("status IN (" + ", ".join(f"'{state}'" for state in table) + ")", name="status")


def in_words(status: str) -> str:
    """A state as a person reads it: `PENDING_PAYMENT` is "pending payment"."""
    return status.replace("_", " ").lower()


def may_move(row: Stateful, to: str) -> bool:
    """Whether the MOVES table has this edge; the buttons are drawn from it."""
    return to in row.MOVES[row.status]


def no_way(row: Stateful, to: str) -> str:
    """Why the row can't take an edge that its MOVES table lacks, in words."""
    now = f"This {_name(type(row))} is {in_words(row.status)}"
    return f"{now} already." if to == row.status else f"{now}; it can't become {in_words(to)}."


def move(row: Stateful, to: str, *, at: datetime | None = None) -> None:
    """Take one edge of the row's MOVES table and stamp the time. Raises Conflict where there is none."""
    require_transaction()
    if not may_move(row, to):
        raise Conflict(no_way(row, to))
    row.status = to
    stamp = row.STAMPS.get(to)
    if stamp is not None:
        setattr(row, stamp, at or utcnow())


def move_many(model: type[Stateful], ids: Iterable[int], *, to: str, sources: Collection[str]) -> list[int]:
    """Move many rows in one statement; returns the ids that were in one of the `sources` and moved, the others stay as
    they are.

    Raises ValueError when MOVES lacks one of the edges.
    """
    require_transaction()
    for source in sources:
        if to not in model.MOVES[source]:
            raise ValueError(f"{model.__name__} has no move from {source} to {to}")
    values: dict[str, object] = {"status": to}
    if to in model.STAMPS:
        values[model.STAMPS[to]] = func.now()
    # Locked in id order, so that two of these, or one and a verb, can't wait for each other in a ring.
    locked = (
        db.select(model.id)
        .where(model.id.in_(list(ids)), model.status.in_(sources))
        .order_by(model.id)
        .with_for_update()
        .cte("locked")
    )
    moved = db.session.scalars(
        update(model).where(model.id.in_(db.select(locked.c.id))).values(values).returning(model.id)
    )
    return sorted(moved)


def _name(model: type[Stateful]) -> str:
    return model.__name__.lower()
