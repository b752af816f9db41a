"""Rows by COPY: collected as text table by table, sent in blocks, under the transaction that is open."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import psycopg2
from sqlalchemy import ARRAY, text
from sqlalchemy.dialects.postgresql import JSONB

from app.db import require_transaction
from app.errors import Unavailable
from app.extensions import Model, db

_ID_BLOCK = 100


class TableCopy:
    """The rows of one table that wait to be sent; `left_out` are columns that the database fills by itself."""

    def __init__(self, model: type[Model], *, left_out: tuple[str, ...] = ()) -> None:
        columns = [column for column in model.__table__.columns if column.name not in left_out]
        self._cells = [(column.name, _encoder(column.type)) for column in columns]
        names = ", ".join(f'"{column.name}"' for column in columns)
        # In this format an empty cell is NULL; the demo has no empty texts.
        self._statement = f"COPY {model.__tablename__} ({names}) FROM STDIN WITH (FORMAT csv)"
        self._start_over()

    def _start_over(self) -> None:
        self._waiting = io.StringIO()
        self._writer = csv.writer(self._waiting)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take one row; it must have every column."""
        self._writer.writerow(
            [row[name] if encode is None else encode(row[name]) for name, encode in self._cells],
        )

    def send(self) -> None:
        """Copy what waits into the table. Raises Unavailable when the database can't take it."""
        require_transaction()
        self._waiting.seek(0)
        cursor = db.session.connection().connection.cursor()
        try:
            cursor.copy_expert(self._statement, self._waiting)
        except psycopg2.OperationalError as error:
            raise Unavailable(f"The database could not take the rows: {error}") from error
        finally:
            cursor.close()
        self._start_over()


def _encoder(kind: Any) -> Callable[[Any], str | None] | None:
    if isinstance(kind, JSONB):
        return _json
    if isinstance(kind, ARRAY):
        return _array
    return None


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _array(values: list[str]) -> str:
    return "{" + ",".join(f'"{value}"' for value in values) + "}"


def draw_ids(model: type[Model]) -> Iterator[int]:
    """Ids from the table's own sequence, drawn in blocks: a row's id is known before the row is sent."""
    drawing = text("SELECT nextval(pg_get_serial_sequence(:table, 'id')) FROM generate_series(1, :count)")
    while True:
        yield from db.session.scalars(drawing, {"table": model.__tablename__, "count": _ID_BLOCK}).all()
