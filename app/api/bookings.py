"""/v1/bookings: holding, paying and cancelling one's own bookings."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import Field
from sqlalchemy import select

from app.api.blueprint import api
from app.api.endpoint import endpoint
from app.audit.actor import Actor
from app.bookings import cancellation
from app.bookings import service as bookings
from app.bookings.cancellation import Preview
from app.bookings.models import Booking
from app.errors import NotFound
from app.extensions import db
from app.money import Money
from app.schemas import Body, Day, Id, MoneyOut, MoneyWish, PageQuery, PlainText, Schema, decode_cursor, page

GROUP = "Bookings"


class BookingWish(Body):
    """Nights of a hotel package (`checkIn`, `checkOut`) or a departure of a tour package (`departure`)."""

    package_id: Id = Field(examples=[1])
    check_in: Day | None = Field(None, examples=["2027-03-12"])
    check_out: Day | None = Field(None, description="Excluded: the day of leaving.", examples=["2027-03-14"])
    departure: Day | None = None
    units: int = Field(1, ge=1, le=50, description="Rooms, apartments or places.")
    guests: int = Field(1, ge=1, le=1000)


class CancelWish(Body):
    """Why, if one likes to say, and what one expects to get back."""

    reason: PlainText | None = Field(None, max_length=1000)
    expected_refund: MoneyWish | None = Field(
        None, description="The `refund` that was shown before: if something else would come back, nothing is cancelled."
    )


class BookingOut(Schema):
    """A booking. While it is PENDING_PAYMENT its stock is held until `expiresAt`."""

    id: int
    reference: str = Field(examples=["TD-7K3M9-QXZ2A"])
    status: str = Field(examples=["PENDING_PAYMENT"])
    package_id: int
    check_in: date | None
    check_out: date | None
    departure: date | None
    units: int
    guests: int
    total: MoneyOut
    expires_at: datetime
    created_at: datetime

    @classmethod
    def of(cls, booking: Booking) -> BookingOut:
        """From the row."""
        is_tour = booking.is_tour
        return cls(
            id=booking.id,
            reference=booking.reference,
            status=booking.status,
            package_id=booking.package_id,
            check_in=None if is_tour else booking.starts_on,
            check_out=None if is_tour else booking.ends_on,
            departure=booking.starts_on if is_tour else None,
            units=booking.units,
            guests=booking.guests,
            total=MoneyOut.of(booking.total_minor, booking.currency),
            expires_at=booking.expires_at,
            created_at=booking.created_at,
        )


class CancellationRefundOut(Schema):
    """Money on its way back. ON_HOLD, it waits until a question about the payment is settled."""

    amount: MoneyOut
    status: str = Field(examples=["APPROVED"])


class CancelledOut(BookingOut):
    """The cancelled booking, and what comes back of what was paid."""

    refund: CancellationRefundOut | None = Field(description="Null when nothing comes back.")


class PolicyTodayOut(Schema):
    """What the booking's policy gives at this moment. Days are those of the package's time zone."""

    name: str = Field(examples=["moderate"])
    time_zone: str = Field(examples=["Europe/Oslo"])
    today: date
    days_before: int = Field(description="Below zero once the stay has begun.", examples=[3])
    refund_percent: int = Field(examples=[50])
    until: datetime | None = Field(description="From then on it gives less; null when it already gives least.")
    next_refund_percent: int = Field(examples=[0])


class CancellationOut(Schema):
    """What cancelling would do now."""

    paid: MoneyOut
    refunded: MoneyOut = Field(description="Refunded already or on its way; it counts towards what the policy gives.")
    refund: MoneyOut = Field(description="What would come back by cancelling now.")
    kept: MoneyOut = Field(description="What would not.")
    is_held: bool = Field(description="Whether the refund would wait until a question about the payment is settled.")
    policy: PolicyTodayOut

    @classmethod
    def of(cls, preview: Preview) -> CancellationOut:
        """From what was reckoned."""
        due, policy, booking = preview.due, preview.policy, preview.booking

        def money(minor: int) -> MoneyOut:
            return MoneyOut.of(minor, booking.currency)

        return cls(
            paid=money(due.paid_minor),
            refunded=money(due.refunded_minor),
            refund=money(due.refund_minor),
            kept=money(due.beyond_minor),
            is_held=bool(preview.holds),
            policy=PolicyTodayOut(
                name=booking.policy["name"],
                time_zone=booking.time_zone,
                today=policy.today,
                days_before=policy.days_before,
                refund_percent=policy.percent,
                until=policy.until,
                next_refund_percent=policy.next_percent,
            ),
        )


class BookingsOut(Schema):
    """A page of bookings, newest first."""

    items: list[BookingOut]
    next_cursor: str | None


class IntentOut(Schema):
    """What Stripe.js needs to collect the payment."""

    client_secret: str
    payment_intent_id: str = Field(examples=["pi_3QK2b5L9Xn"])
    amount: MoneyOut


@endpoint(
    api,
    "POST",
    "/bookings",
    group=GROUP,
    body=BookingWish,
    answer=BookingOut,
    status=201,
    refuses=(404, 409, 422),
    idempotent="one transaction",
)
def create_booking(body: BookingWish, by: Actor) -> BookingOut:
    """Book: hold the stock until it is paid

    The price and the cancellation policy of this moment stay with the booking. Sold out, or too many people after the
    same days at once, is 409. Pay before `expiresAt`, or the stock goes back on sale.
    """
    return BookingOut.of(
        bookings.hold(
            by=by,
            package_id=body.package_id,
            check_in=body.check_in,
            check_out=body.check_out,
            departure=body.departure,
            units=body.units,
            guests=body.guests,
        )
    )


@endpoint(api, "GET", "/bookings", group=GROUP, query=PageQuery, answer=BookingsOut, refuses=(422,))
def list_bookings(query: PageQuery, by: Actor) -> BookingsOut:
    """List one's own bookings, newest first"""
    before = decode_cursor(query.cursor)
    own = select(Booking).where(Booking.traveller_id == by.id).order_by(Booking.id.desc()).limit(query.limit + 1)
    rows = db.session.scalars(own if before is None else own.where(Booking.id < before)).all()
    return BookingsOut(**page(rows, query.limit, BookingOut.of))


