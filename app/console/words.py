"""Finding rows by words typed into a list's search field."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, or_

_MOST_WORDS = 6


def words_in(typed: str, *columns: Any) -> ColumnElement[bool]:
    """Rows where each typed word is part of one of the columns, whatever its case; their `words_index` finds them."""
    return and_(
        *(or_(*(column.icontains(word, autoescape=True) for column in columns)) for word in typed.split()[:_MOST_WORDS])
    )
