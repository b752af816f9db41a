"""What Redis knows of queues, workers, failed jobs and the schedule, for people to look at: nothing relies on it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import redis
from rq import Queue
from rq.job import Job
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from sqlalchemy import func, or_, select

from app.db import utcnow
from app.extensions import db
from app.queue import QUEUES, Outbox, connection

log = logging.getLogger(__name__)

_POKED, _RAN, _CHECKED = "tripdesk:schedule:poked", "tripdesk:schedule:ran", "tripdesk:checked"
# More failed jobs than this are counted, not listed.
MOST_FAILED = 50


@dataclass(frozen=True)
class QueueState:
    """One queue: how many jobs wait, since when the first does, how many run, how many failed within a day."""

    name: str
    waiting: int
    oldest_at: datetime | None
    running: int
    failed: int


@dataclass(frozen=True)
class WorkerState:
    """One worker process, as it last reported itself. RQ forgets one that has been silent for some minutes."""

    name: str
    queue: str
    state: str
    host: str
    started_at: datetime | None
    beat_at: datetime | None
    done: int
    failed: int


@dataclass(frozen=True)
class FailedJob:
    """A job that raised; its row, when it has one, is handed out again all the same."""

    name: str
    queue: str
    ids: tuple[int, ...]
    error: str
    failed_at: datetime | None
    request_id: str


@dataclass(frozen=True)
class Scheduled:
    """One entry of the schedule: when it was asked for last, and when and how it ran last."""

    job: str
    queue: str
    every_seconds: int
    poked_at: datetime | None
    ran_at: datetime | None
    seconds: float | None
    error: str | None


@dataclass(frozen=True)
class OutboxState:
    """One table of work orders: rows that wait, rows that a job is on its way for, rows whose tries are used up."""

    table: str
    queue: str
    waiting: int
    oldest_at: datetime | None
    leased: int
    given_up: int


@dataclass(frozen=True)
class Check:
    """What a check of the whole data found when it ran last."""

    at: datetime
    problems: list[str]


def queues() -> list[QueueState]:
    """Every queue, the most urgent first. Raises redis.RedisError."""
    return [_queue_state(_queue(name)) for name in QUEUES]


def workers() -> list[WorkerState]:
    """Every worker that reports itself, by queue and name. Raises redis.RedisError."""
    # Read without RQ's Worker, whose constructor would set our connections' timeout to minutes.
    names = sorted(_text(name).removeprefix("rq:worker:") for name in connection().smembers("rq:workers"))
    pipeline = connection().pipeline(transaction=False)
    for name in names:
        pipeline.hgetall(f"rq:worker:{name}")
    found = [
        _worker_state(name, {_text(key): _text(value) for key, value in values.items()})
        for name, values in zip(names, pipeline.execute(), strict=True)
        if values
    ]
    order = {name: place for place, name in enumerate(QUEUES)}
    return sorted(found, key=lambda worker: (order.get(worker.queue, len(order)), worker.name))


def failed_jobs() -> list[FailedJob]:
    """The jobs that failed last, newest first, at most MOST_FAILED. Raises redis.RedisError."""
    found = []
    for name in QUEUES:
        registry = FailedJobRegistry(queue=_queue(name))
        ids = registry.get_job_ids(0, MOST_FAILED - 1, desc=True, cleanup=False)
        jobs = Job.fetch_many(ids, connection=connection(), serializer=JSONSerializer)
        found += [_failed_job(job, name) for job in jobs if job is not None]
    found.sort(key=lambda job: job.failed_at or datetime.min.replace(tzinfo=UTC), reverse=True)
    return found[:MOST_FAILED]


def schedule() -> list[Scheduled]:
    """What the scheduler pokes, the most frequent first; empty until it has run. Raises redis.RedisError."""
    ran = _entries(_RAN)
    found = [
        Scheduled(
            job=job,
            queue=poked["queue"],
            every_seconds=poked["every_seconds"],
            poked_at=_time(poked["at"]),
            ran_at=_time(ran.get(job, {}).get("at")),
            seconds=ran.get(job, {}).get("seconds"),
            error=ran.get(job, {}).get("error"),
        )
        for job, poked in _entries(_POKED).items()
    ]
    return sorted(found, key=lambda entry: (entry.every_seconds, entry.job))


def outboxes() -> list[OutboxState]:
    """Every table of work orders, as the database has it."""
    return [_outbox_state(model) for model in sorted(_below(Outbox), key=lambda model: model.__tablename__)]


def note_poke(job: str, *, queue: str, every_seconds: int) -> None:
    """The scheduler has asked for this job."""
    _note(_POKED, job, {"queue": queue, "every_seconds": every_seconds, "at": utcnow()})


def note_run(job: str, *, seconds: float, error: str | None) -> None:
    """A worker has run this job, which took so long; `error` when it raised."""
    _note(_RAN, job, {"at": utcnow(), "seconds": round(seconds, 3), "error": error})


def forget_schedule() -> None:
    """Start the schedule afresh, so that an entry which is no more isn't shown for ever."""
    try:
        connection().delete(_POKED)
    except redis.RedisError as error:
        log.warning("redis can't be reached", extra={"error": str(error)})


