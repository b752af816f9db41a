"""What has changed among the documents goes to Meilisearch here, after the transaction that changed it, in order.

One sender at a time: a newer document never stands behind an older one in Meilisearch's queue, and `sent_version` says
no more than what Meilisearch has confirmed. What is lost on the way is found again by `compare`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError

from app import queue, workers
from app.advisory_locks import AdvisoryLock
from app.db import raise_from_database, read, write_alone
from app.errors import Busy, Conflict
from app.extensions import db
from app.search.index_settings import are_set, document_of, settings_of, synonyms_of
from app.search.meilisearch import Meilisearch, NotAnswering, State, server
from app.search.models import SearchSynonyms

log = logging.getLogger(__name__)

BATCH = 1_000
# Behind by more, or for longer, what it finds is not what there is.
BEHIND_AT_MOST = 1_000
BEHIND_SECONDS = 30.0
# What is left is sent by the next turn, behind the jobs of others that wait meanwhile.
_TURN_SECONDS = 3.0
# A turn that finds Meilisearch busy with what came before leaves it to that.
_IDLE_SECONDS = 3.0
# No task is waited for any longer then, whatever a turn has begun: an answer and our own rows take some seconds too.
_ALL_SECONDS = 35.0
# For a lock: a job has a minute; who waits in a command outwaits whatever a turn can take.
_WAIT_SECONDS, _PATIENT_SECONDS = 20.0, 120.0
# After a failure it is let alone for so long; a job that waits for it in vain holds up others.
_REST_SECONDS = 15
_RESTING = "tripdesk:meilisearch:resting"
CHECK, SYNONYMS_CHECK = "meilisearch", "meilisearch synonyms"
JOB, SYNONYMS_JOB = "jobs.meilisearch.send", "jobs.meilisearch.send_synonyms"
_is_patient: ContextVar[bool] = ContextVar("sending_is_patient", default=False)
_MOST_COUNTED = 1_000_000

_COLUMNS = (
    "package_id, listed, version, type, provider_id, provider, name, description, place, place_keys, city, country,"
    " price_minor, capacity, amenities, rating, reviews, latitude, longitude, added_at,"
    " search_fold(concat_ws(' ', name, place, city, country)) AS folded"
)
_UNSENT = f"SELECT {_COLUMNS} FROM search_documents WHERE version > sent_version ORDER BY version LIMIT %(most)s"  # noqa: S608  # nosec B608 - our own names
_LISTED = (
    f"SELECT {_COLUMNS} FROM search_documents WHERE listed AND package_id > %(after)s ORDER BY package_id"  # noqa: S608  # nosec B608 - our own names
    " LIMIT %(most)s"
)
_NEWER = f"SELECT {_COLUMNS} FROM search_documents WHERE version > %(version)s ORDER BY version LIMIT %(most)s"  # noqa: S608  # nosec B608 - our own names
# What is marked is locked in the order in which the indexer writes, so that neither waits for the other in a ring.
# One that has changed again meanwhile stays unsent.
_SENT = """
WITH locked AS (
    SELECT package_id, version FROM search_documents
    JOIN unnest(%(ids)s::bigint[], %(versions)s::bigint[]) AS sent (package_id, version) USING (package_id, version)
    ORDER BY package_id FOR UPDATE OF search_documents
)
UPDATE search_documents SET sent_version = locked.version
FROM locked WHERE search_documents.package_id = locked.package_id
"""
_UNSEND = """
WITH locked AS (
    SELECT package_id FROM search_documents WHERE package_id = ANY(%(ids)s::bigint[]) ORDER BY package_id FOR UPDATE
)
UPDATE search_documents SET sent_version = 0 FROM locked WHERE search_documents.package_id = locked.package_id
"""
_ALL_SENT = """
WITH locked AS (
    SELECT package_id, version FROM search_documents
    WHERE package_id > %(after)s AND version <= %(version)s AND sent_version < version
    ORDER BY package_id LIMIT %(most)s FOR UPDATE
)
UPDATE search_documents SET sent_version = locked.version
FROM locked WHERE search_documents.package_id = locked.package_id
RETURNING search_documents.package_id
"""
_NOTHING_SENT = """
WITH locked AS (
    SELECT package_id FROM search_documents
    WHERE package_id > %(after)s AND sent_version > 0
    ORDER BY package_id LIMIT %(most)s FOR UPDATE
)
UPDATE search_documents SET sent_version = 0
FROM locked WHERE search_documents.package_id = locked.package_id
RETURNING search_documents.package_id
"""
_VERSIONS = "SELECT package_id, version FROM search_documents WHERE listed AND version = sent_version"
_UNSENT_IDS = "SELECT package_id FROM search_documents WHERE version > sent_version"
_BEHIND = """
SELECT count(*) AS documents FROM (
    SELECT FROM search_documents WHERE version > sent_version LIMIT %(most)s) AS unsent
