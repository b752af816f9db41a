"""Stripe's side of the demo's payments: ids, events as they arrived, and loading it all into the local Stripe."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import orjson
import requests

from app.errors import Unavailable
from app.payments.stripe_gateway import API_VERSION

_LINES_A_REQUEST = 5_000
_TIMEOUT_SECONDS = 120


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
        "metadata": {"refund_id": str(refund["id"]), "submission": str(refund["submission"])},
        "payment_intent": payment["stripe_payment_intent_id"],
        "reason": None,
        "status": "succeeded",
    }


def dispute_object(dispute: dict[str, Any], payment: dict[str, Any]) -> dict[str, Any]:
    """A dispute in Stripe's words (https://docs.stripe.com/api/disputes/object)."""
    return {
        "id": dispute["stripe_dispute_id"],
        "object": "dispute",
        "amount": dispute["amount_minor"],
        "charge": payment["stripe_charge_id"],
        "created": int(dispute["opened_at"].timestamp()),
        "currency": dispute["currency"].lower(),
        "evidence": dispute["evidence_at_stripe"],
        "evidence_details": {"due_by": int(dispute["evidence_due_by"].timestamp())},
        "is_charge_refundable": dispute["stripe_status"] == "won",
        "payment_intent": payment["stripe_payment_intent_id"],
        "reason": dispute["reason"],
        "status": dispute["stripe_status"],
    }


def _transaction_of(object_id: str) -> str:
    return f"txn_{object_id.partition('_')[2]}"


def _way_back_of(object_id: str) -> str:
    return f"txn_back_{object_id.partition('_')[2]}"


def _refund_line(refund: dict[str, Any]) -> dict[str, Any]:
    line = {
        "id": refund["stripe_refund_id"],
        "balance_transaction": _transaction_of(refund["stripe_refund_id"]),
        "amount": refund["amount_minor"],
        "created": int(refund["submitted_at"].timestamp()),
        "metadata": {"refund_id": str(refund["id"]), "submission": str(refund["submission"])},
    }
    if refund["status"] == "FAILED":
        line |= {
            "status": "failed",
            "failure_reason": refund["failure_reason"],
            "failure_balance_transaction": _way_back_of(refund["stripe_refund_id"]),
            "failed_at": int(refund["failed_at"].timestamp()),
        }
    return line


def _dispute_line(dispute: dict[str, Any]) -> dict[str, Any]:
    line = {
        "id": dispute["stripe_dispute_id"],
        "amount": dispute["amount_minor"],
        "reason": dispute["reason"],
        "created": int(dispute["opened_at"].timestamp()),
        "due_by": int(dispute["evidence_due_by"].timestamp()),
        "status": dispute["stripe_status"],
        "balance_transaction": _transaction_of(dispute["stripe_dispute_id"]),
        "fee": dispute["fee_minor"],
        "evidence": dispute["evidence_at_stripe"],
        "submission_count": 1 if dispute["submitted_at"] else 0,
    }
    if dispute["status"] == "WON":
        line |= {
            "reversal_balance_transaction": _way_back_of(dispute["stripe_dispute_id"]),
            "closed_at": int(dispute["closed_at"].timestamp()),
        }
    return line


class StripeLoading:
    """Has the local Stripe know payments, a block of them while the next is being made; a context manager that leaves
    nothing on the way. It passes over ids that it knows, so this may be repeated.
    """

    def __init__(self, api_base: str, secret_key: str) -> None:
        self.loaded = 0
        self._url = f"{api_base}/_local/load"
        self._secret_key = secret_key
        self._waiting: list[bytes] = []
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="stripe")
        self._sent: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._send()
        finally:
            self._sender.shutdown(cancel_futures=error is not None)
        if error is None and self._sent is not None:
            self._sent.result()

    def add(
        self,
        payment: dict[str, Any],
        reference: str,
        refunds: list[dict[str, Any]],
        disputes: list[dict[str, Any]],
        events: list[dict[str, Any]],
    ) -> None:
        """Take one payment with the refunds, disputes and events that it has come to. Raises Unavailable when the local
        Stripe didn't answer, or refused an earlier one.
        """
        self._waiting.append(orjson.dumps(_line(payment, reference, refunds, disputes, events)))
        self.loaded += 1
        if len(self._waiting) == _LINES_A_REQUEST:
            self._send()

    def _send(self) -> None:
        if self._sent is not None:
            self._sent.result()
        self._sent = self._sender.submit(_post, self._url, self._secret_key, b"\n".join(self._waiting))
        self._waiting = []


def _line(
    payment: dict[str, Any],
    reference: str,
    refunds: list[dict[str, Any]],
    disputes: list[dict[str, Any]],
    events: list[dict[str, Any]],
) -> dict[str, Any]:
    """What the local Stripe's bulk load takes, a payment a line. A declined attempt's event is left out: there, an
    event shows its object as it is loaded.
    """
    line: dict[str, Any] = {
        "payment_intent": payment["stripe_payment_intent_id"],
        "amount": payment["amount_minor"],
        "currency": payment["currency"].lower(),
        "created": int((payment["succeeded_at"] or payment["created_at"]).timestamp()),
        "status": "succeeded"
        if payment["succeeded_at"]
        else "canceled"
        if payment["status"] == "CANCELLED"
        else "requires_payment_method",
        "metadata": {"payment_id": str(payment["id"]), "booking": reference},
        "description": f"Booking {reference}",
        "events": [
            {"id": event["id"], "type": event["type"], "created": event["created"]}
            for event in events
            if event["type"] != "payment_intent.payment_failed"
        ],
    }
    if payment["succeeded_at"]:
        line |= {
            "charge": payment["stripe_charge_id"],
            "balance_transaction": _transaction_of(payment["stripe_charge_id"]),
            "fee": payment["fee_minor"],
            # What only waits here is not known there.
            "refunds": [_refund_line(refund) for refund in refunds if refund["stripe_refund_id"]],
            "disputes": [_dispute_line(dispute) for dispute in disputes],
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
