"""Webhooks of the local Stripe: signed, retried until answered, and as unruly as the switches want them."""

import hashlib
import hmac
import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.dev.stripe.local_stripe import WEBHOOK_SECRET, LocalStripe, Receiver, eventually

Start = Callable[..., LocalStripe]


def waiting(server: LocalStripe) -> int:
    return int(server.ask("GET", "/_local/webhooks")[2]["waiting"])


def test_every_event_arrives_signed_and_in_stripes_writing(start: Start, receiver: Receiver) -> None:
    server = start(receiver.url)
    intent = server.paid()
    eventually(lambda: len(receiver.events) == 3)
    assert Counter(receiver.types()) == Counter(
        ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
    )
    last = next(event for event in receiver.events if event.type == "payment_intent.succeeded")
    assert last.data.object.id == intent.id
    payload, signed = receiver.payloads[0], receiver.signatures[0]
    assert payload.startswith(b'{\n  "id": "evt_')
    moment = signed.split(",")[0].removeprefix("t=")
    assert abs(int(moment) - time.time()) < 30
    expected = hmac.new(WEBHOOK_SECRET.encode(), f"{moment}.".encode() + payload, hashlib.sha256).hexdigest()
    assert signed == f"t={moment},v1={expected}"
    eventually(lambda: waiting(server) == 0)
    event = server.client().v1.events.list({"delivery_success": True, "limit": 1}).data[0]
    assert event.pending_webhooks == 0


def test_a_webhook_is_retried_until_it_is_answered_2xx(start: Start, receiver: Receiver) -> None:
    receiver.answers = [500, 302]
    server = start(receiver.url)
    server.ask("POST", "/v1/payment_intents", "amount=5000&currency=usd")
    eventually(lambda: len(receiver.events) == 1)
    assert len(server.client().v1.events.list({"delivery_success": False}).data) == 1
    eventually(lambda: len(receiver.events) == 3)
    assert len(set(receiver.payloads)) == 1
    eventually(lambda: waiting(server) == 0)
    assert server.client().v1.events.list({"delivery_success": False}).data == []
    time.sleep(0.3)
    assert len(receiver.events) == 3


def test_what_was_not_delivered_is_sent_after_a_restart(start: Start, receiver: Receiver) -> None:
    server = start(receiver.url)
    server.switch(webhooks={"paused": True})
    server.paid()
    time.sleep(0.3)
    assert receiver.events == []
    server.stop(signal.SIGKILL)
    server.start()
    assert waiting(server) == 3
    server.switch(webhooks={"paused": False})
    eventually(lambda: len(receiver.events) == 3)


def test_a_slow_receiver_does_not_hold_up_the_api(start: Start, receiver: Receiver) -> None:
    receiver.may_answer.clear()
    server = start(receiver.url)
    for _ in range(4):
        server.paid()
    assert waiting(server) == 12
    eventually(lambda: len(receiver.events) > 1)  # nor does one delivery hold up the others
    receiver.may_answer.set()
    eventually(lambda: waiting(server) == 0)
    assert len({event.id for event in receiver.events}) == 12


def test_each_is_sent_as_often_as_asked(start: Start, receiver: Receiver) -> None:
    server = start(receiver.url)
    server.switch(webhooks={"duplicate": 2})
    server.paid()
    eventually(lambda: len(receiver.events) == 9)
    assert set(Counter(event.id for event in receiver.events).values()) == {3}
    eventually(lambda: waiting(server) == 0)


def test_shuffled_webhooks_arrive_out_of_order_and_whole(start: Start, receiver: Receiver) -> None:
    server = start(receiver.url)
    server.switch(webhooks={"shuffle": 1.5}, seed=7)
    for _ in range(7):
        server.paid()
    eventually(lambda: len(receiver.events) == 21)
    happened = [event.id for event in server.client().v1.events.list({"limit": 100}).data][::-1]
    arrived = [event.id for event in receiver.events]
    assert set(arrived) == set(happened)
    assert arrived != happened
    assert receiver.arrived_at[-1] - receiver.arrived_at[0] > 0.75  # spread over the window, and not by chance


def test_delayed_webhooks_come_late(start: Start, receiver: Receiver) -> None:
    server = start(receiver.url)
    server.switch(webhooks={"delay": 1})
    began = time.monotonic()
    server.paid()
    eventually(lambda: len(receiver.events) == 3)
    assert receiver.arrived_at[0] - began > 0.9


def test_a_dropped_webhook_never_comes_but_can_be_sent_again(start: Start, receiver: Receiver) -> None:
    server = start(receiver.url)
    server.switch(webhooks={"drop": 1})
    server.paid()
    assert waiting(server) == 0
    lost = server.client().v1.events.list({"delivery_success": False}).data
    assert len(lost) == 3
    assert server.ask("POST", f"/_local/events/{lost[0].id}/resend", "")[0] == 200
    eventually(lambda: len(receiver.events) == 1)
    assert receiver.events[0].id == lost[0].id


@pytest.mark.parametrize("bad", ['{"payment_intent": "pi_1"}', "not json", "[]"])
def test_a_bad_line_of_a_load_is_named(shared: LocalStripe, bad: str) -> None:
    status, _, answer = shared.ask("POST", "/_local/load", f"\n{bad}\n".encode())
    assert (status, answer["error"]["message"][:7]) == (400, "Line 2:")


def test_loaded_payments_are_as_if_they_had_happened(start: Start, receiver: Receiver) -> None:
    server = start(receiver.url)
    lines = []
    for number in range(300):
        refund = {
            "id": f"re_{number}",
            "balance_transaction": f"txn_r{number}",
            "amount": 1000,
            "created": 1_700_100_000,
        }
        lines.append(
            {
                "payment_intent": f"pi_{number}",
                "charge": f"ch_{number}",
                "balance_transaction": f"txn_{number}",
                "amount": 10_000 + number,
                "currency": "usd",
                "created": 1_700_000_000 + number,
                "status": "succeeded",
                "metadata": {"number": str(number)},
                "refunds": [refund] if number == 42 else [],
                "events": [{"id": f"evt_{number}", "type": "charge.succeeded", "created": 1_700_000_000 + number}],
            }
        )
    lines.append({"payment_intent": "pi_c", "amount": 500, "currency": "usd", "created": 1, "status": "canceled"})
    body = "\n".join(json.dumps(line) for line in lines).encode()
    assert server.ask("POST", "/_local/load", body)[2] == {"object": "load", "loaded": 301, "already_there": 0}
    assert server.ask("POST", "/_local/load", body)[2] == {"object": "load", "loaded": 0, "already_there": 301}

    api = server.client().v1
    listed = list(api.payment_intents.list({"limit": 100}).auto_paging_iter())
    assert [one.id for one in listed] == [f"pi_{number}" for number in reversed(range(300))] + ["pi_c"]
    loaded = api.payment_intents.retrieve(
        "pi_42", {"expand": ["latest_charge.balance_transaction", "latest_charge.refunds", "payment_method"]}
    )
    charge: Any = loaded.latest_charge
    assert (loaded.status, loaded.metadata["number"], charge.amount_refunded) == ("succeeded", "42", 1000)
    assert (charge.balance_transaction.fee, charge.balance_transaction.status) == (321, "available")
    assert [one.id for one in charge.refunds.data] == ["re_42"]
    assert api.refunds.create({"payment_intent": "pi_42"}).amount == 9042
    assert api.events.retrieve("evt_7").data.object["id"] == "ch_7"
    eventually(lambda: len(receiver.events) == 2)
    assert set(receiver.types()) == {"charge.refunded", "refund.created"}
