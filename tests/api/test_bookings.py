"""/v1/bookings over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import func, select

from app.audit.actor import SYSTEM
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.catalog.models import Package
from app.extensions import db
from app.payments import holds, refunds
from app.payments import service as payments
from app.queue import connect
from tests import factories, queued
from tests.api.calling import Caller, problem, wrong_fields
from tests.concurrency import at_once

FIRST = factories.tomorrow()


def wish(package: Package, nights: int = 2, **values: Any) -> dict[str, Any]:
    return {
        "packageId": package.id,
        "checkIn": FIRST.isoformat(),
        "checkOut": (FIRST + timedelta(days=nights)).isoformat(),
        **values,
    }


def test_a_booking_is_201_with_everything_the_contract_names(caller: Caller) -> None:
    package = factories.package(units=2)
    answer = caller.post("/bookings", wish(package, units=2, guests=3))
    assert answer.status_code == 201
    body = answer.json or {}
    assert set(body) == {
        *("id", "reference", "status", "packageId", "checkIn", "checkOut", "departure"),
        *("units", "guests", "total", "expiresAt", "createdAt"),
    }
    assert (body["status"], body["packageId"], body["departure"]) == ("PENDING_PAYMENT", package.id, None)
    assert (body["checkIn"], body["checkOut"]) == (FIRST.isoformat(), (FIRST + timedelta(days=2)).isoformat())
    assert (body["units"], body["guests"], body["total"]) == (2, 3, {"amount": 40_000, "currency": "USD"})
    assert body["expiresAt"].endswith("Z")
    assert caller.get(f"/bookings/{body['id']}").json == body


def test_a_tour_is_booked_by_its_departure(caller: Caller) -> None:
    tour = factories.tour()
    answer = caller.post("/bookings", {"packageId": tour.id, "departure": FIRST.isoformat(), "units": 2, "guests": 2})
    body = answer.json or {}
    assert (answer.status_code, body["departure"]) == (201, FIRST.isoformat())
    assert (body["checkIn"], body["checkOut"]) == (None, None)


def test_sold_out_is_409_in_words(caller: Caller) -> None:
    package = factories.package(units=1)
    factories.booking(of=package)
    answer = caller.post("/bookings", wish(package))
    assert "Sold out for 1 unit" in problem(answer, 409)["detail"]
    assert "Retry-After" not in answer.headers
    assert factories.stock(package) == (1, 0)


def test_too_contended_is_409_with_retry_after(caller: Caller, owner: Any) -> None:
    package = factories.package()
    owner.autocommit = False
    with owner.cursor() as elsewhere:
        elsewhere.execute("SELECT 1 FROM availability WHERE package_id = %s FOR UPDATE", (package.id,))
        answer = caller.post("/bookings", wish(package), key="contended")
    owner.rollback()
    problem(answer, 409)
    assert answer.headers["Retry-After"] == "1"
    assert factories.stock(package) == (0, 0)
    assert caller.post("/bookings", wish(package), key="contended").status_code == 201


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"checkOut": FIRST.isoformat()}, ["checkOut"]),
        ({"checkIn": "2020-01-01", "checkOut": "2020-01-02"}, ["checkIn"]),
        ({"checkIn": "9999-12-30", "checkOut": "9999-12-31"}, ["checkIn"]),
        ({"checkIn": "2027-02-30"}, ["checkIn"]),
        ({"checkIn": "soon"}, ["checkIn"]),
        ({"checkIn": {}}, ["checkIn"]),
        ({"units": 0}, ["units"]),
        ({"units": 10**30}, ["units"]),
        ({"units": 1.5}, ["units"]),
        ({"guests": -1}, ["guests"]),
        ({"guests": True}, ["guests"]),
        ({"units": "2"}, ["units"]),
        ({"guests": 3}, ["guests"]),
        ({"packageId": 0}, ["packageId"]),
        ({"packageId": 2**63}, ["packageId"]),
        ({"packageId": "\x00"}, ["packageId"]),
        ({"departure": FIRST.isoformat()}, ["departure"]),
        ({"checkin": "2027-01-01", "surprise": 1}, ["checkin", "surprise"]),
    ],
)
def test_a_wrong_wish_is_422_by_field(caller: Caller, values: dict[str, Any], fields: list[str]) -> None:
    package = factories.package()
    assert wrong_fields(caller.post("/bookings", wish(package, **values))) == fields
    assert factories.stock(package) == (0, 0)


def test_a_departure_at_the_end_of_the_calendar_is_422(caller: Caller) -> None:
    tour = factories.tour()
    assert wrong_fields(caller.post("/bookings", {"packageId": tour.id, "departure": "9999-12-31"})) == ["departure"]


def test_a_package_that_is_not_on_sale_is_404(caller: Caller) -> None:
    problem(caller.post("/bookings", wish(factories.package(status="DRAFT"))), 404)
    problem(caller.post("/bookings", {**wish(factories.package()), "packageId": 2**63 - 1}), 404)


def test_nobody_books_without_signing_in(nobody: Caller) -> None:
    package = factories.package()
    problem(nobody.post("/bookings", wish(package)), 401)
    assert factories.stock(package) == (0, 0)


def test_with_a_dead_redis_booking_still_works(app: Flask, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.extensions, "redis", connect("redis://127.0.0.1:1/0"))
    package = factories.package()
    assert caller.post("/bookings", wish(package)).status_code == 201
    assert factories.stock(package) == (1, 0)


# ------------------------------------------------------------------ reading


def test_one_sees_ones_own_bookings_newest_first_and_nobody_elses(caller: Caller) -> None:
    package = factories.package(units=10)
    factories.booking(of=package)
    by = factories.actor(caller.person)
    ids = [factories.booking(of=package, by=by).id for _ in range(5)]
    seen: list[int] = []
    cursor = ""
    for _ in range(3):
        page = caller.get(f"/bookings?limit=2{cursor}").json or {}
        seen += [item["id"] for item in page["items"]]
        cursor = f"&cursor={page['nextCursor']}"
    assert seen == ids[::-1]
    assert page["nextCursor"] is None


@pytest.mark.parametrize("path", ["", "/payment-intent", "/cancel", "/cancellation"])
def test_another_persons_booking_is_404_like_none(caller: Caller, path: str) -> None:
    booking = factories.booking()
    ask = caller.post if path in ("/payment-intent", "/cancel") else caller.get
    other = problem(ask(f"/bookings/{booking.id}{path}"), 404)
    none = problem(ask(f"/bookings/{2**62}{path}"), 404)
    assert other["detail"] == none["detail"]
    assert factories.reread(booking).status == "PENDING_PAYMENT"


@pytest.mark.parametrize("role", ["support", "finance", "admin"])
def test_staff_have_no_more_rights_here_than_a_guest(client: Any, role: str) -> None:
    booking = factories.booking()
    staff = Caller(client, factories.staff(role))
    problem(staff.get(f"/bookings/{booking.id}"), 404)
    problem(staff.post(f"/bookings/{booking.id}/cancel", {"reason": "Because"}), 404)
    assert factories.reread(booking).status == "PENDING_PAYMENT"


@pytest.mark.parametrize(
    "booking_id", ["0", "-1", "abc", "1.5", str(2**63), str(2**64), "9" * 400, "9" * 5000, "%00", "²"]
)
def test_an_odd_id_is_404(caller: Caller, booking_id: str) -> None:
    problem(caller.get(f"/bookings/{booking_id}"), 404)


# ------------------------------------------------------------------ paying and cancelling


def test_pay_decline_pay_again_confirmed(caller: Caller) -> None:
    package = factories.package()
    booking = caller.post("/bookings", wish(package)).json or {}
    intent = caller.post(f"/bookings/{booking['id']}/payment-intent").json or {}
    assert set(intent) == {"clientSecret", "paymentIntentId", "amount"}
    assert intent["amount"] == {"amount": 20_000, "currency": "USD"}
    again = caller.post(f"/bookings/{booking['id']}/payment-intent").json or {}
    assert again == intent
    intent_id = intent["paymentIntentId"]
    about = {"id": intent_id, "object": "payment_intent"}

    factories.confirm(intent_id, "pm_card_chargeDeclined")
    caller.client.post(
        "/v1/webhooks/stripe", **factories.signed(factories.event("payment_intent.payment_failed", about))
    )
    assert queued.work_off() == []
    assert (caller.get(f"/bookings/{booking['id']}").json or {})["status"] == "PENDING_PAYMENT"

    factories.confirm(intent_id)
    caller.client.post("/v1/webhooks/stripe", **factories.signed(factories.event("payment_intent.succeeded", about)))
    assert queued.work_off() == []
    assert (caller.get(f"/bookings/{booking['id']}").json or {})["status"] == "CONFIRMED"
    assert factories.stock(package) == (0, 1)
    problem(caller.post(f"/bookings/{booking['id']}/payment-intent"), 409)


def test_stripe_out_of_reach_is_503_with_retry_after_and_nothing_is_lost(caller: Caller, switches: Any) -> None:
    booking = caller.post("/bookings", wish(factories.package())).json or {}
    switches(api=[{"fault": "rate_limit"}])
    answer = caller.post(f"/bookings/{booking['id']}/payment-intent", key="pay")
    problem(answer, 503)
    assert answer.headers["Retry-After"]
    switches(api=[])
    assert caller.post(f"/bookings/{booking['id']}/payment-intent", key="pay").status_code == 200


def test_cancelling_gives_the_stock_back_and_a_body_is_optional(caller: Caller) -> None:
    package = factories.package()
    booking = caller.post("/bookings", wish(package)).json or {}
    answer = caller.post(f"/bookings/{booking['id']}/cancel")
    assert (answer.status_code, (answer.json or {})["status"]) == (200, "CANCELLED_BY_GUEST")
    assert factories.stock(package) == (0, 0)
    problem(caller.post(f"/bookings/{booking['id']}/cancel"), 409)


def test_a_paid_booking_is_previewed_and_cancelled_with_its_refund(caller: Caller) -> None:
    package = factories.package(cancellation_policy="flexible", time_zone="Asia/Kathmandu")
    booking = factories.paid_booking(of=package, by=factories.actor(caller.person))
    preview = caller.get(f"/bookings/{booking.id}/cancellation").json or {}
    everything, nothing = {"amount": 20_000, "currency": "USD"}, {"amount": 0, "currency": "USD"}
    money = {name: preview[name] for name in ("paid", "refunded", "refund", "kept")}
    assert money == {"paid": everything, "refunded": nothing, "refund": everything, "kept": nothing}
    policy = preview["policy"]
    assert (policy["name"], policy["timeZone"], policy["refundPercent"]) == ("flexible", "Asia/Kathmandu", 100)
    # The day of the start begins at midnight there.
    assert policy["until"] == f"{FIRST - timedelta(days=1)}T18:15:00Z"

    changed = caller.post(f"/bookings/{booking.id}/cancel", {"expectedRefund": {**everything, "amount": 10_000}})
    assert "$200.00 now, not $100.00" in problem(changed, 409)["detail"]
    assert factories.reread(booking).status == "CONFIRMED"

    answer = caller.post(f"/bookings/{booking.id}/cancel", {"expectedRefund": preview["refund"]}, key="cancel")
    body = answer.json or {}
    assert (answer.status_code, body["status"]) == (200, "CANCELLED_BY_GUEST")
    assert body["refund"] == {"amount": everything, "status": "APPROVED"}
    again = caller.post(f"/bookings/{booking.id}/cancel", {"expectedRefund": preview["refund"]}, key="cancel")
    assert (again.data, again.headers["Idempotent-Replayed"]) == (answer.data, "true")
    problem(caller.post(f"/bookings/{booking.id}/cancel"), 409)
    problem(caller.get(f"/bookings/{booking.id}/cancellation"), 409)


def test_the_preview_tells_what_is_refunded_kept_and_held(caller: Caller) -> None:
    booking = factories.paid_booking(
        of=factories.package(cancellation_policy="strict"), by=factories.actor(caller.person)
    )
    payment = payments.live_payment(booking.id)
    assert payment is not None
    finance = factories.actor(factories.staff("finance"))
    refunds.request(payment.id, amount_minor=3_000, reason="fraud", kind="goodwill", key="1", by=finance)
    preview = caller.get(f"/bookings/{booking.id}/cancellation").json or {}
    amounts = {name: preview[name]["amount"] for name in ("paid", "refunded", "refund", "kept")}
    assert amounts["paid"] == 20_000
    # What was a gift is neither refunded nor kept.
    assert amounts["refunded"] == 0
    assert amounts["refund"] + amounts["kept"] == 17_000
    assert preview["isHeld"] is False
    holds.place(payment.id, source=f"test:{uuid4()}", reason="Disputed", until=None, by=SYSTEM)
    assert (caller.get(f"/bookings/{booking.id}/cancellation").json or {})["isHeld"] is True


def test_an_unpaid_booking_has_nothing_to_give_back(caller: Caller) -> None:
    booking = caller.post("/bookings", wish(factories.package())).json or {}
    preview = caller.get(f"/bookings/{booking['id']}/cancellation").json or {}
    assert {preview[name]["amount"] for name in ("paid", "refunded", "refund", "kept")} == {0}
    answer = caller.post(f"/bookings/{booking['id']}/cancel", {"expectedRefund": preview["refund"]})
    assert (answer.status_code, (answer.json or {})["refund"]) == (200, None)


@pytest.mark.parametrize(
    "expected", [{"amount": -1, "currency": "USD"}, {"amount": "1", "currency": "USD"}, {"amount": 1}, 5]
)
def test_an_odd_expectation_is_422(caller: Caller, expected: Any) -> None:
    booking = caller.post("/bookings", wish(factories.package())).json or {}
    wrong = wrong_fields(caller.post(f"/bookings/{booking['id']}/cancel", {"expectedRefund": expected}))
    assert all(name.startswith("expectedRefund") for name in wrong)
    assert (caller.get(f"/bookings/{booking['id']}").json or {})["status"] == "PENDING_PAYMENT"


@pytest.mark.parametrize("reason", ["a\x00b", "bell\x07", "x" * 1001, 7])
def test_an_odd_reason_is_422(caller: Caller, reason: Any) -> None:
    booking = caller.post("/bookings", wish(factories.package())).json or {}
    assert wrong_fields(caller.post(f"/bookings/{booking['id']}/cancel", {"reason": reason})) == ["reason"]
    assert (caller.get(f"/bookings/{booking['id']}").json or {})["status"] == "PENDING_PAYMENT"


# ------------------------------------------------------------------ idempotency, over HTTP


def bookings_of(package: Package) -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).select_from(Booking).where(Booking.package_id == package.id)) or 0


def test_a_repeat_with_the_same_key_gets_the_first_answer_and_books_once(caller: Caller) -> None:
    package = factories.package(units=5)
    first, second = (caller.post("/bookings", wish(package), key="key-1") for _ in range(2))
    assert (second.status_code, second.data, second.content_type) == (201, first.data, "application/json")
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert bookings_of(package) == 1


def test_the_order_of_the_bodys_names_does_not_matter(caller: Caller) -> None:
    package = factories.package(units=5)
    body = wish(package)
    caller.post("/bookings", body, key="key-1")
    assert caller.post("/bookings", dict(reversed(body.items())), key="key-1").headers["Idempotent-Replayed"] == "true"
    assert bookings_of(package) == 1


def test_another_body_under_the_same_key_is_422(caller: Caller) -> None:
    package = factories.package(units=5)
    caller.post("/bookings", wish(package), key="key-1")
    assert wrong_fields(caller.post("/bookings", wish(package, nights=3), key="key-1")) == ["Idempotency-Key"]
    assert bookings_of(package) == 1


def test_a_key_is_each_persons_and_paths_own(caller: Caller, client: Any) -> None:
    package = factories.package(units=5)
    first = caller.post("/bookings", wish(package), key="key-1")
    other = Caller(client, factories.traveller()).post("/bookings", wish(package), key="key-1")
    assert other.status_code == 201
    assert (first.json or {})["id"] != (other.json or {})["id"]
    cancelled = caller.post(f"/bookings/{(first.json or {})['id']}/cancel", {}, key="key-1")
    assert (cancelled.status_code, "Idempotent-Replayed" in cancelled.headers) == (200, False)


def test_a_refusal_is_kept_too(caller: Caller) -> None:
    package = factories.package(units=1)
    taken = factories.booking(of=package)
    first = caller.post("/bookings", wish(package), key="key-1")
    problem(first, 409)
    bookings.cancel(taken.id, by=factories.actor(factories.staff("support")), on_behalf_of="support", reason="Because")
    second = caller.post("/bookings", wish(package), key="key-1")
    assert (second.status_code, second.data, second.content_type) == (409, first.data, "application/problem+json")
    assert second.headers["Idempotent-Replayed"] == "true"
    assert caller.post("/bookings", wish(package), key="key-2").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tin it", "é"])
def test_an_odd_key_is_422(caller: Caller, key: str) -> None:
    package = factories.package()
    assert wrong_fields(caller.post("/bookings", wish(package), key=key)) == ["Idempotency-Key"]
    assert bookings_of(package) == 0


def test_an_answer_of_ours_that_failed_is_not_kept(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    package = factories.package()
    with monkeypatch.context() as broken:
        broken.setattr("app.bookings.service._new_reference", lambda: 1 / 0)
        problem(caller.post("/bookings", wish(package), key="key-1"), 500)
    assert factories.stock(package) == (0, 0)
    answer = caller.post("/bookings", wish(package), key="key-1")
    assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (201, False)


def test_an_unexpected_error_says_nothing_of_its_cause(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.bookings.service._new_reference", lambda: 1 / 0)
    body = problem(caller.post("/bookings", wish(factories.package())), 500)
    assert "ZeroDivision" not in str(body)
    assert "division" not in str(body)


def test_of_two_at_once_with_one_key_one_books_and_the_other_waits_or_is_answered_alike(
    app: Flask, caller: Caller
) -> None:
    package = factories.package(units=5)
    body, headers = wish(package), {**caller.headers, "Idempotency-Key": "key-1"}
    answers = at_once(app, *[lambda: app.test_client().post("/v1/bookings", json=body, headers=headers)] * 4)
    assert bookings_of(package) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.headers["Retry-After"] == "1"
        else:
            assert answer.status_code == 201
    assert len({answer.data for answer in answers if answer.status_code == 201}) == 1
