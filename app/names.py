"""The words that names are made of, kept by the database as names are written: to find one that was spelt wrongly.

Each word stands there once, however many people bear it, so that looking for its like costs the same for all.
"""

from __future__ import annotations

from sqlalchemy import func, select, text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Model, db, words_index
from app.spelling import forgiven, slips

# Shorter words are like too many others.
_SHORTEST = 4
_LONGEST = 40
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
    apart = {found: slips(word, found) for found in db.session.scalars(like)}
    return sorted((found for found in apart if apart[found] <= forgiven(word)), key=lambda found: apart[found])[:_MOST]
