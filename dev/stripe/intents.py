"""Payment intents: from the wish to be paid to the charge, through declines, authentication and bank debits.

The states and who may leave which: https://docs.stripe.com/payments/paymentintents/lifecycle
"""

import sqlite3
from typing import Any

import orjson

from dev.stripe import charges, events
from dev.stripe.cards import AUTHENTICATION_REQUIRED, METHODS, Decline, of_number, payment_error, payment_method
from dev.stripe.currencies import CURRENCIES, LARGEST_AMOUNT, written
from dev.stripe.errors import ApiError, doc_url, invalid_parameter, no_such
from dev.stripe.listing import page
from dev.stripe.parameters import (
    EXPAND,
    Spec,
    anything,
    boolean,
    choice,
    identifier,
    integer,
    merge_metadata,
    metadata,
    text,
    texts,
)
from dev.stripe.parameters import (
    shape as nested,
)
from dev.stripe.work import Json, Work, new_id

OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")

_METHOD: Spec = {
    "payment_method": identifier,
    "payment_method_data": nested(
        {
            "type": choice("card"),
            "card": nested(
                {"number": identifier, "exp_month": integer(1, 12), "exp_year": integer(0), "cvc": identifier},
                ("number",),
            ),
            "billing_details": anything,
        },
        ("type", "card"),
    ),
}
_CONFIRM: Spec = {
    "return_url": identifier,
    "off_session": boolean,
    "error_on_requires_action": boolean,
    "use_stripe_sdk": boolean,
    "mandate_data": anything,
}
_DETAILS: Spec = {
    "amount": integer(1),
    "currency": identifier,
    "description": text(),
    "metadata": metadata,
    "receipt_email": text(800),
    "statement_descriptor": text(22),
    "statement_descriptor_suffix": text(22),
}
CREATE_SPEC: Spec = {
    **EXPAND,
    **_DETAILS,
    **_METHOD,
    **_CONFIRM,
    "confirm": boolean,
    "automatic_payment_methods": nested(
        {"enabled": boolean, "allow_redirects": choice("always", "never")}, ("enabled",)
    ),
    "payment_method_types": texts,
    "capture_method": choice("automatic", "automatic_async"),
    "confirmation_method": choice("automatic"),
}
UPDATE_SPEC: Spec = {**EXPAND, **_DETAILS, **_METHOD}
CONFIRM_SPEC: Spec = {**EXPAND, **_METHOD, **_CONFIRM, "receipt_email": text(800)}
CANCEL_SPEC: Spec = {
    **EXPAND,
    "cancellation_reason": choice("duplicate", "fraudulent", "requested_by_customer", "abandoned"),
}
AUTHENTICATE_SPEC: Spec = {"outcome": choice("succeed", "fail")}


def create(work: Work, params: Json) -> Json:
    """`POST /v1/payment_intents`, confirmed in the same breath when `confirm` says so."""
    _check_amount(params["amount"], params["currency"].lower())
    intent = new_id("pi")
    automatic = params.get("automatic_payment_methods")
    types = params.get("payment_method_types")
    if automatic and automatic["enabled"] and types:
        raise invalid_parameter(
            "You may only specify one of these parameters: automatic_payment_methods, payment_method_types.",
            "payment_method_types",
        )
    redirects = None if types or (automatic and not automatic["enabled"]) else "always"
    if redirects and automatic:
        redirects = automatic.get("allow_redirects", "always")
    work.insert(
        "payment_intents",
        id=intent,
        created=work.now,
        amount=params["amount"],
        currency=params["currency"].lower(),
        status="requires_payment_method",
        client_secret=f"{intent}_{new_id('secret')}",
        description=params.get("description"),
        receipt_email=params.get("receipt_email"),
        statement_descriptor=params.get("statement_descriptor"),
        statement_descriptor_suffix=params.get("statement_descriptor_suffix"),
        metadata=orjson.dumps(merge_metadata({}, params.get("metadata", {}))),
        capture_method=params.get("capture_method", "automatic_async"),
        redirects=redirects,
        payment_method_types=orjson.dumps(types or (["card", "us_bank_account"] if redirects else ["card"])),
    )
    _attach(work, intent, params)
    events.emit(work, "payment_intent.created", shape(work.db, find(work.db, intent)))
    if params.get("confirm"):
        return _confirm(work, params, intent)
    return shape(work.db, find(work.db, intent))


