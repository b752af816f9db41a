"""The words that names are made of, kept by the database as names are written: to find one that was spelt wrongly.

Each word stands there once, however many people bear it, so that looking for its like costs the same for all.
"""

from __future__ import annotations

from sqlalchemy import func, select, text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Model, db, words_index

# Shorter words are like too many others.
_SHORTEST = 4
_LONGEST = 40
# From this length on, two slips are forgiven.
_LONG = 8
_LIKE_ENOUGH = 0.15
_CANDIDATES = 200
_MOST = 3
# What the database takes off a word's ends as it keeps it.
_AROUND = ".,;:!?()[]&'\"/-"


class NameWord(Model):
    """One word of somebody's or something's name, in lower case."""

    __tablename__ = "name_words"
    __table_args__ = (words_index("name_words", "word"),)

    word: Mapped[str] = mapped_column(primary_key=True)


def spelt_like(typed: str) -> list[str]:
    """The words of names that this may have been meant as, the likeliest first: one slip away, two for a long word.

    A slip is a letter too many, missing, wrong, or changed with its neighbour.
    """
    word = typed.lower().strip(_AROUND)
    if not _SHORTEST <= len(word) <= _LONGEST:
        return []
    db.session.execute(text("SET LOCAL pg_trgm.similarity_threshold = :least"), {"least": _LIKE_ENOUGH})
    likeness = func.similarity(NameWord.word, word)
    like = select(NameWord.word).where(NameWord.word.op("%")(word)).order_by(likeness.desc()).limit(_CANDIDATES)
    allowed = 2 if len(word) >= _LONG else 1
    slips = {found: _slips(word, found) for found in db.session.scalars(like)}
    return sorted((found for found in slips if slips[found] <= allowed), key=lambda found: slips[found])[:_MOST]


def _slips(one: str, other: str) -> int:
    """How many slips apart two words are (the optimal string alignment distance)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        earlier, before, row = before, row, [i]
        for j, against in enumerate(other, start=1):
            steps = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != against))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == against:
                steps = min(steps, earlier[j - 2] + 1)
            row.append(steps)
    return row[-1]
