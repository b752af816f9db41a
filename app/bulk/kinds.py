"""What can be done to many rows at once. A kind is never renamed or taken out: the runs of old name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, func, select

from app.audit.actor import Actor
from app.bulk import refunding
from app.bulk.export import GONE, Export
from app.bulk.exports import EXPORTS
from app.bulk.kind import BulkKind, Outcome, Preview
from app.extensions import db
from app.payments import inbox
from app.payments.models import WebhookEvent
from app.reviews import service as reviews
from app.reviews.models import Review
from app.states import in_words

# What the kinds of exports are called, before the list's name.
EXPORT = "export."
_EXPORTED_AT_ONCE = 2_000


def _preview_of_pending(ids: Select[Any], _by: Actor) -> Preview:
    states = select(Review.status, func.count()).where(Review.id.in_(ids)).group_by(Review.status)
    counts = dict(db.session.execute(states).all())
    will = counts.pop("PENDING", 0)
    return Preview(
        will, {f"{in_words(status).capitalize()} already": count for status, count in sorted(counts.items())}
    )


def _with_what_happened(ids: list[int], done: list[int]) -> Outcome:
    others = sorted(set(ids) - set(done))
    said = reviews.what_happened(others) if others else {}
    return Outcome(done, {row_id: said.get(row_id, "It is not there any more.") for row_id in others})


def _approve(ids: list[int], arguments: Mapping[str, Any], by: Actor) -> Outcome:
    return _with_what_happened(ids, reviews.approve_many(ids, by=by, **arguments))


def _reject(ids: list[int], arguments: Mapping[str, Any], by: Actor) -> Outcome:
    return _with_what_happened(ids, reviews.reject_many(ids, by=by, **arguments))


def _undo_decisions(ids: list[int], by: Actor) -> Outcome:
    return _with_what_happened(ids, reviews.undo_many(ids, by=by))


def _preview_of_replay(ids: Select[Any], _by: Actor) -> Preview:
    states = select(WebhookEvent.status, func.count()).where(WebhookEvent.id.in_(ids)).group_by(WebhookEvent.status)
    counts = dict(db.session.execute(states).all())
    working = counts.pop("RECEIVED", 0)
    return Preview(sum(counts.values()), {_WORKED_ON: working} if working else {})


def _replay(ids: list[int], _arguments: Mapping[str, Any], by: Actor) -> Outcome:
    done = inbox.replay_many(ids, by=by)
    return Outcome(done, dict.fromkeys(set(ids) - set(done), _WORKED_ON))


_WORKED_ON = "It is being worked on already"

_REVIEWS: dict[str, Any] = {
    "nouns": ("review", "reviews"),
    "roles": frozenset(reviews.MAY_MODERATE),
    "table": Review.__tablename__,
    "preview": _preview_of_pending,
    "undo_chunk": _undo_decisions,
}


def _kind_of(export: Export) -> BulkKind:
    def check(_: list[int], arguments: Mapping[str, Any], _by: Actor) -> Outcome:
        export.chosen(arguments)
        return Outcome([])

    def part(ids: list[int], arguments: Mapping[str, Any], by: Actor) -> tuple[bytes, Outcome]:
        content, there = export.part(ids, arguments, by)
        return content, Outcome(there, dict.fromkeys(set(ids) - set(there), GONE))

    def preview(ids: Select[Any], _by: Actor) -> Preview:
        return Preview(db.session.scalar(select(func.count()).select_from(ids.subquery())) or 0)

    return BulkKind(
        f"{EXPORT}{export.name}",
        "export",
        "exported",
        nouns=export.nouns,
        roles=export.roles,
        table=export.model.__tablename__,
        preview=preview,
        apply_chunk=check,
        part_of=part,
        chunk_rows=_EXPORTED_AT_ONCE,
    )


KINDS = {
    kind.name: kind
    for kind in (
        BulkKind("reviews.approve", "approve", "approved", apply_chunk=_approve, **_REVIEWS),
        BulkKind("reviews.reject", "reject", "rejected", apply_chunk=_reject, **_REVIEWS),
        BulkKind(
            "webhooks.replay",
            "work through",
            "worked through again",
            nouns=("event", "events"),
            roles=frozenset({"finance", "admin"}),
            table=WebhookEvent.__tablename__,
            preview=_preview_of_replay,
            apply_chunk=_replay,
        ),
        *refunding.KINDS,
        *map(_kind_of, EXPORTS.values()),
    )
}
