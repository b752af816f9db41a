"""/v1/bookings/{id}/refunds: giving back what was paid, for staff."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from flask import request
from pydantic import Field

from app.api.blueprint import api
from app.api.endpoint import endpoint
from app.api.schemas import Body, MoneyOut, PlainText, Schema
from app.audit.actor import Actor
from app.bookings.refunds import request_refund
from app.errors import Invalid, NotFound
from app.money import MAX_CHARGE_MINOR
from app.payments import refunds
from app.payments.models import Refund

_CODES = "; ".join(f"`{code}` ({words.lower()})" for code, words in refunds.REASONS.items())


class MoneyWish(Body):
    """An amount in minor units and its currency."""

    amount: int = Field(ge=1, le=MAX_CHARGE_MINOR, description="Minor units: 3000 is $30.00.", examples=[3000])
    currency: str = Field(min_length=3, max_length=3, description="ISO 4217.", examples=["USD"])


class RefundWish(Body):
    """How much goes back, and why."""

    amount: int | MoneyWish | None = Field(
        None, description="Minor units, or with the currency; without it, all that is left.", examples=[3000]
    )
    reason: PlainText = Field(
        min_length=1,
        max_length=refunds.MAX_NOTE,
        description=f"One of {_CODES}. Other words are kept as a note, with the reason `other`.",
        examples=["stay_problem"],
    )


class RefundOut(Schema):
    """A refund. While it is PENDING_APPROVAL a second person has to approve it, before `expiresAt`."""

    id: int
    booking_id: int
    status: str = Field(examples=["APPROVED"])
    amount: MoneyOut
    reason: str = Field(examples=["stay_problem"])
    note: str | None
    created_at: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, refund: Refund, booking_id: int) -> RefundOut:
        """From the row."""
        return cls(
            id=refund.id,
            booking_id=booking_id,
            status=refund.status,
            amount=MoneyOut.of(refund.amount_minor, refund.currency),
            reason=refund.reason,
            note=refund.note,
            created_at=refund.created_at,
            expires_at=refund.expires_at,
        )


@endpoint(
    api,
    "POST",
    "/bookings/<int:booking_id>/refunds",
    group="Bookings",
    body=RefundWish,
    answer=RefundOut,
    status=201,
    refuses=(403, 404, 409, 422),
    idempotent="one transaction",
)
def refund_booking(booking_id: int, body: RefundWish, by: Actor) -> RefundOut:
    """Refund what was paid for a booking

    For finance and admins, up to their limit at once; above it, and when support asks, a second person approves it.
    Held by a dispute, more than is left, or under way already is 409, which says so. Stripe is asked afterwards.
    """
    if booking_id >= 2**63:
        raise NotFound(f"There is no booking {booking_id}.")
    is_code = body.reason in refunds.REASONS and body.reason != "other"
    refund = request_refund(
        booking_id,
        amount_minor=_minor(body.amount),
        reason=body.reason if is_code else "other",
        note="" if is_code else body.reason,
        key=request.headers.get("Idempotency-Key") or uuid4().hex,
        by=by,
    )
    return RefundOut.of(refund, booking_id)


def _minor(amount: int | MoneyWish | None) -> int | None:
    if isinstance(amount, MoneyWish):
        if amount.currency != "USD":
            raise Invalid.field("amount.currency", "Payments are in USD.")
        return amount.amount
    return amount
