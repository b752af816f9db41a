"""Bulk load: payments that already happened, given as lines of JSON, for demo data and large trials.

One payment a line; only `payment_intent`, `amount`, `currency`, `created` and `status` must be there, and a succeeded
one needs `charge` and `balance_transaction`:

{"payment_intent": "pi_…", "charge": "ch_…", "balance_transaction": "txn_…", "amount": 25900, "currency": "usd", "fee":
781, "created": 1760000000, "status": "succeeded", "metadata": {"booking": "…"}, "client_secret": "…", "description":
"…", "receipt_email": "…", "refunds": [{"id": "re_…", "balance_transaction": "txn_…", "amount": 5000, "created":
1760100000, "reason": "requested_by_customer", "metadata": {}, "status": "failed", "failure_reason":
"lost_or_stolen_card", "failure_balance_transaction": "txn_…", "failed_at": 1760200000}], "disputes": [{"id": "du_…",
"amount": 25900, "reason": "fraudulent", "created": 1760300000, "due_by": 1760900000, "status": "won",
"balance_transaction": "txn_…", "fee": 1500, "reversal_balance_transaction": "txn_…", "closed_at": 1761000000,
"evidence": {"customer_name": "…"}, "submission_count": 1, "metadata": {}}], "events": [{"id": "evt_…", "type":
"payment_intent.succeeded", "created": 1760000000}]}

`status` is succeeded, requires_payment_method or canceled; amounts are minor units; without `fee` it is Stripe's price.
A refund is succeeded unless `status` says pending or failed; a failed one needs `failure_balance_transaction` and
`failed_at`. A dispute has any of Stripe's statuses; it needs `balance_transaction` for what it took (an inquiry,
`warning_…`, took nothing), and once won `reversal_balance_transaction` and `closed_at`. A chargeback that still needs a
response is lost when its `due_by` passes. Ids that are already known are passed over, so that a load can be sent again.
An event shows its object as loaded, of several refunds or disputes the last.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import orjson

from dev.stripe import charges, disputes, evidence, intents, refunds
from dev.stripe.currencies import CURRENCIES
from dev.stripe.errors import ApiError
from dev.stripe.store import Store
from dev.stripe.switches import DisputeSwitches
from dev.stripe.work import Json

BATCH = 10_000  # lines in one transaction; other requests get their turn in between
METHOD = "pm_card_visa"
DISPUTE_FEE = DisputeSwitches().fee
STATUSES = ("succeeded", "requires_payment_method", "canceled")
REFUND_STATUSES = ("succeeded", "pending", "failed")

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
    "balance_transaction, failure_balance_transaction, failure_reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_DISPUTES = (
    "INSERT OR IGNORE INTO disputes (id, created, charge, payment_intent, amount, currency, reason, "
    "network_reason_code, case_type, status, is_charge_refundable, due_by, evidence, submission_count, metadata) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# Beside those that are scheduled already, as when a load is sent again.
_DEADLINES = (
    "INSERT INTO schedule (due, action, object) SELECT ?1, 'dispute_due', ?2 "
    "WHERE NOT EXISTS (SELECT 1 FROM schedule WHERE action = 'dispute_due' AND object = ?2)"
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
    for name in ("refunds", "disputes"):
        if payment.setdefault(name, []) and payment["status"] != "succeeded":
            raise bad(f"only a succeeded payment can have {name}")
    for refund in payment["refunds"]:
        _check_refund(refund, bad)
    if sum(_kept(refund) for refund in payment["refunds"]) > payment["amount"]:
        raise bad("the refunds exceed the payment")
    for dispute in payment["disputes"]:
        _check_dispute(dispute, payment["amount"], bad)
    for event in payment.setdefault("events", []):
        if not {"id", "type", "created"} <= event.keys():
            raise bad("each event needs id, type and created")
    return payment


def _check_refund(refund: Json, bad: Callable[[str], ApiError]) -> None:
    if not {"id", "balance_transaction", "amount", "created"} <= refund.keys():
        raise bad("each refund needs id, balance_transaction, amount and created")
    if refund.setdefault("status", "succeeded") not in REFUND_STATUSES:
        raise bad(f"a refund's status must be one of {', '.join(REFUND_STATUSES)}")
    if refund["status"] == "failed" and not {"failure_balance_transaction", "failed_at"} <= refund.keys():
        raise bad("a failed refund needs failure_balance_transaction and failed_at")


def _check_dispute(dispute: Json, amount: int, bad: Callable[[str], ApiError]) -> None:
    if not {"id", "amount", "reason", "status", "created", "due_by"} <= dispute.keys():
        raise bad("each dispute needs id, amount, reason, status, created and due_by")
    if dispute["status"] not in disputes.STATUSES or dispute["reason"] not in disputes.REASONS:
        raise bad("a dispute's status and reason must be Stripe's")
    if not 0 < dispute["amount"] <= amount:
        raise bad("a dispute's amount must be positive and at most the payment's")
    if not dispute.get("evidence", {}).keys() <= evidence.SPEC.keys():
        raise bad("a dispute's evidence has a field that Stripe doesn't know")
    needed = set() if _is_inquiry(dispute) else {"balance_transaction"}
    if dispute["status"] == "won":
        needed |= {"reversal_balance_transaction", "closed_at"}
    if not needed <= dispute.keys():
        raise bad(f"a dispute that is {dispute['status']} needs {' and '.join(sorted(needed - dispute.keys()))}")


def _is_inquiry(dispute: Json) -> bool:
    return str(dispute["status"]).startswith("warning_")


def _kept(refund: Json) -> int:
    """What a refund takes of its charge: nothing once it failed."""
    return 0 if refund["status"] == "failed" else int(refund["amount"])


def _insert(db: sqlite3.Connection, payments: list[Json]) -> int:
    """Inserts a batch and returns how many payment intents were new."""
    before = db.total_changes
    db.executemany(_INTENTS, map(_intent_row, payments))
    new = db.total_changes - before
    paid = [payment for payment in payments if payment["status"] == "succeeded"]
    db.executemany(_CHARGES, map(_charge_row, paid))
    db.executemany(_REFUNDS, (_refund_row(payment, refund) for payment in paid for refund in payment["refunds"]))
    disputed = [(payment, dispute) for payment in paid for dispute in payment["disputes"]]
    db.executemany(_DISPUTES, (_dispute_row(payment, dispute) for payment, dispute in disputed))
    unanswered = [dispute for _, dispute in disputed if dispute["status"] == "needs_response"]
    db.executemany(_DEADLINES, ((dispute["due_by"], dispute["id"]) for dispute in unanswered))
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
    refunded = sum(_kept(refund) for refund in payment["refunds"])
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
        refund["status"],
        refund.get("reason"),
        orjson.dumps(refund.get("metadata", {})),
        refund["balance_transaction"],
        refund.get("failure_balance_transaction"),
        refund.get("failure_reason", "unknown") if refund["status"] == "failed" else None,
    )


def _dispute_row(payment: Json, dispute: Json) -> tuple[Any, ...]:
    inquiry, status = _is_inquiry(dispute), dispute["status"]
    return (
        dispute["id"],
        dispute["created"],
        payment["charge"],
        payment["payment_intent"],
        dispute["amount"],
        payment["currency"],
        dispute["reason"],
        disputes.REASONS[dispute["reason"]],
        "inquiry" if inquiry else "resolution" if status == "prevented" else "chargeback",
        status,
        inquiry or status == "won",
        dispute["due_by"],
        orjson.dumps(dispute.get("evidence", {})),
        dispute.get("submission_count", 0),
        orjson.dumps(dispute.get("metadata", {})),
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
        if refund["status"] == "failed":
            at = refund["failed_at"]
            yield (
                refund["failure_balance_transaction"], at, "refund_failure", refund["amount"], 0, currency,
                refund["id"], at, "REFUND FAILURE",
            )  # fmt: skip
    for dispute in payment["disputes"]:
        at, amount, charge = dispute["created"], dispute["amount"], payment["charge"]
        if not _is_inquiry(dispute):
            yield (
                dispute["balance_transaction"], at, "adjustment", -amount, dispute.get("fee", DISPUTE_FEE), currency,
                dispute["id"], at, f"Chargeback withdrawal for {charge}",
            )  # fmt: skip
        if dispute["status"] == "won":
            at = dispute["closed_at"]
            yield (
                dispute["reversal_balance_transaction"], at, "adjustment", amount, 0, currency,
                dispute["id"], at, f"Chargeback reversal for {charge}",
            )  # fmt: skip


def _event_rows(db: sqlite3.Connection, payment: Json) -> Iterator[tuple[Any, ...]]:
    intent = intents.find(db, payment["payment_intent"])
    for event in payment["events"]:
        match event["type"].split("."):
            case ["payment_intent", _]:
                snapshot = intents.shape(db, intent)
            case ["charge", _]:
                snapshot = charges.shape(db, charges.find(db, payment["charge"]))
            case ["charge", "dispute", _] if payment["disputes"]:
                row = disputes.find(db, payment["disputes"][-1]["id"])
                snapshot = disputes.shape(int(time.time()), db, row)
            case ["refund", _] | ["charge", "refund", _] if payment["refunds"]:
                snapshot = refunds.shape(db, refunds.find(db, payment["refunds"][-1]["id"]))
            case _:
                raise ApiError(
                    400, f"Event {event['id']}: {event['type']} has no object among what is loaded.", executed=False
                )
        yield (event["id"], event["created"], event["type"], orjson.dumps({"object": snapshot}))
