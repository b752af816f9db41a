"""Refunds and disputes that already happened, loaded into the local Stripe."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import stripe

from tests.dev.stripe.local_stripe import LocalStripe, eventually

OPENED = 1_700_200_000


def payment(number: int, **more: Any) -> dict[str, Any]:
    """A line of a load: a paid payment of 100.00 dollars."""
    return {
        "payment_intent": f"pi_{number}",
        "charge": f"ch_{number}",
        "balance_transaction": f"txn_{number}",
        "amount": 10_000,
        "currency": "usd",
        "created": 1_700_000_000 + number,
        "status": "succeeded",
        **more,
    }


def dispute(number: int, status: str, **more: Any) -> dict[str, Any]:
    """A dispute in a line, of the whole payment."""
    return {
        "id": f"du_{number}",
        "amount": 10_000,
        "reason": "product_not_received",
        "status": status,
        "created": OPENED,
        "due_by": OPENED + 700_000,
        "balance_transaction": f"txn_d{number}",
        **more,
    }


def loaded(server: LocalStripe, lines: list[dict[str, Any]]) -> tuple[int, Any]:
    status, _, answer = server.ask("POST", "/_local/load", "\n".join(map(json.dumps, lines)).encode())
    return status, answer


def test_loaded_refunds_and_disputes_are_as_if_they_had_happened(start: Callable[..., LocalStripe]) -> None:
    server = start()
    refund = {"amount": 4000, "created": OPENED}
    failed = {"status": "failed", "failure_balance_transaction": "txn_f1", "failed_at": OPENED + 60}
    inquiry = dispute(3, "warning_needs_response", reason="general")
    del inquiry["balance_transaction"]
    lines = [
        payment(
            1,
            refunds=[
                {**refund, "id": "re_1", "balance_transaction": "txn_r1", **failed, "failure_reason": "declined"},
                {**refund, "id": "re_2", "balance_transaction": "txn_r2", "amount": 9000},
                {**refund, "id": "re_3", "balance_transaction": "txn_r3", "amount": 1000, "status": "pending"},
            ],
        ),
        payment(
            2,
            disputes=[
                dispute(
                    2, "won", reversal_balance_transaction="txn_w2", closed_at=OPENED + 900_000,
                    evidence={"customer_name": "Ada"}, submission_count=1, metadata={"case": "2"},
                )
            ],
            events=[{"id": "evt_2", "type": "charge.dispute.closed", "created": OPENED + 900_000}],
        ),
        payment(3, disputes=[inquiry]),
        payment(4, disputes=[dispute(4, "lost", fee=2000)]),
        payment(5, disputes=[dispute(5, "needs_response", due_by=int(time.time()) + 3600)]),
        payment(6, disputes=[dispute(6, "needs_response")]),
    ]  # fmt: skip
    assert loaded(server, lines) == (200, {"object": "load", "loaded": 6, "already_there": 0})
    assert loaded(server, lines) == (200, {"object": "load", "loaded": 0, "already_there": 6})

    api = server.client().v1
    refunds: Any = {one.id: one for one in api.refunds.list({"payment_intent": "pi_1"}).data}
    assert {name: one.status for name, one in refunds.items()} == {
        "re_1": "failed", "re_2": "succeeded", "re_3": "pending",
    }  # fmt: skip
    assert (refunds["re_1"].failure_reason, refunds["re_1"].failure_balance_transaction) == ("declined", "txn_f1")
    assert api.charges.retrieve("ch_1").amount_refunded == 10_000
    won = api.disputes.retrieve("du_2")
    assert (won.status, won.is_charge_refundable, won.network_reason_code) == ("won", True, "13.1")
    assert (won.evidence["customer_name"], won.metadata["case"]) == ("Ada", "2")
    assert [(one.amount, one.fee) for one in won.balance_transactions] == [(-10_000, 1500), (10_000, 0)]
    assert api.events.retrieve("evt_2").data.object["id"] == "du_2"
    asked: Any = api.disputes.retrieve("du_3")
    assert (asked.payment_method_details.card.case_type, asked.balance_transactions) == ("inquiry", [])
    with pytest.raises(stripe.InvalidRequestError):
        api.refunds.create({"payment_intent": "pi_4"})
    # Nobody answered it in time; the one that is due in an hour can still be answered.
    eventually(lambda: api.disputes.retrieve("du_6").status == "lost")
    assert api.disputes.update("du_5", {"evidence": {"customer_name": "Ada"}}).status == "under_review"
    told = api.balance.retrieve()
    total = told.available[0].amount + told.pending[0].amount
    assert total == sum(one.net for one in api.balance_transactions.list({"limit": 100}).data)
    assert total == 6 * (10_000 - 320) - 10_000 - 1500 - 12_000 - 2 * 11_500


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"refunds": [{"id": "re_9"}]}, "refund"),
        ({"refunds": [{"id": "re_9", "balance_transaction": "t", "amount": 1, "created": 1, "status": "x"}]}, "status"),
        (
            {"refunds": [{"id": "re_9", "balance_transaction": "t", "amount": 1, "created": 1, "status": "failed"}]},
            "failed_at",
        ),
        ({"disputes": [{"id": "du_9"}]}, "due_by"),
        ({"disputes": [dispute(9, "angry")]}, "status"),
        ({"disputes": [dispute(9, "lost", amount=10_001)]}, "amount"),
        ({"disputes": [dispute(9, "won")]}, "closed_at"),
        ({"disputes": [dispute(9, "lost", evidence={"weather": "rain"})]}, "evidence"),
        ({"disputes": [dispute(9, "lost")], "status": "canceled"}, "disputes"),
    ],
)
def test_what_could_not_have_happened_is_not_loaded(shared: LocalStripe, more: dict[str, Any], named: str) -> None:
    status, answer = loaded(shared, [payment(9, **more)])
    assert status == 400
    assert answer["error"]["message"].startswith("Line 1:")
    assert named in answer["error"]["message"]
    with pytest.raises(stripe.InvalidRequestError):
        shared.client().v1.charges.retrieve("ch_9")
