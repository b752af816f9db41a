"""What the public searches for and how long it waits: counted in each process, handed to Redis every few seconds, and
kept in the database by a job. A request only adds to numbers in memory: it waits for nothing, and nothing fails it.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from threading import Lock, Thread
from time import sleep
from typing import Any, Literal

import orjson
import redis
from flask import Flask, current_app
from sqlalchemy import delete, text

from app.db import transaction, utcnow
from app.extensions import db
from app.queue import connection
from app.search import latency
from app.search.models import SearchedWords, SearchLatency

log = logging.getLogger(__name__)

Kind = Literal["search", "suggestions"]

HAND_OVER_SECONDS = 5.0
# Of so many different words a process counts each by itself between two hand-overs, and so many hand-overs wait for the
# job: beyond, the oldest are lost, and Redis has some 30 MB of them.
MOST_WORDS = 300
MOST_WAITING = 500
# A day keeps its most frequent words; what somebody makes up to fill the table goes again.
MOST_WORDS_A_DAY = 5_000
KEPT_DAYS = 30
MOST_LETTERS = 80
_WAITING = "tripdesk:searches"
# An address, or eight digits and more with whatever is put between them: telephones, cards, numbers of persons.
_PERSONAL = re.compile(r"@|\d(?:[\s.,/()+-]*\d){7}")

_KEEP_WORDS = text(
    """
    INSERT INTO searched_words AS kept
        (day, words, searches, without_result, degraded, took_ms, slowest_ms, engine, last_at)
    SELECT day, folded, sum(searches), sum(without_result), sum(degraded), sum(took_ms), max(slowest_ms),
           (array_agg(engine ORDER BY last_at DESC))[1], max(last_at)
    FROM (SELECT *, CAST(last_at AT TIME ZONE 'UTC' AS date) AS day,
                 btrim(left(search_fold(words), :most_letters)) AS folded
          FROM json_to_recordset(CAST(:rows AS json)) AS row (
              words text, searches integer, without_result integer, degraded integer, took_ms bigint,
              slowest_ms integer, engine text, last_at timestamptz)) AS typed
    GROUP BY day, folded ORDER BY day, folded
    ON CONFLICT (day, words) DO UPDATE SET
        searches = kept.searches + excluded.searches,
        without_result = kept.without_result + excluded.without_result,
        degraded = kept.degraded + excluded.degraded,
        took_ms = kept.took_ms + excluded.took_ms,
        slowest_ms = greatest(kept.slowest_ms, excluded.slowest_ms),
        engine = CASE WHEN excluded.last_at >= kept.last_at THEN excluded.engine ELSE kept.engine END,
        last_at = greatest(kept.last_at, excluded.last_at)
    """
)
_KEEP_LATENCIES = text(
    """
    INSERT INTO search_latencies AS kept (hour, kind, engine, degraded, under_ms, answers)
    SELECT hour, kind, engine, degraded, under_ms, sum(answers)
    FROM json_to_recordset(CAST(:rows AS json)) AS row (
        hour timestamptz, kind text, engine text, degraded boolean, under_ms integer, answers bigint)
    GROUP BY hour, kind, engine, degraded, under_ms ORDER BY hour, kind, engine, degraded, under_ms
    ON CONFLICT (hour, kind, engine, degraded, under_ms) DO UPDATE SET answers = kept.answers + excluded.answers
    """
)
_FORGET_RARE = text(
    """
    DELETE FROM searched_words WHERE id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER (PARTITION BY day ORDER BY searches DESC, last_at DESC, id DESC) AS place
            FROM searched_words WHERE day >= :since) AS placed
        WHERE place > :most)
    """
)


class Tally:
    """What one process has counted since it handed over last. Its methods may be called by any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._words: dict[str, dict[str, Any]] = {}
        self._latencies: dict[tuple[str, str, str, bool, int], int] = {}
        self._is_waiting = False

    def add_words(self, words: str, engine: str, *, took_ms: int, found: bool, degraded: bool, at: datetime) -> None:
        """One search for these words; beyond MOST_WORDS of them, others aren't counted."""
        # Days are counted apart.
        key = f"{at.date()} {words}"
        with self._lock:
            if key not in self._words and len(self._words) >= MOST_WORDS:
                return
            kept = self._words.setdefault(
                key,
                {"words": words, "searches": 0, "without_result": 0, "degraded": 0, "took_ms": 0, "slowest_ms": 0},
            )
            kept["searches"] += 1
            kept["without_result"] += not found
            kept["degraded"] += degraded
            kept["took_ms"] += took_ms
            kept["slowest_ms"] = max(kept["slowest_ms"], took_ms)
            kept["engine"] = engine
            kept["last_at"] = at.isoformat()

    def add_latency(self, kind: Kind, engine: str, *, took_ms: float, degraded: bool, at: datetime) -> None:
        """One answer of this engine."""
        hour = at.replace(minute=0, second=0, microsecond=0).isoformat()
        key = (hour, kind, engine, degraded, latency.under(took_ms))
        with self._lock:
            self._latencies[key] = self._latencies.get(key, 0) + 1

    def take(self) -> dict[str, list[dict[str, Any]]]:
        """All that was counted, to be counted from nothing again."""
        with self._lock:
            words, self._words = self._words, {}
            latencies, self._latencies = self._latencies, {}
        names = ("hour", "kind", "engine", "degraded", "under_ms")
        return {
            "words": list(words.values()),
            "latencies": [{**dict(zip(names, key, strict=True)), "answers": count} for key, count in latencies.items()],
        }

    def is_first(self) -> bool:
        """Whether nobody waits to hand over yet: whoever is told so does."""
        with self._lock:
            was_waiting, self._is_waiting = self._is_waiting, True
        return not was_waiting

    def stops_waiting(self) -> None:
        """What is counted from now on needs somebody else to hand it over."""
        with self._lock:
            self._is_waiting = False


