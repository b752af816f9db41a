"""Background work: enqueued by name after the commit, and found again by a sweep when Redis or a worker lost it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from threading import Lock, Timer
from time import monotonic
from typing import ClassVar

import redis
from flask import Flask, current_app
from rq import Queue
from rq.serializers import JSONSerializer
from rq.timeouts import BaseTimeoutException
from sqlalchemy import ColumnElement, and_, func, or_, update
from sqlalchemy.orm import Mapped, mapped_column

from app.db import after_commit, lock, transaction, utcnow
from app.errors import TripdeskError, Unavailable
from app.extensions import Model, db
from app.logs import request_id

log = logging.getLogger(__name__)

# By urgency; each has workers of its own, which listen to nothing else: one on several queues may lose a job (rq#1716).
# Mail has one too, so that a mail server that is slow or gone holds up nothing else, and bulk runs, which are watched.
QUEUES = ("urgent", "default", "mail", "bulk", "slow")

JOB_TIMEOUT_SECONDS = 60
LEASE = timedelta(seconds=30)
IN_FLIGHT_CAP = 200
BACKOFF_SECONDS = (2, 5, 15, 60, 300, 900, 3600)
MAX_ATTEMPTS = 12
# Should the job that was asked for be lost, others may ask again after so long.
_ASKED_SECONDS = 5
_ASK_EVERY_SECONDS = 0.2
_ASKING = Lock()


class Outbox(Model):
    """A row that is its own work order: `due_at` says something is still to do, whatever became of the job in Redis.

    Each subclass names the JOB that takes a row's id, and the SWEEP that hands out what is due. While `leased_until`
    lies ahead, a job for the row is believed to be on its way; after that the sweep sends another. Both a lost and a
    doubled job are harmless: the job locks the row and does nothing when `due_at` is empty. `request_id` is the request
    that asked for the work, whose trail goes on with it.
    """

    __abstract__ = True
    JOB: ClassVar[str]
    SWEEP: ClassVar[str]
    QUEUE: ClassVar[str] = "default"
    id: Mapped[int]
    due_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    last_error: Mapped[str | None]
    request_id: Mapped[str]

    def hand_out(self) -> None:
        """Mark the work as due now and enqueue its job after the commit."""
        now = utcnow()
        self.due_at = now
        self.leased_until = now + LEASE
        db.session.add(self)
        db.session.flush()
        _send_jobs(type(self), [self.id])

    def finished(self) -> None:
        """Nothing is left to do for this row."""
        self.due_at = None
        self.leased_until = None
        self.last_error = None

    @classmethod
    def given_up(cls) -> ColumnElement[bool]:
        """The rows whose tries are used up: `failed` leaves their error and takes the due time away."""
        return and_(cls.due_at.is_(None), cls.last_error.is_not(None))

    def failed(self, error: str) -> bool:
        """Note what went wrong and when to try again; False when the tries are used up and a person has to look."""
        self.attempts += 1
        self.last_error = error[:2000]
        self.leased_until = None
        if self.attempts >= MAX_ATTEMPTS:
            self.due_at = None
            return False
        self.due_at = utcnow() + timedelta(seconds=BACKOFF_SECONDS[min(self.attempts, len(BACKOFF_SECONDS)) - 1])
        return True


def _send_jobs(model: type[Outbox], row_ids: list[int]) -> None:
    """After the commit, and not without one: a job must never look for what it is about before it is there."""
    after_commit(partial(_send, model.JOB, [(row_id,) for row_id in row_ids], model.QUEUE))


def _send(job: str, calls: list[tuple[int, ...]], queue: str, ttl: int | None = None) -> None:
    meta = {"request_id": request_id.get()}
    prepared = [
        Queue.prepare_data(
            job, args=list(ids), timeout=JOB_TIMEOUT_SECONDS, result_ttl=0, failure_ttl=86_400, ttl=ttl, meta=meta
        )
        for ids in calls
    ]
    try:
        Queue(queue, connection=connection(), serializer=JSONSerializer).enqueue_many(prepared)
    except redis.RedisError as error:
        # The rows keep saying what is due; the sweep enqueues them when Redis is back.
        log.warning(
            "redis can't be reached, the sweep will pick this up",
            extra={"job": job, "calls": len(calls), "error": str(error)},
        )


def poke(job: str, *, queue: str, keep_seconds: int) -> None:
    """Have a job look for what is due, now. Not taken up within `keep_seconds`, it is dropped: the next poke does as
    well.
    """
    _send(job, [()], queue, ttl=keep_seconds)


def connection() -> redis.Redis:
    """This process' connection pool to Redis."""
    found: redis.Redis = current_app.extensions["redis"]
    return found


