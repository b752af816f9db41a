"""What a list's page shows: rows from a place in its order on, found in one of two ways when words are searched, and
how many there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, func, not_, select

from app.console.counting import counted, estimated, rounded
from app.console.ordering import Order
from app.extensions import db

# Rows that are looked through for words before their index is asked.
LOOKED_THROUGH = 2_000


@dataclass(frozen=True)
class Rows:
    """A page of rows; `back` and `on` are the places before and behind which the list has more, if it has."""

    all: list[Any]
    back: str | None
    on: str | None


@dataclass(frozen=True)
class Listing:
    """The rows of a list as somebody asked for them.

    `match` says which rows have the words that were searched. A common word is found by looking through rows in the
    list's order until a page is full: its index would hand over most of the table. A rare one is found by its index:
    looking through would go on to the table's end. Rows are looked through first, two thousand at most.
    """

    query: Select[Any]
    order: Order
    match: ColumnElement[bool] | None = None

    def page(
        self, size: int, beyond: ColumnElement[bool] | None = None, *, backwards: bool = False, is_place: bool = True
    ) -> Rows:
        """The rows beyond a place, the list's beginning without one, or its end where nothing is beyond it.

        Whether there are rows on the other side is known of a place that another page began or ended at (`is_place`),
        and looked up otherwise.
        """
        rows = self._rows(size + 1, beyond, backwards=backwards)
        if not rows and beyond is not None:
            beyond, backwards = None, not backwards
            rows = self._rows(size + 1, backwards=backwards)
        there_is_more = len(rows) > size
        there_is_less = beyond is not None and (is_place or bool(self._rows(1, not_(beyond), backwards=not backwards)))
        rows = rows[:size]
        first, last = (there_is_more, there_is_less) if backwards else (there_is_less, there_is_more)
        if backwards:
            rows.reverse()
        return Rows(
            rows,
            back=self.order.place_of(rows[0]) if first else None,
            on=self.order.place_of(rows[-1]) if last else None,
        )

    def count(self, cap: int) -> tuple[int, bool]:
        """How many rows there are, and whether that is exact: it is up to `cap`, and an estimate beyond."""
        if self.match is None:
            count = counted(self._ids, cap + 1)
            return (count, True) if count <= cap else (max(cap, rounded(estimated(self._ids))), False)
        near = self._looked_through(self.query)
        seen, matching = db.session.execute(select(func.count(), func.count().filter(near.c.is_match))).one()
        if seen < LOOKED_THROUGH:
            return matching, True
        expected = estimated(self._ids) * matching // seen
        # Counting a word so common would take long, and only say that there are more.
        if expected <= 2 * cap:
            count = counted(select(self._by_index(self.query)), cap + 1)
            if count <= cap:
                return count, True
        return max(cap, rounded(expected)), False

    def places(self) -> Select[Any]:
        """Every row's id and its place in the list, from 1."""
        query = self.query if self.match is None else self.query.where(self.match)
        place = func.row_number().over(order_by=self.order.by())
        return query.with_only_columns(
            self.order.key.label("id"), place.label("place"), maintain_column_froms=True
        ).order_by(None)

    @property
    def _match(self) -> ColumnElement[bool]:
        if self.match is None:
            raise RuntimeError("there are no words to look for")
        return self.match

    @property
    def _ids(self) -> Select[Any]:
        return self.query.with_only_columns(self.order.key, maintain_column_froms=True)

    def _rows(self, limit: int, where: ColumnElement[bool] | None = None, *, backwards: bool = False) -> list[Any]:
        query = self.query if where is None else self.query.where(where)
        if self.match is None:
            return list(db.session.scalars(query.order_by(*self.order.by(backwards=backwards)).limit(limit)))
        near = self._looked_through(query, backwards=backwards)
        ids = self._first(select(near).where(near.c.is_match).subquery(), limit, backwards=backwards)
        if len(ids) < limit:
            ids = self._first(self._by_index(query), limit, backwards=backwards)
        rows = self.query.where(self.order.key.in_(ids)).order_by(*self.order.by(backwards=backwards))
        return list(db.session.scalars(rows))

    def _first(self, found: FromClause, limit: int, *, backwards: bool) -> list[int]:
        keys = [found.c[column.name] for column in self.order.named]  # the id is the last of them
        return list(
            db.session.scalars(select(keys[-1]).order_by(*self.order.by(keys, backwards=backwards)).limit(limit))
        )

    def _looked_through(self, query: Select[Any], *, backwards: bool = False) -> FromClause:
        # The match is a value of each row that is read, not a condition: the planner would turn that into the index.
        columns = (*self.order.named, self._match.label("is_match"))
        inner = query.with_only_columns(*columns, maintain_column_froms=True)
        return inner.order_by(*self.order.by(backwards=backwards)).limit(LOOKED_THROUGH).subquery("looked_through")

    def _by_index(self, query: Select[Any]) -> FromClause:
        # By itself: with an order and a limit around it, the planner may bet on finding enough while looking through.
        ids = query.where(self._match).with_only_columns(*self.order.named, maintain_column_froms=True).order_by(None)
        return ids.cte("found").prefix_with("MATERIALIZED")
