"""The one file that talks to Stripe: a few calls, answered as our own small types, never inside a transaction."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import orjson
import stripe
from flask import Flask, current_app

from app.config import Settings
from app.db import leave_database
from app.errors import Conflict, Invalid, NotFound, Unavailable
from app.payments.stripe_objects import BalanceTransaction, Intent, StripeDispute, StripeRefund

# What this code was written against; pin the webhook endpoint in Stripe's dashboard to the same.
API_VERSION = "2026-10-28.endive"
SIGNATURE_TOLERANCE_SECONDS = 300
_TIMEOUT_SECONDS = 10
_RETRIES = 2

Answer = TypeVar("Answer")


class KeptFailure(Unavailable):
    """Stripe answered with a 5xx, which it keeps under our key: asking again with that key can only give it again."""


def configure(app: Flask, settings: Settings) -> None:
    """Make the app's Stripe client; without a key, every call answers Unavailable."""
    key = settings.stripe_secret_key.get_secret_value()
    app.extensions["stripe"] = (
        stripe.StripeClient(
            key,
            stripe_version=API_VERSION,
            base_addresses={"api": settings.stripe_api_base} if settings.stripe_api_base else {},
            # With our keys on every write, the library's own retries are safe.
            max_network_retries=_RETRIES,
            http_client=stripe.RequestsClient(timeout=_TIMEOUT_SECONDS),
        )
        if key
        else None
    )


def create_intent(*, amount_minor: int, currency: str, key: str, payment_id: int, booking_reference: str) -> Intent:
    """Make the payment intent of a payment, or get the same one again: the key decides.

    Raises Unavailable, KeptFailure, Conflict.
    """
    return _ask(
        lambda client: Intent.of(
            client.v1.payment_intents.create(
                {
                    "amount": amount_minor,
                    "currency": currency.lower(),
                    # No methods that send the traveller to another site and back.
                    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                    "description": f"Booking {booking_reference}",
                    "metadata": {"payment_id": str(payment_id), "booking": booking_reference},
                },
                {"idempotency_key": key},
            ).to_dict()
        )
    )


def retrieve_intent(intent_id: str) -> Intent:
    """The payment intent as it is now, with its charge and Stripe's fee. Raises Unavailable, NotFound."""
    return _ask(
        lambda client: Intent.of(
            client.v1.payment_intents.retrieve(intent_id, {"expand": ["latest_charge.balance_transaction"]}).to_dict()
        )
    )


def confirm_intent(intent_id: str, payment_method: str) -> Intent:
    """Pay an intent with one of Stripe's test payment methods; the development page's stand-in for Stripe.js. Raises
    Conflict when declined.
    """
    return _ask(
        lambda client: Intent.of(
            client.v1.payment_intents.confirm(intent_id, {"payment_method": payment_method}).to_dict()
        )
    )


def cancel_intent(intent_id: str) -> Intent:
    """Make sure nobody pays this intent any more. Raises Conflict when it can't be cancelled: it was paid."""
    return _ask(lambda client: Intent.of(client.v1.payment_intents.cancel(intent_id).to_dict()))


def create_refund(*, intent_id: str, amount_minor: int, key: str, refund_id: int, submission: int) -> StripeRefund:
    """Refund part or all of a paid intent, once however often it is asked with this key.

    Raises Unavailable, KeptFailure, Conflict.
    """
    marks = {"refund_id": str(refund_id), "submission": str(submission)}
    parameters: Any = {"payment_intent": intent_id, "amount": amount_minor, "metadata": marks}
    return _ask(
        lambda client: StripeRefund.of(client.v1.refunds.create(parameters, {"idempotency_key": key}).to_dict())
    )


def refunds_of(intent_id: str) -> list[StripeRefund]:
    """All refunds of a payment as they are now, newest first. Raises Unavailable."""

    def look(client: stripe.StripeClient) -> list[StripeRefund]:
        found = client.v1.refunds.list({"payment_intent": intent_id, "limit": 100})
        return [StripeRefund.of(refund.to_dict()) for refund in found.auto_paging_iter()]

    return _ask(look)


def retrieve_refund(refund_id: str) -> StripeRefund:
    """The refund as it is now. Raises Unavailable, NotFound."""
    return _ask(lambda client: StripeRefund.of(client.v1.refunds.retrieve(refund_id).to_dict()))


def list_refunds(*, since: datetime | None = None, until: datetime | None = None) -> Iterator[list[StripeRefund]]:
    """The refunds made from `since` on and before `until`, by whomever, newest first and a page at a time.

    Raises Unavailable.
    """
    return _pages("/v1/refunds", _created(since, until), StripeRefund.of)


