"""Transactions and row locks: verbs open them here, and the program's only commit is here."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from time import monotonic
from typing import Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

import orjson
import psycopg2
from sqlalchemy import JSON, URL, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.orm import InstanceState, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.pool import PoolProxiedConnection

from app.errors import Busy, NotFound, Unavailable
from app.extensions import Model, db

T = TypeVar("T", bound=Model)

LOCK_TIMEOUT_MS = 3_000
STATEMENT_TIMEOUT_MS = 15_000
IDLE_TIMEOUT_MS = 60_000

# The name of the second engine: its statements are transactions by themselves, one round trip instead of three.
ALONE = "alone"
_TRUSTED_SECONDS = 1.0

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_BUSY = {"55P03", "57014", "40P01", "40001"}  # lock timeout, statement timeout, deadlock, serialization failure
_DOWN_CLASSES = ("08", "53", "57")  # connection exception, insufficient resources, operator intervention


def connect_args(*, patient: bool = False) -> dict[str, Any]:
    """What every connection of the app starts with: nobody waits for ever, times are UTC.

    `patient` is for commands, whose statements may take as long as they take.
    """
    timeouts = {
        "lock_timeout": LOCK_TIMEOUT_MS,
        "statement_timeout": 0 if patient else STATEMENT_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": 0 if patient else IDLE_TIMEOUT_MS,
    }
    return {
        "connect_timeout": 5,
        "application_name": "tripdesk",
        "options": " ".join(f"-c {name}={value}" for name, value in timeouts.items()) + " -c timezone=UTC",
    }


def engine_url(url: str) -> URL:
    """A `postgresql://` address as SQLAlchemy wants it: with the driver we use, which isn't its default."""
    return make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+psycopg2")


def owner_engine(url: str) -> Engine:
    """An engine of the owner's role, for migrations and the few commands that need it."""
    return create_engine(
        engine_url(url),
        connect_args={"connect_timeout": 5, "application_name": "tripdesk-owner", "options": "-c timezone=UTC"},
    )


def utcnow() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


@contextmanager
def transaction() -> Iterator[None]:
    """One verb's work, all or nothing. Nested calls join the outer one; what waits for the commit runs after it.

    Raises Busy when a lock or statement timed out, Unavailable when the database can't be reached.
    """
    info = db.session.info
    if info.get("depth"):
        # Whoever catches a refusal further out must not commit half of it.
        try:
            yield
        except DBAPIError as error:
            info["doomed"] = True
            raise_from_database(error)
        except BaseException:
            info["doomed"] = True
            raise
        return
    info.update(depth=1, doomed=False, after_commit=[])
    try:
        yield
        if info["doomed"]:
            raise RuntimeError("a refusal inside this transaction was swallowed; nothing of it may be committed")
        db.session.commit()
        after: list[Callable[[], None]] = info["after_commit"]
    except DBAPIError as error:
        db.session.rollback()
        raise_from_database(error)
    except BaseException:
        db.session.rollback()
        raise
    finally:
        info.update(depth=0, doomed=False, after_commit=[])
    for call in after:
        call()


def after_commit(call: Callable[[], None]) -> None:
    """Have `call` made once the surrounding transaction is committed, and never if it isn't."""
    require_transaction()
    db.session.info["after_commit"].append(call)


def require_transaction() -> None:
    """A verb's step that only makes sense inside `transaction()`; RuntimeError otherwise."""
    if not db.session.info.get("depth"):
        raise RuntimeError("this belongs inside a transaction()")


def leave_database() -> None:
    """Give the connection back before waiting on the network. RuntimeError inside a transaction, which would hold its
    locks meanwhile.
    """
    if db.session.info.get("depth"):
        raise RuntimeError("no network call inside a transaction()")
    db.session.close()


@contextmanager
def one_moment() -> Iterator[None]:
    """Have everything that is read inside be of one moment, whatever others commit meanwhile: for what several
    statements read and what has to add up. Nothing can be written inside. RuntimeError inside a transaction.
    """
    if db.session.info.get("depth"):
        raise RuntimeError("no one_moment() inside a transaction(): what that has read is of another moment")
    db.session.rollback()
    db.session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    try:
        yield
    finally:
        db.session.rollback()


def raise_from_database(error: DBAPIError) -> NoReturn:
    """Raise what the database could not do in our own words; what is a bug stays the exception it was."""
    refusal = in_our_words(error)
    if refusal is None:
        raise error
    raise refusal from error


