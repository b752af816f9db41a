"""Changing many days at once: what the preview promises, what is refused, and who is first."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text

from app.audit.actor import Actor
from app.audit.models import AuditEntry
from app.bookings import service as bookings
from app.catalog import day_changes, queries
from app.catalog.day_changes import DayChange
from app.catalog.models import Availability, Package
from app.db import transaction
from app.errors import Conflict, Invalid, NotAllowed, NotFound
from app.extensions import db
from tests import factories
from tests.concurrency import at_once, held_up

FIRST = factories.tomorrow()


def admin() -> Actor:
    return factories.actor(factories.staff("admin"))


def days(count: int, **values: Any) -> DayChange:
    return DayChange(first=FIRST, last=FIRST + timedelta(days=count - 1), **values)


def terms(package: Package) -> list[tuple[int, int, int | None, bool]]:
    """(capacity, price, minimum nights, closed) of every day, in order, as the database has them."""
    db.session.rollback()
    rows = db.session.execute(
        text("SELECT capacity, price_minor, min_nights, closed FROM availability WHERE package_id = :id ORDER BY day"),
        {"id": package.id},
    )
    return [tuple(row) for row in rows]


def apply(package: Package, change: DayChange, by: Actor | None = None) -> day_changes.DayPlan:
    by = by or admin()
    version = day_changes.preview(package.id, change, by=by).version
    return day_changes.change_days(package.id, change, by=by, version=version)


def test_a_preview_says_what_changes_and_writes_nothing(app: Flask) -> None:
    package = factories.package(units=3, days=5)
    before = terms(package)
    plan = day_changes.preview(package.id, days(7, price_minor=12_500), by=admin())
    assert [planned.day for planned in plan.changing] == [FIRST + timedelta(days=n) for n in range(5)]
    assert plan.missing == [FIRST + timedelta(days=5), FIRST + timedelta(days=6)]
    assert terms(package) == before


def test_price_units_minimum_and_sale_change_on_the_days_asked_for_alone(app: Flask) -> None:
    package = factories.package(units=3, days=4)
    apply(package, days(2, price_minor=12_500, capacity=5, min_nights=3, closed=True))
    assert terms(package) == [(5, 12_500, 3, True)] * 2 + [(3, 10_000, None, False)] * 2


def test_only_the_weekdays_asked_for_change(app: Flask) -> None:
    package = factories.package(days=14)
    weekend = frozenset({5, 6})
    apply(package, days(14, price_minor=20_000, weekdays=weekend))
    expected = [20_000 if (FIRST + timedelta(days=n)).weekday() in weekend else 10_000 for n in range(14)]
    assert [price for _, price, _, _ in terms(package)] == expected


def test_what_is_left_out_stays_as_it_is(app: Flask) -> None:
    package = factories.package(units=3, days=2)
    apply(package, days(2, min_nights=4, closed=True))
    apply(package, days(2, capacity=9))
    assert terms(package) == [(9, 10_000, 4, True)] * 2
    apply(package, days(2, min_nights=0, closed=False))
    assert terms(package) == [(9, 10_000, None, False)] * 2


def test_days_that_are_missing_are_offered_when_asked_for(app: Flask) -> None:
    package = factories.package(units=3, days=2)
    apply(package, days(4, price_minor=7_000, offer_missing=True))
    assert terms(package) == [(3, 7_000, None, False)] * 4


def test_days_that_sold_more_than_they_would_keep_are_named_and_nothing_changes(app: Flask) -> None:
    package = factories.package(units=3, days=4)
    factories.booking(of=package, units=2, nights=2)
    before = terms(package)
    change = days(4, capacity=1, price_minor=5_000)
    plan = day_changes.preview(package.id, change, by=admin())
    assert [(planned.day, planned.sold) for planned in plan.refused] == [(FIRST, 2), (FIRST + timedelta(days=1), 2)]
    assert [planned.day for planned in plan.changing] == [FIRST + timedelta(days=2), FIRST + timedelta(days=3)]
    with pytest.raises(Conflict) as refusal:
        apply(package, change)
    assert f"{FIRST.isoformat()} (2), {(FIRST + timedelta(days=1)).isoformat()} (2)" in refusal.value.detail
    assert terms(package) == before


def test_stock_may_go_down_to_what_is_held_and_booked(app: Flask) -> None:
    package = factories.package(units=3, days=1)
    factories.booking(of=package, units=2, nights=1)
    apply(package, days(1, capacity=2))
    assert terms(package) == [(2, 10_000, None, False)]
    assert factories.stock(package) == (2, 0)


def test_who_comes_second_is_told_who_was_first_and_changes_nothing(app: Flask) -> None:
    package = factories.package(days=3)
    first, second = admin(), admin()
    seen = day_changes.preview(package.id, days(3, price_minor=11_000), by=second).version
    apply(package, days(1, price_minor=15_000), first)
    before = terms(package)
    with pytest.raises(Conflict, match=f"last by {first.label}, on .* Look at the preview again"):
        day_changes.change_days(package.id, days(3, price_minor=11_000), by=second, version=seen)
    assert terms(package) == before


def test_a_booking_made_since_the_preview_is_no_reason_to_refuse(app: Flask) -> None:
    package = factories.package(units=3, days=2)
    seen = day_changes.preview(package.id, days(2, capacity=2), by=admin()).version
    factories.booking(of=package, nights=2)
    day_changes.change_days(package.id, days(2, capacity=2), by=admin(), version=seen)
    assert factories.stock(package) == (1, 0)


def test_of_two_at_once_one_changes_the_days_and_the_other_hears_of_it(app: Flask) -> None:
    package = factories.package(days=20)
    first, second = admin(), admin()
    version = day_changes.preview(package.id, days(20, closed=True), by=first).version

    def change(by: Actor, price: int) -> Any:
        return day_changes.change_days(package.id, days(20, price_minor=price), by=by, version=version)

    outcomes = at_once(app, lambda: change(first, 1_000), lambda: change(second, 2_000))
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert len(refusals) == 1, outcomes
    assert len(set(terms(package))) == 1


def test_of_two_who_offer_the_same_missing_days_at_once_one_does_and_the_other_hears_of_it(app: Flask) -> None:
    package, people = factories.package(days=0), [admin(), admin()]
    wished = days(20, offer_missing=True)
    version = day_changes.preview(package.id, wished, by=people[0]).version
    outcomes = at_once(
        app, *(lambda by=by: day_changes.change_days(package.id, wished, by=by, version=version) for by in people)
    )
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert [type(refusal) for refusal in refusals] == [Conflict], outcomes
    assert len(terms(package)) == 20


def test_bookings_and_a_change_of_their_days_never_oversell_or_block_for_ever(app: Flask) -> None:
    package = factories.package(units=4, days=10)
    people, by = [factories.actor() for _ in range(6)], admin()

    def lower() -> Any:
        return apply(package, days(10, capacity=2), by)

    outcomes = at_once(
        app, lower, *(lambda who=who: factories.booking(of=package, by=who, nights=10) for who in people)
    )
    held, booked = factories.stock(package)
    capacity = terms(package)[0][0]
    assert held + booked <= capacity
    assert held == sum(1 for outcome in outcomes[1:] if not isinstance(outcome, Exception))
    assert all(isinstance(outcome, Conflict) for outcome in outcomes if isinstance(outcome, Exception)), outcomes


def test_a_booking_that_is_being_made_is_waited_for_and_then_counts(app: Flask) -> None:
    package, by, traveller = factories.package(units=3, days=2), admin(), factories.actor()
    before, change = terms(package), days(2, capacity=1)
    version = day_changes.preview(package.id, change, by=by).version
    with transaction():
        factories.booking(of=package, by=traveller, units=2, nights=2)
        changed = held_up(app, lambda: day_changes.change_days(package.id, change, by=by, version=version))
    refusal = changed()
    assert isinstance(refusal, Conflict), refusal
    assert f"{FIRST.isoformat()} (2), {(FIRST + timedelta(days=1)).isoformat()} (2)" in refusal.detail
    assert terms(package) == before


def test_the_trail_keeps_each_day_before_and_after(app: Flask) -> None:
    package, by = factories.package(days=3), admin()
    changed_at = package.updated_at
    apply(package, days(2, price_minor=12_000), by)
    assert factories.reread(package).updated_at > changed_at
    entry = db.session.scalar(
        select(AuditEntry).where(AuditEntry.action == "package.change_days", AuditEntry.object_id == package.id)
    )
    assert entry is not None
    assert entry.actor_id == by.id
    assert entry.after is not None
    assert entry.after["days"] == [
        {
            "days": [FIRST.isoformat(), (FIRST + timedelta(days=1)).isoformat()],
            "before": {"price_minor": 10_000},
            "after": {"price_minor": 12_000},
        }
    ]


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (days(1), ["price"]),
        (days(1, price_minor=0), ["price"]),
        (days(1, price_minor=100_000_000), ["price"]),
        (days(1, capacity=-1), ["capacity"]),
        (days(1, capacity=10_001), ["capacity"]),
        (days(1, min_nights=91), ["min_nights"]),
        (days(732, capacity=1), ["last"]),
        (replace(days(1, capacity=1), last=FIRST - timedelta(days=1)), ["last"]),
        (replace(days(1, capacity=1), first=date(2020, 1, 1), last=date(2020, 1, 2)), ["first"]),
        (DayChange(date(9999, 12, 30), date(9999, 12, 31), capacity=1), ["last"]),
        (days(1, capacity=1, weekdays=frozenset({(FIRST.weekday() + 1) % 7})), ["weekdays"]),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_by_field(app: Flask, change: DayChange, fields: list[str]) -> None:
    package = factories.package(days=2)
    before = terms(package)
    for verb in (day_changes.preview, lambda *a, **k: day_changes.change_days(*a, **k, version="")):
        with pytest.raises(Invalid) as refusal:
            verb(package.id, change, by=admin())
        assert [wrong.field for wrong in refusal.value.fields] == fields
    assert terms(package) == before


def test_a_tour_has_no_minimum_of_nights(app: Flask) -> None:
    with pytest.raises(Invalid) as refusal:
        day_changes.preview(factories.tour().id, days(1, min_nights=2), by=admin())
    assert [wrong.field for wrong in refusal.value.fields] == ["min_nights"]


@pytest.mark.parametrize("role", ["support", "moderator", "finance"])
def test_only_admins_change_days(app: Flask, role: str) -> None:
    package, by = factories.package(days=1), factories.actor(factories.staff(role))
    before = terms(package)
    with pytest.raises(NotAllowed):
        day_changes.preview(package.id, days(1, capacity=5), by=by)
    with pytest.raises(NotAllowed):
        day_changes.change_days(package.id, days(1, capacity=5), by=by, version="")
    assert terms(package) == before


def test_a_package_that_is_not_there_is_not_found(app: Flask) -> None:
    with pytest.raises(NotFound):
        day_changes.change_days(0, days(1, capacity=5), by=admin(), version="")


def test_nothing_to_change_is_said_and_not_written(app: Flask) -> None:
    package = factories.package(days=2)
    with pytest.raises(Conflict, match="like that already"):
        apply(package, days(2, price_minor=10_000))


# ------------------------------------------------------------------ what it means to who books


def test_a_closed_day_sells_nothing_and_its_bookings_stand(app: Flask) -> None:
    package = factories.package(units=2, days=3)
    held = factories.booking(of=package, nights=2)
    apply(package, days(1, closed=True))
    with pytest.raises(Conflict, match=f"Sold out for 1 unit on {FIRST.isoformat()}"):
        factories.booking(of=package, nights=2)
    assert factories.stock(package) == (1, 0)
    assert [day.units_left for day in queries.availability(package.id, FIRST, FIRST + timedelta(days=3))] == [0, 1, 2]
    paid = factories.intent_of(held)
    assert factories.confirm(paid.id).ok


def test_a_late_payment_is_not_placed_on_a_closed_day(app: Flask) -> None:
    package = factories.package(units=1, days=2)
    held = factories.booking(of=package, nights=2)
    intent = factories.intent_of(held)
    db.session.execute(text("UPDATE bookings SET expires_at = now() WHERE id = :id"), {"id": held.id})
    db.session.commit()
    assert bookings.expire(held.id)
    apply(package, days(1, closed=True))
    assert factories.confirm(intent.id).ok
    bookings.payment_changed(factories.stripe_gateway.retrieve_intent(intent.id))
    assert factories.reread(held).status == "EXPIRED"
    assert factories.stock(package) == (0, 0)


def test_the_day_of_arrival_says_how_many_nights_at_least(app: Flask) -> None:
    package = factories.package(min_nights=2, days=10)
    apply(package, days(1, min_nights=4))
    apply(package, replace(days(1, min_nights=1), first=FIRST + timedelta(days=1), last=FIRST + timedelta(days=1)))
    with pytest.raises(Invalid, match="another look"):
        factories.booking(of=package, nights=3)
    assert factories.stock(package) == (0, 0)
    second = FIRST + timedelta(days=1)
    one_night = bookings.hold(
        by=factories.actor(), package_id=package.id, check_in=second, check_out=second + timedelta(days=1)
    )
    assert one_night.total_minor == 10_000
    offered = queries.availability(package.id, FIRST, FIRST + timedelta(days=3))
    assert [day.min_nights for day in offered] == [4, 1, None]


def test_the_database_itself_refuses_a_minimum_of_no_nights(app: Flask) -> None:
    package = factories.package(days=1)
    row = db.session.get_one(Availability, (package.id, FIRST))
    row.min_nights = 0
    with pytest.raises(Exception, match="ck_availability_min_nights"):
        db.session.flush()
    db.session.rollback()
