"""POST /v1/webhooks/stripe: only Stripe's events get in, and they are answered at once."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from app import create_app
from app.extensions import db
from app.payments.models import WebhookEvent
from app.queue import connect
from tests import factories, queued
from tests.conftest import _settings

PATH = "/v1/webhooks/stripe"


def stored(body: dict[str, Any]) -> int:
    db.session.rollback()
    query = select(func.count()).select_from(WebhookEvent).where(WebhookEvent.stripe_event_id == body["id"])
    return db.session.scalar(query) or 0


def new_event() -> dict[str, Any]:
    return factories.event("customer.created", {"id": "cus_1", "object": "customer"})


def test_a_signed_event_is_stored_answered_and_enqueued(client: FlaskClient) -> None:
    body = new_event()
    answer = client.post(PATH, **factories.signed(body))
    assert (answer.status_code, answer.json) == (200, {"received": True})
    assert stored(body) == 1
    assert len(queued.calls()) == 1


def test_the_same_event_again_is_answered_alike_and_stored_once(client: FlaskClient) -> None:
    body = new_event()
    assert [client.post(PATH, **factories.signed(body)).status_code for _ in range(3)] == [200, 200, 200]
    assert stored(body) == 1
    assert len(queued.calls()) == 1


@pytest.mark.parametrize("seconds", [-299, 299])
def test_a_stamp_within_five_minutes_either_way_is_taken(client: FlaskClient, seconds: int) -> None:
    body = new_event()
    assert client.post(PATH, **factories.signed(body, at=int(time.time()) + seconds)).status_code == 200


@pytest.mark.parametrize("seconds", [-302, 302, -86_400, 86_400])
def test_a_stamp_further_off_either_way_is_refused(client: FlaskClient, seconds: int) -> None:
    body = new_event()
    answer = client.post(PATH, **factories.signed(body, at=int(time.time()) + seconds))
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"
    assert stored(body) == 0


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "nonsense",
        "t=,v1=abc",
        "t=²,v1=abc",
        f"t={'9' * 5000},v1=abc",
        "t=NOW",
        "t=NOW,v1=",
        "t=NOW,v1=" + "0" * 64,
    ],
)
def test_a_wrong_signature_is_refused(client: FlaskClient, signature: str) -> None:
    body = new_event()
    post = factories.signed(body)
    signature = signature.replace("NOW", str(int(time.time())))
    post["headers"] = {"Stripe-Signature": signature} if signature else {}
    answer = client.post(PATH, **post)
    assert answer.status_code == 400
    assert stored(body) == 0


def test_another_secret_is_refused(client: FlaskClient) -> None:
    body = new_event()
    assert client.post(PATH, **factories.signed(body, secret="whsec_another")).status_code == 400
    assert stored(body) == 0


def test_a_body_changed_after_signing_is_refused(client: FlaskClient) -> None:
    body = new_event()
    post = factories.signed(body)
    post["data"] = post["data"].replace(b"cus_1", b"cus_2")
    assert client.post(PATH, **post).status_code == 400
    assert stored(body) == 0


@pytest.mark.parametrize("payload", [[], {"id": "evt_1"}, {"id": "evt_1", "object": "event", "type": "x", "data": 1}])
def test_a_signed_body_that_is_no_event_is_refused(client: FlaskClient, payload: Any) -> None:
    answer = client.post(PATH, **factories.signed(payload))
    assert answer.status_code == 400
    assert queued.calls() == []


def test_while_a_secret_is_rotated_both_verify(database: str, app: Flask) -> None:
    rotating = create_app(**_settings(database, stripe_webhook_secret="whsec_new,whsec_old"))
    client = rotating.test_client()
    answers = [
        client.post(PATH, **factories.signed(new_event(), secret=secret)).status_code
        for secret in ("whsec_new", "whsec_old", "whsec_older")
    ]
    assert answers == [200, 200, 400]
    with rotating.app_context():
        db.engine.dispose()


def test_with_a_dead_redis_an_event_is_stored_and_answered(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.extensions, "redis", connect("redis://127.0.0.1:1/0"))
    body = new_event()
    assert client.post(PATH, **factories.signed(body)).status_code == 200
    assert stored(body) == 1


def test_only_post_is_served(client: FlaskClient) -> None:
    answer = client.get(PATH)
    assert (answer.status_code, answer.content_type) == (405, "application/problem+json")


def test_an_event_may_be_far_larger_than_other_bodies(client: FlaskClient) -> None:
    body = factories.event("customer.created", {"id": "cus_1", "object": "customer", "name": "x" * 900_000})
    assert client.post(PATH, **factories.signed(body)).status_code == 200
    assert stored(body) == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_an_event_without_end_is_413_and_not_read_to_it(client: FlaskClient, chunked: bool) -> None:
    chunks = {"headers": {"Transfer-Encoding": "chunked"}, "environ_overrides": {"wsgi.input_terminated": True}}
    body = io.BytesIO(b"x" * 3_000_000)
    answer = client.post(PATH, input_stream=body, content_type="application/json", **(chunks if chunked else {}))
    assert (answer.status_code, answer.content_type) == (413, "application/problem+json")
    assert body.tell() < 1_200_000
