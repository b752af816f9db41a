"""/console/webhooks/: the inbox of Stripe's events, and working through one again."""

from __future__ import annotations

import json
from typing import Any

from flask_admin import expose
from sqlalchemy import ColumnElement, Select, and_, select, union
from sqlalchemy.orm import defer
from werkzeug.wrappers import Response

from app.audit import trail
from app.audit.action_names import action_in_words
from app.audit.models import AuditEntry
from app.bookings import story
from app.console import session
from app.console.audited import object_in_words, page_of
from app.console.base import FINANCE, Column, Filter, RecordView, done, find, line
from app.console.formatting import status_label
from app.console.payments import EVENT_COLUMNS, event_line, payment_href, references_of
from app.console.periods import period
from app.console.record import Action, Blocked, Fact, Group, Phrase, Record
from app.extensions import db
from app.logs import OUTSIDE_A_REQUEST
from app.payments import inbox
from app.payments.models import Payment, WebhookEvent
from app.states import may_move

_TITLES: dict[str, trail.Title] = {"webhook.replay": ("Worked through again", "webhook", None)}
CHANGED_COLUMNS = (
    Column("what", "What", "link"),
    Column("about", "To"),
    Column("at", "When", "time", "right"),
)
_MOST_CHANGED = 100
# Whoever holds an intent's client secret can pay it.
_SECRET_KEYS = {"client_secret"}


def _says(words: str) -> ColumnElement[bool]:
    # Only what failed or is tried again has an error: few rows, which have an index of their own.
    return and_(WebhookEvent.last_error.is_not(None), WebhookEvent.last_error.icontains(words, autoescape=True))


class WebhooksView(RecordView):
    """Stripe's events, for finance."""

    roles = FINANCE
    icon = "webhook"
    model = WebhookEvent
    title = "Webhooks"
    exported_as = "webhooks"
    noun = ("event", "events")
    intro = (
        "What Stripe told us, each event once. One that failed is tried again by itself until its tries are used up."
    )
    search_hint = "Event, intent, charge or refund id"
    empty_hint = "The first one shows here when Stripe sends it."
    columns = (*EVENT_COLUMNS[:1], Column("event", "Id", "mono"), *EVENT_COLUMNS[1:])
    filters = (
        Filter("status", "State", {status: status_label(status) for status in WebhookEvent.MOVES}),
        Filter("type", "Type", kind="text", hint="refund.updated"),
        Filter("error", "Error", kind="text", hint="can't be reached", where=_says),
        *period(WebhookEvent.id, WebhookEvent.received_at),
    )

    def query(self) -> Select[Any]:
        """Events without their payloads, which are long."""
        return select(WebhookEvent).options(defer(WebhookEvent.payload))

    def search(self, query: Select[Any], words: str) -> Select[Any]:
        """By whole id: the event's, or that of what it is about, or its intent's, or that of a charge of one of our
        payments.
        """
        # Each by its own index; joined by OR, they would be looked for in every row.
        found = union(
            select(WebhookEvent.id).where(WebhookEvent.stripe_event_id == words),
            select(WebhookEvent.id).where(WebhookEvent.object_id == words),
            select(WebhookEvent.id).where(WebhookEvent.stripe_payment_intent_id == words),
            select(WebhookEvent.id)
            .join(Payment, Payment.stripe_payment_intent_id == WebhookEvent.stripe_payment_intent_id)
            .where(Payment.stripe_charge_id == words),
        )
        return query.where(WebhookEvent.id.in_(found))

    def cells(self, row: WebhookEvent) -> dict[str, Any]:
        """One event's line."""
        return {**event_line(row)["cells"], "event": row.stripe_event_id}

    def href(self, row: WebhookEvent) -> str:
        """Its page."""
        return event_href(row.id)

    @expose("/<int:event_id>/")  # type: ignore[untyped-decorator]
    def show(self, event_id: int) -> str:
        """One event."""
        event = find(WebhookEvent, event_id, "event")
        payment = _payment_of(event)
        reference = references_of([payment.booking_id])[payment.booking_id] if payment else None
        payload = json.dumps(_without_secrets(event.payload), indent=2, ensure_ascii=False, sort_keys=True)
        return self.render_record(
            Record(
                title=event.type,
                about=event,
                titles=_TITLES,
                status=event.status,
                sub=(
                    Phrase(text=event.stripe_event_id),
                    Phrase("happened", at=event.happened_at),
                    Phrase("received", at=event.received_at),
                ),
                actions=_actions(event),
                blocked=_blocked(event),
                facts=(
                    Group(
                        "Event",
                        (
                            Fact("About", event.object_id, "mono"),
                            Fact("Intent", event.stripe_payment_intent_id, "mono"),
                            Fact(
                                "Payment",
                                f"Payment of {reference}" if payment else None,
                                href=payment_href(payment.id) if payment else None,
                            ),
                            Fact("Came with request", event.request_id, "mono"),
                        ),
                    ),
                    Group(
                        "Work on it",
                        (
                            Fact("Done", event.processed_at, "time"),
                            Fact("Next try", event.due_at, "time"),
                            Fact("Failed tries", event.attempts, "number"),
                            Fact("Error", event.last_error),
                        ),
                    ),
                ),
                timeline=list(trail.moments({"webhook_events": [event.id]}, titles=_TITLES)),
            ),
            "console/webhooks/show.html",
            changed_columns=CHANGED_COLUMNS,
            changed=changed_by(event),
            payload=payload,
            payload_lines=payload.count("\n") + 1,
        )

    @expose("/<int:event_id>/replay", methods=["POST"])  # type: ignore[untyped-decorator]
    def replay(self, event_id: int) -> Response:
        """Work through it once more."""
        event = inbox.replay(event_id, by=session.actor())
        return done(f"{event.stripe_event_id} is being worked through again.", event_href(event.id))


def changed_by(event: WebhookEvent) -> list[dict[str, Any]]:
    """What was done on account of an event, however often it was worked through: it goes by the request it came
    with.
    """
    if event.request_id == OUTSIDE_A_REQUEST:
        return []
    entries = db.session.scalars(
        select(AuditEntry)
        .where(AuditEntry.request_id == event.request_id, AuditEntry.object_type != WebhookEvent.__tablename__)
        .order_by(AuditEntry.id)
        .limit(_MOST_CHANGED)
    )
    return [
        line(
            page_of(entry),
            what=story.TITLES[entry.action][0] if entry.action in story.TITLES else action_in_words(entry.action),
            about=object_in_words(entry),
            at=entry.at,
        )
        for entry in entries
    ]


def _payment_of(event: WebhookEvent) -> Payment | None:
    # Payments that were only begun have no intent either.
    if event.stripe_payment_intent_id is None:
        return None
    return db.session.scalar(select(Payment).where(Payment.stripe_payment_intent_id == event.stripe_payment_intent_id))


def event_href(event_id: int) -> str:
    """The page of one of Stripe's events."""
    return f"/console/webhooks/{event_id}/"


def _actions(event: WebhookEvent) -> list[Action]:
    if not may_move(event, "RECEIVED"):
        return []
    return [
        Action(
            name="replay",
            label="Work through it again",
            href=f"{event_href(event.id)}replay",
            explain="A worker asks Stripe what is true now and does what is missing. What was done is not done twice.",
            key="r",
        )
    ]


def _blocked(event: WebhookEvent) -> list[Blocked]:
    if may_move(event, "RECEIVED"):
        return []
    return [Blocked("Work through it again", "It is still being worked on, or will be tried again by itself.")]


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: "(left out)" if name in _SECRET_KEYS and inner else _without_secrets(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return value
