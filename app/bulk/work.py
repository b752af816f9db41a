"""Working through a bulk run, in turns and chunk by chunk: each in one transaction together with its results."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from time import monotonic

from sqlalchemy import func, insert, select

from app import storage
from app.accounts import service as accounts
from app.accounts.models import User
from app.audit import history
from app.audit import service as audit
from app.audit.actor import SYSTEM, Actor
from app.bulk.kind import Outcome
from app.bulk.kinds import KINDS
from app.bulk.models import FILE_DAYS, Bulk, BulkChunk, BulkProblem
from app.db import leave_database, lock, transaction, utcnow
from app.errors import TripdeskError, Unavailable
from app.extensions import db
from app.queue import LEASE

log = logging.getLogger(__name__)

# Several runs share a worker: after so long, another has its turn.
TURN_SECONDS = 5.0


def go_on(bulk_id: int) -> None:
    """Go on with a run's chunks, each in a transaction of its own, until it is over or others have their turn.

    May be called twice at once, and be killed at any moment: a chunk's results are committed with its effects.
    """
    turn_ends = monotonic() + TURN_SECONDS
    while _work_chunk(bulk_id):
        if monotonic() >= turn_ends:
            with transaction():
                bulk = lock(Bulk, bulk_id)
                if bulk.due_at is not None:
                    bulk.hand_out()
            return


def note_failure(bulk_id: int, error: Unavailable) -> None:
    """Have a run that something was in the way of go on later, until its tries are used up."""
    with transaction():
        bulk = lock(Bulk, bulk_id)
        if bulk.due_at is not None and not bulk.failed(error.detail):
            _fail(bulk, f"It was tried too often. The last time: {error.detail}")


def _work_chunk(bulk_id: int) -> bool:
    """Do, or undo, the next chunk; False when there is nothing more to do."""
    chunk_id, write_part = None, None
    try:
        with transaction():
            bulk = lock(Bulk, bulk_id)
            if bulk.due_at is None:
                return False
            chunk = _next_chunk(bulk)
            if chunk is None:
                _finish(bulk)
                return False
            by, refusal = _who_works(bulk)
            if by is None:
                _fail(bulk, refusal)
                return False
            chunk_id = chunk.id
            if KINDS[bulk.kind].part_of is not None:
                write_part = partial(_write_part, bulk, chunk, by)
            else:
                _settle(bulk, chunk, _apply(bulk, chunk, by))
                bulk.attempts, bulk.last_error = 0, None
            bulk.leased_until = utcnow() + LEASE
        if write_part is not None:
            write_part()
    except Unavailable:
        raise
    except Exception as error:
        if chunk_id is None:
            raise
        _put_aside(bulk_id, chunk_id, error)
    return True


def _write_part(bulk: Bulk, chunk: BulkChunk, by: Actor) -> None:
    """Write a chunk's part of the file and then its results. Who does the same at once, or does it again after being
    killed in between, writes the same over it.
    """
    kind = KINDS[bulk.kind]
    if kind.part_of is None:
        raise RuntimeError(f"{kind.name} leaves no file")
    bulk_id, chunk_id, ids = bulk.id, chunk.id, list(chunk.ids)
    content, outcome = kind.part_of(ids, bulk.arguments, by)
    leave_database()
    storage.save(part_key(bulk_id, chunk_id), [content])
    with transaction():
        bulk, chunk = lock(Bulk, bulk_id), lock(BulkChunk, chunk_id)
        if bulk.due_at is None or chunk.settled_at is not None or chunk.ids != ids:
            return
        _settle(bulk, chunk, outcome)
        bulk.attempts, bulk.last_error = 0, None
        bulk.leased_until = utcnow() + LEASE


def part_key(bulk_id: int, chunk_id: int) -> str:
    """Where the part of a run's file is kept that a chunk of it became."""
    return f"exports/{bulk_id}/{chunk_id}.csv"


def _next_chunk(bulk: Bulk) -> BulkChunk | None:
    # The run is locked, so nobody else is at its chunks.
    chunks = select(BulkChunk).where(BulkChunk.bulk_id == bulk.id).order_by(BulkChunk.id).limit(1)
    if bulk.status == "UNDOING":
        chunks = chunks.where(BulkChunk.undone_at.is_(None), func.cardinality(BulkChunk.done) > 0)
    else:
        chunks = chunks.where(BulkChunk.settled_at.is_(None))
    return db.session.scalar(chunks.execution_options(populate_existing=True))