def balance_transactions(
    *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[list[BalanceTransaction]]:
    """What moved our balance at Stripe from `since` on and before `until`, newest first and a page at a time.

    Raises Unavailable. https://docs.stripe.com/api/balance_transactions/list
    """
    return _pages("/v1/balance_transactions", _created(since, until), BalanceTransaction.of)


def balance_transactions_after(
    after: str | None, *, since: datetime, until: datetime
) -> tuple[list[BalanceTransaction], bool]:
    """The page of them behind the transaction `after`, the first without one, with the intents of what they are about;
    and whether there are more. Raises Unavailable.
    """
    parameters = {**_created(since, until), "limit": 100, "expand": ["data.source"]}
    if after is not None:
        parameters["starting_after"] = after
    rows, more = _ask(partial(_page, "/v1/balance_transactions", parameters))
    return [BalanceTransaction.of(row) for row in rows], more


def balance_transactions_of(source_id: str) -> list[BalanceTransaction]:
    """What one object ever moved; nothing for one that Stripe doesn't know. Raises Unavailable."""
    parameters = {"source": source_id, "expand": ["data.source"]}
    return [row for page in _pages("/v1/balance_transactions", parameters, BalanceTransaction.of) for row in page]


def list_disputes(*, since: datetime | None = None, until: datetime | None = None) -> Iterator[list[StripeDispute]]:
    """The disputes opened from `since` on and before `until`, newest first and a page at a time. Raises Unavailable."""
    return _pages("/v1/disputes", _created(since, until), StripeDispute.of)


def retrieve_dispute(dispute_id: str) -> StripeDispute:
    """The dispute as it is now, with what it moved. Raises Unavailable, NotFound."""
    return _ask(lambda client: StripeDispute.of(client.v1.disputes.retrieve(dispute_id).to_dict()))


def stage_evidence(dispute_id: str, evidence: Mapping[str, str], *, key: str) -> StripeDispute:
    """Put evidence on a dispute without sending it to the bank; an empty text takes its field back.

    Raises Unavailable, KeptFailure, NotFound, and Conflict when the dispute is closed or was answered.
    """
    return _answer(dispute_id, {"evidence": dict(evidence), "submit": False}, key)


def submit_evidence(dispute_id: str, evidence: Mapping[str, str], *, key: str) -> StripeDispute:
    """Send what is staged, and `evidence` over it, to the bank: it works once, and can't be taken back.

    Raises Unavailable, KeptFailure, NotFound, and Conflict when the dispute is closed or was answered.
    """
    return _answer(dispute_id, {"evidence": dict(evidence), "submit": True}, key)


def close_dispute(dispute_id: str, *, key: str) -> StripeDispute:
    """Accept a dispute, which is lost from then on. Raises Unavailable, KeptFailure, NotFound, and Conflict when it is
    closed already.
    """
    return _ask(
        lambda client: StripeDispute.of(client.v1.disputes.close(dispute_id, {}, {"idempotency_key": key}).to_dict())
    )


def _answer(dispute_id: str, parameters: Any, key: str) -> StripeDispute:
    return _ask(
        lambda client: StripeDispute.of(
            client.v1.disputes.update(dispute_id, parameters, {"idempotency_key": key}).to_dict(),
        )
    )


def _created(since: datetime | None, until: datetime | None) -> dict[str, Any]:
    # Stripe counts in whole seconds: what was created in the second of `until` is not before it.
    moments = {"gte": since, "lt": until}
    return {"created": {name: int(moment.timestamp()) for name, moment in moments.items() if moment is not None}}


def _pages(path: str, parameters: dict[str, Any], shape: Callable[[Any], Answer]) -> Iterator[list[Answer]]:
    parameters = {**parameters, "limit": 100}
    more = True
    while more:
        rows, more = _ask(partial(_page, path, parameters))
        yield [shape(row) for row in rows]
        if rows:
            parameters["starting_after"] = rows[-1]["id"]


def _page(path: str, parameters: dict[str, Any], client: stripe.StripeClient) -> tuple[list[Any], bool]:
    # Read as JSON: the library's objects take five times as long, and there may be ten thousand pages.
    found: Any = client.raw_request("get", path, **parameters).data
    return found["data"], bool(found["data"]) and found["has_more"]


def verified_event(payload: bytes, signature: str, secrets: tuple[str, ...]) -> dict[str, Any]:
    """The event in a webhook's body, once one of our secrets proves that Stripe sent it just now.

    Raises Invalid for a wrong signature and for a stamp more than five minutes old or ahead
    (https://docs.stripe.com/webhooks#verify-manually; the library lets a stamp from the future pass).
    """
    stamp = dict(part.partition("=")[::2] for part in signature.split(",")).get("t", "")
    if not re.fullmatch("[0-9]{1,12}", stamp) or abs(time.time() - int(stamp)) > SIGNATURE_TOLERANCE_SECONDS:
        raise Invalid("The Stripe-Signature header is missing its time, or the time is more than five minutes off.")
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(payload, signature, secret, SIGNATURE_TOLERANCE_SECONDS)
            event: dict[str, Any] = orjson.loads(payload)
            return event
        except stripe.SignatureVerificationError:
            continue
        except (ValueError, AttributeError):
            break  # signed, but not JSON, or no object
    raise Invalid("The Stripe-Signature header doesn't match the body.")


def _ask(call: Callable[[stripe.StripeClient], Answer]) -> Answer:
    leave_database()
    client: stripe.StripeClient | None = current_app.extensions["stripe"]
    if client is None:
        raise Unavailable("Payments are not set up here: STRIPE_SECRET_KEY is not set.", retry_after=60)
    try:
        return call(client)
    except stripe.CardError as error:
        raise Conflict(error.user_message or "The card was declined.") from error
    except (stripe.APIConnectionError, stripe.RateLimitError) as error:
        raise Unavailable("Stripe can't be reached right now. Try again in a moment.") from error
    except stripe.InvalidRequestError as error:
        if error.http_status == 404:
            raise NotFound(f"Stripe doesn't know this: {error.user_message}") from error
        raise Conflict(f"Stripe refused: {error.user_message}") from error
    except stripe.StripeError as error:
        if (error.http_status or 0) >= 500:
            raise KeptFailure("Stripe had an error of its own. Try again in a moment.") from error
        raise Unavailable(f"Stripe could not answer: {error.user_message or type(error).__name__}") from error
