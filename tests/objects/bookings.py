"""Bookings and reviews of them, and what is asked of the public API about both."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from app.audit.actor import Actor
from app.db import transaction
from app.extensions import db
from tests import factories
from tests.objects.asked import NOT_THERE, Asked, last_entry
from tests.objects.catalogue import package


def booking(owner: Actor | None) -> Asked:
    return Asked({"booking_id": factories.booking(by=owner).id if owner else NOT_THERE})


def cancellation(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"booking_id": NOT_THERE, "on_behalf_of": "support"})
    held = factories.booking(by=owner)
    about = {"booking_id": held.id, "on_behalf_of": "support"}
    return Asked(about, {"reason": "Looks like fraud", "typed": held.reference})


def noted(owner: Actor | None) -> Asked:
    return Asked(booking(owner).args, {"note": "Asked for a quiet room"})


def ended_stay(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"booking_id": NOT_THERE}, {"reason": "Traveller has left"})
    paid = factories.paid_booking(by=owner)
    with transaction():
        ended = "UPDATE bookings SET starts_on = current_date - 9, ends_on = current_date - 7 WHERE id = :id"
        db.session.execute(text(ended), {"id": paid.id})
    return Asked({"booking_id": paid.id}, {"reason": "Traveller has left", "typed": paid.reference})


def stay(owner: Actor | None) -> Asked:
    first = factories.tomorrow()
    return Asked(
        {},
        {
            "packageId": package(owner).args["package_id"],
            "checkIn": first.isoformat(),
            "checkOut": (first + timedelta(days=1)).isoformat(),
            "units": 1,
            "guests": 1,
        },
    )


def stayed(owner: Actor | None) -> Asked:
    booking_id = factories.completed_booking(by=owner).id if owner else NOT_THERE
    return Asked({}, {"bookingId": booking_id, "rating": 4, "title": "Would come back", "content": "Quiet at night."})


def intent(owner: Actor | None) -> Asked:
    wanted = factories.intent_of(factories.booking(by=owner)).id if owner else "pi_nothing_like_this"
    return Asked({"intent_id": wanted}, {"payment_method": "pm_card_visa"})


def open_review(owner: Actor | None) -> Asked:
    return Asked({"row_id": factories.review().id if owner else NOT_THERE})


def approval(owner: Actor | None) -> Asked:
    asked = open_review(owner)
    return Asked({**asked.args, "decision": "approve"}, {"seen": str(last_entry("reviews", asked.args["row_id"]))})


def approvals(owner: Actor | None) -> Asked:
    return Asked({}, {"decision": "approve", "id": str(open_review(owner).args["row_id"])})


def waiting_review(owner: Actor | None) -> Asked:
    return Asked({"review_id": factories.review().id if owner else NOT_THERE}, {"decision": "approve"})


BOOKINGS = (
    booking,
    cancellation,
    noted,
    ended_stay,
    stay,
    stayed,
    intent,
    open_review,
    approval,
    approvals,
    waiting_review,
)
