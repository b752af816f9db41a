"""Deciding on many reviews in one statement, with their entries and their stars, beside whoever else decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from app.audit.actor import Actor
from app.catalog.models import Package
from app.db import transaction
from app.errors import Conflict
from app.extensions import db
from app.reviews import service as reviews
from app.reviews.models import Review
from tests import factories
from tests.concurrency import at_once, held_up
from tests.reviews.deciding import approved, as_it_is, counted, shown, trail, window_over


def waiting(package: Package, *ratings: int) -> list[Review]:
    return [factories.review(of=package, rating=rating) for rating in ratings]


def ids(*of: list[Review]) -> list[int]:
    return [review.id for some in of for review in some]


@contextmanager
def statements() -> Iterator[list[str]]:
    """What this thread's app sends to the database meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    yield sent
    event.remove(db.engine, "before_cursor_execute", note)


def test_many_are_approved_with_their_entries_and_stars_and_the_others_are_left(app: Flask) -> None:
    packages = [factories.package(units=20), factories.package(units=20)]
    some, others = waiting(packages[0], 5, 4, 5), waiting(packages[1], 1, 2)
    by, earlier = factories.moderator(), factories.moderator()
    reviews.reject(some[0].id, reason="private", by=earlier)
    left = as_it_is(some[0])
    moved = reviews.approve_many([*ids(some, others), 2**62], by=by)
    assert moved == sorted(ids(some[1:], others))
    assert as_it_is(some[0])[:-1] == left[:-1]
    assert [counted(package) for package in packages] == [{4: 1, 5: 1}, {1: 1, 2: 1}]
    assert [shown(package) for package in packages] == [{}, {}]
    one, alone = factories.reread(some[1]), factories.review()
    reviews.approve(alone.id, by=by)
    assert (one.status, one.moderated_by, one.undo_until > one.moderated_at) == ("APPROVED", by.id, True)
    # The trail tells it as it tells of one alone.
    entry, told = trail(one)[-1], trail(alone)[-1]
    assert (entry.action, entry.actor_id, entry.actor_label, entry.reason, entry.request_id) == (
        *(told.action, told.actor_id, told.actor_label, told.reason),
        told.request_id,
    )
    assert entry.before == told.before
    assert set(entry.after or {}) == set(told.after or {})
    assert (entry.after or {})["undo_until"] == one.undo_until.isoformat()
    assert reviews.what_happened(ids(some))[some[0].id].startswith(f"Rejected by {earlier.label} ")


def test_many_are_rejected_and_undone_by_who_did_it(app: Flask) -> None:
    package = factories.package(units=20)
    some, by = waiting(package, 5, 4, 3, 3), factories.moderator()
    assert reviews.reject_many(ids(some[:2]), reason="other", notes=" Sold for money ", by=by) == ids(some[:2])
    assert reviews.approve_many(ids(some), by=by) == ids(some[2:])
    rejected = factories.reread(some[0])
    assert (rejected.status, rejected.moderation_reason, rejected.moderation_notes) == (
        *("REJECTED", "other"),
        "Sold for money",
    )
    assert trail(rejected)[-1].reason == "Another reason, in the notes"
    assert counted(package) == {3: 2}
    assert reviews.undo_many(ids(some[1:]), by=factories.moderator()) == []
    assert counted(package) == {3: 2}
    assert reviews.undo_many(ids(some[1:]), by=by) == ids(some[1:])
    assert counted(package) == {}
    undone = factories.reread(some[1])
    assert (undone.status, undone.moderated_by, undone.moderation_reason, undone.undo_until) == (
        *("PENDING", None),
        *(None, None),
    )
    entry = trail(undone)[-1]
    assert entry.action == "review.undo"
    assert ((entry.before or {})["status"], (entry.before or {})["moderation_notes"]) == ("REJECTED", "Sold for money")
    assert (entry.after or {})["status"] == "PENDING"


def test_each_is_one_statement_however_many_there_are(app: Flask) -> None:
    package = factories.package(units=20)
    some, by = waiting(package, *[1, 2, 3, 4, 5] * 2), factories.moderator()
    for decide in (
        lambda: reviews.approve_many(ids(some), by=by),
        lambda: reviews.undo_many(ids(some), by=by),
        lambda: reviews.reject_many(ids(some), reason="private", by=by),
    ):
        with statements() as sent:
            assert decide() == ids(some)
        assert len(sent) == 1, sent


