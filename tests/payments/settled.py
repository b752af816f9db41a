"""What is true of money once everything is told and every job has run: by Stripe's figures, and of all rows."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import select, text

from app.bookings.models import Booking
from app.disputes.models import Dispute
from app.extensions import db
from app.payments import ledger
from app.payments.models import LedgerEntry, Payment, Refund
from app.reports.statements import INVARIANTS
from tests.payments.refunding import ask_stripe, at_stripe, balance_of

# Of the statements about all rows, those about money; each line of theirs begins with what it is about.
STATEMENTS = (
    "A confirmed or completed booking has",
    "Captured money has",
    "What a payment has given back",
    "No refund waits",
    "What a dispute has moved",
    "A payment is held while",
    "A refund is on hold exactly",
    "A row that waits for work",
)


def disputes_at_stripe(payment: Payment) -> list[dict[str, Any]]:
    """The disputes over a captured payment as Stripe has them."""
    found: list[dict[str, Any]] = ask_stripe(
        "GET", "/v1/disputes", params={"charge": payment.stripe_charge_id, "limit": 100}
    )["data"]
    return found


def agrees_with_stripe(payment: Payment) -> None:
    """Each refund and dispute at Stripe has its row here, and all that it moved is booked once."""
    charge = payment.stripe_charge_id
    if charge is None:
        return
    found, disputes = at_stripe(payment), disputes_at_stripe(payment)
    sources = [charge, *(row["id"] for row in found), *(row["id"] for row in disputes)]
    moved = sum(
        transaction["net"]
        for source in sources
        for transaction in ask_stripe("GET", "/v1/balance_transactions", params={"source": source})["data"]
    )
    assert balance_of(payment.id, ledger.STRIPE_BALANCE) == moved, payment.id
    ours = db.session.scalars(
        select(LedgerEntry.source_id).where(LedgerEntry.payment_id == payment.id, LedgerEntry.kind == "refund.paid")
    ).all()
    assert len(ours) == len(set(ours))
    assert {row["id"] for row in found if row["status"] == "succeeded"} <= set(ours)
    rows = select(Dispute.stripe_dispute_id).where(Dispute.payment_id == payment.id)
    assert {row["id"] for row in disputes} == set(db.session.scalars(rows))
    _is_borne_as_if_refunds_came_first(payment, disputes)


def _is_borne_as_if_refunds_came_first(payment: Payment, disputes: list[dict[str, Any]]) -> None:
    """Whatever was told first: lost disputes take what refunds have left, and what is beyond that is our loss."""
    found = select(Refund).where(Refund.payment_id == payment.id, Refund.status.in_(("SUBMITTED", "SUCCEEDED")))
    refunded = sum(refund.amount_minor for refund in db.session.scalars(found) if refund.kind != "goodwill")
    lost = -sum(
        moved["amount"]
        for dispute in disputes
        if dispute["status"] in ("lost", "prevented")
        for moved in dispute["balance_transactions"]
    )
    left = payment.amount_minor - refunded
    assert balance_of(payment.id, ledger.DISPUTE_LOSSES) == max(lost - left, 0), payment.id
    sides = ledger.sides_of(payment.id)
    if not sides.owed_back:
        assert sides.provider_minor + sides.commission_minor == max(left - lost, 0), payment.id


def contradictions(booking_ids: list[int], event_ids: list[str]) -> list[str]:
    """What the statements about all rows find of these bookings and events; other tests leave rows of their own."""
    db.session.rollback()
    payment_ids = db.session.scalars(select(Payment.id).where(Payment.booking_id.in_(booking_ids))).all()
    disputes = db.session.scalars(select(Dispute).where(Dispute.payment_id.in_(payment_ids))).all()
    refund_ids = db.session.scalars(select(Refund.id).where(Refund.payment_id.in_(payment_ids))).all()
    about = [
        *db.session.scalars(select(Booking.reference).where(Booking.id.in_(booking_ids))),
        *(f"payment {payment_id}" for payment_id in payment_ids),
        *(f"refund {refund_id}" for refund_id in refund_ids),
        *(f"dispute {dispute.id}" for dispute in disputes),
        *(str(dispute.stripe_dispute_id) for dispute in disputes),
        *(f"event {event_id}" for event_id in event_ids),
    ]
    ours = re.compile(rf"({'|'.join(about)})\b")
    return [
        line
        for invariant in INVARIANTS
        if invariant.statement.startswith(STATEMENTS)
        for line in db.session.scalars(text(invariant.select))
        if ours.match(line)
    ]
