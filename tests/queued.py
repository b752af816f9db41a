"""What waits in Redis, and a worker that works it off here and now."""

from __future__ import annotations

import threading

from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from app.queue import QUEUES, connection


def asked_for() -> None:
    """Wait until this process has asked for the sweeps that it is about to ask for."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()


def queues() -> list[Queue]:
    """Every queue of the app."""
    asked_for()
    return [Queue(name, connection=connection(), serializer=JSONSerializer) for name in QUEUES]


def jobs() -> list[Job]:
    """The jobs that wait, the most urgent queue first."""
    return [job for queue in queues() for job in queue.jobs]


def calls() -> list[tuple[str, tuple[int, ...]]]:
    """The same as (name, ids)."""
    return [(job.func_name, tuple(job.args)) for job in jobs()]


def work_off() -> list[str]:
    """Run what waits, and what that enqueues; the exceptions of jobs that raised, as text."""
    worker = SimpleWorker(queues(), connection=connection(), serializer=JSONSerializer)
    worker.work(burst=True, logging_level="ERROR")
    failed = [queue.failed_job_registry for queue in queues()]
    results = [
        Job.fetch(job_id, connection=connection(), serializer=JSONSerializer).latest_result()
        for registry in failed
        for job_id in registry.get_job_ids()
    ]
    return [str(result.exc_string) for result in results if result]
