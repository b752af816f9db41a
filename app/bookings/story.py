"""Everything that happened to one booking, as one timeline: states, payment, Stripe's events, the ledger, mail, and who
did what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import defer, joinedload

from app.audit import trail
from app.audit.trail import Moment
from app.bookings.models import Booking, BookingNote
from app.extensions import db
from app.logs import OUTSIDE_A_REQUEST
from app.money import Money
from app.notifications.kinds import title_of
from app.notifications.models import Notification
from app.payments.models import LedgerAccount, LedgerEntry, Payment, Refund, WebhookEvent
from app.states import in_words


@dataclass(frozen=True)
class Story:
    """A booking's money so far, and its moments, oldest first."""

    payments: Sequence[Payment]
    refunds: Sequence[Refund]
    moments: Sequence[Moment]


# What an audit entry is called, its icon and tone; an action missing here is told by its own name.
TITLES: dict[str, trail.Title] = {
    "booking.hold": ("Booked, stock held", "state", None),
    "booking.confirm": ("Confirmed", "state", "good"),
    "booking.expire": ("Hold ran out, stock freed", "state", "warn"),
    "booking.cancel": ("Cancelled", "state", "bad"),
    "booking.complete": ("Stay completed", "state", "good"),
    "payment.open": ("Payment started", "payment", None),
    "payment.captured": ("Payment captured", "payment", "good"),
    "payment.failed": ("Payment declined", "payment", "bad"),
    "payment.requires_action": ("Waiting for the traveller's bank", "payment", None),
    "payment.processing": ("Payment is being processed", "payment", None),
    "payment.cancelled": ("Payment closed", "payment", None),
    "payment.refunded": ("Payment refunded", "payment", None),
    "payment.fee_corrected": ("Stripe's fee corrected", "payment", "warn"),
    "payment.hold": ("Refunds put on hold", "payment", "warn"),
    "payment.release": ("Hold on refunds lifted", "payment", None),
    "refund.request": ("Refund asked for", "payment", None),
    "refund.approve": ("Refund approved", "payment", None),
    "refund.reject": ("Refund rejected", "payment", "bad"),
    "refund.expire": ("Refund not approved in time", "payment", "warn"),
    "refund.hold": ("Refund put on hold", "payment", "warn"),
    "refund.release": ("Refund goes on", "payment", None),
    "refund.retry": ("Refund tried again", "payment", None),
    "refund.dashboard": ("Refund made in Stripe's dashboard", "payment", "warn"),
    "refund.give_way": ("Refund let go, the money is gone", "payment", "bad"),
    "refund.submit": ("Refund sent to Stripe", "payment", None),
    "refund.succeeded": ("Refund paid", "payment", "good"),
    "refund.failed": ("Refund failed", "payment", "bad"),
}


def tell(booking: Booking, *, mail_href: Callable[[int], str] | None = None) -> Story:
    """Collect the story of a booking. `mail_href` gives the page of a mail, where its reader may open it."""
    payments = db.session.scalars(select(Payment).where(Payment.booking_id == booking.id).order_by(Payment.id)).all()
    payment_ids = [payment.id for payment in payments]
    refunds = db.session.scalars(select(Refund).where(Refund.payment_id.in_(payment_ids)).order_by(Refund.id)).all()
    moments = [
        *trail.moments(
            {"bookings": [booking.id], "payments": payment_ids, "refunds": [refund.id for refund in refunds]},
            titles=TITLES,
            currency=booking.currency,
        ),
        *_from_events([payment.stripe_payment_intent_id for payment in payments if payment.stripe_payment_intent_id]),
        *_from_ledger(LedgerEntry.booking_id == booking.id),
        *_from_mail(booking.id, mail_href),
        *_from_notes(booking.id),
    ]
    return Story(payments, refunds, sorted(moments, key=lambda moment: moment.at))


def tell_payment(payment: Payment) -> Story:
    """Collect the story of one payment: the same without the rest of its booking."""
    refunds = db.session.scalars(select(Refund).where(Refund.payment_id == payment.id).order_by(Refund.id)).all()
    moments = [
        *trail.moments(
            {"payments": [payment.id], "refunds": [refund.id for refund in refunds]},
            titles=TITLES,
            currency=payment.currency,
        ),
        *_from_events([payment.stripe_payment_intent_id] if payment.stripe_payment_intent_id else []),
        *_from_ledger(LedgerEntry.payment_id == payment.id),
    ]
    return Story([payment], refunds, sorted(moments, key=lambda moment: moment.at))


def _from_events(intent_ids: list[str]) -> Iterator[Moment]:
    events = select(WebhookEvent).where(WebhookEvent.stripe_payment_intent_id.in_(intent_ids)).order_by(WebhookEvent.id)
    for event in db.session.scalars(events):
        waits = event.last_error if event.status in ("RECEIVED", "FAILED") else None
        yield Moment(
            at=event.received_at,
            icon="webhook",
            title=f"Stripe: {event.type}",
            detail=waits
            or {"PROCESSED": None, "IGNORED": "Nothing to do for this one."}.get(
                event.status, in_words(event.status).capitalize()
            ),
            actor=event.stripe_event_id,
            request_id=event.request_id,
            tone="bad" if event.status == "FAILED" else "warn" if waits else None,
        )


def _from_ledger(which: ColumnElement[bool]) -> Iterator[Moment]:
    names = dict(db.session.execute(select(LedgerAccount.code, LedgerAccount.name)).all())
    entries = db.session.scalars(select(LedgerEntry).where(which).order_by(LedgerEntry.posted_at, LedgerEntry.id))
    for at, together in groupby(entries, key=lambda entry: entry.posted_at):
        lines = [
            {
                "label": f"{names[entry.debit_account]} ← {names[entry.credit_account]}",
                "amount": Money(entry.amount_minor, entry.currency).json(),
            }
            for entry in together
        ]
        yield Moment(at=at, icon="ledger", title="Posted to the ledger", lines=lines)


# What became of a mail, and its tone.
_MAIL: dict[str, tuple[str, str | None]] = {
    "QUEUED": ("Mail waits to be sent", None),
    "SENDING": ("Mail is being sent", None),
    "SENT": ("Mail sent", "good"),
    "FAILED": ("Mail could not be sent", "bad"),
    "UNKNOWN": ("Mail may not have been sent", "warn"),
}


def _from_mail(booking_id: int, href: Callable[[int], str] | None) -> Iterator[Moment]:
    mails = (
        select(Notification)
        .where(Notification.object_type == Booking.__tablename__, Notification.object_id == booking_id)
        .options(defer(Notification.body), defer(Notification.html))
    )
    for mail in db.session.scalars(mails.order_by(Notification.id)):
        title, tone = _MAIL[mail.status]
        yield Moment(
            at=mail.sent_at or mail.created_at,
            icon="mail",
            title=f"{title}: {title_of(mail.kind)}",
            detail=mail.last_error or f"To {mail.recipient}",
            request_id=mail.request_id if mail.request_id != OUTSIDE_A_REQUEST else None,
            link=href(mail.id) if href else None,
            tone=tone,
        )


def _from_notes(booking_id: int) -> Iterator[Moment]:
    notes = (
        select(BookingNote)
        .where(BookingNote.booking_id == booking_id)
        .options(joinedload(BookingNote.author))
        .order_by(BookingNote.id)
    )
    for note in db.session.scalars(notes):
        yield Moment(at=note.created_at, icon="note", title="Note", detail=note.body, actor=note.author.name)
