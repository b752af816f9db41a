"""Captures and refunds while workers are killed every other second and Redis is emptied every fifth: none is lost, none
is made twice, and the books are Stripe's. Without the sweeps some are lost.

200 of them; MONEY_STORM=2000 asks for so many, and for everything to be settled within a minute.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import cycle
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests import factories
from tests.conftest import wait_for
from tests.faults.paid_at_stripe import PRICE_MINOR, Postman, prepare, waiting
from tests.stack import Stack

OPERATIONS = int(os.environ.get("MONEY_STORM", "200"))
LONG = "MONEY_STORM" in os.environ
HALF = OPERATIONS // 2
# The requests are spread over so many seconds of storm.
SECONDS = 20 + OPERATIONS // 25
KILL_EVERY, EMPTY_REDIS_EVERY = 2, 5
# Asked for when every worker is dead, just before Redis is emptied for the last time.
AT_THE_LAST_BOLT = 10
WORKERS = {"urgent-1": "urgent", "urgent-2": "urgent", "urgent-3": "urgent", "default": "default"}
ONE_MINUTE = 60
# A busy machine may take longer; what may not happen is that something never comes.
PATIENCE = ONE_MINUTE if LONG else 4 * ONE_MINUTE
# Each event and each request comes so often.
TIMES = 2
AMOUNTS = (PRICE_MINOR, PRICE_MINOR * 4 // 10)


@dataclass(frozen=True)
class Storm:
    """What was asked for, and what struck meanwhile."""

    stack: Stack
    refunded: dict[int, int]  # booking: minor units
    seconds: float
    kills: int
    emptied: int

    def is_settled(self) -> bool:
        """Whether everything is done, and Stripe has nothing left to tell."""
        ((refunds, captures),) = self.stack.ask_database(
            "SELECT (SELECT count(*) FROM refunds WHERE status = 'SUCCEEDED'),"
            " (SELECT count(*) FROM payments WHERE succeeded_at IS NOT NULL)"
        )
        told = self.stack.ask_stripe("GET", "/_local/webhooks")
        return (refunds, captures, told["waiting"], waiting(self.stack)) == (HALF, 2 * HALF, 0, 0)

    def __str__(self) -> str:
        return (
            f"{HALF:,} captures and {HALF:,} refunds in {self.seconds:.0f} s of storm: {self.kills} workers killed, "
            f"Redis emptied {self.emptied} times"
        )


def strike(stack: Stack) -> Storm:
    """Half of the bookings are paid in calm and refunded in the storm; the others are paid in it."""
    stack.start_stripe()
    stack.start_web()
    start_workers(stack, *WORKERS)
    paid = prepare(stack, 2 * HALF)
    with stack.app():
        headers = factories.bearer(factories.staff("finance"))
    with Postman(stack) as postman:
        done(postman.post(paid.events[:HALF]))
        wait_for(lambda: waiting(stack) == 0, "the first half to be captured", 5 * ONE_MINUTE)
        booked = [
            booking_id
            for (booking_id,) in stack.ask_database(
                "SELECT booking_id FROM payments WHERE succeeded_at IS NOT NULL ORDER BY booking_id"
            )
        ]
        refunded = {booking_id: AMOUNTS[number % 2] for number, booking_id in enumerate(booked)}
        captures, kept_back = paid.events[HALF:], booked[:AT_THE_LAST_BOLT]

        def refund(booking_ids: Sequence[int]) -> list[Future[None]]:
            asked = [
                (booking_id, refunded[booking_id], {**headers, "Idempotency-Key": uuid4().hex})
                for booking_id in booking_ids
            ]
            return [postman.pool.submit(ask, stack, *wish) for wish in asked for _ in range(TIMES)]

        began, second, kills, emptied = time.monotonic(), 0, 0, 0
        victims, posts = cycle(WORKERS), []
        while second < SECONDS or not all(post.done() for post in posts):
            posts += postman.post(share(captures, second), times=TIMES, patience=5 * ONE_MINUTE)
            posts += refund(share(booked[AT_THE_LAST_BOLT:], second))
            second += 1
            time.sleep(max(0.0, began + second - time.monotonic()))
            if second % KILL_EVERY == 0:
                victim = next(victims)
                stack.kill(victim)
                start_workers(stack, victim)
                kills += 1
            if second % EMPTY_REDIS_EVERY == 0:
                stack.empty_redis()
                emptied += 1
        done(posts)
        for name in WORKERS:
            stack.kill(name)
        done(refund(kept_back))
    stack.empty_redis()
    seconds = time.monotonic() - began
    start_workers(stack, *WORKERS)
    return Storm(stack, refunded, seconds, kills + len(WORKERS), emptied + 1)


def start_workers(stack: Stack, *names: str) -> None:
    for name in names:
        stack.start_worker(WORKERS[name], name)


def share(of: Sequence[Any], second: int) -> Sequence[Any]:
    """What of all this comes in one second of the storm."""
    return of[len(of) * second // SECONDS : len(of) * (second + 1) // SECONDS] if second < SECONDS else []


def done(posts: Sequence[Future[None]]) -> None:
    for post in posts:
        post.result()


def ask(stack: Stack, booking_id: int, amount_minor: int, headers: dict[str, str]) -> None:
    """Ask for a refund, as a client that tries again with its key where it got no answer."""
    wish = {"amount": amount_minor, "reason": "stay_problem"}
    url = f"{stack.url}/v1/bookings/{booking_id}/refunds"
    deadline = time.monotonic() + 5 * ONE_MINUTE
    while time.monotonic() < deadline:
        answer = requests.post(url, json=wish, headers=headers, timeout=60)
        if answer.status_code == 201:
            return
        # "Busy", or the first of the two is still at it.
        assert answer.status_code == 503 or "Retry-After" in answer.headers, answer.text
        time.sleep(0.2)
    raise AssertionError(f"the refund of booking {booking_id} was not accepted")


def at_stripe(stack: Stack) -> Iterator[dict[str, Any]]:
    """Every refund that Stripe has made."""
    page: dict[str, Any] = {"has_more": True, "data": []}
    while page["has_more"]:
        after = {"starting_after": page["data"][-1]["id"]} if page["data"] else {}
        page = stack.ask_stripe("GET", "/v1/refunds", params={"limit": 100, **after})
        yield from page["data"]


def assert_each_once(storm: Storm) -> None:
    """Every payment captured and every refund paid once, here and at Stripe; the books are whole, and Stripe's."""
    stack = storm.stack

    def counted(sql: str, *parameters: Any) -> dict[Any, int]:
        return {name: int(number) for name, number in stack.ask_database(sql, parameters)}

    assert counted("SELECT status, count(*) FROM refunds GROUP BY 1") == {"SUCCEEDED": HALF}
    # The audit trail has no constraint that would hide a second time.
    told = counted(
        "SELECT action, count(*) FROM audit_entries WHERE action = ANY(%s) GROUP BY 1",
        ["booking.confirm", "payment.captured", "refund.approve", "refund.succeeded"],
    )
    assert told == {
        "booking.confirm": 2 * HALF,
        "payment.captured": 2 * HALF,
        "refund.approve": HALF,
        "refund.succeeded": HALF,
    }
    posted = counted("SELECT kind, count(*) FROM ledger_entries GROUP BY 1")
    captured = {f"capture.{part}": 2 * HALF for part in ("provider_share", "commission", "stripe_fee")}
    assert posted == {**captured, **{f"refund.{part}": HALF for part in ("provider_share", "commission", "paid")}}
    paid_back = counted("SELECT booking_id, refunded_minor FROM payments WHERE refunded_minor > 0")
    assert paid_back == storm.refunded
    of_booking = dict(stack.ask_database("SELECT stripe_payment_intent_id, booking_id FROM payments"))
    made = Counter((of_booking[refund["payment_intent"]], refund["amount"]) for refund in at_stripe(stack))
    assert made == Counter(storm.refunded.items())
    ((balance,),) = stack.ask_database(
        "SELECT sum(CASE debit_account WHEN 'stripe_balance' THEN amount_minor ELSE -amount_minor END)"
        " FROM ledger_entries WHERE 'stripe_balance' IN (debit_account, credit_account)"
    )
    funds = stack.ask_stripe("GET", "/v1/balance")
    assert balance == sum(part["amount"] for state in ("available", "pending") for part in funds[state])
    assert counted("SELECT status, count(*) FROM webhook_events WHERE status = 'FAILED' GROUP BY 1") == {}
    ledger = stack.flask("ledger", "verify")
    assert ledger.returncode == 0, ledger.stderr


