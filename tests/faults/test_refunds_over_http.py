"""Many refund the same payment over HTTP at once, beside workers: what is paid is what can be, and once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
import requests

from app.audit.actor import STRIPE
from app.payments import holds
from tests import factories
from tests.conftest import wait_for
from tests.faults.conftest import Services, new_stack
from tests.payments.refunding import at_stripe, books_are_whole, paid, refunds_of
from tests.stack import Stack

MANY = 150


@pytest.fixture(scope="module")
def stack(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything a running product has, with some more web workers."""
    with new_stack(services, tmp_path_factory.mktemp("stack")) as stack:
        stack.start_all()
        yield stack


def everybody_asks(
    stack: Stack, count: int, key: Callable[[], str], *, held: bool = False
) -> tuple[Counter[int], list[tuple[str, int]]]:
    """How many of these requests for $30.00 of $100.00 got which status, and the refunds there are in the end."""
    with stack.app():
        payment = paid()
        headers = factories.bearer(factories.staff("finance"))
        if held:
            holds.place(payment.id, source=f"test:{payment.id}", reason="Disputed", until=None, by=STRIPE)
    together = Barrier(count)
    url, wish = f"{stack.url}/v1/bookings/{payment.booking_id}/refunds", {"amount": 3_000, "reason": "stay_problem"}

    def ask(sent_key: str) -> int:
        together.wait()
        while True:
            answer = requests.post(url, json=wish, headers={**headers, "Idempotency-Key": sent_key}, timeout=120)
            # "Busy", or the first with this key is still running: what any client would do.
            if answer.status_code != 503 and "Retry-After" not in answer.headers:
                return answer.status_code

    with ThreadPoolExecutor(count) as people:
        statuses = Counter(people.map(ask, [key() for _ in range(count)]))

    def settled() -> list[tuple[str, int]] | None:
        found = [(refund.status, refund.amount_minor) for refund in refunds_of(payment)]
        return found if all(status == "SUCCEEDED" for status, _ in found) else None

    with stack.app():
        wait_for(lambda: settled() is not None, "the refunds to be paid", 120)
        assert len(at_stripe(payment)) == len(refunds_of(payment))
        assert books_are_whole(payment)
        return statuses, settled() or []


def one_each() -> str:
    return uuid4().hex


def test_of_150_refunds_of_30_dollars_of_100_three_are_made(stack: Stack) -> None:
    statuses, made = everybody_asks(stack, MANY, one_each)
    assert statuses == {201: 3, 409: MANY - 3}
    assert made == [("SUCCEEDED", 3_000)] * 3


def test_of_50_clicks_one_refund_is_made_and_all_get_its_answer(stack: Stack) -> None:
    key = uuid4().hex
    statuses, made = everybody_asks(stack, 50, lambda: key)
    assert statuses == {201: 50}
    assert made == [("SUCCEEDED", 3_000)]


def test_while_a_dispute_holds_the_payment_none_is_made(stack: Stack) -> None:
    found: tuple[Any, Any] = everybody_asks(stack, MANY, one_each, held=True)
    assert found == ({409: MANY}, [])
