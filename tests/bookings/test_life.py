"""The life of a booking after its hold: paid, expired, cancelled, completed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from sqlalchemy import select, text

from app.audit.actor import SYSTEM, Actor
from app.audit.models import AuditEntry
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.db import transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed, NotFound, TripdeskError
from app.extensions import db
from app.payments import service as payments
from app.payments.models import Payment
from tests import factories
from tests.concurrency import at_once


def let_time_pass(booking: Booking) -> None:
    """The hold's time is over."""
    with transaction():
        db.session.execute(
            text("UPDATE bookings SET expires_at = now() - interval '1 second' WHERE id = :id"), {"id": booking.id}
        )


def guest_of(booking: Booking) -> Actor:
    return Actor("traveller", booking.traveller_id, "The guest")


def actions_on(row: Booking | Payment) -> list[str]:
    entries = select(AuditEntry.action).where(
        AuditEntry.object_type == row.__tablename__, AuditEntry.object_id == row.id
    )
    return list(db.session.scalars(entries.order_by(AuditEntry.id)))


def test_a_paid_booking_is_confirmed_and_its_stock_booked(app: Flask) -> None:
    package = factories.package(units=2)
    booking = factories.paid_booking(of=package)
    assert booking.status == "CONFIRMED"
    assert booking.confirmed_at is not None
    assert factories.stock(package) == (0, 1)
    payment = payments.live_payment(booking.id)
    assert payment is not None
    assert (payment.status, payment.fee_minor, payment.commission_minor) == ("SUCCEEDED", 610, 3000)
    assert actions_on(booking) == ["booking.hold", "booking.confirm"]


# ------------------------------------------------------------------ expiry


def test_a_hold_whose_time_is_over_gives_its_stock_back(app: Flask) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    let_time_pass(booking)
    assert bookings.expire_due() >= 1
    booking = factories.reread(booking)
    assert (booking.status, booking.expired_at is not None) == ("EXPIRED", True)
    assert factories.stock(package) == (0, 0)
    assert actions_on(booking) == ["booking.hold", "booking.expire"]
    assert factories.booking(of=package).status == "PENDING_PAYMENT"


def test_a_hold_that_still_has_time_stays(app: Flask) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    bookings.expire_due()
    assert bookings.expire(booking.id) is False
    assert factories.reread(booking).status == "PENDING_PAYMENT"
    assert factories.stock(package) == (1, 0)


def test_a_confirmed_booking_never_expires(app: Flask) -> None:
    package = factories.package()
    booking = factories.paid_booking(of=package)
    let_time_pass(booking)
    assert bookings.expire(booking.id) is False
    assert factories.reread(booking).status == "CONFIRMED"
    assert factories.stock(package) == (0, 1)


def test_a_hold_that_somebody_works_on_is_left_for_the_next_time_and_stops_no_other(app: Flask, owner: Any) -> None:
    busy, free = factories.booking(), factories.booking()
    for booking in (busy, free):
        let_time_pass(booking)
    owner.autocommit = False
    with owner.cursor() as elsewhere:
        elsewhere.execute("SELECT 1 FROM bookings WHERE id = %s FOR UPDATE", (busy.id,))
        bookings.expire_due()
    owner.rollback()
    assert [factories.reread(booking).status for booking in (busy, free)] == ["PENDING_PAYMENT", "EXPIRED"]
    bookings.expire_due()
    assert factories.reread(busy).status == "EXPIRED"


def test_two_who_expire_the_same_hold_free_it_once(app: Flask) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    let_time_pass(booking)
    booking_id = booking.id
    outcomes = at_once(app, *[lambda: bookings.expire(booking_id)] * 2)
    assert sorted(outcomes) == [False, True]
    assert factories.stock(package) == (0, 0)


def test_an_expired_hold_has_its_intent_closed_an_hour_later(app: Flask) -> None:
    booking = factories.booking()
    factories.intent_of(booking)
    let_time_pass(booking)
    bookings.expire(booking.id)
    payment = payments.live_payment(booking.id)
    assert payment is not None
    assert payment.due_at is not None
    assert timedelta(minutes=59) < payment.due_at - utcnow() <= timedelta(hours=1)


