"""The life of a payment at the local Stripe, seen through the stripe library."""

from collections.abc import Callable
from typing import Any

import pytest
import stripe

from tests.dev.stripe.local_stripe import AUTOMATIC, LocalStripe, eventually


def test_a_payment_goes_from_intent_to_balance(start: Callable[..., LocalStripe]) -> None:
    server = start()
    api = server.client().v1
    intent = server.intent(metadata={"booking": "BK1"}, description="Two nights", receipt_email="a@b.example")
    assert (intent.status, intent.amount_received, intent.latest_charge) == ("requires_payment_method", 0, None)
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    assert intent.automatic_payment_methods.to_dict() == AUTOMATIC

    paid = api.payment_intents.confirm(
        intent.id,
        {"payment_method": "pm_card_visa", "expand": ["latest_charge.balance_transaction", "payment_method"]},
    )
    assert (paid.status, paid.amount_received, paid.metadata["booking"]) == ("succeeded", 25_900, "BK1")
    assert paid.payment_method.card.last4 == "4242"  # type: ignore[union-attr]
    charge: Any = paid.latest_charge
    money = charge.balance_transaction
    assert (money.amount, money.fee, money.net, money.status) == (25_900, 781, 25_119, "pending")
    assert money.available_on == money.created + 2 * 24 * 3600
    assert money.fee_details[0].to_dict()["amount"] == 781
    assert (charge.paid, charge.captured, charge.refunded, charge.receipt_email) == (True, True, False, "a@b.example")

    assert api.payment_intents.retrieve(intent.id).latest_charge == charge.id
    assert [one.id for one in api.charges.list({"payment_intent": intent.id}).data] == [charge.id]
    assert [one.id for one in api.balance_transactions.list({"source": charge.id}).data] == [money.id]
    assert api.balance.retrieve().pending[0].amount == 25_119
    assert server.event_types() == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


@pytest.mark.parametrize(
    ("amount", "fee"), [(50, 31), (1000, 59), (10_000, 320), (25_900, 781), (50_017, 1480), (25_950, 783)]
)
def test_the_fee_is_2_9_percent_and_30_cents_rounded_half_up(shared: LocalStripe, amount: int, fee: int) -> None:
    charge = shared.paid(amount).latest_charge
    assert shared.client().v1.balance_transactions.list({"source": charge}).data[0].fee == fee


@pytest.mark.parametrize(
    ("method", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
        ("pm_card_radarBlock", "card_declined", "fraudulent"),
    ],
)
def test_a_declined_card_is_a_402_that_stays_on_record(
    shared: LocalStripe, method: str, code: str, decline_code: str
) -> None:
    intent = shared.intent()
    api = shared.client().v1
    with pytest.raises(stripe.CardError) as refused:
        api.payment_intents.confirm(intent.id, {"payment_method": method})
    error: Any = refused.value.error
    assert (refused.value.http_status, error.code, error.decline_code) == (402, code, decline_code)
    assert (error.payment_intent.id, error.payment_intent.status) == (intent.id, "requires_payment_method")
    stored: Any = api.payment_intents.retrieve(intent.id)
    assert (stored.status, stored.payment_method) == ("requires_payment_method", None)
    assert (stored.last_payment_error.code, stored.last_payment_error.decline_code) == (code, decline_code)
    charge = api.charges.retrieve(stored.latest_charge)
    assert (charge.status, charge.paid, charge.failure_code, charge.balance_transaction) == (
        "failed",
        False,
        code,
        None,
    )


def test_after_a_decline_the_same_intent_can_still_be_paid(start: Callable[..., LocalStripe]) -> None:
    server = start()
    intent = server.intent()
    with pytest.raises(stripe.CardError):
        server.client().v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_chargeDeclined"})
    paid = server.client().v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_mastercard"})
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)
    assert server.event_types()[1:] == [
        "charge.failed",
        "payment_intent.payment_failed",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]


