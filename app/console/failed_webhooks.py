"""/console/failed-webhooks/: Stripe's events whose tries are used up; worked through again one by one or together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import defer

from app.audit import trail
from app.console.base import FINANCE, Column
from app.console.queue import Decision, QueueView
from app.console.record import Fact, Group, Phrase
from app.console.webhooks import event_href
from app.payments import inbox
from app.payments.models import WebhookEvent

_TITLES: dict[str, trail.Title] = {"webhook.replay": ("Worked through again", "webhook", None)}


class FailedWebhooksView(QueueView):
    """Events that wait for somebody who knows why they failed."""

    roles = FINANCE
    icon = "alert-triangle"
    model = WebhookEvent
    waiting = "FAILED"
    since = "received_at"
    title = "Failed webhooks"
    noun = ("event", "events")
    exported_as = "webhooks"
    intro = "Their tries are used up. Have them worked through again once it is clear why: nothing is done twice."
    empty_hint = "An event that fails is tried again by itself for some hours before it comes here."
    search_hint = "Words of the error"
    columns = (
        Column("type", "Event", "link"),
        Column("last_error", "Error"),
        Column("object_id", "About", "mono"),
        Column("attempts", "Failed tries", "number", "right"),
        Column("received_at", "Received", "time", "right"),
    )
    titles = _TITLES
    decisions = (
        Decision(
            *("replay", "Work through it again", "RECEIVED", inbox.replay, FINANCE),
            explain="A worker asks Stripe what is true now and does what is missing.",
            said="Being worked through again",
            key="r",
            many=inbox.replay_many,
            run="webhooks.replay",
        ),
    )

    def query(self) -> Select[Any]:
        """Events without their payloads, which are long."""
        return select(WebhookEvent).options(defer(WebhookEvent.payload))

    def search(self, query: Select[Any], words: str) -> Select[Any]:
        """By what went wrong."""
        return query.where(
            WebhookEvent.last_error.is_not(None), WebhookEvent.last_error.icontains(words, autoescape=True)
        )

    def text(self, row: WebhookEvent) -> str | None:
        """What went wrong."""
        return row.last_error

    def sub(self, row: WebhookEvent) -> Sequence[Phrase]:
        """Which event, and when."""
        return (
            Phrase(text=row.stripe_event_id, href=event_href(row.id)),
            Phrase("happened", at=row.happened_at),
            Phrase("received", at=row.received_at),
        )

    def facts(self, row: WebhookEvent) -> Sequence[Group]:
        """What it is about."""
        about = (
            Fact("About", row.object_id, "mono"),
            Fact("Intent", row.stripe_payment_intent_id, "mono"),
            Fact("Failed tries", row.attempts, "number"),
        )
        return [Group("Event", about)]
