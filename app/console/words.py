"""Finding rows by words typed into a list's search field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_

MOST_WORDS = 6
# The index knows groups of three letters, the space before a word among them; with less to go by it would be read from
# end to end.
_INSIDE, _WORD_BEGINS = 3, 2


def words_in(typed: str, *columns: Any) -> ColumnElement[bool]:
    """Rows where each typed word is found in one of the columns, whatever its case; their `words_index` finds them.

    A word of three letters or more may be anywhere, a shorter one begins a word there; a single letter alone begins the
    column. Words without letters or digits are passed over, as the index doesn't know them; with no other, nothing is
    found.
    """
    words = [word for word in typed.split() if letters_in(word)][:MOST_WORDS]
    return either_in([[word] for word in words], *columns) if words else false()


def either_in(words: Sequence[Sequence[str]], *columns: Any) -> ColumnElement[bool]:
    """The same, where each word may be found in any of the ways that it might be spelt; beside others, a single letter
    may begin any word.
    """
    is_alone = len(words) == 1
    return and_(*(or_(*(_has(column, way, is_alone) for way in ways for column in columns)) for ways in words))


def letters_in(typed: str) -> int:
    """How many letters and digits there are to search for."""
    return sum(map(str.isalnum, typed))


def _has(column: Any, word: str, is_alone: bool) -> ColumnElement[bool]:
    letters = letters_in(word)
    if letters >= _INSIDE:
        return or_(column.icontains(word, autoescape=True))
    begins = [column.istartswith(word, autoescape=True)]
    if letters >= _WORD_BEGINS or not is_alone:
        begins.append(column.icontains(f" {word}", autoescape=True))
    return or_(*begins)
