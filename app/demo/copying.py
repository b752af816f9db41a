"""Rows by COPY: collected as text table by table, sent in blocks, under the transaction that is open."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from itertools import count
from types import TracebackType
from typing import Any, Self

import orjson
import psycopg2
from sqlalchemy import ARRAY, Boolean, Connection, Date, DateTime, Float, Integer, LargeBinary
from sqlalchemy.dialects.postgresql import JSONB

from app.errors import Unavailable
from app.extensions import Model

_DRAW = "SELECT nextval(pg_get_serial_sequence(%s, 'id'))"
_GO_ON = "SELECT setval(pg_get_serial_sequence(%s, 'id'), %s, false)"
_READ_BYTES = 1 << 20
# Blocks on their way: enough that neither side waits for the other, few enough that they fit in memory.
_ON_THE_WAY = 16


class Loading:
    """Sends blocks to the database one after the other while the next are being made; a context manager that leaves
    nothing on the way. Inside it, the connection is for these blocks alone.

    It gives the rows of `models` their ids, so that one is known before its row is sent: counted on from the tables'
    own sequences, as nobody else draws from them while the tables are locked. The connection must be the owner's then.
    """

    def __init__(self, connection: Connection, models: Sequence[type[Model]] = ()) -> None:
        self._connection = connection.connection
        self._ids = {model: count(self._sequence(_DRAW, model)) for model in models}
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="copy")
        self._sent: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sender.shutdown(cancel_futures=error is not None)
        if error is None:
            self.wait()
            for model, ids in self._ids.items():
                self._sequence(_GO_ON, model, next(ids))

    def ids(self, model: type[Model]) -> Iterator[int]:
        """Ids for the table's next rows."""
        return self._ids[model]

    def send(self, statement: str, block: bytes) -> None:
        """Have the block copied. Raises Unavailable when the database could not take an earlier one."""
        while len(self._sent) >= _ON_THE_WAY:
            self._sent.popleft().result()
        self._sent.append(self._sender.submit(self._copy, statement, block))

    def wait(self) -> None:
        """Until everything has been taken. Raises Unavailable when something could not be."""
        while self._sent:
            self._sent.popleft().result()

    def _sequence(self, statement: str, model: type[Model], *values: int) -> int:
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, (model.__tablename__, *values))
            found: Any = cursor.fetchone()
        finally:
            cursor.close()
        value: int = found[0]
        return value

    def _copy(self, statement: str, block: bytes) -> None:
        cursor = self._connection.cursor()
        try:
            cursor.copy_expert(statement, io.BytesIO(block), _READ_BYTES)
        except psycopg2.OperationalError as error:
            raise Unavailable(f"The database could not take the rows: {error}") from error
        finally:
            cursor.close()


class TableCopy:
    """The rows of one table that wait to be sent; `left_out` are columns that the database fills by itself."""

    def __init__(self, model: type[Model], loading: Loading, *, left_out: tuple[str, ...] = ()) -> None:
        columns = [column for column in model.__table__.columns if column.name not in left_out]
        self._cells = [(column.name, _encoder(column.type)) for column in columns]
        self._statement = f"COPY {model.__tablename__} ({', '.join(column.name for column in columns)}) FROM STDIN"
        self._loading = loading
        self._waiting: list[str] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Take one row, which must have every column."""
        self._waiting.append(
            "\t".join([r"\N" if (value := row[name]) is None else encode(value) for name, encode in self._cells])
        )

    def send(self) -> None:
        """Have what waits copied into the table. Raises Unavailable when the database can't take it."""
        if self._waiting:
            self._waiting.append("")
            self._loading.send(self._statement, "\n".join(self._waiting).encode())
            self._waiting = []


def _encoder(kind: Any) -> Callable[[Any], str]:
    if isinstance(kind, JSONB):
        return _json
    if isinstance(kind, ARRAY):
        return _array
    if isinstance(kind, Date | DateTime):
        return _time
    if isinstance(kind, LargeBinary):
        return _bytes
    return str if isinstance(kind, Integer | Float | Boolean) else _text


_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def _text(value: str) -> str:
    return value if "\\" not in value and value.isprintable() else value.translate(_ESCAPES)


def _time(value: date) -> str:
    return orjson.dumps(value)[1:-1].decode()  # ISO 8601, in a third of the time of isoformat()


def _json(value: Any) -> str:
    return orjson.dumps(value).decode().replace("\\", r"\\")  # JSON has escaped the others by itself


def _bytes(value: bytes) -> str:
    return rf"\\x{value.hex()}"


def _array(values: list[str]) -> str:
    return _text("{" + ",".join(f'"{value}"' for value in values) + "}")
