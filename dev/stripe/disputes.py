"""Disputes: a bank asks about a charge or takes its money back; evidence against it, and how it ends.

The states and what each does to the balance: https://docs.stripe.com/disputes/how-disputes-work. An inquiry
(`warning_…`) takes no money and may still be refunded; a chargeback takes the amount and a fee at once.
"""

import sqlite3
import time
from functools import partial
from typing import Any

import orjson

from dev.stripe import charges, events, evidence, refunds
from dev.stripe.cards import METHODS
from dev.stripe.errors import ApiError, invalid_parameter, no_such
from dev.stripe.listing import page
from dev.stripe.parameters import (
    EXPAND,
    LIST,
    Spec,
    boolean,
    choice,
    identifier,
    integer,
    merge_metadata,
    metadata,
)
from dev.stripe.parameters import (
    shape as nested,
)
from dev.stripe.work import Json, Work, new_id

# Stripe's reasons, with Visa's code for the usual case of each (https://docs.stripe.com/disputes/categories).
REASONS: dict[str, str | None] = {
    "bank_cannot_process": None,
    "check_returned": None,
    "credit_not_processed": "13.6",
    "customer_initiated": None,
    "debit_not_authorized": None,
    "duplicate": "12.6.1",
    "fraudulent": "10.4",
    "general": None,
    "incorrect_account_details": None,
    "insufficient_funds": None,
    "noncompliant": None,
    "product_not_received": "13.1",
    "product_unacceptable": "13.3",
    "subscription_canceled": "13.2",
    "unrecognized": None,
}
# What the test cards bring about, as parameters of `create` (https://docs.stripe.com/testing#disputes).
CARDS: dict[str, Json] = {
    "fraudulent": {"reason": "fraudulent"},
    "product_not_received": {"reason": "product_not_received"},
    "inquiry": {"reason": "general", "case_type": "inquiry"},
}
# Evidence that decides a test dispute, given as `uncategorized_text` (https://docs.stripe.com/testing#evidence): what
# follows for a chargeback, and for an inquiry.
DECISIVE_EVIDENCE: dict[str, tuple[str | None, str]] = {
    "winning_evidence": ("win_dispute", "close_inquiry"),
    "losing_evidence": ("lose_dispute", "close_inquiry"),
    "escalate_inquiry_evidence": (None, "escalate_inquiry"),
}
OPEN = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")
STATUSES = (*OPEN, "warning_closed", "won", "lost", "prevented")
DAYS_TO_RESPOND = 8  # until the end of that day, as for Stripe's test cards; banks give 7 to 21

LIST_SPEC: Spec = LIST | {"charge": identifier, "payment_intent": identifier}
UPDATE_SPEC: Spec = EXPAND | {"evidence": nested(evidence.SPEC), "submit": boolean, "metadata": metadata}
CREATE_SPEC: Spec = EXPAND | {
    "charge": identifier,
    "payment_intent": identifier,
    "amount": integer(1),
    "reason": choice(*REASONS),
    "case_type": choice("chargeback", "inquiry", "resolution"),
    "due_by": integer(1),
    "is_charge_refundable": boolean,
}
DECIDE_SPEC: Spec = EXPAND | {"outcome": choice("won", "partially_won", "lost", "closed", "escalated")}


def create(work: Work, params: Json) -> Json:
    """`POST /_local/disputes`: a bank disputes a charge, all that is not refunded of it unless `amount` says otherwise.

    `case_type` is a chargeback, an inquiry, or a resolution: paid back by the network's own rules before it became a
    chargeback, which Stripe shows as `prevented`, without a fee. `due_by` (unix seconds) may lie in the past.
    """
    charge = refunds.charge_of(work, params)
    left = charge["amount"] - charge["amount_refunded"]
    amount = params.get("amount", left or charge["amount"])
    if amount > charge["amount"]:
        raise invalid_parameter("A dispute can't be about more than its charge.", "amount")
    case_type = params.get("case_type", "chargeback")
    dispute = new_id("du")
    work.insert(
        "disputes",
        id=dispute,
        created=work.now,
        charge=charge["id"],
        payment_intent=charge["payment_intent"],
        amount=amount,
        currency=charge["currency"],
        reason=params["reason"],
        network_reason_code=REASONS[params["reason"]] if METHODS[charge["test_method"]].brand == "visa" else None,
        case_type=case_type,
        status={"inquiry": "warning_needs_response", "resolution": "prevented"}.get(case_type, "needs_response"),
        is_charge_refundable=params.get("is_charge_refundable", case_type == "inquiry"),
        due_by=params.get("due_by", _end_of_day(work.now) + DAYS_TO_RESPOND * 24 * 3600),
    )
    row = find(work.db, dispute)
    if case_type != "inquiry":
        _withdraw(work, row, fee=0 if case_type == "resolution" else work.switches.disputes.fee)
    _emit(work, "created", dispute)
    if case_type != "inquiry":
        _emit(work, "funds_withdrawn", dispute)
    if case_type == "resolution":
        _emit(work, "closed", dispute)
    else:
        work.later(row["due_by"] - time.time(), "dispute_due", dispute)
    return _shown(work, dispute)


