"""POST /v1/webhooks/stripe: check the signature, store the event, answer at once; a worker does the rest."""

from __future__ import annotations

from flask import Blueprint, Response, request

from app import bodies, problems
from app.config import settings
from app.errors import Invalid
from app.extensions import csrf
from app.payments import inbox
from app.payments.stripe_gateway import verified_event

webhooks = Blueprint("webhooks", __name__, url_prefix="/v1/webhooks")
csrf.exempt(webhooks)
# Stripe names no limit; the largest events, with whole objects before and after, are a tenth of this.
MAX_EVENT_BYTES = 1024 * 1024


@webhooks.post("/stripe")
def receive() -> Response:
    """Take one event. 400 tells Stripe that this was not from Stripe, or not to us."""
    payload = bodies.read(MAX_EVENT_BYTES)
    try:
        signature = request.headers.get("Stripe-Signature", "")
        inbox.receive(verified_event(payload, signature, settings().stripe_webhook_secret), payload)
    except Invalid as error:
        return problems.problem(400, "Not an event for us", error.detail)
    return Response(b'{"received":true}', content_type="application/json")
