"""Refunds: never more than the charge, taken from the balance at once, and given back to it when one fails."""

import sqlite3
from dataclasses import replace
from typing import get_args

import orjson

from dev.stripe import charges, events, intents
from dev.stripe.cards import METHODS
from dev.stripe.currencies import written
from dev.stripe.errors import ApiError, invalid_parameter, no_such
from dev.stripe.listing import page
from dev.stripe.parameters import EXPAND, LIST, Spec, choice, identifier, integer, merge_metadata, metadata
from dev.stripe.switches import RefundFailure
from dev.stripe.work import Json, Work, new_id

CREATE_SPEC: Spec = EXPAND | {
    "charge": identifier,
    "payment_intent": identifier,
    "amount": integer(1),
    "reason": choice("duplicate", "fraudulent", "requested_by_customer"),
    "metadata": metadata,
}
SETTLE_SPEC: Spec = EXPAND | {
    "outcome": choice("succeeded", "failed"),
    "failure_reason": choice(*get_args(RefundFailure)),
}
UPDATE_SPEC: Spec = EXPAND | {"metadata": metadata}
LIST_SPEC: Spec = LIST | {"charge": identifier, "payment_intent": identifier}


def create(work: Work, params: Json) -> Json:
    """`POST /v1/refunds`: all that is left of a charge, or `amount` of it. What exceeds it is refused."""
    charge = charge_of(work, params)
    if charges.charged_back(work.db, charge["id"]):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise ApiError(400, message, code="charge_disputed")
    left = charge["amount"] - charge["amount_refunded"]
    if left == 0:
        raise ApiError(400, f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    amount = params.get("amount", left)
    if amount > left:
        raise ApiError(
            400,
            f"Refund amount ({written(amount, charge['currency'])}) is greater than unrefunded amount on charge "
            f"({written(left, charge['currency'])})",
            param="amount",
        )
    refund, currency = new_id("re"), charge["currency"]
    course = work.switches.refunds.course or METHODS[charge["test_method"]].refund
    work.insert(
        "refunds",
        id=refund,
        created=work.now,
        charge=charge["id"],
        payment_intent=charge["payment_intent"],
        amount=amount,
        currency=currency,
        status="succeeded" if course in ("succeeds", "fails_later") else "pending",
        reason=params.get("reason"),
        metadata=orjson.dumps(merge_metadata({}, params.get("metadata", {}))),
        balance_transaction=charges.add_balance_transaction(
            work, "refund", -amount, currency, refund, description="REFUND FOR CHARGE"
        ),
    )
    _refunded(work, charge, amount)
    events.emit(work, "refund.created", shape(work.db, find(work.db, refund)))
    match course:
        case "succeeds_later":
            work.later(work.switches.timing.settle, "succeed_refund", refund)
        case "fails_later":
            work.later(work.switches.timing.settle, "fail_refund", refund)
        case "fails":
            fail(work, refund)
    return shape(work.db, find(work.db, refund))


def create_in_dashboard(work: Work, params: Json) -> Json:
    """`POST /_local/refunds`: somebody refunds a charge in Stripe's dashboard, so that no request of ours caused it."""
    return create(replace(work, request_id=None, idempotency_key=None), params)


def charge_of(work: Work, params: Json) -> sqlite3.Row:
    """The paid charge that `charge` or `payment_intent` names; raises Stripe's refusals where it is not paid."""
    if ("charge" in params) == ("payment_intent" in params):
        if "charge" in params:
            raise invalid_parameter(
                "You may only specify one of these parameters: charge, payment_intent.", "payment_intent"
            )
        raise invalid_parameter(
            "One of the following params should be provided for this request: payment_intent or charge.",
            "payment_intent",
            "parameter_missing",
        )
    if "charge" in params:
        charge = charges.find(work.db, params["charge"], "charge")
        if charge["status"] != "succeeded":
            raise ApiError(400, f"Charge {charge['id']} was not successful, so it cannot be refunded.", param="charge")
        return charge
    intent = intents.find(work.db, params["payment_intent"], "payment_intent")
    if intent["status"] != "succeeded":
        raise ApiError(
            400,
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
            param="payment_intent",
        )
    return charges.find(work.db, intent["latest_charge"])


def _refunded(work: Work, charge: sqlite3.Row, amount: int) -> None:
    """Counts a refund on its charge; the table itself refuses more than the charge."""
    work.update("charges", charge["id"], amount_refunded=charge["amount_refunded"] + amount)
    snapshot = charges.shape(work.db, charges.find(work.db, charge["id"]))
    previous: Json = {"amount_refunded": charge["amount_refunded"]}
    if snapshot["refunded"]:
        previous["refunded"] = False
        if snapshot["disputed"]:
            work.later(0, "close_refunded_inquiries", charge["id"])
    events.emit(work, "charge.refunded", snapshot, previous)


def settle(work: Work, params: Json, refund: str) -> Json:
    """`POST /_local/refunds/{id}/settle`: what the bank answers to a pending refund, or makes of one that succeeded."""
    row = find(work.db, refund)
    if row["status"] == "failed" or row["status"] == params["outcome"]:
        raise ApiError(400, f"The refund has {row['status']} already.", param="outcome")
    if params["outcome"] == "failed":
        fail(work, refund, params.get("failure_reason"))
    else:
        succeed(work, refund)
    return shape(work.db, find(work.db, refund))


def succeed(work: Work, refund: str) -> None:
    """A pending refund goes through."""
    if find(work.db, refund)["status"] == "pending":
        work.update("refunds", refund, status="succeeded")
        _updated(work, refund, {"status": "pending"})


def fail(work: Work, refund: str, reason: str | None = None) -> None:
    """A refund comes back, even one that had succeeded: the amount returns to the balance and can be refunded again.

    Source: https://docs.stripe.com/refunds#failed-refunds
    """
    row = find(work.db, refund)
    if row["status"] == "failed":
        return
    charge = charges.find(work.db, row["charge"])
    returned = charges.add_balance_transaction(
        work, "refund_failure", row["amount"], row["currency"], refund, description="REFUND FAILURE"
    )
    work.update("charges", charge["id"], amount_refunded=charge["amount_refunded"] - row["amount"])
    work.update(
        "refunds",
        refund,
        status="failed",
        failure_reason=reason or work.switches.refunds.failure_reason,
        failure_balance_transaction=returned,
    )
    _updated(work, refund, {"failure_balance_transaction": None, "failure_reason": None, "status": row["status"]})
    events.emit(work, "refund.failed", shape(work.db, find(work.db, refund)))


def _updated(work: Work, refund: str, previous: Json) -> None:
    snapshot = shape(work.db, find(work.db, refund))
    events.emit(work, "refund.updated", snapshot, previous)
    events.emit(work, "charge.refund.updated", snapshot, previous)


def find(db: sqlite3.Connection, refund: str) -> sqlite3.Row:
    """The refund's row; raises Stripe's 404."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM refunds WHERE id = ?", (refund,)).fetchone()
    if row is None:
        raise no_such("refund", refund)
    return row


def shape(_db: sqlite3.Connection, row: sqlite3.Row) -> Json:
    """A refund as Stripe shows it."""
    refund: Json = {
        "id": row["id"],
        "object": "refund",
        "amount": row["amount"],
        "balance_transaction": row["balance_transaction"],
        "charge": row["charge"],
        "created": row["created"],
        "currency": row["currency"],
        "destination_details": {
            "card": {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"},
            "type": "card",
        },
        "metadata": orjson.loads(row["metadata"]),
        "payment_intent": row["payment_intent"],
        "reason": row["reason"],
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": row["status"],
        "transfer_reversal": None,
    }
    if row["status"] == "pending":
        refund["pending_reason"] = "processing"
    if row["status"] == "failed":
        refund["failure_reason"] = row["failure_reason"]
        refund["failure_balance_transaction"] = row["failure_balance_transaction"]
    return refund


def retrieve(work: Work, _params: Json, refund: str) -> Json:
    """`GET /v1/refunds/{id}`"""
    return shape(work.db, find(work.db, refund))


def update(work: Work, params: Json, refund: str) -> Json:
    """`POST /v1/refunds/{id}`: only the metadata of a refund can change."""
    row = find(work.db, refund)
    old = orjson.loads(row["metadata"])
    new = merge_metadata(old, params.get("metadata", {}))
    if new != old:
        work.update("refunds", refund, metadata=orjson.dumps(new))
        _updated(work, refund, {"metadata": old})
    return shape(work.db, find(work.db, refund))


def listed(work: Work, params: Json) -> Json:
    """`GET /v1/refunds`"""
    where = {f"{name} = ?": [params[name]] for name in ("charge", "payment_intent") if name in params}
    return page(work.db, params, "refunds", shape, "/v1/refunds", where)