def test_a_cancelled_booking_has_its_intent_closed(app: Flask) -> None:
    booking = factories.booking()
    factories.intent_of(booking)
    support = factories.actor(factories.staff("support"))
    bookings.cancel(booking.id, by=support, on_behalf_of="support", reason="Booked twice")
    payment = payments.live_payment(booking.id)
    assert payment is not None
    assert payment.due_at is not None


def test_a_stay_is_over_by_the_day_at_the_place() -> None:
    # At any moment it is another day in one of the two than in UTC.
    for zone, days, may in (("Pacific/Kiritimati", 0, True), ("Etc/GMT+12", 1, False)):
        last = datetime.now(ZoneInfo(zone)).date() + timedelta(days=days)
        stay = Booking(status="CONFIRMED", ends_on=last, time_zone=zone)
        assert bookings.may_be_completed(stay) is may, zone


def test_the_time_to_pay_ends_with_the_hold(app: Flask) -> None:
    booking = factories.booking()
    let_time_pass(booking)
    with pytest.raises(Conflict, match="time to pay"):
        factories.intent_of(booking)
    assert payments.live_payment(booking.id) is None


# ------------------------------------------------------------------ completion


def confirmed_until(ends_on: date, zone: str) -> Booking:
    booking = factories.paid_booking()
    with transaction():
        db.session.execute(
            text("UPDATE bookings SET starts_on = :end - 1, ends_on = :end, time_zone = :zone WHERE id = :id"),
            {"end": ends_on, "zone": zone, "id": booking.id},
        )
    return booking


@pytest.mark.parametrize("zone", ["Europe/Oslo", "Pacific/Auckland", "America/Los_Angeles", "Asia/Kathmandu"])
def test_a_stay_is_complete_from_noon_of_its_last_day_where_it_is(app: Flask, zone: str) -> None:
    there = datetime.now(ZoneInfo(zone))
    # The latest day whose noon is past there, and the day after, whose noon is not.
    over = there.date() if there.hour >= 12 else there.date() - timedelta(days=1)
    yes, no = confirmed_until(over, zone), confirmed_until(over + timedelta(days=1), zone)
    bookings.complete_due()
    assert factories.reread(yes).status == "COMPLETED"
    assert factories.reread(yes).completed_at is not None
    assert factories.reread(no).status == "CONFIRMED"


def test_completing_twice_writes_it_down_once(app: Flask) -> None:
    booking = confirmed_until(date(2026, 1, 2), "Europe/Oslo")
    bookings.complete_due()
    completed_at = factories.reread(booking).completed_at
    bookings.complete_due()
    assert factories.reread(booking).completed_at == completed_at
    assert actions_on(booking)[-2:] == ["booking.confirm", "booking.complete"]


def test_a_hold_that_was_never_paid_is_not_completed(app: Flask) -> None:
    booking = factories.booking()
    with transaction():
        db.session.execute(
            text("UPDATE bookings SET starts_on = '2026-01-01', ends_on = '2026-01-02' WHERE id = :id"),
            {"id": booking.id},
        )
    bookings.complete_due()
    assert factories.reread(booking).status == "PENDING_PAYMENT"


# ------------------------------------------------------------------ cancelling


def test_a_guest_cancels_a_hold_and_the_stock_is_free_at_once(app: Flask) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    bookings.cancel(booking.id, by=guest_of(booking), reason="Changed my mind")
    booking = factories.reread(booking)
    assert (booking.status, booking.cancel_reason) == ("CANCELLED_BY_GUEST", "Changed my mind")
    assert booking.cancelled_at is not None
    assert factories.stock(package) == (0, 0)
    assert actions_on(booking) == ["booking.hold", "booking.cancel"]


@pytest.mark.parametrize(
    ("on_behalf_of", "status"), [("support", "CANCELLED_BY_SUPPORT"), ("provider", "CANCELLED_BY_PROVIDER")]
)
@pytest.mark.parametrize("role", ["support", "admin"])
def test_staff_cancel_with_a_reason(app: Flask, role: str, on_behalf_of: str, status: str) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    by = factories.actor(factories.staff(role))
    bookings.cancel(booking.id, by=by, on_behalf_of=on_behalf_of, reason="Looks like fraud")
    assert factories.reread(booking).status == status
    assert factories.stock(package) == (0, 0)
    entry = db.session.scalars(
        select(AuditEntry).where(AuditEntry.action == "booking.cancel", AuditEntry.object_id == booking.id)
    ).one()
    assert (entry.actor_id, entry.reason, entry.after and entry.after["status"]) == (by.id, "Looks like fraud", status)


