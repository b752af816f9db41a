"""/v1/reviews: a stay is reviewed once, what moderators let pass is shown with its stars, and a repeat is harmless."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.catalog.models import Package
from app.extensions import db
from app.reviews import service as reviews
from app.reviews.models import Review
from tests import factories
from tests.api.calling import Caller, problem, wrong_fields
from tests.concurrency import at_once
from tests.reviews.deciding import as_it_is, package_of, window_over


def wish(booking_id: int, **values: Any) -> dict[str, Any]:
    return {"bookingId": booking_id, "rating": 5, "title": "Exactly right", "content": "Quiet at night.", **values}


def stay_of(caller: Caller) -> int:
    assert caller.person is not None
    return factories.completed_booking(by=factories.actor(caller.person)).id


def count_of(booking_id: int) -> int:
    db.session.rollback()
    return db.session.query(Review).filter_by(booking_id=booking_id).count()


def show(*of: Review) -> None:
    """Approve them, and let the time to undo that pass."""
    reviews.approve_many([review.id for review in of], by=factories.moderator())
    window_over(*of)
    reviews.settle_due()


def test_a_traveller_reviews_a_completed_stay_once(caller: Caller) -> None:
    stay = stay_of(caller)
    answer = caller.post("/reviews", wish(stay))
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json or {}
    assert set(body) == {"id", "bookingId", "packageId", "rating", "title", "content", "status", "createdAt"}
    assert (body["status"], body["bookingId"], body["rating"]) == ("PENDING", stay, 5)
    problem(caller.post("/reviews", wish(stay)), 409)
    assert count_of(stay) == 1


def test_a_repeat_with_the_same_key_gets_the_first_answer_again(caller: Caller) -> None:
    stay = stay_of(caller)
    first, second = (caller.post("/reviews", wish(stay), key="key-1") for _ in range(2))
    assert (first.status_code, second.status_code, second.data) == (201, 201, first.data)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert wrong_fields(caller.post("/reviews", wish(stay, rating=1), key="key-1")) == ["Idempotency-Key"]
    assert count_of(stay) == 1


def test_of_two_at_once_with_one_key_one_is_kept(app: Flask, caller: Caller) -> None:
    stay = stay_of(caller)
    headers = {**caller.headers, "Idempotency-Key": "key-1"}
    answers = at_once(app, *[lambda: app.test_client().post("/v1/reviews", json=wish(stay), headers=headers)] * 4)
    assert count_of(stay) == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.data for answer in answers if answer.status_code == 201}) == 1


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({"rating": 0}, ["rating"]),
        ({"rating": 6}, ["rating"]),
        ({"rating": 4.5}, ["rating"]),
        ({"title": ""}, ["title"]),
        ({"title": " "}, ["title"]),
        ({"content": "C" * 5001}, ["content"]),
        ({"content": "zero\x00byte"}, ["content"]),
        ({"packageId": 1}, ["packageId"]),
    ],
)
def test_a_review_that_makes_no_sense_is_422_by_field(caller: Caller, wrong: dict[str, Any], fields: list[str]) -> None:
    stay = stay_of(caller)
    assert wrong_fields(caller.post("/reviews", wish(stay, **wrong))) == fields
    assert count_of(stay) == 0


def test_another_persons_stay_is_404_and_one_that_is_not_over_409(caller: Caller) -> None:
    others = factories.completed_booking().id
    problem(caller.post("/reviews", wish(others)), 404)
    assert caller.person is not None
    held = factories.booking(by=factories.actor(caller.person)).id
    problem(caller.post("/reviews", wish(held)), 409)
    assert count_of(others) == count_of(held) == 0


def reviews_of(caller: Caller, package: Package, query: str = "") -> dict[str, Any]:
    answer = caller.get(f"/packages/{package.id}/reviews{query}")
    assert answer.status_code == 200, answer.text
    return answer.json or {}


def test_a_package_without_reviews_says_so(nobody: Caller) -> None:
    assert reviews_of(nobody, factories.package()) == {
        "avgRating": None,
        "totalReviews": 0,
        "distribution": {"1": 0, "2": 0, "3": 0, "4": 0, "5": 0},
        "items": [],
        "nextCursor": None,
    }


def test_what_is_approved_is_shown_once_it_cannot_be_undone(nobody: Caller) -> None:
    package = factories.package(units=20)
    best, good, bad, in_time, rejected, _ = (factories.review(of=package, rating=n) for n in (5, 4, 1, 3, 2, 2))
    show(best, good, bad)
    by = factories.moderator()
    reviews.approve(in_time.id, by=by)
    reviews.reject(rejected.id, reason="private", by=by)
    found = reviews_of(nobody, package)
    assert (found["avgRating"], found["totalReviews"]) == (3.33, 3)
    assert found["distribution"] == {"1": 1, "2": 0, "3": 0, "4": 1, "5": 1}
    assert [item["id"] for item in found["items"]] == [bad.id, good.id, best.id]
    first = found["items"][0]
    assert set(first) == {"id", "rating", "title", "content", "author", "createdAt"}
    assert (first["rating"], first["author"]) == (1, "Traveller")
    # Once it is there, taking the decision back takes it away at once.
    reviews.reverse(bad.id, reason="Looked again", by=by)
    found = reviews_of(nobody, package)
    assert (found["avgRating"], found["totalReviews"], len(found["items"])) == (4.5, 2, 2)


def test_a_packages_rating_is_told_with_it_and_in_lists_once_it_cannot_be_undone(nobody: Caller) -> None:
    seller = factories.provider()
    rated, other, bare = (factories.package(units=20, provider_id=seller.id) for _ in range(3))
    in_time = [factories.review(of=rated, rating=n) for n in (1, 5, 5, 2)]
    show(*in_time[:3], factories.review(of=other, rating=3))
    reviews.approve(in_time[3].id, by=factories.moderator())
    told = {
        rated.id: {"average": 3.67, "count": 3, "distribution": {"1": 1, "2": 0, "3": 0, "4": 0, "5": 2}},
        other.id: {"average": 3.0, "count": 1, "distribution": {"1": 0, "2": 0, "3": 1, "4": 0, "5": 0}},
        bare.id: {"average": None, "count": 0, "distribution": {"1": 0, "2": 0, "3": 0, "4": 0, "5": 0}},
    }
    assert {made: (nobody.get(f"/packages/{made}").json or {})["rating"] for made in told} == told
    listed = (nobody.get(f"/packages?provider={seller.id}").json or {})["items"]
    assert {package["id"]: package["rating"] for package in listed} == told


def test_reviews_are_paged_newest_first_under_the_stars_of_all(nobody: Caller) -> None:
    package = factories.package(units=20)
    written = [factories.review(of=package) for _ in range(5)]
    show(*written)
    pages, cursor = [], ""
    while True:
        page = reviews_of(nobody, package, f"?limit=2{cursor}")
        assert page["totalReviews"] == 5
        pages.append([item["id"] for item in page["items"]])
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert pages == [[written[n].id for n in numbers] for numbers in ((4, 3), (2, 1), (0,))]
    assert wrong_fields(nobody.get(f"/packages/{package.id}/reviews?cursor=nonsense")) == ["cursor"]


def test_reviews_of_what_is_not_on_sale_are_404(nobody: Caller) -> None:
    for package_id in (factories.package(status="DRAFT").id, 2**62, 2**63):
        problem(nobody.get(f"/packages/{package_id}/reviews"), 404)


@pytest.fixture
def moderator(client: FlaskClient) -> Caller:
    """A moderator's API client."""
    return Caller(client, factories.staff("moderator"))