def _who_works(bulk: Bulk) -> tuple[Actor | None, str]:
    """Whoever asked, with the roles they hold now; None, and why, when they may not do this any more."""
    kind = KINDS[bulk.kind]
    by = accounts.active_actor(bulk.by_id, bulk.address)
    name = db.session.get_one(User, bulk.by_id).name
    if by is None:
        return None, f"The account of {name}, who asked for it, is deactivated."
    if not by.has(kind.roles):
        needed = " or ".join(sorted(kind.roles))
        return None, f"{name}, who asked for it, does not hold the role {needed} any more."
    return by, ""


def _apply(bulk: Bulk, chunk: BulkChunk, by: Actor) -> Outcome:
    kind = KINDS[bulk.kind]
    if bulk.status != "UNDOING":
        wanted, outcome = chunk.ids, kind.apply_chunk(list(chunk.ids), bulk.arguments, by)
    elif kind.undo_chunk is not None:
        wanted, outcome = chunk.done, kind.undo_chunk(list(chunk.done), by)
    else:
        raise RuntimeError(f"{kind.name} has no way back")
    if sorted([*outcome.done, *outcome.skipped]) != sorted(wanted):
        raise RuntimeError(f"{kind.name} does not say of each row what became of it")
    return outcome


def _settle(bulk: Bulk, chunk: BulkChunk, outcome: Outcome, *, failed: bool = False) -> None:
    """Write down a chunk's results, in the transaction of its effects; `failed` says that its only row raised."""
    now, done, skipped = utcnow(), sorted(outcome.done), outcome.skipped
    if bulk.status == "UNDOING":
        chunk.undone, chunk.undone_at = done, now
        bulk.undone += len(done)
        bulk.kept += len(skipped)
        kind_of_problem = "KEPT"
    else:
        chunk.done, chunk.settled_at = done, now
        bulk.done += len(done)
        kind_of_problem = "FAILED" if failed else "SKIPPED"
        if failed:
            bulk.failures += len(skipped)
        else:
            bulk.skipped += len(skipped)
    problems = [
        {"bulk_id": bulk.id, "row_id": row_id, "outcome": kind_of_problem, "reason": reason}
        for row_id, reason in sorted(skipped.items())
    ]
    if problems:
        db.session.execute(insert(BulkProblem), problems)


def _put_aside(bulk_id: int, chunk_id: int, error: Exception) -> None:
    """A chunk raised, so nothing of it was done: halve it until the row that makes it raise stands alone, and fails."""
    with transaction():
        bulk, chunk = lock(Bulk, bulk_id), lock(BulkChunk, chunk_id)
        is_undoing = bulk.status == "UNDOING"
        ids = chunk.done if is_undoing else chunk.ids
        if bulk.due_at is None or (chunk.undone_at if is_undoing else chunk.settled_at) is not None:
            return
        if len(ids) > 1:
            _halve(chunk, ids)
            return
        words = (
            error.detail if isinstance(error, TripdeskError) else "Something unexpected went wrong; it is in the log."
        )
        if not isinstance(error, TripdeskError):
            log.error("a row of a bulk run failed", extra={"bulk": bulk_id, "row": ids[0]}, exc_info=error)
        _settle(bulk, chunk, Outcome([], {ids[0]: words}), failed=True)


def _halve(chunk: BulkChunk, ids: Sequence[int]) -> None:
    first = set(ids[: len(ids) // 2])

    def split(rows: Sequence[int]) -> tuple[list[int], list[int]]:
        return [row_id for row_id in rows if row_id in first], [row_id for row_id in rows if row_id not in first]

    halves, done = split(chunk.ids), split(chunk.done)
    rest = BulkChunk(bulk_id=chunk.bulk_id, place=chunk.place + len(halves[0]), ids=halves[1], done=done[1])
    rest.settled_at = chunk.settled_at
    chunk.ids, chunk.done = halves[0], done[0]
    db.session.add(rest)


def _finish(bulk: Bulk) -> None:
    history.move(bulk, "UNDONE" if bulk.status == "UNDOING" else "DONE")
    bulk.finished()
    if bulk.file_until is not None:
        bulk.file_until = utcnow() + timedelta(days=FILE_DAYS)
    audit.record(SYSTEM, "bulk.finish", bulk)


def _fail(bulk: Bulk, because: str) -> None:
    history.move(bulk, "FAILED")
    bulk.finished()
    bulk.ended_because = because
    audit.record(SYSTEM, "bulk.fail", bulk, reason=because)
