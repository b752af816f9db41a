"""The reconciliation of a day with Stripe, what Stripe's balance has of it, and what differs from the ledger."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, FetchedValue, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.models import User
from app.extensions import Model
from app.queue import Outbox
from app.states import Stateful, moves, status_check


class Reconciliation(Stateful, Outbox):
    """One day (UTC) of Stripe's balance compared with the ledger; its id is the day, as 20261122.

    While RUNNING it has a job: `step` says what that is at, `reached` up to where. `matched` and `differing` count
    movements; `sums` are those of the day by what they are booked as, there and here, in minor units. All three are of
    the comparison that ended at `compared_at`; one that begins again keeps them until it ends. `by_id` is who asked,
    nobody at night.
    """

    JOB = "jobs.reconciliation.work"
    SWEEP = "jobs.sweeps.reconciliations"
    QUEUE = "slow"
    MOVES = moves({"RUNNING": "DONE FAILED", "DONE": "RUNNING", "FAILED": "RUNNING"})
    STAMPS = {"DONE": "compared_at"}

    __tablename__ = "reconciliations"
    __table_args__ = (
        status_check(MOVES),
        CheckConstraint(
            "id = extract(year FROM day) * 10000 + extract(month FROM day) * 100 + extract(day FROM day)", name="id"
        ),
        CheckConstraint("step IN ('transactions', 'postings', 'comparison')", name="step"),
        CheckConstraint("matched >= 0 AND differing >= 0", name="counts"),
        Index("ix_reconciliations_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_reconciliations_day", "day", unique=True),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    day: Mapped[date]
    status: Mapped[str] = mapped_column(default="RUNNING", server_default="RUNNING")
    by_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    step: Mapped[str] = mapped_column(default="transactions", server_default="transactions")
    reached: Mapped[str | None]
    matched: Mapped[int] = mapped_column(default=0, server_default="0")
    differing: Mapped[int] = mapped_column(default=0, server_default="0")
    sums: Mapped[list[dict[str, Any]]] = mapped_column(default=list, server_default="[]")
    begun_at: Mapped[datetime]
    compared_at: Mapped[datetime | None]
    # Why it ended without a comparison.
    ended_because: Mapped[str | None]
    asked_by: Mapped[User | None] = relationship()


class StripeMovement(Model):
    """A balance transaction as Stripe told it, and what the ledger books such a one as; of a type that it has no
    posting for, that type.
    """

    __tablename__ = "stripe_movements"
    __table_args__ = (
        Index("ix_stripe_movements_created_at", "created_at"),
        Index("ix_stripe_movements_source", "source_id", "booked_as"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    booked_as: Mapped[str]
    source_id: Mapped[str]
    stripe_payment_intent_id: Mapped[str | None]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    fee_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    created_at: Mapped[datetime]


class Difference(Stateful):
    """A movement that Stripe's balance and the ledger don't have alike: missing in one of them, or with another amount
    or fee. Amounts are in minor units; one going out is negative.

    `source_id` is the object at Stripe that it is about, `booked_as` what it did. FIXED is what no longer differs;
    `entry_id` is the correction where one was posted.
    """

    MOVES = moves({"OPEN": "EXPLAINED FIXED", "EXPLAINED": "OPEN FIXED", "FIXED": "OPEN"})
    STAMPS = {"EXPLAINED": "closed_at", "FIXED": "closed_at"}
    KINDS = ("missing_here", "missing_there", "amount", "fee")

    __tablename__ = "differences"
    __table_args__ = (
        status_check(MOVES),
        CheckConstraint("kind IN ('missing_here', 'missing_there', 'amount', 'fee')", name="kind"),
        CheckConstraint("status <> 'EXPLAINED' OR explanation IS NOT NULL", name="explanation"),
        Index("uq_differences_of_a_day", "reconciliation_id", "source_id", "booked_as", unique=True),
        Index("ix_differences_source", "source_id", "booked_as"),
        Index("ix_differences_open", "reconciliation_id", postgresql_where=text("status = 'OPEN'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    reconciliation_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("reconciliations.id"))
    status: Mapped[str] = mapped_column(default="OPEN", server_default="OPEN")
    kind: Mapped[str]
    booked_as: Mapped[str]
    source_id: Mapped[str]
    transaction_id: Mapped[str | None]
    stripe_payment_intent_id: Mapped[str | None]
    payment_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("payments.id"))
    booking_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("bookings.id"))
    currency: Mapped[str]
    there_minor: Mapped[int] = mapped_column(BigInteger)
    there_fee_minor: Mapped[int] = mapped_column(BigInteger)
    here_minor: Mapped[int] = mapped_column(BigInteger)
    here_fee_minor: Mapped[int] = mapped_column(BigInteger)
    assigned_to_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    explanation: Mapped[str | None]
    entry_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("ledger_entries.id"))
    found_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    closed_at: Mapped[datetime | None]
    assigned_to: Mapped[User | None] = relationship()
