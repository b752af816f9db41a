"""A search with days finds what can be booked on them, all of it, for the price that booking costs."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any

import pytest

from app.audit.actor import Actor
from app.bookings import service as bookings
from app.catalog.models import Package, Provider
from app.db import lock, transaction, utcnow
from app.errors import Conflict, Invalid, NotFound
from app.extensions import db
from app.money import MAX_CHARGE_MINOR
from app.search.engine import Engine, Question
from app.states import move
from tests import factories
from tests.search import catalogue

PACKAGES, QUESTIONS = 30, 14
DAYS = 40
# Where it is tomorrow first, and where it is yesterday last.
ZONES = ("Pacific/Kiritimati", "Europe/Oslo", "Pacific/Pago_Pago")


class _UndoneError(Exception):
    """Ends a transaction of which nothing is kept."""


def _price(by: Actor, package_id: int, **stay: Any) -> int | None:
    """What booking this costs right now; None when it can't be booked."""
    try:
        with transaction():
            booking = bookings.hold(by=by, package_id=package_id, **stay)
            price = booking.total_minor
            raise _UndoneError
    except _UndoneError:
        return price
    except (Invalid, NotFound, Conflict):
        return None


def _bookable(by: Actor, package: Package, question: Question) -> tuple[int, date | None] | None:
    guests = question.guests or 1
    if package.type == "hotel":
        if question.check_in is None:
            return None
        check_out = question.check_out or question.check_in + timedelta(days=1)
        price = _price(by, package.id, check_in=question.check_in, check_out=check_out, guests=guests)
        return None if price is None else (price, None)
    prices = [(_price(by, package.id, departure=day, guests=guests), day) for day in question.days]
    return min(((price, day) for price, day in prices if price is not None), default=None)


def _some_packages(rng: random.Random, first: date) -> list[Package]:
    providers = [factories.provider() for _ in range(3)]
    ids = catalogue.add(
        *(
            {
                "name": f"House {number}",
                "type": "tour" if number % 3 == 0 else "hotel",
                "status": "DRAFT" if number % 11 == 5 else "PUBLISHED",
                "provider_id": rng.choice(providers).id,
                "time_zone": rng.choice(ZONES),
                "capacity": rng.randint(1, 3),
                "min_nights": rng.choice((1, 1, 2, 3)),
            }
            for number in range(PACKAGES)
        )
    )
    for package_id in ids:
        for start in range(0, DAYS, 10):
            # Some have no day in a month at all; some days have a minimum of their own, are closed or taken.
            prices = [rng.choice((None, 9_000, 9_000, 11_000, 12_000)) for _ in range(10)]
            if rng.random() < 0.8:
                prices = [price or 10_000 for price in prices]
            if rng.random() < 0.85:
                taken = rng.random() < 0.12
                catalogue.offer(
                    package_id,
                    first + timedelta(days=start),
                    prices,
                    capacity=2,
                    held=int(taken),
                    booked=int(taken),
                    closed=rng.random() < 0.08,
                    min_nights=rng.choice((None, None, None, 1, 4)),
                )
    _suspend(providers[0])
    return [db.session.get_one(Package, package_id) for package_id in ids]


def _suspend(provider: Provider) -> None:
    with transaction():
        move(lock(Provider, provider.id), "SUSPENDED")


def _change(rng: random.Random, package_id: int) -> None:
    """Something that booking goes by is otherwise than the document has it: it hears of nothing."""
    with transaction():
        kept = lock(Package, package_id)
        match rng.randrange(3):
            case 0:
                kept.capacity = rng.randint(1, 3)
            case 1:
                kept.min_nights = rng.choice((1, 2, 3))
            case _:
                kept.type = "hotel" if kept.type == "tour" else "tour"


def _some_question(rng: random.Random, first: date) -> Question:
    begin = first + timedelta(days=rng.randrange(DAYS - 8) if rng.random() < 0.6 else rng.randrange(4))
    values: dict[str, Any] = {
        "per_page": rng.choice((3, 7, 50)),
        "sort": rng.choice(("relevance", "price_asc", "newest")),
    }
    values["type"] = rng.choice((None, None, "hotel", "tour"))
    values["guests"] = rng.choice((None, 1, 2, 3))
    if values["type"] != "hotel" and rng.random() < 0.25:
        return Question(departure=begin, **values)
    check_out = begin + timedelta(days=rng.randint(1, 7)) if rng.random() < 0.8 else None
    return Question(check_in=begin, check_out=check_out, **values)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whats_found_can_be_booked_and_what_can_be_booked_is_found(lone_engine: Engine, seed: int) -> None:
    rng = random.Random(seed)
    first = utcnow().date() - timedelta(days=1)
    ids = [package.id for package in _some_packages(rng, first)]
    by = factories.actor()
    seen = 0
    for _ in range(QUESTIONS):
        question = _some_question(rng, first)
        _change(rng, rng.choice(ids))
        now = utcnow()
        hits = [hit for answer in catalogue.pages(lone_engine, question) for hit in answer.hits]
        # As they are now: an engine on the network has left the session that knew them.
        packages = [db.session.get_one(Package, package_id, populate_existing=True) for package_id in ids]
        expected = {
            package.id: booked
            for package in packages
            if question.type in (None, package.type) and (booked := _bookable(by, package, question))
        }
        if utcnow().hour != now.hour:
            continue  # somewhere it is another day by now
        assert {hit.id: (hit.total_minor, hit.departure) for hit in hits} == expected, question
        assert len(hits) == len(expected)
        seen += len(hits)
    assert seen > QUESTIONS


