"""What can be exported of the lists of money: payments and refunds, the books, and what Stripe tells of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, func, select

from app.accounts.models import User
from app.bookings.models import Booking
from app.bulk.export import Export, Field, in_words
from app.catalog.models import Provider
from app.disputes import evidence
from app.disputes.models import NO_ANSWER, Dispute
from app.payments.ledger_names import ACCOUNTS, KINDS
from app.payments.models import LedgerEntry, Payment, Refund, WebhookEvent
from app.reports import day_states, payables
from app.reports.models import Difference, Reconciliation

_FINANCE = frozenset({"finance", "admin"})
_READS_DISPUTES = frozenset({"support", "finance", "admin"})
_REFUNDS = frozenset({"support", "finance", "admin"})


def _name_of(person_id: Any) -> Any:
    return select(User.name).where(User.id == person_id).scalar_subquery()


_REFERENCE = Field("booking", "Booking", Booking.reference)
_OPEN_DIFFERENCES = (
    select(func.count())
    .where(Difference.reconciliation_id == Reconciliation.id, Difference.status == "OPEN")
    .correlate(Reconciliation)
    .scalar_subquery()
)

OF_MONEY = (
    Export(
        "payments",
        ("payment", "payments"),
        _FINANCE,
        Payment,
        (
            _REFERENCE,
            Field("status", "State", Payment.status),
            Field("amount", "Amount", Payment.amount_minor, is_money=True),
            Field("refunded", "Refunded", Payment.refunded_minor, is_money=True),
            Field("intent", "Intent", Payment.stripe_payment_intent_id),
            Field("failure", "Last refusal", Payment.failure_message),
            Field("created_at", "Started", Payment.created_at),
        ),
        currency=Payment.currency,
        joined=lambda query: query.join(Booking, Booking.id == Payment.booking_id),
    ),
    Export(
        "disputes",
        ("dispute", "disputes"),
        _READS_DISPUTES,
        Dispute,
        (
            _REFERENCE,
            Field("status", "State", Dispute.status),
            Field("answer_by", "Answer by", case((Dispute.answer_by < NO_ANSWER, Dispute.answer_by))),
            Field("evidence", "Evidence", evidence.STATE),
            Field("reason", "Reason", Dispute.reason),
            Field("amount", "Amount", Dispute.amount_minor, is_money=True),
            Field("at_stripe", "Dispute", Dispute.stripe_dispute_id),
            Field("opened_at", "Opened", Dispute.opened_at),
        ),
        currency=Dispute.currency,
        joined=lambda query: query.join(Booking, Booking.id == Dispute.booking_id),
    ),
    Export(
        "refunds",
        ("refund", "refunds"),
        _REFUNDS,
        Refund,
        (
            Field("booking", "Refund of", Booking.reference),
            Field("amount", "Amount", Refund.amount_minor, is_money=True),
            Field("kind", "Kind", Refund.kind),
            Field("reason", "Reason", Refund.reason),
            Field("status", "State", Refund.status),
            Field("asked_by", "Asked by", _name_of(Refund.requested_by_id)),
            Field("failure", "Stripe's words", Refund.failure_reason),
            Field("created_at", "Asked", Refund.created_at),
        ),
        currency=Refund.currency,
        joined=lambda query: query.join(Payment, Payment.id == Refund.payment_id).join(
            Booking, Booking.id == Payment.booking_id
        ),
    ),
    Export(
        "ledger",
        ("entry", "entries"),
        _FINANCE,
        LedgerEntry,
        (
            Field("kind", "Posting", in_words(LedgerEntry.kind, KINDS)),
            Field("debit", "Debit", in_words(LedgerEntry.debit_account, ACCOUNTS)),
            Field("credit", "Credit", in_words(LedgerEntry.credit_account, ACCOUNTS)),
            Field("amount", "Amount", LedgerEntry.amount_minor, is_money=True),
            Field("source", "Source", LedgerEntry.source_id),
            _REFERENCE,
            Field("posted_at", "Posted", LedgerEntry.posted_at),
        ),
        currency=LedgerEntry.currency,
        # A payout is of no booking.
        joined=lambda query: query.outerjoin(Booking, Booking.id == LedgerEntry.booking_id),
    ),
    Export(
        "payables",
        ("booking", "bookings"),
        _FINANCE,
        Booking,
        (
            Field("booking", "Booking", Booking.reference),
            Field("status", "State", Booking.status),
            Field("provider", "Provider", Provider.name),
            Field("package", "Package", Booking.package_name),
            Field("ends_on", "Stay ends", Booking.ends_on),
            Field("state", "Provider's part is", payables.STATE),
            Field("kept", "Provider's part", payables.KEPT_FOR_PROVIDER, is_money=True),
        ),
        currency=Booking.currency,
        joined=lambda query: query.join(Provider, Provider.id == Booking.provider_id),
    ),
    Export(
        "webhooks",
        ("event", "events"),
        _FINANCE,
        WebhookEvent,
        (
            Field("type", "Event", WebhookEvent.type),
            Field("event", "Stripe's id", WebhookEvent.stripe_event_id),
            Field("status", "State", WebhookEvent.status),
            Field("object_id", "About", WebhookEvent.object_id),
            Field("attempts", "Failed tries", WebhookEvent.attempts),
            Field("last_error", "Error", WebhookEvent.last_error),
            Field("received_at", "Received", WebhookEvent.received_at),
        ),
    ),
    Export(
        "reconciliations",
        ("day", "days"),
        _FINANCE,
        Reconciliation,
        (
            Field("day", "Day", Reconciliation.day),
            Field("state", "State", day_states.STATE),
            Field("matched", "Agree", Reconciliation.matched),
            Field("differing", "Differ", Reconciliation.differing),
            Field("open", "To be dealt with", _OPEN_DIFFERENCES),
            Field("because", "Error", func.coalesce(Reconciliation.ended_because, Reconciliation.last_error)),
            Field("by", "Asked for by", User.name),
            Field("compared_at", "Compared", Reconciliation.compared_at),
        ),
        joined=lambda query: query.outerjoin(User, User.id == Reconciliation.by_id),
    ),
)
