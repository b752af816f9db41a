"""Payouts of the local Stripe's balance, and fees that are of no payment."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from tests.dev.stripe.local_stripe import LocalStripe, eventually

AT_ONCE = "pm_card_bypassPending"


def balance(server: LocalStripe) -> tuple[int, int]:
    """What is available and what is pending, in cents."""
    found = server.client().v1.balance.retrieve()
    return found.available[0].amount, found.pending[0].amount


def ask(server: LocalStripe, path: str, form: str = "") -> Any:
    status, _, answer = server.ask("POST", f"/_local/{path}", form)
    assert status == 200, answer
    return answer


def moved(server: LocalStripe) -> list[tuple[str, int, str | None]]:
    """What moved the balance, oldest first, without charges."""
    rows = server.client().v1.balance_transactions.list({"limit": 100}).data
    return [(row.type, row.amount, row.source) for row in reversed(rows) if row.type != "charge"]  # type: ignore[misc]


def test_what_is_available_is_paid_out_and_arrives(start: Callable[..., LocalStripe]) -> None:
    server = start()
    server.switch(timing={"settle": 0})
    server.paid(10_000)
    status, _, refused = server.ask("POST", "/_local/payouts", "amount=1")
    assert (status, refused["error"]["code"]) == (400, "balance_insufficient")
    server.paid(20_000, AT_ONCE)
    there, pending = balance(server)
    payout = ask(server, "payouts")
    assert (payout["amount"], payout["status"], payout["automatic"]) == (there, "pending", False)
    assert balance(server) == (0, pending)
    eventually(lambda: server.client().v1.payouts.retrieve(payout["id"]).status == "paid")
    assert moved(server) == [("payout", -there, payout["id"])]
    assert [kind for kind in server.event_types() if kind.startswith("payout")] == ["payout.created", "payout.paid"]
    (row,) = server.client().v1.balance_transactions.list({"type": "payout", "expand": ["data.source"]}).data
    assert row.source.object == "payout"  # type: ignore[union-attr]


def test_a_payout_that_fails_after_it_was_paid_and_one_that_is_cancelled_come_back(
    start: Callable[..., LocalStripe],
) -> None:
    server = start()
    server.switch(timing={"settle": 0})
    server.paid(20_000, AT_ONCE)
    before = balance(server)
    failed, cancelled = ask(server, "payouts", "amount=5000"), ask(server, "payouts", "amount=4000")
    eventually(lambda: server.client().v1.payouts.retrieve(failed["id"]).status == "paid")
    shown = ask(server, f"payouts/{failed['id']}/settle", "outcome=failed&failure_code=account_closed")
    assert (shown["status"], shown["failure_code"]) == ("failed", "account_closed")
    assert ask(server, f"payouts/{cancelled['id']}/settle", "outcome=canceled")["failure_code"] is None
    assert balance(server) == before
    assert moved(server)[2:] == [("payout_failure", 5000, failed["id"]), ("payout_cancel", 4000, cancelled["id"])]
    status, _, _ = server.ask("POST", f"/_local/payouts/{failed['id']}/settle", "outcome=canceled")
    assert status == 400
    assert len(moved(server)) == 4


def test_with_the_switch_each_day_is_paid_out_at_its_end(start: Callable[..., LocalStripe]) -> None:
    server = start()
    server.paid(20_000, AT_ONCE)
    server.switch(payouts={"daily": True}, timing={"settle": 0})
    for _ in range(3):
        server.paid(10_000, AT_ONCE)
    with closing(sqlite3.connect(server.state, timeout=30)) as state:
        ((due, currency),) = state.execute("SELECT due, object FROM schedule WHERE action = 'pay_out_daily'")
        at = datetime.fromtimestamp(due, UTC)
        assert (at.hour, at.minute, at.second, currency) == (0, 0, 0, "usd")
        assert 0 < due - time.time() <= 24 * 3600
        server.stop()
        with state:
            state.execute("UPDATE schedule SET due = 0 WHERE action = 'pay_out_daily'")
    server.start()
    eventually(lambda: moved(server))
    (payout,) = server.client().v1.payouts.list().data
    assert (payout.automatic, balance(server)) == (True, (0, 0))


def test_a_fee_of_no_payment_has_no_source_and_can_be_of_the_past(shared: LocalStripe) -> None:
    fee = ask(shared, "fees", "amount=1500&created=1300000000&description=Dispute+countered")
    assert (fee["type"], fee["amount"], fee["net"], fee["source"]) == ("stripe_fee", -1500, -1500, None)
    assert (fee["created"], fee["reporting_category"]) == (1_300_000_000, "fee")
