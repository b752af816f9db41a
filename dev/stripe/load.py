"""Bulk load: payments that already happened, given as lines of JSON, for demo data and large trials.

One payment a line; only `payment_intent`, `amount`, `currency`, `created` and `status` must be there, and a succeeded
one needs `charge` and `balance_transaction`:

{"payment_intent": "pi_…", "charge": "ch_…", "balance_transaction": "txn_…", "amount": 25900, "currency": "usd", "fee":
781, "created": 1760000000, "status": "succeeded", "metadata": {"booking": "…"}, "client_secret": "…", "description":
"…", "receipt_email": "…", "refunds": [{"id": "re_…", "balance_transaction": "txn_…", "amount": 5000, "created":
1760100000, "reason": "requested_by_customer", "metadata": {}}], "events": [{"id": "evt_…", "type":
"payment_intent.succeeded", "created": 1760000000}]}

`status` is succeeded, requires_payment_method or canceled; amounts are minor units; without `fee` it is Stripe's price.
Ids that are already known are passed over, so that a load can be sent again. An event shows its object as loaded.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import orjson

from dev.stripe import charges, intents, refunds
from dev.stripe.currencies import CURRENCIES
from dev.stripe.errors import ApiError
from dev.stripe.store import Store
from dev.stripe.work import Json

BATCH = 10_000  # lines in one transaction; other requests get their turn in between
METHOD = "pm_card_visa"
STATUSES = ("succeeded", "requires_payment_method", "canceled")

_INTENTS = (
    "INSERT OR IGNORE INTO payment_intents (id, created, amount, currency, status, client_secret, description, "
    "receipt_email, metadata, capture_method, redirects, payment_method_types, payment_method, test_method, "
    "latest_charge, canceled_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'automatic_async', 'never', '[\"card\"]', ?, ?, ?, ?)"
)
_CHARGES = (
    "INSERT OR IGNORE INTO charges (id, created, payment_intent, amount, amount_refunded, currency, status, "
    f"payment_method, test_method, balance_transaction) VALUES (?, ?, ?, ?, ?, ?, 'succeeded', ?, '{METHOD}', ?)"
)
_TRANSACTIONS = (
    "INSERT OR IGNORE INTO balance_transactions (id, created, type, amount, fee, currency, source, available_on, "
    "description) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_REFUNDS = (
    "INSERT OR IGNORE INTO refunds (id, created, charge, payment_intent, amount, currency, status, reason, metadata, "
    "balance_transaction) VALUES (?, ?, ?, ?, ?, ?, 'succeeded', ?, ?, ?)"
)
_EVENTS = "INSERT OR IGNORE INTO events (id, created, type, data, delivered) VALUES (?, ?, ?, ?, NULL)"


def load(store: Store, lines: Iterable[bytes]) -> Json:
    """Loads the lines in batches and counts payments; a bad line raises a 400 naming it, earlier batches stay."""
    loaded = passed_over = 0
    numbered = enumerate(lines, start=1)
    while batch := list(islice(numbered, BATCH)):
        rows = [_payment(number, line) for number, line in batch if line.strip()]
        with store.write() as db:
            new = _insert(db, rows)
        loaded += new
        passed_over += len(rows) - new
    return {"object": "load", "loaded": loaded, "already_there": passed_over}


def _payment(number: int, line: bytes) -> Json:
    """A line's payment, checked; what is missing gets its default."""

    def bad(why: str) -> ApiError:
        return ApiError(400, f"Line {number}: {why}", executed=False)

    try:
        payment = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise bad(f"not JSON: {error}") from error
    if not isinstance(payment, dict):
        raise bad("not a JSON object")
    for name, kind in (("payment_intent", str), ("amount", int), ("currency", str), ("created", int), ("status", str)):
        if not isinstance(payment.get(name), kind):
            raise bad(f"{name} is missing or has the wrong type")
    if payment["status"] not in STATUSES:
        raise bad(f"status must be one of {', '.join(STATUSES)}")
    if payment["amount"] <= 0 or payment["currency"] not in CURRENCIES:
        raise bad("amount must be positive and currency one of " + ", ".join(CURRENCIES))
    if payment["status"] == "succeeded":
        for name in ("charge", "balance_transaction"):
            if not isinstance(payment.get(name), str):
                raise bad(f"a succeeded payment needs {name}")
        payment.setdefault("fee", charges.fee(payment["amount"], METHOD))
    given = payment.setdefault("refunds", [])
    for refund in given:
        if not {"id", "balance_transaction", "amount", "created"} <= refund.keys():
            raise bad("each refund needs id, balance_transaction, amount and created")
    if given and payment["status"] != "succeeded":
        raise bad("only a succeeded payment can have refunds")
    if sum(refund["amount"] for refund in given) > payment["amount"]:
        raise bad("the refunds exceed the payment")
    for event in payment.setdefault("events", []):
        if not {"id", "type", "created"} <= event.keys():
            raise bad("each event needs id, type and created")
    return payment