@pytest.mark.timeout(3_600 if LONG else 900)
def test_no_capture_and_no_refund_is_lost_or_made_twice(stack: Stack) -> None:
    stack.start_scheduler()
    storm = strike(stack)
    left, over = waiting(stack), time.monotonic()
    assert left >= AT_THE_LAST_BOLT
    wait_for(storm.is_settled, "everything to be settled", PATIENCE)
    print(f"{storm}; {left} left, settled {time.monotonic() - over:.0f} s later")  # noqa: T201  (shown with -s)
    assert_each_once(storm)


@pytest.mark.timeout(3_600 if LONG else 900)
def test_without_the_sweeps_some_would_be_lost(stack: Stack) -> None:
    storm = strike(stack)
    left = quiet(stack)
    print(f"without sweeps: {storm}; {left} lost")  # noqa: T201  (shown with -s)
    assert left >= AT_THE_LAST_BOLT
    assert not storm.is_settled()
    stack.start_scheduler()
    wait_for(storm.is_settled, "the sweeps to find them", 5 * ONE_MINUTE)
    assert_each_once(storm)


def quiet(stack: Stack) -> int:
    """Wait until nothing gets less any more; how much is left, which nobody ever comes back for."""
    left, since = waiting(stack), time.monotonic()
    while time.monotonic() - since < 20:
        time.sleep(1)
        if (now := waiting(stack)) != left:
            left, since = now, time.monotonic()
    return left