def connect(url: str, *, blocking: bool = False) -> redis.Redis:
    """A Redis client that gives up soon, as nobody's request may hang on it; a worker's waits for jobs instead
    (`blocking`).
    """
    return redis.Redis.from_url(
        url, socket_connect_timeout=1, socket_timeout=None if blocking else 2, health_check_interval=15
    )


def ask_for(job: str, *, queue: str) -> None:
    """Have a job look for what there is to do, soon. However many ask at once, one is sent, which costs little; the job
    takes the request back by `answer` before it looks.

    Call it after the commit. A process asks Redis five times a second at most: who comes sooner is spoken for by a
    later asking, made by a thread of its own.
    """
    asked: dict[str, float] = current_app.extensions["asked_for"]
    with _ASKING:
        now = monotonic()
        last = asked.get(job, -_ASK_EVERY_SECONDS)
        if last > now:
            return
        asked[job] = max(now, last + _ASK_EVERY_SECONDS)
        wait = asked[job] - now
    if wait > 0:
        Timer(wait, _ask_in_background, (current_app._get_current_object(), job, queue)).start()  # type: ignore[attr-defined]
    else:
        _ask(job, queue)


def answer(job: str) -> None:
    """Whoever asks for the job from now on gets another one."""
    connection().delete(_asked(job))


def ask_for_sweep(model: type[Outbox]) -> None:
    """Have the table's due rows handed out soon; as `ask_for`."""
    ask_for(model.SWEEP, queue=model.QUEUE)


def _ask_in_background(app: Flask, job: str, queue: str) -> None:
    with app.app_context():
        _ask(job, queue)


def _ask(job: str, queue: str) -> None:
    # The job takes the request back before it looks, so whoever asks too late for one asks for the next.
    try:
        if connection().set(_asked(job), 1, nx=True, ex=_ASKED_SECONDS):
            _send(job, [()], queue)
    except redis.RedisError as error:
        log.warning("redis can't be reached, the scheduler will ask", extra={"job": job, "error": str(error)})


def sweep_asked(model: type[Outbox]) -> None:
    """Answer `ask_for_sweep`; where there may be more rows, another sweep follows behind these jobs."""
    answer(model.SWEEP)
    if sweep(model) >= IN_FLIGHT_CAP // 2:
        ask_for_sweep(model)


def _asked(job: str) -> str:
    return f"tripdesk:asked:{job}"


def sweep(model: type[Outbox]) -> int:
    """Enqueue rows that are due and that no job is on its way for; returns how many.

    What is in flight is capped, or a slow worker would drown in repeats of the same work.
    """
    now = func.clock_timestamp()
    with transaction():
        in_flight = (
            db.session.scalar(
                db.select(func.count()).select_from(model).where(model.due_at.is_not(None), model.leased_until > now)
            )
            or 0
        )
        room = IN_FLIGHT_CAP - in_flight
        if room <= 0:
            return 0
        waiting = (
            db.select(model.id)
            .where(model.due_at <= now, or_(model.leased_until.is_(None), model.leased_until <= now))
            .order_by(model.due_at)
            .limit(room)
            .with_for_update(skip_locked=True)
        )
        found = list(
            db.session.scalars(
                update(model)
                .where(model.id.in_(waiting))
                .values(leased_until=now + LEASE)
                .returning(model.id)
                .execution_options(synchronize_session=False)
            )
        )
        if found:
            _send_jobs(model, found)
    return len(found)


class GaveWay(Exception):
    """Somebody stopped this work, or another job goes on with it: nothing of what was just done may be kept."""


@contextmanager
def one_turn(row_id: int, *, give_up: Callable[[int, str], None]) -> Iterator[None]:
    """Some of a row's long work. What may be tried again is the job's business; whatever else is in its way ends the
    work, which `give_up` is told of the row, with the reason.
    """
    try:
        yield
    except GaveWay:
        return
    except (Unavailable, BaseTimeoutException):
        raise
    except TripdeskError as refusal:
        give_up(row_id, refusal.detail)
    except Exception:
        log.exception("work failed", extra={"row": row_id})
        give_up(row_id, "Something unexpected went wrong; it is in the log.")


def note_failure(
    model: type[Outbox], row_id: int, words: str, *, give_up: Callable[[int, str], None] | None = None
) -> None:
    """Keep what went wrong with a row's work, and when it is tried again. With the last try it is over, which `give_up`
    is told of the row, with the reason.
    """
    with transaction():
        row = lock(model, row_id)
        if row.due_at is None or row.failed(words):
            return
        log.error(
            "gave up after many tries, somebody has to look",
            extra={"table": model.__tablename__, "row": row_id, "error": words},
        )
        if give_up is not None:
            give_up(row_id, f"It was tried too often. The last time: {words}")
