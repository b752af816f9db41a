"""/console/payments/: what each booking was paid with, and everything that Stripe and the ledger say of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask_admin import expose
from sqlalchemy import ColumnElement, Select, func, select, union
from sqlalchemy.orm import defer

from app.audit.models import AuditEntry
from app.bookings import story
from app.bookings.models import Booking
from app.catalog.models import Provider
from app.console import disputed, session
from app.console.base import FINANCE, Column, Filter, RecordView, find, line
from app.console.formatting import status_label
from app.console.happened import Happened, read, within
from app.console.ordering import Sort
from app.console.record import Fact, Group, Phrase, Record
from app.console.refunds import hold_in_words, refund_actions, refund_groups
from app.extensions import db
from app.money import Money
from app.payments import ledger
from app.payments.ledger_names import kind_in_words
from app.payments.models import LedgerAccount, LedgerEntry, Payment, Refund, WebhookEvent

ENTRY_COLUMNS = (
    Column("kind", "Posting", "link"),
    Column("debit", "Debit"),
    Column("credit", "Credit"),
    Column("amount", "Amount", "money", "right"),
    Column("source", "Source", "mono"),
    Column("booking", "Booking"),
    Column("posted_at", "Posted", "time", "right", sort=Sort(LedgerEntry.posted_at, follows_id=True)),
)
EVENT_COLUMNS = (
    Column("type", "Event", "link"),
    Column("status", "State", "chip"),
    Column("object_id", "About", "mono"),
    Column("attempts", "Failed tries", "number", "right"),
    Column("last_error", "Error"),
    Column("received_at", "Received", "time", "right", sort=Sort(WebhookEvent.received_at, follows_id=True)),
)


def _failed(value: str) -> ColumnElement[bool]:
    """Whether a payment was declined with a code, or without any, in some days: it may have been paid since."""
    code, days = read("failed", value)
    declines = select(AuditEntry.object_id).where(
        AuditEntry.object_type == Payment.__tablename__,
        AuditEntry.action == "payment.failed",
        within(AuditEntry.at, days),
        func.coalesce(AuditEntry.after["failure_code"].astext, "") == code,
    )
    return Payment.id.in_(declines)


class PaymentsView(RecordView):
    """Payments, for finance."""

    roles = FINANCE
    icon = "credit-card"
    model = Payment
    title = "Payments"
    exported_as = "payments"
    search_hint = "Booking reference or Stripe id"
    empty_hint = "The first one shows here when a traveller starts to pay."
    columns = (
        Column("booking", "Booking", "link"),
        Column("status", "State", "chip"),
        Column("amount", "Amount", "money", "right", sort=Sort(Payment.amount_minor, is_money=True)),
        Column("refunded", "Refunded", "money", "right"),
        Column("intent", "Intent", "mono"),
        Column("failure", "Last refusal"),
        Column("created_at", "Started", "time", "right", sort=Sort(Payment.created_at, follows_id=True)),
    )
    filters = (
        Filter("status", "State", {status: status_label(status) for status in Payment.MOVES}),
        Happened("failed", "Failed", kind="linked", where=_failed),
    )

    def search(self, query: Select[Any], words: str) -> Select[Any]:
        """By whole booking reference, or the id of an intent, charge or refund at Stripe."""
        found = union(
            select(Payment.id)
            .join(Booking, Booking.id == Payment.booking_id)
            .where(Booking.reference == words.upper()),
            select(Payment.id).where(Payment.stripe_payment_intent_id == words),
            select(Payment.id).where(Payment.stripe_charge_id == words),
            select(Refund.payment_id).where(Refund.stripe_refund_id == words),
        )
        return query.where(Payment.id.in_(found))

    def lines(self, rows: Sequence[Payment]) -> list[dict[str, Any]]:
        """One page's payments with the references of their bookings."""
        references = references_of(row.booking_id for row in rows)
        return [
            line(
                payment_href(row.id),
                booking=references[row.booking_id],
                status=row.status,
                amount=Money(row.amount_minor, row.currency).json(),
                refunded=Money(row.refunded_minor, row.currency).json() if row.refunded_minor else None,
                intent=row.stripe_payment_intent_id,
                failure=row.failure_message,
                created_at=row.created_at,
            )
            for row in rows
        ]

    @expose("/<int:payment_id>/")  # type: ignore[untyped-decorator]
    def show(self, payment_id: int) -> str:
        """One payment."""
        payment = find(Payment, payment_id, "payment")
        booking = db.session.get_one(Booking, payment.booking_id)
        told = story.tell_payment(payment)
        actions, blocked = refund_actions(payment, session.actor())
        entries = db.session.scalars(
            select(LedgerEntry).where(LedgerEntry.payment_id == payment.id).order_by(LedgerEntry.id)
        ).all()
        return self.render_record(
            Record(
                title=f"Payment of {booking.reference}",
                about=payment,
                titles=story.TITLES,
                status=payment.status,
                sub=(
                    Phrase("for", booking.reference, href=f"/console/bookings/{booking.id}/"),
                    Phrase(text=booking.package_name),
                    Phrase("started", at=payment.created_at),
                ),
                lead=hold_in_words(payment),
                actions=actions,
                blocked=blocked,
                statement=_statement(payment),
                facts=(
                    _at_stripe(payment),
                    *disputed.groups([payment.id]),
                    *refund_groups(told.refunds),
                    _work(payment),
                ),
                timeline=told.moments,
                has_segments=True,
            ),
            "console/payments/show.html",
            entry_columns=ENTRY_COLUMNS,
            entries=entry_lines(entries),
            event_columns=EVENT_COLUMNS,
            events=[event_line(event) for event in _told_of(payment)],
        )


