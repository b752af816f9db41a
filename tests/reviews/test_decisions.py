"""Deciding on a review: submit, withdraw, approve, reject, undo, reverse; what is shown when, and who comes second."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from app.audit.actor import Actor
from app.bookings.models import Booking
from app.db import transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed, NotFound
from app.extensions import db
from app.reviews import service as reviews
from app.reviews.models import Review
from tests import factories
from tests.concurrency import at_once, held_up
from tests.reviews.deciding import approved, as_it_is, counted, package_of, shown, trail, window_over

WORDS: dict[str, Any] = {"rating": 4, "title": "Would come back", "content": "Quiet at night."}


def reviews_of(booking: Booking) -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).select_from(Review).where(Review.booking_id == booking.id)) or 0


def traveller_of(booking: Booking) -> Actor:
    return Actor("traveller", booking.traveller_id, "The traveller")


def test_a_completed_stay_is_reviewed_and_the_review_waits(app: Flask) -> None:
    stay = factories.completed_booking()
    made = reviews.submit(stay.id, rating=5, title="  Exactly right ", content="\nAll of it.\n", by=traveller_of(stay))
    kept = factories.reread(made)
    assert (kept.status, kept.rating, kept.title, kept.content) == ("PENDING", 5, "Exactly right", "All of it.")
    assert (kept.package_id, kept.traveller_id) == (stay.package_id, stay.traveller_id)
    (entry,) = trail(made)
    assert (entry.action, entry.actor_id, entry.before) == ("review.submit", stay.traveller_id, None)
    assert counted(package_of(made)) == {}


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({"rating": 0}, ["rating"]),
        ({"rating": 6}, ["rating"]),
        ({"title": "  "}, ["title"]),
        ({"title": "T" * 151}, ["title"]),
        ({"content": "\n"}, ["content"]),
        ({"rating": -1, "content": "C" * 5001}, ["rating", "content"]),
    ],
)
def test_a_review_that_says_too_little_or_too_much_is_refused_by_field(
    app: Flask, wrong: dict[str, Any], fields: list[str]
) -> None:
    stay = factories.completed_booking()
    with pytest.raises(Invalid) as refusal:
        reviews.submit(stay.id, **{**WORDS, **wrong}, by=traveller_of(stay))
    assert [found.field for found in refusal.value.fields] == fields
    assert reviews_of(stay) == 0


def test_a_stay_that_is_not_over_is_not_reviewed(app: Flask) -> None:
    held = factories.booking()
    with pytest.raises(Conflict, match="this booking is pending payment"):
        reviews.submit(held.id, **WORDS, by=traveller_of(held))
    assert reviews_of(held) == 0


def test_another_persons_stay_is_not_found(app: Flask) -> None:
    stay = factories.completed_booking()
    with pytest.raises(NotFound):
        reviews.submit(stay.id, **WORDS, by=factories.actor())
    assert reviews_of(stay) == 0


def test_of_many_reviews_of_one_stay_at_once_one_is_kept(app: Flask) -> None:
    stay = factories.completed_booking()
    outcomes = at_once(app, *[lambda: reviews.submit(stay.id, **WORDS, by=traveller_of(stay))] * 4)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Conflict", "Conflict", "Review"]
    assert {str(outcome) for outcome in outcomes if isinstance(outcome, Conflict)} == {
        "This booking has a review already."
    }
    assert reviews_of(stay) == 1


def test_a_second_review_waits_for_the_first_and_is_refused(app: Flask) -> None:
    stay = factories.completed_booking()
    with transaction():
        reviews.submit(stay.id, **WORDS, by=traveller_of(stay))
        second = held_up(app, lambda: reviews.submit(stay.id, **WORDS, by=traveller_of(stay)))
    assert str(second()) == "This booking has a review already."
    assert reviews_of(stay) == 1


def test_what_nobody_has_decided_on_is_withdrawn_at_its_authors_request(app: Flask) -> None:
    review, by = factories.review(), factories.moderator()
    before = as_it_is(review)
    for refused in (factories.actor(factories.staff("support")), Actor("traveller", review.traveller_id, "Its author")):
        with pytest.raises(NotAllowed):
            reviews.withdraw(review.id, reason="Asked us", by=refused)
    with pytest.raises(Invalid):
        reviews.withdraw(review.id, reason=" ", by=by)
    assert as_it_is(review) == before
    assert reviews.withdraw(review.id, reason="Asked us", by=by).withdrawn_at is not None
    assert trail(review)[-1].reason == "Asked us"
    with pytest.raises(Conflict, match=rf"^Withdrawn by {by.label} (just now|\d+ seconds? ago)\.$"):
        reviews.approve(review.id, by=by)
    assert factories.reread(review).status == "WITHDRAWN"


def test_what_was_decided_on_is_not_withdrawn_any_more(app: Flask) -> None:
    review, by = factories.review(), factories.moderator()
    reviews.reject(review.id, reason="private", by=by)
    before = as_it_is(review)
    with pytest.raises(Conflict, match=rf"^Rejected by {by.label} "):
        reviews.withdraw(review.id, reason="Asked us", by=by)
    assert as_it_is(review) == before


def test_an_approval_counts_at_once_and_is_shown_when_it_cannot_be_undone_any_more(app: Flask) -> None:
    review, by = factories.review(rating=4), factories.moderator()
    package = package_of(review)
    reviews.approve(review.id, notes=" Fine ", by=by)
    kept = factories.reread(review)
    assert (kept.status, kept.moderated_by, kept.moderation_reason, kept.moderation_notes) == (
        *("APPROVED", by.id),
        *(None, "Fine"),
    )
    assert timedelta(seconds=29) <= kept.undo_until - kept.moderated_at <= timedelta(seconds=31)
    assert (counted(package), shown(package)) == ({4: 1}, {})
    reviews.settle_due()
    assert (shown(package), factories.reread(review).undo_until) == ({}, kept.undo_until)
    window_over(review)
    assert shown(package) == {}
    assert reviews.settle_due() >= 1
    assert (counted(package), shown(package)) == ({4: 1}, {4: 1})
    assert factories.reread(review).undo_until is None
    assert [entry.action for entry in trail(review)] == ["review.submit", "review.approve"]


def test_a_rejection_says_why_and_counts_nothing(app: Flask) -> None:
    review, by = factories.review(), factories.moderator()
    reviews.reject(review.id, reason="off_topic", notes="About the airline", by=by)
    kept = factories.reread(review)
    assert (kept.status, kept.moderation_reason, kept.moderation_notes) == (
        *("REJECTED", "off_topic"),
        "About the airline",
    )
    entry = trail(review)[-1]
    assert (entry.action, entry.reason) == ("review.reject", "About something else than the stay")
    assert (entry.before or {})["status"] == "PENDING"
    assert (entry.after or {})["moderation_notes"] == "About the airline"
    assert counted(package_of(review)) == {}


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": "Because"}, "reason"),
        ({"reason": "other"}, "notes"),
        ({"reason": "other", "notes": " "}, "notes"),
        ({"reason": "private", "notes": "N" * 2001}, "notes"),
    ],
)
def test_a_rejection_without_a_reason_is_refused(app: Flask, wish: dict[str, str], field: str) -> None:
    review, by = factories.review(), factories.moderator()
    before = as_it_is(review)
    for refused in (reviews.reject, lambda review_id, **rest: reviews.reject_many([review_id], **rest)):
        with pytest.raises(Invalid) as refusal:
            refused(review.id, **wish, by=by)
        assert [found.field for found in refusal.value.fields] == [field]
    assert as_it_is(review) == before


DECISIONS: list[Callable[[int, Actor], Any]] = [
    lambda review_id, by: reviews.approve(review_id, by=by),
    lambda review_id, by: reviews.reject(review_id, reason="private", by=by),
    lambda review_id, by: reviews.undo(review_id, by=by),
    lambda review_id, by: reviews.reverse(review_id, reason="A mistake", by=by),
    lambda review_id, by: reviews.approve_many([review_id], by=by),
    lambda review_id, by: reviews.reject_many([review_id], reason="private", by=by),
    lambda review_id, by: reviews.undo_many([review_id], by=by),
]


@pytest.mark.parametrize("decide", DECISIONS)
@pytest.mark.parametrize("role", ["support", "finance", None])
def test_only_moderators_and_admins_decide(app: Flask, decide: Callable[[int, Actor], Any], role: str | None) -> None:
    review = factories.review()
    before = as_it_is(review)
    with pytest.raises(NotAllowed, match="moderator or admin"):
        decide(review.id, factories.actor(factories.staff(role) if role else None))
    assert as_it_is(review) == before


def test_a_decision_on_nothing_is_not_found(app: Flask) -> None:
    for decide in DECISIONS[:4]:
        with pytest.raises(NotFound):
            decide(2**62, factories.moderator())
    assert reviews.approve_many([2**62], by=factories.moderator()) == []
    assert reviews.what_happened([2**62]) == {}


@pytest.mark.parametrize("to", ["APPROVED", "REJECTED"])
def test_ones_own_decision_is_undone_within_the_window_and_the_review_waits_as_before(app: Flask, to: str) -> None:
    review, by = factories.review(), factories.moderator()
    before = as_it_is(review)
    DECISIONS[to == "REJECTED"](review.id, by)
    reviews.undo(review.id, by=by)
    after = as_it_is(review)
    assert (*after[:7], after[8]) == (*before[:7], before[8])
    entry = trail(review)[-1]
    assert (entry.action, entry.actor_id) == ("review.undo", by.id)
    assert ((entry.before or {})["status"], (entry.after or {})["status"]) == (to, "PENDING")
    # It was never shown, and can be decided on anew.
    assert shown(package_of(review)) == {}
    assert reviews.approve(review.id, by=by).status == "APPROVED"


def test_somebody_elses_decision_is_not_undone(app: Flask) -> None:
    review, by = factories.review(), factories.moderator()
    reviews.approve(review.id, by=by)
    before = as_it_is(review)
    with pytest.raises(NotAllowed, match=rf"^Approved by {by.label} .*\. Only who decided can undo it"):
        reviews.undo(review.id, by=factories.moderator())
    assert reviews.undo_many([review.id], by=factories.moderator()) == []
    assert as_it_is(review) == before


@pytest.mark.parametrize("is_settled", [False, True])
def test_a_decision_is_not_undone_when_the_window_is_over(app: Flask, is_settled: bool) -> None:
    review, by = factories.review(), factories.moderator()
    reviews.approve(review.id, by=by)
    window_over(review)
    if is_settled:
        reviews.settle_due()
    before = as_it_is(review)
    with pytest.raises(Conflict, match="The time to undo it is over; you can reverse it"):
        reviews.undo(review.id, by=by)
    assert reviews.undo_many([review.id], by=by) == []
    assert as_it_is(review) == before


def test_what_waits_has_nothing_to_undo_or_reverse(app: Flask) -> None:
    review, by = factories.review(), factories.moderator()
    before = as_it_is(review)
    for decide in DECISIONS[2:4]:
        with pytest.raises(Conflict, match=r"^Waits for a decision\. There is nothing to take back\.$"):
            decide(review.id, by)
    assert as_it_is(review) == before


def test_a_decision_is_reversed_by_anybody_at_any_time_with_a_reason(app: Flask) -> None:
    review, by = factories.review(rating=2), factories.moderator()
    package = package_of(review)
    reviews.approve(review.id, by=factories.moderator())
    window_over(review)
    reviews.settle_due()
    assert shown(package) == {2: 1}
    before = as_it_is(review)
    with pytest.raises(Invalid):
        reviews.reverse(review.id, reason=" ", by=by)
    assert as_it_is(review) == before
    reviews.reverse(review.id, reason="The guest was never there", by=by)
    kept = factories.reread(review)
    assert (kept.status, kept.moderated_by, kept.moderated_at) == ("PENDING", None, None)
    assert (counted(package), shown(package)) == ({}, {})
    assert (trail(review)[-1].action, trail(review)[-1].reason) == ("review.reverse", "The guest was never there")
    with pytest.raises(Conflict, match=rf"^Reversed by {by.label} (just now|\d+ seconds? ago)\."):
        reviews.undo(review.id, by=by)
    # Within somebody's window, too.
    reviews.reject(review.id, reason="fake", by=factories.moderator())
    assert reviews.reverse(review.id, reason="Looked again", by=by).undo_until is None


def test_who_comes_second_hears_what_happened_by_whom_and_how_long_ago(app: Flask) -> None:
    review, by = factories.review(), factories.moderator()
    reviews.approve(review.id, by=by)
    with transaction():
        earlier = text("UPDATE reviews SET moderated_at = clock_timestamp() - CAST(:ago AS interval) WHERE id = :id")
        db.session.execute(earlier, {"ago": "4.5 seconds", "id": review.id})
    before = as_it_is(review)
    for decide in DECISIONS[:2]:
        with pytest.raises(Conflict) as refusal:
            decide(review.id, factories.moderator())
        assert re.fullmatch(rf"Approved by {by.label} \d+ seconds ago\.", refusal.value.detail)
    assert as_it_is(review) == before
    for ago, said in (("90 seconds", "1 minute ago"), ("7500 seconds", "2 hours ago"), ("9 days", "on ")):
        with transaction():
            db.session.execute(earlier, {"ago": ago, "id": review.id})
        assert reviews.what_happened([review.id])[review.id].startswith(f"Approved by {by.label} {said}")
    reviews.reverse(review.id, reason="Looked again", by=by)
    reviews.reject(review.id, reason="private", by=by)
    said = reviews.what_happened([review.id])[review.id]
    assert re.fullmatch(
        rf"Rejected by {by.label} (just now|\d+ seconds? ago): names or describes a private person\.", said
    )


def test_of_two_moderators_at_once_one_decides_and_the_other_hears_of_it(app: Flask) -> None:
    review = factories.review()
    people = [factories.moderator(), factories.moderator()]
    outcomes = at_once(
        app,
        lambda: reviews.approve(review.id, by=people[0]),
        lambda: reviews.reject(review.id, reason="private", by=people[1]),
    )
    (lost,) = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    winner = people[0] if isinstance(outcomes[0], Review) else people[1]
    assert f" by {winner.label} " in lost.detail
    kept = factories.reread(review)
    assert kept.moderated_by == winner.id
    assert counted(package_of(review)) == approved(package_of(review))
    assert len(trail(review)) == 2


def test_approvals_of_one_package_at_once_are_all_counted(app: Flask) -> None:
    package = factories.package(units=20)
    waiting = [factories.review(of=package, rating=5) for _ in range(8)]
    people = [factories.moderator() for _ in waiting]
    outcomes = at_once(
        app,
        *(
            lambda review=review, by=by: reviews.approve(review.id, by=by)
            for review, by in zip(waiting, people, strict=True)
        ),
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["Review"] * 8
    assert counted(package) == {5: 8}
    outcomes = at_once(
        app,
        *(
            lambda review=review, by=by: reviews.undo(review.id, by=by)
            for review, by in zip(waiting[:6], people[:6], strict=True)
        ),
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["Review"] * 6
    assert counted(package) == {5: 2}


def test_who_undoes_while_the_window_is_being_closed_comes_too_late(app: Flask) -> None:
    review, by = factories.review(), factories.moderator()
    reviews.approve(review.id, by=by)
    with transaction():
        db.session.execute(text("UPDATE reviews SET undo_until = NULL WHERE id = :id"), {"id": review.id})
        undone = held_up(app, lambda: reviews.undo(review.id, by=by))
    assert isinstance(undone(), Conflict)
    assert shown(package_of(review)) == {4: 1}


def test_a_window_is_not_closed_under_somebody_who_takes_the_decision_back(app: Flask) -> None:
    review, by = factories.review(), factories.moderator()
    reviews.approve(review.id, by=by)
    window_over(review)
    with transaction():
        reviews.reverse(review.id, reason="Looked again", by=by)
        (settled,) = at_once(app, reviews.settle_due)
    assert isinstance(settled, int)
    reviews.settle_due()
    assert (factories.reread(review).status, shown(package_of(review))) == ("PENDING", {})


def test_a_window_of_no_seconds_shows_at_once_and_undoes_nothing(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.extensions, "settings", app.extensions["settings"].model_copy(update={"undo_seconds": 0}))
    review, by = factories.review(), factories.moderator()
    reviews.approve(review.id, by=by)
    with pytest.raises(Conflict, match="time to undo it is over"):
        reviews.undo(review.id, by=by)
    reviews.settle_due()
    assert shown(package_of(review)) == {4: 1}
    assert utcnow() > factories.reread(review).moderated_at