def in_our_words(error: DBAPIError) -> Unavailable | None:
    """What the database could not do: Busy, or Unavailable; None for anything else, which is a bug."""
    code: str = getattr(error.orig, "pgcode", None) or ""
    if code in _BUSY:
        return Busy("Somebody else is working on this right now. Try again in a moment.")
    if error.connection_invalidated or not code or code.startswith(_DOWN_CLASSES):
        return Unavailable("The database can't be reached right now. Try again in a moment.", retry_after=5)
    return None


def lock(model: type[T], row_id: int) -> T:
    """The row, locked for this transaction and read afresh, whatever was known of it before.

    What it held at that moment is kept for `changes`. Raises NotFound.
    """
    require_transaction()
    row = db.session.get(model, row_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound(f"There is no {model.__name__.lower()} {row_id}.")
    return keep_before(row)


def keep_before(row: T) -> T:
    """Remember what a freshly read row holds, as the «before» of its audit entry."""
    _state(row).info["before"] = values_of(row)
    return row


def values_of(row: Model) -> dict[str, Any]:
    """A row's columns by attribute name."""
    return {attribute.key: getattr(row, attribute.key) for attribute in _state(row).mapper.column_attrs}


def changes(row: Model) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """What the row held when it was locked and what differs now: `(before, after)`, only the columns that differ.

    A new row has no before, and all its columns after.
    """
    now = values_of(row)
    before: dict[str, Any] | None = _state(row).info.get("before")
    if before is None:
        return None, now
    differing = [name for name, value in now.items() if before[name] != value]
    return {name: before[name] for name in differing}, {name: now[name] for name in differing}


def _state(row: Model) -> InstanceState[Any]:
    state: InstanceState[Any] = inspect(row)
    return state


def read(sql: str, parameters: dict[str, Any] | None = None) -> list[Any]:
    """Rows (named tuples) of one plain SELECT with psycopg2 placeholders, outside any transaction: one round trip.

    For hot reads; a verb reads through its session instead. Raises Busy, Unavailable.
    """
    try:
        return _alone(sql, parameters)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise_from_database(error)
    # The database was restarted since: the pool has dropped its dead connections, and a read may be repeated.
    return write_alone(sql, parameters)


def write_alone(sql: str, parameters: dict[str, Any] | None = None) -> list[Any]:
    """The same for one statement that writes and is a transaction by itself, committed when this returns.

    Never repeated: when the connection dies, nobody knows whether it was committed. Raises Busy, Unavailable.
    """
    try:
        return _alone(sql, parameters)
    except DBAPIError as error:
        raise_from_database(error)


def statement(sql: str, parameters: dict[str, Any]) -> list[Any]:
    """Rows (named tuples) of one statement with psycopg2 placeholders, in the surrounding transaction.

    For the few that every booking runs: SQLAlchemy would take longer over them than the database does. What the
    session has not flushed yet isn't there.
    """
    require_transaction()
    connection = db.session.connection()
    try:
        return _rows(connection.connection, sql, parameters)
    except psycopg2.Error as error:
        driver: Any = connection.connection.dbapi_connection
        is_lost = bool(driver.closed)
        if is_lost:
            connection.invalidate(error)
        raise _as_sqlalchemy(error, sql, parameters, is_lost=is_lost) from error


def insert_now(row: Model) -> None:
    """Write a new row in the surrounding transaction and have the session know it, as adding and flushing it does.

    For rows that every booking writes: a flush takes the ORM longer than the INSERT takes the database.
    """
    state = _state(row)
    given = frozenset(state.dict)
    plan = _insertion_of(type(row), given)
    values = {name: state.dict.get(name) for name in plan.names}
    for name in plan.documents:
        values[name] = None if values[name] is None else orjson.dumps(values[name]).decode()
    for name in plan.names - given:
        set_committed_value(row, name, None)
    set_committed_value(row, "id", statement(plan.sql, values)[0].id)
    make_transient_to_detached(row)
    db.session.add(row)


@dataclass(frozen=True)
class _Insertion:
    """The INSERT of a model's row; `documents` are the columns that hold JSON."""

    sql: str
    names: frozenset[str]
    documents: frozenset[str]


@cache
def _insertion_of(model: type[Model], given: frozenset[str]) -> _Insertion:
    columns = {
        attribute.key: attribute.columns[0]
        for attribute in inspect(model).column_attrs
        if attribute.key in given or not (attribute.columns[0].server_default or attribute.columns[0].identity)
    }
    sql = (
        f"INSERT INTO {model.__tablename__} ({', '.join(column.name for column in columns.values())}) "  # noqa: S608  # nosec B608 - our own names
        f"VALUES ({', '.join(f'%({name})s' for name in columns)}) RETURNING id"
    )
    documents = frozenset(name for name, column in columns.items() if isinstance(column.type, JSON))
    return _Insertion(sql, frozenset(columns), documents)


class _Held(threading.local):
    """What each thread keeps of the second engine: one connection, and when it was used last."""

    connections: WeakKeyDictionary[Engine, tuple[PoolProxiedConnection, float]]

    def __init__(self) -> None:
        self.connections = WeakKeyDictionary()


_held = _Held()


def _alone(sql: str, parameters: dict[str, Any] | None) -> list[Any]:
    # Past SQLAlchemy's own cursors, and kept from one statement to the next: both would take longer than the statement.
    engine = db.engines[ALONE]
    connection, used_at = _held.connections.pop(engine, (None, 0.0))
    try:
        if connection is None:
            connection = engine.raw_connection()
        elif monotonic() - used_at > _TRUSTED_SECONDS and not _lives(engine, connection):
            connection.invalidate()
            connection = engine.raw_connection()
        rows = _rows(connection, sql, parameters)
    except psycopg2.Error as error:
        driver = connection.dbapi_connection if connection is not None else None
        is_lost = driver is None or bool(driver.closed)
        if connection is not None and is_lost:
            connection.invalidate(error)
        elif connection is not None:
            connection.close()
        raise _as_sqlalchemy(error, sql, parameters, is_lost=is_lost) from error
    _held.connections[engine] = (connection, monotonic())
    return rows


def _lives(engine: Engine, connection: PoolProxiedConnection) -> bool:
    try:
        return engine.dialect.do_ping(connection.dbapi_connection)  # type: ignore[arg-type]
    except psycopg2.Error:
        return False


@dataclass
class _Plan:
    """A statement as the server keeps it, and the type of its rows once one was seen."""

    name: str
    prepare: str
    execute: str
    row: Any = None


@cache  # there are as many as the code writes out
def _plan_of(sql: str) -> _Plan:
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)))
    name = f"tripdesk_{hashlib.sha256(sql.encode()).hexdigest()[:16]}"
    arguments = ", ".join(f"%({parameter})s" for parameter in names)
    return _Plan(
        name,
        f"PREPARE {name} AS {sql % {parameter: f'${number}' for number, parameter in enumerate(names, 1)}}",
        f"EXECUTE {name}({arguments})" if names else f"EXECUTE {name}",
    )


