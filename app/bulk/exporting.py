"""Verbs of exports: a run that leaves a CSV file, asked for like any other; taking the file away, and its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import Select, func, select

from app import storage
from app.audit import service as audit
from app.audit.actor import SYSTEM, Actor
from app.bulk import service as bulk
from app.bulk import spreadsheet
from app.bulk.export import Export, Field
from app.bulk.exports import EXPORTS
from app.bulk.kinds import EXPORT
from app.bulk.models import FILE_DAYS, Bulk, BulkChunk
from app.bulk.work import part_key
from app.db import leave_database, lock, transaction, utcnow
from app.errors import Conflict, NotAllowed, NotFound
from app.extensions import db

_SWEPT_AT_ONCE = 100


@dataclass(frozen=True)
class Download:
    """A file on its way to somebody: what it is called, and its content in blocks."""

    file_name: str
    content: Iterator[bytes]


def ask(
    name: str, ids: Select[Any], *, by: Actor, columns: Sequence[str] | None = None, narrowed: Sequence[str] = ()
) -> Bulk:
    """Keep the rows of a list as they are now, to be exported once that is started, with all columns or some.

    `ids` are the rows' ids with their `place` in the list, `narrowed` says in words what that was narrowed to.
    Raises NotAllowed, Invalid for a column that there isn't, for no rows, or too many.
    """
    fields = EXPORTS[name].fields
    wanted = list(columns) if columns is not None else [field.key for field in fields]
    clear = [field.key for field in fields if field.key in wanted and field.is_clear_to(by)]
    arguments = {"columns": wanted, "clear": clear, "narrowed": list(narrowed)}
    return bulk.freeze(EXPORT + name, ids, by=by, arguments=arguments)


def export_of(run: Bulk) -> Export | None:
    """What a run exports, if it does."""
    return EXPORTS.get(run.kind.removeprefix(EXPORT)) if run.kind.startswith(EXPORT) else None


def masked(run: Bulk) -> list[Field]:
    """The columns that an export has masked."""
    export = export_of(run)
    chosen = export.chosen(run.arguments) if export else []
    return [field for field in chosen if field.key not in run.arguments["clear"]]


def why_not_theirs(run: Bulk, by: Actor) -> str | None:
    """Why somebody's role may not have what a run exported, in words; None when it may."""
    export = export_of(run)
    if export is None or not by.has(export.roles):
        return "Your role may not open what was exported."
    for field in export.chosen(run.arguments):
        if field.key in run.arguments["clear"] and not field.is_clear_to(by):
            return f"Your role sees {field.heading} masked, and this file has it in clear. Export the list again."
    return None


def why_no_file(run: Bulk) -> str | None:
    """Why an export has no file now, in words; None when it has."""
    if run.status != "DONE":
        return "Only an export that is done has its file."
    if run.file_deleted_at is not None or run.file_until is None or run.file_until <= utcnow():
        return f"The file was kept for {FILE_DAYS} days and is deleted. Export the list again."
    return None


def download(bulk_id: int, *, by: Actor) -> Download:
    """An export's file, for whoever asked for it and for admins, as long as their roles see all that is in it.

    Raises NotFound, NotAllowed, Conflict when there is no file yet or any more, Unavailable.
    """
    with transaction():
        bulk.find(bulk_id, by=by)
        run = lock(Bulk, bulk_id)
        export = export_of(run)
        if export is None:
            raise NotFound("This run leaves no file.")
        for refusal, words in ((NotAllowed, why_not_theirs(run, by)), (Conflict, why_no_file(run))):
            if words is not None:
                raise refusal(words)
        header = spreadsheet.BYTE_ORDER_MARK + spreadsheet.lines([export.headings(run.arguments)])
        has_rows = func.cardinality(BulkChunk.done) > 0
        chunks = select(BulkChunk.id).where(BulkChunk.bulk_id == run.id, has_rows).order_by(BulkChunk.place)
        keys = [part_key(run.id, chunk_id) for chunk_id in db.session.scalars(chunks)]
        file_name = f"{export.name}-{run.created_at:%Y-%m-%d}-{run.id}.csv"
        audit.record(by, "bulk.download", run)
    leave_database()
    return Download(file_name, chain([header], storage.read_each(keys)))


def delete_old() -> int:
    """Delete the files that were kept long enough; how many. May run twice."""
    over = (
        select(Bulk.id)
        .where(Bulk.file_until < utcnow(), Bulk.file_deleted_at.is_(None), Bulk.due_at.is_(None))
        .order_by(Bulk.file_until)
        .limit(_SWEPT_AT_ONCE)
    )
    found = list(db.session.scalars(over))
    for bulk_id in found:
        keys = [
            part_key(bulk_id, chunk_id)
            for chunk_id in db.session.scalars(select(BulkChunk.id).where(BulkChunk.bulk_id == bulk_id))
        ]
        leave_database()
        storage.delete(keys)
        with transaction():
            run = lock(Bulk, bulk_id)
            run.file_deleted_at = utcnow()
            audit.record(SYSTEM, "bulk.delete_file", run)
    return len(found)
