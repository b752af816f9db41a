"""What happens to rows over time, told in order: audit entries and their seals, ledger entries and Stripe's events."""

from __future__ import annotations

import random
from bisect import bisect_left
from datetime import datetime
from operator import itemgetter
from typing import Any

import orjson

from app.audit.actor import Actor
from app.audit.models import AuditEntry, AuditSeal
from app.audit.service import Chain
from app.demo.copying import Loading, TableCopy
from app.demo.ids import ordered_id
from app.payments.ledger import POSTINGS
from app.payments.models import LedgerEntry, WebhookEvent
from app.states import Stateful

_AT = itemgetter(0)


def change(model: type[Stateful], row: dict[str, Any], **values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give a row new values and return what differs, before and after. ValueError for a move its MOVES don't have."""
    to = values.get("status", row["status"])
    if to != row["status"] and to not in model.MOVES[row["status"]]:
        raise ValueError(f"{model.__name__} has no move from {row['status']} to {to}")
    differing = [name for name, value in values.items() if row[name] != value]
    before = {name: row[name] for name in differing}
    row.update(values)
    return before, {name: row[name] for name in differing}


class Journal:
    """Entries come in life by life and leave in order of time, as they would have been written.

    Only what lies ahead of the life being told waits in memory: mostly the ends of stays that were booked early.
    With a `chain` the audit entries are sealed as they leave; without, that is left to the sealing job.
    """

    def __init__(self, rng: random.Random, loading: Loading, chain: Chain | None) -> None:
        self.sealed = 0
        self._rng = rng
        self._chain = chain
        self._ahead: list[tuple[datetime, TableCopy, dict[str, Any]]] = []
        self._audit_ids = loading.ids(AuditEntry)
        self._audit = TableCopy(AuditEntry, loading, left_out=() if chain else ("transaction_id",))
        self._seals = TableCopy(AuditSeal, loading, left_out=("sealed_at",))
        self._ledger = TableCopy(LedgerEntry, loading, left_out=("id", "reverses_id"))
        self._events = TableCopy(WebhookEvent, loading, left_out=("id",))

    def new_request_id(self, at: datetime) -> str:
        """The id of a request at that moment, of the shape that the product gives them; see `ordered_id`."""
        return f"req_{ordered_id(self._rng, at, 20)}"

    def audit(
        self,
        at: datetime,
        by: Actor,
        action: str,
        subject: tuple[str, int],
        changed: tuple[dict[str, Any] | None, dict[str, Any]],
        *,
        request_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        """That `by` did `action` to `subject` (table and id), and what changed."""
        before, after = changed
        row = {
            "at": at,
            "actor_kind": by.kind,
            "actor_id": by.id,
            "actor_label": by.label,
            "address": by.address,
            "action": action,
            "object_type": subject[0],
            "object_id": subject[1],
            "before": None if before is None else _document(before),
            "after": _document(after),
            "reason": reason,
            "request_id": request_id or self.new_request_id(at),
        }
        self._add(at, self._audit, row)

    def post(self, at: datetime, payment: dict[str, Any], amounts: dict[str, int], *, source_id: str) -> None:
        """Ledger entries of a payment by kind; none for an amount of zero, as `app.payments.ledger` does."""
        for kind, amount_minor in amounts.items():
            if amount_minor > 0:
                debit_account, credit_account = POSTINGS[kind]
                row = {
                    "posted_at": at,
                    "kind": kind,
                    "debit_account": debit_account,
                    "credit_account": credit_account,
                    "amount_minor": amount_minor,
                    "currency": payment["currency"],
                    "source_id": source_id,
                    "payment_id": payment["id"],
                    "booking_id": payment["booking_id"],
                    "provider_id": payment["provider_id"],
                }
                self._add(at, self._ledger, row)

    def event(
        self,
        payload: dict[str, Any],
        *,
        received_at: datetime,
        processed_at: datetime,
        happened_at: datetime,
        intent_id: str,
        request_id: str,
    ) -> None:
        """One of Stripe's events, received and worked through."""
        row = {
            "stripe_event_id": payload["id"],
            "type": payload["type"],
            "object_id": payload["data"]["object"]["id"],
            "stripe_payment_intent_id": intent_id,
            "payload": payload,
            "status": "PROCESSED",
            "request_id": request_id,
            "happened_at": happened_at,
            "received_at": received_at,
            "processed_at": processed_at,
            "due_at": None,
            "leased_until": None,
            "attempts": 0,
            "last_error": None,
        }  # fmt: skip
        self._add(received_at, self._events, row)

    def _add(self, at: datetime, table: TableCopy, row: dict[str, Any]) -> None:
        self._ahead.append((at, table, row))

    def send(self, *, until: datetime | None = None) -> None:
        """Copy everything before `until`, or all there is."""
        self._ahead.sort(key=_AT)
        due = len(self._ahead) if until is None else bisect_left(self._ahead, until, key=_AT)
        for _, table, row in self._ahead[:due]:
            if table is self._audit:
                self._seal(row)
            table.add(row)
        del self._ahead[:due]
        for table in (self._events, self._ledger, self._audit, self._seals):
            table.send()

    def _seal(self, entry: dict[str, Any]) -> None:
        entry["id"] = next(self._audit_ids)
        if self._chain is not None:
            entry["transaction_id"] = self._chain.transaction_id
            self._seals.add(self._chain.seal(entry))
            self.sealed += 1


def _document(values: dict[str, Any]) -> orjson.Fragment:
    # Made once: the row holds it and its seal covers it, as it will be read back.
    return orjson.Fragment(orjson.dumps(values, option=orjson.OPT_SORT_KEYS))
