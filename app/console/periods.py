"""Narrowing a list to a period: where rows are only ever added, it is a range of their ids too."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select

from app.console.base import MAX_ID, Filter

# A row's time is when its transaction began, its id was given later; none takes this long.
_LONGEST_TRANSACTION = timedelta(hours=1)


def period(row_id: Any, at: Any) -> tuple[Filter, Filter]:
    """The filters "From" and "To" of a list that is paged by `row_id`, whose rows were written `at`; an index on both
    finds where they begin and end. Without the range of ids, a page from last year would be read from today on.
    """

    def since(begin: datetime) -> ColumnElement[bool]:
        earlier = select(row_id).where(at < begin - _LONGEST_TRANSACTION).order_by(at.desc(), row_id.desc()).limit(1)
        return and_(at >= begin, row_id > func.coalesce(earlier.scalar_subquery(), 0))

    def until(begin: datetime) -> ColumnElement[bool]:
        end = begin + timedelta(days=1)
        return and_(at < end, was_there(row_id, at, end))

    return Filter("from", "From", kind="day", where=since), Filter("to", "To", kind="day", where=until)


def was_there(row_id: Any, at: Any, end: datetime) -> ColumnElement[bool]:
    """Whether a row's id was given before `end`, or a little later: all that anything had happened to by then."""
    later = select(row_id).where(at >= end + _LONGEST_TRANSACTION).order_by(at, row_id).limit(1)
    found: ColumnElement[bool] = row_id < func.coalesce(later.scalar_subquery(), MAX_ID)
    return found
