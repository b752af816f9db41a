"""Three hundred bookings are refunded in one run while its workers are killed: every traveller gets the money once."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import text

from app.bulk import service as bulk
from app.bulk.models import Bulk
from app.db import transaction
from app.extensions import db
from app.payments.models import Refund
from tests.bulk.paid import PAID_MINOR, Paid, finance, prepared, stripe_paid
from tests.conftest import wait_for
from tests.faults.held import half_a_minute_later, kill_at
from tests.stack import Stack

ROWS = 300
PAYMENT = "SELECT FROM payments WHERE id = %s"


def runs(stack: Stack) -> tuple[str, int, int, int]:
    (row,) = stack.ask_database("SELECT status, done, skipped, failures FROM bulks")
    return row[0], row[1], row[2], row[3]


@pytest.mark.timeout(600)
def test_a_run_of_refunds_whose_workers_are_killed_midway_pays_each_booking_once(stack: Stack) -> None:
    stack.start_stripe()
    with stack.app():
        paid = Paid(ROWS)
        _, by = finance()
        with transaction():
            # So that all of it goes out at once.
            db.session.execute(text("UPDATE refund_limits SET amount_minor = 10000000 WHERE role = 'finance'"))
        bulk.start(prepared(paid.ids, by).id, by=by)
    stack.start_worker("default")
    stack.start_scheduler()
    for at in (100, 200):
        kill_at(stack, "bulk", Bulk, PAYMENT, paid.payments[paid.ids[at]])
        assert runs(stack) == ("RUNNING", at, 0, 0)
        stack.empty_redis()
    stack.start_worker("urgent")
    stack.start_worker("bulk")
    half_a_minute_later(stack, Bulk)
    wait_for(lambda: runs(stack)[0] == "DONE", "the run to end", 120)
    assert runs(stack) == ("DONE", ROWS, 0, 0)
    stack.kill("urgent")
    stack.start_worker("urgent")
    half_a_minute_later(stack, Refund)
    paid_back = "SELECT count(*) FROM refunds WHERE status = 'SUCCEEDED'"
    wait_for(lambda: stack.ask_database(paid_back) == [(ROWS,)], "Stripe to pay them", 240)
    assert stack.ask_database("SELECT count(*), count(DISTINCT payment_id) FROM refunds") == [(ROWS, ROWS)]
    with stack.app():
        assert Counter(stripe_paid(paid).values()) == {PAID_MINOR: ROWS}
