"""Disputes at the local Stripe, told of by its events, and whether the books agree with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import select, text

from app.disputes import chargebacks
from app.disputes.models import Dispute
from app.extensions import db
from app.payments import ledger, ledger_checks, stripe_gateway
from app.payments.models import LedgerEntry, Payment
from app.reports.statements import INVARIANTS
from tests import factories, queued
from tests.payments.refunding import ask_stripe, balance_of

ABOUT_DISPUTES = ("What a dispute has moved", "A payment is held while", "What a payment has given back")


def disputed_at_stripe(payment: Payment, **values: Any) -> str:
    """The id of a dispute that the cardholder's bank has just opened; nobody has told us."""
    given = {"charge": payment.stripe_charge_id, "reason": "fraudulent", **values}
    dispute_id: str = ask_stripe("POST", "/_local/disputes", data=given)["id"]
    return dispute_id


def decide(dispute_id: str, outcome: str) -> None:
    """The bank decides."""
    ask_stripe("POST", f"/_local/disputes/{dispute_id}/decide", data={"outcome": outcome})


def told(dispute_id: str) -> Dispute:
    """Our row after what Stripe says now, as it is then."""
    row: Dispute = factories.reread(chargebacks.changed(stripe_gateway.retrieve_dispute(dispute_id)))
    db.session.expunge(row)
    return row


def decided(dispute_id: str, outcome: str) -> Dispute:
    """The bank decides, and we are told."""
    decide(dispute_id, outcome)
    return told(dispute_id)


def disputed(payment: Payment, **values: Any) -> Dispute:
    """A dispute that we have been told of."""
    return told(disputed_at_stripe(payment, **values))


def events_of(dispute_id: str) -> list[dict[str, Any]]:
    """What Stripe has to tell of a dispute, oldest first."""
    found: list[dict[str, Any]] = ask_stripe("GET", "/v1/events", params={"limit": 100})["data"]
    return [event for event in reversed(found) if event["data"]["object"]["id"] == dispute_id]


def deliver(client: FlaskClient, events: Sequence[dict[str, Any]]) -> None:
    """Stripe's webhooks, each worked off before the next comes."""
    for event in events:
        # Ours already: the same event twice is stopped at the door, so that a copy has an id of its own.
        assert client.post("/v1/webhooks/stripe", **factories.signed(event)).status_code == 200
        assert queued.work_off() == []


def copies(events: Sequence[dict[str, Any]], order: Callable[[list[Any]], list[Any]]) -> list[dict[str, Any]]:
    """Events in another order, as ones that nobody has seen."""
    return [{**event, "id": factories.event("", {})["id"]} for event in order(list(events))]


def entries(payment: Payment) -> dict[str, int]:
    """What disputes of a payment posted, by kind."""
    db.session.rollback()
    rows = select(LedgerEntry.kind, LedgerEntry.amount_minor).where(
        LedgerEntry.payment_id == payment.id, LedgerEntry.kind.like("dispute.%")
    )
    return dict(db.session.execute(rows).all())


def books_agree(payment: Payment, *dispute_ids: str) -> bool:
    """Whether ledger and rows contradict nothing, and a payment's entries are its movements at Stripe."""
    db.session.rollback()
    assert ledger_checks.verify() == []
    ours = db.session.scalars(select(Dispute.id).where(Dispute.payment_id == payment.id))
    about = (*dispute_ids, f"payment {payment.id} ", *(f"dispute {dispute_id} " for dispute_id in ours))
    for invariant in INVARIANTS:
        if invariant.statement.startswith(ABOUT_DISPUTES):
            # Other tests make postings of disputes that they have no rows for.
            found = db.session.scalars(text(invariant.select)).all()
            assert [line for line in found if line.startswith(about)] == []
    booked = balance_of(payment.id, ledger.STRIPE_BALANCE)
    row = db.session.get_one(Payment, payment.id)
    refunds = ask_stripe("GET", "/v1/refunds", params={"payment_intent": row.stripe_payment_intent_id})["data"]
    sources = [row.stripe_charge_id, *(refund["id"] for refund in refunds), *dispute_ids]
    moved = [
        transaction["net"]
        for source in sources
        for transaction in ask_stripe("GET", "/v1/balance_transactions", params={"source": source})["data"]
    ]
    return bool(booked == sum(moved))
