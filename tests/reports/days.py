"""Days of long ago that nobody else's payments are on, and what Stripe's balance had of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import requests
from flask import current_app
from sqlalchemy import select

from app.audit.actor import Actor
from app.audit.models import AuditEntry
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.db import lock, transaction
from app.extensions import db
from app.payments import service as payments
from app.payments import stripe_gateway
from app.payments.models import LedgerEntry, Payment
from app.reports import reconciliation
from app.reports.models import Difference, Reconciliation
from tests import factories
from tests.conftest import wait_for

# A statement and its values, as the fixture `tamper` takes them.
Tamper = Callable[..., None]
# What somebody does to an entry: minor units more, its source and kind.
WRONG = "UPDATE ledger_entries SET amount_minor = amount_minor + %s WHERE source_id = %s AND kind = %s"
_days = count()


def a_day() -> date:
    """A day of its own: the tests of one process share the database and the local Stripe."""
    return date(2012, 1, 1) + timedelta(days=2 * next(_days))


def noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


@dataclass(frozen=True)
class Paid:
    """A payment that Stripe's balance has on a day."""

    booking: Booking
    payment_id: int
    intent_id: str
    charge_id: str

    def told(self) -> Paid:
        """Its event arrives."""
        bookings.payment_changed(stripe_gateway.retrieve_intent(self.intent_id))
        return self

    @property
    def payment(self) -> Payment:
        return db.session.get_one(Payment, self.payment_id, populate_existing=True)


def paid(day: date, **more: Any) -> Paid:
    """A booking that is held here and was paid at Stripe on that day, which tells nobody."""
    held = factories.booking()
    mark = uuid4().hex[:12]
    made = Paid(held, _payment_of(held, f"pi_{mark}").id, f"pi_{mark}", f"ch_{mark}")
    load(
        day,
        payment_intent=made.intent_id,
        charge=made.charge_id,
        balance_transaction=f"txn_{mark}",
        amount=held.total_minor,
        metadata={"payment_id": str(made.payment_id)},
        **more,
    )
    return made


def _payment_of(held: Booking, intent_id: str) -> Payment:
    with transaction():
        payment = payments.open_payment(
            booking_id=held.id,
            provider_id=held.provider_id,
            amount_minor=held.total_minor,
            currency=held.currency,
            by=Actor("traveller", held.traveller_id, "The traveller"),
        )
        db.session.flush()
        lock(Payment, payment.id).stripe_payment_intent_id = intent_id
    return payment


def load(day: date, *, lines: int = 1, **values: Any) -> None:
    """Payments that the local Stripe had on that day."""
    settings = current_app.extensions["settings"]
    whole = {"currency": "usd", "status": "succeeded", "created": int(noon(day).timestamp()), **values}
    if lines > 1:
        mark = uuid4().hex[:8]
        ids = {"payment_intent": "pi_{}", "charge": "ch_{}", "balance_transaction": "txn_{}"}
        rows = [whole | {name: kind.format(f"{mark}{n}") for name, kind in ids.items()} for n in range(lines)]
    else:
        rows = [whole]
    requests.post(
        f"{settings.stripe_api_base}/_local/load",
        data="\n".join(map(json.dumps, rows)),
        auth=(settings.stripe_secret_key.get_secret_value(), ""),
        timeout=30,
    ).raise_for_status()


def at_stripe(day: date, path: str, **form: Any) -> dict[str, Any]:
    """Something that is done at the local Stripe, on that day."""
    settings = current_app.extensions["settings"]
    answer = requests.post(
        f"{settings.stripe_api_base}/_local/{path}",
        data={"created": int(noon(day).timestamp()), **form},
        auth=(settings.stripe_secret_key.get_secret_value(), ""),
        timeout=10,
    )
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def paid_out(day: date, amount: int = 3_000) -> str:
    """A payout made in Stripe's dashboard on that day, of what came in some days before, which is nobody's day."""
    ids = {"payment_intent": f"pi_{day}", "charge": f"ch_{day}", "balance_transaction": f"txn_{day}"}
    load(day - timedelta(days=3), amount=50_000, **ids)
    return str(at_stripe(day, "payouts", amount=amount)["id"])


def finance() -> Actor:
    return factories.actor(factories.staff("finance"))


def reconciled(day: date, by: Actor | None = None) -> Reconciliation:
    """A day that is asked for and compared."""
    row = reconciliation.reconcile(day, by=by or finance())
    reconciliation.go_on(row.id)
    # Where a worker runs, it may have been quicker, and not be done.
    wait_for(lambda: reread(day).status != "RUNNING", "the day to be compared")
    return reread(day)


def reread(day: date) -> Reconciliation:
    db.session.rollback()
    return db.session.get_one(Reconciliation, reconciliation.id_of(day), populate_existing=True)


def differences(day: date) -> list[Difference]:
    """What was found of a day, in the order of the objects at Stripe."""
    db.session.rollback()
    mine = select(Difference).where(Difference.reconciliation_id == reconciliation.id_of(day))
    mine = mine.order_by(Difference.source_id).execution_options(populate_existing=True)
    return list(db.session.scalars(mine))


def posted(source_id: str) -> dict[str, int]:
    """What the ledger has of an object at Stripe, by kind."""
    db.session.rollback()
    rows = select(LedgerEntry.kind, LedgerEntry.amount_minor).where(LedgerEntry.source_id == source_id)
    return dict(db.session.execute(rows).all())


def trail(row: Any) -> list[str]:
    """What was done to a row, oldest first."""
    about = (AuditEntry.object_type == row.__tablename__, AuditEntry.object_id == row.id)
    return list(db.session.scalars(select(AuditEntry.action).where(*about).order_by(AuditEntry.id)))