def _check_amount(amount: int, currency: str) -> None:
    if currency not in CURRENCIES:
        raise invalid_parameter(
            f"Invalid currency: {currency}. Stripe currently supports these currencies: {', '.join(CURRENCIES)}",
            "currency",
        )
    smallest = CURRENCIES[currency].smallest_charge
    if amount < smallest:
        raise invalid_parameter(
            f"Amount must be at least {written(smallest, currency)} {currency}", "amount", "amount_too_small"
        )
    if amount > LARGEST_AMOUNT:
        raise invalid_parameter(
            f"Amount must be no more than {written(LARGEST_AMOUNT, currency)} {currency}", "amount", "amount_too_large"
        )


def _attach(work: Work, intent: str, params: Json) -> None:
    """Puts the payment method that the parameters name on the intent; a test method becomes a method of its own."""
    if "payment_method_data" in params:
        number = params["payment_method_data"]["card"]["number"]
        name = of_number(number)
        if name is None:
            raise ApiError(
                402,
                "Your card number is incorrect.",
                kind="card_error",
                code="incorrect_number",
                param="payment_method_data[card][number]",
            )
    elif "payment_method" in params:
        name = params["payment_method"]
        if name == find(work.db, intent)["payment_method"]:
            return
        if name not in METHODS:
            raise no_such("PaymentMethod", name, "payment_method")
    else:
        return
    method_types = orjson.loads(find(work.db, intent)["payment_method_types"])
    if METHODS[name].type not in method_types:
        raise ApiError(
            400,
            f"The PaymentMethod provided ({METHODS[name].type}) is not allowed for this PaymentIntent. Please attach a "
            f"PaymentMethod of one of the following types: {', '.join(method_types)}.",
            param="payment_method",
        )
    work.update(
        "payment_intents", intent, payment_method=new_id("pm"), test_method=name, status="requires_confirmation"
    )


def update(work: Work, params: Json, intent: str) -> Json:
    """`POST /v1/payment_intents/{id}`; what is to be paid can change only while it is not paid."""
    row = find(work.db, intent)
    for name in ("amount", "currency", "payment_method", "payment_method_data"):
        if name in params and row["status"] not in OPEN:
            raise _unexpected_state(
                work,
                row,
                f"This PaymentIntent's {name} could not be updated because it has a status of {row['status']}. You may "
                f"only update the {name} of a PaymentIntent with one of the following statuses: {', '.join(OPEN)}.",
            )
    if "amount" in params or "currency" in params:
        _check_amount(params.get("amount", row["amount"]), params.get("currency", row["currency"]).lower())
    changes = {name: params[name] for name in _DETAILS if name in params}
    if "currency" in changes:
        changes["currency"] = changes["currency"].lower()
    if "metadata" in changes:
        changes["metadata"] = orjson.dumps(merge_metadata(orjson.loads(row["metadata"]), changes["metadata"]))
    if changes:
        work.update("payment_intents", intent, **changes)
    _attach(work, intent, params)
    return shape(work.db, find(work.db, intent))


def confirm(work: Work, params: Json, intent: str) -> Json:
    """`POST /v1/payment_intents/{id}/confirm`; raises the 402 of a decline, which stays on record."""
    return _confirm(work, params, intent)