def _insert(db: sqlite3.Connection, payments: list[Json]) -> int:
    """Inserts a batch and returns how many payment intents were new."""
    before = db.total_changes
    db.executemany(_INTENTS, map(_intent_row, payments))
    new = db.total_changes - before
    paid = [payment for payment in payments if payment["status"] == "succeeded"]
    db.executemany(_CHARGES, map(_charge_row, paid))
    db.executemany(_REFUNDS, (_refund_row(payment, refund) for payment in paid for refund in payment["refunds"]))
    db.executemany(_TRANSACTIONS, (row for payment in paid for row in _transaction_rows(payment)))
    db.executemany(_EVENTS, (row for payment in payments if payment["events"] for row in _event_rows(db, payment)))
    return new


def _method_id(payment: Json) -> str:
    return "pm_" + str(payment["payment_intent"]).removeprefix("pi_")


def _intent_row(payment: Json) -> tuple[Any, ...]:
    paid = payment["status"] == "succeeded"
    identifier = payment["payment_intent"]
    return (
        identifier,
        payment["created"],
        payment["amount"],
        payment["currency"],
        payment["status"],
        payment.get("client_secret") or f"{identifier}_secret_{identifier.removeprefix('pi_')}",
        payment.get("description"),
        payment.get("receipt_email"),
        orjson.dumps(payment.get("metadata", {})),
        _method_id(payment) if paid else None,
        METHOD if paid else None,
        payment["charge"] if paid else None,
        payment["created"] if payment["status"] == "canceled" else None,
    )


def _charge_row(payment: Json) -> tuple[Any, ...]:
    refunded = sum(refund["amount"] for refund in payment["refunds"])
    return (
        payment["charge"],
        payment["created"],
        payment["payment_intent"],
        payment["amount"],
        refunded,
        payment["currency"],
        _method_id(payment),
        payment["balance_transaction"],
    )


def _refund_row(payment: Json, refund: Json) -> tuple[Any, ...]:
    return (
        refund["id"],
        refund["created"],
        payment["charge"],
        payment["payment_intent"],
        refund["amount"],
        payment["currency"],
        refund.get("reason"),
        orjson.dumps(refund.get("metadata", {})),
        refund["balance_transaction"],
    )


def _transaction_rows(payment: Json) -> Iterator[tuple[Any, ...]]:
    created, currency = payment["created"], payment["currency"]
    yield (
        payment["balance_transaction"],
        created,
        "charge",
        payment["amount"],
        payment["fee"],
        currency,
        payment["charge"],
        created + charges.AVAILABLE_AFTER,
        payment.get("description"),
    )
    for refund in payment["refunds"]:
        at = refund["created"]
        yield (
            refund["balance_transaction"], at, "refund", -refund["amount"], 0, currency, refund["id"], at,
            "REFUND FOR CHARGE",
        )  # fmt: skip


def _event_rows(db: sqlite3.Connection, payment: Json) -> Iterator[tuple[Any, ...]]:
    intent = intents.find(db, payment["payment_intent"])
    for event in payment["events"]:
        match event["type"].split("."):
            case ["payment_intent", _]:
                snapshot = intents.shape(db, intent)
            case ["charge", _]:
                snapshot = charges.shape(db, charges.find(db, payment["charge"]))
            case ["refund", _] if payment["refunds"]:
                snapshot = refunds.shape(db, refunds.find(db, payment["refunds"][-1]["id"]))
            case _:
                raise ApiError(
                    400, f"Event {event['id']}: {event['type']} has no object among what is loaded.", executed=False
                )
        yield (event["id"], event["created"], event["type"], orjson.dumps({"object": snapshot}))
