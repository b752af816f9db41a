"""Stripe's side of the demo's payments: ids, events as they arrived, and loading it all into the local Stripe."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import Any

import orjson
import requests
from sqlalchemy import text

from app.errors import Unavailable
from app.extensions import db
from app.payments.stripe_gateway import API_VERSION

_LINES_A_REQUEST = 5_000
_TIMEOUT_SECONDS = 120

# What the local Stripe's bulk load takes, a payment a line. A declined attempt's event is left out: there, an event
# shows its object as it is loaded.
_LINES = text(
    """
    SELECT p.id, p.stripe_payment_intent_id AS intent, p.stripe_charge_id AS charge, p.amount_minor, p.fee_minor,
           p.currency, p.status, p.created_at, p.succeeded_at, b.reference,
           (SELECT jsonb_agg(jsonb_build_object('id', r.stripe_refund_id, 'amount', r.amount_minor,
                                                'created', floor(extract(epoch FROM r.submitted_at)),
                                                'metadata', jsonb_build_object('refund_id', r.id::text)))
            FROM refunds r WHERE r.payment_id = p.id) AS refunds,
           (SELECT jsonb_agg(jsonb_build_object('id', e.stripe_event_id, 'type', e.type,
                                                'created', floor(extract(epoch FROM e.happened_at))) ORDER BY e.id)
            FROM webhook_events e WHERE e.stripe_payment_intent_id = p.stripe_payment_intent_id
              AND e.type <> 'payment_intent.payment_failed') AS events
    FROM payments p JOIN bookings b ON b.id = p.booking_id
    ORDER BY p.id
    """
)


def event_payload(event_id: str, kind: str, at: datetime, subject: dict[str, Any]) -> dict[str, Any]:
    """An event as its webhook carried it (https://docs.stripe.com/api/events/object)."""
    return {
        "id": event_id,
        "object": "event",
        "api_version": API_VERSION,
        "created": int(at.timestamp()),
        "data": {"object": subject},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }


def intent_object(payment: dict[str, Any], reference: str) -> dict[str, Any]:
    """The payment intent of a payment as it is now, in Stripe's words and without the fields that nobody here has set
    (https://docs.stripe.com/api/payment_intents/object).
    """
    intent_id: str = payment["stripe_payment_intent_id"]
    status = {"SUCCEEDED": "succeeded", "CANCELLED": "canceled"}.get(payment["status"], "requires_payment_method")
    paid = status == "succeeded"
    cancelled_at = payment["cancelled_at"]
    failed = payment["status"] == "FAILED"
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": payment["amount_minor"],
        "amount_received": payment["amount_minor"] if paid else 0,
        "automatic_payment_methods": {"allow_redirects": "never", "enabled": True},
        "canceled_at": int(cancelled_at.timestamp()) if cancelled_at else None,
        "capture_method": "automatic_async",
        "client_secret": f"{intent_id}_secret_{intent_id.removeprefix('pi_')}",
        "created": int(payment["created_at"].timestamp()),
        "currency": payment["currency"].lower(),
        "description": f"Booking {reference}",
        "last_payment_error": _refusal(payment) if failed else None,
        "latest_charge": payment["stripe_charge_id"],
        "livemode": False,
        "metadata": {"payment_id": str(payment["id"]), "booking": reference},
        "payment_method": f"pm_{intent_id.removeprefix('pi_')}" if paid else None,
        "payment_method_types": ["card"],
        "status": status,
    }


def _refusal(payment: dict[str, Any]) -> dict[str, Any]:
    code, message = payment["failure_code"], payment["failure_message"]
    expired = code == "expired_card"
    return {
        "code": code if expired else "card_declined",
        "decline_code": code,
        "message": message,
        "type": "card_error",
    }


def refund_object(refund: dict[str, Any], payment: dict[str, Any]) -> dict[str, Any]:
    """A refund in Stripe's words (https://docs.stripe.com/api/refunds/object)."""
    return {
        "id": refund["stripe_refund_id"],
        "object": "refund",
        "amount": refund["amount_minor"],
        "balance_transaction": _transaction_of(refund["stripe_refund_id"]),
        "charge": payment["stripe_charge_id"],
        "created": int(refund["submitted_at"].timestamp()),
        "currency": refund["currency"].lower(),
        "metadata": {"refund_id": str(refund["id"])},
        "payment_intent": payment["stripe_payment_intent_id"],
        "reason": None,
        "status": "succeeded",
    }


def _transaction_of(object_id: str) -> str:
    return f"txn_{object_id.partition('_')[2]}"


def load(api_base: str, secret_key: str, tell: Callable[[str], None]) -> int:
    """Have the local Stripe know every payment in the database; returns how many.

    It passes over ids that it knows, so this may be repeated. Raises Unavailable when it doesn't answer or refuses.
    """
    lines = (
        orjson.dumps(_line(row)) for row in db.session.execute(_LINES.execution_options(yield_per=_LINES_A_REQUEST))
    )
    url = f"{api_base}/_local/load"
    loaded = 0
    # The next block is made while the local Stripe takes the one before.
    with ThreadPoolExecutor(1, thread_name_prefix="stripe") as sender:
        sent: Future[None] | None = None
        while block := list(islice(lines, _LINES_A_REQUEST)):
            if sent is not None:
                sent.result()
            sent = sender.submit(_post, url, secret_key, b"\n".join(block))
            loaded += len(block)
            if loaded % (20 * _LINES_A_REQUEST) == 0:
                tell(f"  {loaded:,} payments in the local Stripe")
        if sent is not None:
            sent.result()
    return loaded


def _line(row: Any) -> dict[str, Any]:
    line: dict[str, Any] = {
        "payment_intent": row.intent,
        "amount": row.amount_minor,
        "currency": row.currency.lower(),
        "created": int((row.succeeded_at or row.created_at).timestamp()),
        "status": "succeeded"
        if row.succeeded_at
        else "canceled"
        if row.status == "CANCELLED"
        else "requires_payment_method",
        "metadata": {"payment_id": str(row.id), "booking": row.reference},
        "description": f"Booking {row.reference}",
        "events": row.events or [],
    }
    if row.succeeded_at:
        line |= {
            "charge": row.charge,
            "balance_transaction": _transaction_of(row.charge),
            "fee": row.fee_minor,
            "refunds": [
                {**refund, "balance_transaction": _transaction_of(refund["id"])} for refund in row.refunds or []
            ],
        }
    return line


def _post(url: str, secret_key: str, body: bytes) -> None:
    try:
        answer = requests.post(url, data=body, auth=(secret_key, ""), timeout=_TIMEOUT_SECONDS)
    except requests.RequestException as error:
        raise Unavailable(
            f"The local Stripe does not answer at {url}. Start it, or correct STRIPE_API_BASE."
        ) from error
    if not answer.ok:
        raise Unavailable(
            f"The local Stripe at {url} refused the demo's payments: {answer.status_code} {answer.text[:300]}"
        )
