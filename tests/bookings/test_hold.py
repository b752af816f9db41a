"""Holding: what may be booked, at which price and policy, and who gets the last unit."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from app.audit.actor import SYSTEM
from app.bookings import service as bookings
from app.bookings import stay
from app.bookings.models import Booking
from app.catalog.models import Availability, Package
from app.db import transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed, NotFound
from app.extensions import db
from tests import factories
from tests.concurrency import at_once

FIRST = factories.tomorrow()


def nights(count: int) -> dict[str, Any]:
    return {"check_in": FIRST, "check_out": FIRST + timedelta(days=count)}


def bookings_of(package: Package) -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).select_from(Booking).where(Booking.package_id == package.id)) or 0


def refused_fields(refusal: pytest.ExceptionInfo[Invalid]) -> list[str]:
    return [wrong.field for wrong in refusal.value.fields]


def test_a_hold_takes_stock_and_a_second_one_of_the_last_unit_is_refused(app: Flask) -> None:
    package = factories.package(units=1)
    factories.booking(of=package)
    assert factories.stock(package) == (1, 0)
    with pytest.raises(Conflict, match="Sold out for 1 unit on"):
        factories.booking(of=package)
    assert factories.stock(package) == (1, 0)
    assert bookings_of(package) == 1


def test_a_hold_lasts_as_long_as_the_setting_says(app: Flask) -> None:
    held = factories.booking()
    minutes = app.extensions["settings"].hold_minutes
    assert abs(held.expires_at - utcnow() - timedelta(minutes=minutes)) < timedelta(seconds=10)


def test_the_total_is_the_days_prices_times_the_units(app: Flask) -> None:
    package = factories.package(units=3)
    with transaction():
        db.session.get_one(Availability, (package.id, FIRST + timedelta(days=1))).price_minor = 15_050
    held = bookings.hold(by=factories.actor(), package_id=package.id, units=2, guests=3, **nights(2))
    assert held.total_minor == 2 * (10_000 + 15_050)
    assert held.nights == [
        {"date": FIRST.isoformat(), "price": 10_000},
        {"date": (FIRST + timedelta(days=1)).isoformat(), "price": 15_050},
    ]
    assert (factories.stock(package), factories.stock(package, FIRST + timedelta(days=2))) == ((2, 0), (0, 0))


def test_a_booking_keeps_the_price_name_and_policy_it_was_sold_under(app: Flask) -> None:
    package = factories.package(name="As it was", cancellation_policy="flexible")
    held = factories.booking(of=package)
    with transaction():
        package = db.session.get_one(Package, package.id)
        package.name, package.cancellation_policy, package.price_minor = "As it is", "strict", 99_900
        db.session.execute(
            text("UPDATE availability SET price_minor = 99900 WHERE package_id = :id"), {"id": package.id}
        )
    held = factories.reread(held)
    assert (held.package_name, held.total_minor) == ("As it was", 20_000)
    assert held.policy == {
        "name": "flexible",
        "tiers": [{"daysBefore": 1, "refundPercent": 100}, {"daysBefore": 0, "refundPercent": 0}],
    }


def test_references_are_unlike_each_other_and_easy_to_read_out(app: Flask) -> None:
    package = factories.package(units=5)
    references = {factories.booking(of=package).reference for _ in range(5)}
    assert len(references) == 5
    for reference in references:
        assert len(reference) == 14
        assert set(reference.removeprefix("TD-")) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ-")


def test_fewer_nights_than_the_package_is_sold_for_are_refused(app: Flask) -> None:
    package = factories.package(min_nights=3)
    with pytest.raises(Invalid, match="another look") as refusal:
        bookings.hold(by=factories.actor(), package_id=package.id, **nights(2))
    assert refused_fields(refusal) == ["checkOut"]
    assert factories.stock(package) == (0, 0)
    assert bookings.hold(by=factories.actor(), package_id=package.id, **nights(3)).total_minor == 30_000


@pytest.mark.parametrize(
    ("wish", "fields"),
    [
        ({}, ["checkIn", "checkOut"]),
        ({"check_in": FIRST}, ["checkOut"]),
        ({"check_out": FIRST}, ["checkIn"]),
        ({"check_in": FIRST, "check_out": FIRST}, ["checkOut"]),
        ({"check_in": FIRST, "check_out": FIRST - timedelta(days=1)}, ["checkOut"]),
        (nights(91), ["checkOut"]),
        ({**nights(1), "departure": FIRST}, ["departure"]),
        ({**nights(1), "units": 0}, ["units"]),
        ({**nights(1), "units": 51}, ["units"]),
        ({**nights(1), "guests": 0}, ["guests"]),
        ({**nights(1), "guests": 3}, ["guests"]),
        ({"check_in": date.max - timedelta(days=1), "check_out": date.max}, ["checkIn"]),
        ({"check_in": date(2020, 1, 1), "check_out": date(2020, 1, 2), "units": 99}, ["units", "checkIn"]),
    ],
)
def test_a_hotel_wish_that_makes_no_sense_is_refused_by_field(
    app: Flask, wish: dict[str, Any], fields: list[str]
) -> None:
    package = factories.package(units=2)
    with pytest.raises(Invalid) as refusal:
        bookings.hold(by=factories.actor(), package_id=package.id, **wish)
    assert refused_fields(refusal) == fields
    assert factories.stock(package) == (0, 0)


@pytest.mark.parametrize(
    ("wish", "fields"),
    [
        ({}, ["departure"]),
        (nights(2), ["checkIn", "departure"]),
        ({"departure": FIRST, "check_out": FIRST}, ["checkOut"]),
        ({"departure": date(2020, 1, 1)}, ["departure"]),
        ({"departure": date.max}, ["departure"]),
        ({"departure": FIRST, "guests": 2}, ["guests"]),
    ],
)
def test_a_tour_wish_that_makes_no_sense_is_refused_by_field(
    app: Flask, wish: dict[str, Any], fields: list[str]
) -> None:
    tour = factories.tour()
    with pytest.raises(Invalid) as refusal:
        bookings.hold(by=factories.actor(), package_id=tour.id, **wish)
    assert refused_fields(refusal) == fields
    assert factories.stock(tour) == (0, 0)


def test_a_tour_takes_one_departures_stock_and_lasts_its_days(app: Flask) -> None:
    tour = factories.tour(duration_days=3, units=8)
    held = bookings.hold(by=factories.actor(), package_id=tour.id, departure=FIRST, units=2, guests=2)
    assert (held.starts_on, held.ends_on, held.is_tour) == (FIRST, FIRST + timedelta(days=3), True)
    assert held.stock_days == [FIRST]
    assert held.total_minor == 20_000
    assert (factories.stock(tour), factories.stock(tour, FIRST + timedelta(days=1))) == ((2, 0), (0, 0))


class Clock(datetime):
    """Stands at 2030-06-15 11:30 UTC: there it is still the 15th in Oslo, the 16th in Kiritimati."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime(2030, 6, 15, 11, 30, tzinfo=UTC).astimezone(tz)


