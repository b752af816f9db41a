"""Asking twice, being refused, cut off or killed: what an idempotency key and the state file promise."""

import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe

from tests.dev.stripe.local_stripe import ROOT, LocalStripe, eventually, free_port

CREATE = (
    "amount=5000&currency=usd&automatic_payment_methods[enabled]=true&automatic_payment_methods[allow_redirects]=never"
)
INTENTS = "/v1/payment_intents"


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_the_same_key_and_parameters_get_the_first_answer_again(shared: LocalStripe) -> None:
    status, headers, first = shared.ask("POST", INTENTS, CREATE, keyed("same"))
    assert (status, headers.get("Idempotent-Replayed"), headers["Idempotency-Key"]) == (200, None, "same")
    status, again, second = shared.ask("POST", INTENTS, CREATE, keyed("same"))
    assert (status, again["Idempotent-Replayed"], second) == (200, "true", first)
    assert again["Original-Request"] == headers["Request-Id"] != again["Request-Id"]


def test_the_same_key_with_something_else_is_an_error(shared: LocalStripe) -> None:
    intent = shared.ask("POST", INTENTS, CREATE, keyed("other"))[2]
    status, _, answer = shared.ask("POST", INTENTS, CREATE.replace("5000", "6000"), keyed("other"))
    assert (status, answer["error"]["type"]) == (400, "idempotency_error")
    assert "with the same parameters" in answer["error"]["message"]
    status, _, answer = shared.ask("POST", f"{INTENTS}/{intent['id']}/cancel", "", keyed("other"))
    assert (status, answer["error"]["type"]) == (400, "idempotency_error")
    assert "for the same endpoint" in answer["error"]["message"]
    assert shared.client().v1.payment_intents.retrieve(intent["id"]).status == "requires_payment_method"


def test_a_decline_is_replayed_and_not_tried_again(shared: LocalStripe) -> None:
    intent = shared.ask("POST", INTENTS, CREATE)[2]["id"]
    confirm = (f"{INTENTS}/{intent}/confirm", "payment_method=pm_card_chargeDeclined", keyed("decline"))
    first, second = shared.ask("POST", *confirm), shared.ask("POST", *confirm)
    assert (first[0], second[0], second[1]["Idempotent-Replayed"]) == (402, 402, "true")
    assert first[2] == second[2]
    assert len(shared.client().v1.charges.list({"payment_intent": intent}).data) == 1


def test_a_refusal_after_work_began_is_kept_and_bad_parameters_are_not(shared: LocalStripe) -> None:
    intent = shared.paid(5000)
    status, _, _ = shared.ask("POST", "/v1/refunds", f"payment_intent={intent.id}&amount=5001", keyed("too-much"))
    assert status == 400
    _, headers, _ = shared.ask("POST", "/v1/refunds", f"payment_intent={intent.id}&amount=5001", keyed("too-much"))
    assert headers["Idempotent-Replayed"] == "true"
    assert shared.ask("POST", "/v1/refunds", f"payment_intent={intent.id}&amount=x", keyed("typo"))[0] == 400
    status, headers, _ = shared.ask("POST", "/v1/refunds", f"payment_intent={intent.id}&amount=5", keyed("typo"))
    assert (status, "Idempotent-Replayed" in headers) == (200, False)
    assert shared.ask("POST", INTENTS, CREATE.replace("5000", "49"), keyed("too-small"))[0] == 400
    assert shared.ask("POST", INTENTS, CREATE, keyed("too-small"))[0] == 200


def test_a_key_that_is_being_worked_on_is_a_conflict(start: Callable[..., LocalStripe]) -> None:
    server = start()
    server.switch(api=[{"fault": "slow", "method": "POST", "seconds": 1.5, "times": 1}])
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.ask, "POST", INTENTS, CREATE, keyed("busy"))
        eventually(lambda: server.client().v1.payment_intents.list().data)
        status, headers, answer = server.ask("POST", INTENTS, CREATE, keyed("busy"))
        assert (status, answer["error"]["code"]) == (409, "idempotency_key_in_use")
        assert headers["Stripe-Should-Retry"] == "true"
        done = first.result()
    assert server.ask("POST", INTENTS, CREATE, keyed("busy"))[2] == done[2]
    assert len(server.client().v1.payment_intents.list().data) == 1


def test_many_with_one_key_make_one_object(shared: LocalStripe) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: shared.ask("POST", INTENTS, CREATE, keyed("crowd")), range(40)))
    assert {status for status, _, _ in answers} <= {200, 409}
    assert len({answer["id"] for status, _, answer in answers if status == 200}) == 1


