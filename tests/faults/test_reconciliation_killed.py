"""A day of six thousand movements, compared while its worker is killed and Redis is emptied: it goes on where it
stood, and finds each difference once.
"""

from __future__ import annotations

import json
from datetime import date

import pytest

from app.audit.actor import SYSTEM
from app.reports import reconciliation
from app.reports.models import Reconciliation
from tests.conftest import wait_for
from tests.faults.held import half_a_minute_later
from tests.reports.days import noon
from tests.stack import Stack

MOVEMENTS = 6_000
KILLS = 4
DAY = date(2014, 5, 17)


def progress(stack: Stack) -> tuple[str, str, str | None, int]:
    """State, step, how far it is, and how many movements were read."""
    (row,) = stack.ask_database(
        "SELECT status, step, reached, (SELECT count(*) FROM stripe_movements) FROM reconciliations"
    )
    return row  # type: ignore[return-value]


@pytest.mark.timeout(600)
def test_a_worker_killed_in_the_middle_of_a_day_loses_nothing_and_finds_nothing_twice(stack: Stack) -> None:
    stack.start_stripe()
    at = int(noon(DAY).timestamp())
    lines = [
        {
            **{name: f"{kind}_{n}" for name, kind in (("payment_intent", "pi"), ("charge", "ch"))},
            **{"balance_transaction": f"txn_{n}", "amount": 5_000, "currency": "usd", "created": at + n},
            "status": "succeeded",
        }
        for n in range(MOVEMENTS)
    ]
    stack.ask_stripe("POST", "/_local/load", data="\n".join(map(json.dumps, lines)))
    with stack.app():
        reconciliation.reconcile(DAY, by=SYSTEM)
    # So that it is in the middle of the day whenever it is killed.
    stack.switch_stripe(api=[{"fault": "slow", "method": "GET", "path": "/v1/balance_transactions", "seconds": 0.5}])
    stack.start_worker("default")  # for the sweeps
    stack.start_scheduler()
    seen = [0]
    for kill in range(KILLS):
        stack.start_worker("slow")
        before = seen[-1]
        wait_for(lambda before=before: progress(stack)[3] > before, "the worker to get on", 120)
        stack.kill("slow")
        status, step, _, count = progress(stack)
        assert (status, step) == ("RUNNING", "transactions")
        seen.append(count)
        if kill % 2:
            stack.empty_redis()
        half_a_minute_later(stack, Reconciliation)
    assert seen[-1] < MOVEMENTS
    stack.switch_stripe(api=[])
    stack.start_worker("slow")
    wait_for(lambda: progress(stack)[0] == "DONE", "the day to be compared", 240)
    ((matched, differing),) = stack.ask_database("SELECT matched, differing FROM reconciliations")
    assert (matched, differing) == (0, MOVEMENTS)
    found = stack.ask_database("SELECT count(*), count(DISTINCT source_id), min(kind), max(kind) FROM differences")
    assert found == [(MOVEMENTS, MOVEMENTS, "missing_here", "missing_here")]
    told = stack.ask_database(
        "SELECT action, count(*), count(DISTINCT (object_type, object_id)) FROM audit_entries"
        " WHERE action LIKE 'difference.%' OR action LIKE 'reconciliation.%' GROUP BY 1 ORDER BY 1"
    )
    assert told == [
        ("difference.find", MOVEMENTS, MOVEMENTS),
        ("reconciliation.begin", 1, 1),
        ("reconciliation.finish", 1, 1),
    ]