def test_a_booking_a_closing_and_a_suspension_count_at_once(engine: Engine) -> None:
    # Nothing here waits for the index: it is told of nothing.
    provider = factories.provider()
    package = factories.package(provider_id=provider.id)
    other = factories.package(provider_id=provider.id)
    catalogue.index()
    first = factories.tomorrow()

    def found() -> set[int]:
        stay = {"check_in": first, "check_out": first + timedelta(days=2)}
        return set(catalogue.found(engine, provider_id=provider.id, **stay))

    assert found() == {package.id, other.id}
    held = factories.booking(of=package, nights=1)
    assert found() == {other.id}
    bookings.cancel(held.id, by=Actor("traveller", held.traveller_id, "The traveller"))
    assert found() == {package.id, other.id}
    with transaction():
        move(lock(Package, other.id), "DRAFT")
    assert found() == {package.id}
    _suspend(provider)
    assert found() == set()
    assert catalogue.found(engine, provider_id=provider.id) == []


def test_a_package_that_is_otherwise_by_now_is_found_as_it_is(engine: Engine) -> None:
    provider, other = factories.provider(), factories.provider()
    package = factories.package(provider_id=provider.id, capacity=2)
    catalogue.index()
    first = factories.tomorrow()
    stay = {"check_in": first, "check_out": first + timedelta(days=2)}

    def found(**asked: Any) -> list[tuple[str, int | None]]:
        hits = engine.search(Question(provider_id=provider.id, **stay, **asked)).hits
        return [(hit.type, hit.total_minor) for hit in hits]

    assert (found(guests=2), found(guests=3)) == ([("hotel", 20_000)], [])
    with transaction():
        lock(Package, package.id).capacity = 1
    assert (found(guests=1), found(guests=2)) == ([("hotel", 20_000)], [])
    with transaction():
        lock(Package, package.id).capacity = 3
    assert found(guests=3) == [("hotel", 20_000)]
    with transaction():
        lock(Package, package.id).type = "tour"
    assert (found(), found(type="tour"), found(type="hotel")) == ([("tour", 10_000)], [("tour", 10_000)], [])
    with transaction():
        lock(Package, package.id).provider_id = other.id
    _suspend(other)
    assert found() == []
    catalogue.index()
    assert found() == []


def test_one_day_without_a_check_out_is_one_night(engine: Engine) -> None:
    package = factories.package(days=1)
    catalogue.index()
    first = factories.tomorrow()
    (hit,) = engine.search(Question(provider_id=package.provider_id, check_in=first)).hits
    assert (hit.total_minor, hit.price_minor) == (10_000, 10_000)
    two = Question(provider_id=package.provider_id, check_in=first, check_out=first + timedelta(days=2))
    assert engine.search(two).hits == []


def test_a_tour_is_found_for_its_cheapest_departure_the_first_of_equals(engine: Engine) -> None:
    provider = factories.provider()
    (tour,) = catalogue.add({"name": "Coast", "type": "tour"}, provider_id=provider.id)
    first = factories.tomorrow()
    catalogue.offer(tour, first, [7_000, None, 5_000, 5_000, 4_000])
    asked = Question(provider_id=provider.id, check_in=first, check_out=first + timedelta(days=4))
    (hit,) = engine.search(asked).hits
    assert (hit.total_minor, hit.departure) == (5_000, first + timedelta(days=2))
    assert engine.search(Question(provider_id=provider.id, departure=first + timedelta(days=1))).total == 0
    (hit,) = engine.search(Question(provider_id=provider.id, departure=first + timedelta(days=4))).hits
    assert (hit.total_minor, hit.departure) == (4_000, first + timedelta(days=4))


def test_a_stay_over_three_months_is_added_up(engine: Engine) -> None:
    provider = factories.provider()
    (house,) = catalogue.add({"name": "Long house"}, provider_id=provider.id)
    first = factories.tomorrow()
    prices: list[int | None] = [1_000 + n for n in range(90)]
    catalogue.offer(house, first, prices)
    asked = Question(provider_id=provider.id, check_in=first, check_out=first + timedelta(days=90))
    (hit,) = engine.search(asked).hits
    assert hit.total_minor == sum(price or 0 for price in prices)


def test_what_no_payment_can_charge_is_not_found(engine: Engine) -> None:
    provider = factories.provider()
    dear, dearer = catalogue.add({"name": "Palace"}, {"name": "Castle"}, provider_id=provider.id)
    first = factories.tomorrow()
    catalogue.offer(dear, first, [MAX_CHARGE_MINOR])
    catalogue.offer(dearer, first, [MAX_CHARGE_MINOR + 1])
    assert catalogue.found(engine, provider_id=provider.id, check_in=first) == [dear]
