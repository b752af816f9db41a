"""Being wrong too often when signing in: who waits, for how long, and who doesn't."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from app.accounts import passwords, throttle
from app.accounts import service as accounts
from app.accounts.models import SignInThrottle, User
from app.accounts.throttle import LIMITS
from app.db import transaction
from app.errors import NotAllowed, TooMany
from app.extensions import db
from tests import factories
from tests.accounts.codes import clock, set_up
from tests.concurrency import at_once

HOME, STRANGER = "198.51.100.7", "203.0.113.9"


__all__ = ["clock"]
pytestmark = pytest.mark.usefixtures("clock")


def attempt(person: User | str, password: str = factories.PASSWORD, address: str = HOME) -> User:
    email = person if isinstance(person, str) else person.email
    return accounts.authenticate(email=email, password=password, address=address)


def be_wrong(person: User | str, times: int, address: str = HOME) -> None:
    for _ in range(times):
        with pytest.raises(NotAllowed):
            attempt(person, "not the password", address)


def let_pass(seconds: int) -> None:
    """Shift everything that was counted into the past."""
    with transaction():
        for column in ("failed_at", "blocked_until", "succeeded_at", "changed_at"):
            db.session.execute(
                text(f"UPDATE sign_in_throttles SET {column} = {column} - make_interval(secs => :seconds)"),
                {"seconds": seconds},
            )


def counted() -> Any:
    db.session.rollback()
    return db.session.execute(
        select(SignInThrottle.scope, SignInThrottle.key, SignInThrottle.failures).order_by(SignInThrottle.scope)
    ).all()


def test_after_five_wrong_passwords_even_the_right_one_waits(app: Flask) -> None:
    person = factories.traveller()
    be_wrong(person, LIMITS["pair"].free)
    before = counted()
    with pytest.raises(TooMany, match="Try again in 2 seconds") as refusal:
        attempt(person)
    assert refusal.value.retry_after == 2
    assert counted() == before
    let_pass(3)
    assert attempt(person).id == person.id


def test_each_further_failure_doubles_the_wait_up_to_a_quarter_of_an_hour(app: Flask) -> None:
    limit = LIMITS["pair"]
    waits = [int(limit.wait_after(failures).total_seconds()) for failures in (4, 5, 6, 7, 12, 13, 14, 1_000)]
    assert waits == [0, 2, 4, 8, 256, 512, 900, 900]
    person = factories.traveller()
    be_wrong(person, limit.free)
    seen = []
    for _ in range(3):
        let_pass(1000)
        be_wrong(person, 1)
        with pytest.raises(TooMany) as refusal:
            attempt(person)
        seen.append(refusal.value.retry_after)
    assert seen == [4, 8, 16]


def test_while_one_has_to_wait_nothing_is_hashed(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    person = factories.traveller()
    be_wrong(person, LIMITS["pair"].free)
    monkeypatch.delattr(passwords, "_hasher")
    with pytest.raises(TooMany):
        attempt(person)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Has something happen while the next password is hashed."""

    def happens(what: Callable[[], None]) -> None:
        def matches(password_hash: str | None, password: str) -> bool:
            monkeypatch.setattr(accounts, "matches", passwords.matches)
            what()
            return passwords.matches(password_hash, password)

        monkeypatch.setattr(accounts, "matches", matches)

    return happens


def test_whose_password_was_right_after_others_were_wrong_is_not_told(
    app: Flask, meanwhile: Callable[[Callable[[], None]], None]
) -> None:
    person = factories.traveller()
    set_up(person)
    meanwhile(lambda: be_wrong(person, LIMITS["pair"].free))
    # "Second factor needed" would say that the password was right.
    with pytest.raises(TooMany):
        attempt(person)


def test_getting_in_while_others_are_wrong_is_not_getting_in(app: Flask) -> None:
    person = factories.traveller()
    be_wrong(person, LIMITS["pair"].free)
    before = counted()
    with pytest.raises(TooMany):
        throttle.note_success(person.email, HOME)
    assert counted() == before


def test_getting_in_forgives_what_went_before(app: Flask) -> None:
    person = factories.traveller()
    for _ in range(3):
        be_wrong(person, LIMITS["pair"].free - 1)
        assert attempt(person).id == person.id


def test_failures_are_forgotten_after_a_day(app: Flask) -> None:
    person = factories.traveller()
    be_wrong(person, LIMITS["pair"].free - 1)
    let_pass(int(LIMITS["pair"].forgotten_after.total_seconds()) + 1)
    be_wrong(person, 1)
    assert attempt(person).id == person.id


