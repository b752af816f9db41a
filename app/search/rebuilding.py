"""Making the index anew, step by step and a turn at a time: who asks for it may leave, and what was killed goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import monotonic

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from app.advisory_locks import AdvisoryLock
from app.audit import reasons
from app.audit import service as audit
from app.audit.actor import SYSTEM, Actor
from app.audit.history import ago
from app.catalog.models import Package
from app.db import lock, raise_from_database, transaction, utcnow
from app.errors import Conflict
from app.extensions import db
from app.logs import request_id
from app.queue import LEASE, one_turn
from app.search import indexing, meilisearch, sending
from app.search.meilisearch import NotAnswering
from app.search.models import IndexRebuild
from app.states import move

MAY_REBUILD = ("admin",)
# Others share the worker: after so long they have their turn.
TURN_SECONDS = 10.0


@dataclass(frozen=True)
class _Place:
    """Where a rebuild stands."""

    row_id: int
    step: str
    reached: int
    version: int


def begin(reason: str, *, by: Actor) -> IndexRebuild:
    """Have the index made anew by a worker. Raises NotAllowed, Invalid without a reason, Conflict while that is being
    done.
    """
    with transaction():
        found = _begun(by, reasons.given(reason))
        found.hand_out()
    return found


def begin_here(*, by: Actor) -> IndexRebuild:
    """The same, for whoever goes on with it at once by `finish_here`; a worker does should they be killed. Raises
    NotAllowed, Conflict.
    """
    with transaction():
        found = _begun(by)
        found.due_at = utcnow()
        found.leased_until = utcnow() + LEASE
    return found


def finish_here(row_id: int, tell: Callable[[IndexRebuild], None]) -> IndexRebuild:
    """Go on with a rebuild until it is over, telling how far it is. Raises what is in its way, which ends it."""
    try:
        with sending.rebuilding() as held:
            if held is None:
                raise Conflict("The index is being made anew already.")
            _work(row_id, held, inf, tell)
    except BaseException as error:
        db.session.rollback()
        fail(row_id, f"{error}" or "It was stopped.")
        raise
    return db.session.get_one(IndexRebuild, row_id, populate_existing=True)


def go_on(row_id: int) -> None:
    """Go on with a rebuild until it is done or others have their turn; nothing while somebody else is at it.

    May be killed at any moment: how far it is, is committed with each step. Raises Unavailable.
    """
    with one_turn(row_id, give_up=fail), sending.rebuilding() as held:
        if held is not None:
            _work(row_id, held, monotonic() + TURN_SECONDS, lambda _: None)


def fail(row_id: int, because: str) -> None:
    """End what is under way; nothing where it is over already. What was written stays, and is right."""
    with transaction():
        found = lock(IndexRebuild, row_id)
        if found.status != "RUNNING":
            return
        move(found, "FAILED")
        found.finished()
        found.ended_because = because
        audit.record(SYSTEM, "search.fail_rebuild", found, reason=because)


def last() -> IndexRebuild | None:
    """The rebuild that runs, or else the one that was begun last."""
    return db.session.scalar(select(IndexRebuild).order_by(IndexRebuild.id.desc()).limit(1))


def _begun(by: Actor, reason: str | None = None) -> IndexRebuild:
    by.require(*MAY_REBUILD)
    db.session.execute(select(func.pg_advisory_xact_lock(AdvisoryLock.ASKING_FOR_REBUILD)))
    running = db.session.scalar(select(IndexRebuild).where(IndexRebuild.status == "RUNNING"))
    if running is not None:
        raise Conflict(f"The index is being made anew already: {running.asked_by} began {ago(running.begun_at)}.")
    total = db.session.scalar(select(func.count()).select_from(Package)) or 0
    found = IndexRebuild(asked_by=by.label, begun_at=utcnow(), total=total, request_id=request_id.get())
    db.session.add(found)
    db.session.flush()
    audit.record(by, "search.rebuild", found, reason=reason)
    return found


def _work(row_id: int, held: Connection, until: float, tell: Callable[[IndexRebuild], None]) -> None:
    while (found := _running(row_id)) is not None:
        tell(found)
        if monotonic() >= until:
            with transaction():
                lock(IndexRebuild, row_id).hand_out()
            return
        _still_alone(held)
        place = _Place(found.id, found.step, found.reached, found.version)
        try:
            _STEPS[found.step](place)
        except NotAnswering:
            # What it has of the second index, nobody knows.
            _advance(place, "second_index", reached=0, sent=0)
            raise


def _running(row_id: int) -> IndexRebuild | None:
    # Not of the moment at which an earlier step began to read.
    db.session.rollback()
    found = db.session.get(IndexRebuild, row_id, populate_existing=True)
    return found if found is not None and found.status == "RUNNING" else None


def _still_alone(held: Connection) -> None:
    """With the connection the lock is lost, and another may be at it by now."""
    try:
        held.execute(select(1))
    except DBAPIError as error:
        raise_from_database(error)


def _compare_documents(place: _Place) -> None:
    """Some packages, and how far that is, in one transaction."""
    with transaction():
        some = indexing.reindex_some(place.reached)
        if some.packages:
            found = _advance(place, "documents", reached=some.last_id)
            found.packages += some.packages
            found.written += some.written
        else:
            _advance(place, "words", reached=0)


def _count_words(place: _Place) -> None:
    indexing.count_words()
    if meilisearch.server() is None:
        _finish(place)
    else:
        _advance(place, "second_index")


def _begin_second_index(place: _Place) -> None:
    version = sending.begin_anew()
    _advance(place, "sending", reached=0, version=version, sent=0, total=sending.listed())


def _send(place: _Place) -> None:
    reached, count = sending.send_anew(place.reached)
    with transaction():
        found = _advance(place, "sending" if count else "swap", reached=reached)
        found.sent += count


def _swap(place: _Place) -> None:
    sending.take_over(place.version)
    _finish(place)


_STEPS: dict[str, Callable[[_Place], None]] = {
    "documents": _compare_documents,
    "words": _count_words,
    "second_index": _begin_second_index,
    "sending": _send,
    "swap": _swap,
}


def _advance(place: _Place, step: str, **values: int) -> IndexRebuild:
    with transaction():
        found = lock(IndexRebuild, place.row_id)
        found.step = step
        for name, value in values.items():
            setattr(found, name, value)
        found.last_error = None
        found.leased_until = utcnow() + LEASE
    return found


def _finish(place: _Place) -> None:
    with transaction():
        found = lock(IndexRebuild, place.row_id)
        found.finished()
        move(found, "DONE")
        audit.record(SYSTEM, "search.finish_rebuild", found)
