"""Many windows cancel a booking while finance refunds it, over HTTP beside workers: all the money goes back, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
import requests

from app.accounts.models import User
from app.bookings.models import Booking
from app.db import lock, transaction
from app.extensions import db
from app.payments.models import Payment
from tests import factories
from tests.conftest import wait_for
from tests.faults.conftest import Services, new_stack
from tests.payments.refunding import at_stripe, books_are_whole, paid, refunds_of
from tests.stack import Stack

WINDOWS, CLERKS = 30, 10
FLEXIBLE = {
    "name": "flexible",
    "tiers": [{"daysBefore": 1, "refundPercent": 100}, {"daysBefore": 0, "refundPercent": 0}],
}


@pytest.fixture(scope="module")
def stack(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything a running product has, with some more web workers."""
    with new_stack(services, tmp_path_factory.mktemp("stack")) as stack:
        stack.start_all()
        yield stack


def test_one_cancellation_and_all_of_the_money_whoever_else_refunds_it(stack: Stack) -> None:
    with stack.app():
        payment = paid()
        payment_id, booking_id, amount = payment.id, payment.booking_id, payment.amount_minor
        with transaction():
            lock(Booking, booking_id).policy = FLEXIBLE
        guest = db.session.get_one(User, db.session.get_one(Booking, booking_id).traveller_id)
        asked: list[tuple[str, dict[str, Any], dict[str, str]]] = [
            ("cancel", {}, factories.bearer(guest)) for _ in range(WINDOWS)
        ]
        clerk = factories.bearer(factories.staff("finance"))
        asked += [("refunds", {"amount": 1_000, "reason": "stay_problem"}, clerk) for _ in range(CLERKS)]
    together = Barrier(len(asked))

    def ask(path: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[str, int]:
        together.wait()
        url, key = f"{stack.url}/v1/bookings/{booking_id}/{path}", {"Idempotency-Key": uuid4().hex}
        while True:
            answer = requests.post(url, json=body, headers={**headers, **key}, timeout=120)
            if answer.status_code != 503 and "Retry-After" not in answer.headers:
                return path, answer.status_code

    with ThreadPoolExecutor(len(asked)) as people:
        statuses = Counter(people.map(lambda wish: ask(*wish), asked))
    assert (statuses["cancel", 200], statuses["cancel", 409]) == (1, WINDOWS - 1)
    assert statuses["refunds", 201] + statuses["refunds", 409] == CLERKS

    with stack.app():
        payment = db.session.get_one(Payment, payment_id)

        def all_paid() -> bool:
            return all(refund.status == "SUCCEEDED" for refund in refunds_of(payment))

        wait_for(all_paid, "the refunds to be paid", 120)
        made = refunds_of(payment)
        assert sum(refund.amount_minor for refund in made) == amount
        assert len(made) == len(at_stripe(payment))
        assert factories.reread(payment).status == "REFUNDED"
        assert books_are_whole(payment)
        assert factories.reread(db.session.get_one(Booking, booking_id)).status == "CANCELLED_BY_GUEST"
