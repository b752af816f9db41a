"""The floor of every write: the very statements the app issues, sent through psycopg2 by as many clients.

As psycopg2 is used by default: the statements of one request in one transaction, then `commit()`.
"""

from __future__ import annotations

import importlib
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg2
from sqlalchemy import event

from app.db import connect_args
from app.extensions import db
from bench.load import Run


@dataclass(frozen=True)
class Statement:
    """One statement of the app's, as the driver gets it."""

    sql: str
    parameters: dict[str, Any]


# Columns that may hold each value only once; every repetition gets a new one.
UNIQUE = ("reference", "stripe_event_id")


@contextmanager
def recording() -> Iterator[list[Statement]]:
    """The statements that the app issues meanwhile, with their parameters as the driver gets them."""
    statements: list[Statement] = []
    # By its name, as the package `app` has an attribute that is called the same.
    database: Any = importlib.import_module("app.db")
    rows_of = database._rows

    def note(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        statements.append(Statement(sql, dict(parameters)))

    def note_rows(connection: Any, sql: str, parameters: dict[str, Any] | None) -> list[Any]:
        statements.append(Statement(sql, dict(parameters or {})))
        rows: list[Any] = rows_of(connection, sql, parameters)
        return rows

    event.listen(db.engine, "before_cursor_execute", note)
    database._rows = note_rows
    try:
        yield statements
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
        database._rows = rows_of


def repeat(url: str, transactions: Sequence[Sequence[Statement]], *, processes: int, seconds: float) -> Run:
    """Have one thread for each of the recorded transactions repeat it for so long, each on a connection of its own.

    They are shared out over `processes`, as the server shares out its threads, so that a busy machine's scheduler
    treats both alike.
    """
    context = multiprocessing.get_context("fork")
    start = context.Barrier(processes + 1)
    results: Any = context.SimpleQueue()
    children = [
        context.Process(target=_process, args=(url, transactions[n::processes], seconds, start.wait, results.put))
        for n in range(processes)
    ]
    for child in children:
        child.start()
    start.wait(30)
    begin = time.perf_counter()
    run = Run()
    for _ in children:
        run.latencies += results.get()
    run.seconds = time.perf_counter() - begin
    for child in children:
        child.join()
    return run


def _process(
    url: str,
    transactions: Sequence[Sequence[Statement]],
    seconds: float,
    wait: Callable[[], object],
    report: Callable[[list[float]], None],
) -> None:
    connections = [psycopg2.connect(url, **connect_args()) for _ in transactions]
    latencies: list[float] = []
    wait()
    end = time.perf_counter() + seconds
    threads = [
        threading.Thread(target=_client, args=(connection, statements, end, latencies))
        for connection, statements in zip(connections, transactions, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report(latencies)
    for connection in connections:
        connection.close()


def _client(connection: Any, statements: Sequence[Statement], end: float, latencies: list[float]) -> None:
    with connection.cursor() as cursor:
        while (sent_at := time.perf_counter()) < end:
            for statement in statements:
                fresh = {name: uuid4().hex for name in UNIQUE if name in statement.parameters}
                cursor.execute(statement.sql, {**statement.parameters, **fresh})
                if cursor.description is not None:
                    cursor.fetchall()
            connection.commit()
            latencies.append(time.perf_counter() - sent_at)