def test_a_hang_up_after_the_work_is_answered_by_asking_again(start: Callable[..., LocalStripe]) -> None:
    server = start()
    intent = server.paid(10_000)
    server.switch(api=[{"fault": "hang_up", "method": "POST", "path": "/v1/refunds", "times": 1}])
    options: Any = {"idempotency_key": "refund-1"}
    api = server.client().v1
    with pytest.raises(stripe.APIConnectionError):
        api.refunds.create({"payment_intent": intent.id, "amount": 4000}, options)
    done = api.refunds.list({"payment_intent": intent.id}).data
    assert [one.amount for one in done] == [4000]
    assert api.refunds.create({"payment_intent": intent.id, "amount": 4000}, options).id == done[0].id
    assert len(api.refunds.list({"payment_intent": intent.id}).data) == 1


def test_429_and_500_before_the_work_leave_nothing_behind(start: Callable[..., LocalStripe]) -> None:
    server = start()
    server.switch(api=[{"fault": "rate_limit", "times": 1}, {"fault": "error_before", "times": 1}])
    status, _, answer = server.ask("POST", INTENTS, CREATE, keyed("again"))
    assert (status, answer["error"]["code"]) == (429, "rate_limit")
    status, headers, answer = server.ask("POST", INTENTS, CREATE, keyed("again"))
    assert (status, answer["error"]["type"], headers["Stripe-Should-Retry"]) == (500, "api_error", "true")
    assert server.client().v1.payment_intents.list().data == []
    status, headers, _ = server.ask("POST", INTENTS, CREATE, keyed("again"))
    assert (status, "Idempotent-Replayed" in headers) == (200, False)


def test_a_500_after_the_work_is_kept_for_the_key_while_the_work_stands(start: Callable[..., LocalStripe]) -> None:
    server = start()
    server.switch(api=[{"fault": "error_after", "path": "/v1/payment_intents", "method": "POST", "times": 1}])
    status, headers, _ = server.ask("POST", INTENTS, CREATE, keyed("unlucky"))
    assert (status, headers["Stripe-Should-Retry"]) == (500, "false")
    status, headers, _ = server.ask("POST", INTENTS, CREATE, keyed("unlucky"))
    assert (status, headers["Idempotent-Replayed"]) == (500, "true")
    assert len(server.client().v1.payment_intents.list().data) == 1


def test_a_killed_server_comes_back_with_everything(start: Callable[..., LocalStripe]) -> None:
    server = start()
    intent = server.paid(10_000, "pm_card_pendingRefund")
    server.switch(timing={"settle": 1})
    _, _, refund = server.ask("POST", "/v1/refunds", f"payment_intent={intent.id}", keyed("kept"))
    server.stop(signal.SIGKILL)
    server.start()
    api = server.client().v1
    assert api.payment_intents.retrieve(intent.id).to_dict() == intent.to_dict()
    status, headers, again = server.ask("POST", "/v1/refunds", f"payment_intent={intent.id}", keyed("kept"))
    assert (status, headers["Idempotent-Replayed"], again) == (200, "true", refund)
    assert server.ask("GET", "/_local/switches")[2]["timing"]["settle"] == 1
    eventually(lambda: api.refunds.retrieve(refund["id"]).status == "succeeded")


def test_switches_that_make_no_sense_are_refused_by_name(shared: LocalStripe) -> None:
    status, _, answer = shared.ask("POST", "/_local/switches", {"webhooks": {"duplicates": 2}})
    assert (status, answer["error"]["param"]) == (400, "webhooks.duplicates")
    assert shared.ask("GET", "/_local/switches")[2]["webhooks"]["duplicate"] == 0


def test_a_taken_port_is_one_plain_line(shared: LocalStripe) -> None:
    second = subprocess.run(shared.command(), cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    assert second.stderr == (
        f"Local Stripe: can't listen on 127.0.0.1 port {shared.port}: Address already in use. Give another --port.\n"
    )


def test_a_state_file_in_use_is_one_plain_line(shared: LocalStripe) -> None:
    command = shared.command()
    command[command.index("--port") + 1] = str(free_port())
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    assert second.stderr == f"Local Stripe: the state file {shared.state} is in use by another local Stripe.\n"


def test_sigterm_ends_it_cleanly(start: Callable[..., LocalStripe]) -> None:
    server = start()
    server.paid()
    assert server.stop() == 0
