"""Calls at the same moment or in the middle of another, each in a thread and on a database connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from flask import Flask
from sqlalchemy import text

from app.db import transaction
from app.extensions import db
from tests.conftest import wait_for

# Those that wait for who waits for us too.
_WAIT_FOR_US = """
WITH RECURSIVE waiting (pid) AS (
    SELECT pg_backend_pid() UNION
    SELECT held.pid FROM waiting, pg_locks AS held WHERE NOT granted AND waiting.pid = ANY(pg_blocking_pids(held.pid))
)
SELECT count(*) - 1 >= :many FROM waiting
"""


def at_once(app: Flask, *calls: Callable[[], Any]) -> list[Any]:
    """What each call returned or raised, in the order of the calls."""
    outcomes: list[Any] = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(place: int, call: Callable[[], Any]) -> None:
        with app.app_context():
            start.wait(10)
            try:
                outcomes[place] = call()
            except Exception as error:  # noqa: BLE001  (it is the outcome)
                outcomes[place] = error
            finally:
                db.session.remove()

    threads = [threading.Thread(target=run, args=(place, call)) for place, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes


def held_up(app: Flask, call: Callable[[], Any], *, by: int = 1) -> Callable[[], Any]:
    """Make the call, and return as soon as it waits for a lock of the transaction around this (or is over). The second
    one of two that wait for it, or for each other, is held up `by` 2.

    What is returned waits for the call's end and gives what it returned or raised: ask it behind that transaction.
    """
    outcome: list[Any] = []

    def run() -> None:
        with app.app_context():
            try:
                with transaction():
                    # It is kept waiting for as long as this machine takes, which nobody is to give up for.
                    db.session.execute(text("SET LOCAL lock_timeout = '1min'"))
                    made = call()
                outcome.append(made)
            except Exception as error:  # noqa: BLE001  (it is the outcome)
                outcome.append(error)
            finally:
                db.session.remove()

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(
        lambda: outcome or db.session.scalar(text(_WAIT_FOR_US), {"many": by}), "the call to wait for our lock", 60
    )

    def end() -> Any:
        thread.join(60)
        return outcome[0]

    return end
