"""Booking what Stripe does with our balance by itself: its payouts to our bank, and its fees that are of no payment.

No event has to be waited for and nobody has to agree: it is done, and Stripe's balance is the record of it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from app.audit import service as audit
from app.audit.actor import SYSTEM
from app.db import require_transaction
from app.extensions import db
from app.payments import ledger
from app.payments.models import LedgerEntry
from app.reports.models import StripeMovement
from app.reports.movements import ENTRIES


def book(since: datetime, until: datetime) -> None:
    """Post those of Stripe's balance, as far as it was read, from `since` to `until` (excluded); once each."""
    require_transaction()
    wanted = select(StripeMovement).where(
        StripeMovement.booked_as.in_(ledger.OF_NO_PAYMENT),
        StripeMovement.created_at >= since,
        StripeMovement.created_at < until,
    )
    new: list[LedgerEntry] = []
    for moved in db.session.scalars(wanted.order_by(StripeMovement.created_at, StripeMovement.id)):
        (kind,), fees = ENTRIES[moved.booked_as]
        # A fee is taken of what goes out, and given back with what comes in. The other way round there is no posting:
        # it is below zero here, and what is isn't posted.
        sign = 1 if moved.amount_minor > 0 else -1
        amounts = {kind: sign * moved.amount_minor, **dict.fromkeys(fees, -sign * moved.fee_minor)}
        new += ledger.post_of_no_payment(amounts, currency=moved.currency, source_id=moved.source_id)
    audit.record_each(SYSTEM, "ledger.book", new)
