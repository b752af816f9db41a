"""Working through an import's file, in turns and batch by batch, with what the command imports with, too:
`catalog.importing`.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
from typing import BinaryIO

from sqlalchemy import insert

from app import storage
from app.accounts import service as accounts
from app.accounts.models import User
from app.audit import history
from app.audit import service as audit
from app.audit.actor import SYSTEM, Actor
from app.catalog.importing import CatalogImport, ImportReport, Progress
from app.db import leave_database, lock, transaction, utcnow
from app.errors import Conflict, NotAllowed, NotFound
from app.extensions import db
from app.imports.mappings import MAY_IMPORT
from app.imports.models import UNDER_WAY, Import, ImportRejection
from app.queue import LEASE, GaveWay, one_turn

log = logging.getLogger(__name__)

# Others share the worker: after so long they have their turn. Reading again up to where it stands comes on top.
TURN_SECONDS = 10.0


def go_on(import_id: int) -> None:
    """Go on with a check or an import, batch by batch, until it is over or others have their turn.

    May be called twice at once, and be killed at any moment: how far it is, is committed with each batch. Raises
    Unavailable.
    """
    found = db.session.get(Import, import_id, populate_existing=True)
    if found is None or found.due_at is None:
        return
    with one_turn(import_id, give_up=fail):
        _take_turn(found)


def fail(import_id: int, because: str) -> None:
    """End what is under way before its time; nothing where it is over already."""
    with transaction():
        found = lock(Import, import_id)
        if found.status not in (*UNDER_WAY, "UPLOADING"):
            return
        history.move(found, "FAILED")
        found.finished()
        found.ended_because = because
        audit.record(SYSTEM, "import.fail", found, reason=because)


def _take_turn(found: Import) -> None:
    """Work through batches until the turn or the file is over."""
    import_id, status, begun_at, key = found.id, found.status, found.begun_at, found.file_key
    by, mapping, rate = _who_works(found), found.mapping(), found.rate
    dry_run, done = found.dry_run, found.report
    if key is None:
        raise Conflict(found.why_no_file() or "")

    def keep(progress: Progress) -> None:
        _keep(_still(import_id, status, begun_at), was=rows.report, progress=progress)

    with _at_hand(key) as stream:
        rows = CatalogImport(stream, mapping, rate=rate, by=by, dry_run=dry_run, done=done, keep=keep)
        ends_at: float | None = None
        for _progress in rows.run():
            # Reading again up to where it stands is no part of the turn.
            ends_at = ends_at or monotonic() + TURN_SECONDS
            if monotonic() >= ends_at:
                _hand_on(import_id, status, begun_at)
                return
    _finish(import_id, status, begun_at)


def _keep(found: Import, *, was: ImportReport, progress: Progress) -> None:
    """Write how far it is, in the transaction of the batch that brought it there. Raises GaveWay, NotAllowed."""
    if found.report != was:
        raise GaveWay
    _who_works(found)
    found.report = progress.report
    found.attempts, found.last_error = 0, None
    found.leased_until = utcnow() + LEASE
    rejected = [
        {
            "import_id": found.id,
            "line": rejection.line,
            "faults": [{"column": fault.column, "reason": fault.reason} for fault in rejection.faults],
        }
        for rejection in progress.rejections
    ]
    if rejected:
        db.session.execute(insert(ImportRejection), rejected)


@contextmanager
def _at_hand(key: str) -> Iterator[BinaryIO]:
    """A stored file as one that can be read from any place."""
    leave_database()
    with tempfile.TemporaryFile() as copy:
        try:
            for part in storage.read(key):
                copy.write(part)
        except NotFound:
            raise NotFound("Its file is not there any more. Upload it again.") from None
        copy.seek(0)
        yield copy


def _still(import_id: int, status: str, begun_at: datetime | None) -> Import:
    """The import, locked, if what was begun then is still under way. Raises GaveWay."""
    found = lock(Import, import_id)
    if (found.status, found.begun_at) != (status, begun_at):
        raise GaveWay
    return found


def _hand_on(import_id: int, status: str, begun_at: datetime | None) -> None:
    with transaction():
        _still(import_id, status, begun_at).hand_out()


def _finish(import_id: int, status: str, begun_at: datetime | None) -> None:
    with transaction():
        found = _still(import_id, status, begun_at)
        found.finished()
        if status == "CHECKING":
            history.move(found, "CHECKED")
            audit.record(SYSTEM, "import.checked", found, reason=found.counts_in_words)
        else:
            history.move(found, "DONE")
            audit.record(SYSTEM, "import.finish", found, reason=found.counts_in_words)


def _who_works(found: Import) -> Actor:
    """Whoever asked, with the roles they hold now. Raises NotAllowed when they may not do this any more."""
    by = accounts.active_actor(found.by_id, found.address)
    if by is not None and by.has(MAY_IMPORT):
        return by
    name = db.session.get_one(User, found.by_id).name
    if by is None:
        raise NotAllowed(f"The account of {name}, who asked for it, is deactivated.")
    raise NotAllowed(f"{name}, who asked for it, does not hold the role {' or '.join(MAY_IMPORT)} any more.")
