"""Verbs of bulk work: freezing a set, starting, stopping and undoing a run, and taking up what is left of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, Select, Subquery, cast, func, insert, literal, select, union_all
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from app.accounts import service as accounts
from app.audit import history
from app.audit import service as audit
from app.audit.actor import Actor
from app.bulk.kind import Became, BulkKind, Ids, Preview
from app.bulk.kinds import KINDS
from app.bulk.models import FILE_DAYS, Bulk, BulkChunk, BulkProblem
from app.db import lock, transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed, NotFound
from app.extensions import db
from app.logs import request_id
from app.undo import window

CHUNK_ROWS = 500
MOST_ROWS = 1_000_000
# To keep a million ids may take a busy database longer than anything else that is asked of it.
_FREEZING_TIMEOUT = "60s"
SEES_ALL = ("admin",)


def freeze(kind_name: str, ids: Ids, *, by: Actor, arguments: Mapping[str, Any] | None = None) -> Bulk:
    """Keep a set of rows as it is now, and what is to be done to it once it is started. What comes to match the SELECT
    later is not in it. They are worked through by their ids, or by the `place` that the SELECT has beside them.

    Raises NotAllowed, Invalid for arguments that make no sense, for no rows, or more than MOST_ROWS.
    """
    with transaction():
        return _freeze(_kind_named(kind_name), ids, dict(arguments or {}), by=by)


def start(bulk_id: int, *, by: Actor) -> Bulk:
    """Have a prepared run worked through. Raises NotFound, NotAllowed, Conflict when it was started or dropped."""
    with transaction():
        bulk = _own(bulk_id, by)
        _start(bulk, by)
    return bulk


def cancel(bulk_id: int, *, by: Actor) -> Bulk:
    """Stop a run after the chunk that is being done; what was done stays done. Whoever asked for it may, and an admin.

    Raises NotFound, Conflict when it is over.
    """
    with transaction():
        bulk = _locked(bulk_id, by)
        history.move(bulk, "CANCELLED")
        bulk.finished()
        audit.record(by, "bulk.cancel", bulk)
    return bulk


def undo(bulk_id: int, *, by: Actor) -> Bulk:
    """Change back what a run changed, as far as the time to undo it is not over; one that still runs is stopped.

    Raises NotFound, NotAllowed for anybody but who asked for the run, Conflict when there is nothing to undo any more.
    """
    with transaction():
        bulk = _own(bulk_id, by)
        by.require(*sorted(KINDS[bulk.kind].roles))
        refusal = why_no_undo(bulk)
        if refusal is not None:
            raise Conflict(refusal)
        history.move(bulk, "UNDOING")
        bulk.attempts, bulk.ended_because = 0, None
        bulk.hand_out()
        audit.record(by, "bulk.undo", bulk)
    return bulk


def take_up(bulk_id: int, *, by: Actor) -> Bulk:
    """A new run, started, of the rows that failed in one that is over, and of those that it never got to.

    Raises NotFound, NotAllowed, Conflict while it runs, when nothing is left of it or when that was done before.
    """
    with transaction():
        old = _locked(bulk_id, by)
        refusal = why_no_take_up(old)
        if refusal is not None:
            raise Conflict(refusal)
        failed = select(BulkProblem.row_id).where(BulkProblem.bulk_id == old.id, BulkProblem.outcome == "FAILED")
        unreached = select(func.unnest(BulkChunk.ids)).where(
            BulkChunk.bulk_id == old.id, BulkChunk.settled_at.is_(None)
        )
        rest = select(union_all(failed, unreached).subquery().c.row_id)
        new = _freeze(_kind_named(old.kind), rest, old.arguments, by=by, retry_of=old)
        _start(new, by)
    return new


def why_no_undo(bulk: Bulk) -> str | None:
    """Why a run can't be undone now, in words; None when it can."""
    kind = KINDS[bulk.kind]
    if kind.undo_chunk is None:
        return f"What was {kind.past} stays so; this can't be undone."
    if bulk.status == "PREPARED":
        return "Nothing was done yet."
    if bulk.status in ("UNDOING", "UNDONE"):
        return "This was undone already."
    if bulk.done - bulk.undone - bulk.kept == 0:
        return "Nothing was done that could be undone."
    if undoable(bulk) == 0:
        return "The time to undo it is over."
    return None


def why_no_take_up(bulk: Bulk) -> str | None:
    """Why the rest of a run can't be taken up by a new one, in words; None when it can."""
    if KINDS[bulk.kind].part_of is not None:
        return "The rest alone would be half a file: do it again with all rows."
    if bulk.status not in ("DONE", "CANCELLED", "FAILED") or bulk.started_at is None:
        return "Only what is over, and was not undone, can be taken up again."
    if bulk.failures + bulk.left == 0:
        return "No row failed, and none is left."
    newer = taken_up_by(bulk)
    return None if newer is None else f"Run {newer} has taken this up already."


def taken_up_by(bulk: Bulk) -> int | None:
    """The run that has taken up what failed or was left of this one."""
    return db.session.scalar(select(Bulk.id).where(Bulk.retry_of_id == bulk.id))


def undoable(bulk: Bulk) -> int:
    """How many rows of a run can still be changed back."""
    rows = select(func.coalesce(func.sum(func.cardinality(BulkChunk.done)), 0)).where(
        BulkChunk.bulk_id == bulk.id, BulkChunk.undone_at.is_(None), BulkChunk.settled_at > utcnow() - window()
    )
    return int(db.session.scalar(rows) or 0)


def preview(bulk: Bulk) -> Preview:
    """What a prepared run would do if it were started now, by whoever asked for it."""
    asker = accounts.active_actor(bulk.by_id, bulk.address) or Actor("staff", bulk.by_id, "")
    return KINDS[bulk.kind].preview(_ids_of(bulk), asker)


