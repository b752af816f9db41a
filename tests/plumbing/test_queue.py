"""Work enqueued after the commit, and found again when Redis or a worker lost it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from app.db import lock, transaction, utcnow
from app.errors import Conflict
from app.extensions import db
from app.logs import request_id
from app.payments.models import WebhookEvent
from app.queue import (
    BACKOFF_SECONDS,
    IN_FLIGHT_CAP,
    LEASE,
    MAX_ATTEMPTS,
    ask_for_sweep,
    connect,
    note_failure,
    poke,
    sweep,
    sweep_asked,
)
from tests import factories, queued

JOB = "jobs.webhooks.process"


def waiting_event(**values: Any) -> WebhookEvent:
    """An event that is due and whose job got lost."""
    body = factories.event("customer.created", {"id": "cus_1"})
    event = WebhookEvent(
        **{
            "stripe_event_id": body["id"],
            "type": body["type"],
            "payload": body,
            "request_id": "req_test",
            "happened_at": utcnow(),
            "due_at": utcnow() - timedelta(seconds=1),
            **values,
        }
    )
    with transaction():
        db.session.add(event)
    return event


@pytest.fixture
def no_others(app: Flask) -> None:
    """Nothing else waits: a sweep takes the oldest first, and what it may take is capped."""
    with transaction():
        db.session.execute(update(WebhookEvent).values(due_at=None, leased_until=None))


def test_a_job_is_enqueued_when_the_transaction_is_committed(app: Flask) -> None:
    event = waiting_event(due_at=None)
    with transaction():
        lock(WebhookEvent, event.id).hand_out()
        assert queued.calls() == []
    assert queued.calls() == [(JOB, (event.id,))]


def test_a_job_of_a_transaction_that_failed_is_never_enqueued(app: Flask) -> None:
    event = waiting_event(due_at=None)
    with pytest.raises(Conflict), transaction():
        lock(WebhookEvent, event.id).hand_out()
        raise Conflict("no")
    assert queued.calls() == []
    assert factories.reread(event).due_at is None


def test_handing_out_needs_a_transaction(app: Flask) -> None:
    event = waiting_event(due_at=None)
    with pytest.raises(RuntimeError, match="transaction"):
        db.session.get_one(WebhookEvent, event.id).hand_out()
    db.session.rollback()
    assert queued.calls() == []
    assert factories.reread(event).due_at is None


def test_a_job_carries_the_request_id_and_only_ids(app: Flask) -> None:
    event = waiting_event(due_at=None)
    token = request_id.set("req_of_this_test")
    with transaction():
        lock(WebhookEvent, event.id).hand_out()
    request_id.reset(token)
    (job,) = queued.jobs()
    assert job.meta == {"request_id": "req_of_this_test"}
    assert (list(job.args), dict(job.kwargs), job.timeout) == ([event.id], {}, 60)


def test_what_redis_stores_is_json_not_pickle(app: Flask) -> None:
    poke(JOB, queue="default", keep_seconds=5)
    (job,) = queued.jobs()
    stored = job.to_dict()["data"]
    assert zlib.decompress(stored).startswith(b'["jobs.webhooks.process"')


def test_with_a_dead_redis_the_transaction_is_committed_all_the_same(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.extensions, "redis", connect("redis://127.0.0.1:1/0"))
    event = waiting_event(due_at=None)
    with transaction():
        lock(WebhookEvent, event.id).hand_out()
    assert factories.reread(event).due_at is not None


def test_a_poke_is_dropped_when_nobody_takes_it_up_in_time(app: Flask) -> None:
    poke("jobs.sweeps.sweep_all", queue="default", keep_seconds=5)
    (job,) = queued.jobs()
    assert (job.func_name, job.ttl) == ("jobs.sweeps.sweep_all", 5)


def test_a_row_handed_out_is_due_leased_and_enqueued(app: Flask) -> None:
    event = waiting_event(due_at=None)
    with transaction():
        event = lock(WebhookEvent, event.id)
        event.hand_out()
    event = factories.reread(event)
    assert event.due_at is not None
    assert event.leased_until == event.due_at + LEASE
    assert queued.calls() == [(JOB, (event.id,))]


def test_a_sweep_enqueues_what_is_due_and_leases_it(app: Flask, no_others: None) -> None:
    event = waiting_event()
    assert sweep(WebhookEvent) == 1
    assert queued.calls() == [(JOB, (event.id,))]
    assert factories.reread(event).leased_until > utcnow() + LEASE / 2


def test_a_second_sweep_within_the_lease_enqueues_nothing(app: Flask, no_others: None) -> None:
    waiting_event()
    assert [sweep(WebhookEvent), sweep(WebhookEvent)] == [1, 0]
    assert len(queued.calls()) == 1


def test_a_sweep_after_the_lease_enqueues_again(app: Flask, no_others: None) -> None:
    waiting_event(leased_until=utcnow() - timedelta(seconds=1))
    assert sweep(WebhookEvent) == 1


@pytest.mark.parametrize(
    ("state", "values"),
    [
        # From when it runs: what is reckoned here is from when the tests were collected.
        ("done", lambda: {"due_at": None}),
        ("due later", lambda: {"due_at": utcnow() + timedelta(minutes=5)}),
        ("on its way", lambda: {"leased_until": utcnow() + timedelta(minutes=5)}),
    ],
)
def test_a_sweep_leaves_alone_what_is(
    app: Flask, no_others: None, state: str, values: Callable[[], dict[str, Any]]
) -> None:
    waiting_event(**values())
    assert sweep(WebhookEvent) == 0
    assert queued.calls() == []


def test_a_sweep_loses_nothing_when_redis_is_dead(app: Flask, no_others: None, monkeypatch: pytest.MonkeyPatch) -> None:
    event = waiting_event()
    with monkeypatch.context() as dead:
        dead.setitem(app.extensions, "redis", connect("redis://127.0.0.1:1/0"))
        assert sweep(WebhookEvent) == 1
    assert factories.reread(event).due_at is not None
    with transaction():
        lock(WebhookEvent, event.id).leased_until = utcnow() - timedelta(seconds=1)
    assert sweep(WebhookEvent) == 1
    assert queued.calls() == [(JOB, (event.id,))]


def test_what_is_in_flight_is_capped(app: Flask, no_others: None) -> None:
    with transaction():
        db.session.add_all(
            [
                WebhookEvent(
                    stripe_event_id=factories.event("x", {})["id"],
                    type="x",
                    payload={},
                    request_id="req_test",
                    happened_at=utcnow(),
                    due_at=utcnow() - timedelta(seconds=1),
                )
                for _ in range(IN_FLIGHT_CAP + 5)
            ]
        )
    assert sweep(WebhookEvent) == IN_FLIGHT_CAP
    assert sweep(WebhookEvent) == 0
    assert len(queued.calls()) == IN_FLIGHT_CAP


def test_a_sweep_passes_over_rows_somebody_works_on(app: Flask, no_others: None, owner: Any) -> None:
    busy, free = waiting_event(), waiting_event()
    owner.autocommit = False
    with owner.cursor() as worker:
        worker.execute("SELECT 1 FROM webhook_events WHERE id = %s FOR UPDATE", (busy.id,))
        assert sweep(WebhookEvent) == 1
    owner.rollback()
    assert queued.calls() == [(JOB, (free.id,))]


def test_each_failure_waits_longer_than_the_one_before(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    event, now = waiting_event(), utcnow()
    monkeypatch.setattr("app.queue.utcnow", lambda: now)
    waits = []
    for attempt in range(1, MAX_ATTEMPTS):
        with transaction():
            assert lock(WebhookEvent, event.id).failed("Stripe is down") is True
        event = factories.reread(event)
        assert (event.attempts, event.last_error, event.leased_until) == (attempt, "Stripe is down", None)
        waits.append((event.due_at - now).total_seconds())
    longest = [BACKOFF_SECONDS[-1]] * (MAX_ATTEMPTS - 1 - len(BACKOFF_SECONDS))
    assert waits == [*BACKOFF_SECONDS, *longest]


def test_after_the_last_try_a_row_waits_for_a_person(app: Flask, no_others: None) -> None:
    event = waiting_event(attempts=MAX_ATTEMPTS - 1)
    note_failure(WebhookEvent, event.id, "Stripe is down")
    event = factories.reread(event)
    assert (event.attempts, event.due_at, event.last_error) == (MAX_ATTEMPTS, None, "Stripe is down")
    assert sweep(WebhookEvent) == 0


def test_a_failure_of_what_was_done_meanwhile_is_not_noted(app: Flask) -> None:
    event = waiting_event(due_at=None)
    note_failure(WebhookEvent, event.id, "too late")
    assert (factories.reread(event).attempts, factories.reread(event).last_error) == (0, None)


def test_an_endless_error_is_cut_short(app: Flask) -> None:
    event = waiting_event()
    note_failure(WebhookEvent, event.id, "x" * 10_000)
    assert len(factories.reread(event).last_error) == 2000


SWEEP = [("jobs.sweeps.webhook_events", ())]


def test_however_many_ask_for_a_sweep_one_is_sent(app: Flask) -> None:
    for _ in range(5):
        ask_for_sweep(WebhookEvent)
    assert queued.calls() == SWEEP


def test_who_asks_while_a_sweep_looks_gets_another_one(app: Flask, no_others: None) -> None:
    ask_for_sweep(WebhookEvent)
    sweep_asked(WebhookEvent)
    ask_for_sweep(WebhookEvent)
    assert queued.calls() == SWEEP * 2


def test_a_burst_asks_redis_once_at_once_and_once_behind_it(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("app.queue._ask", lambda *call: asked.append(call))
    monkeypatch.setattr("app.queue._ASK_EVERY_SECONDS", 0.3)
    for _ in range(100):
        ask_for_sweep(WebhookEvent)
    assert len(asked) == 1
    queued.jobs()
    assert len(asked) == 2


def test_after_a_full_batch_another_sweep_follows(app: Flask, no_others: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.queue.IN_FLIGHT_CAP", 2)
    for _ in range(3):
        waiting_event()
    sweep_asked(WebhookEvent)
    names = [name for name, _ in queued.calls()]
    assert names == [JOB, JOB, "jobs.sweeps.webhook_events"]


def test_asking_for_a_sweep_of_a_dead_redis_is_no_error(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.extensions, "redis", connect("redis://127.0.0.1:1"))
    ask_for_sweep(WebhookEvent)
