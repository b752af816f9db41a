"""Narrowing a list to what happened in some days (UTC): a bar of the revenue page leads there, and a chip says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_

from app.console.base import Filter
from app.console.formatting import status_label
from app.console.periods import was_there
from app.console.revenue_asked import in_words
from app.errors import Invalid
from app.reports.periods import Period


@dataclass(frozen=True)
class Happened(Filter):
    """What happened, from its first day to its last, as `confirmed:2026-11-01:2026-11-30`; `options` has the words."""

    def parse(self, value: str) -> str:
        """The same. Raises Invalid by field."""
        what, _ = read(self.name, value)
        if self.options and what not in self.options:
            raise Invalid.field(self.name, f"There is no {self.label.lower()} {what}.")
        return value

    def in_words(self, value: str) -> str:
        """What happened, and when."""
        what, period = read(self.name, value)
        words = self.options.get(what) or (status_label(what) if what else "No reason given")
        return f"{self.label}: {words}, {in_words(period)}"


def happened(
    row_id: Any, created_at: Any, what: Mapping[str, tuple[str, Any, Sequence[ColumnElement[bool]]]]
) -> Happened:
    """The filter of a list that is paged by `row_id`, whose rows were written at `created_at` and have a time of each
    thing that can happen to them: what that is called, the column of its time, and what else has to be true of the row.
    """

    def where(value: str) -> ColumnElement[bool]:
        name, period = read("happened", value)
        _, at, conditions = what[name]
        # Nothing happens to a row before it is there: without that, a page of last year would be read from today on.
        return and_(within(at, period), was_there(row_id, created_at, _ends(period)), *conditions)

    words = {name: words for name, (words, _, _) in what.items()}
    return Happened("happened", "What happened", words, kind="linked", where=where)


def address(what: str, period: Period) -> str:
    """What the filter is set to."""
    return f"{what}:{period.first}:{period.last}"


def read(name: str, value: str) -> tuple[str, Period]:
    """What such a filter is set to. Raises Invalid by field."""
    what, _, days = value.partition(":")
    try:
        first, last = (date.fromisoformat(day) for day in days.split(":"))
        if not date.min.year < first.year <= last.year < date.max.year:
            raise ValueError(days)
    except ValueError as error:
        raise Invalid.field(name, "Give what happened and two days, such as booked:2026-11-01:2026-11-30.") from error
    return what, Period(first, last)


def within(column: Any, period: Period) -> ColumnElement[bool]:
    """Whether a time is on one of these days."""
    found: ColumnElement[bool] = and_(column >= datetime.combine(period.first, time(), UTC), column < _ends(period))
    return found


def _ends(period: Period) -> datetime:
    return datetime.combine(period.last + timedelta(days=1), time(), UTC)