def _ids_of(bulk: Bulk) -> Select[Any]:
    return select(func.unnest(BulkChunk.ids)).where(BulkChunk.bulk_id == bulk.id)


def became(bulk: Bulk) -> Sequence[Became]:
    """What is now of the refunds that a run has begun; nothing for one that begins none."""
    ask = KINDS[bulk.kind].became
    if ask is None or not bulk.done:
        return ()
    return ask(select(func.unnest(BulkChunk.done)).where(BulkChunk.bulk_id == bulk.id), bulk.arguments)


def find(bulk_id: int, *, by: Actor) -> Bulk:
    """A run of one's own, or for admins anybody's. Raises NotFound."""
    return _visible(db.session.get(Bulk, bulk_id), bulk_id, by)


def rows(bulk: Bulk, outcome: str, *, after: int, most: int) -> list[tuple[int, str | None]]:
    """The ids of a run's rows behind `after` that came out like this, and why: DONE, UNDONE, SKIPPED, FAILED, KEPT, or
    LEFT for those without a result.
    """
    of_this = BulkChunk.bulk_id == bulk.id
    arrays = {
        "DONE": select(func.unnest(BulkChunk.done).label("id")).where(of_this),
        "UNDONE": select(func.unnest(BulkChunk.undone).label("id")).where(of_this),
        "LEFT": select(func.unnest(BulkChunk.ids).label("id")).where(of_this, BulkChunk.settled_at.is_(None)),
    }
    if outcome in arrays:
        found = arrays[outcome].subquery()
        ids = select(found.c.id).where(found.c.id > after).order_by(found.c.id).limit(most)
        return [(row_id, None) for row_id in db.session.scalars(ids)]
    problems = (
        select(BulkProblem.row_id, BulkProblem.reason)
        .where(BulkProblem.bulk_id == bulk.id, BulkProblem.outcome == outcome, BulkProblem.row_id > after)
        .order_by(BulkProblem.row_id)
        .limit(most)
    )
    return [(row_id, reason) for row_id, reason in db.session.execute(problems)]


def _freeze(kind: BulkKind, ids: Ids, arguments: dict[str, Any], *, by: Actor, retry_of: Bulk | None = None) -> Bulk:
    by.require(*sorted(kind.roles))
    if by.id is None:
        raise NotAllowed("Bulk work is asked for by a person.")
    kind.apply_chunk([], arguments, by)
    bulk = Bulk(
        kind=kind.name,
        arguments=arguments,
        by_id=by.id,
        address=by.address,
        request_id=request_id.get(),
        retry_of_id=retry_of.id if retry_of else None,
    )
    db.session.add(bulk)
    db.session.flush()
    db.session.execute(select(func.set_config("statement_timeout", _FREEZING_TIMEOUT, True)))
    given = ids if isinstance(ids, Select) else select(func.unnest(cast(list(ids), ARRAY(BigInteger))).label("id"))
    ordered = _in_order(given.subquery(), most := kind.most_rows or MOST_ROWS)
    part = (ordered.c.place - 1) // (kind.chunk_rows or CHUNK_ROWS)
    chunks = (
        select(
            literal(bulk.id),
            func.min(ordered.c.place),
            func.array_agg(aggregate_order_by(ordered.c.id, ordered.c.place)),
        )
        .group_by(part)
        .order_by(part)
    )
    written = (
        insert(BulkChunk).from_select(["bulk_id", "place", "ids"], chunks).returning(func.cardinality(BulkChunk.ids))
    )
    bulk.total = sum(db.session.scalars(written))
    if bulk.total == 0:
        raise Invalid(f"No {kind.nouns[1]} are selected. Select at least one.")
    if bulk.total > most:
        raise Invalid(f"At most {most:,} {kind.nouns[1]} can be {kind.past} at once. Narrow the list first.")
    audit.record(by, "bulk.prepare", bulk)
    return bulk


def _in_order(wanted: Subquery, most: int) -> Subquery:
    """The ids with their places, one more than a run may have where there are more."""
    if "place" in wanted.c:
        return select(wanted.c.id, wanted.c.place).where(wanted.c.place <= most + 1).subquery()
    row_id = next(iter(wanted.c))
    distinct = select(row_id.label("id")).distinct().limit(most + 1).subquery()
    return select(distinct.c.id, func.row_number().over(order_by=distinct.c.id).label("place")).subquery()


def _start(bulk: Bulk, by: Actor) -> None:
    kind = KINDS[bulk.kind]
    by.require(*sorted(kind.roles))
    history.move(bulk, "RUNNING")
    if kind.settle is not None:
        bulk.arguments = {**bulk.arguments, **kind.settle(_ids_of(bulk), bulk.arguments, by)}
    if kind.part_of is not None:
        bulk.file_until = utcnow() + timedelta(days=FILE_DAYS)
    bulk.hand_out()
    audit.record(by, "bulk.start", bulk)


def _kind_named(name: str) -> BulkKind:
    if name not in KINDS:
        raise Invalid(f"There is no bulk work called {name}.")
    return KINDS[name]


def _locked(bulk_id: int, by: Actor) -> Bulk:
    return _visible(lock(Bulk, bulk_id), bulk_id, by)


def _visible(bulk: Bulk | None, bulk_id: int, by: Actor) -> Bulk:
    if bulk is None or not (bulk.by_id == by.id or by.has(SEES_ALL)):
        raise NotFound(f"There is no bulk run {bulk_id} of yours.")
    return bulk


def _own(bulk_id: int, by: Actor) -> Bulk:
    bulk = _locked(bulk_id, by)
    if bulk.by_id != by.id:
        raise NotAllowed("Only who asked for it may do this.")
    return bulk