"""
# An index that has heard of nothing at all is empty, however little there is to hear of.
_HOW_FAR_BEHIND = """
SELECT count(*) + CAST(EXISTS (SELECT FROM package_changes) AS int) AS documents,
       coalesce(extract(epoch FROM clock_timestamp() - min(indexed_at)), 0) AS seconds,
       EXISTS (SELECT FROM search_documents WHERE listed AND sent_version > 0) AS is_filled
FROM (SELECT indexed_at FROM search_documents WHERE version > sent_version ORDER BY version LIMIT %(most)s) AS unsent
"""
_NEWEST = "SELECT coalesce(max(version), 0) AS version FROM search_documents"
_COUNT = "SELECT count(*) AS documents FROM search_documents WHERE listed"


@dataclass(frozen=True)
class Differences:
    """Ids of packages that Meilisearch should have and hasn't, has as they were, or should not have any more."""

    missing: list[int]
    outdated: list[int]
    left_over: list[int]

    def __bool__(self) -> bool:
        return bool(self.missing or self.outdated or self.left_over)


@dataclass(frozen=True)
class Behind:
    """What Meilisearch has not confirmed: how many documents, counted up to one more than may be; for how many seconds
    the longest; and whether it has any (`is_filled`). Changes that no document has yet are one more.
    """

    documents: int
    seconds: float
    is_filled: bool

    @property
    def too_far(self) -> bool:
        """Whether what it would find is not what there is."""
        waits_too_long = self.documents > BEHIND_AT_MOST or self.seconds > BEHIND_SECONDS
        return self.documents > 0 and (waits_too_long or not self.is_filled)


@dataclass(frozen=True)
class Standing:
    """The server's `state` and how it differs, None while it does not answer; how many documents it has not confirmed,
    and what went wrong last.
    """

    state: State | None
    unsent: int
    differences: Differences | None
    failures: list[str]

    @property
    def equal(self) -> bool:
        """Whether it has every document as it is."""
        return self.differences is not None and not self.differences and not self.unsent


def send() -> int:
    """Send what Meilisearch has not confirmed yet; returns how many documents. Somebody else at it, or no Meilisearch:
    nothing. What fails is kept for `flask search status` and tried again by the next. Raises NotAnswering, Busy.
    """
    engine = server()
    if engine is None or not behind(1):
        return 0
    with _alone(AdvisoryLock.SENDING_TO_MEILISEARCH) as held:
        if held is None:
            return 0
        try:
            sent = _send(engine, held)
        except (NotAnswering, Busy) as error:
            workers.note_check(CHECK, [error.detail])
            raise
    workers.note_check(CHECK, [])
    return sent


def take_turn() -> None:
    """What the schedule asks for: `send`, unless that failed a moment ago. What is in its way is kept, and no error.
    Where more is left, another turn is asked for.
    """
    if server() is None or queue.connection().exists(_RESTING):
        return
    queue.answer(JOB)
    try:
        if send() and behind(1):
            queue.ask_for(JOB, queue="default")
    except (NotAnswering, Busy) as error:
        queue.connection().set(_RESTING, 1, ex=_REST_SECONDS)
        log.warning("Meilisearch was not told of what has changed", extra={"error": error.detail})


@contextmanager
def patiently() -> Iterator[None]:
    """For a command that somebody watches: what Meilisearch takes long over, as it does over new settings of many
    documents, and who else is at it, is waited for inside; what doesn't answer is not.
    """
    before = _is_patient.set(True)
    try:
        engine = server()
        with engine.done_by(inf) if engine else nullcontext():
            yield
    finally:
        _is_patient.reset(before)


def ask_for_synonyms() -> None:
    """Have Meilisearch told of synonyms that have changed, soon; the schedule asks every half minute, too."""
    if server() is not None:
        queue.ask_for(SYNONYMS_JOB, queue="default")


def send_synonyms() -> None:
    """Have Meilisearch search with the synonyms as they are now, where it has others; without Meilisearch, nothing.
    What fails is kept for the page of synonyms. Raises NotAnswering, TaskFailed, Busy.
    """
    engine = server()
    if engine is None:
        return
    try:
        with engine.done_by(monotonic() + _ALL_SECONDS), _alone(AdvisoryLock.SENDING_SYNONYMS, wait=True):
            _send_synonyms(engine)
    except (NotAnswering, Busy) as error:
        workers.note_check(SYNONYMS_CHECK, [error.detail])
        raise
    workers.note_check(SYNONYMS_CHECK, [])


