"""Asks the engine that is there, and PostgreSQL when that one is not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from app.search import meilisearch
from app.search.engine import Answer, Engine, Question, Suggestion
from app.search.kept import Kept
from app.search.meilisearch import NotAnswering
from app.search.postgres import PostgresEngine
from app.search.ranked import MeilisearchEngine

log = logging.getLogger(__name__)

_POSTGRES = PostgresEngine()

_suggestions: Kept[tuple[str, int], list[Suggestion]] = Kept("search_suggestions", seconds=5, most=5_000)

T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """What an engine answered; `degraded` when it stands in for another that can't."""

    answer: Answer
    degraded: bool = False


def engine() -> Engine:
    """The engine that is asked first: Meilisearch where the settings name one."""
    server = meilisearch.server()
    return _POSTGRES if server is None else MeilisearchEngine(server, _POSTGRES)


def search(question: Question) -> Found:
    """One page of the packages that fit, and the counts of all. Raises Busy, Unavailable."""
    answer, degraded = _ask(lambda asked: asked.search(question))
    return Found(answer, degraded)


def first(question: Question) -> Answer:
    """One page of the packages that fit, for who needs no counts but the total. Raises Busy, Unavailable."""
    if meilisearch.server() is None:
        return _POSTGRES.search_with(question, None)
    return search(question).answer


def suggest(q: str, limit: int) -> list[Suggestion]:
    """What somebody may be about to type; for some seconds the same. Raises Busy, Unavailable."""
    return _suggestions.get((q, limit), lambda: _ask(lambda asked: asked.suggest(q, limit))[0])


def _ask(call: Callable[[Engine], T]) -> tuple[T, bool]:
    """The first engine's answer, or PostgreSQL's in its place, and whether it is that."""
    try:
        return call(engine()), False
    except NotAnswering as error:
        # The breaker tells once; this is said of every search.
        log.debug("PostgreSQL searches instead of Meilisearch", extra={"reason": error.detail})
        return call(_POSTGRES), True
