"""Events: what happened, with each object as it was at that moment, newest first and sent as webhooks."""

import random
import sqlite3
import time
from typing import Any

import orjson

from dev.stripe.errors import invalid_parameter, no_such
from dev.stripe.listing import page
from dev.stripe.parameters import LIST, Spec, boolean, identifier, texts
from dev.stripe.work import Json, Work, new_id

# The version of the stripe library that Tripdesk pins; events are drawn in it whatever version a request asks for.
API_VERSION = "2026-10-28.endive"

LIST_SPEC: Spec = LIST | {"type": identifier, "types": texts, "delivery_success": boolean}


def emit(work: Work, kind: str, snapshot: Json, previous: Json | None = None) -> None:
    """Records an event and, where webhooks are sent, its deliveries. `previous` holds changed fields' old values."""
    data: Json = {"object": snapshot} | ({"previous_attributes": previous} if previous else {})
    event = new_id("evt")
    seq = work.insert(
        "events",
        id=event,
        created=work.now,
        type=kind,
        data=orjson.dumps(data),
        request_id=work.request_id,
        idempotency_key=work.idempotency_key,
        delivered=0 if work.sends_webhooks else None,
    )
    if work.sends_webhooks:
        _plan_deliveries(work, seq, event)


def _plan_deliveries(work: Work, seq: int, event: str) -> None:
    """Plans the deliveries of a new event as the switches say, in the event's own transaction."""
    switches = work.switches.webhooks
    chance = random.Random(f"{work.switches.seed}:{seq}")  # nosec B311
    if chance.random() < switches.drop:
        return
    for _ in range(1 + switches.duplicate):
        deliver_at(work, event, time.time() + switches.delay + chance.random() * switches.shuffle)


def deliver_at(work: Work, event: str, due: float) -> None:
    """Plans one delivery for a time in unix seconds."""
    work.insert("deliveries", event=event, first_due=due, due=due)


def shape(_db: sqlite3.Connection, row: sqlite3.Row) -> Json:
    """An event as Stripe shows it, and as a webhook carries it."""
    return {
        "id": row["id"],
        "object": "event",
        "api_version": API_VERSION,
        "created": row["created"],
        "data": orjson.loads(row["data"]),
        "livemode": False,
        "pending_webhooks": 1 if row["delivered"] == 0 else 0,
        "request": {"id": row["request_id"], "idempotency_key": row["idempotency_key"]},
        "type": row["type"],
    }


def find(db: sqlite3.Connection, event: str) -> sqlite3.Row:
    """The event's row; raises Stripe's 404."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM events WHERE id = ?", (event,)).fetchone()
    if row is None:
        raise no_such("event", event)
    return row


def retrieve(work: Work, _params: Json, event: str) -> Json:
    """`GET /v1/events/{id}`"""
    return shape(work.db, find(work.db, event))


def listed(work: Work, params: Json) -> Json:
    """`GET /v1/events`: by `type` (`charge.*` is a group), `types`, `created` and `delivery_success`."""
    where: dict[str, list[Any]] = {}
    if "type" in params and "types" in params:
        raise invalid_parameter("You may only specify one of these parameters: type, types.", "type")
    if kind := params.get("type"):
        if kind.endswith(".*"):  # a range rather than a pattern, so that the index serves
            where["type >= ? AND type < ?"] = [kind[:-1], kind[:-2] + "/"]
        elif kind != "*":
            where["type = ?"] = [kind]
    if types := params.get("types"):
        where[f"type IN ({', '.join('?' * len(types))})"] = types
    if (success := params.get("delivery_success")) is not None:
        where["delivered = 1" if success else "delivered = 0"] = []
    return page(work.db, params, "events", shape, "/v1/events", where)


def resend(work: Work, _params: Json, event: str) -> Json:
    """`POST /_local/events/{id}/resend`: one more delivery at once, past every switch but `paused`."""
    row = find(work.db, event)
    deliver_at(work, event, work.now)
    return shape(work.db, row)