@endpoint(api, "GET", "/bookings/<int:booking_id>", group=GROUP, answer=BookingOut, refuses=(404,))
def get_booking(booking_id: int, by: Actor) -> BookingOut:
    """Get one's own booking

    Another person's booking is 404, like one that doesn't exist.
    """
    return BookingOut.of(bookings.own(_known(booking_id), by))


@endpoint(
    api,
    "POST",
    "/bookings/<int:booking_id>/payment-intent",
    group=GROUP,
    answer=IntentOut,
    refuses=(404, 409, 503),
    idempotent="by nature",
)
def create_payment_intent(booking_id: int, by: Actor) -> IntentOut:
    """Get the Stripe payment intent to pay a booking with

    Asking again gives the same intent while it can be paid. Confirm it with Stripe.js and the client secret; the
    booking becomes CONFIRMED when Stripe reports the payment, usually within seconds. A declined card leaves the
    booking PENDING_PAYMENT: try another one with the same intent.
    """
    intent = bookings.start_payment(_known(booking_id), by=by)
    return IntentOut(
        client_secret=intent.client_secret or "",
        payment_intent_id=intent.id,
        amount=MoneyOut.of(intent.amount_minor, intent.currency),
    )


@endpoint(
    api, "GET", "/bookings/<int:booking_id>/cancellation", group=GROUP, answer=CancellationOut, refuses=(404, 409)
)
def preview_cancellation(booking_id: int, by: Actor) -> CancellationOut:
    """See what cancelling would give back now

    Nothing is changed. A booking that can't be cancelled any more is 409. What was paid and neither refunded nor kept
    was withdrawn by a dispute or given as goodwill before.
    """
    return CancellationOut.of(bookings.preview_cancel(_known(booking_id), by=by))


@endpoint(
    api,
    "POST",
    "/bookings/<int:booking_id>/cancel",
    group=GROUP,
    body=CancelWish,
    answer=CancelledOut,
    refuses=(404, 409, 422),
    idempotent="one transaction",
)
def cancel_booking(booking_id: int, body: CancelWish, by: Actor) -> CancelledOut:
    """Cancel a booking

    Its stock goes back on sale at once. Of a paid one, what its cancellation policy gives on this day is refunded the
    way it was paid. A stay that has begun can't be cancelled any more: 409. A body is optional.
    """
    expected = body.expected_refund
    booking = bookings.cancel(
        _known(booking_id),
        by=by,
        reason=body.reason,
        seen=Money(expected.amount, expected.currency) if expected is not None else None,
    )
    refunds = [
        CancellationRefundOut(amount=MoneyOut.of(refund.amount_minor, refund.currency), status=refund.status)
        for refund in cancellation.refunds_of(booking)
    ]
    return CancelledOut(**dict(BookingOut.of(booking)), refund=refunds[0] if refunds else None)


def _known(booking_id: int) -> int:
    if booking_id >= 2**63:
        raise NotFound("You have no booking with this id.")
    return booking_id
