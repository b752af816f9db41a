"""Asks the engine that is there, and PostgreSQL when that one is not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from app.search import meilisearch
from app.search.engine import Answer, Engine, Explanation, Question, Suggestion
from app.search.kept import Kept
from app.search.meilisearch import NotAnswering
from app.search.postgres import PostgresEngine
from app.search.ranked import MeilisearchEngine

log = logging.getLogger(__name__)

_POSTGRES = PostgresEngine()

T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """What an engine answered; `degraded` when it stands in for another that can't."""

    answer: Answer
    degraded: bool = False


@dataclass(frozen=True)
class Suggested:
    """What an engine suggested, which one that was, and whether it stands in for another."""

    suggestions: list[Suggestion]
    engine: str
    degraded: bool = False


_suggestions: Kept[tuple[str, int], Suggested] = Kept("search_suggestions", seconds=2, most=5_000)


def engine() -> Engine:
    """The engine that is asked first: Meilisearch where the settings name one."""
    server = meilisearch.server()
    return _POSTGRES if server is None else MeilisearchEngine(server, _POSTGRES)


def search(question: Question) -> Found:
    """One page of the packages that fit, and the counts of all. Raises Busy, Unavailable."""
    answer, _, degraded = _ask(lambda asked: asked.search(question))
    return Found(answer, degraded)


def first(question: Question) -> Answer:
    """One page of the packages that fit, for who needs no counts but the total. Raises Busy, Unavailable."""
    if meilisearch.server() is None:
        return _POSTGRES.search_with(question, None)
    return search(question).answer


def search_and_explain(question: Question) -> tuple[Found, float, Explanation]:
    """The same as `search`, how many milliseconds that took, and why the hits rank as they do, by the engine that
    answered. Raises Busy, Unavailable.
    """

    def call(asked: Engine) -> tuple[Answer, float, Explanation]:
        begin = perf_counter()
        answer = asked.search(question)
        took_ms = 1000 * (perf_counter() - begin)
        return answer, took_ms, asked.explain(question, [hit.id for hit in answer.hits])

    (answer, took_ms, explanation), _, degraded = _ask(call)
    return Found(answer, degraded), took_ms, explanation


def suggest(q: str, limit: int) -> list[Suggestion]:
    """What somebody may be about to type; for some seconds the same. Raises Busy, Unavailable."""
    return suggested(q, limit).suggestions


def suggested(q: str, limit: int) -> Suggested:
    """The same, and who suggested it. Raises Busy, Unavailable."""
    return _suggestions.get((q, limit), lambda: Suggested(*_ask(lambda asked: asked.suggest(q, limit))))


def _ask(call: Callable[[Engine], T]) -> tuple[T, str, bool]:
    """The first engine's answer, or PostgreSQL's in its place; whose it is, and whether it is that."""
    first = engine()
    try:
        return call(first), first.name, False
    except NotAnswering as error:
        # The breaker tells once; this is said of every search.
        log.debug("PostgreSQL searches instead of Meilisearch", extra={"reason": error.detail})
        return call(_POSTGRES), _POSTGRES.name, True
