"""The table of reviews keeps by itself what must never break."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import IntegrityError

from app.bookings.models import Booking
from app.db import transaction
from app.errors import Conflict
from app.extensions import db
from app.reviews.models import Review
from app.states import move
from tests import factories


def review(of: Booking, **values: Any) -> Review:
    made = Review(
        **{
            "booking_id": of.id,
            "package_id": of.package_id,
            "traveller_id": of.traveller_id,
            "rating": 4,
            "title": "Would come back",
            "content": "Quiet at night.",
            **values,
        }
    )
    with transaction():
        db.session.add(made)
    return made


def reviews_of(booking: Booking) -> int:
    return db.session.query(Review).filter_by(booking_id=booking.id).count()


def test_a_booking_has_at_most_one_review(app: Flask) -> None:
    booking = factories.booking()
    assert review(booking).status == "PENDING"
    with pytest.raises(IntegrityError, match="uq_reviews_booking_id"):
        review(booking)
    assert reviews_of(booking) == 1


@pytest.mark.parametrize(
    ("values", "check"),
    [({"rating": 0}, "rating"), ({"rating": 6}, "rating"), ({"status": "SHOWN"}, "status")],
)
def test_a_rating_and_a_state_are_what_they_may_be(app: Flask, values: dict[str, Any], check: str) -> None:
    booking = factories.booking()
    with pytest.raises(IntegrityError, match=f"ck_reviews_{check}"):
        review(booking, **values)
    assert reviews_of(booking) == 0


@pytest.mark.parametrize(
    ("way", "refused"),
    [
        (("APPROVED", "PENDING", "REJECTED", "PENDING", "WITHDRAWN"), "PENDING"),
        (("APPROVED",), "REJECTED"),
        (("APPROVED",), "WITHDRAWN"),
        (("REJECTED",), "APPROVED"),
    ],
)
def test_a_review_moves_as_its_table_says(app: Flask, way: tuple[str, ...], refused: str) -> None:
    made = review(factories.booking())
    for to in way:
        with transaction():
            move(made, to)
        assert getattr(made, Review.STAMPS.get(to, "created_at")) is not None
    with pytest.raises(Conflict), transaction():
        move(made, refused)
    assert factories.reread(made).status == way[-1]
