"""Payments, refunds, the inbox of Stripe's events, and the ledger's two tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    FetchedValue,
    ForeignKey,
    Identity,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Model
from app.queue import Outbox
from app.states import Stateful, moves, status_check

_WHILE_OPEN = "REQUIRES_ACTION PROCESSING SUCCEEDED FAILED CANCELLED"


class Payment(Stateful, Outbox):
    """What one booking is paid with: a Stripe payment intent. Its work order, when it has one, is to close an intent
    nobody should pay any more.
    """

    JOB = "jobs.payments.close_intent"
    SWEEP = "jobs.sweeps.payments"
    MOVES = moves(
        {
            "REQUIRES_PAYMENT": _WHILE_OPEN,
            "REQUIRES_ACTION": _WHILE_OPEN,
            "PROCESSING": _WHILE_OPEN,
            "FAILED": _WHILE_OPEN,
            "SUCCEEDED": "PARTIALLY_REFUNDED REFUNDED",
            "PARTIALLY_REFUNDED": "SUCCEEDED REFUNDED",
            "REFUNDED": "SUCCEEDED PARTIALLY_REFUNDED",
            "CANCELLED": "",
        }
    )
    STAMPS = {"SUCCEEDED": "succeeded_at", "CANCELLED": "cancelled_at"}
    # In these the traveller can still pay with the same intent.
    PAYABLE = ("REQUIRES_PAYMENT", "REQUIRES_ACTION", "FAILED")

    __tablename__ = "payments"
    __table_args__ = (
        status_check(MOVES),
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor", name="refunded"),
        CheckConstraint("commission_minor BETWEEN 0 AND amount_minor", name="commission"),
        CheckConstraint("disputed_minor BETWEEN 0 AND amount_minor", name="disputed"),
        Index("ix_payments_booking_id", "booking_id", "id"),
        Index("uq_payments_live", "booking_id", unique=True, postgresql_where=text("status <> 'CANCELLED'")),
        Index("ix_payments_created_at", "created_at", "id"),
        Index("ix_payments_amount_minor", "amount_minor", "id"),
        Index("ix_payments_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    # By name: the model stands to the right of this one.
    booking_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("bookings.id"))
    provider_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("providers.id"))
    status: Mapped[str] = mapped_column(default="REQUIRES_PAYMENT", server_default="REQUIRES_PAYMENT")
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    commission_minor: Mapped[int] = mapped_column(BigInteger)
    fee_minor: Mapped[int | None] = mapped_column(BigInteger)
    refunded_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    # What a dispute has withdrawn, while it is open or when it was lost.
    disputed_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    currency: Mapped[str]
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    stripe_payment_intent_id: Mapped[str | None] = mapped_column(unique=True)
    stripe_charge_id: Mapped[str | None] = mapped_column(unique=True)
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    succeeded_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]


class Refund(Stateful, Outbox):
    """Money going back to a traveller. A row of its own, never deleted; its key makes Stripe pay it once however often
    it is asked.

    `kind` says who bears it: of a `standard` one the provider and we, each by their share; of `goodwill` we alone; what
    is `owed_back` was never anybody's. The shares are fixed with each `submission` to Stripe. `reason` is a code,
    `note` the words beside it. While it is on hold, `held_status` is where it goes on from.
    """

    JOB = "jobs.payments.submit_refund"
    SWEEP = "jobs.sweeps.refunds"
    QUEUE = "urgent"
    MOVES = moves(
        {
            "PENDING_APPROVAL": "APPROVED REJECTED EXPIRED ON_HOLD",
            "APPROVED": "SUBMITTED FAILED ON_HOLD",
            "ON_HOLD": "PENDING_APPROVAL APPROVED",
            "SUBMITTED": "SUCCEEDED FAILED",
            "SUCCEEDED": "FAILED",
            "FAILED": "APPROVED",
            "REJECTED": "",
            "EXPIRED": "",
        }
    )
    STAMPS = {"SUBMITTED": "submitted_at", "SUCCEEDED": "succeeded_at", "FAILED": "failed_at"}

    __tablename__ = "refunds"
    __table_args__ = (
        status_check(MOVES),
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("kind IN ('standard', 'goodwill', 'owed_back')", name="kind"),
        CheckConstraint(
            "least(provider_minor, commission_minor, goodwill_minor) >= 0"
            " AND provider_minor + commission_minor + goodwill_minor"
            " = CASE WHEN submission = 0 OR kind = 'owed_back' THEN 0 ELSE amount_minor END",
            name="shares",
        ),
        CheckConstraint("(status = 'ON_HOLD') = (held_status IS NOT NULL)", name="held"),
        Index("ix_refunds_status", "status", "id"),
        Index("ix_refunds_payment_id", "payment_id"),
        Index(
            "uq_refunds_client_key",
            "payment_id",
            "client_key",
            unique=True,
            postgresql_where=text("client_key IS NOT NULL"),
        ),
        Index("ix_refunds_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    payment_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("payments.id"))
    status: Mapped[str]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    kind: Mapped[str] = mapped_column(default="owed_back", server_default="owed_back")
    provider_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    commission_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    goodwill_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    submission: Mapped[int] = mapped_column(default=0, server_default="0")
    reason: Mapped[str]
    note: Mapped[str | None]
    client_key: Mapped[str | None]
    requested_by_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    decided_by_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    decided_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    held_status: Mapped[str | None]
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    stripe_refund_id: Mapped[str | None] = mapped_column(unique=True)
    failure_reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    submitted_at: Mapped[datetime | None]
    succeeded_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]


class PaymentHold(Model):
    """Why nothing of a payment may be refunded or paid out: a `source`, such as an open dispute, until it lifts it."""

    __tablename__ = "payment_holds"
    __table_args__ = (
        Index("ix_payment_holds_payment_id", "payment_id", "id"),
        Index("uq_payment_holds_source", "source", unique=True, postgresql_where=text("lifted_at IS NULL")),
        Index("ix_payment_holds_standing", "payment_id", postgresql_where=text("lifted_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    payment_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("payments.id"))
    source: Mapped[str]
    reason: Mapped[str]
    until: Mapped[datetime | None]
    placed_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    placed_by: Mapped[str]
    lifted_at: Mapped[datetime | None]
    lifted_by: Mapped[str | None]
    lifted_because: Mapped[str | None]


class RefundLimit(Model):
    """Up to how much somebody of a role may refund of one payment without a second person."""

    __tablename__ = "refund_limits"
    __table_args__ = (
        CheckConstraint("amount_minor >= 0", name="amount"),
        UniqueConstraint("role", "currency"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    role: Mapped[str]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]


class WebhookEvent(Stateful, Outbox):
    """One event as Stripe sent it. RECEIVED until its effect is committed; FAILED when the tries are used up and
    somebody must look.
    """

    JOB = "jobs.webhooks.process"
    SWEEP = "jobs.sweeps.webhook_events"
    QUEUE = "urgent"
    MOVES = moves(
        {"RECEIVED": "PROCESSED IGNORED FAILED", "FAILED": "RECEIVED", "PROCESSED": "RECEIVED", "IGNORED": "RECEIVED"}
    )
    STAMPS = {"PROCESSED": "processed_at", "IGNORED": "processed_at"}

    __tablename__ = "webhook_events"
    __table_args__ = (
        status_check(MOVES),
        Index("ix_webhook_events_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_webhook_events_payment_intent_id", "stripe_payment_intent_id"),
        Index("ix_webhook_events_received_at", "received_at", "id"),
        Index("ix_webhook_events_type", "type", "id"),
        Index("ix_webhook_events_failed", "id", postgresql_where=text("status = 'FAILED'")),
        Index("ix_webhook_events_ignored", "id", postgresql_where=text("status = 'IGNORED'")),
        Index("ix_webhook_events_last_error", "id", postgresql_where=text("last_error IS NOT NULL")),
        Index("ix_webhook_events_object_id", "object_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    stripe_event_id: Mapped[str] = mapped_column(unique=True)
    type: Mapped[str]
    object_id: Mapped[str | None]
    stripe_payment_intent_id: Mapped[str | None]
    payload: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(default="RECEIVED", server_default="RECEIVED")
    happened_at: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    processed_at: Mapped[datetime | None]

    @classmethod
    def given_up(cls) -> ColumnElement[bool]:
        """The same as being FAILED, which has an index: this table is the longest of its kind."""
        return cls.status == "FAILED"


class LedgerAccount(Model):
    """One account of the books, by the name finance knows it by. `kind` is asset, liability, revenue or expense."""

    __tablename__ = "ledger_accounts"

    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]


class LedgerEntry(Model):
    """An amount moved from the credited to the debited account: one row has both sides, so no row can be out of
    balance.

    `source_id` is the object it stems from, most often Stripe's; with `kind` it is unique, so an event told twice posts
    nothing. `reverses_id` is the entry that this one takes back, which happens once at most. What moves Stripe's
    balance by itself, its payouts and its own fees, is of no payment.
    """

    __tablename__ = "ledger_entries"
    __table_args__ = (
        Index("uq_ledger_entries_source", "source_id", "kind", unique=True),
        Index(
            "uq_ledger_entries_reverses_id",
            "reverses_id",
            unique=True,
            postgresql_where=text("reverses_id IS NOT NULL"),
        ),
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("debit_account <> credit_account", name="two_accounts"),
        CheckConstraint(
            "num_nonnulls(payment_id, booking_id, provider_id)"
            " = CASE WHEN kind LIKE 'payout.%' OR kind LIKE 'account.%' THEN 0 ELSE 3 END",
            name="of_a_payment",
        ),
        Index("ix_ledger_entries_booking_id", "booking_id"),
        Index("ix_ledger_entries_payment_id", "payment_id"),
        Index("ix_ledger_entries_posted_at", "posted_at", "id"),
        # What is rarely posted, newest first: it would be looked for from one end to the other.
        Index("ix_ledger_entries_kind", "kind", "id"),
        Index("ix_ledger_entries_debit_account", "debit_account", "id"),
        Index("ix_ledger_entries_credit_account", "credit_account", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    posted_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    kind: Mapped[str]
    debit_account: Mapped[str] = mapped_column(ForeignKey("ledger_accounts.code"))
    credit_account: Mapped[str] = mapped_column(ForeignKey("ledger_accounts.code"))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    source_id: Mapped[str]
    payment_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("payments.id"))
    booking_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("bookings.id"))
    provider_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("providers.id"))
    reverses_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("ledger_entries.id"))
