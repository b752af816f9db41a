"""Disputes: what is disputed, until when it has to be answered, and what was said against it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, FetchedValue, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.queue import Outbox
from app.states import Stateful, moves, status_check

# In these nobody has decided yet.
UNDECIDED = ("OPEN", "UNDER_REVIEW", "EVIDENCE_SUBMITTED")
# Where Stripe waits for us.
NEEDS_RESPONSE = ("needs_response", "warning_needs_response")
# Sorts behind every deadline, for what needs no answer: a list's order has no gaps.
NO_ANSWER = datetime(9000, 1, 1, tzinfo=UTC)


class Dispute(Stateful, Outbox):
    """One dispute over a payment. Its work order, when it has one, is what Stripe is `asked`: to STAGE or SUBMIT the
    evidence, or to ACCEPT the dispute.

    `evidence_at_stripe` is what Stripe has of the evidence, staged or submitted. What it
    took from our balance and gave back is `withdrawn_minor`, `reinstated_minor` and the fee. A hold that somebody
    lifted has `hold_lifted_at`. `answer_by` is the deadline while an answer is needed; `reminded_hours` the last
    reminder of it that went out.
    """

    JOB = "jobs.disputes.send"
    SWEEP = "jobs.sweeps.disputes"
    QUEUE = "urgent"
    MOVES = moves(
        {
            "OPEN": "UNDER_REVIEW EVIDENCE_SUBMITTED WON LOST WITHDRAWN",
            "UNDER_REVIEW": "EVIDENCE_SUBMITTED WON LOST REFUNDED REJECTED WITHDRAWN",
            "EVIDENCE_SUBMITTED": "WON LOST WITHDRAWN",
            "WON": "",
            # A bank may think better of it.
            "LOST": "WON",
            "REFUNDED": "",
            "REJECTED": "",
            "WITHDRAWN": "",
        }
    )
    STAMPS = {
        "EVIDENCE_SUBMITTED": "submitted_at",
        **dict.fromkeys(("WON", "LOST", "REFUNDED", "REJECTED", "WITHDRAWN"), "closed_at"),
    }

    __tablename__ = "disputes"
    __table_args__ = (
        status_check(MOVES),
        CheckConstraint("source IN ('GUEST', 'CHARGEBACK')", name="source"),
        CheckConstraint(
            "(source = 'CHARGEBACK') = (stripe_dispute_id IS NOT NULL AND stripe_status IS NOT NULL)", name="at_stripe"
        ),
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("asked IN ('STAGE', 'SUBMIT', 'ACCEPT')", name="asked"),
        Index("ix_disputes_payment_id", "payment_id", "id"),
        Index("ix_disputes_booking_id", "booking_id", "id"),
        Index("ix_disputes_stripe_dispute_id", "stripe_dispute_id", "id"),
        Index("ix_disputes_status", "status", "id"),
        Index("ix_disputes_answer_by", "answer_by", "id"),
        Index(
            "uq_disputes_undecided",
            "stripe_dispute_id",
            unique=True,
            postgresql_where=text("status IN ('OPEN', 'UNDER_REVIEW', 'EVIDENCE_SUBMITTED')"),
        ),
        Index("ix_disputes_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    source: Mapped[str]
    status: Mapped[str] = mapped_column(default="OPEN", server_default="OPEN")
    payment_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("payments.id"))
    booking_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("bookings.id"))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    reason: Mapped[str]
    stripe_dispute_id: Mapped[str | None]
    stripe_status: Mapped[str | None]
    is_charge_refundable: Mapped[bool] = mapped_column(default=False, server_default="false")
    evidence_due_by: Mapped[datetime | None]
    answer_by: Mapped[datetime] = mapped_column(default=NO_ANSWER)
    withdrawn_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    reinstated_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    fee_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    fee_returned_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    # What we say, by Stripe's names of the fields (https://docs.stripe.com/api/disputes/evidence_object).
    customer_name: Mapped[str] = mapped_column(default="", server_default="")
    customer_email_address: Mapped[str] = mapped_column(default="", server_default="")
    service_date: Mapped[str] = mapped_column(default="", server_default="")
    product_description: Mapped[str] = mapped_column(default="", server_default="")
    cancellation_policy_disclosure: Mapped[str] = mapped_column(default="", server_default="")
    cancellation_rebuttal: Mapped[str] = mapped_column(default="", server_default="")
    refund_policy_disclosure: Mapped[str] = mapped_column(default="", server_default="")
    refund_refusal_explanation: Mapped[str] = mapped_column(default="", server_default="")
    uncategorized_text: Mapped[str] = mapped_column(default="", server_default="")
    evidence_at_stripe: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    asked: Mapped[str | None]
    asked_by_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    idempotency_key: Mapped[str | None] = mapped_column(unique=True)
    # What Stripe said when it refused what it was asked last.
    refusal: Mapped[str | None]
    hold_lifted_at: Mapped[datetime | None]
    reminded_hours: Mapped[int | None]
    opened_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    submitted_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    @property
    def hold_source(self) -> str:
        """The name under which it holds its payment."""
        return f"dispute:{self.id}"

    @property
    def is_inquiry(self) -> bool:
        """Whether the bank only asks so far: nothing was withdrawn, and a refund may end it."""
        return (self.stripe_status or "").startswith("warning_")

    @property
    def needs_response(self) -> bool:
        """Whether Stripe still takes evidence."""
        return self.stripe_status in NEEDS_RESPONSE and self.status in UNDECIDED