def _end_of_day(moment: int) -> int:
    return moment - moment % (24 * 3600) + 24 * 3600 - 1


def open_of_card(work: Work, charge: str) -> None:
    """A payment with one of the disputed test cards is disputed as soon as it went through."""
    scenario = METHODS[charges.find(work.db, charge)["test_method"]].dispute
    if scenario:
        create(work, CARDS[scenario] | {"charge": charge})


def _withdraw(work: Work, row: sqlite3.Row, fee: int) -> None:
    """Takes the disputed amount and the fee; refunds of the charge that are still on their way fail.

    Source: `charge_for_pending_refund_disputed` in https://docs.stripe.com/api/refunds/object.
    """
    pending = "SELECT id FROM refunds WHERE charge = ? AND status = 'pending' ORDER BY seq"
    for refund in work.db.execute(pending, (row["charge"],)).fetchall():
        refunds.fail(work, refund["id"], "charge_for_pending_refund_disputed")
    charges.add_balance_transaction(
        work,
        "adjustment",
        -row["amount"],
        row["currency"],
        row["id"],
        fee=fee,
        description=f"Chargeback withdrawal for {row['charge']}",
    )


def update(work: Work, params: Json, dispute: str) -> Json:
    """`POST /v1/disputes/{id}`: evidence is submitted to the bank, once, or with `submit=false` staged.

    Metadata alone submits nothing.
    """
    row = _open(work, dispute)
    submits = params.get("submit", "evidence" in params)
    if row["submission_count"] and ("evidence" in params or submits):
        # Stripe documents that evidence may typically be submitted once, not the words it refuses a second time in.
        raise ApiError(400, "The evidence of this dispute has already been submitted.", param="evidence")
    before = _shown(work, dispute)
    fields = evidence.merged(orjson.loads(row["evidence"]), params.get("evidence", {}))
    if submits and not fields:
        raise invalid_parameter("There is no evidence to submit.", "evidence")
    work.update(
        "disputes",
        dispute,
        evidence=orjson.dumps(fields),
        metadata=orjson.dumps(merge_metadata(orjson.loads(row["metadata"]), params.get("metadata", {}))),
    )
    if submits:
        _submit(work, row, fields)
    _changed(work, before)
    return _shown(work, dispute)


def _submit(work: Work, row: sqlite3.Row, fields: Json) -> None:
    inquiry = row["case_type"] == "inquiry"
    work.update(
        "disputes",
        row["id"],
        status="warning_under_review" if inquiry else "under_review",
        submission_count=row["submission_count"] + 1,
        past_due=work.now > row["due_by"],
    )
    action = DECISIVE_EVIDENCE.get(fields.get("uncategorized_text", ""), (None, None))[inquiry]
    if action:
        work.later(work.switches.timing.settle, action, row["id"])


def close(work: Work, _params: Json, dispute: str) -> Json:
    """`POST /v1/disputes/{id}/close`: the dispute is accepted, and lost for good."""
    _open(work, dispute)
    lose(work, dispute)
    return _shown(work, dispute)


