"""Finding rows by words typed into a list's search field."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, or_

_MOST_WORDS = 6
# The index knows groups of three letters; anything shorter inside a word would have it read from end to end.
_SHORTEST_INSIDE = 3


def words_in(typed: str, *columns: Any) -> ColumnElement[bool]:
    """Rows where each typed word is found in one of the columns, whatever its case; their `words_index` finds them.

    A word of one or two letters has to begin a word there, a longer one may be anywhere in it.
    """
    return and_(*(or_(*(_has(column, word) for column in columns)) for word in typed.split()[:_MOST_WORDS]))


def _has(column: Any, word: str) -> ColumnElement[bool]:
    if len(word) >= _SHORTEST_INSIDE:
        inside: ColumnElement[bool] = column.icontains(word, autoescape=True)
        return inside
    return or_(column.istartswith(word, autoescape=True), column.icontains(f" {word}", autoescape=True))
