"""Chargebacks as Stripe tells of them: the hold, the money, and how they end, in whatever order the news comes."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, text

from app.audit.actor import SYSTEM
from app.audit.models import AuditEntry
from app.db import transaction
from app.disputes import chargebacks
from app.disputes.models import NO_ANSWER, Dispute
from app.errors import Conflict, Invalid, NotAllowed, Unavailable
from app.extensions import db
from app.payments import holds, refundable, stripe_gateway
from app.payments import service as payments
from app.payments.models import LedgerEntry, Payment, WebhookEvent
from app.reports.statements import INVARIANTS
from tests import factories, queued
from tests.concurrency import at_once
from tests.disputes.disputing import (
    books_agree,
    copies,
    decide,
    decided,
    deliver,
    disputed,
    disputed_at_stripe,
    entries,
    events_of,
    told,
)
from tests.payments.refunding import ask, ask_stripe, finance, paid, refunds_of, support
from tests.payments.test_refunds import owed_back

FEE = 1_500
TAKEN = {"dispute.withdrawn": 10_000, "dispute.fee": FEE}


def actions(dispute: Dispute) -> list[str]:
    entry = select(AuditEntry.action).where(AuditEntry.object_type == "disputes", AuditEntry.object_id == dispute.id)
    return list(db.session.scalars(entry.order_by(AuditEntry.id)))


def rows_of(payment: Payment) -> list[Dispute]:
    db.session.rollback()
    return list(db.session.scalars(select(Dispute).where(Dispute.payment_id == payment.id).order_by(Dispute.id)))


def test_a_chargeback_holds_its_payment_with_reason_and_deadline_and_takes_amount_and_fee(app: Flask) -> None:
    payment = paid()
    dispute = disputed(payment)
    assert (dispute.source, dispute.status, dispute.amount_minor, dispute.reason) == (
        "CHARGEBACK",
        "OPEN",
        10_000,
        "fraudulent",
    )
    assert dispute.evidence_due_by is not None
    assert dispute.answer_by == dispute.evidence_due_by
    assert entries(payment) == TAKEN
    assert factories.reread(payment).disputed_minor == 10_000
    assert refundable.left_of(factories.reread(payment)) == 0
    [hold] = holds.of(payment.id)
    assert hold.until == dispute.evidence_due_by
    assert hold.words == (
        "Refunds of this payment are on hold until the dispute is decided: The cardholder has charged it back"
        f" (fraudulent); evidence is due by {hold.until.day} {hold.until:%b %Y at %H:%M} UTC."
    )
    with pytest.raises(Conflict, match="charged it back"):
        ask(payment, 1_000)
    assert refunds_of(payment) == []
    assert books_agree(payment, dispute.stripe_dispute_id or "")


def test_told_twice_nothing_more_is_written(app: Flask) -> None:
    payment = paid()
    dispute = disputed(payment)
    before = db.session.scalar(select(AuditEntry.id).order_by(AuditEntry.id.desc()).limit(1))
    told(dispute.stripe_dispute_id or "")
    assert db.session.scalar(select(AuditEntry.id).order_by(AuditEntry.id.desc()).limit(1)) == before
    assert actions(dispute) == ["dispute.open"]
    assert entries(payment) == TAKEN


@pytest.mark.parametrize("outcome", ["won", "lost"])
@pytest.mark.parametrize("seed", range(3))
def test_events_in_any_order_and_each_twice_leave_the_same(
    app: Flask, client: FlaskClient, outcome: str, seed: int
) -> None:
    payment = paid()
    dispute_id = disputed_at_stripe(payment)
    opening = events_of(dispute_id)
    deliver(client, copies([*opening, *opening], lambda events: random.Random(seed).sample(events, len(events))))
    assert entries(payment) == TAKEN
    decide(dispute_id, outcome)
    everything = events_of(dispute_id) * 2
    deliver(client, copies(everything, lambda events: random.Random(seed).sample(events, len(events))))
    [dispute] = rows_of(payment)
    assert dispute.status == outcome.upper()
    assert holds.of(payment.id) == []
    assert books_agree(payment, dispute_id)
    kinds = {
        entry.status for entry in db.session.scalars(select(WebhookEvent).where(WebhookEvent.object_id == dispute_id))
    }
    assert kinds == {"PROCESSED"}


def test_won_gives_the_amount_back_keeps_the_fee_and_lets_refunds_go_on(app: Flask) -> None:
    payment = paid()
    waiting = ask(payment, 4_000, by=support())
    dispute = disputed(payment)
    assert [refund.status for refund in refunds_of(payment)] == ["ON_HOLD"]
    dispute = decided(dispute.stripe_dispute_id or "", "won")
    assert (dispute.status, dispute.answer_by) == ("WON", NO_ANSWER)
    assert dispute.closed_at is not None
    assert entries(payment) == {**TAKEN, "dispute.reinstated": 10_000}
    assert factories.reread(payment).disputed_minor == 0
    assert factories.reread(waiting).status == "PENDING_APPROVAL"
    ask(payment, 6_000)
    assert queued.work_off() == []
    assert [refund.status for refund in refunds_of(payment)] == ["PENDING_APPROVAL", "SUCCEEDED"]
    assert books_agree(payment, dispute.stripe_dispute_id or "")


def test_a_fee_that_stripe_gives_back_is_booked(app: Flask, switches: Any) -> None:
    switches(disputes={"fee_returned": True})
    payment = paid()
    dispute_id = disputed(payment).stripe_dispute_id or ""
    decided(dispute_id, "won")
    assert entries(payment) == {**TAKEN, "dispute.reinstated": 10_000, "dispute.fee_returned": FEE}
    assert books_agree(payment, dispute_id)


def test_lost_is_borne_by_both_sides_by_their_shares_and_nothing_is_left_to_refund(app: Flask) -> None:
    payment = paid()
    waiting = ask(payment, 4_000, by=support())
    dispute_id = disputed(payment).stripe_dispute_id or ""
    decided(dispute_id, "lost")
    assert entries(payment) == {**TAKEN, "dispute.lost.provider_share": 8_500, "dispute.lost.commission": 1_500}
    assert factories.reread(payment).disputed_minor == 10_000
    # No money is left for what waited.
    assert factories.reread(waiting).status == "REJECTED"
    assert holds.of(payment.id) == []
    with pytest.raises(Conflict, match="Nothing is left"):
        ask(payment, 1)
    assert books_agree(payment, dispute_id)


def test_after_part_was_refunded_a_lost_rest_takes_exactly_what_both_sides_have(app: Flask) -> None:
    payment = paid()
    ask(payment, 3_333)
    assert queued.work_off() == []
    dispute_id = disputed(payment).stripe_dispute_id or ""
    assert entries(payment)["dispute.withdrawn"] == 6_667
    decided(dispute_id, "lost")
    assert entries(payment)["dispute.lost.provider_share"] + entries(payment)["dispute.lost.commission"] == 6_667
    assert "dispute.lost.excess" not in entries(payment)
    assert books_agree(payment, dispute_id)


def test_what_was_refunded_before_the_bank_took_it_again_is_our_loss(app: Flask) -> None:
    payment = paid()
    ask(payment, 8_000)
    assert queued.work_off() == []
    dispute_id = disputed(payment, amount=10_000).stripe_dispute_id or ""
    decided(dispute_id, "lost")
    assert entries(payment) == {
        **TAKEN,
        "dispute.lost.provider_share": 1_700,
        "dispute.lost.commission": 300,
        "dispute.lost.excess": 8_000,
    }
    assert books_agree(payment, dispute_id)


def test_what_is_told_late_is_passed_over(app: Flask) -> None:
    payment = paid()
    dispute_id = disputed_at_stripe(payment)
    early = stripe_gateway.retrieve_dispute(dispute_id)
    decided(dispute_id, "won")
    chargebacks.changed(early)
    [dispute] = rows_of(payment)
    assert (dispute.status, dispute.stripe_status) == ("WON", "won")
    assert holds.of(payment.id) == []
    assert books_agree(payment, dispute_id)


def test_movements_that_were_read_earlier_take_nothing_back(app: Flask, switches: Any) -> None:
    switches(disputes={"fee_returned": True})
    payment = paid()
    dispute_id = disputed_at_stripe(payment)
    decide(dispute_id, "won")
    now = stripe_gateway.retrieve_dispute(dispute_id)
    chargebacks.changed(now)
    chargebacks.changed(replace(now, movements=()))
    [dispute] = rows_of(payment)
    assert (dispute.withdrawn_minor, dispute.reinstated_minor) == (10_000, 10_000)
    assert (dispute.fee_minor, dispute.fee_returned_minor) == (FEE, FEE)
    assert factories.reread(payment).disputed_minor == 0
    assert books_agree(payment, dispute_id)


def test_one_in_another_currency_than_its_payment_is_refused(app: Flask) -> None:
    payment = paid()
    news = stripe_gateway.retrieve_dispute(disputed_at_stripe(payment))
    with pytest.raises(Conflict, match=rf"{news.id} is in EUR, but payment {payment.id} in USD"):
        chargebacks.changed(replace(news, currency="EUR"))
    assert (rows_of(payment), entries(payment), holds.of(payment.id)) == ([], {}, [])


def test_two_workers_at_once_book_it_once(app: Flask) -> None:
    payment = paid()
    seen = stripe_gateway.retrieve_dispute(disputed_at_stripe(payment))
    outcomes = at_once(app, *[lambda: chargebacks.changed(seen)] * 4)
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert len(rows_of(payment)) == 1
    assert entries(payment) == TAKEN
    assert len(holds.of(payment.id)) == 1


def test_told_before_its_payment_is_booked_it_waits(app: Flask) -> None:
    held = factories.booking()
    intent = factories.intent_of(held)
    assert factories.confirm(intent.id).ok
    charge_id = stripe_gateway.retrieve_intent(intent.id).charge_id
    dispute_id = ask_stripe("POST", "/_local/disputes", data={"charge": charge_id, "reason": "duplicate"})["id"]
    with pytest.raises(Unavailable, match="not booked as captured yet"):
        told(dispute_id)
    assert db.session.scalars(select(Dispute).where(Dispute.stripe_dispute_id == dispute_id)).all() == []


def test_somebody_elses_dispute_is_ignored(app: Flask, client: FlaskClient) -> None:
    held = factories.booking()
    with transaction():
        # What the event doesn't say must not find a payment that waits for its intent.
        payments.open_payment(
            booking_id=held.id, provider_id=held.provider_id, amount_minor=20_000, currency="USD", by=SYSTEM
        )
    subject = {"id": "du_foreign", "object": "dispute", "charge": "ch_foreign", "payment_intent": None}
    event = factories.event("charge.dispute.created", subject)
    deliver(client, [event])
    stored = db.session.scalars(select(WebhookEvent).where(WebhookEvent.stripe_event_id == event["id"])).one()
    assert stored.status == "IGNORED"


def test_an_inquiry_takes_no_money_and_its_hold_can_be_lifted_with_a_reason(app: Flask) -> None:
    payment = paid()
    dispute = disputed(payment, case_type="inquiry", reason="general")
    assert (dispute.is_inquiry, dispute.is_charge_refundable, entries(payment)) == (True, True, {})
    with pytest.raises(Conflict, match="inquires into it"):
        ask(payment, 10_000)
    with pytest.raises(NotAllowed):
        chargebacks.lift_hold(dispute.id, by=support(), reason="The guest is right")
    with pytest.raises(Invalid):
        chargebacks.lift_hold(dispute.id, by=finance(), reason=" ")
    assert len(holds.of(payment.id)) == 1
    chargebacks.lift_hold(dispute.id, by=finance(), reason="The guest is right")
    assert actions(dispute) == ["dispute.open", "dispute.lift_hold"]
    # Told again, it is not held again.
    told(dispute.stripe_dispute_id or "")
    assert holds.of(payment.id) == []
    ask(payment, 10_000)
    assert queued.work_off() == []
    dispute = told(dispute.stripe_dispute_id or "")
    assert dispute.status == "WITHDRAWN"
    assert books_agree(payment, dispute.stripe_dispute_id or "")


def test_the_hold_of_a_chargeback_stays(app: Flask) -> None:
    payment = paid()
    dispute = disputed(payment)
    with pytest.raises(Conflict, match="doesn't let"):
        chargebacks.lift_hold(dispute.id, by=finance(), reason="The guest is right")
    assert len(holds.of(payment.id)) == 1
    assert actions(dispute) == ["dispute.open"]


def test_an_inquiry_that_becomes_a_chargeback_is_held_again(app: Flask) -> None:
    payment = paid()
    dispute = disputed(payment, case_type="inquiry", reason="general")
    chargebacks.lift_hold(dispute.id, by=finance(), reason="The guest is right")
    dispute = decided(dispute.stripe_dispute_id or "", "escalated")
    assert (dispute.status, dispute.is_inquiry, dispute.hold_lifted_at) == ("OPEN", False, None)
    assert len(holds.of(payment.id)) == 1
    assert entries(payment) == TAKEN
    assert len(rows_of(payment)) == 1
    assert books_agree(payment, dispute.stripe_dispute_id or "")


def test_an_answered_inquiry_that_becomes_a_chargeback_is_answered_anew_as_another(app: Flask) -> None:
    payment = paid()
    dispute_id = disputed(payment, case_type="inquiry", reason="general").stripe_dispute_id or ""
    stripe_gateway.submit_evidence(dispute_id, {"customer_name": "Ada"}, key=f"answer-{dispute_id}")
    assert told(dispute_id).status == "EVIDENCE_SUBMITTED"
    decided(dispute_id, "escalated")
    told(dispute_id)
    assert [(row.status, row.is_inquiry, row.needs_response) for row in rows_of(payment)] == [
        ("WITHDRAWN", True, False),
        ("OPEN", False, True),
    ]
    assert len(holds.of(payment.id)) == 1
    decided(dispute_id, "lost")
    assert [row.status for row in rows_of(payment)] == ["WITHDRAWN", "LOST"]
    assert holds.of(payment.id) == []
    assert books_agree(payment, dispute_id)


def test_what_the_network_paid_back_by_its_own_rules_is_lost_without_a_fee(app: Flask) -> None:
    payment = paid()
    dispute = disputed(payment, case_type="resolution")
    assert dispute.status == "LOST"
    assert entries(payment) == {
        "dispute.withdrawn": 10_000,
        "dispute.lost.provider_share": 8_500,
        "dispute.lost.commission": 1_500,
    }
    assert books_agree(payment, dispute.stripe_dispute_id or "")


def test_a_lost_dispute_over_money_that_was_owed_back_anyway_costs_nobody_but_the_fee(app: Flask) -> None:
    refund = owed_back()
    payment = db.session.get_one(Payment, refund.payment_id)
    dispute_id = disputed(payment).stripe_dispute_id or ""
    decided(dispute_id, "lost")
    assert factories.reread(refund).status == "FAILED"
    assert entries(payment) == {
        "dispute.withdrawn": 20_000,
        "dispute.fee": FEE,
        "dispute.lost.owed_back": 20_000,
    }
    assert books_agree(payment, dispute_id)


def test_entries_of_a_dispute_that_nobody_told_of_contradict_the_books(app: Flask) -> None:
    payment = paid()
    dispute_id = disputed(payment).stripe_dispute_id or ""
    assert db.session.scalars(select(LedgerEntry).where(LedgerEntry.source_id == dispute_id)).all() != []
    db.session.rollback()
    db.session.execute(Dispute.__table__.update().where(Dispute.payment_id == payment.id).values(withdrawn_minor=1))
    db.session.flush()
    [about] = [one for one in INVARIANTS if one.statement.startswith("What a dispute has moved")]
    found = db.session.scalars(text(about.select)).all()
    db.session.rollback()
    assert [line for line in found if line.startswith(dispute_id)] != []
