"""/v1/bookings/{id}/refunds: giving back what was paid, for staff."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import uuid4

from flask import request
from pydantic import AfterValidator, BeforeValidator, Field

from app.api.blueprint import api
from app.api.endpoint import endpoint
from app.audit.actor import Actor
from app.bookings.refunds import request_refund
from app.errors import Invalid, NotFound
from app.money import MAX_CHARGE_MINOR
from app.payments import refunds
from app.payments.models import Refund
from app.schemas import Body, MoneyOut, MoneyWish, PlainText, Schema

# `other` is for other words, which are given in its place.
_CODES = "; ".join(f"`{code}` ({words.lower()})" for code, words in refunds.REASONS.items() if code != "other")


def _with_currency(value: Any) -> Any:
    """What a plain number means; said by one name, where a union would name each of its types."""
    if value is None or isinstance(value, dict):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_CHARGE_MINOR:
        return {"amount": value, "currency": "USD"}
    raise ValueError(f"must be minor units, from 1 to {MAX_CHARGE_MINOR}, or an object of amount and currency")


def _saying_why(words: str) -> str:
    if words.strip() in ("", "other"):
        raise ValueError("must be one of the codes, or say in other words what it is for")
    return words.strip()


_Minor = Annotated[int, Field(ge=1, le=MAX_CHARGE_MINOR)]


class RefundWish(Body):
    """How much goes back, and why."""

    amount: Annotated[
        MoneyWish | None, BeforeValidator(_with_currency, json_schema_input_type=_Minor | MoneyWish | None)
    ] = Field(None, description="Minor units, or with the currency; without it, all that is left.", examples=[3000])
    reason: Annotated[PlainText, AfterValidator(_saying_why)] = Field(
        min_length=1,
        max_length=refunds.MAX_NOTE,
        description=f"One of {_CODES}. Other words are kept as a note, with the reason `other`. The provider bears its"
        " share of every refund but `goodwill`, which is the platform's alone.",
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
    recent_login=True,
)
def refund_booking(booking_id: int, body: RefundWish, by: Actor) -> RefundOut:
    """Refund what was paid for a booking

    For finance and admins, up to their limit at once; above it, and when support asks, a second person approves it.
    The log-in must not be more than 15 minutes ago, however often its token was refreshed; else it is 401.
    Held by a dispute, more than is left, or under way already is 409, which says so. Stripe is asked afterwards.
    """
    if booking_id >= 2**63:
        raise NotFound(f"There is no booking {booking_id}.")
    is_code = body.reason in refunds.REASONS
    refund = request_refund(
        booking_id,
        amount_minor=_minor(body.amount),
        reason=body.reason if is_code else "other",
        note="" if is_code else body.reason,
        # Keys are each person's own: somebody else may well use the same.
        key=f"{by.id} {request.headers.get('Idempotency-Key') or uuid4().hex}",
        by=by,
    )
    return RefundOut.of(refund, booking_id)


def _minor(amount: MoneyWish | None) -> int | None:
    if amount is None:
        return None
    if amount.currency != "USD":
        raise Invalid.field("amount.currency", "Payments are in USD.")
    return amount.amount
