"""What looking into an invariant comes to: the contradictions, in words, and as many of them as somebody will read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import text

from app.db import transaction
from app.extensions import db

MOST_LINES = 20

# A million bookings take longer than a person's request may.
_STATEMENT_TIMEOUT_MS = 15 * 60_000


@dataclass(frozen=True)
class Finding:
    """One invariant: `wrong` are the contradictions found, `skipped` says why it could not be asked."""

    statement: str
    wrong: Sequence[str] = ()
    skipped: str | None = None
    note: str | None = None


def at_most(lines: Sequence[str]) -> list[str]:
    """The first MOST_LINES of the lines, and whether there are more."""
    return [*lines[:MOST_LINES], *(["… and more"] if len(lines) > MOST_LINES else [])]


@contextmanager
def at_leisure() -> Iterator[None]:
    """A transaction whose statements may take minutes."""
    with transaction():
        db.session.execute(text(f"SET LOCAL statement_timeout = {_STATEMENT_TIMEOUT_MS}"))
        yield