def test_none_at_all_is_none(app: Flask) -> None:
    by = factories.moderator()
    assert reviews.approve_many([], by=by) == reviews.undo_many([], by=by) == []
    assert reviews.what_happened([]) == {}


def test_a_refusal_around_it_takes_all_of_it_back(app: Flask) -> None:
    package = factories.package(units=20)
    some = waiting(package, 5, 5)
    before = [as_it_is(review) for review in some]
    with pytest.raises(Conflict), transaction():
        reviews.approve_many(ids(some), by=factories.moderator())
        raise Conflict("No.")
    assert [as_it_is(review) for review in some] == before


def test_many_settle_in_batches(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.undo._BATCH", 2)
    package = factories.package(units=20)
    some, by = waiting(package, 5, 5, 4, 1, 1), factories.moderator()
    reviews.approve_many(ids(some[:4]), by=by)
    reviews.reject_many(ids(some[4:]), reason="private", by=by)
    window_over(*some)
    assert reviews.settle_due() >= 5
    assert shown(package) == {1: 1, 4: 1, 5: 2}
    assert {factories.reread(review).undo_until for review in some} == {None}


def test_one_decision_meanwhile_is_left_as_it_is_by_many(app: Flask) -> None:
    package = factories.package(units=20)
    some, first, second = waiting(package, 5, 5, 5), factories.moderator(), factories.moderator()
    with transaction():
        reviews.reject(some[1].id, reason="private", by=first)
        many = held_up(app, lambda: reviews.approve_many(ids(some), by=second))
    assert many() == [some[0].id, some[2].id]
    assert factories.reread(some[1]).moderated_by == first.id
    assert counted(package) == {5: 2}
    assert [len(trail(review)) for review in some] == [2, 2, 2]


def test_who_decides_on_one_while_many_are_decided_hears_of_it(app: Flask) -> None:
    package = factories.package(units=20)
    some, first, second = waiting(package, 5, 5), factories.moderator(), factories.moderator()
    with transaction():
        reviews.approve_many(ids(some), by=first)
        one = held_up(app, lambda: reviews.reject(some[1].id, reason="private", by=second))
    refusal = one()
    assert isinstance(refusal, Conflict)
    assert refusal.detail.startswith(f"Approved by {first.label} ")
    assert counted(package) == {5: 2}
    assert len(trail(some[1])) == 2


def test_stars_changed_meanwhile_are_added_to_and_taken_from_as_they_are_then(app: Flask) -> None:
    package = factories.package(units=20)
    mine, theirs = waiting(package, 5, 5, 4), waiting(package, 5, 4, 4)
    me, them = factories.moderator(), factories.moderator()
    reviews.approve_many(ids(mine), by=me)
    with transaction():
        reviews.approve_many(ids(theirs[:2]), by=them)
        undone = held_up(app, lambda: reviews.undo_many(ids(mine), by=me))
    assert undone() == ids(mine)
    assert counted(package) == {4: 1, 5: 1}
    with transaction():
        reviews.undo_many(ids(theirs[:1]), by=them)
        again = held_up(app, lambda: reviews.approve_many(ids(mine, theirs[2:]), by=me))
    assert again() == ids(mine, theirs[2:])
    assert counted(package) == approved(package) == {4: 3, 5: 2}


def test_moderators_who_take_the_same_rows_in_other_orders_neither_wait_in_a_ring_nor_decide_twice(app: Flask) -> None:
    packages = [factories.package(units=20) for _ in range(3)]
    some = [review for package in packages for review in waiting(package, 5, 4, 3, 2)]
    people = [factories.moderator() for _ in range(4)]

    def take(by: Actor, order: Callable[[list[int]], list[int]]) -> tuple[list[int], list[int]]:
        return reviews.approve_many(order(ids(some)), by=by), reviews.undo_many(order(ids(some))[:6], by=by)

    orders: list[Callable[[list[int]], list[int]]] = [list, lambda them: them[::-1]] * 2
    outcomes = at_once(
        app, *(lambda by=by, order=order: take(by, order) for by, order in zip(people, orders, strict=True))
    )
    assert [type(outcome) for outcome in outcomes] == [tuple] * 4, outcomes
    for package in packages:
        assert counted(package) == approved(package)
    for review in some:
        actions = [entry.action for entry in trail(review)]
        assert actions[1::2] == ["review.approve"] * len(actions[1::2])
        assert actions[2::2] == ["review.undo"] * len(actions[2::2])
