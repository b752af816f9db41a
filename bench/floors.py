"""The floor of every write: the very statements the app issues, sent by as many clients through psycopg2 alone."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import psycopg2
from sqlalchemy import event

from app.db import connect_args
from app.extensions import db
from bench.load import Run

Statement = tuple[str, dict[str, Any]]

# Columns that may hold each value only once; every repetition gets a new one.
UNIQUE = ("reference", "stripe_event_id")


@contextmanager
def recording() -> Iterator[list[Statement]]:
    """The statements that the app issues meanwhile, with their parameters as the driver gets them."""
    statements: list[Statement] = []

    def note(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        statements.append((sql, dict(parameters)))

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(db.engine, "before_cursor_execute", note)


def repeat(url: str, transactions: Sequence[Sequence[Statement]], *, seconds: float) -> Run:
    """Have one process for each of the recorded transactions repeat it for so long, each on a connection of its own."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(len(transactions) + 1)
    results: Any = context.SimpleQueue()
    processes = [
        context.Process(target=_client, args=(url, statements, seconds, start.wait, results.put))
        for statements in transactions
    ]
    for process in processes:
        process.start()
    start.wait(30)
    begin = time.perf_counter()
    run = Run()
    for _ in processes:
        run.latencies += results.get()
    run.seconds = time.perf_counter() - begin
    for process in processes:
        process.join()
    return run


def _client(
    url: str,
    statements: Sequence[Statement],
    seconds: float,
    wait: Callable[[], object],
    report: Callable[[list[float]], None],
) -> None:
    latencies = []
    with closing(psycopg2.connect(url, **connect_args())) as connection, connection.cursor() as cursor:
        wait()
        end = time.perf_counter() + seconds
        while (sent_at := time.perf_counter()) < end:
            for sql, parameters in statements:
                fresh = {name: uuid4().hex for name in UNIQUE if name in parameters}
                cursor.execute(sql, {**parameters, **fresh})
                if cursor.description is not None:
                    cursor.fetchall()
            connection.commit()
            latencies.append(time.perf_counter() - sent_at)
    report(latencies)
