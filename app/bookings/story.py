"""Everything that happened to one booking, as one timeline: states, payment, Stripe's events, the ledger, and who did
what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import joinedload

from app.audit.models import AuditEntry
from app.bookings.models import Booking, BookingNote
from app.extensions import db
from app.logs import OUTSIDE_A_REQUEST
from app.money import Money
from app.payments.models import LedgerAccount, LedgerEntry, Payment, Refund, WebhookEvent
from app.states import in_words


@dataclass(frozen=True)
class Moment:
    """One thing that happened. `icon` says of which sort, `tone` whether it was good or bad news."""

    at: datetime
    icon: str
    title: str
    detail: str | None = None
    actor: str | None = None
    request_id: str | None = None
    link: str | None = None
    tone: str | None = None
    fields: Sequence[dict[str, Any]] = ()
    lines: Sequence[dict[str, Any]] = field(default=())


@dataclass(frozen=True)
class Story:
    """A booking's money so far, and its moments, oldest first."""

    payments: Sequence[Payment]
    refunds: Sequence[Refund]
    moments: Sequence[Moment]


# What an audit entry is called, its icon and tone; an action missing here is told by its own name.
_ACTIONS: dict[str, tuple[str, str, str | None]] = {
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
    "refund.approve": ("Refund approved", "payment", None),
    "refund.submit": ("Refund sent to Stripe", "payment", None),
    "refund.succeeded": ("Refund paid", "payment", "good"),
    "refund.failed": ("Refund failed", "payment", "bad"),
}
# Bookkeeping of the rows themselves: no news to a reader of the timeline.
_QUIET_COLUMNS = {"due_at", "leased_until", "attempts", "last_error", "idempotency_key", "cancel_reason"}


def tell(booking: Booking) -> Story:
    """Collect the story of a booking."""
    payments = db.session.scalars(select(Payment).where(Payment.booking_id == booking.id).order_by(Payment.id)).all()
    payment_ids = [payment.id for payment in payments]
    refunds = db.session.scalars(select(Refund).where(Refund.payment_id.in_(payment_ids)).order_by(Refund.id)).all()
    moments = [
        *_from_audit(booking, payment_ids, [refund.id for refund in refunds]),
        *_from_events([payment.stripe_payment_intent_id for payment in payments if payment.stripe_payment_intent_id]),
        *_from_ledger(booking.id),
        *_from_notes(booking.id),
    ]
    return Story(payments, refunds, sorted(moments, key=lambda moment: moment.at))


def _from_audit(booking: Booking, payment_ids: list[int], refund_ids: list[int]) -> Iterator[Moment]:
    about = {"bookings": [booking.id], "payments": payment_ids, "refunds": refund_ids}
    entries = select(AuditEntry).where(
        or_(*(and_(AuditEntry.object_type == kind, AuditEntry.object_id.in_(ids)) for kind, ids in about.items()))
    )
    for entry in db.session.scalars(entries.order_by(AuditEntry.id)):
        title, icon, tone = _ACTIONS.get(entry.action, (entry.action.replace(".", " ").capitalize(), "audit", None))
        yield Moment(
            at=entry.at,
            icon=icon,
            title=title,
            detail=entry.reason or _failure(entry.after or {}),
            actor=entry.actor_label,
            request_id=entry.request_id if entry.request_id != OUTSIDE_A_REQUEST else None,
            tone=tone,
            fields=_changes(entry, booking.currency) if entry.before is not None else (),
        )


def _failure(after: dict[str, Any]) -> str | None:
    words = after.get("failure_message") or after.get("failure_reason")
    return str(words) if words else None


def _changes(entry: AuditEntry, currency: str) -> list[dict[str, Any]]:
    before, after = entry.before or {}, entry.after or {}
    return [
        {
            "name": _label(name),
            "before": _shown(name, before.get(name), currency),
            "after": _shown(name, value, currency),
        }
        for name, value in after.items()
        if name not in _QUIET_COLUMNS and not name.endswith("_at")
    ]


def _label(column: str) -> str:
    return column.removesuffix("_minor").replace("_", " ").capitalize()


def _shown(column: str, value: Any, currency: str) -> Any:
    if column == "status" and isinstance(value, str):
        return in_words(value).capitalize()
    if column.endswith("_minor") and isinstance(value, int):
        return Money(value, currency).json()
    return value


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


def _from_ledger(booking_id: int) -> Iterator[Moment]:
    names = dict(db.session.execute(select(LedgerAccount.code, LedgerAccount.name)).all())
    entries = db.session.scalars(
        select(LedgerEntry).where(LedgerEntry.booking_id == booking_id).order_by(LedgerEntry.posted_at, LedgerEntry.id)
    )
    for at, together in groupby(entries, key=lambda entry: entry.posted_at):
        lines = [
            {
                "label": f"{names[entry.debit_account]} ← {names[entry.credit_account]}",
                "amount": Money(entry.amount_minor, entry.currency).json(),
            }
            for entry in together
        ]
        yield Moment(at=at, icon="ledger", title="Posted to the ledger", lines=lines)


def _from_notes(booking_id: int) -> Iterator[Moment]:
    notes = (
        select(BookingNote)
        .where(BookingNote.booking_id == booking_id)
        .options(joinedload(BookingNote.author))
        .order_by(BookingNote.id)
    )
    for note in db.session.scalars(notes):
        yield Moment(at=note.created_at, icon="note", title="Note", detail=note.body, actor=note.author.name)
