"""The desk of Stripe's events: found by what they are about, with what each changed; failed ones replayed together."""

from __future__ import annotations

from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import select

from app.audit.models import AuditEntry
from app.bulk import work as working
from app.db import lock, transaction
from app.errors import NotAllowed, Unavailable
from app.extensions import db
from app.payments import inbox
from app.payments.models import WebhookEvent
from app.queue import MAX_ATTEMPTS
from tests import factories, queued
from tests.console.browser import Browser, signed_in


def event(kind: str = "customer.created", **subject: Any) -> WebhookEvent:
    told = factories.event(kind, {"id": f"cus_{uuid4().hex}", "object": "customer", **subject})
    assert inbox.receive(told)
    return db.session.scalars(select(WebhookEvent).where(WebhookEvent.stripe_event_id == told["id"])).one()


def failed(words: str = "Stripe can't be reached.") -> WebhookEvent:
    made = event()
    with transaction():
        lock(WebhookEvent, made.id).attempts = MAX_ATTEMPTS - 1
    inbox.note_failure(made.id, Unavailable(words))
    again: WebhookEvent = factories.reread(made)
    assert again.status == "FAILED"
    return again


def shown(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return unescape(answer.text)


@pytest.fixture
def finance(app: Flask) -> Browser:
    return signed_in(app, "finance")


def test_an_event_is_found_by_what_it_is_about_and_by_its_error(finance: Browser) -> None:
    word = uuid4().hex
    one, other = failed(f"The books have only $1.00 left, {word}."), failed()
    for asked in (f"q={one.object_id}", f"error={word[:12].upper()}"):
        page = shown(finance, f"/console/webhooks/?{asked}")
        assert one.stripe_event_id in page
        assert other.stripe_event_id not in page
    assert "No events match" in shown(finance, "/console/webhooks/?error=100%25_sure")


def test_failed_events_are_found_by_words_of_their_error_as_they_stand(finance: Browser) -> None:
    word = uuid4().hex
    one, other = failed(f"100%_{word}"), failed(f"100 {word}")
    page = shown(finance, f"/console/failed-webhooks/?q=100%25_{word}")
    assert f"/console/failed-webhooks/{one.id}/" in page
    assert f"/console/failed-webhooks/{other.id}/" not in page
    assert "No events match" in shown(finance, f"/console/failed-webhooks/?q={word}x")


def test_an_event_says_what_it_changed(app: Flask, finance: Browser) -> None:
    held = factories.booking()
    intent = factories.intent_of(held)
    assert factories.confirm(intent.id).ok
    told = factories.event("payment_intent.succeeded", {"id": intent.id, "object": "payment_intent"})
    assert app.test_client().post("/v1/webhooks/stripe", **factories.signed(told)).status_code == 200
    assert queued.work_off() == []
    row = db.session.scalars(select(WebhookEvent).where(WebhookEvent.stripe_event_id == told["id"])).one()
    page = shown(finance, f"/console/webhooks/{row.id}/")
    changed = page[page.index("What it changed") : page.index("Payload")]
    assert f"/console/bookings/{held.id}/" in changed
    assert "/console/payments/" in changed
    quiet = event()
    assert "nothing was done on account of it" in shown(finance, f"/console/webhooks/{quiet.id}/")


def test_a_selection_is_worked_through_again(finance: Browser) -> None:
    chosen, left = [failed(), failed()], failed()
    page = shown(finance, "/console/failed-webhooks/")
    assert "can't be reached" in page
    answer = finance.post(
        "/console/failed-webhooks/bulk", {"decision": "replay", "id": [str(row.id) for row in chosen]}
    )
    assert answer.status_code == 302
    assert "Being worked through again: 2 events" in finance.get(answer.location).text
    rows = [factories.reread(row) for row in chosen]
    assert [(row.status, row.attempts, row.due_at is not None) for row in rows] == [("RECEIVED", 0, True)] * 2
    assert factories.reread(left).status == "FAILED"
    for row in rows:
        about = (AuditEntry.object_type == "webhook_events", AuditEntry.object_id == row.id)
        entry = db.session.scalars(select(AuditEntry).where(*about)).one()
        assert (entry.action, "payload" in (entry.after or {})) == ("webhook.replay", False)
    assert queued.work_off() == []
    assert [factories.reread(row).status for row in rows] == ["IGNORED"] * 2


def test_one_is_worked_through_again_and_that_is_said(finance: Browser) -> None:
    row = failed()
    answer = finance.post(f"/console/failed-webhooks/{row.id}/replay", {"seen": "0"})
    assert factories.reread(row).status == "RECEIVED"
    assert f"Being worked through again: {row.type}" in finance.get(answer.location).text


def test_all_failed_are_worked_through_as_a_bulk_run(finance: Browser) -> None:
    word = uuid4().hex
    rows = [failed(f"Boom {word}") for _ in range(3)]
    answer = finance.post(f"/console/failed-webhooks/bulk?q={word}", {"decision": "replay", "all": "1"})
    page = shown(finance, answer.location)
    assert "3 events will be worked through again" in page
    # One is taken up by somebody else before its turn comes.
    inbox.replay(rows[0].id, by=factories.actor(factories.staff("finance")))
    finance.post(f"{answer.location}start", token_from=answer.location)
    run_id = int(answer.location.rstrip("/").rpartition("/")[2])
    working.go_on(run_id)
    page = shown(finance, answer.location)
    assert "It is being worked on already" in page
    assert {factories.reread(row).status for row in rows} == {"RECEIVED"}


@pytest.mark.parametrize("role", ["support", "moderator"])
def test_others_replay_nothing(app: Flask, role: str) -> None:
    row = failed()
    with pytest.raises(NotAllowed):
        inbox.replay_many([row.id], by=factories.actor(factories.staff(role)))
    assert factories.reread(row).status == "FAILED"
    assert signed_in(app, role).get("/console/failed-webhooks/").status_code == 403
