"""Whose turn it is to import: two imports that may be at the same provider's packages are one at a time, whether they
were started in the console or by the command.

An import of the console holds its turn by its state. A command has no row and may be killed at any moment: it holds its
turn by a lock that ends with its connection, whose name says who it is and since when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, or_, select, text
from sqlalchemy.orm import joinedload

from app.advisory_locks import AdvisoryLock
from app.audit.actor import Actor
from app.catalog.importing import Progress
from app.db import leave_database, require_transaction, transaction, utcnow
from app.errors import Conflict
from app.extensions import db
from app.imports.models import Import

# https://www.postgresql.org/docs/current/view-pg-locks.html says how a lock of ours is found there.
_COMMAND = text(
    "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted"
    " AND (classid, objid, objsubid) = (0, :lock, 1)"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def why_no_turn(found: Import) -> str | None:
    """Why an import of the console has to wait, in words; None when no other is at the same provider's packages, or may
    be. Nobody else begins until the transaction is over, nor afterwards if this one is RUNNING by then.
    """
    others: list[Any] = [Import.id != found.id]
    if found.provider_id is not None:
        others.append(or_(Import.provider_id.is_(None), Import.provider_id == found.provider_id))
    return _who_is_before(*others)


@contextmanager
def turn_of_command(by: Actor) -> Iterator[Callable[[Progress], None]]:
    """A command's turn, as nobody knows yet whose packages its file has. What it gives has to be called in each batch's
    transaction: where the turn was lost, as the database was away, nothing of the batch goes in.

    Raises Conflict when another import runs, Unavailable.
    """
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.detach()  # closed in the end, not handed to somebody else with our name on it
        _put_name_on(connection, by)
        with transaction():
            refusal = _who_is_before()
            if refusal is not None:
                raise Conflict(f"{refusal} Nothing was imported; run this again when that is over.")
            connection.execute(select(func.pg_advisory_lock(AdvisoryLock.IMPORTING_BY_COMMAND)))
        leave_database()
        try:
            yield lambda _progress: _require_alive(connection)
        finally:
            if not connection.invalidated:
                connection.execute(select(func.pg_advisory_unlock(AdvisoryLock.IMPORTING_BY_COMMAND)))


def _who_is_before(*which: Any) -> str | None:
    """Who imports, and since when; whoever else begins waits for the end of the transaction before they ask."""
    require_transaction()
    db.session.execute(select(func.pg_advisory_xact_lock(AdvisoryLock.STARTING_IMPORT)))
    command = db.session.scalar(_COMMAND, {"lock": AdvisoryLock.IMPORTING_BY_COMMAND})
    if command is not None:
        began_at, _, who = command.partition(" ")
        return f"{who} has been importing since {_in_words(datetime.fromisoformat(began_at))}."
    running = select(Import).options(joinedload(Import.asked_by)).where(Import.status == "RUNNING", *which)
    other = db.session.scalar(running.order_by(Import.id).limit(1))
    if other is None or other.begun_at is None:
        return None
    return (
        f"{other.asked_by.name} has been importing {other.file_name} since {_in_words(other.begun_at)}"
        f" ({other.report.rows:,} of {other.file_rows:,} rows are done), which may hold packages of the same provider."
    )


def _put_name_on(connection: Connection, by: Actor) -> None:
    # Longer ones are cut off: https://www.postgresql.org/docs/current/runtime-config-logging.html#GUC-APPLICATION-NAME
    connection.execute(select(func.set_config("application_name", f"{utcnow():%Y-%m-%dT%H:%MZ} {by.label}", False)))


def _require_alive(connection: Connection) -> None:
    connection.execute(select(1))


def _in_words(at: datetime) -> str:
    return f"{at.day} {at:%b %Y at %H:%M} UTC"
