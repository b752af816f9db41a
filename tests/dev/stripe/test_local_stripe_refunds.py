"""Refunds at the local Stripe: never more than was paid, whoever asks at the same time."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest
import stripe

from tests.dev.stripe.local_stripe import LocalStripe, eventually


def test_parts_of_a_charge_are_refunded_until_nothing_is_left(start: Callable[..., LocalStripe]) -> None:
    server = start()
    intent = server.paid(10_000)
    api = server.client().v1
    part = api.refunds.create(
        {"payment_intent": intent.id, "amount": 4000, "reason": "requested_by_customer", "metadata": {"why": "rain"}}
    )
    assert (part.status, part.amount, part.charge, part.reason) == (
        "succeeded", 4000, intent.latest_charge, "requested_by_customer",
    )  # fmt: skip
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.refunds.create({"charge": intent.latest_charge, "amount": 6001})
    assert refused.value.user_message == ("Refund amount ($60.01) is greater than unrefunded amount on charge ($60.00)")
    charge = api.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (4000, False)
    rest = api.refunds.create({"charge": intent.latest_charge})
    assert rest.amount == 6000
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.refunds.create({"charge": intent.latest_charge, "amount": 1})
    assert refused.value.code == "charge_already_refunded"
    charge = api.charges.retrieve(intent.latest_charge, {"expand": ["refunds"]})
    assert (charge.amount_refunded, charge.refunded) == (10_000, True)
    assert [one.id for one in charge.refunds.data] == [rest.id, part.id]  # type: ignore[union-attr]
    money: Any = api.refunds.retrieve(rest.id, {"expand": ["balance_transaction"]}).balance_transaction
    assert (money.type, money.amount, money.fee, money.net, money.source) == ("refund", -6000, 0, -6000, rest.id)
    assert api.balance_transactions.list({"type": "refund"}).data[0].id == money.id
    assert api.balance.retrieve().available[0].amount + api.balance.retrieve().pending[0].amount == -320
    assert server.event_types()[3:] == ["charge.refunded", "refund.created"] * 2


def test_twenty_at_once_never_refund_more_than_the_charge(shared: LocalStripe) -> None:
    intent = shared.paid(10_000)

    together = threading.Barrier(20)

    def refund(_: int) -> str:
        api = shared.client().v1
        api.charges.retrieve(intent.latest_charge)  # so that each has its connection when all begin
        together.wait()
        try:
            api.refunds.create({"payment_intent": intent.id, "amount": 3000})
        except stripe.InvalidRequestError as error:
            return str(error.user_message)
        return "refunded"

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(refund, range(20)))
    assert outcomes.count("refunded") == 3
    assert set(outcomes) == {
        "refunded",
        "Refund amount ($30.00) is greater than unrefunded amount on charge ($10.00)",
    }
    assert shared.client().v1.charges.retrieve(intent.latest_charge).amount_refunded == 9000


def test_what_was_not_paid_cannot_be_refunded(shared: LocalStripe) -> None:
    api = shared.client().v1
    unpaid = api.payment_intents.create({"amount": 5000, "currency": "usd"})
    for params in ({"payment_intent": unpaid.id}, {"payment_intent": "pi_none"}, {}, {"charge": "ch_none"}):
        given: Any = params
        with pytest.raises(stripe.InvalidRequestError):
            api.refunds.create(given)
    assert api.refunds.list({"payment_intent": unpaid.id}).data == []


def test_a_refund_can_fail_after_it_seemed_done(start: Callable[..., LocalStripe]) -> None:
    server = start()
    server.switch(timing={"settle": 0.3})
    intent = server.paid(10_000, "pm_card_refundFail")
    api = server.client().v1
    refund = api.refunds.create({"payment_intent": intent.id})
    assert refund.status == "succeeded"
    eventually(lambda: api.refunds.retrieve(refund.id).status == "failed")
    failed: Any = api.refunds.retrieve(refund.id, {"expand": ["failure_balance_transaction"]})
    assert failed.failure_reason == "expired_or_canceled_card"
    money = failed.failure_balance_transaction
    assert (money.type, money.amount) == ("refund_failure", 10_000)
    charge = api.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    assert server.event_types()[-3:] == ["refund.updated", "charge.refund.updated", "refund.failed"]


def test_a_refund_can_be_pending_first(start: Callable[..., LocalStripe]) -> None:
    server = start()
    server.switch(timing={"settle": 0.3})
    intent = server.paid(10_000, "pm_card_pendingRefund")
    api = server.client().v1
    refund = api.refunds.create({"payment_intent": intent.id, "amount": 1000})
    assert refund.status == "pending"
    eventually(lambda: api.refunds.retrieve(refund.id).status == "succeeded")
    updated: Any = api.events.list({"type": "refund.updated"}).data[0]
    assert updated.data.previous_attributes["status"] == "pending"
    assert api.charges.retrieve(intent.latest_charge).amount_refunded == 1000


def settled(server: LocalStripe, refund: str, **form: str) -> tuple[int, Any]:
    status, _, answer = server.ask("POST", f"/_local/refunds/{refund}/settle", urlencode(form))
    return status, answer


def net(server: LocalStripe) -> int:
    """What Stripe's balance holds, which is what all its transactions come to."""
    api = server.client().v1
    told = api.balance.retrieve()
    total = told.available[0].amount + told.pending[0].amount
    assert total == sum(row.net for row in api.balance_transactions.list({"limit": 100}).data)
    return total


