"""Keeping documents in step with the catalogue: by its changes, as they come, and all of them anew.

One at a time reads the rows and writes their documents, in one transaction: who came later has read later, so that a
document never goes back. What is committed meanwhile has noted a change of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.exc import DBAPIError

from app.advisory_locks import AdvisoryLock
from app.db import in_our_words, read, transaction
from app.errors import Busy
from app.extensions import db
from app.queue import JOB_TIMEOUT_SECONDS, connection
from app.search import document

log = logging.getLogger(__name__)

BATCH = 2_000
# A job that goes on for longer would hold up what else waits in its queue.
_SECONDS = 2.0
# More time, where there is not as much already; 0 is without end.
_AT_LEAST = (
    f"SELECT set_config('{{name}}', '{JOB_TIMEOUT_SECONDS}s', true)"  # nosec B608 - our own constants
    " WHERE CAST(current_setting('{name}') AS interval)"
    f" BETWEEN interval '1 microsecond' AND interval '{JOB_TIMEOUT_SECONDS}s'"
)
_PATIENCE = text(_AT_LEAST.format(name="statement_timeout"))
# What is done anew waits for its turn, and nobody waits for it.
_MORE_PATIENCE = text(_AT_LEAST.format(name="lock_timeout"))

_TAKE = text(
    "DELETE FROM package_changes WHERE id IN (SELECT id FROM package_changes ORDER BY id LIMIT :most)"
    " RETURNING package_id"
)
_WRITE = text(document.WRITE)
_COMPARE = text(document.COMPARE)
# Words that are new, and one document more for each word of those that are new themselves.
_WORDS = """
INSERT INTO search_words AS known (word, documents)
SELECT lexeme, count(*) FROM search_documents, unnest(words) WHERE package_id = ANY(CAST(:ids AS bigint[]))
GROUP BY lexeme ORDER BY lexeme
ON CONFLICT (word) DO
"""
_ADD_WORDS = text(f"{_WORDS} UPDATE SET documents = known.documents + excluded.documents")  # nosec B608 - our own constants
_KNOW_WORDS = text(f"{_WORDS} NOTHING")
_COUNT_WORDS = text(
    """
    WITH counted AS MATERIALIZED (
        SELECT word, ndoc AS documents FROM ts_stat('SELECT words FROM search_documents WHERE listed')
    ), forgotten AS (
        DELETE FROM search_words WHERE word NOT IN (SELECT word FROM counted)
    )
    INSERT INTO search_words AS known (word, documents) SELECT word, documents FROM counted ORDER BY word
    ON CONFLICT (word) DO UPDATE SET documents = excluded.documents WHERE known.documents <> excluded.documents
    """
)
# Up to which package the documents have been compared by `compare_some`; nothing is lost with it but some minutes.
_COMPARED = "tripdesk:search-compared"
_NEXT = text("SELECT id FROM packages WHERE id > :after ORDER BY id LIMIT :most")
_LAG = """
coalesce((SELECT extract(epoch FROM clock_timestamp() - changed_at) FROM package_changes ORDER BY id LIMIT 1), 0)
"""
_WAITING = f"SELECT count(*) AS changes, {_LAG} AS seconds FROM package_changes"  # noqa: S608  # nosec B608 - our own constants

_COUNTS = f"""
SELECT count(sold.id) AS on_sale, count(kept.package_id) AS listed,
       count(*) FILTER (WHERE kept.package_id IS NULL) AS missing,
       count(*) FILTER (WHERE sold.id IS NULL) AS left_over,
       (SELECT count(DISTINCT package_id) FROM package_changes) AS changed, {_LAG} AS lag_seconds
FROM (SELECT p.id FROM packages p JOIN providers r ON r.id = p.provider_id
      WHERE p.status = 'PUBLISHED' AND r.status = 'VERIFIED') AS sold
FULL JOIN (SELECT package_id FROM search_documents WHERE listed) AS kept ON kept.package_id = sold.id
"""  # noqa: S608  # nosec B608 - our own constants


class NotOurTurn(Busy):
    """Somebody else has been indexing for as long as we waited."""


@dataclass(frozen=True)
class Status:
    """How the documents differ from the rows: packages on sale that aren't listed, or otherwise than they are, and
    listed ones that aren't on sale; how many changes wait, and for how long the first (`lag_seconds`).
    """

    on_sale: int = 0
    listed: int = 0
    missing: int = 0
    outdated: int = 0
    left_over: int = 0
    waiting: int = 0
    lag_seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether documents and rows say the same, and nothing waits."""
        return not (self.missing or self.outdated or self.left_over or self.waiting)


@dataclass(frozen=True)
class Reindexed:
    """Some packages that were compared with their documents: the last one's id, how many, and how many differed."""

    last_id: int
    packages: int
    written: int


