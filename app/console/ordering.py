"""The order of a list: a header sorts it either way, and a page begins at a place in it that an index finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from sqlalchemy import ColumnElement, func, literal, select, tuple_

from app.errors import Invalid

# Sorts behind everything that begins with the same letters.
_LAST_LETTER = "\U0010ffff"
_MAX_ID = 2**63 - 1
_MOST = 10**15

Place = tuple[Any, ...]


@dataclass(frozen=True)
class Sort:
    """What a header sorts a list by: a column that is never empty and, followed by the id, has an index.

    Ids that were given in the order of `by` serve as it (`follows_id`): the indexes that end with the id then serve the
    list with any filter, and the one on `by` finds where a day begins.
    """

    by: Any
    follows_id: bool = False
    # Money in minor units is typed in whole ones.
    is_money: bool = False

    @property
    def kind(self) -> Literal["day", "text", "number"]:
        """What somebody types to go to a place in this order."""
        python_type = self.by.type.python_type
        return "day" if issubclass(python_type, date) else "text" if python_type is str else "number"

    def onwards(self, typed: str, *, descending: bool) -> ColumnElement[bool]:
        """The rows from what was typed on: a day, the beginning of a text, or a number. Raises Invalid."""
        if self.kind == "number":
            return self._from(_number(typed, is_money=self.is_money), descending)
        if self.kind == "text":
            return self._from(typed + _LAST_LETTER if descending else typed, descending)
        day = _day(typed)
        if not issubclass(self.by.type.python_type, datetime):
            return self._from(day, descending)
        # The whole of the day: descending, all before the next one begins.
        begin = datetime.combine(day, time(), UTC)
        return self._from(begin + timedelta(days=1, microseconds=-1) if descending else begin, descending)

    def _from(self, value: Any, descending: bool) -> ColumnElement[bool]:
        onwards: ColumnElement[bool] = self.by <= value if descending else self.by >= value
        return onwards


@dataclass(frozen=True)
class Order:
    """A list's order: by a sort, rows that are alike by their ids, both the same way; without a sort by the ids."""

    key: ColumnElement[int]
    sort: Sort | None = None
    descending: bool = True

    @property
    def named(self) -> list[ColumnElement[Any]]:
        """The columns it orders by, named for a subquery, whose own `by` then takes."""
        return [column.label(f"key_{place}") for place, column in enumerate(self._columns)]

    def by(self, columns: Sequence[ColumnElement[Any]] = (), *, backwards: bool = False) -> list[ColumnElement[Any]]:
        """What to order by, from the list's end with `backwards`; of a subquery it is these `columns` of that."""
        down = self.descending != backwards
        return [column.desc() if down else column.asc() for column in columns or self._columns]

    def beyond(self, place: Place, *, greater: bool) -> ColumnElement[bool]:
        """The rows on one side of a place: with the greater values, or with the lesser."""
        values = [literal(value, column.type) for value, column in zip(place, self._columns, strict=True)]
        left, right = (tuple_(*self._columns), tuple_(*values)) if len(place) > 1 else (self.key, values[0])
        return left > right if greater else left < right

    def onwards(self, typed: str) -> ColumnElement[bool]:
        """The rows from what was typed on, in the list's direction. Raises Invalid."""
        if self.sort is None:
            raise Invalid.field("goto", "Sort by a column first: there is none to find a place by.")
        onwards = self.sort.onwards(typed, descending=self.descending)
        if not self.sort.follows_id:
            return onwards
        order = Order(self.key, Sort(self.sort.by), self.descending).by()
        edge = select(self.key).where(onwards).order_by(*order).limit(1).scalar_subquery()
        return self.key <= func.coalesce(edge, 0) if self.descending else self.key >= func.coalesce(edge, _MAX_ID)

    def place_of(self, row: Any) -> str:
        """A row's place, as addresses carry it."""
        values = [getattr(row, str(column.key)) for column in self._columns]
        return "~".join(value.isoformat() if isinstance(value, date) else str(value) for value in values)

    def place(self, name: str, written: str) -> Place:
        """The same read back. Raises Invalid for what no row of this list's could be."""
        columns = self._columns
        values = written.rsplit("~", len(columns) - 1)
        try:
            return tuple(_READ[column.type.python_type](value) for column, value in zip(columns, values, strict=True))
        except ValueError as error:
            raise Invalid.field(name, "This is not a place in this list.") from error

    @property
    def _columns(self) -> Sequence[ColumnElement[Any]]:
        return (self.key,) if self.sort is None or self.sort.follows_id else (self.sort.by, self.key)


def _day(typed: str) -> date:
    try:
        day = date.fromisoformat(typed)
    except ValueError:
        day = date.min
    # The calendar's first and last years leave no room to look around them.
    if not date.min.year < day.year < date.max.year:
        raise Invalid.field("goto", "Go to a day such as 2026-11-22.")
    return day


def _number(typed: str, *, is_money: bool) -> int:
    try:
        number = Decimal(typed.replace(",", ""))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number) > _MOST:
        raise Invalid.field("goto", "Go to an amount such as 250." if is_money else "Go to a number such as 250.")
    return int(number.scaleb(2)) if is_money else int(number)


def _id(written: str) -> int:
    if not (written.isascii() and written.isdigit()) or len(written) > 18:
        raise ValueError(written)
    return int(written)


def _aware(written: str) -> datetime:
    at = datetime.fromisoformat(written)
    if at.tzinfo is None or not date.min.year < at.year < date.max.year:
        raise ValueError(written)
    return at


_READ: dict[type, Callable[[str], Any]] = {int: _id, str: str, date: date.fromisoformat, datetime: _aware}