def _rows(connection: Any, sql: str, parameters: dict[str, Any] | None) -> list[Any]:
    # The server parses and plans it once per connection, which takes it longer than most of our statements do.
    plan = _plan_of(sql)
    prepared: set[str] = connection.info.setdefault("prepared", set())
    cursor = connection.cursor()
    if plan.name not in prepared:
        cursor.execute(plan.prepare)
        prepared.add(plan.name)
    cursor.execute(plan.execute, parameters)
    if cursor.description is None:
        return []
    if plan.row is None:
        plan.row = namedtuple("Row", [column.name for column in cursor.description])  # type: ignore[misc]
    return list(map(plan.row._make, cursor.fetchall()))


def _as_sqlalchemy(error: psycopg2.Error, sql: str, parameters: Any, *, is_lost: bool) -> DBAPIError:
    found: DBAPIError = DBAPIError.instance(  # type: ignore[assignment]  # of the kind that fits the driver's
        sql, parameters, error, psycopg2.Error, connection_invalidated=is_lost
    )
    return found


def trust_recent_connections(engine: Engine) -> None:
    """Ask a pooled connection whether it still lives only after an idle while; most requests save the round trip."""

    @event.listens_for(engine, "checkin")
    def note(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = monotonic()

    @event.listens_for(engine, "checkout")
    def ask(connection: Any, record: Any, _proxy: Any) -> None:
        if monotonic() - record.info.get("idle_since", 0.0) < _TRUSTED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg2.Error as error:
            raise InvalidatePoolError from error  # the pool drops all it has and connects anew
