"""Disputes at the local Stripe: what they take and give back, how they are answered, and what they rule out."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
import stripe

from tests.dev.stripe.local_stripe import LocalStripe, eventually

Start = Callable[..., LocalStripe]


def opened(server: LocalStripe, charge: str, **form: Any) -> Any:
    """A dispute that a bank has just opened."""
    status, _, answer = server.ask("POST", "/_local/disputes", urlencode({"charge": charge, **form}))
    assert status == 200, answer
    return server.client().v1.disputes.retrieve(answer["id"])


def decided(server: LocalStripe, dispute: str, outcome: str) -> tuple[int, Any]:
    status, _, answer = server.ask("POST", f"/_local/disputes/{dispute}/decide", urlencode({"outcome": outcome}))
    return status, answer


def of_card(server: LocalStripe, intent: Any) -> Any:
    """The dispute that a payment with a test card turned into."""
    disputes = server.client().v1.disputes
    eventually(lambda: disputes.list({"payment_intent": intent.id}).data)
    return disputes.list({"payment_intent": intent.id}).data[0]


def moved(server: LocalStripe, dispute: str) -> list[tuple[int, int, str]]:
    """What a dispute moved, in order: amount, fee, and how accounting calls it."""
    rows = server.client().v1.balance_transactions.list({"source": dispute}).data
    assert {(row.type, row.net) for row in rows} == {("adjustment", row.amount - row.fee) for row in rows}
    return [(row.amount, row.fee, row.reporting_category) for row in reversed(rows)]


def balance(server: LocalStripe) -> int:
    """What Stripe holds for us, which is the sum of everything that moved."""
    api = server.client().v1
    told = api.balance.retrieve()
    total = told.available[0].amount + told.pending[0].amount
    assert total == sum(row.net for row in api.balance_transactions.list({"limit": 100}).auto_paging_iter())
    return total


def test_a_disputed_test_card_takes_the_money_and_a_fee_and_keeps_refunds_from_happening(start: Start) -> None:
    server = start()
    intent = server.paid(10_000, "pm_card_createDispute")
    dispute = of_card(server, intent)
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", "fraudulent", 10_000)
    assert (dispute.charge, dispute.is_charge_refundable) == (intent.latest_charge, False)
    card = dispute.payment_method_details.card
    assert (card.case_type, card.network_reason_code) == ("chargeback", "10.4")
    details = dispute.evidence_details
    assert (details.has_evidence, details.submission_count, details.submission_method) == (False, 0, "not_submitted")
    assert 8 * 86_400 <= details.due_by - dispute.created < 9 * 86_400
    assert moved(server, dispute.id) == [(-10_000, 1500, "dispute")]
    withdrawal = dispute.balance_transactions[0]
    assert (withdrawal.description, withdrawal.fee_details[0].description) == (
        f"Chargeback withdrawal for {intent.latest_charge}", "Dispute fee",
    )  # fmt: skip
    assert balance(server) == 10_000 - 320 - 11_500
    assert server.event_types()[-2:] == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]

    api = server.client().v1
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.refunds.create({"payment_intent": intent.id, "amount": 100})
    assert refused.value.code == "charge_disputed"
    assert api.charges.retrieve(intent.latest_charge).amount_refunded == 0
    assert api.charges.retrieve(intent.latest_charge).disputed
    assert not api.charges.retrieve(server.paid().latest_charge).disputed


def test_evidence_is_staged_as_often_as_wished_and_submitted_once(start: Start) -> None:
    server = start()
    dispute = opened(server, server.paid().latest_charge, reason="product_not_received")
    api = server.client().v1.disputes
    api.update(dispute.id, {"evidence": {"customer_name": "Ada", "service_date": "1 May"}, "submit": False})
    staged = api.update(dispute.id, {"evidence": {"service_date": "", "product_description": "A"}, "submit": False})
    said = {name: value for name, value in staged.evidence.to_dict().items() if isinstance(value, str)}
    assert said == {"customer_name": "Ada", "product_description": "A"}
    assert (staged.status, staged.evidence_details.has_evidence) == ("needs_response", True)
    assert staged.evidence_details.submission_count == 0
    marked = api.update(dispute.id, {"metadata": {"case": "7"}})
    assert (marked.status, marked.metadata["case"]) == ("needs_response", "7")

    submitted = api.update(dispute.id, {"submit": True})
    assert (submitted.status, submitted.evidence_details.submission_count) == ("under_review", 1)
    assert (submitted.evidence["customer_name"], submitted.evidence_details.past_due) == ("Ada", False)
    updated: Any = server.client().v1.events.list({"type": "charge.dispute.updated"}).data[0]
    assert updated.data.previous_attributes["status"] == "needs_response"
    assert updated.data.previous_attributes["evidence_details"]["submission_count"] == 0
    for again in (
        {"evidence": {"customer_name": "Eve"}},
        {"evidence": {"receipt": ""}, "submit": False},
        {"submit": True},
    ):
        given: Any = again
        with pytest.raises(stripe.InvalidRequestError):
            api.update(dispute.id, given)
    assert api.retrieve(dispute.id).evidence["customer_name"] == "Ada"
    assert api.retrieve(dispute.id).evidence_details.submission_count == 1


@pytest.mark.parametrize(
    ("evidence", "param"),
    [
        ({"customer_name": "x" * 5001}, "evidence[customer_name]"),
        ({"uncategorized_text": "x" * 20_001}, "evidence[uncategorized_text]"),
        ({"receipt": "file_none"}, "evidence[receipt]"),
        ({"weather": "rain"}, "evidence[weather]"),
    ],
)
def test_evidence_that_stripe_would_not_take_is_refused_by_name(shared: LocalStripe, evidence: Any, param: str) -> None:
    dispute = opened(shared, shared.paid().latest_charge, reason="general")
    api = shared.client().v1.disputes
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.update(dispute.id, {"evidence": evidence})
    assert refused.value.param == param
    assert not api.retrieve(dispute.id).evidence_details.has_evidence
    with pytest.raises(stripe.InvalidRequestError):
        api.update(dispute.id, {"submit": True})


def test_all_the_evidence_together_has_a_limit_too(shared: LocalStripe) -> None:
    dispute = opened(shared, shared.paid().latest_charge, reason="general")
    api = shared.client().v1.disputes
    fields = (
        "access_activity_log", "cancellation_policy_disclosure", "cancellation_rebuttal", "refund_policy_disclosure",
        "duplicate_charge_explanation", "product_description", "refund_refusal_explanation",
    )  # fmt: skip
    long: Any = dict.fromkeys(fields, "x" * 20_000)
    assert api.update(dispute.id, {"evidence": long, "submit": False}).evidence_details.has_evidence
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.update(dispute.id, {"evidence": {"uncategorized_text": "x" * 20_000}})
    assert "150000" in str(refused.value.user_message)
    assert api.retrieve(dispute.id).evidence["uncategorized_text"] is None


def test_winning_evidence_brings_the_money_back_but_not_the_fee(start: Start) -> None:
    server = start()
    server.switch(timing={"settle": 0.2})
    intent = server.paid(10_000, "pm_card_createDisputeProductNotReceived")
    api = server.client().v1
    dispute = of_card(server, intent)
    answered = api.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    assert answered.status == "under_review"
    eventually(lambda: api.disputes.retrieve(dispute.id).status == "won")
    assert moved(server, dispute.id) == [(-10_000, 1500, "dispute"), (10_000, 0, "dispute_reversal")]
    assert balance(server) == 10_000 - 320 - 1500
    assert server.event_types()[-2:] == ["charge.dispute.funds_reinstated", "charge.dispute.closed"]
    assert api.charges.retrieve(intent.latest_charge).disputed
    assert api.refunds.create({"payment_intent": intent.id}).amount == 10_000


def test_a_won_dispute_gives_the_fee_back_where_that_is_agreed(start: Start) -> None:
    server = start()
    server.switch(disputes={"fee": 2000, "fee_returned": True})
    dispute = opened(server, server.paid(10_000).latest_charge, reason="duplicate", amount=4000)
    assert decided(server, dispute.id, "won")[1]["status"] == "won"
    assert moved(server, dispute.id) == [(-4000, 2000, "dispute"), (4000, -2000, "dispute_reversal")]
    assert balance(server) == 10_000 - 320


def test_losing_evidence_and_giving_up_lose_for_good(start: Start) -> None:
    server = start()
    server.switch(timing={"settle": 0.2})
    api = server.client().v1
    answered = opened(server, server.paid(10_000).latest_charge, reason="duplicate")
    api.disputes.update(answered.id, {"evidence": {"uncategorized_text": "losing_evidence"}})
    eventually(lambda: api.disputes.retrieve(answered.id).status == "lost")
    given_up = opened(server, server.paid(10_000).latest_charge, reason="duplicate")
    assert api.disputes.close(given_up.id).status == "lost"
    assert server.event_types()[-1] == "charge.dispute.closed"
    for dispute in (answered, given_up):
        assert moved(server, dispute.id) == [(-10_000, 1500, "dispute")]
        for change in (api.disputes.close, lambda one: api.disputes.update(one, {"metadata": {"a": "b"}})):
            with pytest.raises(stripe.InvalidRequestError) as refused:
                change(dispute.id)
            assert refused.value.user_message == "This dispute is already closed"
        with pytest.raises(stripe.InvalidRequestError) as refused:
            api.refunds.create({"charge": dispute.charge})
        assert refused.value.code == "charge_disputed"
    assert balance(server) == 2 * (10_000 - 320 - 11_500)


def test_an_inquiry_takes_nothing_and_ends_when_the_charge_is_refunded(start: Start) -> None:
    server = start()
    intent = server.paid(10_000, "pm_card_createDisputeInquiry")
    dispute = of_card(server, intent)
    assert (dispute.status, dispute.is_charge_refundable) == ("warning_needs_response", True)
    assert (dispute.balance_transactions, server.event_types()[-1]) == ([], "charge.dispute.created")
    api = server.client().v1
    api.refunds.create({"payment_intent": intent.id, "amount": 4000})
    assert decided(server, dispute.id, "won")[0] == 400
    assert api.disputes.retrieve(dispute.id).status == "warning_needs_response"
    api.refunds.create({"payment_intent": intent.id})
    eventually(lambda: api.disputes.retrieve(dispute.id).status == "warning_closed")
    assert server.event_types()[-1] == "charge.dispute.closed"
    assert moved(server, dispute.id) == []
    assert balance(server) == -320


def test_an_escalated_inquiry_is_a_chargeback_and_fails_what_is_still_being_refunded(start: Start) -> None:
    server = start()
    server.switch(timing={"settle": 0.2}, refunds={"course": "stays_pending"})
    intent = server.paid(10_000, "pm_card_createDisputeInquiry")
    api = server.client().v1
    dispute = of_card(server, intent)
    refund = api.refunds.create({"payment_intent": intent.id, "amount": 4000})
    api.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}})
    eventually(lambda: api.disputes.retrieve(dispute.id).status == "needs_response")
    assert moved(server, dispute.id) == [(-10_000, 1500, "dispute")]
    escalated = api.disputes.retrieve(dispute.id)
    assert (escalated.is_charge_refundable, escalated.evidence_details.submission_count) == (False, 0)
    failed: Any = api.refunds.retrieve(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "charge_for_pending_refund_disputed")
    assert balance(server) == 10_000 - 320 - 11_500
    assert server.event_types()[-2:] == ["charge.dispute.updated", "charge.dispute.funds_withdrawn"]


def test_an_inquiry_can_be_closed_by_the_bank_and_by_any_evidence_that_decides(start: Start) -> None:
    server = start()
    server.switch(timing={"settle": 0.2})
    api = server.client().v1.disputes
    by_bank = opened(server, server.paid().latest_charge, reason="general", case_type="inquiry")
    assert decided(server, by_bank.id, "closed")[1]["status"] == "warning_closed"
    assert decided(server, by_bank.id, "escalated")[0] == 400
    answered = opened(server, server.paid().latest_charge, reason="general", case_type="inquiry")
    api.update(answered.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    assert api.retrieve(answered.id).status in ("warning_under_review", "warning_closed")
    eventually(lambda: api.retrieve(answered.id).status == "warning_closed")
    assert balance(server) == 2 * (10_000 - 320)


def test_a_bank_may_let_go_of_what_was_refunded_or_think_better_of_all_of_it(start: Start) -> None:
    server = start()
    charge = server.paid(10_000).latest_charge
    nothing_refunded = opened(server, charge, reason="fraudulent")
    assert decided(server, nothing_refunded.id, "partially_won")[0] == 400
    assert decided(server, nothing_refunded.id, "lost")[1]["status"] == "lost"
    assert decided(server, nothing_refunded.id, "lost")[0] == 400
    assert decided(server, nothing_refunded.id, "won")[1]["status"] == "won"
    assert decided(server, nothing_refunded.id, "won")[0] == 400
    assert moved(server, nothing_refunded.id) == [(-10_000, 1500, "dispute"), (10_000, 0, "dispute_reversal")]

    charge = server.paid(10_000).latest_charge
    server.client().v1.refunds.create({"charge": charge, "amount": 3_000})
    part = opened(server, charge, reason="fraudulent", amount=10_000)
    assert decided(server, part.id, "partially_won")[1]["status"] == "lost"
    assert moved(server, part.id) == [(-10_000, 1500, "dispute"), (3_000, 0, "dispute_reversal")]
    # Two balance transactions at most.
    assert decided(server, part.id, "won")[0] == 400
    assert server.event_types()[-2:] == ["charge.dispute.closed", "charge.dispute.funds_reinstated"]


def test_a_chargeback_that_nobody_answers_in_time_is_lost(start: Start) -> None:
    server = start()
    server.switch(timing={"settle": 600})
    api = server.client().v1.disputes
    inquiry = opened(server, server.paid().latest_charge, reason="general", case_type="inquiry", due_by=1)
    silent = opened(server, server.paid().latest_charge, reason="duplicate", due_by=1)
    charges = [server.paid().latest_charge for _ in range(2)]
    due_by = int(time.time()) + 6
    staged, answered = [opened(server, charge, reason="duplicate", due_by=due_by) for charge in charges]
    api.update(staged.id, {"evidence": {"customer_name": "Ada"}, "submit": False})
    api.update(answered.id, {"evidence": {"customer_name": "Ada"}})
    eventually(lambda: api.retrieve(silent.id).status == api.retrieve(staged.id).status == "lost")
    assert (api.retrieve(answered.id).status, api.retrieve(inquiry.id).status) == (
        "under_review", "warning_needs_response",
    )  # fmt: skip
    assert api.update(inquiry.id, {"evidence": {"customer_name": "Ada"}}).evidence_details.past_due


def test_a_dispute_of_a_part_or_one_that_may_be_refunded_is_what_was_asked_for(start: Start) -> None:
    server = start()
    intent = server.paid(10_000)
    api = server.client().v1
    api.refunds.create({"payment_intent": intent.id, "amount": 3000})
    rest = opened(server, intent.latest_charge, reason="general", is_charge_refundable="true")
    assert (rest.amount, rest.is_charge_refundable) == (7000, True)
    assert api.refunds.create({"payment_intent": intent.id, "amount": 1000}).status == "succeeded"
    second = opened(server, intent.latest_charge, reason="duplicate", amount=500)
    assert [one.id for one in api.disputes.list({"charge": intent.latest_charge}).data] == [second.id, rest.id]
    with pytest.raises(stripe.InvalidRequestError):
        api.refunds.create({"payment_intent": intent.id, "amount": 1000})
    for wrong in ({"amount": 10_001}, {"reason": "whim"}, {"charge": "ch_none"}):
        form = urlencode({"charge": intent.latest_charge, "reason": "general", **wrong})
        assert server.ask("POST", "/_local/disputes", form)[0] == 400
    assert len(api.disputes.list({"limit": 100}).data) == 2


def test_a_prevented_dispute_pays_back_without_a_fee_and_is_over(start: Start) -> None:
    server = start()
    dispute = opened(server, server.paid(10_000).latest_charge, reason="fraudulent", case_type="resolution")
    assert (dispute.status, dispute.payment_method_details.card.case_type) == ("prevented", "resolution")
    assert moved(server, dispute.id) == [(-10_000, 0, "dispute")]
    assert server.event_types()[-3:] == [
        "charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.closed",
    ]  # fmt: skip


def test_disputes_are_found_expanded_and_missed_as_at_stripe(shared: LocalStripe) -> None:
    intent = shared.paid(10_000)
    dispute = opened(shared, intent.latest_charge, reason="general")
    api = shared.client().v1
    found: Any = api.disputes.retrieve(dispute.id, {"expand": ["charge", "payment_intent"]})
    assert (found.charge.disputed, found.payment_intent.id) == (True, intent.id)
    money: Any = api.balance_transactions.list({"source": dispute.id, "expand": ["data.source"]}).data[0]
    assert money.source.id == dispute.id
    with pytest.raises(stripe.InvalidRequestError) as missing:
        api.disputes.retrieve("du_none")
    assert (missing.value.http_status, missing.value.user_message) == (404, "No such dispute: 'du_none'")
