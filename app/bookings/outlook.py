"""What refunding many bookings would do at this moment, or cancelling them for their providers: read at once, as the
verbs reckon it one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Date, ScalarSelect, Select, and_, cast, exists, func, or_, select

from app.audit.actor import Actor
from app.bookings.models import Booking
from app.extensions import db
from app.payments import refund_approval
from app.payments.models import Payment, PaymentHold, Refund
from app.payments.refundable import OVER

_OPEN = "PENDING_APPROVAL"


@dataclass(frozen=True)
class Outlook:
    """One booking and the money of its payment, in minor units: `left_minor` can still go back, `due_minor` would if
    its provider cancelled. `alone_minor` of it is refunded by who asks without a second person. `is_disputed` says that
    a dispute has withdrawn some of it.
    """

    status: str
    is_over: bool
    is_paid: bool
    is_held: bool
    is_disputed: bool
    currency: str
    left_minor: int
    due_minor: int
    alone_minor: int


def of_many(ids: Select[Any], *, by: Actor) -> list[Outlook]:
    """The bookings with these ids; one that isn't there is left out."""
    is_open = or_(Refund.status == _OPEN, and_(Refund.status == "ON_HOLD", Refund.held_status == _OPEN))
    is_over = and_(
        Booking.status == "CONFIRMED",
        cast(func.timezone(Booking.time_zone, func.now()), Date) >= Booking.ends_on,
    )
    found = db.session.execute(
        select(
            Booking.status,
            is_over.label("is_over"),
            Booking.total_minor,
            Booking.currency,
            Payment.succeeded_at,
            Payment.amount_minor,
            Payment.disputed_minor,
            _refunded().label("taken"),
            _refunded(~is_open, Refund.kind != "goodwill").label("counted"),
            _refunded(~is_open, Refund.kind == "goodwill").label("given"),
            _refunded(refund_approval.is_alone(by)).label("alone"),
            exists().where(PaymentHold.payment_id == Payment.id, PaymentHold.lifted_at.is_(None)).label("is_held"),
        )
        .join(Payment, and_(Payment.booking_id == Booking.id, Payment.status != "CANCELLED"), isouter=True)
        .where(Booking.id.in_(ids))
    )
    return [_outlook(row) for row in found]


def _refunded(*which: ColumnElement[bool]) -> ScalarSelect[Any]:
    """What refunds of the payment take that are under way or paid, in minor units."""
    return (
        select(func.coalesce(func.sum(Refund.amount_minor), 0))
        .where(Refund.payment_id == Payment.id, Refund.status.not_in(OVER), *which)
        .correlate(Payment)
        .scalar_subquery()
    )


def _outlook(row: Any) -> Outlook:
    is_paid = row.succeeded_at is not None
    paid = row.amount_minor - row.disputed_minor if is_paid else 0
    room = max(paid - int(row.counted) - int(row.given), 0)
    return Outlook(
        status=row.status,
        is_over=row.is_over,
        is_paid=is_paid,
        is_held=row.is_held,
        is_disputed=is_paid and row.disputed_minor > 0,
        currency=row.currency,
        left_minor=max(paid - int(row.taken), 0),
        due_minor=min(max(row.total_minor - int(row.counted), 0), room),
        alone_minor=int(row.alone),
    )