def note_check(name: str, problems: list[str]) -> None:
    """A check of the whole data has run and found these."""
    _note(_CHECKED, name, {"at": utcnow(), "problems": problems})


def last_check(name: str) -> Check | None:
    """What this check found last; None when it hasn't run since Redis was emptied. Raises redis.RedisError."""
    kept = _entries(_CHECKED).get(name)
    return Check(datetime.fromisoformat(kept["at"]), kept["problems"]) if kept else None


def _note(key: str, name: str, values: dict[str, Any]) -> None:
    try:
        connection().hset(key, name, orjson.dumps(values).decode())
    except redis.RedisError as error:
        log.warning("redis can't be reached", extra={"error": str(error)})


def _entries(key: str) -> dict[str, dict[str, Any]]:
    return {_text(name): orjson.loads(value) for name, value in connection().hgetall(key).items()}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if value else None


def _queue(name: str) -> Queue:
    return Queue(name, connection=connection(), serializer=JSONSerializer)


def _queue_state(queue: Queue) -> QueueState:
    first = queue.get_jobs(0, 1)
    enqueued_at = first[0].enqueued_at if first else None
    return QueueState(
        name=queue.name,
        waiting=queue.count,
        oldest_at=enqueued_at.replace(tzinfo=UTC) if enqueued_at else None,
        running=len(StartedJobRegistry(queue=queue).get_job_ids(cleanup=False)),
        failed=len(FailedJobRegistry(queue=queue).get_job_ids(cleanup=False)),
    )


def _worker_state(name: str, values: dict[str, str]) -> WorkerState:
    return WorkerState(
        name=name,
        queue=values.get("queues", ""),
        state=values.get("state", "?"),
        host=values.get("hostname", ""),
        started_at=_time(values.get("birth")),
        beat_at=_time(values.get("last_heartbeat")),
        done=int(values.get("successful_job_count", 0)),
        failed=int(values.get("failed_job_count", 0)),
    )


def _failed_job(job: Job, queue: str) -> FailedJob:
    result = job.latest_result()
    lines = str(result.exc_string or "").strip().splitlines() if result else []
    return FailedJob(
        name=job.func_name or "",
        queue=queue,
        ids=tuple(job.args),
        error=lines[-1] if lines else "It ended without saying why: its worker was killed, or it took too long.",
        failed_at=job.ended_at.replace(tzinfo=UTC) if job.ended_at else None,
        request_id=job.meta.get("request_id", ""),
    )


def _outbox_state(model: type[Outbox]) -> OutboxState:
    now = func.clock_timestamp()
    is_leased = model.leased_until > now
    due = db.session.execute(
        select(
            func.count().filter(or_(model.leased_until.is_(None), ~is_leased)),
            func.min(model.due_at),
            func.count().filter(is_leased),
        ).where(model.due_at.is_not(None))
    ).one()
    given_up = db.session.scalar(select(func.count()).select_from(model).where(model.given_up())) or 0
    return OutboxState(model.__tablename__, model.QUEUE, due[0], due[1], due[2], given_up)


def _below(model: type[Outbox]) -> set[type[Outbox]]:
    direct = set(model.__subclasses__())
    return {found for child in direct for found in (_below(child) or {child})}