def _confirm(work: Work, params: Json, intent: str) -> Json:
    row = find(work.db, intent)
    if row["status"] == "succeeded":
        raise _unexpected_state(
            work,
            row,
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.",
        )
    if row["status"] not in OPEN:
        raise _unexpected_state(
            work,
            row,
            f"You cannot confirm this PaymentIntent because it has a status of {row['status']}. Only a PaymentIntent "
            "with one of the following statuses may be confirmed: requires_confirmation, requires_action.",
        )
    _attach(work, intent, params)
    if "receipt_email" in params:
        work.update("payment_intents", intent, receipt_email=params["receipt_email"])
    row = find(work.db, intent)
    if row["payment_method"] is None:
        raise _unexpected_state(
            work,
            row,
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method or ConfirmationToken.",
        )
    if row["redirects"] == "always" and "return_url" not in params:
        raise ApiError(
            400,
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of "
            "these payment methods might redirect your customer off of your page, you must provide a `return_url`. If "
            "you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to "
            "`true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and "
            "Payment Intents.",
            param="return_url",
        )
    method = METHODS[row["test_method"]]
    if method.authentication:
        if params.get("off_session") or params.get("error_on_requires_action"):
            raise _declined(work, _fail(work, row, AUTHENTICATION_REQUIRED), intent)
        work.update("payment_intents", intent, status="requires_action", last_payment_error=None)
        events.emit(work, "payment_intent.requires_action", shape(work.db, find(work.db, intent)))
    elif method.bank_debit:
        work.update("payment_intents", intent, status="processing", last_payment_error=None)
        charges.add(work, row, "pending")
        events.emit(work, "payment_intent.processing", shape(work.db, find(work.db, intent)))
        work.later(work.switches.timing.settle, "settle_debit", intent)
    elif method.decline:
        raise _declined(work, _fail(work, row, method.decline), intent)
    else:
        _succeed(work, row)
    return shape(work.db, find(work.db, intent))


def _succeed(work: Work, row: sqlite3.Row) -> None:
    charges.add(work, row, "succeeded")
    _succeeded(work, row["id"])


def _succeeded(work: Work, intent: str) -> None:
    work.update("payment_intents", intent, status="succeeded", last_payment_error=None)
    events.emit(work, "payment_intent.succeeded", shape(work.db, find(work.db, intent)))


def _fail(work: Work, row: sqlite3.Row, decline: Decline) -> Json:
    """Records a declined charge and returns what the confirmer is told."""
    return _failed(work, row, decline, charges.add(work, row, "failed", decline))


def _failed(work: Work, row: sqlite3.Row, decline: Decline, charge: str) -> Json:
    method = payment_method(row["payment_method"], row["test_method"], work.now)
    error = payment_error(decline, charge, method)
    _back_to_start(work, row["id"], error)
    return error


def _back_to_start(work: Work, intent: str, error: Json) -> None:
    work.update(
        "payment_intents",
        intent,
        status="requires_payment_method",
        payment_method=None,
        test_method=None,
        last_payment_error=orjson.dumps(error),
    )
    events.emit(work, "payment_intent.payment_failed", shape(work.db, find(work.db, intent)))


def _declined(work: Work, error: Json, intent: str) -> ApiError:
    fields: dict[str, Any] = {key: value for key, value in error.items() if key not in ("type", "message", "doc_url")}
    fields["payment_intent"] = shape(work.db, find(work.db, intent))
    return ApiError(402, error["message"], kind="card_error", keeps_work=True, **fields)


def authenticate(work: Work, params: Json, intent: str) -> Json:
    """`POST /_local/payment_intents/{id}/authenticate`: the customer passes 3-D Secure, or (`outcome=fail`) does not.

    Stands in for what Stripe.js does in the browser, so a card that is then declined answers 200 with the intent.
    """
    row = find(work.db, intent)
    if row["status"] != "requires_action":
        raise _unexpected_state(
            work, row, f"This PaymentIntent has a status of {row['status']}; there is nothing to authenticate."
        )
    decline = METHODS[row["test_method"]].decline
    if params.get("outcome") == "fail":
        code = "payment_intent_authentication_failure"
        error = {
            "code": code,
            "doc_url": doc_url(code),
            "message": "We are unable to authenticate your payment method. Please choose a different payment method "
            "and try again.",
            "payment_method": payment_method(row["payment_method"], row["test_method"], work.now),
            "type": "invalid_request_error",
        }
        _back_to_start(work, intent, error)
    elif decline:
        _fail(work, row, decline)
    else:
        _succeed(work, row)
    return shape(work.db, find(work.db, intent))