def moderate(caller: Caller, review_id: int, **decision: Any) -> Any:
    path = f"/v1/reviews/{review_id}/moderate"
    return caller.client.patch(path, json=decision, headers=caller.headers)


def test_a_moderator_approves_and_the_next_one_hears_of_it(moderator: Caller) -> None:
    review = factories.review()
    answer = moderate(moderator, review.id, decision="approve", notes="Fine")
    assert answer.status_code == 200, answer.text
    body = answer.json
    assert (body["id"], body["status"], body["moderationReason"], body["moderationNotes"]) == (
        *(review.id, "APPROVED"),
        *(None, "Fine"),
    )
    assert body["undoUntil"] > body["moderatedAt"]
    before = as_it_is(review)
    assert moderator.person is not None
    said = problem(moderate(moderator, review.id, decision="reject", reason="private"), 409)["detail"]
    assert said.startswith(f"Approved by {moderator.person.name} ")
    assert as_it_is(review) == before


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"reason": "off_topic"}, ("off_topic", None)),
        ({"reason": "off_topic", "notes": "The airline"}, ("off_topic", "The airline")),
        ({"reason": "Sold for money"}, ("other", "Sold for money")),
        ({"reason": "Sold for money", "notes": "See ticket 7"}, ("other", "Sold for money\nSee ticket 7")),
    ],
)
def test_a_rejection_keeps_its_reason_whether_a_code_or_words(
    moderator: Caller, given: dict[str, str], kept: tuple[str, str | None]
) -> None:
    review = factories.review()
    answer = moderate(moderator, review.id, decision="reject", **given)
    assert answer.status_code == 200, answer.text
    assert (answer.json["status"], answer.json["moderationReason"], answer.json["moderationNotes"]) == (
        *("REJECTED",),
        *kept,
    )


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({"decision": "reject"}, ["reason"]),
        ({"decision": "reject", "reason": "other"}, ["notes"]),
        ({"decision": "publish"}, ["decision"]),
        ({}, ["decision"]),
        ({"decision": "approve", "status": "APPROVED"}, ["status"]),
    ],
)
def test_a_decision_that_makes_no_sense_is_422_by_field(
    moderator: Caller, wrong: dict[str, str], fields: list[str]
) -> None:
    review = factories.review()
    before = as_it_is(review)
    assert wrong_fields(moderate(moderator, review.id, **wrong)) == fields
    assert as_it_is(review) == before


def test_who_is_no_moderator_decides_nothing(caller: Caller, nobody: Caller) -> None:
    review = factories.review()
    before = as_it_is(review)
    problem(moderate(caller, review.id, decision="approve"), 403)
    problem(moderate(nobody, review.id, decision="approve"), 401)
    assert as_it_is(review) == before
    assert reviews_of(nobody, package_of(review))["totalReviews"] == 0


def test_a_review_that_is_not_there_is_404(moderator: Caller) -> None:
    for review_id in (2**62, 2**63):
        problem(moderate(moderator, review_id, decision="approve"), 404)
