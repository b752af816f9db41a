"""Stripe's objects as our own small types, read from its JSON. What asks for them is `stripe_gateway`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Intent:
    """A payment intent as Stripe sees it now. `fee_minor` is known once it succeeded."""

    id: str
    status: str
    amount_minor: int
    currency: str
    client_secret: str | None
    payment_id: int | None
    charge_id: str | None = None
    fee_minor: int | None = None
    captured_at: datetime | None = None
    failure_code: str | None = None
    failure_message: str | None = None

    @classmethod
    def of(cls, row: dict[str, Any]) -> Intent:
        """From Stripe's object; the fee is known where its charge and that one's balance transaction are expanded."""
        charge = row["latest_charge"]
        captured: dict[str, Any] = charge if isinstance(charge, dict) else {"id": charge}
        moved = captured.get("balance_transaction")
        failure = row["last_payment_error"] or {}
        return cls(
            id=row["id"],
            status=row["status"],
            amount_minor=row["amount"],
            currency=row["currency"].upper(),
            client_secret=row["client_secret"],
            payment_id=_number(row["metadata"].get("payment_id")),
            charge_id=captured["id"],
            fee_minor=moved["fee"] if isinstance(moved, dict) else None,
            captured_at=_moment(captured["created"]) if "created" in captured else None,
            failure_code=failure.get("decline_code") or failure.get("code"),
            failure_message=failure.get("message"),
        )


@dataclass(frozen=True)
class StripeRefund:
    """A refund as Stripe sees it now. `refund_id` and `submission` are our marks, which one made in Stripe's dashboard
    lacks; `came_back` says that the money is on our balance again.
    """

    id: str
    status: str
    failure_reason: str | None
    refund_id: int | None = None
    submission: int = 0
    intent_id: str | None = None
    amount_minor: int = 0
    has_left: bool = False
    came_back: bool = False

    @classmethod
    def of(cls, row: dict[str, Any]) -> StripeRefund:
        """From Stripe's object."""
        marks = row["metadata"] or {}
        intent = row["payment_intent"]
        return cls(
            id=row["id"],
            status=row["status"] or "pending",
            failure_reason=row.get("failure_reason"),
            refund_id=_number(marks.get("refund_id")),
            # What was made before submissions were numbered has none.
            submission=_number(marks.get("submission")) or 0,
            intent_id=intent["id"] if isinstance(intent, dict) else intent,
            amount_minor=row["amount"],
            has_left=row["balance_transaction"] is not None,
            came_back=row.get("failure_balance_transaction") is not None,
        )


@dataclass(frozen=True)
class BalanceTransaction:
    """What one object (a charge, a refund, a dispute) moved on our Stripe balance; an amount going out is negative.

    `intent_id` is the payment intent of that object, where it was asked for.
    """

    id: str
    type: str
    source_id: str | None
    amount_minor: int
    fee_minor: int
    currency: str
    created_at: datetime
    intent_id: str | None = None

    @classmethod
    def of(cls, row: dict[str, Any]) -> BalanceTransaction:
        """From Stripe's object, whose source may be expanded."""
        source = row["source"]
        about: dict[str, Any] = source if isinstance(source, dict) else {"id": source}
        return cls(
            id=row["id"],
            type=row["type"],
            source_id=about["id"],
            amount_minor=row["amount"],
            fee_minor=row["fee"],
            currency=row["currency"].upper(),
            created_at=_moment(row["created"]),
            intent_id=about.get("payment_intent"),
        )


@dataclass(frozen=True)
class StripeDispute:
    """A dispute as Stripe sees it now (https://docs.stripe.com/api/disputes/object).

    `case_type` is chargeback, inquiry, resolution and so on, and may change: an inquiry becomes a chargeback.
    `movements` are what it took from our balance (negative, with the fee) and gave back, oldest first; a lost inquiry
    has none. `evidence` is what was staged or submitted, without the empty fields. Without `due_by` the bank takes no
    answer.
    """

    id: str
    status: str
    reason: str
    case_type: str | None
    amount_minor: int
    currency: str
    charge_id: str
    intent_id: str | None
    is_charge_refundable: bool
    due_by: datetime | None
    submission_count: int
    past_due: bool
    evidence: dict[str, str]
    movements: tuple[BalanceTransaction, ...]
    created_at: datetime

    @classmethod
    def of(cls, row: dict[str, Any]) -> StripeDispute:
        """From Stripe's object."""
        details = row["evidence_details"]
        method = row.get("payment_method_details") or {}
        return cls(
            id=row["id"],
            status=row["status"],
            reason=row["reason"],
            case_type=(method.get("card") or {}).get("case_type"),
            amount_minor=row["amount"],
            currency=row["currency"].upper(),
            charge_id=row["charge"],
            intent_id=row["payment_intent"],
            is_charge_refundable=row["is_charge_refundable"],
            due_by=_moment(details["due_by"]) if details["due_by"] else None,
            submission_count=details["submission_count"],
            past_due=details["past_due"],
            evidence={name: value for name, value in row["evidence"].items() if value and isinstance(value, str)},
            movements=tuple(BalanceTransaction.of(one) for one in row["balance_transactions"]),
            created_at=_moment(row["created"]),
        )


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _number(mark: str | None) -> int | None:
    return int(mark) if mark and mark.isascii() and mark.isdigit() else None
