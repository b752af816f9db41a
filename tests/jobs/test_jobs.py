"""The workers' door: each job calls its verb, under the request id of whoever asked, and may run twice."""

from __future__ import annotations

import importlib
import threading
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from app.audit import service as audit
from app.audit.models import AuditEntry, AuditSeal
from app.db import transaction
from app.extensions import db
from app.logs import request_id
from app.payments import inbox
from app.payments.models import Payment, Refund, WebhookEvent
from app.queue import QUEUES, Outbox
from app.reviews import service as reviews
from jobs import bookings as booking_jobs
from jobs import job, schedule, sweeps, webhooks
from jobs import reviews as review_jobs
from jobs.audit import seal
from tests import factories, queued
from tests.conftest import wait_for
from tests.reviews.deciding import window_over


def resolve(name: str) -> Any:
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(module), function)


def test_every_outbox_is_swept_and_names_a_job_and_a_queue() -> None:
    assert set(sweeps.SWEPT) == set(Outbox.__subclasses__()) | {Payment, Refund, WebhookEvent}
    for model in sweeps.SWEPT:
        assert resolve(model.JOB).is_job
        assert model.QUEUE in QUEUES


def test_everything_on_the_schedule_is_a_job_on_a_queue() -> None:
    for entry in schedule.SCHEDULE:
        assert resolve(entry.job).is_job
        assert entry.queue in QUEUES
        assert entry.every_seconds <= 3600


def test_holds_are_looked_at_often_enough_to_be_freed_within_a_minute() -> None:
    (expiry,) = [entry for entry in schedule.SCHEDULE if entry.job == "jobs.bookings.expire_holds"]
    assert expiry.every_seconds <= 30


def test_the_schedule_pokes_everything_at_once_and_then_by_the_clock(app: Flask) -> None:
    stop = threading.Event()

    def run() -> None:
        with app.app_context():
            schedule.run(stop)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in range(100):
            if len(queued.calls()) >= len(schedule.SCHEDULE):
                break
            stop.wait(0.05)
    finally:
        stop.set()
        thread.join(10)
    # A slow machine may be told twice of what comes every few seconds.
    assert {name for name, _ in queued.calls()} == {entry.job for entry in schedule.SCHEDULE}
    assert {job.ttl for job in queued.jobs()} == {entry.every_seconds for entry in schedule.SCHEDULE}


def test_a_job_runs_under_the_request_id_of_whoever_asked(app: Flask) -> None:
    token = request_id.set("req_of_the_asker")
    body = factories.event("customer.created", {"id": "cus_1"})
    inbox.receive(body)
    request_id.reset(token)
    event = db.session.scalars(select(WebhookEvent).where(WebhookEvent.stripe_event_id == body["id"])).one()
    assert event.request_id == "req_of_the_asker"
    (waiting,) = queued.jobs()
    assert waiting.meta["request_id"] == "req_of_the_asker"


def test_the_request_id_follows_into_the_audit_trail(app: Flask) -> None:
    booking = factories.booking()
    intent = factories.intent_of(booking)
    factories.confirm(intent.id)
    # The sweep that hands the event out is asked for by another request.
    inbox.receive(factories.event("customer.created", {"id": "cus_1"}))
    token = request_id.set("req_of_the_webhook")
    inbox.receive(factories.event("payment_intent.succeeded", {"id": intent.id, "object": "payment_intent"}))
    request_id.reset(token)
    assert queued.work_off() == []
    entry = db.session.scalars(
        select(AuditEntry).where(
            AuditEntry.action == "booking.confirm", AuditEntry.object_id == factories.reread(booking).id
        )
    ).one()
    assert entry.request_id == "req_of_the_webhook"


def test_a_job_leaves_no_session_and_no_request_id_behind(app: Flask) -> None:
    seen: list[str] = []

    @job
    def look() -> None:
        db.session.execute(text("SELECT 1"))
        seen.append(request_id.get())
        raise LookupError

    before = request_id.get()
    with pytest.raises(LookupError):
        look()
    assert request_id.get() == before
    assert seen[0] != before
    assert db.session.registry.has() is False


