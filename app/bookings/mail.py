"""What a booking's traveller is told by mail, each in the transaction that makes it so."""

from __future__ import annotations

from typing import Any

from app.bookings.models import Booking
from app.db import statement
from app.notifications.service import notify
from app.payments.models import Payment

_AROUND = """
SELECT u.email, u.name, p.city, p.country, v.name AS provider
FROM users u, packages p JOIN providers v ON v.id = p.provider_id
WHERE u.id = %(traveller_id)s AND p.id = %(package_id)s
"""


def confirmed(booking: Booking) -> None:
    """Paid, and the stock is theirs."""
    _tell(booking, "booking_confirmed", key=booking.id)


def cancelled(booking: Booking, *, on_behalf_of: str) -> None:
    """Cancelled before it was paid. The reason given by staff stays in the house."""
    _tell(booking, "booking_cancelled", key=booking.id, by=on_behalf_of)


def expired(booking: Booking) -> None:
    """Nobody paid in time."""
    _tell(booking, "hold_expired", key=booking.id)


def payment_failed(booking: Booking, payment: Payment) -> None:
    """The bank declined. Told once for a booking: whoever tries five cards in a row knows after the first."""
    _tell(
        booking,
        "payment_failed",
        key=booking.id,
        why=payment.failure_message,
        pay_until=booking.expires_at.isoformat(),
    )


def late_payment_refunded(booking: Booking, payment: Payment) -> None:
    """Money came that the booking could not take any more, and goes back in full."""
    _tell(
        booking,
        "late_payment_refunded",
        key=payment.id,
        refund={"amount": payment.amount_minor, "currency": payment.currency},
        because="hold_expired" if booking.status == "EXPIRED" else "cancelled",
    )


def _tell(booking: Booking, kind: str, *, key: int, **values: Any) -> None:
    (around,) = statement(_AROUND, {"traveller_id": booking.traveller_id, "package_id": booking.package_id})
    notify(
        kind,
        to=around.email,
        name=around.name,
        key=f"{kind}:{key}",
        values={
            "booking": {
                "reference": booking.reference,
                "package": booking.package_name,
                "city": around.city,
                "country": around.country,
                "provider": around.provider,
                "time_zone": booking.time_zone,
                "is_tour": booking.is_tour,
                "starts_on": booking.starts_on.isoformat(),
                "ends_on": booking.ends_on.isoformat(),
                "nights": len(booking.nights),
                "units": booking.units,
                "guests": booking.guests,
                "total": {"amount": booking.total_minor, "currency": booking.currency},
                "policy": booking.policy["tiers"],
            },
            **values,
        },
        about=booking,
    )