def test_authentication_asked_for_and_passed_pays(shared: LocalStripe) -> None:
    intent = shared.paid(method="pm_card_threeDSecure2Required")
    assert (intent.status, intent.next_action.type, intent.latest_charge) == ("requires_action", "use_stripe_sdk", None)
    status, _, answer = shared.ask("POST", f"/_local/payment_intents/{intent.id}/authenticate", "outcome=succeed")
    assert (status, answer["status"], answer["next_action"]) == (200, "succeeded", None)


def test_authentication_failed_leaves_the_intent_to_be_paid_otherwise(shared: LocalStripe) -> None:
    intent = shared.paid(method="pm_card_authenticationRequired")
    _, _, answer = shared.ask("POST", f"/_local/payment_intents/{intent.id}/authenticate", "outcome=fail")
    assert answer["status"] == "requires_payment_method"
    assert answer["last_payment_error"]["code"] == "payment_intent_authentication_failure"
    assert answer["latest_charge"] is None


def test_a_card_can_be_declined_after_authentication(shared: LocalStripe) -> None:
    intent = shared.paid(method="pm_card_threeDSecureRequiredChargeDeclined")
    status, _, answer = shared.ask("POST", f"/_local/payment_intents/{intent.id}/authenticate", "")
    assert (status, answer["status"]) == (200, "requires_payment_method")
    assert answer["last_payment_error"]["decline_code"] == "generic_decline"


def test_without_the_customer_authentication_is_a_decline(shared: LocalStripe) -> None:
    intent = shared.intent()
    with pytest.raises(stripe.CardError) as refused:
        shared.client().v1.payment_intents.confirm(
            intent.id, {"payment_method": "pm_card_authenticationRequired", "off_session": True}
        )
    assert refused.value.code == "authentication_required"


def test_a_paid_intent_can_be_neither_confirmed_nor_canceled_nor_repriced(shared: LocalStripe) -> None:
    intent = shared.paid()
    api = shared.client().v1
    attempts: list[Callable[[], Any]] = [
        lambda: api.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"}),
        lambda: api.payment_intents.cancel(intent.id),
        lambda: api.payment_intents.update(intent.id, {"amount": 1}),
    ]
    for attempt in attempts:
        with pytest.raises(stripe.InvalidRequestError) as refused:
            attempt()
        assert (refused.value.http_status, refused.value.code) == (400, "payment_intent_unexpected_state")
    with pytest.raises(stripe.InvalidRequestError, match="it has already succeeded"):
        api.payment_intents.confirm(intent.id)
    assert len(api.charges.list({"payment_intent": intent.id}).data) == 1
    assert api.payment_intents.retrieve(intent.id).to_dict() == intent.to_dict()


def test_a_canceled_intent_stays_canceled(start: Callable[..., LocalStripe]) -> None:
    server = start()
    intent = server.intent()
    api = server.client().v1
    canceled = api.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert canceled.canceled_at
    with pytest.raises(stripe.InvalidRequestError, match="has a status of canceled"):
        api.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert server.event_types() == ["payment_intent.created", "payment_intent.canceled"]


def test_an_attached_method_waits_for_confirmation(shared: LocalStripe) -> None:
    intent = shared.intent(payment_method="pm_card_visa")
    assert intent.status == "requires_confirmation"
    changed = shared.client().v1.payment_intents.update(intent.id, {"amount": 5000, "metadata": {"a": "1", "b": "2"}})
    changed = shared.client().v1.payment_intents.update(intent.id, {"metadata": {"a": ""}})
    assert (changed.amount, changed.metadata.to_dict()) == (5000, {"b": "2"})
    assert shared.client().v1.payment_intents.confirm(intent.id).amount_received == 5000


