"""Which words of a hit were asked for, marked in its texts for a page to show."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from html import escape
from typing import Any

from sqlalchemy import Connection, text

from app.search.wording import Wording

_WORD = re.compile(r"[^\W_]+(?:['’‘`´][^\W_]+)*")
# A description is shown around the first word that was found.
_BEFORE, _SHOWN = 60, 240


def mark(connection: Connection, rows: Sequence[dict[str, Any]], wording: Wording) -> list[dict[str, str]]:
    """For each row its name and a piece of its description as HTML, the words that were asked for in `<mark>`."""
    folded = _folded(connection, rows) if wording.terms else {}
    asked = {word for word, plain in folded.items() if wording.asks(plain)}
    return [
        {
            "name": _marked(row["name"], asked),
            "description": _marked(_piece(row["description"], asked), asked),
        }
        for row in rows
    ]


def _folded(connection: Connection, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The words of these texts as the index has them; only the database knows how it writes those with accents."""
    words = {word for row in rows for kept in (row["name"], row["description"]) for word in _WORD.findall(kept)}
    plain = {word: word.lower() for word in words if word.isascii() and word.isalnum()}
    others = [word for word in words if word not in plain]
    if others:
        asked = text("SELECT word, search_fold(word) FROM unnest(CAST(:words AS text[])) AS word")
        plain |= {row.word: row.search_fold for row in connection.execute(asked, {"words": others})}
    return plain


def _piece(description: str, asked: Set[str]) -> str:
    first = next((found.start() for found in _WORD.finditer(description) if found[0] in asked), 0)
    start = max(0, first - _BEFORE)
    if start:
        start = description.find(" ", start) + 1 or start
    piece = description[start : start + _SHOWN]
    is_cut = start + _SHOWN < len(description)
    if is_cut and " " in piece:
        piece = piece[: piece.rindex(" ")]
    return ("… " if start else "") + piece + (" …" if is_cut else "")


def _marked(shown: str, asked: Set[str]) -> str:
    parts, end = [], 0
    for found in _WORD.finditer(shown):
        if found[0] in asked:
            parts += [escape(shown[end : found.start()]), f"<mark>{escape(found[0])}</mark>"]
            end = found.end()
    return "".join([*parts, escape(shown[end:])])
