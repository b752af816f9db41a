"""/console/audit/: who did what, before and after, and how much of it is sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from flask_admin import expose
from sqlalchemy import ColumnElement, and_, false, func, or_, select

from app.accounts.models import User
from app.audit import trail
from app.audit.action_names import action_in_words
from app.audit.actor import STRIPE, SYSTEM
from app.audit.models import AuditEntry, AuditSeal
from app.console import finding
from app.console.audited import THINGS, object_in_words, page_of
from app.console.base import ADMIN, Column, Filter, RecordView, find
from app.console.ordering import Sort
from app.console.periods import period
from app.console.record import Fact, Group, Phrase, Record
from app.console.words import words_in
from app.errors import Invalid
from app.extensions import db
from app.logs import OUTSIDE_A_REQUEST

_KINDS = {"staff": "Staff", "traveller": "Travellers", "stripe": "Stripe", "system": "Tripdesk itself"}
_MOST_PEOPLE = 20


@dataclass(frozen=True)
class _ObjectKind(Filter):
    """What entries are about, by table."""

    def parse(self, value: str) -> str:
        """Any table."""
        return value


def _by_person(words: str) -> ColumnElement[bool]:
    if "@" in words:
        return AuditEntry.actor_id == select(User.id).where(User.email == words.lower()).scalar_subquery()
    if words in (SYSTEM.label, STRIPE.label):
        return AuditEntry.actor_label == words
    named = select(User.id).where(words_in(words, User.name)).limit(_MOST_PEOPLE + 1)
    people = db.session.scalars(named).all()
    if len(people) > _MOST_PEOPLE:
        raise Invalid.field(
            "actor", f"More than {_MOST_PEOPLE} people have {words} in their name: give their e-mail address."
        )
    return or_(AuditEntry.actor_id.in_(people), AuditEntry.actor_label == words)


def _by_object(typed: str) -> ColumnElement[bool]:
    found = finding.known_as(typed)
    return or_(
        false(), *(and_(AuditEntry.object_type == table, AuditEntry.object_id == row_id) for table, row_id in found)
    )


def _by_action(words: str) -> ColumnElement[bool]:
    # "booking." finds all that is done to bookings.
    return AuditEntry.action.startswith(words, autoescape=True) if words.endswith(".") else AuditEntry.action == words


class AuditView(RecordView):
    """The audit trail, for admins."""

    roles = ADMIN
    icon = "shield-check"
    model = AuditEntry
    title = "Audit"
    exported_as = "audit"
    noun = ("entry", "entries")
    intro = "Everything that was done, by whom, before and after. Entries are never changed, and sealed within seconds."
    empty_hint = "The first one is written with the first change."
    template = "console/audit/list.html"
    columns = (
        Column("action", "Action", "link"),
        Column("code", "Code", "mono", is_usual=False),
        Column("object", "To"),
        Column("actor", "By"),
        Column("reason", "Reason"),
        Column("request_id", "Request", "mono"),
        Column("at", "When", "time", "right", sort=Sort(AuditEntry.at, follows_id=True)),
    )
    filters = (
        Filter("actor_kind", "Who", _KINDS),
        Filter("actor", "By", kind="text", where=_by_person, hint="Name or e-mail"),
        Filter("action", "Action", kind="text", where=_by_action, hint="booking.cancel"),
        _ObjectKind("object_type", "About", {table: many for table, (_, many) in THINGS.items()}),
        Filter("object", "Which", kind="text", where=_by_object, hint="TD-…, e-mail, pi_…"),
        Filter("object_id", "Id", kind="number"),
        Filter("request_id", "Request", kind="text", hint="req_…"),
        *period(AuditEntry.id, AuditEntry.at),
    )

    def cells(self, row: AuditEntry) -> dict[str, Any]:
        """One entry's line."""
        return {
            "action": action_in_words(row.action),
            "code": row.action,
            "object": object_in_words(row),
            "actor": row.actor_label,
            "reason": row.reason,
            "request_id": _request(row),
            "at": row.at,
        }

    def href(self, row: AuditEntry) -> str:
        """Its page."""
        return f"/console/audit/{row.id}/"

    def context(self) -> dict[str, Any]:
        """How far the trail is sealed."""
        head = db.session.scalar(select(AuditSeal).order_by(AuditSeal.position.desc()).limit(1))
        newest = db.session.scalar(select(func.max(AuditEntry.id))) or 0
        # The last of the chain has the newest entry or nearly so; what came after it still waits.
        waiting = select(AuditEntry.id).where(AuditEntry.id > (head.entry_id if head else 0)).limit(self.count_cap + 1)
        count = db.session.scalar(select(func.count()).select_from(waiting.subquery())) if newest else 0
        return {
            "seal": {"position": head.position, "at": head.sealed_at, "digest": head.digest.hex()} if head else None,
            "waiting": count or 0,
            "cap": self.count_cap,
        }

    @expose("/<int:entry_id>/")  # type: ignore[untyped-decorator]
    def show(self, entry_id: int) -> str:
        """One entry."""
        entry = find(AuditEntry, entry_id, "audit entry")
        seal = db.session.scalar(select(AuditSeal).where(AuditSeal.entry_id == entry.id))
        together = db.session.scalars(
            select(AuditEntry)
            .where(AuditEntry.request_id == entry.request_id, AuditEntry.transaction_id == entry.transaction_id)
            .order_by(AuditEntry.id)
            .limit(self.page_size)
        ).all()
        return self.render_record(
            Record(
                title=action_in_words(entry.action),
                lead=entry.reason,
                sub=(
                    Phrase("by", entry.actor_label),
                    Phrase("to", object_in_words(entry), href=page_of(entry)),
                    Phrase(at=entry.at),
                ),
                facts=(_who(entry), _where(entry), _sealed(seal)),
            ),
            "console/audit/show.html",
            changes=_diff(entry),
            is_new=entry.before is None,
            columns=self.columns,
            together=self._together(together),
        )

    def _together(self, entries: Sequence[AuditEntry]) -> list[dict[str, Any]]:
        return self.lines(entries) if len(entries) > 1 else []


