"""Many who refund at the same moment, each on a connection of their own: what is paid is what one refund would be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from flask import Flask

from app.audit.actor import STRIPE, Actor
from app.db import transaction
from app.errors import Busy, Conflict
from app.payments import holds, refunds
from app.payments.models import Payment, Refund
from tests import queued
from tests.concurrency import at_once
from tests.payments.refunding import at_stripe, books_are_whole, finance, paid, refunds_of

MANY = 150


def asking(payment: Payment, amount_minor: int, *, by: Actor, key: str) -> Callable[[], Refund]:
    """A request that tries again for as long as the machine is too busy to let it have its turn."""
    payment_id = payment.id

    def ask() -> Refund:
        while True:
            try:
                return refunds.request(payment_id, amount_minor=amount_minor, reason="stay_problem", key=key, by=by)
            except Busy:
                continue

    return ask


def outcome(payment: Payment, outcomes: list[Any]) -> tuple[set[int], int]:
    """Which refunds were made, once all of them are paid, and how many were refused."""
    made = {found.id for found in outcomes if isinstance(found, Refund)}
    refused = [found for found in outcomes if isinstance(found, Conflict)]
    assert len(refused) + sum(isinstance(found, Refund) for found in outcomes) == len(outcomes), outcomes
    assert queued.work_off() == []
    assert {refund.id for refund in refunds_of(payment)} == made
    assert len(at_stripe(payment)) == len(made)
    assert books_are_whole(payment)
    return made, len(refused)


def test_of_150_refunds_of_30_dollars_of_a_payment_of_100_three_are_made(app: Flask) -> None:
    payment, by = paid(), finance()
    outcomes = at_once(app, *(asking(payment, 3_000, by=by, key=uuid4().hex) for _ in range(MANY)))
    made, refused = outcome(payment, outcomes)
    assert (len(made), refused) == (3, MANY - 3)


def test_of_50_clicks_of_one_button_one_refund_is_made(app: Flask) -> None:
    payment, by, key = paid(), finance(), uuid4().hex
    outcomes = at_once(app, *(asking(payment, 3_000, by=by, key=key) for _ in range(50)))
    made, refused = outcome(payment, outcomes)
    assert (len(made), refused) == (1, 0)


def test_of_a_payment_on_hold_none_is_made(app: Flask) -> None:
    payment, by = paid(), finance()
    holds.place(payment.id, source=f"test:{payment.id}", reason="Disputed", until=None, by=STRIPE)
    outcomes = at_once(app, *(asking(payment, 3_000, by=by, key=uuid4().hex) for _ in range(MANY)))
    assert outcome(payment, outcomes) == (set(), MANY)


def test_two_people_who_click_at_once_make_one_refund(app: Flask) -> None:
    payment, people = paid(), [finance() for _ in range(10)]
    outcomes = at_once(app, *(asking(payment, 3_000, by=by, key=uuid4().hex) for by in people))
    made, refused = outcome(payment, outcomes)
    assert (len(made), refused) == (1, 9)
    assert all("started a refund of $30.00" in found.detail for found in outcomes if isinstance(found, Conflict))


def test_whichever_comes_first_a_hold_and_a_refund_agree(app: Flask) -> None:
    payment, by = paid(), finance()
    payment_id = payment.id

    def hold() -> None:
        with transaction():
            holds.place(payment_id, source=f"test:{payment.id}", reason="Disputed", until=None, by=STRIPE)

    asked, _ = at_once(app, asking(payment, 3_000, by=by, key=uuid4().hex), hold)
    statuses = [refund.status for refund in refunds_of(payment)]
    assert statuses == ([] if isinstance(asked, Conflict) else ["ON_HOLD"])
    assert queued.work_off() == []
    assert at_stripe(payment) == []
