"""A worker killed in the middle of its work, where it stands still as somebody else has a row in hand that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2

from app.queue import Outbox
from dev.postgres import APP
from tests.conftest import wait_for
from tests.stack import Stack


@contextmanager
def held(stack: Stack, rows: str, *parameters: object) -> Iterator[None]:
    """Somebody has the rows of this SELECT in hand."""
    with closing(psycopg2.connect(stack.settings["database_owner_url"])) as holder:
        holder.cursor().execute(f"{rows} FOR UPDATE", parameters)
        yield
        holder.rollback()


def is_held_up(stack: Stack) -> bool:
    """Whether a job stands in the middle of its transaction, waiting for a row that the test holds."""
    (row,) = stack.ask_database(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        role=APP,  # the sessions of other roles are not shown
    )
    return bool(row[0])


def kill_at(stack: Stack, queue: str, work: type[Outbox], rows: str, *parameters: object) -> None:
    """Have a worker of the queue go on with the work until it needs one of these rows, and kill it there."""
    with held(stack, rows, *parameters):
        stack.start_worker(queue)
        half_a_minute_later(stack, work)
        wait_for(lambda: is_held_up(stack), "the worker to get there", 90)
        stack.kill(queue)


def half_a_minute_later(stack: Stack, work: type[Outbox]) -> None:
    """The lease of whoever died is over, and so is the pause after a lock that was waited for in vain."""
    stack.ask_database(f"UPDATE {work.__tablename__} SET leased_until = now(), due_at = now() WHERE due_at IS NOT NULL")
