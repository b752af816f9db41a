"""Claims: who is looking at what, one at a time, until they do nothing any more."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from flask import Flask
from sqlalchemy import text

from app.accounts import claims
from app.accounts.models import Claim
from app.audit.actor import SYSTEM, Actor
from app.catalog.models import Provider
from app.db import transaction
from app.extensions import db
from jobs.accounts import forget_old
from tests import factories
from tests.concurrency import at_once


def a_moderator() -> Actor:
    return factories.actor(factories.staff("moderator"))


def item() -> int:
    return factories.provider(status="PENDING").id


def holder(row_id: int) -> int | None:
    claim = claims.of(Provider, [row_id]).get(row_id)
    return claim.user_id if claim else None


def holder_after_opening(row_id: int, by: Actor) -> int:
    return claims.take(Provider, row_id, by=by).user_id


def let_pass(row_id: int, minutes: float) -> None:
    """As if the last sign of life were that much older."""
    with transaction():
        db.session.execute(
            text("UPDATE claims SET seen_at = seen_at - :time, since = since - :time WHERE object_id = :id"),
            {"time": timedelta(minutes=minutes), "id": row_id},
        )


def test_the_first_who_opens_an_item_has_it_and_others_are_told_whose_it_is(app: Flask) -> None:
    ada, bob, row_id = a_moderator(), a_moderator(), item()
    assert claims.take(Provider, row_id, by=ada).user_id == ada.id
    seen_by_bob = claims.take(Provider, row_id, by=bob)
    assert (seen_by_bob.user_id, seen_by_bob.user.name) == (ada.id, ada.label)
    assert holder(row_id) == ada.id


def test_it_ends_after_ten_idle_minutes_and_not_before(app: Flask) -> None:
    ada, bob, row_id = a_moderator(), a_moderator(), item()
    claims.take(Provider, row_id, by=ada)
    let_pass(row_id, 9.9)
    assert claims.take(Provider, row_id, by=bob).user_id == ada.id
    let_pass(row_id, 0.2)
    assert holder(row_id) is None
    taken = claims.take(Provider, row_id, by=bob)
    assert taken.user_id == bob.id
    assert taken.since == taken.seen_at


def test_the_idle_minutes_are_a_setting(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, row_id = a_moderator(), item()
    claims.take(Provider, row_id, by=ada)
    let_pass(row_id, 9)
    shorter = app.extensions["settings"].model_copy(update={"claim_minutes": 5})
    monkeypatch.setitem(app.extensions, "settings", shorter)
    assert holder(row_id) is None


def test_a_sign_of_life_keeps_it_since_it_was_opened(app: Flask) -> None:
    ada, row_id = a_moderator(), item()
    claims.take(Provider, row_id, by=ada)
    let_pass(row_id, 8)
    since = claims.of(Provider, [row_id])[row_id].since
    again = claims.take(Provider, row_id, by=ada)
    assert again.since == since
    let_pass(row_id, 8)
    assert holder(row_id) == ada.id


def test_who_comes_back_after_the_idle_minutes_looks_at_it_since_now(app: Flask) -> None:
    ada, row_id = a_moderator(), item()
    claims.take(Provider, row_id, by=ada)
    let_pass(row_id, 11)
    again = claims.take(Provider, row_id, by=ada)
    assert again.since == again.seen_at


def test_opening_another_item_lets_go_of_the_one_before(app: Flask) -> None:
    ada, bob, first, second, bobs = a_moderator(), a_moderator(), item(), item(), item()
    claims.take(Provider, bobs, by=bob)
    claims.take(Provider, first, by=ada)
    claims.take(Provider, second, by=ada)
    assert (holder(first), holder(second), holder(bobs)) == (None, ada.id, bob.id)
    claims.let_go(Provider, by=ada)
    assert (holder(second), holder(bobs)) == (None, bob.id)


def test_of_two_who_open_it_at_the_same_moment_one_has_it(app: Flask) -> None:
    people, row_id = [a_moderator() for _ in range(6)], item()
    found = at_once(app, *(partial(holder_after_opening, row_id, by) for by in people))
    assert len(set(found)) == 1
    assert holder(row_id) == found[0]


def test_two_who_change_places_all_the_time_never_wait_for_each_other(app: Flask) -> None:
    ada, bob, first, second = a_moderator(), a_moderator(), item(), item()

    def walk(by: Actor, order: tuple[int, int]) -> bool:
        for _ in range(20):
            for row_id in order:
                claims.take(Provider, row_id, by=by)
        return True

    assert at_once(app, partial(walk, ada, (first, second)), partial(walk, bob, (second, first))) == [True, True]


def test_nobody_in_particular_looks_at_nothing(app: Flask) -> None:
    row_id = item()
    with pytest.raises(ValueError, match="only a person"):
        claims.take(Provider, row_id, by=SYSTEM)
    assert holder(row_id) is None


def test_what_is_over_is_forgotten_and_what_lives_is_kept(app: Flask) -> None:
    ada, bob, gone, kept = a_moderator(), a_moderator(), item(), item()
    claims.take(Provider, gone, by=ada)
    claims.take(Provider, kept, by=bob)
    let_pass(gone, 11)
    forget_old()
    left = set(db.session.scalars(db.select(Claim.object_id).where(Claim.object_id.in_([gone, kept]))))
    assert left == {kept}
