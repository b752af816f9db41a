"""Payouts of the balance to our bank, daily or asked for in the dashboard, and fees that Stripe takes for itself."""

import sqlite3
from dataclasses import replace

from dev.stripe import charges, events
from dev.stripe.currencies import written
from dev.stripe.errors import ApiError, no_such
from dev.stripe.listing import page
from dev.stripe.parameters import EXPAND, LIST, Spec, choice, identifier, integer, text
from dev.stripe.work import Json, Work, new_id

# https://docs.stripe.com/api/payouts/failures
FAILURES = {
    "account_closed": "The bank account has been closed.",
    "account_frozen": "The bank account has been frozen.",
    "could_not_process": "The bank could not process this payout.",
    "no_account": "The bank account could not be located.",
}

# `created` has it done at a moment of the past.
_MOMENT: Spec = EXPAND | {"created": integer(0)}
CREATE_SPEC: Spec = _MOMENT | {"currency": identifier, "amount": integer(1)}
SETTLE_SPEC: Spec = _MOMENT | {"outcome": choice("paid", "failed", "canceled"), "failure_code": choice(*FAILURES)}
FEE_SPEC: Spec = _MOMENT | {"amount": integer(1), "currency": identifier, "description": text(255)}
LIST_SPEC: Spec = LIST | {"status": choice("pending", "paid", "failed", "canceled")}


def create_in_dashboard(work: Work, params: Json) -> Json:
    """`POST /_local/payouts`: somebody has what is available paid out, or `amount` of it."""
    work, currency = _at(work, params), params.get("currency", "usd")
    there = available(work.db, currency, work.now)
    amount = params.get("amount", there)
    if not 0 < amount <= there:
        raise ApiError(
            400,
            f"You have insufficient funds in your Stripe account: {written(there, currency)} is available.",
            code="balance_insufficient",
            param="amount",
        )
    return shape(work.db, _create(work, currency, amount, automatic=False))


def pay_out_daily(work: Work, currency: str) -> None:
    """An automatic payout of all that is available; the next one when more will be.

    Source: https://docs.stripe.com/payouts#payout-schedule
    """
    there = available(work.db, currency, work.now)
    if there > 0:
        _create(work, currency, there, automatic=True)
    first = "SELECT min(available_on) FROM balance_transactions WHERE currency = ? AND available_on > ?"
    (available_on,) = work.db.execute(first, (currency, work.now)).fetchone()
    if available_on is not None:
        charges.plan_payout(work, currency, available_on)


def available(db: sqlite3.Connection, currency: str, now: int) -> int:
    """What of the balance may be paid out, in minor units."""
    found = "SELECT coalesce(sum(amount - fee), 0) FROM balance_transactions WHERE currency = ? AND available_on <= ?"
    return int(db.execute(found, (currency, now)).fetchone()[0])


def _create(work: Work, currency: str, amount: int, *, automatic: bool) -> sqlite3.Row:
    payout = new_id("po")
    work.insert(
        "payouts",
        id=payout,
        created=work.now,
        amount=amount,
        currency=currency,
        status="pending",
        automatic=automatic,
        balance_transaction=charges.add_balance_transaction(
            work, "payout", -amount, currency, payout, description="STRIPE PAYOUT"
        ),
    )
    events.emit(work, "payout.created", shape(work.db, find(work.db, payout)))
    work.later(work.switches.timing.settle, "pay_payout", payout)
    return find(work.db, payout)


def pay(work: Work, payout: str) -> None:
    """The money arrives at the bank."""
    if find(work.db, payout)["status"] == "pending":
        work.update("payouts", payout, status="paid")
        events.emit(work, "payout.paid", shape(work.db, find(work.db, payout)))


def settle(work: Work, params: Json, payout: str) -> Json:
    """`POST /_local/payouts/{id}/settle`: the bank takes it, or sends it back, also after it was paid; or somebody
    cancels it. What doesn't arrive returns to the balance.

    Source: https://docs.stripe.com/payouts#payout-failures
    """
    work, row = _at(work, params), find(work.db, payout)
    if row["status"] in ("failed", "canceled", params["outcome"]):
        raise ApiError(400, f"The payout is {row['status']} already.", param="outcome")
    if params["outcome"] == "paid":
        pay(work, payout)
    else:
        _give_back(work, row, params["outcome"], params.get("failure_code", "could_not_process"))
    return shape(work.db, find(work.db, payout))


def _give_back(work: Work, row: sqlite3.Row, outcome: str, failure_code: str) -> None:
    kind = "payout_cancel" if outcome == "canceled" else "payout_failure"
    returned = charges.add_balance_transaction(
        work, kind, row["amount"], row["currency"], row["id"], description=kind.replace("_", " ").upper()
    )
    work.update(
        "payouts",
        row["id"],
        status=outcome,
        failure_balance_transaction=returned,
        failure_code=failure_code if outcome == "failed" else None,
    )
    events.emit(work, f"payout.{outcome}", shape(work.db, find(work.db, row["id"])))


def take_fee(work: Work, params: Json) -> Json:
    """`POST /_local/fees`: Stripe takes a fee that is of no payment, as for a product of its own."""
    work = _at(work, params)
    transaction = charges.add_balance_transaction(
        work, "stripe_fee", -params["amount"], params.get("currency", "usd"), "", description=params.get("description")
    )
    return charges.balance_transaction_shape(work.now, charges.find_balance_transaction(work.db, transaction))


def _at(work: Work, params: Json) -> Work:
    return replace(work, now=params.get("created", work.now))


def find(db: sqlite3.Connection, payout: str) -> sqlite3.Row:
    """The payout's row; raises Stripe's 404."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM payouts WHERE id = ?", (payout,)).fetchone()
    if row is None:
        raise no_such("payout", payout)
    return row


def shape(_db: sqlite3.Connection, row: sqlite3.Row) -> Json:
    """A payout as Stripe shows it (https://docs.stripe.com/api/payouts/object)."""
    return {
        "id": row["id"],
        "object": "payout",
        "amount": row["amount"],
        "arrival_date": row["created"],
        "automatic": bool(row["automatic"]),
        "balance_transaction": row["balance_transaction"],
        "created": row["created"],
        "currency": row["currency"],
        "description": "STRIPE PAYOUT",
        "destination": "ba_1TripdeskLocal",
        "failure_balance_transaction": row["failure_balance_transaction"],
        "failure_code": row["failure_code"],
        "failure_message": FAILURES.get(row["failure_code"]),
        "livemode": False,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "reconciliation_status": "completed" if row["automatic"] else "not_applicable",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": row["status"],
        "type": "bank_account",
    }


def retrieve(work: Work, _params: Json, payout: str) -> Json:
    """`GET /v1/payouts/{id}`"""
    return shape(work.db, find(work.db, payout))


def listed(work: Work, params: Json) -> Json:
    """`GET /v1/payouts`"""
    where = {"status = ?": [params["status"]]} if "status" in params else {}
    return page(work.db, params, "payouts", shape, "/v1/payouts", where)