def settle_debit(work: Work, intent: str) -> None:
    """A bank debit comes through or bounces, days later in the real world."""
    row = find(work.db, intent)
    decline = METHODS[row["test_method"]].decline
    if decline:
        charges.settle(work, row["latest_charge"], "failed", decline)
        _failed(work, row, decline, row["latest_charge"])
    else:
        charges.settle(work, row["latest_charge"], "succeeded")
        _succeeded(work, intent)


def cancel(work: Work, params: Json, intent: str) -> Json:
    """`POST /v1/payment_intents/{id}/cancel`; after it nothing can be paid."""
    row = find(work.db, intent)
    if row["status"] not in OPEN:
        raise _unexpected_state(
            work,
            row,
            f"You cannot cancel this PaymentIntent because it has a status of {row['status']}. Only a PaymentIntent "
            "with one of the following statuses may be canceled: requires_payment_method, requires_capture, "
            "requires_confirmation, requires_action, processing.",
        )
    work.update(
        "payment_intents",
        intent,
        status="canceled",
        canceled_at=work.now,
        cancellation_reason=params.get("cancellation_reason"),
    )
    snapshot = shape(work.db, find(work.db, intent))
    events.emit(work, "payment_intent.canceled", snapshot)
    return snapshot


def _unexpected_state(work: Work, row: sqlite3.Row, message: str) -> ApiError:
    snapshot = shape(work.db, row)
    return ApiError(400, message, code="payment_intent_unexpected_state", payment_intent=snapshot)


def find(db: sqlite3.Connection, intent: str, param: str = "intent") -> sqlite3.Row:
    """The payment intent's row; raises Stripe's resource_missing."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM payment_intents WHERE id = ?", (intent,)).fetchone()
    if row is None:
        raise no_such("payment_intent", intent, param)
    return row


def shape(_db: sqlite3.Connection, row: sqlite3.Row) -> Json:
    """A payment intent as Stripe shows it."""
    next_action = None
    if row["status"] == "requires_action":
        next_action = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {"type": "three_d_secure_redirect", "source": f"src_{row['payment_method'][3:]}"},
        }
    succeeded = row["status"] == "succeeded"
    automatic = {"allow_redirects": row["redirects"], "enabled": True} if row["redirects"] else None
    card_options = dict.fromkeys(("installments", "mandate_options", "network")) | {
        "request_three_d_secure": "automatic"
    }
    return {
        "id": row["id"],
        "object": "payment_intent",
        "amount": row["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": row["amount"] if succeeded else 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": automatic,
        "canceled_at": row["canceled_at"],
        "cancellation_reason": row["cancellation_reason"],
        "capture_method": row["capture_method"],
        "client_secret": row["client_secret"],
        "confirmation_method": "automatic",
        "created": row["created"],
        "currency": row["currency"],
        "customer": None,
        "customer_account": None,
        "description": row["description"],
        "excluded_payment_method_types": None,
        "last_payment_error": orjson.loads(row["last_payment_error"]) if row["last_payment_error"] else None,
        "latest_charge": row["latest_charge"],
        "livemode": False,
        "metadata": orjson.loads(row["metadata"]),
        "next_action": next_action,
        "on_behalf_of": None,
        "payment_method": row["payment_method"],
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": card_options},
        "payment_method_types": orjson.loads(row["payment_method_types"]),
        "processing": None,
        "receipt_email": row["receipt_email"],
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": row["statement_descriptor"],
        "statement_descriptor_suffix": row["statement_descriptor_suffix"],
        "status": row["status"],
        "transfer_data": None,
        "transfer_group": None,
    }


def retrieve(work: Work, _params: Json, intent: str) -> Json:
    """`GET /v1/payment_intents/{id}`"""
    return shape(work.db, find(work.db, intent))


def listed(work: Work, params: Json) -> Json:
    """`GET /v1/payment_intents`"""
    return page(work.db, params, "payment_intents", shape, "/v1/payment_intents", {})
