"""Status changes: allowed by the model's MOVES table, made only here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    Insert,
    Update,
    any_,
    cast,
    update,
)
from sqlalchemy.dialects.postgresql import array
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


@dataclass(frozen=True)
class Moving:
    """Many rows on their way to another state, in a statement that may do more with them.

    `rows` has their `id`, what was asked to be kept, and as `was_…` what each of the columns in `after` held before.
    """

    rows: CTE
    after: dict[str, Any]

    def run(self, *more: Insert | Update) -> list[int]:
        """Move them, and do what stands on `rows` in the same statement; returns the ids that moved."""
        statement = db.select(self.rows.c.id)
        for number, step in enumerate(more, 1):
            statement = statement.add_cte(step.cte(f"step_{number}"))
        return sorted(db.session.scalars(statement))


def moving(
    model: type[Stateful],
    ids: Iterable[int],
    *,
    to: str,
    sources: Collection[str],
    only: Collection[ColumnElement[bool]] = (),
    keep: Collection[str] = (),
    **values: Any,
) -> Moving:
    """Those of the rows that are in one of the `sources`, on their way to another state; `values` are set as well.

    Nothing is done before its `run`, which leaves what the session knows of them as it was. Raises ValueError when
    MOVES lacks one of the edges.
    """
    require_transaction()
    for source in sources:
        if to not in model.MOVES[source]:
            raise ValueError(f"{model.__name__} has no move from {source} to {to}")
    after = {"status": to, **values}
    if to in model.STAMPS:
        after.setdefault(model.STAMPS[to], utcnow())
    columns = model.__table__.c
    # Locked in id order, so that two of these, or one and a verb, can't wait for each other in a ring.
    locked = (
        db.select(columns.id, *(columns[name].label(f"was_{name}") for name in after))
        .where(columns.id == any_(cast(list(ids), ARRAY(BigInteger))), columns.status.in_(sources), *only)
        .order_by(columns.id)
        .with_for_update()
        .cte("locked")
    )
    moved = (
        update(model.__table__)  # type: ignore[arg-type]  # every model of ours is a plain table
        # Each row by the index: to a plain equality the planner, who can't know how few are locked, may read the whole
        # table.
        .where(columns.id == any_(array([locked.c.id])))
        .values(after)
        .returning(columns.id, *(columns[name] for name in keep), *(locked.c[f"was_{name}"] for name in after))
    )
    return Moving(moved.cte("moved"), after)


def move_many(model: type[Stateful], ids: Iterable[int], *, to: str, sources: Collection[str]) -> list[int]:
    """Move many rows in one statement; returns the ids that were in one of the `sources` and moved, the others stay as
    they are.

    Raises ValueError when MOVES lacks one of the edges.
    """
    return moving(model, ids, to=to, sources=sources).run()


def _name(model: type[Stateful]) -> str:
    return model.__name__.lower()
