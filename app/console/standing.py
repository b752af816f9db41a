"""How the items of a queue stand: in which order and why, and how what is shown of them is told from what it is now."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import add
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, case, func, literal, literal_column, select, tuple_
from sqlalchemy.dialects.postgresql import aggregate_order_by

from app.accounts.models import Claim
from app.db import utcnow
from app.errors import Invalid
from app.extensions import Model, db
from app.states import Stateful


@dataclass(frozen=True)
class Urgency:
    """Why an item comes before others, in words: as if it had waited so many hours longer."""

    words: str | Callable[[Any], str]
    when: ColumnElement[bool]
    hours: int = 24


@dataclass(frozen=True)
class Standing:
    """What waits by its urgency, `since` when it does (a column), and from `patience` on for that alone; anything else
    newest first. An item is changed when its row is, or one of its `parts`: rows of other tables, by the column of each
    that names the item.
    """

    model: type[Stateful]
    since: str
    urgency: Sequence[Urgency]
    patience: timedelta
    parts: Sequence[tuple[type[Model], str]] = ()

    @property
    def key(self) -> ColumnElement[int]:
        """The id of an item."""
        key: ColumnElement[int] = self.model.__table__.c.id
        return key

    @property
    def order(self) -> list[ColumnElement[Any]]:
        """What waits is sorted by."""
        return [self._urgent_at(), self.key]

    @property
    def newest_first(self) -> list[ColumnElement[Any]]:
        """What does not wait is sorted by."""
        return [self.key.desc()]

    def _urgent_at(self) -> ColumnElement[datetime]:
        """When an item would have come, had its urgency been waiting: a place in the queue that no clock moves.

        In hours, and without a time zone: with one, what comes out depends on who asks, and no index can be made of it.
        """
        since: ColumnElement[datetime] = getattr(self.model, self.since)
        hours: list[ColumnElement[int]] = [case((urgency.when, urgency.hours), else_=0) for urgency in self.urgency]
        if not hours:
            return since
        at: ColumnElement[datetime] = func.timezone("UTC", since) - func.make_interval(0, 0, 0, 0, reduce(add, hours))
        return at

    def place(self, row_id: int) -> Any:
        """Where an item stands in the queue, or stood when it waited. Raises Invalid where there is none."""
        found = db.session.execute(select(*self.order).where(self.key == row_id)).first()
        if found is None:
            raise Invalid.field("after", "This is not a place in this list.")
        return tuple_(*found)

    def page(
        self, narrowed: Select[Any], after: str | None, size: int, *, is_waiting: bool
    ) -> list[tuple[Any, str, list[bool]]]:
        """So many items after one, the version of each and which urgencies it has. Raises Invalid for no such item."""
        if after is not None and not (after.isascii() and after.isdigit() and len(after) <= 18):
            raise Invalid.field("after", "This is not a place in this list.")
        if after and is_waiting:
            narrowed = narrowed.where(tuple_(*self.order) > self.place(int(after)))
        elif after:
            narrowed = narrowed.where(self.key < int(after))
        page = narrowed.add_columns(*self._told()).order_by(*(self.order if is_waiting else self.newest_first))
        return [(row, version, holding) for row, version, *holding in db.session.execute(page.limit(size))]

    def around(self, row_id: int, waiting: Select[Any], most: int, *, backwards: bool = False) -> list[int]:
        """The ids of what comes after an item, or before it; after the last one, the first ones again."""
        here = self.place(row_id)
        if backwards:
            before = waiting.where(tuple_(*self.order) < here).order_by(*(column.desc() for column in self.order))
            return list(db.session.scalars(before.limit(most)))
        following = waiting.where(tuple_(*self.order) > here).order_by(*self.order).limit(most)
        found = list(db.session.scalars(following))
        if len(found) < most:
            first = waiting.where(tuple_(*self.order) < here).order_by(*self.order).limit(most - len(found))
            found += db.session.scalars(first)
        return found

    def of(self, row_id: int) -> tuple[str, list[bool]]:
        """An item's version and which urgencies it has."""
        version, *holding = db.session.execute(select(*self._told()).where(self.key == row_id)).one()
        return version, holding

    def versions(self, ids: Sequence[int]) -> dict[int, str]:
        """The versions of these items: another one after whatever change."""
        found = select(self.key, self._version()).where(self.key.in_(ids))
        return dict(db.session.execute(found).all())

    def reasons(self, row: Any, holding: Sequence[bool]) -> list[str]:
        """Why an item stands where it does, in words."""
        reasons = [
            urgency.words if isinstance(urgency.words, str) else urgency.words(row)
            for urgency, holds in zip(self.urgency, holding, strict=True)
            if holds
        ]
        waited = utcnow() - getattr(row, self.since)
        if waited >= self.patience:
            reasons.append(f"Waits for {waited.days} {'day' if waited.days == 1 else 'days'}")
        return reasons

    def _told(self) -> list[ColumnElement[Any]]:
        return [self._version(), *(urgency.when for urgency in self.urgency)]

    def _version(self) -> ColumnElement[str]:
        version = _written_by(self.model)
        for part, column in self.parts:
            table = part.__table__.c
            rows = select(func.string_agg(_written_by(part), aggregate_order_by(literal(","), table.id)))
            version += "/" + func.coalesce(rows.where(table[column] == self.key).scalar_subquery(), "")
        return version


def _written_by(model: type[Model]) -> ColumnElement[str]:
    # The transaction that wrote a row last: no change of whatever column leaves it as it was.
    return literal_column(f"{model.__tablename__}.xmin::text", Text)


def mark(versions: Mapping[int, str], held: Mapping[int, Claim]) -> str:
    """What is shown of these items, in a few letters: others after any of them was changed or claimed."""
    claimed = {row_id: (claim.user_id, claim.since.isoformat()) for row_id, claim in held.items()}
    seen = [(row_id, version, claimed.get(row_id)) for row_id, version in sorted(versions.items())]
    return hashlib.blake2b(repr(seen).encode(), digest_size=8).hexdigest()
