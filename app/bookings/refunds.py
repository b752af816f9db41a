"""Refunding what a booking was paid with, for whoever has the booking before them, or many of them."""

from __future__ import annotations

from app.audit.actor import Actor
from app.bookings.models import Booking
from app.db import lock
from app.errors import Conflict, NotFound
from app.extensions import db
from app.payments import holds, refundable, refunds
from app.payments import service as payments
from app.payments.models import Payment, Refund


def request_refund(
    booking_id: int,
    *,
    amount_minor: int | None,
    reason: str,
    note: str,
    key: str,
    by: Actor,
    alone: bool = True,
) -> Refund:
    """Ask for a part of what was paid for a booking to go back, or for all that is left of it. Goodwill is ours alone;
    of every other reason the provider bears its share.

    Raises NotFound, and what `payments.refunds.request` raises.
    """
    by.require(*refunds.MAY_REQUEST)
    if db.session.get(Booking, booking_id) is None:
        raise NotFound(f"There is no booking {booking_id}.")
    payment = payments.live_payment(booking_id)
    if payment is None:
        raise Conflict("Nothing was paid for this booking, so there is nothing to refund.")
    kind = "goodwill" if reason == "goodwill" else "standard"
    return refunds.request(
        payment.id, amount_minor=amount_minor, reason=reason, note=note, kind=kind, key=key, by=by, alone=alone
    )


def why_nothing_goes_back(booking_id: int) -> str | None:
    """Why nothing of what was paid for a booking can be refunded, in words; None when something can, or could but for a
    hold, which asking for it is refused by. Its payment stays locked for whoever asks for it then.
    """
    payment = payments.live_payment(booking_id)
    if payment is None:
        return "Nothing was paid for it."
    payment = lock(Payment, payment.id)
    if payment.succeeded_at is None:
        return "Nothing was paid for it."
    if refundable.left_of(payment) > 0:
        return None
    if payment.disputed_minor and holds.of(payment.id):
        return None
    if payment.disputed_minor:
        return "Nothing is left of what was paid: a dispute has withdrawn it, or it was refunded before."
    return "All that was paid is refunded already, or on its way."
