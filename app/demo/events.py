"""Stripe's events of one life: as they arrived here, and as the local Stripe is to know them."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from app.demo.ids import new_stripe_id
from app.demo.journal import Journal
from app.demo.stripe_objects import event_payload

Row = dict[str, Any]


class Events:
    """Told one by one; `of_life` are those of the life that is being told."""

    def __init__(self, rng: random.Random, journal: Journal) -> None:
        self.of_life: list[Row] = []
        self._rng = rng
        self._journal = journal

    def told(self, kind: str, at: datetime, payment: Row, subject: Row) -> tuple[datetime, str]:
        """An event about `subject` arrives and is worked through; returns when, and under which request id."""
        request_id = self._journal.new_request_id(at)
        received_at = at + timedelta(seconds=self._rng.uniform(1, 2.5))
        processed_at = received_at + timedelta(seconds=self._rng.uniform(0.05, 0.6))
        event = event_payload(new_stripe_id(self._rng, "evt", at), kind, at, subject)
        self.of_life.append(event)
        self._journal.event(
            event,
            happened_at=at,
            received_at=received_at,
            processed_at=processed_at,
            intent_id=payment["stripe_payment_intent_id"],
            request_id=request_id,
        )
        return processed_at, request_id