@pytest.mark.parametrize(
    ("zone", "still_sold"), [("Europe/Oslo", True), ("Pacific/Kiritimati", False), ("Pacific/Pago_Pago", True)]
)
def test_the_past_is_counted_in_the_packages_own_zone(
    app: Flask, monkeypatch: pytest.MonkeyPatch, zone: str, still_sold: bool
) -> None:
    monkeypatch.setattr(stay, "datetime", Clock)
    today = date(2030, 6, 15)
    package = factories.package(time_zone=zone, starting=today, days=3)
    wish: dict[str, Any] = {"check_in": today, "check_out": today + timedelta(days=1)}
    if still_sold:
        assert bookings.hold(by=factories.actor(), package_id=package.id, **wish).starts_on == today
    else:
        with pytest.raises(Invalid) as refusal:
            bookings.hold(by=factories.actor(), package_id=package.id, **wish)
        assert refused_fields(refusal) == ["checkIn"]
        assert factories.stock(package, today) == (0, 0)


def test_one_sold_out_night_in_the_middle_refuses_the_whole_stay(app: Flask) -> None:
    package = factories.package(units=1)
    middle = FIRST + timedelta(days=2)
    bookings.hold(by=factories.actor(), package_id=package.id, check_in=middle, check_out=middle + timedelta(days=1))
    with pytest.raises(Conflict, match=f"Sold out for 1 unit on {middle}"):
        bookings.hold(by=factories.actor(), package_id=package.id, **nights(4))
    assert [factories.stock(package, FIRST + timedelta(days=n)) for n in range(4)] == [(0, 0), (0, 0), (1, 0), (0, 0)]


