"""The History tab of a record's page: everything that was ever done to the record, as the audit trail has it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import orjson
from flask import request
from sqlalchemy import select

from app.audit import trail
from app.audit.action_names import action_in_words
from app.audit.models import AuditEntry
from app.console.record import Record
from app.errors import Invalid
from app.extensions import Model, db
from app.logs import OUTSIDE_A_REQUEST
from app.money import Money

_PAGE_SIZE = 25
_MOST_DIGITS = 18
# The pages of who acted, by what they are: the page's name, and where somebody's is.
_PEOPLE = {"staff": ("staff", "/console/staff/{}/"), "traveller": ("users", "/console/users/{}/")}
_KINDS = {"staff": "staff", "traveller": "traveller", "stripe": "Stripe", "system": "the system"}


def is_asked_for() -> bool:
    """Whether the record's page was opened on this tab."""
    return request.args.get("tab") == "history"


def page_of(record: Record, may_open: Collection[str]) -> dict[str, Any]:
    """One page of what was done to the record, newest first, with the ways to the pages around it.

    `may_open` names the pages that links may lead to.
    """
    row = record.about
    if row is None:
        raise ValueError(f"{record.title} is about no row of its own")
    about = (AuditEntry.object_type == row.__tablename__, AuditEntry.object_id == row.id)  # type: ignore[attr-defined]  # every audited table has one
    entries = select(AuditEntry).where(*about)
    before, after = _place("before"), _place("after")
    if after is not None:
        towards = entries.where(AuditEntry.id > after).order_by(AuditEntry.id).limit(_PAGE_SIZE + 1)
        found = list(db.session.scalars(towards))
        shown, has_newer, has_older = found[:_PAGE_SIZE][::-1], len(found) > _PAGE_SIZE, bool(found)
    else:
        on = entries if before is None else entries.where(AuditEntry.id < before)
        found = list(db.session.scalars(on.order_by(AuditEntry.id.desc()).limit(_PAGE_SIZE + 1)))
        shown, has_newer, has_older = found[:_PAGE_SIZE], before is not None and bool(found), len(found) > _PAGE_SIZE
    return {
        "entries": [_told(entry, record, may_open) for entry in shown],
        "newer_href": f"?tab=history&after={shown[0].id}" if has_newer else None,
        "older_href": f"?tab=history&before={shown[-1].id}" if has_older else None,
    }


def _place(name: str) -> int | None:
    value = request.args.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()) or len(value) > _MOST_DIGITS:
        raise Invalid.field(name, "This is not a place in this history.")
    return int(value)


def _told(entry: AuditEntry, record: Record, may_open: Collection[str]) -> dict[str, Any]:
    title, _, tone = record.titles.get(entry.action, (action_in_words(entry.action), "audit", None))
    people, path = _PEOPLE.get(entry.actor_kind, ("", ""))
    sees_audit = "audit" in may_open
    is_of_a_request = entry.request_id != OUTSIDE_A_REQUEST
    return {
        "title": title,
        "tone": tone,
        "at": entry.at,
        "href": f"/console/audit/{entry.id}/" if sees_audit else None,
        "actor": entry.actor_label,
        "actor_kind": _KINDS.get(entry.actor_kind, entry.actor_kind),
        "actor_href": path.format(entry.actor_id) if people in may_open and entry.actor_id is not None else None,
        "address": entry.address,
        "reason": entry.reason,
        "request_id": entry.request_id if is_of_a_request else None,
        "request_href": f"/console/audit/?request_id={entry.request_id}" if is_of_a_request and sees_audit else None,
        "is_new": entry.before is None,
        "changes": [_change(change, _currency(record.about)) for change in trail.changes(entry)],
    }


def _currency(row: Model | None) -> str:
    currency: str = getattr(row, "currency", "USD")
    return currency


def _change(change: Mapping[str, Any], currency: str) -> dict[str, Any]:
    column = change["name"]
    return {
        "label": trail.label_of(column),
        "before": _written(column, change["before"], currency),
        "after": _written(column, change["after"], currency),
    }


def _written(column: str, value: Any, currency: str) -> dict[str, Any]:
    """A kept value, and the kind that says how it is shown (see `value_of` in `templates/console/_parts.html`)."""
    if isinstance(value, bool):
        return {"value": "Yes" if value else "No", "kind": "text"}
    if isinstance(value, int) and column.endswith("_minor"):
        return {"value": Money(value, currency).json(), "kind": "money"}
    if (words := trail.code_in_words(column, value)) is not None:
        return {"value": words, "kind": "text"}
    if isinstance(value, str) and column.endswith(("_at", "_since", "_until")):
        return {"value": datetime.fromisoformat(value), "kind": "time"}
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return {"value": ", ".join(value), "kind": "text"}
    if isinstance(value, list | dict):
        return {"value": orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode(), "kind": "mono"}
    return {"value": value if value is None else str(value), "kind": "text"}
