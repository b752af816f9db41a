"""What a booking's traveller is told by mail, each in the transaction that makes it so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.bookings.models import Booking
from app.db import statement
from app.money import Money
from app.notifications.service import notify
from app.payments.cancellation import Due
from app.payments.models import Payment, Refund

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
    _tell(booking, "booking_cancelled", key=booking.id, by=on_behalf_of, paid=None)


def cancelled_after_payment(booking: Booking, due: Due, refunds: Sequence[Refund], *, on_behalf_of: str) -> None:
    """Cancelled, with what comes back of what was paid. Goodwill that somebody has to approve first isn't promised."""
    promised = [refund for refund in refunds if "PENDING_APPROVAL" not in (refund.status, refund.held_status)]
    _tell(
        booking,
        "booking_cancelled",
        key=booking.id,
        by=on_behalf_of,
        paid={
            "refund": _money(sum(refund.amount_minor for refund in promised), booking.currency),
            "before": _money(due.refunded_minor + due.goodwill_minor, booking.currency),
            "is_late": not (due.refund_minor or due.refunded_minor or due.disputed_minor),
            "waits": any(refund.status == "ON_HOLD" for refund in promised),
        },
    )


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
        refund=_money(payment.amount_minor, payment.currency),
        because="hold_expired" if booking.status == "EXPIRED" else "cancelled",
    )


def _money(minor: int, currency: str) -> dict[str, object]:
    return Money(minor, currency).json()


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
                "total": _money(booking.total_minor, booking.currency),
                "policy": booking.policy["tiers"],
            },
            **values,
        },
        about=booking,
    )
