"""The refunds of a life, as the verbs would have made them: paid at once, failed at the bank, waiting for somebody."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from app.audit.actor import STRIPE, SYSTEM, Actor
from app.demo.copying import Loading, TableCopy
from app.demo.events import Events
from app.demo.ids import new_stripe_id, ordered_id
from app.demo.journal import Journal, change
from app.demo.stripe_objects import refund_object
from app.payments.models import Payment, Refund
from app.payments.refunds import ALL_REASONS

Row = dict[str, Any]

# What Stripe says when a bank sends the money back: https://docs.stripe.com/refunds#failed-refunds
_FAILED_WITH = "expired_or_canceled_card"


class Refunding:
    """Makes the refunds of one life after the other; `of_life` are those of the one that is being told."""

    def __init__(self, rng: random.Random, loading: Loading, journal: Journal, events: Events) -> None:
        self.of_life: list[Row] = []
        self.table = TableCopy(Refund, loading)
        self._rng = rng
        self._journal = journal
        self._events = events
        self._ids: Iterator[int] = loading.ids(Refund)

    def send(self) -> None:
        """Copy the refunds told so far."""
        self.table.send()

    def write(self) -> None:
        """Take the rows of the life that was told."""
        for refund in self.of_life:
            self.table.add(refund)

    def owed_back(self, at: datetime, payment: Row, request_id: str) -> Row:
        """All of a payment that no booking could take goes back at once."""
        asked = self._row(at, payment, payment["amount_minor"], "late_payment", request_id)
        refund = {**asked, "status": "APPROVED", "kind": "owed_back", "decided_at": at}
        self._approve(at, refund, SYSTEM)
        return self._pay(at, payment, refund, {})

    def by_policy(self, at: datetime, payment: Row, amount_minor: int, reason: str, by: Actor, request_id: str) -> None:
        """What a cancellation promises goes back at once; both sides bear it by their shares."""
        commission = commission_share(payment, amount_minor)
        shares = {"provider_minor": amount_minor - commission, "commission_minor": commission}
        asked = self._row(at, payment, amount_minor, reason, request_id)
        refund = {
            **asked,
            "status": "APPROVED",
            "kind": "standard",
            "client_key": "cancellation",
            "requested_by_id": by.id,
            "decided_by_id": by.id,
            "decided_at": at,
        }
        self._approve(at, refund, by)
        self._pay(at, payment, refund, shares)

    def waits(
        self, at: datetime, payment: Row, amount_minor: int, reason: str, note: str, by: Actor, *, days: int
    ) -> None:
        """Somebody from support asks for goodwill, which somebody from finance has to approve within these days."""
        asked = self._row(at, payment, amount_minor, reason, self._journal.new_request_id(at))
        refund = {
            **asked,
            "status": "PENDING_APPROVAL",
            "kind": "goodwill",
            "note": note,
            "client_key": ordered_id(self._rng, at, 32),
            "requested_by_id": by.id,
            "expires_at": at + timedelta(days=days),
            "due_at": None,
            "leased_until": None,
        }
        self._journal.audit(
            *(at, by, "refund.request", _subject(refund), (None, dict(refund))),
            request_id=refund["request_id"],
            reason=note,
        )
        self.of_life.append(refund)

    def fails(self, at: datetime, payment: Row, refund: Row) -> None:
        """The traveller's bank sends the money of a paid refund back: it is owed again, and finance has to look."""
        failed_at = at.replace(microsecond=0)
        change(Refund, refund, failure_reason=_FAILED_WITH)
        told = {**refund_object(refund, payment), "status": "failed", "failure_reason": _FAILED_WITH}
        processed_at, request_id = self._events.told("refund.failed", failed_at, payment, told)
        before, after = change(Refund, refund, status="FAILED", failed_at=processed_at)
        failed = before | {"failure_reason": None}, after | {"failure_reason": _FAILED_WITH}
        self._journal.post(
            processed_at, payment, {"refund.failed": refund["amount_minor"]}, source_id=refund["stripe_refund_id"]
        )
        back = change(
            Payment, payment, status="SUCCEEDED", refunded_minor=payment["refunded_minor"] - refund["amount_minor"]
        )
        self._journal.audit(
            *(processed_at, STRIPE, "payment.refunded", (Payment.__tablename__, payment["id"]), back),
            request_id=request_id,
        )
        self._journal.audit(
            processed_at, STRIPE, "refund.failed", _subject(refund), failed, request_id=request_id
        )  # fmt: skip

    def _row(self, at: datetime, payment: Row, amount_minor: int, reason: str, request_id: str) -> Row:
        return {
            **dict.fromkeys(("note", "client_key", "requested_by_id", "decided_by_id", "decided_at", "expires_at")),
            **dict.fromkeys(("held_status", "stripe_refund_id", "failure_reason", "last_error")),
            **dict.fromkeys(("submitted_at", "succeeded_at", "failed_at")),
            **dict.fromkeys(("provider_minor", "commission_minor", "goodwill_minor", "submission", "attempts"), 0),
            "id": next(self._ids),
            "payment_id": payment["id"],
            "amount_minor": amount_minor,
            "currency": payment["currency"],
            "reason": reason,
            "idempotency_key": f"refund_{ordered_id(self._rng, at, 32)}",
            "created_at": at,
            "due_at": at,
            "leased_until": at + timedelta(seconds=30),
            "request_id": request_id,
        }

    def _approve(self, at: datetime, refund: Row, by: Actor) -> None:
        self._journal.audit(
            *(at, by, "refund.approve", _subject(refund), (None, dict(refund))),
            request_id=refund["request_id"],
            reason=ALL_REASONS[refund["reason"]],
        )

    def _pay(self, at: datetime, payment: Row, refund: Row, shares: dict[str, int]) -> Row:
        """Stripe is asked, and has paid within a second or two."""
        submitted_at = at + timedelta(seconds=self._rng.uniform(0.1, 0.8))
        paid_at = submitted_at + timedelta(seconds=self._rng.uniform(0.3, 1.5))
        subject, request_id = _subject(refund), refund["request_id"]
        submitted = change(Refund, refund, status="SUBMITTED", submission=1, submitted_at=submitted_at, **shares)
        self._journal.post(
            submitted_at,
            payment,
            {f"refund.{side}": shares.get(column, 0) for side, column in _SIDES.items()},
            source_id=f"refund_{refund['id']}.1",
        )
        self._journal.audit(submitted_at, SYSTEM, "refund.submit", subject, submitted, request_id=request_id)
        succeeded = change(
            Refund,
            refund,
            status="SUCCEEDED",
            stripe_refund_id=new_stripe_id(self._rng, "re", submitted_at),
            succeeded_at=paid_at,
            due_at=None,
            leased_until=None,
        )
        amount: int = refund["amount_minor"]
        self._journal.post(paid_at, payment, {"refund.paid": amount}, source_id=refund["stripe_refund_id"])
        refunded = payment["refunded_minor"] + amount
        to = "REFUNDED" if refunded == payment["amount_minor"] else "PARTIALLY_REFUNDED"
        returned = change(Payment, payment, status=to, refunded_minor=refunded)
        self._journal.audit(
            *(paid_at, STRIPE, "payment.refunded", (Payment.__tablename__, payment["id"]), returned),
            request_id=request_id,
        )
        self._journal.audit(paid_at, STRIPE, "refund.succeeded", subject, succeeded, request_id=request_id)
        told_at = submitted_at.replace(microsecond=0)
        self._events.told("refund.created", told_at, payment, refund_object(refund, payment))
        self.of_life.append(refund)
        return refund


_SIDES = {"provider_share": "provider_minor", "commission": "commission_minor"}


def commission_share(payment: Row, amount_minor: int) -> int:
    """Our part of what is taken of a payment that nothing was taken of before, in minor units; see
    `payments.refundable`.
    """
    total: int = payment["amount_minor"]
    commission: int = payment["commission_minor"]
    due = (2 * amount_minor * commission + total) // (2 * total)
    return min(max(due, amount_minor - (total - commission)), commission)


def _subject(refund: Row) -> tuple[str, int]:
    return Refund.__tablename__, refund["id"]
