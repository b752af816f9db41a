"""The inbox: each event stored once, its effect once, its failures kept and tried again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from app.audit.models import AuditEntry
from app.db import lock, transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed, Unavailable
from app.extensions import db
from app.payments import inbox
from app.payments.models import WebhookEvent
from app.queue import MAX_ATTEMPTS
from tests import factories, queued
from tests.concurrency import at_once


def stored(body: dict[str, Any]) -> WebhookEvent:
    db.session.rollback()
    query = select(WebhookEvent).where(WebhookEvent.stripe_event_id == body["id"])
    return db.session.scalars(query.execution_options(populate_existing=True)).one()


def received(kind: str = "customer.created", **subject: Any) -> WebhookEvent:
    body = factories.event(kind, {"id": "cus_1", "object": "customer", **subject})
    inbox.receive(body)
    return stored(body)


def test_an_event_is_stored_whole_and_handed_to_a_worker(app: Flask) -> None:
    body = factories.event("payment_intent.succeeded", {"id": "pi_1", "object": "payment_intent"})
    assert inbox.receive(body) is True
    event = stored(body)
    assert (event.type, event.object_id, event.stripe_payment_intent_id) == ("payment_intent.succeeded", "pi_1", "pi_1")
    assert (event.payload, event.status, event.happened_at.timestamp()) == (body, "RECEIVED", body["created"])
    assert event.due_at is not None
    assert queued.calls() == [("jobs.sweeps.webhook_events", ())]


def test_an_event_about_a_refund_is_found_by_its_payment_intent(app: Flask) -> None:
    body = factories.event("refund.updated", {"id": "re_1", "object": "refund", "payment_intent": "pi_1"})
    inbox.receive(body)
    assert (stored(body).object_id, stored(body).stripe_payment_intent_id) == ("re_1", "pi_1")


def test_an_event_that_comes_again_is_neither_stored_nor_enqueued_again(app: Flask) -> None:
    body = factories.event("customer.created", {"id": "cus_1"})
    assert [inbox.receive(body), inbox.receive(body)] == [True, False]
    assert len(queued.calls()) == 1


def test_an_event_that_comes_several_times_at_once_is_stored_once(app: Flask) -> None:
    body = factories.event("customer.created", {"id": "cus_1"})
    assert sorted(at_once(app, *[lambda: inbox.receive(body)] * 4)) == [False, False, False, True]
    assert len(queued.calls()) == 1


@pytest.mark.parametrize(
    "damage",
    [
        {"id": None, "drop": "id"},
        {"drop": "type"},
        {"drop": "created"},
        {"created": "yesterday"},
        {"created": 10**20},
        {"data": {}},
        {"data": "text"},
        {"data": {"object": None}},
        {"data": {"object": ["a list"]}},
    ],
)
def test_what_is_not_shaped_like_an_event_is_refused(app: Flask, damage: dict[str, Any]) -> None:
    body = factories.event("customer.created", {"id": "cus_1"})
    name = body["id"]
    body = {**body, **damage}
    body.pop(damage.get("drop", ""), None)
    with pytest.raises(Invalid, match="not a Stripe event"):
        inbox.receive(body)
    count = select(func.count()).select_from(WebhookEvent).where(WebhookEvent.stripe_event_id == name)
    assert db.session.scalar(count) == 0
    assert queued.calls() == []


def test_an_event_of_a_kind_nobody_listens_to_is_kept_and_ignored(app: Flask) -> None:
    event = received("customer.created")
    assert queued.work_off() == []
    event = factories.reread(event)
    assert (event.status, event.due_at, event.processed_at is not None) == ("IGNORED", None, True)


def test_an_effect_and_the_events_end_are_committed_together(app: Flask) -> None:
    event, provider = received(), factories.provider(name="before")

    def effect() -> None:
        lock(type(provider), provider.id).name = "after"
        raise Unavailable("not now")

    with pytest.raises(Unavailable):
        inbox.apply(event.id, effect)
    assert factories.reread(provider).name == "before"
    assert factories.reread(event).status == "RECEIVED"


def test_an_event_worked_on_twice_at_once_has_its_effect_once(app: Flask) -> None:
    event = received()
    event_id = event.id
    done: list[int] = []
    assert at_once(app, *[lambda: inbox.apply(event_id, lambda: done.append(1))] * 4) == [None] * 4
    assert done == [1]
    assert factories.reread(event).status == "PROCESSED"


def test_a_failure_keeps_its_words_and_is_tried_again(app: Flask) -> None:
    event, began = received(), utcnow()
    inbox.note_failure(event.id, Unavailable("Stripe can't be reached."))
    row = factories.reread(event)
    assert (row.status, row.attempts, row.last_error) == ("RECEIVED", 1, "Stripe can't be reached.")
    assert row.due_at > began + timedelta(seconds=1)


def test_a_bug_keeps_its_name_too(app: Flask) -> None:
    event = received()
    inbox.note_failure(event.id, KeyError("charge"))
    assert factories.reread(event).last_error == "KeyError: 'charge'"


def test_after_the_last_try_an_event_has_failed(app: Flask) -> None:
    event = received()
    with transaction():
        lock(WebhookEvent, event.id).attempts = MAX_ATTEMPTS - 1
    inbox.note_failure(event.id, Unavailable("Stripe can't be reached."))
    row = factories.reread(event)
    assert (row.status, row.due_at, row.attempts) == ("FAILED", None, MAX_ATTEMPTS)
    assert row.id in inbox.failed_ids()


def test_a_failed_event_is_replayed_with_all_its_tries(app: Flask) -> None:
    event = received()
    with transaction():
        lock(WebhookEvent, event.id).attempts = MAX_ATTEMPTS - 1
    inbox.note_failure(event.id, Unavailable("no"))
    by = factories.actor(factories.staff("finance"))
    inbox.replay(event.id, by=by)
    row = factories.reread(event)
    assert (row.status, row.attempts, row.due_at is not None) == ("RECEIVED", 0, True)
    entry = db.session.scalars(
        select(AuditEntry).where(AuditEntry.action == "webhook.replay", AuditEntry.object_id == row.id)
    ).one()
    assert (entry.actor_id, "payload" in (entry.after or {})) == (by.id, False)
    assert queued.work_off() == []
    assert factories.reread(event).status == "IGNORED"


@pytest.mark.parametrize("role", ["support", "moderator"])
def test_other_roles_may_not_replay(app: Flask, role: str) -> None:
    event = received()
    assert queued.work_off() == []
    with pytest.raises(NotAllowed):
        inbox.replay(factories.reread(event).id, by=factories.actor(factories.staff(role)))
    assert factories.reread(event).status == "IGNORED"


def test_an_event_still_being_worked_on_is_not_replayed(app: Flask) -> None:
    event = received()
    with pytest.raises(Conflict, match="still being worked on"):
        inbox.replay(event.id, by=factories.actor(factories.staff("admin")))
    assert len(queued.calls()) == 1


def test_the_command_replays_the_events_it_is_given_or_all_that_failed(app: Flask) -> None:
    event = received()
    assert queued.work_off() == []
    failed = received()
    with transaction():
        lock(WebhookEvent, failed.id).attempts = MAX_ATTEMPTS - 1
    inbox.note_failure(failed.id, Unavailable("no"))
    runner = app.test_cli_runner()
    one = runner.invoke(args=["webhooks", "replay", factories.reread(event).stripe_event_id])
    assert (one.exit_code, "1 event will be worked through again." in one.output) == (0, True)
    assert factories.reread(event).status == "RECEIVED"
    every = runner.invoke(args=["webhooks", "replay", "--all-failed"])
    assert every.exit_code == 0
    assert factories.reread(failed).status == "RECEIVED"
    assert inbox.failed_ids() == []


def test_the_command_refuses_what_it_does_not_know(app: Flask) -> None:
    runner = app.test_cli_runner()
    unknown = runner.invoke(args=["webhooks", "replay", "evt_unknown"])
    assert (unknown.exit_code, "There is no event evt_unknown" in unknown.output) == (1, True)
    assert runner.invoke(args=["webhooks", "replay"]).exit_code == 2