def _send_synonyms(engine: Meilisearch) -> None:
    if not engine.is_prepared():
        _prepare(engine)
        return
    # A task that is not done yet may be this very change.
    engine.wait_until_idle()
    wanted, there = synonyms_of(_groups()), engine.synonyms()
    if {word: set(others) for word, others in wanted.items()} != {word: set(others) for word, others in there.items()}:
        engine.set_synonyms(wanted)


def behind(most: int) -> int:
    """How many documents Meilisearch has not confirmed as they are now; counted up to `most`."""
    documents: int = read(_BEHIND, {"most": most})[0].documents
    return documents


def how_far_behind() -> Behind:
    """How far Meilisearch is behind the documents. Raises Busy, Unavailable."""
    (row,) = read(_HOW_FAR_BEHIND, {"most": BEHIND_AT_MOST + 1})
    return Behind(row.documents, float(row.seconds), row.is_filled)


def configure() -> None:
    """Have Meilisearch know our keys, our index and its settings, as they are in the code and in the synonyms. Raises
    NotAnswering, TaskFailed, Conflict.
    """
    _prepare(_required())


def _have_settings(engine: Meilisearch) -> None:
    """Have the index searched as our code says: it may be an older code's, or was made by the documents that came."""
    if not are_set(settings := _settings(), engine.settings()):
        log.warning("Meilisearch's index has other settings than ours, it is given them")
        engine.prepare(settings)


def _prepare(engine: Meilisearch) -> None:
    if not engine.is_prepared():
        # It has lost everything, or never had it; known before it answers that it finds nothing.
        _mark(_NOTHING_SENT)
    engine.prepare(_settings())


@contextmanager
def rebuilding() -> Iterator[Connection | None]:
    """Be the only one who makes the index anew while inside: None where somebody else is at it. The connection holds
    that; while it answers, nobody else can have begun.
    """
    with _alone(AdvisoryLock.REBUILDING_MEILISEARCH) as held:
        yield held


def begin_anew() -> int:
    """Have an empty second index beside the one that answers; the newest version there is of any document. Raises
    NotAnswering, TaskFailed, Conflict.
    """
    engine = _required()
    _prepare(engine)
    newest: int = read(_NEWEST)[0].version
    engine.begin_anew(_settings())
    return newest


def send_anew(after: int) -> tuple[int, int]:
    """Send the listed documents that come next into the second index: the last one's package, and how many. Raises
    NotAnswering, TaskFailed, Conflict.
    """
    engine = _required_anew()
    batch = read(_LISTED, {"after": after, "most": BATCH})
    if not batch:
        return after, 0
    engine.put(list(map(document_of, batch)), anew=True)
    return batch[-1].package_id, len(batch)


def take_over(version: int) -> None:
    """Send what has changed since this version into the second index too, and let it take the first one's place:
    whoever searches meanwhile is answered by the old one. Raises NotAnswering, TaskFailed, Conflict, Busy.
    """
    engine = _required_anew()
    with _alone(AdvisoryLock.SENDING_TO_MEILISEARCH, wait=True):
        _catch_up(engine, version)
    # Those that were changed since the second index was made went to the first.
    send_synonyms()


def _catch_up(engine: Meilisearch, version: int) -> None:
    """What has changed since this version goes into the second index too, which then takes over. Nobody sends now."""
    while batch := read(_NEWER, {"version": version, "most": BATCH}):
        listed = [row for row in batch if row.listed]
        if listed:
            engine.put(list(map(document_of, listed)), anew=True)
        gone = [row.package_id for row in batch if not row.listed]
        if gone:
            engine.remove(gone, anew=True)
        version = batch[-1].version
    engine.take_over()
    _mark(_ALL_SENT, {"version": version})


def listed() -> int:
    """How many documents are listed."""
    count: int = read(_COUNT)[0].documents
    return count


def standing() -> Standing | None:
    """How Meilisearch stands to the documents; None when there is none."""
    engine = server()
    if engine is None:
        return None
    unsent = behind(_MOST_COUNTED)
    failures, differences = problems(), None
    try:
        try:
            differences = compare(mend=False)
        except Busy as error:
            failures = [error.detail, *failures]
        state = engine.state() if engine.is_prepared() else State(0, 0, [])
    except NotAnswering as error:
        return Standing(None, unsent, None, [error.detail, *failures])
    return Standing(state, unsent, differences, [*failures, *state.failures])


def problems() -> list[str]:
    """What went wrong when it was sent last. Raises redis.RedisError."""
    kept = workers.last_check(CHECK)
    return kept.problems if kept else []


