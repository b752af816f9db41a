"""What Stripe says of disputes, refunds and its balance, as the product reads it, and evidence sent once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import requests
from flask import Flask, current_app

from app.errors import Conflict, NotFound
from app.payments import stripe_gateway
from app.payments.stripe_gateway import KeptFailure
from app.payments.stripe_objects import Intent, StripeDispute
from tests import factories

Switch = Callable[..., None]


def fresh_key() -> str:
    """An idempotency key that nothing was asked with."""
    return f"test-{uuid4().hex}"


def local(path: str, **form: Any) -> Any:
    """A request to a door that the local Stripe has beside Stripe's API."""
    settings = current_app.extensions["settings"]
    key = settings.stripe_secret_key.get_secret_value()
    answer = requests.post(f"{settings.stripe_api_base}/_local/{path}", data=form, auth=(key, ""), timeout=10)
    assert answer.ok, answer.text
    return answer.json()


def paid(amount_minor: int = 20_000) -> Intent:
    """A payment that went through at Stripe."""
    made = stripe_gateway.create_intent(
        amount_minor=amount_minor, currency="USD", key=fresh_key(), payment_id=1, booking_reference="TD-1"
    )
    assert factories.confirm(made.id).ok
    return stripe_gateway.retrieve_intent(made.id)


def disputed(intent: Intent, **form: Any) -> StripeDispute:
    """A dispute of a payment, as the bank opened it."""
    form = {"payment_intent": intent.id, "reason": "product_not_received", **form}
    return stripe_gateway.retrieve_dispute(local("disputes", **form)["id"])


def test_a_chargeback_is_read_with_what_it_took_and_when_an_answer_is_due(app: Flask) -> None:
    intent = paid()
    due_by = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    dispute = disputed(intent, amount=5000, due_by=int(due_by.timestamp()))
    assert (dispute.status, dispute.reason, dispute.case_type) == (
        "needs_response", "product_not_received", "chargeback",
    )  # fmt: skip
    assert (dispute.amount_minor, dispute.currency, dispute.due_by) == (5000, "USD", due_by)
    assert (dispute.charge_id, dispute.intent_id) == (intent.charge_id, intent.id)
    assert (dispute.is_charge_refundable, dispute.evidence, dispute.submission_count) == (False, {}, 0)
    assert [(one.type, one.source_id, one.amount_minor, one.fee_minor) for one in dispute.movements] == [
        ("adjustment", dispute.id, -5000, 1500)
    ]
    local(f"disputes/{dispute.id}/decide", outcome="won")
    won = stripe_gateway.retrieve_dispute(dispute.id)
    assert (won.status, won.is_charge_refundable) == ("won", True)
    assert [(one.amount_minor, one.fee_minor) for one in won.movements] == [(-5000, 1500), (5000, 0)]
    with pytest.raises(NotFound):
        stripe_gateway.retrieve_dispute("du_none")


def test_an_inquiry_has_moved_nothing(app: Flask) -> None:
    dispute = disputed(paid(), case_type="inquiry")
    assert (dispute.status, dispute.case_type) == ("warning_needs_response", "inquiry")
    assert (dispute.is_charge_refundable, dispute.movements) == (True, ())


def test_evidence_is_staged_until_it_is_submitted_and_then_never_again(app: Flask) -> None:
    dispute = disputed(paid())
    stripe_gateway.stage_evidence(dispute.id, {"customer_name": "Ada", "service_date": "1 May"}, key=fresh_key())
    staged = stripe_gateway.stage_evidence(dispute.id, {"service_date": ""}, key=fresh_key())
    assert (staged.status, staged.evidence, staged.submission_count) == ("needs_response", {"customer_name": "Ada"}, 0)
    key = fresh_key()
    said = {"product_description": "A stay"}
    submitted = stripe_gateway.submit_evidence(dispute.id, said, key=key)
    assert (submitted.status, submitted.submission_count) == ("under_review", 1)
    assert submitted.evidence == {"customer_name": "Ada", "product_description": "A stay"}
    assert stripe_gateway.submit_evidence(dispute.id, said, key=key) == submitted
    for again in (stripe_gateway.submit_evidence, stripe_gateway.stage_evidence):
        with pytest.raises(Conflict, match="already been submitted"):
            again(dispute.id, {"customer_name": "Eve"}, key=fresh_key())
    assert stripe_gateway.retrieve_dispute(dispute.id) == submitted


def test_what_was_staged_can_be_submitted_as_it_is(app: Flask) -> None:
    dispute = disputed(paid())
    with pytest.raises(Conflict, match="no evidence"):
        stripe_gateway.submit_evidence(dispute.id, {}, key=fresh_key())
    stripe_gateway.stage_evidence(dispute.id, {"customer_name": "Ada"}, key=fresh_key())
    assert stripe_gateway.submit_evidence(dispute.id, {}, key=fresh_key()).status == "under_review"


def test_a_submission_whose_answer_was_lost_happened_once(app: Flask, switches: Switch) -> None:
    dispute = disputed(paid())
    switches(api=[{"fault": "error_after", "method": "POST", "path": "/v1/disputes/*", "times": 1}])
    with pytest.raises(KeptFailure):
        stripe_gateway.submit_evidence(dispute.id, {"customer_name": "Ada"}, key=fresh_key())
    assert stripe_gateway.retrieve_dispute(dispute.id).submission_count == 1


def test_a_dispute_is_accepted_once(app: Flask) -> None:
    dispute, key = disputed(paid()), fresh_key()
    assert stripe_gateway.close_dispute(dispute.id, key=key).status == "lost"
    assert stripe_gateway.close_dispute(dispute.id, key=key).status == "lost"
    with pytest.raises(Conflict, match="already closed"):
        stripe_gateway.close_dispute(dispute.id, key=fresh_key())


def test_disputes_refunds_and_movements_are_listed_between_two_moments(app: Flask) -> None:
    intent = paid()
    refund = local("refunds", payment_intent=intent.id, amount=700)
    dispute = disputed(intent)
    start = dispute.created_at - timedelta(minutes=1)
    end = dispute.created_at + timedelta(seconds=1)

    def found(listing: Any, **when: datetime) -> list[str]:
        return [row.id for page in listing(**when) for row in page]

    cases: list[tuple[Any, str]] = [
        (stripe_gateway.list_disputes, dispute.id),
        (stripe_gateway.list_refunds, refund["id"]),
        (stripe_gateway.balance_transactions, dispute.movements[0].id),
    ]
    for listing, wanted in cases:
        assert wanted in found(listing, since=start, until=end)
        assert wanted in found(listing)
        assert wanted not in found(listing, since=end)
        assert wanted not in found(listing, until=start)
