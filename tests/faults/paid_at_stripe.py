"""Many bookings that are held here and paid at Stripe already, made quickly: only their events have not arrived yet."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import local
from typing import Any

import requests

from tests import factories
from tests.stack import Stack

PRICE_MINOR = 10_000
PACKAGES = 20
_SENDERS = 4

_BOOKINGS = """
    INSERT INTO bookings (reference, status, traveller_id, package_id, provider_id, package_name, starts_on, ends_on,
                          time_zone, units, guests, nights, total_minor, currency, policy, expires_at)
    SELECT 'TD-' || lpad(n::text, 5, '0') || '-STORM', 'PENDING_PAYMENT', %(traveller)s, p.id, p.provider_id, p.name,
           %(day)s::date, %(day)s::date + 1, p.time_zone, 1, 1,
           jsonb_build_array(jsonb_build_object('date', %(day)s::date, 'price', p.price_minor)), p.price_minor, 'USD',
           '{"name": "flexible", "tiers": [{"daysBefore": 1, "refundPercent": 100}]}', now() + interval '1 hour'
    FROM generate_series(1, %(count)s) n
    JOIN LATERAL (SELECT * FROM packages ORDER BY id LIMIT 1 OFFSET n %% %(packages)s) p ON true
"""
_HELD = """
    UPDATE availability a SET held = b.units
    FROM (SELECT package_id, sum(units) AS units FROM bookings GROUP BY package_id) b
    WHERE b.package_id = a.package_id AND a.day = %(day)s
"""
_PAYMENTS = """
    INSERT INTO payments (booking_id, provider_id, status, amount_minor, commission_minor, currency, idempotency_key,
                          stripe_payment_intent_id)
    SELECT id, provider_id, 'REQUIRES_PAYMENT', total_minor, total_minor * 15 / 100, currency, 'pay_storm_' || id,
           'pi_storm' || id
    FROM bookings
    RETURNING id, stripe_payment_intent_id
"""


@dataclass(frozen=True)
class Paid:
    """What was made: the intents, each paid, and the event that tells of each."""

    intents: Sequence[str]
    events: Sequence[dict[str, Any]]


def prepare(stack: Stack, count: int) -> Paid:
    """Make `count` held bookings over a few packages, and pay them all at the local Stripe, which tells nobody."""
    day = factories.tomorrow()
    with stack.app():
        for _ in range(PACKAGES):
            factories.package(units=count, days=1, price_minor=PRICE_MINOR)
        values = {"traveller": factories.traveller().id, "day": day, "count": count, "packages": PACKAGES}
    stack.ask_database(_BOOKINGS, values)
    stack.ask_database(_HELD, values)
    payments = stack.ask_database(_PAYMENTS)
    now = int(time.time())
    lines = [
        json.dumps(
            {
                "payment_intent": intent,
                "charge": intent.replace("pi_", "ch_"),
                "balance_transaction": intent.replace("pi_", "txn_"),
                "amount": PRICE_MINOR,
                "currency": "usd",
                "created": now,
                "status": "succeeded",
                "metadata": {"payment_id": str(payment_id)},
            }
        )
        for payment_id, intent in payments
    ]
    loaded = stack.ask_stripe("POST", "/_local/load", data="\n".join(lines))
    assert loaded["loaded"] == count, loaded
    intents = [intent for _, intent in payments]
    subjects = [{"id": intent, "object": "payment_intent"} for intent in intents]
    return Paid(intents, [factories.event("payment_intent.succeeded", subject) for subject in subjects])


class Postman:
    """Posts events to the webhooks' door from a few threads; each until it is accepted, as Stripe does."""

    def __init__(self, stack: Stack) -> None:
        self.url = f"{stack.url}/v1/webhooks/stripe"
        self.pool = ThreadPoolExecutor(_SENDERS)
        self.answers: list[int] = []
        self._own = local()

    def __enter__(self) -> Postman:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def post(self, events: Sequence[dict[str, Any]], *, times: int = 1, patience: float = 60) -> list[Future[None]]:
        """Post each so many times, shuffled; a future for each post, done when it was accepted."""
        deliveries = list(events) * times
        random.Random(7).shuffle(deliveries)
        deliver: Callable[[dict[str, Any]], None] = lambda event: self._deliver(event, patience)  # noqa: E731
        return [self.pool.submit(deliver, event) for event in deliveries]

    def _deliver(self, event: dict[str, Any], patience: float) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            letter = factories.signed(event)
            headers = {**letter["headers"], "Content-Type": letter["content_type"]}
            try:
                status = self._session().post(self.url, data=letter["data"], headers=headers, timeout=30).status_code
            except requests.ConnectionError:
                status = 0
            self.answers.append(status)
            if status == 200:
                return
            time.sleep(0.2)
        raise AssertionError(f"{event['id']} was not accepted within {patience} s; the last answer was {status}")

    def _session(self) -> requests.Session:
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
        found: requests.Session = self._own.session
        return found


def waiting(stack: Stack) -> int:
    """How many events, refunds and payments wait for something to be done."""
    ((count,),) = stack.ask_database(
        "SELECT (SELECT count(*) FROM webhook_events WHERE due_at IS NOT NULL)"
        " + (SELECT count(*) FROM refunds WHERE due_at IS NOT NULL)"
        " + (SELECT count(*) FROM payments WHERE due_at IS NOT NULL)"
    )
    return int(count)


def assert_each_applied_once(stack: Stack, count: int) -> None:
    """Every booking confirmed once, every payment captured and posted once, no unit lost, the books whole."""

    def counted(sql: str) -> dict[str, int]:
        return {str(name): int(number) for name, number in stack.ask_database(sql)}

    assert counted("SELECT status, count(*) FROM webhook_events GROUP BY 1") == {"PROCESSED": count}
    ours = "SELECT {} FROM bookings WHERE reference LIKE '%-STORM'"
    assert counted(ours.format("status, count(*)") + " GROUP BY 1") == {"CONFIRMED": count}
    assert counted("SELECT status, count(*) FROM payments GROUP BY 1") == {"SUCCEEDED": count}
    # The audit trail has no constraint that would hide a second time.
    told = counted(
        "SELECT action, count(*) FROM audit_entries WHERE action IN ('booking.confirm', 'payment.captured') GROUP BY 1"
    )
    assert told == {"booking.confirm": count, "payment.captured": count}
    posted = counted("SELECT kind, count(*) FROM ledger_entries GROUP BY 1")
    assert posted == {"capture.commission": count, "capture.provider_share": count, "capture.stripe_fee": count}
    stock = f"SELECT sum(held), sum(booked) FROM availability WHERE package_id IN ({ours.format('package_id')})"
    assert stack.ask_database(stock) == [(0, count)]
    ledger = stack.flask("ledger", "verify")
    assert ledger.returncode == 0, ledger.stderr