def _told_of(payment: Payment) -> Sequence[WebhookEvent]:
    # Events about no payment have no intent either.
    if payment.stripe_payment_intent_id is None:
        return []
    return db.session.scalars(
        select(WebhookEvent)
        .where(WebhookEvent.stripe_payment_intent_id == payment.stripe_payment_intent_id)
        .options(defer(WebhookEvent.payload))
        .order_by(WebhookEvent.id)
    ).all()


def payment_href(payment_id: int) -> str:
    """The page of a payment."""
    return f"/console/payments/{payment_id}/"


def references_of(booking_ids: Any) -> dict[int, str]:
    """The references of bookings by id."""
    wanted = select(Booking.id, Booking.reference).where(Booking.id.in_(set(booking_ids)))
    return dict(db.session.execute(wanted).all())


def entry_lines(entries: Sequence[LedgerEntry]) -> list[dict[str, Any]]:
    """Ledger entries as ENTRY_COLUMNS wants them."""
    names = account_names()
    references = references_of(entry.booking_id for entry in entries if entry.booking_id)
    return [
        line(
            f"/console/ledger/{entry.id}/",
            kind=kind_in_words(entry.kind),
            debit=names[entry.debit_account],
            credit=names[entry.credit_account],
            amount=Money(entry.amount_minor, entry.currency).json(),
            source=entry.source_id,
            booking=references[entry.booking_id] if entry.booking_id else None,
            posted_at=entry.posted_at,
        )
        for entry in entries
    ]


def account_names() -> dict[str, str]:
    """The ledger's accounts by code."""
    return dict(db.session.execute(select(LedgerAccount.code, LedgerAccount.name)).all())


def event_line(event: WebhookEvent) -> dict[str, Any]:
    """One of Stripe's events as EVENT_COLUMNS wants it."""
    return line(
        f"/console/webhooks/{event.id}/",
        type=event.type,
        status=event.status,
        object_id=event.object_id,
        attempts=event.attempts,
        last_error=event.last_error,
        received_at=event.received_at,
    )


def money_lines(payment: Payment) -> list[dict[str, Any]]:
    """What came of a captured payment, as lines of a statement; none before it is captured. The shares are what the
    ledger leaves each side, after refunds and lost disputes.
    """

    def amount(label: str, minor: int, kind: str, hint: str | None = None) -> dict[str, Any]:
        return {"label": label, "hint": hint, "amount": Money(minor, payment.currency).json(), "kind": kind}

    if payment.succeeded_at is None:
        return []
    lines = [amount("Paid", payment.amount_minor, "subtotal")]
    if payment.fee_minor:
        lines.append(amount("Stripe's fee", -payment.fee_minor, "muted"))
    taken = {
        "Refunded": payment.refunded_minor,
        "Refund on its way": _on_its_way(payment),
        "Withdrawn by a dispute": payment.disputed_minor,
    }
    lines += [amount(label, -minor, "line") for label, minor in taken.items() if minor]
    sides = ledger.sides_of(payment.id)
    if not sides.owed_back:
        hint = "What is left of it" if any(taken.values()) else None
        lines.append(amount("Provider's share", sides.provider_minor, "muted", hint))
        lines.append(amount("Commission", sides.commission_minor, "muted", hint))
    return lines


def _on_its_way(payment: Payment) -> int:
    """What Stripe was asked to refund and has not said of yet, in minor units: the sides bear it already."""
    submitted = select(func.coalesce(func.sum(Refund.amount_minor), 0)).where(
        Refund.payment_id == payment.id, Refund.status == "SUBMITTED"
    )
    return int(db.session.scalars(submitted).one())


def _statement(payment: Payment) -> dict[str, Any]:
    asked = {
        "label": "Asked for",
        "hint": None,
        "amount": Money(payment.amount_minor, payment.currency).json(),
        "kind": "total",
    }
    lines = money_lines(payment)
    return {"lines": [asked, *lines], "note": None if lines else "Nothing is paid yet."}


def _at_stripe(payment: Payment) -> Group:
    provider = db.session.get_one(Provider, payment.provider_id)
    return Group(
        "Payment",
        (
            Fact("Intent", payment.stripe_payment_intent_id, "mono"),
            Fact("Charge", payment.stripe_charge_id, "mono"),
            Fact("Captured", payment.succeeded_at, "time"),
            Fact("Closed", payment.cancelled_at, "time"),
            Fact("Last refusal", payment.failure_message),
            Fact("Refused for", status_label(payment.failure_code) if payment.failure_code else None),
            Fact("Provider", provider.name),
        ),
    )


def _work(payment: Payment) -> Group:
    return Group(
        "Work on it",
        (
            Fact("Closing the intent is due", payment.due_at, "time"),
            Fact("Failed tries", payment.attempts, "number"),
            Fact("Error", payment.last_error),
        ),
    )
