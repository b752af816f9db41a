"""Charges, and the balance transactions that follow from them, from refunds and from disputes: where the money is."""

import sqlite3
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from dev.stripe import events
from dev.stripe.cards import BILLING_DETAILS, METHODS, Decline, outcome, payment_method_details
from dev.stripe.errors import no_such
from dev.stripe.listing import page
from dev.stripe.parameters import LIST, Spec, identifier
from dev.stripe.work import Json, Work, new_id

AVAILABLE_AFTER = 2 * 24 * 3600  # seconds; a US account's two days

LIST_SPEC: Spec = LIST | {"payment_intent": identifier}
BALANCE_LIST_SPEC: Spec = LIST | {"type": identifier, "source": identifier, "currency": identifier}


def fee(amount: int, test_method: str) -> int:
    """Stripe's US price in minor units: cards 2.9 % + 30, rounded half up; bank debits 0.8 %, at most 5.00.

    Source: https://stripe.com/pricing
    """
    if METHODS[test_method].bank_debit:
        return min((amount * 8 + 500) // 1000, 500)
    return (amount * 29 + 500) // 1000 + 30


def add(work: Work, intent: sqlite3.Row, status: str, decline: Decline | None = None) -> str:
    """Charges what an intent asks for, with the method attached to it, and returns the charge's id."""
    charge = new_id("ch")
    work.insert(
        "charges",
        id=charge,
        created=work.now,
        payment_intent=intent["id"],
        amount=intent["amount"],
        currency=intent["currency"],
        status=status,
        payment_method=intent["payment_method"],
        test_method=intent["test_method"],
    )
    work.update("payment_intents", intent["id"], latest_charge=charge)
    settle(work, charge, status, decline)
    return charge


def settle(work: Work, charge: str, status: str, decline: Decline | None = None) -> None:
    """Gives a charge its status and, when it succeeded, its balance transaction: at once unless a switch says later."""
    if decline:
        work.update(
            "charges",
            charge,
            status=status,
            failure_code=decline.code,
            failure_message=decline.message,
            decline_code=decline.decline_code,
        )
    else:
        work.update("charges", charge, status=status)
    if status == "succeeded":
        if delay := work.switches.timing.balance_transaction:
            work.later(delay, "post_balance_transaction", charge)
        else:
            post(work, charge)
    row = find(work.db, charge)
    events.emit(work, f"charge.{status}", shape(work.db, row))
    if status == "succeeded" and METHODS[row["test_method"]].dispute:
        work.later(0, "open_dispute_of_card", charge)


def post(work: Work, charge: str) -> None:
    """Adds a succeeded charge to the balance, less Stripe's fee."""
    row = find(work.db, charge)
    method = METHODS[row["test_method"]]
    transaction = add_balance_transaction(
        work,
        "payment" if method.bank_debit else "charge",
        row["amount"],
        row["currency"],
        charge,
        fee=fee(row["amount"], row["test_method"]),
        wait=0 if method.available_at_once else AVAILABLE_AFTER,
        description=shape(work.db, row)["description"],
    )
    work.update("charges", charge, balance_transaction=transaction)


def post_late(work: Work, charge: str) -> None:
    """Adds a charge to the balance some time after it succeeded, and says so with `charge.updated`."""
    post(work, charge)
    events.emit(work, "charge.updated", shape(work.db, find(work.db, charge)), {"balance_transaction": None})


def add_balance_transaction(
    work: Work,
    kind: str,
    amount: int,
    currency: str,
    source: str,
    *,
    fee: int = 0,
    wait: int = 0,
    description: str | None = None,
) -> str:
    """Moves the balance by `amount` less `fee`, in minor units, usable after `wait` seconds; returns its id.

    What is about no object has the empty source.
    """
    transaction = new_id("txn")
    work.insert(
        "balance_transactions",
        id=transaction,
        created=work.now,
        type=kind,
        amount=amount,
        fee=fee,
        currency=currency,
        source=source,
        available_on=work.now + wait,
        description=description,
    )
    if amount > 0:
        plan_payout(work, currency, work.now + wait)
    return transaction


def plan_payout(work: Work, currency: str, available_on: int) -> None:
    """Has an automatic payout made at the end of the day on which money becomes available, where none is planned."""
    planned = "SELECT 1 FROM schedule WHERE action = 'pay_out_daily' AND object = ?"
    if work.switches.payouts.daily and not work.db.execute(planned, (currency,)).fetchone():
        day = datetime.fromtimestamp(available_on, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        work.later((day + timedelta(days=1)).timestamp() - time.time(), "pay_out_daily", currency)


def charged_back(db: sqlite3.Connection, charge: str) -> bool:
    """Whether a dispute keeps the charge from being refunded."""
    statement = "SELECT 1 FROM disputes WHERE charge = ? AND NOT is_charge_refundable"
    return db.execute(statement, (charge,)).fetchone() is not None


def find(db: sqlite3.Connection, charge: str, param: str = "id") -> sqlite3.Row:
    """The charge's row; raises Stripe's resource_missing."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM charges WHERE id = ?", (charge,)).fetchone()
    if row is None:
        raise no_such("charge", charge, param)
    return row


def shape(db: sqlite3.Connection, row: sqlite3.Row) -> Json:
    """A charge as Stripe shows it. Description, metadata and receipt address are its payment intent's."""
    intent = db.execute(
        "SELECT description, metadata, receipt_email, statement_descriptor, statement_descriptor_suffix "
        "FROM payment_intents WHERE id = ?",
        (row["payment_intent"],),
    ).fetchone()
    dispute = db.execute("SELECT id FROM disputes WHERE charge = ? ORDER BY seq DESC LIMIT 1", (row["id"],)).fetchone()
    succeeded = row["status"] == "succeeded"
    decline = None
    if row["failure_code"]:
        blocked = row["decline_code"] == "fraudulent"
        decline = Decline(row["failure_code"], row["failure_message"], row["decline_code"], blocked)
    return {
        "id": row["id"],
        "object": "charge",
        "amount": row["amount"],
        "amount_captured": row["amount"] if succeeded else 0,
        "amount_refunded": row["amount_refunded"],
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": row["balance_transaction"],
        "billing_details": BILLING_DETAILS,
        "calculated_statement_descriptor": "TRIPDESK",
        "captured": succeeded,
        "created": row["created"],
        "currency": row["currency"],
        "customer": None,
        "description": intent["description"],
        "destination": None,
        "dispute": dispute["id"] if dispute else None,
        "disputed": dispute is not None,
        "failure_balance_transaction": None,
        "failure_code": row["failure_code"],
        "failure_message": row["failure_message"],
        "fraud_details": {},
        "livemode": False,
        "metadata": orjson.loads(intent["metadata"]),
        "on_behalf_of": None,
        "order": None,
        "outcome": outcome(decline),
        "paid": row["status"] != "failed",
        "payment_intent": row["payment_intent"],
        "payment_method": row["payment_method"],
        "payment_method_details": payment_method_details(row["test_method"], row["amount"]),
        "radar_options": {},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": None,
        "refunded": row["amount_refunded"] == row["amount"],
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": row["status"],
        "transfer_data": None,
        "transfer_group": None,
    }


def retrieve(work: Work, _params: Json, charge: str) -> Json:
    """`GET /v1/charges/{id}`"""
    return shape(work.db, find(work.db, charge))


def listed(work: Work, params: Json) -> Json:
    """`GET /v1/charges`"""
    where = {"payment_intent = ?": [params["payment_intent"]]} if "payment_intent" in params else {}
    return page(work.db, params, "charges", shape, "/v1/charges", where)


def find_balance_transaction(db: sqlite3.Connection, transaction: str) -> sqlite3.Row:
    """The balance transaction's row; raises Stripe's 404."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM balance_transactions WHERE id = ?", (transaction,)).fetchone()
    if row is None:
        raise no_such("balance transaction", transaction)
    return row


def balance_transaction_shape(now: int, row: sqlite3.Row) -> Json:
    """A balance transaction as Stripe shows it: pending until the day its money is available."""
    fees: list[dict[str, Any]] = []
    if row["fee"]:
        fees = [
            {
                "amount": row["fee"],
                "application": None,
                "currency": row["currency"],
                "description": "Dispute fee" if row["type"] == "adjustment" else "Stripe processing fees",
                "type": "stripe_fee",
            }
        ]
    return {
        "id": row["id"],
        "object": "balance_transaction",
        "amount": row["amount"],
        "available_on": row["available_on"],
        "balance_type": "payments",
        "created": row["created"],
        "currency": row["currency"],
        "description": row["description"],
        "exchange_rate": None,
        "fee": row["fee"],
        "fee_details": fees,
        "net": row["amount"] - row["fee"],
        "reporting_category": _reporting_category(row),
        "source": row["source"] or None,
        "status": "available" if now >= row["available_on"] else "pending",
        "type": row["type"],
    }


def _reporting_category(row: sqlite3.Row) -> str:
    """Stripe's accounting view of a type (https://docs.stripe.com/reports/reporting-categories)."""
    if row["type"] == "adjustment":  # here always a dispute's: taken, or given back
        return "dispute" if row["amount"] < 0 else "dispute_reversal"
    reversal = "payout_reversal"
    named = {"payment": "charge", "payout_cancel": reversal, "payout_failure": reversal, "stripe_fee": "fee"}
    return named.get(row["type"], str(row["type"]))


def retrieve_balance_transaction(work: Work, _params: Json, transaction: str) -> Json:
    """`GET /v1/balance_transactions/{id}`"""
    return balance_transaction_shape(work.now, find_balance_transaction(work.db, transaction))


def list_balance_transactions(work: Work, params: Json) -> Json:
    """`GET /v1/balance_transactions`"""
    where = {f"{name} = ?": [params[name]] for name in ("type", "source", "currency") if name in params}
    return page(
        work.db,
        params,
        "balance_transactions",
        lambda _db, row: balance_transaction_shape(work.now, row),
        "/v1/balance_transactions",
        where,
    )


def balance(work: Work, _params: Json) -> Json:
    """`GET /v1/balance`: what came in less fees, refunds, disputes and payouts, by currency."""
    rows = work.db.execute(
        "SELECT currency, sum((amount - fee) * (available_on <= ?)) AS available, "
        "sum((amount - fee) * (available_on > ?)) AS pending FROM balance_transactions GROUP BY currency",
        (work.now, work.now),
    ).fetchall()

    def funds(column: str) -> list[Json]:
        amounts = {"usd": 0} | {row["currency"]: row[column] for row in rows}
        return [{"amount": a, "currency": c, "source_types": {"card": a}} for c, a in amounts.items()]

    return {"object": "balance", "available": funds("available"), "livemode": False, "pending": funds("pending")}