def test_confirming_without_a_method_or_without_a_way_back_is_refused(shared: LocalStripe) -> None:
    api = shared.client().v1
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        api.payment_intents.confirm(shared.intent().id)
    redirecting = api.payment_intents.create({"amount": 5000, "currency": "usd"})
    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        api.payment_intents.confirm(redirecting.id, {"payment_method": "pm_card_visa"})
    assert api.payment_intents.retrieve(redirecting.id).status == "requires_payment_method"


def test_test_card_numbers_do_what_their_methods_do(shared: LocalStripe) -> None:
    def pay(number: str) -> Any:
        card = {"type": "card", "card": {"number": number, "exp_month": 12, "exp_year": 2034, "cvc": "123"}}
        data: Any = {"payment_method_data": card}
        return shared.client().v1.payment_intents.confirm(shared.intent().id, data)

    assert pay("4242 4242 4242 4242").status == "succeeded"
    with pytest.raises(stripe.CardError, match="insufficient funds"):
        pay("4000000000009995")
    with pytest.raises(stripe.CardError, match="number is incorrect"):
        pay("4242424242424241")


def test_a_bank_debit_is_processing_until_it_settles(start: Callable[..., LocalStripe]) -> None:
    server = start()
    server.switch(timing={"settle": 0.3})
    api = server.client().v1
    good, bad = server.paid(method="pm_usBankAccount_success"), server.paid(method="pm_usBankAccount_insufficientFunds")
    assert (good.status, bad.status, good.amount_received) == ("processing", "processing", 0)
    with pytest.raises(stripe.InvalidRequestError, match="status of processing"):
        api.payment_intents.cancel(good.id)
    eventually(lambda: api.payment_intents.retrieve(good.id).status == "succeeded")
    eventually(lambda: api.payment_intents.retrieve(bad.id).status == "requires_payment_method")
    assert api.balance_transactions.list().data[0].fee == 80
    assert len(api.balance_transactions.list().data) == 1


def test_a_charge_may_get_its_balance_transaction_later(start: Callable[..., LocalStripe]) -> None:
    server = start()
    server.switch(timing={"balance_transaction": 0.3})
    charge = server.paid().latest_charge
    api = server.client().v1
    assert api.charges.retrieve(charge).balance_transaction is None
    eventually(lambda: api.charges.retrieve(charge).balance_transaction)
    updated: Any = api.events.list({"type": "charge.updated"}).data[0]
    assert updated.data.object["balance_transaction"].startswith("txn_")
    assert updated.data.previous_attributes["balance_transaction"] is None


@pytest.mark.parametrize(
    ("params", "param", "code"),
    [
        ({"currency": "usd"}, "amount", "parameter_missing"),
        ({"amount": "ten", "currency": "usd"}, "amount", "parameter_invalid_integer"),
        ({"amount": 0, "currency": "usd"}, "amount", "parameter_invalid_integer"),
        ({"amount": 49, "currency": "usd"}, "amount", "amount_too_small"),
        ({"amount": 100_000_000, "currency": "usd"}, "amount", "amount_too_large"),
        ({"amount": 5000, "currency": "xyz"}, "currency", None),
        ({"amount": 5000, "currency": ""}, "currency", "parameter_invalid_empty"),
        ({"amount": 5000, "currency": "usd", "colour": "red"}, "colour", "parameter_unknown"),
        (
            {"amount": 5000, "currency": "usd", "automatic_payment_methods": {"enabled": True, "x": 1}},
            "automatic_payment_methods[x]",
            "parameter_unknown",
        ),
        ({"amount": 5000, "currency": "usd", "metadata": {"k": "v" * 501}}, "metadata", None),
        ({"amount": 5000, "currency": "usd", "expand": ["colour"]}, "expand", None),
        ({"amount": 5000, "currency": "usd", "payment_method": "pm_none"}, "payment_method", "resource_missing"),
    ],
)
def test_bad_parameters_are_named(shared: LocalStripe, params: Any, param: str, code: str | None) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shared.client().v1.payment_intents.create(params)
    assert (refused.value.http_status, refused.value.param, refused.value.code) == (400, param, code)


