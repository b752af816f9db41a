"""POST /v1/bookings/{id}/refunds: staff give back what was paid, once, and are told why where they can't."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from app.accounts import tokens
from app.accounts.models import User
from app.audit.actor import STRIPE
from app.bookings import service as bookings
from app.db import transaction
from app.extensions import db
from app.payments import holds
from app.payments.models import Payment
from tests import factories, queued
from tests.api.calling import Caller, problem, wrong_fields
from tests.payments.refunding import books_are_whole, paid, postings, refunds_of


@pytest.fixture
def finance(client: FlaskClient) -> Caller:
    """The API client of somebody from finance."""
    return Caller(client, factories.staff("finance"))


def path(payment: Payment) -> str:
    return f"/bookings/{payment.booking_id}/refunds"


def test_a_part_goes_back(app: Flask, finance: Caller) -> None:
    payment = paid()
    answer = finance.post(path(payment), {"amount": 3_000, "reason": "stay_problem"})
    assert answer.status_code == 201
    (refund,) = refunds_of(payment)
    body: dict[str, Any] = answer.json or {}
    assert body.pop("createdAt")
    assert body == {
        "id": refund.id,
        "bookingId": payment.booking_id,
        "status": "APPROVED",
        "amount": {"amount": 3_000, "currency": "USD"},
        "reason": "stay_problem",
        "note": None,
        "expiresAt": None,
    }
    assert queued.work_off() == []
    assert factories.reread(refund).status == "SUCCEEDED"
    assert books_are_whole(payment)


def test_without_an_amount_all_that_is_left_goes_back(app: Flask, finance: Caller) -> None:
    payment = paid()
    assert finance.post(path(payment), {"amount": {"amount": 3_000, "currency": "USD"}, "reason": "fraud"}).json
    answer = finance.post(path(payment), {"reason": "The pool was closed"})
    assert answer.json
    assert (answer.json["amount"]["amount"], answer.json["reason"]) == (7_000, "other")
    assert answer.json["note"] == "The pool was closed"
    assert "Nothing is left" in problem(finance.post(path(payment), {"reason": "fraud"}), 409)["detail"]
    assert len(refunds_of(payment)) == 2


def test_goodwill_is_borne_by_us_alone(app: Flask, finance: Caller) -> None:
    payment = paid()
    assert finance.post(path(payment), {"amount": 3_000, "reason": "goodwill"}).status_code == 201
    (refund,) = refunds_of(payment)
    assert (refund.kind, refund.reason) == ("goodwill", "goodwill")
    assert queued.work_off() == []
    assert postings(payment) == {"refund.goodwill": 3_000, "refund.paid": 3_000}


def logged_in(client: FlaskClient, person: User, *, minutes_ago: int) -> Caller:
    """Somebody who has refreshed their tokens since they logged in."""
    first = tokens.issue(person)
    with transaction():
        aged = "UPDATE refresh_tokens SET created_at = now() - make_interval(mins => :minutes) WHERE user_id = :id"
        db.session.execute(text(aged), {"minutes": minutes_ago, "id": person.id})
    second = tokens.rotate(tokens.rotate(first.refresh_token).refresh_token)
    caller = Caller(client, None)
    caller.headers = {"Authorization": f"Bearer {second.access_token}"}
    return caller


def test_who_logged_in_a_while_ago_logs_in_again_however_often_they_refreshed(app: Flask, client: FlaskClient) -> None:
    payment, person, key = paid(), factories.staff("finance"), uuid4().hex
    body = {"amount": 3_000, "reason": "fraud"}
    late = logged_in(client, person, minutes_ago=16)
    refusal = late.post(path(payment), body, key=key)
    assert "Log in again" in problem(refusal, 401)["detail"]
    assert refusal.headers["WWW-Authenticate"].startswith("Bearer")
    assert refunds_of(payment) == []
    assert late.get("/bookings").status_code == 200
    assert Caller(client, person).post(path(payment), body, key=key).status_code == 201
    assert len(refunds_of(payment)) == 1


def test_who_logged_in_just_now_refunds_with_a_refreshed_token(app: Flask, client: FlaskClient) -> None:
    payment = paid()
    caller = logged_in(client, factories.staff("finance"), minutes_ago=14)
    assert caller.post(path(payment), {"amount": 3_000, "reason": "fraud"}).status_code == 201


def test_the_same_key_gives_the_first_answer_again(app: Flask, finance: Caller) -> None:
    payment, key = paid(), uuid4().hex
    first = finance.post(path(payment), {"amount": 3_000, "reason": "fraud"}, key=key)
    second = finance.post(path(payment), {"amount": 3_000, "reason": "fraud"}, key=key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert first.json == second.json
    problem(finance.post(path(payment), {"amount": 1, "reason": "fraud"}, key=key), 422)
    assert len(refunds_of(payment)) == 1


def test_what_support_asks_for_waits(app: Flask, client: FlaskClient) -> None:
    payment, support = paid(), Caller(client, factories.staff("support"))
    answer = support.post(path(payment), {"amount": 3_000, "reason": "fraud"})
    assert answer.json
    assert (answer.json["status"], bool(answer.json["expiresAt"])) == ("PENDING_APPROVAL", True)


def test_travellers_and_moderators_may_not(app: Flask, client: FlaskClient) -> None:
    payment = paid()
    for person in (factories.traveller(), factories.staff("moderator")):
        problem(Caller(client, person).post(path(payment), {"reason": "fraud"}), 403)
    assert refunds_of(payment) == []


def test_while_held_the_refusal_says_why_and_until_when(app: Flask, finance: Caller) -> None:
    payment = paid()
    until = factories.utcnow().replace(year=2031, month=3, day=4, hour=17, minute=30)
    holds.place(payment.id, source=f"test:{uuid4()}", reason="Disputed by the bank", until=until, by=STRIPE)
    refusal = problem(finance.post(path(payment), {"amount": 3_000, "reason": "fraud"}), 409)
    assert refusal["detail"] == (
        "Refunds of this payment are on hold, until 4 Mar 2031 at 17:30 UTC: Disputed by the bank."
    )
    assert refunds_of(payment) == []


def test_whoever_comes_second_with_the_same_reads_who_was_first(
    app: Flask, finance: Caller, client: FlaskClient
) -> None:
    payment, other = paid(), Caller(client, factories.staff("finance"))
    assert other.post(path(payment), {"amount": 3_000, "reason": "fraud"}).status_code == 201
    refusal = problem(finance.post(path(payment), {"amount": 3_000, "reason": "fraud"}), 409)
    assert other.person
    assert refusal["detail"].startswith(f"{other.person.name} started a refund of $30.00 ")
    assert len(refunds_of(payment)) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "reason"),
        ({"reason": ""}, "reason"),
        ({"reason": "fraud", "amount": 0}, "amount"),
        ({"reason": "fraud", "amount": -1}, "amount"),
        ({"reason": "fraud", "amount": "30.00"}, "amount"),
        ({"reason": "fraud", "amount": 1.5}, "amount"),
        ({"reason": "fraud", "amount": True}, "amount"),
        ({"reason": "fraud", "amount": 10**20}, "amount"),
        ({"reason": "fraud", "amount": []}, "amount"),
        ({"reason": "fraud", "amount": {"amount": 5, "currency": "EUR"}}, "amount.currency"),
        ({"reason": "fraud", "amount": {"amount": 5, "currency": "usd"}}, "amount.currency"),
        ({"reason": "fraud", "amount": {"amount": 5}}, "amount.currency"),
        ({"reason": "fraud", "amount": {"amount": "5", "currency": "USD"}}, "amount.amount"),
        ({"reason": "  "}, "reason"),
        ({"reason": "other"}, "reason"),
        ({"reason": "x" * 2_001}, "reason"),
        ({"reason": "fraud", "kind": "goodwill"}, "kind"),
    ],
)
def test_what_makes_no_sense_is_refused_by_field_and_by_nothing_else(
    app: Flask, finance: Caller, body: Any, field: str
) -> None:
    payment = paid()
    assert wrong_fields(finance.post(path(payment), body)) == [field]
    assert refunds_of(payment) == []


def test_more_than_was_paid_is_refused_with_what_is_left(app: Flask, finance: Caller) -> None:
    payment = paid()
    refusal = problem(finance.post(path(payment), {"amount": 10_001, "reason": "fraud"}), 409)
    assert "Only $100.00 is left" in refusal["detail"]
    assert refunds_of(payment) == []


def test_a_key_is_its_senders_own(app: Flask, finance: Caller, client: FlaskClient) -> None:
    payment, other = paid(), Caller(client, factories.staff("finance"))
    for amount, caller in ((3_000, finance), (2_000, other)):
        assert caller.post(path(payment), {"amount": amount, "reason": "fraud"}, key="1").status_code == 201
    assert [refund.amount_minor for refund in refunds_of(payment)] == [3_000, 2_000]


@pytest.mark.parametrize("key", ["cancellation", "cancellation_goodwill"])
def test_no_key_stands_in_the_way_of_a_cancellation(app: Flask, finance: Caller, key: str) -> None:
    payment = paid()
    assert finance.post(path(payment), {"amount": 3_000, "reason": "fraud"}, key=key).status_code == 201
    by = factories.actor(factories.staff("admin"))
    bookings.cancel(payment.booking_id, by=by, on_behalf_of="provider", reason="Closed")
    assert [refund.amount_minor for refund in refunds_of(payment)] == [3_000, 7_000]


def test_a_booking_that_nobody_paid_for_has_nothing_to_refund(app: Flask, finance: Caller) -> None:
    held = factories.booking()
    refusal = problem(finance.post(f"/bookings/{held.id}/refunds", {"reason": "fraud"}), 409)
    assert "Nothing was paid" in refusal["detail"]
    for missing in (10**9, 2**63):
        problem(finance.post(f"/bookings/{missing}/refunds", {"reason": "fraud"}), 404)
