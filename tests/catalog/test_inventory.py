"""Stock: taken and given back day by day, and never below nothing or above what there is."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.catalog import inventory
from app.catalog.models import Package
from app.db import transaction
from app.errors import Conflict
from app.extensions import db
from tests import factories
from tests.concurrency import at_once

FIRST = factories.tomorrow()
DAYS = [FIRST + timedelta(days=n) for n in range(3)]


def stock(package: Package) -> list[tuple[int, int]]:
    return [factories.stock(package, day) for day in DAYS]


def test_held_units_are_booked_or_given_back(app: Flask) -> None:
    package = factories.package(units=3)
    with transaction():
        prices = inventory.hold(package.id, DAYS, 2)
    assert [(day.day, day.price_minor, day.units_left) for day in prices] == [(day, 10_000, 3) for day in DAYS]
    assert stock(package) == [(2, 0)] * 3
    with transaction():
        inventory.book(package.id, DAYS, 1)
        inventory.release_held(package.id, DAYS, 1)
    assert stock(package) == [(0, 1)] * 3


def test_nothing_is_taken_when_one_day_is_short(app: Flask) -> None:
    package = factories.package(units=1)
    with transaction():
        inventory.hold(package.id, DAYS[1:2], 1)
    with pytest.raises(Conflict, match=f"Sold out for 1 unit on {DAYS[1]}.$"), transaction():
        inventory.hold(package.id, DAYS, 1)
    assert stock(package) == [(0, 0), (1, 0), (0, 0)]


def test_many_days_that_are_short_are_named_briefly(app: Flask) -> None:
    package = factories.package(days=1)
    many = [FIRST + timedelta(days=n) for n in range(10)]
    with pytest.raises(Conflict, match=r"on (\d{4}-\d\d-\d\d, ){4}\d{4}-\d\d-\d\d and 4 more"), transaction():
        inventory.hold(package.id, many, 1)


def test_what_was_given_back_is_booked_again_only_if_all_of_it_is_there(app: Flask) -> None:
    package = factories.package(units=1)
    with transaction():
        assert inventory.book_again(package.id, DAYS, 1) is True
    assert stock(package) == [(0, 1)] * 3
    with transaction():
        assert inventory.book_again(package.id, DAYS, 1) is False
    assert stock(package) == [(0, 1)] * 3


def test_a_day_that_is_not_offered_cannot_be_booked_again(app: Flask) -> None:
    package = factories.package(days=2)
    with transaction():
        assert inventory.book_again(package.id, DAYS, 1) is False
    assert factories.stock(package) == (0, 0)


def test_stock_is_changed_inside_a_transaction_only(app: Flask) -> None:
    package = factories.package()
    with pytest.raises(RuntimeError, match="transaction"):
        inventory.hold(package.id, DAYS, 1)
    assert stock(package) == [(0, 0)] * 3


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("held = 2", "ck_availability_not_oversold"),
        ("booked = 1, held = 1", "ck_availability_not_oversold"),
        ("held = -1", "ck_availability_counts"),
        ("booked = -1", "ck_availability_counts"),
        ("capacity = -1", "ck_availability_"),
        ("price_minor = 0", "ck_availability_price"),
    ],
)
def test_the_database_refuses_by_itself(app: Flask, change: str, constraint: str) -> None:
    package = factories.package(units=1)
    with pytest.raises(IntegrityError, match=constraint):
        db.session.execute(text(f"UPDATE availability SET {change} WHERE package_id = :id"), {"id": package.id})
    assert stock(package) == [(0, 0)] * 3


def test_giving_back_more_than_is_held_is_refused(app: Flask) -> None:
    package = factories.package(units=5)
    with pytest.raises(IntegrityError, match="ck_availability_counts"), transaction():
        inventory.release_held(package.id, DAYS, 1)
    assert stock(package) == [(0, 0)] * 3


def test_units_are_never_sold_twice_however_many_ask_at_once(app: Flask) -> None:
    package = factories.package(units=5)
    package_id = package.id

    def take(days: list[date]) -> int:
        with transaction():
            return len(inventory.hold(package_id, days, 1))

    wishes = [DAYS, DAYS[::-1], DAYS[1:], DAYS[:2]] * 2
    outcomes = at_once(app, *(lambda days=days: take(days) for days in wishes))
    taken = [days for days, outcome in zip(wishes, outcomes, strict=True) if isinstance(outcome, int)]
    assert {type(outcome) for outcome in outcomes} <= {int, Conflict}
    assert stock(package) == [(sum(day in days for days in taken), 0) for day in DAYS]
    assert max(held for held, _ in stock(package)) == 5