def test_unknown_objects_urls_and_keys_are_told_apart(shared: LocalStripe) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="No such payment_intent: 'pi_none'") as missing:
        shared.client().v1.payment_intents.retrieve("pi_none")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    status, _, answer = shared.ask("GET", "/v1/nothing")
    assert status == 404
    assert answer["error"]["message"].startswith("Unrecognized request URL (GET: /v1/nothing)")
    with pytest.raises(stripe.AuthenticationError, match=r"Invalid API Key provided: sk_test_\*+ther"):
        shared.client("sk_test_another").v1.balance.retrieve()
    assert shared.ask("GET", "/v1/balance", headers={"Authorization": ""})[0] == 401
    assert shared.ask("POST", "/_local/switches", {}, headers={"Authorization": ""})[0] == 401
    assert shared.ask("GET", "/health", headers={"Authorization": ""})[2] == {"status": "ok"}


def test_answers_carry_stripes_headers(shared: LocalStripe) -> None:
    _, headers, _ = shared.ask("GET", "/v1/account", headers={"Stripe-Version": "2025-01-27.acacia"})
    assert headers["Request-Id"].startswith("req_")
    assert headers["Stripe-Version"] == "2025-01-27.acacia"
    _, _, answer = shared.ask("GET", "/v1/charges/ch_none")
    assert answer["error"]["request_log_url"].startswith("https://dashboard.stripe.com/test/logs/req_")
    assert answer["error"]["doc_url"] == "https://stripe.com/docs/error-codes/resource-missing"


def test_events_keep_the_object_as_it_was_and_who_asked(start: Callable[..., LocalStripe]) -> None:
    server = start()
    intent = server.intent()
    options: Any = {"idempotency_key": "pay-1"}
    server.client().v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"}, options)
    api = server.client().v1
    newest, _, oldest = api.events.list().data
    assert oldest.data.object["status"] == "requires_payment_method"
    assert newest.data.object["status"] == "succeeded"
    assert (newest.request.idempotency_key, newest.request.id[:4]) == ("pay-1", "req_")  # type: ignore[union-attr,index]
    assert newest.api_version == stripe.api_version
    assert api.events.retrieve(newest.id).to_dict() == newest.to_dict()
    assert [e.type for e in api.events.list({"type": "charge.*"}).data] == ["charge.succeeded"]
    assert [e.type for e in api.events.list({"types": ["payment_intent.created"]}).data] == ["payment_intent.created"]


def test_lists_page_in_both_directions_and_filter_by_time(start: Callable[..., LocalStripe]) -> None:
    server = start()
    made = [server.intent().id for _ in range(7)]
    newest_first = made[::-1]
    api = server.client().v1
    first = api.payment_intents.list({"limit": 3})
    assert ([one.id for one in first.data], first.has_more) == (newest_first[:3], True)
    second = api.payment_intents.list({"limit": 3, "starting_after": newest_first[2]})
    assert [one.id for one in second.data] == newest_first[3:6]
    back = api.payment_intents.list({"limit": 2, "ending_before": newest_first[5]})
    assert ([one.id for one in back.data], back.has_more) == (newest_first[3:5], True)
    assert [one.id for one in api.payment_intents.list({"limit": 2}).auto_paging_iter()] == newest_first
    moment = first.data[0].created
    assert api.payment_intents.list({"created": {"gt": moment}}).data == []
    assert len(api.payment_intents.list({"created": {"gte": moment - 60, "lte": moment}}).data) == 7
    with pytest.raises(stripe.InvalidRequestError, match="less than or equal to 100"):
        api.payment_intents.list({"limit": 101})
    listed: Any = server.ask("GET", "/v1/payment_intents?limit=1&expand[]=data.latest_charge")[2]
    assert listed["data"][0]["latest_charge"] is None
