"""The verb that refunds what a booking was paid with, for whoever has the booking before them."""

from __future__ import annotations

from app.audit.actor import Actor
from app.bookings.models import Booking
from app.errors import Conflict, NotFound
from app.extensions import db
from app.payments import refunds
from app.payments import service as payments
from app.payments.models import Refund


def request_refund(booking_id: int, *, amount_minor: int | None, reason: str, note: str, key: str, by: Actor) -> Refund:
    """Ask for a part of what was paid for a booking to go back, or for all that is left of it.

    Raises NotFound, and what `payments.refunds.request` raises.
    """
    by.require(*refunds.MAY_REQUEST)
    if db.session.get(Booking, booking_id) is None:
        raise NotFound(f"There is no booking {booking_id}.")
    payment = payments.live_payment(booking_id)
    if payment is None:
        raise Conflict("Nothing was paid for this booking, so there is nothing to refund.")
    return refunds.request(payment.id, amount_minor=amount_minor, reason=reason, note=note, key=key, by=by)