@pytest.mark.parametrize("reason", [None, "", "   "])
def test_staff_without_a_reason_are_refused(app: Flask, reason: str | None) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    with pytest.raises(Invalid, match="Say why"):
        bookings.cancel(
            booking.id, by=factories.actor(factories.staff("support")), on_behalf_of="support", reason=reason
        )
    assert factories.reread(booking).status == "PENDING_PAYMENT"
    assert factories.stock(package) == (1, 0)


@pytest.mark.parametrize("role", ["moderator", "finance"])
def test_other_roles_may_not_cancel(app: Flask, role: str) -> None:
    booking = factories.booking()
    by = factories.actor(factories.staff(role))
    with pytest.raises(NotAllowed, match="support or admin"):
        bookings.cancel(booking.id, by=by, on_behalf_of="support", reason="Because")
    assert factories.reread(booking).status == "PENDING_PAYMENT"


@pytest.mark.parametrize("on_behalf_of", ["support", "provider"])
def test_a_guest_may_not_cancel_for_somebody_else(app: Flask, on_behalf_of: str) -> None:
    booking = factories.booking()
    with pytest.raises(NotAllowed):
        bookings.cancel(booking.id, by=guest_of(booking), on_behalf_of=on_behalf_of, reason="Because")
    assert factories.reread(booking).status == "PENDING_PAYMENT"


@pytest.mark.parametrize("roles", [(), ("support",), ("admin",)])
def test_only_the_guest_themself_cancels_as_the_guest(app: Flask, roles: tuple[str, ...]) -> None:
    booking = factories.booking()
    somebody = factories.actor(factories.staff(*roles) if roles else None)
    with pytest.raises(NotFound):
        bookings.cancel(booking.id, by=somebody, reason="Because")
    assert factories.reread(booking).status == "PENDING_PAYMENT"


@pytest.mark.parametrize("over", ["EXPIRED", "COMPLETED", "CANCELLED_BY_GUEST"])
def test_what_is_over_cannot_be_cancelled(app: Flask, over: str) -> None:
    package = factories.package()
    if over == "COMPLETED":
        booking = factories.paid_booking(of=package)
        with transaction():
            db.session.execute(
                text("UPDATE bookings SET starts_on = '2026-01-01', ends_on = '2026-01-02' WHERE id = :id"),
                {"id": booking.id},
            )
        bookings.complete_due()
    else:
        booking = factories.booking(of=package)
        if over == "EXPIRED":
            let_time_pass(booking)
            bookings.expire(booking.id)
        else:
            bookings.cancel(booking.id, by=guest_of(booking))
    stock = factories.stock(package)
    with pytest.raises(Conflict, match=r"can't become cancelled by guest|cancelled by guest already"):
        bookings.cancel(booking.id, by=guest_of(booking))
    assert factories.reread(booking).status == over
    assert factories.stock(package) == stock


def test_cancelling_and_expiring_at_once_frees_the_stock_once(app: Flask) -> None:
    package = factories.package(units=3)
    kept = factories.booking(of=package)
    booking = factories.booking(of=package)
    let_time_pass(booking)
    booking_id, guest = booking.id, guest_of(booking)
    outcomes = at_once(app, lambda: bookings.expire(booking_id), lambda: bookings.cancel(booking_id, by=guest))
    assert factories.reread(booking).status in ("EXPIRED", "CANCELLED_BY_GUEST")
    assert sum(1 for outcome in outcomes if outcome is not False and not isinstance(outcome, TripdeskError)) == 1
    assert factories.stock(package) == (1, 0)
    assert factories.reread(kept).status == "PENDING_PAYMENT"


def test_a_booking_that_is_not_there_cannot_be_cancelled(app: Flask) -> None:
    with pytest.raises(NotFound):
        bookings.cancel(0, by=factories.actor())
    with pytest.raises(NotFound):
        bookings.cancel(0, by=SYSTEM, on_behalf_of="support", reason="Because")


def test_times_are_kept_in_utc(app: Flask) -> None:
    booking = factories.reread(factories.paid_booking())
    assert {at.utcoffset() for at in (booking.created_at, booking.expires_at, booking.confirmed_at)} == {timedelta(0)}
    assert abs(booking.created_at - datetime.now(UTC)) < timedelta(minutes=1)
