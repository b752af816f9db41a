"""What is said against a chargeback before anybody has written a word: the booking, its policy, and its receipt."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from app.accounts.models import User
from app.bookings.models import Booking
from app.catalog.models import Package, Provider
from app.extensions import db
from app.money import written
from app.notifications.kinds import title_of
from app.notifications.models import Notification
from app.payments.models import Payment, Refund


def of(payment: Payment) -> dict[str, str]:
    """The evidence of a payment's booking as it is now, by Stripe's names of the fields."""
    booking = db.session.scalars(
        select(Booking)
        .where(Booking.id == payment.booking_id)
        .options(joinedload(Booking.traveller), joinedload(Booking.package).joinedload(Package.provider))
    ).one()
    policy = terms_in_words(booking.policy)
    return {
        "customer_name": booking.traveller.name,
        "customer_email_address": booking.traveller.email,
        "service_date": days_in_words(booking.starts_on, booking.ends_on),
        "product_description": _product(booking, booking.package, booking.package.provider),
        "cancellation_policy_disclosure": f"{policy} It was sold under these terms, which its confirmation repeats.",
        "cancellation_rebuttal": _rebuttal(booking),
        "refund_policy_disclosure": policy,
        "refund_refusal_explanation": "",
        "uncategorized_text": _receipt(booking, payment, booking.traveller),
    }


def terms_in_words(policy: dict[str, Any]) -> str:
    """The cancellation policy that a booking was sold under, as sentences."""
    tiers = [
        f"{tier['refundPercent']} % is paid back when cancelled at least {tier['daysBefore']}"
        f" {'day' if tier['daysBefore'] == 1 else 'days'} before the start"
        for tier in policy["tiers"]
        if tier["refundPercent"]
    ]
    return f"Cancellation policy ({policy['name']}): {'; '.join([*tiers, 'after that nothing'])}."


def days_in_words(first: date, last: date) -> str:
    """The days of a stay as a bank reads them: `18 Jun 2027 to 20 Jun 2027`."""
    return f"{_day(first)} to {_day(last)}"


def _product(booking: Booking, package: Package, provider: Provider) -> str:
    what = "Tour" if booking.is_tour else "Hotel stay"
    units = f"{booking.units} {'unit' if booking.units == 1 else 'units'}"
    guests = f"{booking.guests} {'guest' if booking.guests == 1 else 'guests'}"
    return (
        f"{what}: {booking.package_name}, provided by {provider.name} in {package.city}, {package.country}."
        f" From {days_in_words(booking.starts_on, booking.ends_on)}, {units}, {guests}."
    )


def _rebuttal(booking: Booking) -> str:
    if booking.cancelled_at is not None:
        return f"The booking was cancelled on {_moment(booking.cancelled_at)}."
    if booking.completed_at is not None:
        return "The booking was never cancelled. The stay took place and is over."
    return "The booking was never cancelled; its place is still kept for the customer."


def _receipt(booking: Booking, payment: Payment, traveller: User) -> str:
    lines = [
        f"Receipt of booking {booking.reference}",
        f"Booked by {traveller.name} on {_moment(booking.created_at)}.",
    ]
    if payment.succeeded_at is not None:
        paid = _amount(payment.amount_minor, payment.currency)
        lines.append(f"Paid {paid} on {_moment(payment.succeeded_at)}, charge {payment.stripe_charge_id}.")
    if booking.confirmed_at is not None:
        lines.append(f"Confirmed on {_moment(booking.confirmed_at)}.")
    if booking.completed_at is not None:
        lines.append(f"Stay completed on {_moment(booking.completed_at)}.")
    paid_back = select(Refund).where(Refund.payment_id == payment.id, Refund.status == "SUCCEEDED").order_by(Refund.id)
    for refund in db.session.scalars(paid_back):
        amount = _amount(refund.amount_minor, refund.currency)
        lines.append(f"Refunded {amount} on {_moment(refund.succeeded_at or refund.created_at)}.")
    told = select(Notification).where(
        Notification.object_type == Booking.__tablename__, Notification.object_id == booking.id
    )
    for mail in db.session.scalars(told.order_by(Notification.id)):
        if mail.sent_at is not None:
            lines.append(f"Mailed to {mail.recipient} on {_moment(mail.sent_at)}: {title_of(mail.kind).lower()}.")
    return "\n".join(lines)


def _amount(minor: int, currency: str) -> str:
    # What a bank reads may show a space that doesn't break as something else.
    return written(minor, currency, code=True).replace("\N{NO-BREAK SPACE}", " ")


def _day(value: date) -> str:
    return f"{value.day} {value:%b %Y}"


def _moment(at: datetime) -> str:
    return f"{_day(at)}, {at:%H:%M} UTC"