def index_changes(*, seconds: float = _SECONDS) -> bool:
    """Take up changes, the oldest first, for about so long; whether some may be left. Nothing while somebody else is at
    it for long.

    When this fails or is killed, the changes of its last batch are there as before. Raises Busy.
    """
    until = monotonic() + seconds
    while True:
        try:
            taken = _index_some_changes()
        except NotOurTurn:
            # Whoever is at it takes these up too, or the next time does.
            log.info("somebody else is indexing")
            return False
        if taken < BATCH:
            return False
        if monotonic() >= until:
            return True


def catch_up(tell: Callable[[str], None] = lambda _: None) -> None:
    """Take up all changes there are, and count the words. Raises Busy."""
    done = 0
    while taken := _index_some_changes(_MORE_PATIENCE):
        done += taken
        tell(f"  {done:,} changes indexed")
    count_words()


def reindex_some(after: int) -> Reindexed:
    """Compare the documents of the packages that come next with their rows and write what differs; searches and changes
    go on meanwhile. Raises Busy.
    """
    with transaction():
        _take_turn(_MORE_PATIENCE)
        ids = _next_ids(after)
        return Reindexed(ids[-1] if ids else after, len(ids), _write(ids))


def compare_some() -> None:
    """Compare the documents of some packages and write what differs: each time those that come next, from the beginning
    again after the last. It finds what no change was noted of, and what an upgrade reads otherwise. Raises Busy,
    redis.RedisError.
    """
    redis = connection()
    some = reindex_some(int(redis.get(_COMPARED) or 0))
    redis.set(_COMPARED, some.last_id if some.packages == BATCH else 0)
    if some.written:
        log.info("documents differed from their packages", extra={"written": some.written, "up_to": some.last_id})


def count_words() -> None:
    """Say for every word how many documents have it now. Raises Busy."""
    with transaction():
        _take_turn(_MORE_PATIENCE)
        db.session.execute(_COUNT_WORDS)


def status() -> Status:
    """Compare all documents with the rows, a batch at a time. Raises Busy."""
    (waiting,) = read(_WAITING)
    found = Status(waiting=waiting.changes, lag_seconds=float(waiting.seconds))
    for ids in _all_packages():
        with transaction():
            db.session.execute(_PATIENCE)
            row = db.session.execute(_COMPARE, {"ids": list(ids)}).one()._asdict()
        found = replace(found, **{name: getattr(found, name) + count for name, count in row.items()})
    return found


@dataclass(frozen=True)
class Counts:
    """What can be counted at once: packages on sale and listed documents, those of the one without the other, and
    packages that have changed since they were indexed, with the seconds that the first of these changes waits.
    """

    on_sale: int
    listed: int
    missing: int
    left_over: int
    changed: int
    lag_seconds: float


def counts() -> Counts:
    """How many documents there are and should be, without comparing them. Raises Busy."""
    (row,) = read(_COUNTS)
    return Counts(**{**row._asdict(), "lag_seconds": float(row.lag_seconds)})


def lag_seconds() -> float:
    """Seconds since the first of the changes that wait was noted, which was shortly before its commit; 0 when none
    waits. The first is the one that is taken up next.
    """
    (row,) = read(f"SELECT {_LAG} AS seconds")
    return float(row.seconds)


def _take_turn(*settings: TextClause) -> None:
    for setting in (_PATIENCE, *settings):
        db.session.execute(setting)
    try:
        db.session.execute(select(func.pg_advisory_xact_lock(AdvisoryLock.INDEXING)))
    except DBAPIError as error:
        if isinstance(in_our_words(error), Busy):
            raise NotOurTurn("Somebody else is indexing right now. Try again in a moment.") from error
        raise


def _index_some_changes(*settings: TextClause) -> int:
    """One transaction's worth; how many changes were taken up. Raises Busy when it isn't its turn for long."""
    with transaction():
        _take_turn(*settings)
        changes = db.session.scalars(_TAKE, {"most": BATCH}).all()
        _write(sorted(set(changes)))
    return len(changes)


def _write(ids: Sequence[int]) -> int:
    """Write the documents that differ, and their words; how many. Whoever calls this holds the lock."""
    if not ids:
        return 0
    rows = db.session.execute(_WRITE, {"ids": list(ids)}).all()
    listed = [row for row in rows if row.listed]
    for statement, found in (
        (_ADD_WORDS, [row.package_id for row in listed if row.added]),
        (_KNOW_WORDS, [row.package_id for row in listed if not row.added]),
    ):
        if found:
            db.session.execute(statement, {"ids": found})
    return len(rows)


def _all_packages() -> Iterator[list[int]]:
    after = 0
    while ids := _next(after):
        yield ids
        after = ids[-1]


def _next(after: int) -> list[int]:
    # Not one transaction over all of it, which would keep old rows from being cleared away.
    with transaction():
        return _next_ids(after)


def _next_ids(after: int) -> list[int]:
    return list(db.session.scalars(_NEXT, {"after": after, "most": BATCH}))