def test_a_job_for_a_row_that_is_not_there_does_nothing(app: Flask) -> None:
    webhooks.process(0)
    assert queued.work_off() == []


def test_a_bug_in_an_effect_is_kept_with_the_event_and_the_job_fails(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(event: WebhookEvent) -> None:
        raise KeyError("charge")

    monkeypatch.setitem(webhooks.HANDLERS, "customer.created", broken)
    body = factories.event("customer.created", {"id": "cus_1"})
    inbox.receive(body)
    (failure,) = queued.work_off()
    assert "KeyError" in failure
    event = db.session.scalars(select(WebhookEvent).where(WebhookEvent.stripe_event_id == body["id"])).one()
    assert (event.status, event.attempts, event.last_error) == ("RECEIVED", 1, "KeyError: 'charge'")


def test_an_event_about_an_intent_stripe_does_not_know_is_tried_again(app: Flask) -> None:
    body = factories.event("payment_intent.succeeded", {"id": "pi_unknown", "object": "payment_intent"})
    inbox.receive(body)
    assert queued.work_off() == []
    event = db.session.scalars(select(WebhookEvent).where(WebhookEvent.stripe_event_id == body["id"])).one()
    assert (event.status, event.attempts) == ("RECEIVED", 1)
    assert "Stripe doesn't know this" in (event.last_error or "")


def test_a_lost_job_is_found_by_the_sweep(app: Flask) -> None:
    booking = factories.booking()
    intent = factories.intent_of(booking)
    factories.confirm(intent.id)
    body = factories.event("payment_intent.succeeded", {"id": intent.id, "object": "payment_intent"})
    inbox.receive(body)
    app.extensions["redis"].flushdb()
    with transaction():
        db.session.execute(
            text("UPDATE webhook_events SET leased_until = now() - interval '1 second' WHERE stripe_event_id = :id"),
            {"id": body["id"]},
        )
        # What other tests left waiting would be swept before it.
        db.session.execute(
            text("UPDATE webhook_events SET due_at = NULL WHERE stripe_event_id <> :id"), {"id": body["id"]}
        )
    sweeps.sweep_all()
    assert queued.work_off() == []
    assert factories.reread(booking).status == "CONFIRMED"


def test_holds_are_freed_by_their_job(app: Flask) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    with transaction():
        db.session.execute(
            text("UPDATE bookings SET expires_at = now() - interval '1 second' WHERE id = :id"), {"id": booking.id}
        )
    booking_jobs.expire_holds()
    assert factories.reread(booking).status == "EXPIRED"
    booking_jobs.expire_holds()
    assert factories.stock(package) == (0, 0)


def test_stays_are_completed_by_their_job(app: Flask) -> None:
    booking = factories.paid_booking()
    with transaction():
        db.session.execute(
            text("UPDATE bookings SET starts_on = '2026-01-01', ends_on = '2026-01-02' WHERE id = :id"),
            {"id": booking.id},
        )
    booking_jobs.complete_stays()
    assert factories.reread(booking).status == "COMPLETED"


def test_decisions_that_cannot_be_undone_any_more_take_effect_by_their_job(app: Flask) -> None:
    late, open_still = factories.review(), factories.review()
    reviews.approve_many([late.id, open_still.id], by=factories.moderator())
    window_over(late)
    for _ in range(2):
        review_jobs.settle()
        assert factories.reread(late).undo_until is None
        assert factories.reread(open_still).undo_until is not None


def test_the_trail_is_sealed_by_its_job(empty_app: Flask) -> None:
    factories.provider()
    factories.traveller()

    def sealed() -> bool:
        seal()
        return audit.verify().unsealed == 0

    wait_for(sealed, "the trail to be sealed")
    assert db.session.scalar(select(func.count()).select_from(AuditSeal)) == 1


def test_every_kind_of_event_that_changes_money_is_listened_to() -> None:
    assert set(webhooks.HANDLERS) >= {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.processing",
        "payment_intent.requires_action",
        "payment_intent.canceled",
        "refund.created",
        "refund.updated",
        "refund.failed",
    }
