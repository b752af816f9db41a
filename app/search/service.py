"""Asks the engine that is there."""

from __future__ import annotations

from dataclasses import dataclass

from app.search.engine import Answer, Engine, Question, Suggestion
from app.search.kept import Kept
from app.search.postgres import PostgresEngine

_POSTGRES = PostgresEngine()

_suggestions: Kept[tuple[str, int], list[Suggestion]] = Kept("search_suggestions", seconds=5, most=5_000)


@dataclass(frozen=True)
class Found:
    """What an engine answered; `degraded` when it stands in for another that can't."""

    answer: Answer
    degraded: bool = False


def engine() -> Engine:
    """The engine that is asked first."""
    return _POSTGRES


def search(question: Question) -> Found:
    """One page of the packages that fit, and the counts of all. Raises Busy, Unavailable."""
    return Found(engine().search(question))


def suggest(q: str, limit: int) -> list[Suggestion]:
    """What somebody may be about to type; for some seconds the same. Raises Busy, Unavailable."""
    return _suggestions.get((q, limit), lambda: engine().suggest(q, limit))