def decide(work: Work, params: Json, dispute: str) -> Json:
    """`POST /_local/disputes/{id}/decide`: the bank decides a chargeback (`won`, `partially_won`, `lost`) or an inquiry
    (`closed`, `escalated`), whether or not there was evidence; of one that is lost it may think better (`won`).
    """
    row = find(work.db, dispute)
    inquiry = row["case_type"] == "inquiry"
    if row["status"] != "lost" or inquiry:
        _open(work, dispute)
    if inquiry:
        actions = {"closed": close_inquiry, "escalated": escalate}
    elif row["status"] == "lost":
        actions = {"won": overturn}
    else:
        actions = {"won": win, "partially_won": win_partially, "lost": lose}
    if params["outcome"] not in actions:
        kind = "An inquiry" if inquiry else "A chargeback"
        raise invalid_parameter(f"{kind} can be decided as {' or '.join(actions)}.", "outcome")
    actions[params["outcome"]](work, dispute)
    return _shown(work, dispute)


def win(work: Work, dispute: str) -> None:
    """The bank decides for us: the amount comes back, the fee only where a switch says so, and refunds are possible."""
    row = find(work.db, dispute)
    if row["status"] in OPEN:
        _win(work, row)


def overturn(work: Work, dispute: str) -> None:
    """The bank had decided for the cardholder, and thinks better of it."""
    row = find(work.db, dispute)
    if row["status"] == "lost":
        _win(work, row)


def _win(work: Work, row: sqlite3.Row) -> None:
    dispute = row["id"]
    taken = "SELECT amount, fee FROM balance_transactions WHERE source = ? ORDER BY seq"
    withdrawal, *returned = work.db.execute(taken, (dispute,)).fetchall()
    if returned:
        # A dispute has two balance transactions at most.
        raise ApiError(400, "This dispute is already closed")
    fee = -withdrawal["fee"] if work.switches.disputes.fee_returned else 0
    _reinstate(work, row, -withdrawal["amount"], fee)
    work.update("disputes", dispute, status="won", is_charge_refundable=True)
    _emit(work, "funds_reinstated", dispute)
    _emit(work, "closed", dispute)


def _reinstate(work: Work, row: sqlite3.Row, amount: int, fee: int) -> None:
    charges.add_balance_transaction(
        work,
        "adjustment",
        amount,
        row["currency"],
        row["id"],
        fee=fee,
        description=f"Chargeback reversal for {row['charge']}",
    )


def win_partially(work: Work, dispute: str) -> None:
    """The bank leaves us what was refunded before it took all of the charge; the dispute is lost all the same.

    Source: https://support.stripe.com/questions/dispute-for-full-charge-amount-after-a-partial-refund-was-issued
    """
    row = find(work.db, dispute)
    amount = min(charges.find(work.db, row["charge"])["amount_refunded"], row["amount"])
    if not amount:
        raise invalid_parameter("Nothing of this charge was refunded.", "outcome")
    _reinstate(work, row, amount, 0)
    lose(work, dispute)
    _emit(work, "funds_reinstated", dispute)


def lose(work: Work, dispute: str) -> None:
    """The bank decides for the cardholder, who keeps the amount; an inquiry that is lost had taken none."""
    if find(work.db, dispute)["status"] in OPEN:
        work.update("disputes", dispute, status="lost")
        _emit(work, "closed", dispute)


def close_inquiry(work: Work, dispute: str) -> None:
    """An inquiry ends without becoming a chargeback."""
    row = find(work.db, dispute)
    if row["status"] in OPEN and row["case_type"] == "inquiry":
        work.update("disputes", dispute, status="warning_closed")
        _emit(work, "closed", dispute)


def close_refunded_inquiries(work: Work, charge: str) -> None:
    """Once a charge is refunded in full there is nothing left for its inquiries to ask about."""
    row = charges.find(work.db, charge)
    if row["amount_refunded"] == row["amount"]:
        for found in work.db.execute("SELECT id FROM disputes WHERE charge = ?", (charge,)).fetchall():
            close_inquiry(work, found["id"])


