"""The public's reads of the catalogue, as SQL sees them."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask

from app.catalog import queries
from app.catalog.policies import POLICIES, terms
from tests import factories

FIRST = factories.tomorrow()


def test_units_left_are_what_is_neither_held_nor_booked(app: Flask) -> None:
    package = factories.package(units=5, days=3)
    factories.booking(of=package, nights=2, units=2)
    factories.paid_booking(of=package, nights=1)
    left = [(row.day, row.units_left) for row in queries.availability(package.id, FIRST, FIRST + timedelta(days=30))]
    assert left == [(FIRST, 2), (FIRST + timedelta(days=1), 3), (FIRST + timedelta(days=2), 5)]


def test_another_packages_days_are_not_mixed_in(app: Flask) -> None:
    package, _ = factories.package(days=1), factories.package(days=5)
    assert len(queries.availability(package.id, FIRST, FIRST + timedelta(days=30))) == 1


def test_a_read_sees_what_was_just_committed(app: Flask) -> None:
    package = factories.package(units=1, days=1)
    assert queries.availability(package.id, FIRST, FIRST + timedelta(days=1))[0].units_left == 1
    factories.booking(of=package, nights=1)
    assert queries.availability(package.id, FIRST, FIRST + timedelta(days=1))[0].units_left == 0


def test_one_more_package_than_asked_tells_that_there_is_a_next_page(app: Flask) -> None:
    seller = factories.provider()
    for _ in range(3):
        factories.package(provider_id=seller.id, days=1)
    rows = queries.packages(type_=None, provider_id=seller.id, after_id=None, limit=2)
    assert len(rows) == 3
    rest = queries.packages(type_=None, provider_id=seller.id, after_id=rows[1].id, limit=2)
    assert [row.id for row in rest] == [rows[2].id]


def test_every_policy_ends_with_what_the_last_day_gives_and_gives_less_the_later_it_is() -> None:
    for name, tiers in POLICIES.items():
        days, percents = [day for day, _ in tiers], [percent for _, percent in tiers]
        assert days == sorted(days, reverse=True)
        assert percents == sorted(percents, reverse=True)
        assert days[-1] == 0
        assert terms(name, tiers)["tiers"][0] == {"daysBefore": days[0], "refundPercent": percents[0]}
