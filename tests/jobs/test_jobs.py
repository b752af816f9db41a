"""The workers' door: each job calls its verb, under the request id of whoever asked, and may run twice."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask, current_app
from sqlalchemy import func, inspect, select, text, update

from app.accounts import credentials
from app.accounts.models import PasswordResetRequest
from app.audit import service as audit
from app.audit.actor import Actor
from app.audit.models import AuditEntry, AuditSeal
from app.bookings import service as bookings
from app.db import transaction, utcnow
from app.extensions import Model, db
from app.logs import request_id
from app.notifications import service as notifications
from app.notifications.models import Notification
from app.payments import inbox, stripe_gateway
from app.payments import service as payments
from app.payments.models import Payment, Refund, WebhookEvent
from app.queue import QUEUES, Outbox, sweep
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


@contextmanager
def asked_by(asker: str) -> Iterator[None]:
    token = request_id.set(asker)
    yield
    request_id.reset(token)


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
    body = factories.event("customer.created", {"id": "cus_1"})
    with asked_by("req_of_the_asker"):
        inbox.receive(body)
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
    with asked_by("req_of_the_webhook"):
        inbox.receive(factories.event("payment_intent.succeeded", {"id": intent.id, "object": "payment_intent"}))
    assert queued.work_off() == []
    entry = db.session.scalars(
        select(AuditEntry).where(
            AuditEntry.action == "booking.confirm", AuditEntry.object_id == factories.reread(booking).id
        )
    ).one()
    assert entry.request_id == "req_of_the_webhook"


def askers(action: str, row: Model) -> list[str]:
    """The requests that the row's audit entries of an action belong to."""
    table, row_id = row.__tablename__, inspect(row).identity[0]
    db.session.rollback()
    return list(
        db.session.scalars(
            select(AuditEntry.request_id).where(
                AuditEntry.action == action, AuditEntry.object_type == table, AuditEntry.object_id == row_id
            )
        )
    )


def swept(model: type[Outbox], row: Outbox) -> None:
    """Have the row's job lost, and the row found by a sweep that runs under an id of its own."""
    current_app.extensions["redis"].flushdb()
    with transaction():
        db.session.execute(update(model).where(model.id != row.id).values(due_at=None))
        db.session.execute(update(model).where(model.id == row.id).values(due_at=utcnow(), leased_until=None))
    with asked_by("req_of_another"):
        assert sweep(model) == 1
    assert queued.work_off() == []


def test_a_refund_that_a_sweep_found_is_paid_under_the_request_that_asked_for_it(app: Flask) -> None:
    booking = factories.booking()
    intent = factories.intent_of(booking)
    factories.confirm(intent.id)
    by = factories.actor(factories.staff("support"))
    bookings.cancel(booking.id, by=by, on_behalf_of="support", reason="Fraud")
    with asked_by("req_of_the_payment"):
        bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    refund = db.session.scalars(select(Refund).order_by(Refund.id.desc()).limit(1)).one()
    swept(Refund, refund)
    assert factories.reread(refund).status == "SUCCEEDED"
    for action in ("refund.approve", "refund.submit", "refund.succeeded"):
        assert askers(action, refund) == ["req_of_the_payment"]


def test_an_intent_is_closed_under_the_request_that_let_the_booking_go(app: Flask) -> None:
    booking = factories.booking()
    with asked_by("req_of_the_intent"):
        factories.intent_of(booking)
    payment = payments.live_payment(booking.id)
    assert payment is not None
    assert factories.reread(payment).request_id == "req_of_the_intent"
    with asked_by("req_of_the_cancel"):
        bookings.cancel(booking.id, by=Actor("traveller", booking.traveller_id, "The traveller"))
    swept(Payment, payment)
    assert askers("payment.cancelled", payment) == ["req_of_the_cancel"]


def test_a_link_for_a_new_password_is_mailed_under_the_request_that_asked_for_it(app: Flask) -> None:
    person = factories.traveller()
    with asked_by("req_of_the_forgetful"):
        credentials.request_password_reset(person.email, address=None)
    request = db.session.scalars(select(PasswordResetRequest).where(PasswordResetRequest.email == person.email)).one()
    swept(PasswordResetRequest, request)
    assert askers("user.request_password_reset", person) == ["req_of_the_forgetful"]
    mail = db.session.scalars(
        select(Notification).where(Notification.recipient == person.email, Notification.kind == "password_reset")
    ).one()
    assert mail.request_id == "req_of_the_forgetful"


def test_a_mail_is_sent_under_the_request_that_told_of_it(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    with asked_by("req_of_the_newcomer"):
        person = factories.traveller()
    mail = db.session.scalars(select(Notification).where(Notification.recipient == person.email)).one()
    seen: list[str] = []
    monkeypatch.setattr(notifications, "send", lambda _: seen.append(request_id.get()))
    swept(Notification, mail)
    assert seen == ["req_of_the_newcomer"]


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


@pytest.mark.parametrize("model", sweeps.SWEPT)
def test_a_job_for_a_row_that_is_not_there_does_nothing(app: Flask, model: type[Outbox]) -> None:
    resolve(model.JOB)(0)
    assert queued.calls() == []


def test_a_doubled_job_asks_stripe_nothing_more(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setitem(webhooks.HANDLERS, "customer.updated", lambda event: asked.append(event.id))
    body = factories.event("customer.updated", {"id": "cus_1"})
    inbox.receive(body)
    assert queued.work_off() == []
    event = db.session.scalars(select(WebhookEvent).where(WebhookEvent.stripe_event_id == body["id"])).one()
    assert event.status == "IGNORED"
    webhooks.process(event.id)
    assert asked == [event.id]


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
