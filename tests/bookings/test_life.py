"""The life of a booking: held, paid, confirmed, expired, cancelled, completed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask

from app.bookings import service as bookings
from app.errors import Conflict
from app.extensions import db
from app.payments import service as payments
from app.payments import stripe_gateway
from tests import factories


def test_a_hold_takes_stock_and_a_second_one_of_the_last_unit_is_refused(app: Flask) -> None:
    package = factories.package(units=1)
    factories.booking(of=package)
    assert factories.stock(package) == (1, 0)
    with pytest.raises(Conflict, match="Sold out"):
        factories.booking(of=package)
    assert factories.stock(package) == (1, 0)


def test_a_paid_booking_is_confirmed_and_its_stock_booked(app: Flask) -> None:
    package = factories.package(units=2)
    booking = factories.paid_booking(of=package)
    assert booking.status == "CONFIRMED"
    assert factories.stock(package) == (0, 1)
    payment = payments.live_payment(booking.id)
    assert payment is not None
    assert (payment.status, payment.fee_minor, payment.commission_minor) == ("SUCCEEDED", 610, 3000)
