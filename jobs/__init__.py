"""The workers' door: functions that take ids, call one verb, and may run twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from time import monotonic
from typing import TypeVar

from rq import get_current_job

from app.extensions import db
from app.logs import new_request_id, request_id
from app.queue import Outbox
from app.workers import note_run

T = TypeVar("T", bound=Outbox)


def job(function: Callable[..., None]) -> Callable[..., None]:
    """Run as part of the request that asked for it: under its request id, and leaving no database session behind.

    The worker has pushed an application context before (`jobs.worker`).
    """

    @wraps(function)
    def run(*ids: int) -> None:
        current = get_current_job()
        token = request_id.set(new_request_id(current.meta.get("request_id") if current else None))
        began, failure = monotonic(), None
        try:
            function(*ids)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
            raise
        finally:
            db.session.remove()
            if not ids:  # what the schedule pokes takes none
                note_run(f"{function.__module__}.{function.__name__}", seconds=monotonic() - began, error=failure)
            request_id.reset(token)

    run.is_job = True  # type: ignore[attr-defined]  # read by the test that every enqueued name is a job
    return run


def due(model: type[T], row_id: int) -> T | None:
    """The row that a job is for; None when nothing is to do for it any more.

    From here on the job runs under the id of the request that asked for the work, whatever sweep handed it out.
    """
    row = db.session.get(model, row_id)
    if row is None or row.due_at is None:
        return None
    request_id.set(row.request_id)
    return row