def escalate(work: Work, dispute: str) -> None:
    """An inquiry becomes a chargeback, to be answered anew; what was refunded during the inquiry is not subtracted."""
    row = find(work.db, dispute)
    if row["status"] not in OPEN or row["case_type"] != "inquiry":
        return
    before = _shown(work, dispute)
    due_by = _end_of_day(work.now) + DAYS_TO_RESPOND * 24 * 3600
    work.update(
        "disputes",
        dispute,
        case_type="chargeback",
        status="needs_response",
        is_charge_refundable=False,
        due_by=due_by,
        submission_count=0,
    )
    _withdraw(work, row, work.switches.disputes.fee)
    work.later(due_by - time.time(), "dispute_due", dispute)
    _changed(work, before)
    _emit(work, "funds_withdrawn", dispute)


def pass_deadline(work: Work, dispute: str) -> None:
    """A chargeback that nobody answered in time is lost; evidence that is only staged is no answer."""
    row = find(work.db, dispute)
    if row["status"] == "needs_response" and row["due_by"] <= time.time():
        lose(work, dispute)


def _open(work: Work, dispute: str) -> sqlite3.Row:
    row = find(work.db, dispute)
    if row["status"] not in OPEN:
        raise ApiError(400, "This dispute is already closed")
    return row


def _emit(work: Work, what: str, dispute: str, previous: Json | None = None) -> None:
    events.emit(work, f"charge.dispute.{what}", _shown(work, dispute), previous)


def _changed(work: Work, before: Json) -> None:
    """Tells of an update, with the old values of what changed; of hashes only the fields that did."""
    after = _shown(work, before["id"])
    previous: Json = {}
    for name, old in before.items():
        new = after[name]
        if isinstance(old, dict) and name != "metadata" and old != new:
            previous[name] = {key: value for key, value in old.items() if value != new[key]}
        elif old != new:
            previous[name] = old
    if previous:
        _emit(work, "updated", before["id"], previous)


def find(db: sqlite3.Connection, dispute: str) -> sqlite3.Row:
    """The dispute's row; raises Stripe's 404."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM disputes WHERE id = ?", (dispute,)).fetchone()
    if row is None:
        raise no_such("dispute", dispute, "dispute")
    return row


def shape(now: int, db: sqlite3.Connection, row: sqlite3.Row) -> Json:
    """A dispute as Stripe shows it, with what it took and gave back (https://docs.stripe.com/api/disputes/object)."""
    moved = db.execute("SELECT * FROM balance_transactions WHERE source = ? ORDER BY seq", (row["id"],)).fetchall()
    method = METHODS[charges.find(db, row["charge"])["test_method"]]
    fields = orjson.loads(row["evidence"])
    return {
        "id": row["id"],
        "object": "dispute",
        "amount": row["amount"],
        "balance_transactions": [charges.balance_transaction_shape(now, one) for one in moved],
        "charge": row["charge"],
        "created": row["created"],
        "currency": row["currency"],
        "enhanced_eligibility_types": [],
        "evidence": evidence.shape(fields),
        "evidence_details": {
            "due_by": row["due_by"],
            "enhanced_eligibility": {},
            "has_evidence": bool(fields),
            "past_due": bool(row["past_due"]),
            "submission_count": row["submission_count"],
            "submission_method": "manual" if row["submission_count"] else "not_submitted",
        },
        "intended_submission_method": None,
        "is_charge_refundable": bool(row["is_charge_refundable"]),
        "livemode": False,
        "metadata": orjson.loads(row["metadata"]),
        "network_reason_code": row["network_reason_code"],
        "payment_intent": row["payment_intent"],
        "payment_method_details": None if method.bank_debit else _method_details(method.brand, row),
        "reason": row["reason"],
        "status": row["status"],
    }


def _method_details(brand: str, row: sqlite3.Row) -> Json:
    code = row["network_reason_code"]
    details: dict[str, Any] = {"brand": brand, "case_type": row["case_type"], "network": brand}
    return {"card": details | {"network_reason_code": code}, "type": "card"}


def _shown(work: Work, dispute: str) -> Json:
    return shape(work.now, work.db, find(work.db, dispute))


def retrieve(work: Work, _params: Json, dispute: str) -> Json:
    """`GET /v1/disputes/{id}`"""
    return _shown(work, dispute)


def listed(work: Work, params: Json) -> Json:
    """`GET /v1/disputes`"""
    where = {f"{name} = ?": [params[name]] for name in ("charge", "payment_intent") if name in params}
    return page(work.db, params, "disputes", partial(shape, work.now), "/v1/disputes", where)