def test_a_refund_can_fail_within_its_request(start: Callable[..., LocalStripe]) -> None:
    server = start()
    server.switch(refunds={"course": "fails", "failure_reason": "lost_or_stolen_card"})
    intent = server.paid(10_000)
    api = server.client().v1
    refund: Any = api.refunds.create({"payment_intent": intent.id, "amount": 4000})
    assert (refund.status, refund.failure_reason) == ("failed", "lost_or_stolen_card")
    moved = api.balance_transactions.list({"source": refund.id}).data
    assert sorted((one.type, one.amount) for one in moved) == [("refund", -4000), ("refund_failure", 4000)]
    assert net(server) == 10_000 - 320
    server.switch(refunds={})
    assert api.refunds.create({"payment_intent": intent.id}).amount == 10_000


def test_a_refund_stays_pending_until_the_bank_answers(start: Callable[..., LocalStripe]) -> None:
    server = start()
    server.switch(timing={"settle": 0}, refunds={"course": "stays_pending"})
    intent = server.paid(10_000)
    api = server.client().v1
    passes: Any = api.refunds.create({"payment_intent": intent.id, "amount": 1000})
    fails = api.refunds.create({"payment_intent": intent.id, "amount": 2000})
    assert (passes.status, passes.pending_reason) == ("pending", "processing")
    assert settled(server, passes.id, outcome="succeeded")[1]["status"] == "succeeded"
    assert settled(server, passes.id, outcome="succeeded")[0] == 400
    assert settled(server, fails.id, outcome="failed", failure_reason="declined")[1]["failure_reason"] == "declined"
    for outcome in ("failed", "succeeded"):
        assert settled(server, fails.id, outcome=outcome)[0] == 400
    assert settled(server, passes.id, outcome="on strike")[0] == 400
    assert [one.status for one in api.refunds.list({"payment_intent": intent.id}).data] == ["failed", "succeeded"]
    assert net(server) == 10_000 - 320 - 1000
    late: Any = settled(server, passes.id, outcome="failed")[1]
    assert (late["status"], late["failure_reason"]) == ("failed", "expired_or_canceled_card")
    event: Any = api.events.list({"type": "charge.refund.updated"}).data[0]
    assert event.data.previous_attributes.to_dict() == {
        "failure_balance_transaction": None, "failure_reason": None, "status": "succeeded",
    }  # fmt: skip
    assert net(server) == 10_000 - 320


def test_a_refund_made_in_the_dashboard_is_told_of_like_any_other(start: Callable[..., LocalStripe]) -> None:
    server = start()
    intent = server.paid(10_000)
    form = urlencode({"payment_intent": intent.id, "amount": 2500, "reason": "fraudulent"})
    status, _, made = server.ask("POST", "/_local/refunds", form)
    assert (status, made["metadata"]) == (200, {})
    api = server.client().v1
    assert api.refunds.list({"payment_intent": intent.id}).data[0].id == made["id"]
    event: Any = api.events.list({"type": "refund.created"}).data[0]
    assert (event.data.object.id, event.request.id, event.request.idempotency_key) == (made["id"], None, None)
    assert server.event_types()[-2:] == ["charge.refunded", "refund.created"]
    too_much = urlencode({"payment_intent": intent.id, "amount": 7501})
    assert server.ask("POST", "/_local/refunds", too_much)[0] == 400
    assert api.charges.retrieve(intent.latest_charge).amount_refunded == 2500


def test_a_refund_that_the_bank_failed_does_not_fail_again_by_its_card(start: Callable[..., LocalStripe]) -> None:
    server = start()
    server.switch(timing={"settle": 5})
    intent = server.paid(10_000, "pm_card_refundFail")
    api = server.client().v1
    first = api.refunds.create({"payment_intent": intent.id, "amount": 1000})
    second = api.refunds.create({"payment_intent": intent.id, "amount": 1000})
    assert settled(server, first.id, outcome="failed")[0] == 200
    eventually(lambda: api.refunds.retrieve(second.id).status == "failed")  # the first was due before it
    moved = api.balance_transactions.list({"source": first.id}).data
    assert sorted((one.type, one.amount) for one in moved) == [("refund", -1000), ("refund_failure", 1000)]
    assert net(server) == 10_000 - 320