def note_search(q: str, engine: str, *, is_first_page: bool, took_ms: float, found: bool, degraded: bool) -> None:
    """Somebody of the public has searched. Words in which there may be personal data aren't kept."""
    tally, now = _tally(), utcnow()
    tally.add_latency("search", engine, took_ms=took_ms, degraded=degraded, at=now)
    words = " ".join(unicodedata.normalize("NFKC", q).casefold().split())
    if is_first_page and not _PERSONAL.search(words):
        tally.add_words(words[:MOST_LETTERS], engine, took_ms=round(took_ms), found=found, degraded=degraded, at=now)
    _hand_over_soon(tally)


def note_suggestions(engine: str, *, took_ms: float, degraded: bool) -> None:
    """Somebody of the public was given suggestions; for what is nobody's business."""
    tally = _tally()
    tally.add_latency("suggestions", engine, took_ms=took_ms, degraded=degraded, at=utcnow())
    _hand_over_soon(tally)


def hand_over() -> None:
    """Give Redis what this process has counted. What Redis can't take is lost."""
    taken = _tally().take()
    if not any(taken.values()):
        return
    try:
        with connection().pipeline() as pipeline:
            pipeline.rpush(_WAITING, orjson.dumps(taken))
            pipeline.ltrim(_WAITING, -MOST_WAITING, -1)
            pipeline.execute()
    except redis.RedisError as error:
        log.warning("redis can't be reached, some searches are not counted", extra={"error": str(error)})


def keep() -> None:
    """Keep what processes have handed over. Two at once take each hand-over once; what can't be written now is put
    back. Raises Busy, Unavailable.
    """
    taken: list[bytes] = connection().lpop(_WAITING, MOST_WAITING) or []  # type: ignore[assignment]
    if not taken:
        return
    parts = [orjson.loads(one) for one in taken]
    words, latencies = (_rows(part[name] for part in parts) for name in ("words", "latencies"))
    try:
        with transaction():
            db.session.execute(_KEEP_WORDS, {"rows": words, "most_letters": MOST_LETTERS})
            db.session.execute(_KEEP_LATENCIES, {"rows": latencies})
            yesterday = utcnow().date() - timedelta(days=1)
            db.session.execute(_FORGET_RARE, {"since": yesterday, "most": MOST_WORDS_A_DAY})
    except BaseException:
        connection().lpush(_WAITING, *reversed(taken))
        raise


def forget_old() -> None:
    """Forget what is older than KEPT_DAYS."""
    since = utcnow() - timedelta(days=KEPT_DAYS)
    with transaction():
        db.session.execute(delete(SearchedWords).where(SearchedWords.day < since.date()))
        db.session.execute(delete(SearchLatency).where(SearchLatency.hour < since))


def _rows(parts: Iterable[Sequence[dict[str, Any]]]) -> str:
    return orjson.dumps([row for part in parts for row in part]).decode()


def _tally() -> Tally:
    found: Tally = current_app.extensions.setdefault("searches", Tally())
    return found


def _hand_over_soon(tally: Tally) -> None:
    if not tally.is_first():
        return
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    try:
        Thread(target=_hand_over_later, args=(app, tally), name="searches", daemon=True).start()
    except RuntimeError:  # no thread to be had: the next search tries again
        tally.stops_waiting()


def _hand_over_later(app: Flask, tally: Tally) -> None:
    sleep(HAND_OVER_SECONDS)
    tally.stops_waiting()
    with app.app_context():
        hand_over()
