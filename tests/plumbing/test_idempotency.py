"""Idempotency keys: the first answer is kept, and exactly one of many at once goes ahead."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import update

from app import idempotency
from app.db import transaction, utcnow
from app.errors import Conflict, Invalid
from app.extensions import db
from app.idempotency import IdempotencyKey, KeptAnswer, Use
from tests import factories
from tests.concurrency import at_once


def use(**values: object) -> Use:
    given = {"person_id": 0, "path": "/v1/bookings", "key": "key-1", "request_hash": b"hash", **values}
    given["person_id"] = given["person_id"] or factories.traveller().id
    return Use(**given)  # type: ignore[arg-type]


def test_the_first_goes_ahead_and_the_next_gets_its_answer(app: Flask) -> None:
    first = use()
    assert idempotency.begin(first) is None
    idempotency.keep(first, 201, b'{"id": 1}')
    assert idempotency.begin(first) == KeptAnswer(201, b'{"id": 1}')
    assert idempotency.begin(first) == KeptAnswer(201, b'{"id": 1}')


def test_while_the_first_is_running_the_next_is_told_to_wait(app: Flask) -> None:
    first = use()
    idempotency.begin(first)
    with pytest.raises(Conflict, match="still running") as refusal:
        idempotency.begin(first)
    assert refusal.value.retry_after == 1


def test_another_request_under_the_key_is_refused_running_or_done(app: Flask) -> None:
    first = use()
    other = use(person_id=first.person_id, request_hash=b"another")
    idempotency.begin(first)
    with pytest.raises(Invalid, match="another request"):
        idempotency.begin(other)
    idempotency.keep(first, 201, b"{}")
    with pytest.raises(Invalid, match="another request"):
        idempotency.begin(other)
    assert idempotency.begin(first) == KeptAnswer(201, b"{}")


@pytest.mark.parametrize("other", [{"path": "/v1/bookings/1/cancel"}, {"key": "key-2"}, {"person_id": 0}])
def test_a_key_is_one_persons_and_paths(app: Flask, other: dict[str, object]) -> None:
    first = use()
    idempotency.begin(first)
    assert idempotency.begin(use(**{"person_id": first.person_id, **other})) is None


def test_what_came_to_nothing_is_forgotten(app: Flask) -> None:
    first = use()
    idempotency.begin(first)
    idempotency.forget(first)
    assert idempotency.begin(first) is None


def test_an_answer_that_was_kept_is_not_forgotten(app: Flask) -> None:
    first = use()
    idempotency.begin(first)
    idempotency.keep(first, 201, b"{}")
    idempotency.forget(first)
    assert idempotency.begin(first) == KeptAnswer(201, b"{}")


def test_after_a_crash_the_key_is_taken_over_once_its_lease_ran_out(app: Flask) -> None:
    crashed = use()
    idempotency.begin(crashed)
    with transaction():
        db.session.execute(
            update(IdempotencyKey)
            .where(IdempotencyKey.person_id == crashed.person_id)
            .values(leased_until=utcnow() - timedelta(seconds=1))
        )
    outcomes = at_once(app, *[lambda: idempotency.begin(crashed)] * 3)
    assert sorted(str(type(outcome).__name__) for outcome in outcomes) == ["Conflict", "Conflict", "NoneType"]
    idempotency.keep(crashed, 201, b"{}")
    assert idempotency.begin(crashed) == KeptAnswer(201, b"{}")


def test_of_many_at_once_exactly_one_goes_ahead(app: Flask) -> None:
    first = use()
    outcomes = at_once(app, *[lambda: idempotency.begin(first)] * 6)
    assert sorted(str(type(outcome).__name__) for outcome in outcomes) == [*["Conflict"] * 5, "NoneType"]
