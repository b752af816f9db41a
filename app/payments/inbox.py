"""The inbox of Stripe's events: each is stored once, worked through by a job, and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
from sqlalchemy import select

from app.audit import service as audit
from app.audit.actor import Actor
from app.db import after_commit, lock, transaction, utcnow, write_alone
from app.errors import Conflict, Invalid, TripdeskError
from app.extensions import db
from app.logs import request_id
from app.payments.models import WebhookEvent
from app.queue import ask_for_sweep
from app.states import move, moving

_STORE = """
INSERT INTO webhook_events (stripe_event_id, type, object_id, stripe_payment_intent_id, payload, happened_at,
                            request_id, due_at)
VALUES (%(stripe_event_id)s, %(type)s, %(object_id)s, %(stripe_payment_intent_id)s, %(payload)s, %(happened_at)s,
        %(request_id)s, now())
ON CONFLICT (stripe_event_id) DO NOTHING RETURNING id
"""


def receive(event: dict[str, Any], payload: bytes | None = None) -> bool:
    """Store a verified event and have it worked through; False when we have it already.

    `payload` is the event as it came in, which spares writing it as JSON again. Raises Invalid when it isn't shaped
    like an event.
    """
    values = {**_columns(event), "request_id": request_id.get()}
    values["payload"] = _storable(payload or orjson.dumps(event))
    is_new = bool(write_alone(_STORE, values))
    if is_new:
        ask_for_sweep(WebhookEvent)
    return is_new


def _storable(payload: bytes) -> str:
    if b"\\u0000" in payload:
        raise Invalid("This event has a NUL character in it, which can't be stored.")
    return payload.decode()


def _columns(event: dict[str, Any]) -> dict[str, Any]:
    try:
        subject = event["data"]["object"]
        object_id = subject.get("id")
        is_intent = subject.get("object") == "payment_intent"
        return {
            "stripe_event_id": str(event["id"]),
            "type": str(event["type"]),
            "happened_at": datetime.fromtimestamp(event["created"], UTC),
            "object_id": object_id,
            "stripe_payment_intent_id": object_id if is_intent else subject.get("payment_intent"),
        }
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise Invalid(
            "This body is signed, but it is not a Stripe event: id, type, created and data.object are needed."
        ) from error


def apply(event_id: int, effect: Callable[[], None] | None) -> None:
    """Commit an event's effect and the event's end in one transaction; an event that was done meanwhile is left alone.

    `effect` None means that nothing here listens to this type: it is kept as IGNORED.
    """
    with transaction():
        event = lock(WebhookEvent, event_id)
        if event.due_at is None:
            return
        if effect is not None:
            effect()
        event.finished()
        move(event, "IGNORED" if effect is None else "PROCESSED")


def note_failure(event_id: int, error: Exception) -> None:
    """Keep what went wrong with an event and when it is tried again; after the last try it is FAILED and waits for a
    person.
    """
    with transaction():
        event = lock(WebhookEvent, event_id)
        if event.due_at is None:
            return
        words = error.detail if isinstance(error, TripdeskError) else f"{type(error).__name__}: {error}"
        if not event.failed(words):
            move(event, "FAILED")


def replay(event_id: int, *, by: Actor) -> WebhookEvent:
    """Work through an event once more; what it already did is not done again. Raises Conflict while it is still being
    worked on.
    """
    by.require("finance", "admin")
    with transaction():
        event = lock(WebhookEvent, event_id)
        if event.status == "RECEIVED":
            raise Conflict("This event is still being worked on.")
        move(event, "RECEIVED")
        event.attempts = 0
        event.hand_out()
        audit.record(by, "webhook.replay", event)
    return event


def replay_many(ids: Iterable[int], *, by: Actor) -> list[int]:
    """Work through many events once more; returns those that were not being worked on anyway. Raises NotAllowed."""
    by.require("finance", "admin")
    with transaction():
        again = moving(
            WebhookEvent,
            ids,
            to="RECEIVED",
            sources=("FAILED", "PROCESSED", "IGNORED"),
            attempts=0,
            due_at=utcnow(),
            leased_until=None,
        )
        moved = again.run(audit.entries_of(by, "webhook.replay", WebhookEvent, again))
        after_commit(partial(ask_for_sweep, WebhookEvent))
    return moved


def failed_ids() -> list[int]:
    """The events whose tries are used up, oldest first."""
    return list(
        db.session.scalars(select(WebhookEvent.id).where(WebhookEvent.status == "FAILED").order_by(WebhookEvent.id))
    )
