"""Working through stored Stripe events: which verb each type calls."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from app.bookings import service as bookings
from app.disputes import chargebacks
from app.errors import TripdeskError
from app.payments import inbox, refund_submission, stripe_gateway
from app.payments.models import WebhookEvent
from app.payments.stripe_objects import StripeDispute
from jobs import due, job

log = logging.getLogger(__name__)

Effect = Callable[[], None]


def _payment_intent(event: WebhookEvent) -> Effect | None:
    # An event is a hint that may be old or out of order: what counts is what Stripe says now.
    intent = stripe_gateway.retrieve_intent(event.object_id or "")
    # Without our mark it was made by somebody else on the same Stripe account.
    return partial(bookings.payment_changed, intent) if intent.payment_id is not None else None


def _refund(event: WebhookEvent) -> Effect | None:
    # One made in Stripe's dashboard has no row yet, but its payment is ours.
    if not refund_submission.is_about_ours(event.object_id or "", event.stripe_payment_intent_id):
        return None
    return partial(refund_submission.told, stripe_gateway.retrieve_refund(event.object_id or ""))


def _dispute(event: WebhookEvent) -> Effect | None:
    charge_id = event.payload["data"]["object"].get("charge")
    if not chargebacks.is_about_ours(charge_id, event.stripe_payment_intent_id):
        return None
    return partial(_take_dispute, stripe_gateway.retrieve_dispute(event.object_id or ""))


def _take_dispute(told: StripeDispute) -> None:
    chargebacks.changed(told)


# Event type: what asks Stripe, outside any transaction, and gives the verb to call inside one. None: nothing to do for
# this one.
HANDLERS: dict[str, Callable[[WebhookEvent], Effect | None]] = {
    "payment_intent.succeeded": _payment_intent,
    "payment_intent.payment_failed": _payment_intent,
    "payment_intent.requires_action": _payment_intent,
    "payment_intent.processing": _payment_intent,
    "payment_intent.canceled": _payment_intent,
    "refund.created": _refund,
    "refund.updated": _refund,
    "refund.failed": _refund,
    "charge.dispute.created": _dispute,
    "charge.dispute.updated": _dispute,
    "charge.dispute.funds_withdrawn": _dispute,
    "charge.dispute.funds_reinstated": _dispute,
    "charge.dispute.closed": _dispute,
}


@job
def process(event_id: int) -> None:
    """Give a stored event its effect, once."""
    event = due(WebhookEvent, event_id)
    if event is None:
        return
    handler = HANDLERS.get(event.type)
    try:
        inbox.apply(event_id, handler(event) if handler else None)
    except TripdeskError as error:
        log.warning("an event could not be applied", extra={"event": event.stripe_event_id, "error": error.detail})
        inbox.note_failure(event_id, error)
    except Exception as error:
        inbox.note_failure(event_id, error)
        raise
