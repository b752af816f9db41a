"""What was chosen by names separated by commas, where a name may have commas itself ("Washington, D.C.")."""

from __future__ import annotations

from collections.abc import Sequence

from app.db import read

# A name with more commas is no name any more.
_MOST_PARTS = 3
# As documents have them (`document.FRESH`).
_FOLD_PLACES = """
SELECT search_fold(part) AS part FROM unnest(%(parts)s::text[]) WITH ORDINALITY AS asked (part, number) ORDER BY number
"""
_FOLD_AMENITIES = """
SELECT lower(part) AS part FROM unnest(%(parts)s::text[]) WITH ORDINALITY AS asked (part, number) ORDER BY number
"""


def places(location: str | None) -> list[list[str]]:
    """For each part of the location the keys of places that it can stand for; of a location without any letter or digit
    one that no place has. Raises Busy, Unavailable.
    """
    parts = (location or "").split(",")
    found = _names(_FOLD_PLACES, parts, between=" ")
    return found if found or not any(part.strip() for part in parts) else [[""]]


def amenities(asked: Sequence[str]) -> list[list[str]]:
    """For each of these the amenities that it can stand for. Raises Busy, Unavailable."""
    return _names(_FOLD_AMENITIES, [part.strip() for one in asked for part in one.split(",")], between=", ")


def _names(fold: str, parts: Sequence[str], *, between: str) -> list[list[str]]:
    """For each part that isn't empty the names that it is, or is a part of: the longest first."""
    asked = [part for part in parts if part.strip()]
    folded = [row.part for row in read(fold, {"parts": asked}) if row.part] if asked else []
    spans = [(i, j) for i in range(len(folded)) for j in range(i + 1, min(i + _MOST_PARTS, len(folded)) + 1)]
    spans.sort(key=lambda span: span[0] - span[1])
    return [[between.join(folded[i:j]) for i, j in spans if i <= number < j] for number in range(len(folded))]