def compare(*, mend: bool) -> Differences:
    """Compare every document that Meilisearch has confirmed with what it has; `mend` has what differs sent again.
    Raises NotAnswering, TaskFailed, Conflict, Busy while somebody sends.
    """
    engine = _required()
    with _alone(AdvisoryLock.SENDING_TO_MEILISEARCH, wait=True), engine.done_by(monotonic() + _ALL_SECONDS):
        if not engine.is_prepared():
            lost = [row.package_id for row in read(_VERSIONS)]
            if mend:
                _mark(_NOTHING_SENT)
            return Differences(sorted(lost), [], [])
        engine.wait_until_idle()
        if mend:
            _have_settings(engine)
        theirs = engine.versions()
        ours = {row.package_id: row.version for row in read(_VERSIONS)}
        unsent = {row.package_id for row in read(_UNSENT_IDS)}
        found = Differences(
            missing=sorted(ours.keys() - theirs.keys()),
            outdated=sorted(number for number in ours.keys() & theirs.keys() if ours[number] != theirs[number]),
            left_over=sorted(theirs.keys() - ours.keys() - unsent),
        )
        if mend and found:
            log.warning(
                "Meilisearch differs from the documents, what differs is sent again",
                extra={"missing": len(found.missing), "outdated": len(found.outdated), "over": len(found.left_over)},
            )
            again = sorted([*found.missing, *found.outdated])
            for first in range(0, len(again), BATCH):
                write_alone(_UNSEND, {"ids": again[first : first + BATCH]})
            for first in range(0, len(found.left_over), BATCH):
                engine.remove(found.left_over[first : first + BATCH])
    return found


def _send(engine: Meilisearch, held: Connection) -> int:
    began = monotonic()
    with engine.done_by(began + _ALL_SECONDS):
        if not engine.is_prepared():
            _prepare(engine)
    with engine.done_by(monotonic() + _IDLE_SECONDS):
        engine.wait_until_idle()
    with engine.done_by(began + _ALL_SECONDS):
        _have_settings(engine)
        sent, until = 0, began + _TURN_SECONDS
        while monotonic() < until and (batch := read(_UNSENT, {"most": BATCH})):
            # With the connection the lock is lost, and another may be sending by now.
            held.execute(select(1))
            _send_batch(engine, batch)
            sent += len(batch)
    return sent


def _send_batch(engine: Meilisearch, batch: Sequence[Any]) -> None:
    listed = [row for row in batch if row.listed]
    gone = [row.package_id for row in batch if not row.listed]
    if listed:
        engine.put(list(map(document_of, listed)))
    if gone:
        engine.remove(gone)
    write_alone(_SENT, {"ids": [row.package_id for row in batch], "versions": [row.version for row in batch]})


def _mark(sql: str, parameters: Mapping[str, Any] | None = None) -> None:
    """Have the statement write all that it is about, some rows at a time: none takes long, or keeps others waiting."""
    after = 0
    while rows := write_alone(sql, {**(parameters or {}), "after": after, "most": BATCH}):
        after = max(row.package_id for row in rows)


def _settings() -> dict[str, Any]:
    return settings_of(_groups())


def _groups() -> Sequence[Sequence[str]]:
    """As they were written, and folded: Meilisearch compares them as they are."""
    found = db.session.execute(select(SearchSynonyms.words, SearchSynonyms.folded).order_by(SearchSynonyms.id))
    return [list(dict.fromkeys([*words, *folded])) for words, folded in found]


def _required() -> Meilisearch:
    engine = server()
    if engine is None:
        raise Conflict("MEILI_URL is not set: search runs on PostgreSQL, and there is no Meilisearch to tell.")
    return engine


def _required_anew() -> Meilisearch:
    """The server, with the second index on it: one that was written to without its settings would find nothing."""
    engine = _required()
    if not engine.is_begun():
        raise NotAnswering("Meilisearch has lost the second index, which was not full yet.")
    return engine


@contextmanager
def _alone(lock: AdvisoryLock, *, wait: bool = False) -> Iterator[Connection | None]:
    """Hold one of our locks, on a connection of its own and outside any transaction: None when somebody else does, whom
    `wait` waits for.
    """
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.detach()  # closed in the end, and the lock given back with it, whatever has happened
        if wait:
            _wait_for(connection, lock)
        elif not connection.scalar(select(func.pg_try_advisory_lock(lock))):
            yield None
            return
        try:
            yield connection
        finally:
            # Who comes next finds it free; a closed connection's is so only some moments later.
            if not connection.invalidated:
                connection.execute(select(func.pg_advisory_unlock(lock)))


def _wait_for(connection: Connection, lock: AdvisoryLock) -> None:
    milliseconds = int(1000 * (_PATIENT_SECONDS if _is_patient.get() else _WAIT_SECONDS))
    try:
        connection.execute(text(f"SET lock_timeout = {milliseconds}"))
        connection.execute(text(f"SET statement_timeout = {milliseconds}"))
        connection.execute(select(func.pg_advisory_lock(lock)))
    except DBAPIError as error:
        raise_from_database(error)