def _who(entry: AuditEntry) -> Group:
    return Group(
        "Who",
        (
            Fact("Name", entry.actor_label),
            Fact("Kind", _KINDS.get(entry.actor_kind, entry.actor_kind)),
            Fact("Id", entry.actor_id, "mono"),
            Fact("Address", entry.address, "mono"),
        ),
    )


def _request(entry: AuditEntry) -> str | None:
    return entry.request_id if entry.request_id != OUTSIDE_A_REQUEST else None


def _where(entry: AuditEntry) -> Group:
    history = f"../?object_type={entry.object_type}&object_id={entry.object_id}"
    return Group(
        "What",
        (
            Fact("Action", entry.action, "mono", href=f"../?action={entry.action}"),
            Fact("Table", entry.object_type, "mono"),
            Fact("Row", entry.object_id, "mono", href=page_of(entry)),
            Fact("Its history", "All entries about it", href=history),
            Fact("Request", _request(entry), "mono", href=f"../?request_id={entry.request_id}"),
            Fact("Transaction", entry.transaction_id, "mono"),
        ),
    )


def _sealed(seal: AuditSeal | None) -> Group:
    if seal is None:
        return Group("Seal", (Fact("State", "Not sealed yet"),))
    return Group(
        "Seal",
        (
            Fact("Place in the chain", seal.position, "number"),
            Fact("Sealed", seal.sealed_at, "time"),
            Fact("Digest", seal.digest.hex(), "mono"),
        ),
    )


def _diff(entry: AuditEntry) -> list[dict[str, Any]]:
    return [
        {
            "name": change["name"],
            "before": _written(change["before"]),
            "after": _written(change["after"]),
            "is_same": entry.before is not None and change["before"] == change["after"],
        }
        for change in trail.changes(entry)
    ]


def _written(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