def test_a_stranger_locks_out_nobody_but_themselves(app: Flask) -> None:
    person = factories.traveller()
    be_wrong(person, LIMITS["pair"].free, STRANGER)
    with pytest.raises(TooMany):
        attempt(person, address=STRANGER)
    assert attempt(person, address=HOME).id == person.id


def test_many_strangers_stop_at_the_person_but_not_at_their_usual_address(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LIMITS, "email", throttle.Limit(8, timedelta(minutes=15), timedelta(days=1)))
    person = factories.traveller()
    attempt(person, address=HOME)
    for number in range(8):
        be_wrong(person, 1, f"203.0.113.{number}")
    with pytest.raises(TooMany):
        attempt(person, address="203.0.113.99")
    assert attempt(person, address=HOME).id == person.id


def test_an_address_that_guesses_at_many_accounts_is_stopped(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "address", throttle.Limit(8, timedelta(minutes=5), timedelta(hours=1)))
    person, colleague = factories.traveller(), factories.traveller()
    attempt(colleague, address=STRANGER)
    for number in range(8):
        be_wrong(f"nobody-{number}@example.org", 1, STRANGER)
    with pytest.raises(TooMany):
        attempt(person, address=STRANGER)
    assert attempt(person, address=HOME).id == person.id
    # Whose usual address it is isn't held responsible for the guests.
    assert attempt(colleague, address=STRANGER).id == colleague.id


def test_an_account_of_ones_own_buys_no_guesses_at_others(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "address", throttle.Limit(6, timedelta(minutes=5), timedelta(hours=1)))
    own = factories.traveller()
    for number in range(6):
        attempt(own, address=STRANGER)
        be_wrong(f"victim-{number}@example.org", 1, STRANGER)
    with pytest.raises(TooMany):
        attempt("victim-7@example.org", address=STRANGER)


def test_an_address_without_account_is_throttled_like_one_with(app: Flask) -> None:
    person = factories.traveller()
    told = []
    for who in (person, "nobody-at-all@example.org"):
        be_wrong(who, LIMITS["pair"].free)
        with pytest.raises(TooMany) as refusal:
            attempt(who)
        told.append((refusal.value.detail, refusal.value.retry_after))
    assert told[0] == told[1]


def test_how_an_address_is_written_makes_no_difference(app: Flask) -> None:
    person = factories.traveller()
    for number in range(LIMITS["pair"].free):
        written = person.email.upper() if number % 2 else f" {person.email} "
        be_wrong(written, 1, f"2001:db8:1:2::{number}")
    with pytest.raises(TooMany):
        attempt(person, address="2001:db8:1:2:ffff::1")
    assert attempt(person, address="2001:db8:1:3::1").id == person.id


def test_an_ipv4_address_is_the_same_when_it_comes_over_ipv6(app: Flask) -> None:
    person = factories.traveller()
    be_wrong(person, LIMITS["pair"].free, f"::ffff:{HOME}")
    with pytest.raises(TooMany):
        attempt(person, address=HOME)


def test_what_is_no_text_is_counted_too(app: Flask) -> None:
    be_wrong("\ud800", LIMITS["pair"].free)
    with pytest.raises(TooMany):
        attempt("\ud800")


def test_guessing_in_parallel_gains_nothing(app: Flask) -> None:
    person = factories.traveller()
    outcomes = at_once(app, *[lambda: attempt(person, "not the password")] * 20)
    assert sorted({type(outcome).__name__ for outcome in outcomes}) == ["NotAllowed", "TooMany"]
    assert sum(isinstance(outcome, NotAllowed) for outcome in outcomes) == LIMITS["pair"].free
    with pytest.raises(TooMany):
        attempt(person)


def test_nothing_that_was_typed_is_kept_in_the_clear(app: Flask) -> None:
    be_wrong("my-password-by-mistake", 1)
    kept = db.session.execute(text("SELECT * FROM sign_in_throttles")).all()
    assert len(kept) == 3
    assert all(isinstance(row.key, memoryview) for row in kept)
    assert "my-password" not in str([bytes(row.key) for row in kept])


def test_old_counts_are_deleted(app: Flask) -> None:
    be_wrong(factories.traveller(), 1)
    throttle.forget_old()
    assert db.session.scalar(select(func.count()).select_from(SignInThrottle)) == 3
    let_pass(91 * 86_400)
    throttle.forget_old()
    assert db.session.scalar(select(func.count()).select_from(SignInThrottle)) == 0
