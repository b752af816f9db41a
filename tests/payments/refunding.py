"""Paid bookings, refunds of them, and what the ledger and the local Stripe say of both."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import requests
from flask import current_app
from sqlalchemy import select, text

from app.audit.actor import Actor
from app.audit.models import AuditEntry
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.db import lock, transaction
from app.extensions import db
from app.payments import disputed, ledger_checks, refunds, stripe_gateway
from app.payments.disputed import Movements
from app.payments.models import LedgerEntry, Payment, Refund
from tests import factories


def paid(nights: int = 1, payment_method: str = "pm_card_visa") -> Payment:
    """The payment of a booking, $100.00 a night, of which 15 % are ours."""
    held = factories.booking(nights=nights)
    intent = factories.intent_of(held)
    assert factories.confirm(intent.id, payment_method).ok
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    return payment_of(factories.reread(held))


def payment_of(booking: Booking) -> Payment:
    """A booking's payment."""
    return db.session.scalars(select(Payment).where(Payment.booking_id == booking.id)).one()


def finance() -> Actor:
    """Somebody who refunds up to $500.00 alone."""
    return factories.actor(factories.staff("finance"))


def support() -> Actor:
    """Somebody whose refunds wait for somebody else."""
    return factories.actor(factories.staff("support"))


def ask(payment: Payment, amount_minor: int, **values: Any) -> Refund:
    """A refund of a payment, asked for by somebody from finance."""
    by = values.pop("by", None) or finance()
    given = {"reason": "stay_problem", "key": uuid4().hex, **values}
    return refunds.request(payment.id, amount_minor=amount_minor, by=by, **given)


def refunds_of(payment: Payment) -> list[Refund]:
    """A payment's refunds as the database has them now."""
    db.session.rollback()
    rows = select(Refund).where(Refund.payment_id == payment.id).order_by(Refund.id)
    return list(db.session.scalars(rows.execution_options(populate_existing=True)))


def postings(payment: Payment) -> dict[str, int]:
    """What refunds of a payment posted, by kind."""
    db.session.rollback()
    sums: dict[str, int] = {}
    rows = select(LedgerEntry.kind, LedgerEntry.amount_minor).where(
        LedgerEntry.payment_id == payment.id, LedgerEntry.kind.like("refund.%")
    )
    for kind, amount in db.session.execute(rows):
        sums[kind] = sums.get(kind, 0) + amount
    return sums


def shares(refund: Refund) -> tuple[int, int, int]:
    """What the provider, our commission and our goodwill bear."""
    row = factories.reread(refund)
    return row.provider_minor, row.commission_minor, row.goodwill_minor


def actions(refund: Refund) -> list[str]:
    """What was done to a refund, oldest first."""
    entries = select(AuditEntry.action).where(AuditEntry.object_type == "refunds", AuditEntry.object_id == refund.id)
    return list(db.session.scalars(entries.order_by(AuditEntry.id)))


def ask_stripe(method: str, path: str, **values: Any) -> Any:
    """What the local Stripe answers."""
    settings = current_app.extensions["settings"]
    answer = requests.request(
        method,
        f"{settings.stripe_api_base}{path}",
        auth=(settings.stripe_secret_key.get_secret_value(), ""),
        timeout=10,
        **values,
    )
    assert answer.ok, answer.text
    return answer.json()


def at_stripe(payment: Payment) -> list[dict[str, Any]]:
    """What Stripe has refunded of a payment."""
    intent_id = db.session.get_one(Payment, payment.id).stripe_payment_intent_id
    found: list[dict[str, Any]] = ask_stripe("GET", "/v1/refunds", params={"payment_intent": intent_id, "limit": 100})[
        "data"
    ]
    return found


def balance_of(payment_id: int, account: str) -> int:
    """What a payment's entries leave on an account, debits less credits, in minor units."""
    found: int = db.session.execute(
        text(
            """
            SELECT coalesce(sum(CASE debit_account WHEN :account THEN amount_minor ELSE -amount_minor END), 0)::bigint
            FROM ledger_entries WHERE payment_id = :payment_id AND :account IN (debit_account, credit_account)
            """
        ),
        {"payment_id": payment_id, "account": account},
    ).scalar_one()
    return found


def books_are_whole(payment: Payment) -> bool:
    """Whether nothing is wrong in the ledger, and of this payment it has what is on Stripe's balance."""
    db.session.rollback()
    wrong = ledger_checks.verify()
    assert wrong == [], wrong
    rows = db.session.execute(
        select(LedgerEntry.debit_account, LedgerEntry.credit_account, LedgerEntry.amount_minor).where(
            LedgerEntry.payment_id == payment.id
        )
    )
    booked = sum(
        (amount if debit == "stripe_balance" else -amount)
        for debit, credit, amount in rows
        if "stripe_balance" in (debit, credit)
    )
    charge_id = db.session.get_one(Payment, payment.id).stripe_charge_id
    moved = [
        row["net"]
        for source in (charge_id, *(refund["id"] for refund in at_stripe(payment)))
        for row in ask_stripe("GET", "/v1/balance_transactions", params={"source": source})["data"]
    ]
    return bool(booked == sum(moved))


def withdrawn(payment: Payment, minor: int) -> None:
    """A dispute takes so much more of a payment."""
    with transaction():
        row = lock(Payment, payment.id)
        disputed.book(row, Movements(minor, 0, 0, 0), stripe_dispute_id=f"du_{uuid4().hex}", is_lost=False)