def test_a_night_that_is_not_offered_counts_as_sold_out(app: Flask) -> None:
    package = factories.package(days=2)
    with pytest.raises(Conflict, match=f"Sold out for 1 unit on {FIRST + timedelta(days=2)}"):
        bookings.hold(by=factories.actor(), package_id=package.id, **nights(3))
    assert factories.stock(package) == (0, 0)


def test_more_units_than_are_left_are_refused(app: Flask) -> None:
    package = factories.package(units=2)
    factories.booking(of=package)
    with pytest.raises(Conflict, match="Sold out for 2 units"):
        factories.booking(of=package, units=2)
    assert factories.stock(package) == (1, 0)


@pytest.mark.parametrize(
    "hidden", [{"status": "DRAFT"}, {"provider": "SUSPENDED"}, {"provider": "PENDING"}, {"provider": "REJECTED"}]
)
def test_what_is_not_on_sale_cannot_be_booked(app: Flask, hidden: dict[str, str]) -> None:
    provider = factories.provider(status=hidden.get("provider", "VERIFIED"))
    package = factories.package(provider_id=provider.id, status=hidden.get("status", "PUBLISHED"))
    with pytest.raises(NotFound, match="on sale"):
        factories.booking(of=package)
    assert factories.stock(package) == (0, 0)


def test_nobody_in_particular_cannot_book(app: Flask) -> None:
    package = factories.package()
    with pytest.raises(NotAllowed):
        bookings.hold(by=SYSTEM, package_id=package.id, **nights(1))
    assert factories.stock(package) == (0, 0)


def test_more_than_one_payment_can_carry_is_refused(app: Flask) -> None:
    package = factories.package(price_minor=60_000_000)
    with pytest.raises(Invalid, match="more than can be charged") as refusal:
        bookings.hold(by=factories.actor(), package_id=package.id, **nights(2))
    assert refused_fields(refusal) == ["units"]
    assert factories.stock(package) == (0, 0)


def test_of_many_at_once_after_the_last_unit_exactly_one_gets_it(app: Flask) -> None:
    package = factories.package(units=1)
    people = [factories.actor() for _ in range(8)]
    outcomes = at_once(app, *(lambda by=by: factories.booking(of=package, by=by) for by in people))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Booking", *["Conflict"] * 7]
    assert all("Sold out" in str(outcome) for outcome in outcomes if isinstance(outcome, Conflict))
    assert factories.stock(package) == (1, 0)
    assert bookings_of(package) == 1


def test_stays_that_overlap_from_both_ends_wait_for_each_other_and_do_not_deadlock(app: Flask) -> None:
    package = factories.package(units=20, days=10)
    people = [factories.actor() for _ in range(8)]

    def book(place: int) -> Booking:
        start = FIRST + timedelta(days=place % 4)
        return bookings.hold(
            by=people[place], package_id=package.id, check_in=start, check_out=start + timedelta(days=5)
        )

    outcomes = at_once(app, *(lambda place=place: book(place) for place in range(8)))
    assert [type(outcome).__name__ for outcome in outcomes] == ["Booking"] * 8
    assert factories.stock(package, FIRST + timedelta(days=3)) == (8, 0)


def test_stock_too_contended_to_get_in_time_is_a_conflict_to_try_again(app: Flask, owner: Any) -> None:
    package = factories.package()
    by = factories.actor()
    owner.autocommit = False
    with owner.cursor() as elsewhere:
        elsewhere.execute("SELECT 1 FROM availability WHERE package_id = %s FOR UPDATE", (package.id,))
        with pytest.raises(Conflict, match="Too many people") as refusal:
            factories.booking(of=package, by=by)
    owner.rollback()
    assert refusal.value.retry_after == 1
    assert bookings_of(package) == 0


def test_a_month_too_contended_to_get_in_time_is_one_as_well_inside_whatever_transaction(
    app: Flask, owner: Any
) -> None:
    package = factories.package(units=1)
    by = factories.actor()
    owner.autocommit = False
    with owner.cursor() as elsewhere:
        elsewhere.execute("SELECT 1 FROM stock_months WHERE package_id = %s FOR UPDATE", (package.id,))
        with pytest.raises(Conflict, match="Too many people") as refusal, transaction():
            factories.booking(of=package, by=by)
    owner.rollback()
    assert refusal.value.retry_after == 1
    assert (bookings_of(package), factories.stock(package)) == (0, (0, 0))
    assert factories.booking(of=package, by=by).status == "PENDING_PAYMENT"
