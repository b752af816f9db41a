"""Bookings of one provider that are paid, as many as wanted, known to the local Stripe and to the ledger."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson
import requests
from flask import current_app
from sqlalchemy import text

from app.accounts.models import User
from app.audit.actor import Actor
from app.bulk import refunding
from app.bulk import service as bulk
from app.bulk.models import Bulk
from app.db import transaction
from app.extensions import db
from tests import factories
from tests.bulk.runs import asked

PAID_MINOR = 10_000
# As the product keeps it with a booking.
_POLICY = '{"name": "flexible", "tiers": [{"daysBefore": 1, "refundPercent": 100}]}'

_BOOKINGS = """
WITH stays AS (
    INSERT INTO bookings (reference, status, traveller_id, package_id, provider_id, package_name, starts_on, ends_on,
                          time_zone, units, guests, nights, total_minor, currency, policy, expires_at, confirmed_at)
    SELECT :mark || number, 'CONFIRMED', :traveller_id, :package_id, :provider_id, 'Somewhere', :day,
           CAST(:day AS date) + 1, 'Europe/Oslo', 1, 1,
           jsonb_build_array(jsonb_build_object('date', :day, 'price', 10000)), 10000, 'USD', :policy, now(), now()
    FROM generate_series(1, :number) AS number RETURNING id, reference
), paid AS (
    INSERT INTO payments (booking_id, provider_id, status, amount_minor, commission_minor, fee_minor, currency,
                          idempotency_key, stripe_payment_intent_id, stripe_charge_id, succeeded_at)
    SELECT id, :provider_id, 'SUCCEEDED', 10000, 1500, 320, 'USD', reference, 'pi_' || reference, 'ch_' || reference,
           now()
    FROM stays RETURNING id, booking_id, stripe_charge_id
), posted AS (
    INSERT INTO ledger_entries (kind, debit_account, credit_account, amount_minor, currency, source_id, payment_id,
                                booking_id, provider_id)
    SELECT kind, debit, credit, minor, 'USD', stripe_charge_id, paid.id, booking_id, :provider_id
    FROM paid CROSS JOIN (VALUES ('capture.provider_share', 'stripe_balance', 'provider_payable', 8500),
                                 ('capture.commission', 'stripe_balance', 'commission_revenue', 1500),
                                 ('capture.stripe_fee', 'stripe_fees', 'stripe_balance', 320))
         AS entries(kind, debit, credit, minor)
)
SELECT stays.id AS booking_id, paid.id AS payment_id, reference FROM stays JOIN paid ON booking_id = stays.id ORDER BY 1
"""


class Paid:
    """Confirmed bookings of one night each, $100.00, of which 15 % are ours."""

    def __init__(self, number: int) -> None:
        package = factories.package(days=1, units=number)
        self.package_id, self.provider_id = package.id, package.provider_id
        self.traveller_id = factories.traveller().id
        self.day = factories.tomorrow().isoformat()
        with transaction():
            mark = f"P{uuid4().hex[:10]}x"
            made = list(
                db.session.execute(text(_BOOKINGS), {**vars(self), "mark": mark, "number": number, "policy": _POLICY})
            )
            full = "UPDATE availability SET booked = :number WHERE package_id = :package_id"
            db.session.execute(text(full), {"number": number, "package_id": self.package_id})
        self.ids = [row.booking_id for row in made]
        self.payments = {row.booking_id: row.payment_id for row in made}
        _load([row.reference for row in made], [row.payment_id for row in made])

    def refunds(self) -> list[tuple[int, str, int]]:
        """Each refund's booking, state and amount, in the order of the bookings."""
        found = (
            "SELECT p.booking_id, r.status, r.amount_minor FROM refunds r JOIN payments p ON p.id = r.payment_id"
            " WHERE p.provider_id = :id ORDER BY p.booking_id, r.id"
        )
        return asked(found, id=self.provider_id)  # type: ignore[return-value]

    def states(self) -> dict[str, int]:
        """How many bookings are in each state."""
        found = "SELECT status, count(*) FROM bookings WHERE provider_id = :id GROUP BY status"
        return dict(asked(found, id=self.provider_id))  # type: ignore[arg-type]

    def booked(self) -> int:
        """How many of the package's units are sold."""
        return int(asked("SELECT booked FROM availability WHERE package_id = :id", id=self.package_id)[0][0])


def _load(references: list[str], payment_ids: list[int]) -> None:
    lines = [
        {
            "payment_intent": f"pi_{reference}",
            "charge": f"ch_{reference}",
            "balance_transaction": f"txn_{reference}",
            "amount": PAID_MINOR,
            "currency": "usd",
            "fee": 320,
            "created": 1_760_000_000,
            "status": "succeeded",
            "metadata": {"payment_id": str(payment_id), "booking": reference},
        }
        for reference, payment_id in zip(references, payment_ids, strict=True)
    ]
    settings = current_app.extensions["settings"]
    answer = requests.post(
        f"{settings.stripe_api_base}/_local/load",
        data=b"\n".join(map(orjson.dumps, lines)),
        auth=(settings.stripe_secret_key.get_secret_value(), ""),
        timeout=60,
    )
    assert answer.ok, answer.text


def finance() -> tuple[User, Actor]:
    """Somebody who refunds up to $500.00 alone."""
    person = factories.staff("finance")
    return person, factories.actor(person)


def prepared(ids: list[int], by: Actor, *, reason: str = "provider_failed", note: str = "") -> Bulk:
    """A run that refunds these bookings, not started yet."""
    return bulk.freeze("bookings.refund", ids, by=by, arguments=refunding.refund_arguments(reason, note))


def why(run: Bulk, outcome: str) -> dict[int, str | None]:
    """The rows of a run that came out like this, with the reason of each."""
    db.session.rollback()
    return dict(bulk.rows(run, outcome, after=0, most=1_000))


def stripe_paid(paid: Paid) -> Any:
    """How much Stripe has paid back of each payment, by its intent."""
    settings = current_app.extensions["settings"]
    auth = (settings.stripe_secret_key.get_secret_value(), "")
    sums: dict[str, int] = {}
    for intent_id in [row[0] for row in asked(
        "SELECT stripe_payment_intent_id FROM payments WHERE provider_id = :id", id=paid.provider_id)]:  # fmt: skip
        url = f"{settings.stripe_api_base}/v1/refunds"
        found = requests.get(url, params={"payment_intent": intent_id}, auth=auth, timeout=10).json()["data"]
        sums[intent_id] = sum(refund["amount"] for refund in found if refund["status"] == "succeeded")
    return sums
