"""Holds: while one stands nothing new goes out; what waited is put aside and goes on from where it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from flask import Flask

from app.audit.actor import STRIPE, SYSTEM
from app.db import transaction, utcnow
from app.errors import Conflict, Unavailable
from app.extensions import db
from app.payments import holds, refund_approval, refund_submission, refunds
from app.payments.models import Payment, Refund
from app.payments.stripe_objects import StripeRefund
from app.queue import MAX_ATTEMPTS
from tests import factories, queued
from tests.payments.refunding import (
    actions,
    ask,
    ask_stripe,
    at_stripe,
    books_are_whole,
    finance,
    paid,
    refunds_of,
    support,
    withdrawn,
)

UNTIL = datetime(2031, 3, 4, 17, 30, tzinfo=UTC)


def hold(payment: Payment, source: str | None = None) -> str:
    source = source or f"claim:{payment.id}"
    holds.place(payment.id, source=source, reason="The guest's bank disputes it", until=UNTIL, by=STRIPE)
    return source


def test_while_held_every_way_to_a_refund_is_refused_with_the_reason_and_the_deadline(app: Flask) -> None:
    payment = paid()
    failed = ask(payment, 1_000)
    ask_stripe("POST", "/v1/refunds", data={"payment_intent": payment.stripe_payment_intent_id, "amount": 9_500})
    assert queued.work_off() == []
    pending = ask(payment, 1_001, by=support())
    hold(payment)
    words = r"on hold, until 4 Mar 2031 at 17:30 UTC: The guest's bank disputes it\."
    with pytest.raises(Conflict, match=words):
        ask(payment, 500)
    with pytest.raises(Conflict, match=words):
        refund_approval.approve(pending.id, by=finance())
    with pytest.raises(Conflict, match=words):
        refunds.retry(failed.id, by=finance())
    quote = refunds.quote(payment.id, 500, by=finance())
    assert "on hold" in (quote.refusal or "")
    assert [standing.source for standing in quote.holds] == [f"claim:{payment.id}"]
    assert [row.status for row in refunds_of(payment)] == ["FAILED", "ON_HOLD"]


def test_one_source_holds_one_payment(app: Flask) -> None:
    held, other = paid(), paid()
    source = hold(held)
    with pytest.raises(Conflict, match=rf"{source} holds payment {held.id} already"):
        hold(other, source)
    assert holds.of(other.id) == []
    assert [standing.source for standing in holds.of(held.id)] == [source]


def test_what_waits_is_put_aside_and_goes_on_from_where_it_was(app: Flask) -> None:
    payment = paid()
    approved, pending = ask(payment, 1_000), ask(payment, 2_000, by=support())
    source = hold(payment)
    assert [(row.status, row.held_status, row.due_at) for row in refunds_of(payment)] == [
        ("ON_HOLD", "APPROVED", None),
        ("ON_HOLD", "PENDING_APPROVAL", None),
    ]
    assert queued.work_off() == []
    assert {row.status for row in refunds_of(payment)} == {"ON_HOLD"}
    holds.lift(source, by=SYSTEM, reason="The bank withdrew it")
    assert queued.work_off() == []
    assert [row.status for row in refunds_of(payment)] == ["SUCCEEDED", "PENDING_APPROVAL"]
    assert factories.reread(pending).expires_at > utcnow()
    assert actions(approved) == [
        *("refund.approve", "refund.hold", "refund.release", "refund.submit", "refund.succeeded"),
    ]
    assert holds.of(payment.id) == []
    ask(payment, 300)
    assert queued.work_off() == []
    assert books_are_whole(payment)


def test_two_holds_have_both_to_be_lifted(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 1_000)
    first, second = hold(payment), hold(payment, f"check:{payment.id}")
    holds.lift(first, by=SYSTEM, reason="Won")
    holds.lift(first, by=SYSTEM, reason="Told twice")
    assert factories.reread(refund).status == "ON_HOLD"
    with pytest.raises(Conflict):
        ask(payment, 500)
    holds.lift(second, by=SYSTEM, reason="Checked")
    assert factories.reread(refund).status == "APPROVED"


def test_placed_again_by_the_same_source_a_hold_has_the_newer_deadline(app: Flask) -> None:
    payment = paid()
    source = hold(payment)
    holds.place(payment.id, source=source, reason="Evidence is with the bank", until=None, by=STRIPE)
    (standing,) = holds.of(payment.id)
    assert (standing.reason, standing.until) == ("Evidence is with the bank", None)
    assert standing.words == "Refunds of this payment are on hold: Evidence is with the bank."
    holds.lift(source, by=STRIPE, reason="Won")
    hold(payment, source)
    assert len(holds.of(payment.id)) == 1


def test_what_is_at_stripe_already_goes_on(app: Flask) -> None:
    payment = paid(payment_method="pm_card_pendingRefund")
    refund = ask(payment, 1_000)
    assert queued.work_off() == []
    assert factories.reread(refund).status == "SUBMITTED"
    hold(payment)
    assert factories.reread(refund).status == "SUBMITTED"


def asked_in_vain(payment: Payment, switches: Callable[..., None], fault: str = "error_before") -> Refund:
    """A refund that Stripe was asked for, and gave no answer to."""
    refund = ask(payment, 1_000)
    switches(api=[{"fault": fault, "method": "POST", "path": "/v1/refunds"}])
    assert queued.work_off() == []
    switches(api=[])
    row = factories.reread(refund)
    assert (row.status, row.stripe_refund_id) == ("SUBMITTED", None)
    return row


def test_what_stripe_was_asked_for_and_has_not_made_is_not_made_while_held(
    app: Flask, switches: Callable[..., None]
) -> None:
    payment = paid()
    refund = asked_in_vain(payment, switches)
    tries = refund.attempts
    source = hold(payment)
    refund_submission.submit(refund.id)
    row = factories.reread(refund)
    assert (row.status, row.attempts, at_stripe(payment)) == ("SUBMITTED", tries, [])
    assert row.due_at > utcnow()
    assert "before the hold of its payment is lifted" in row.last_error
    holds.lift(source, by=STRIPE, reason="Won")
    assert queued.work_off() == []
    row = factories.reread(refund)
    assert (row.status, row.last_error, len(at_stripe(payment))) == ("SUCCEEDED", None, 1)
    assert books_are_whole(payment)


def test_what_waits_for_a_hold_gives_way_to_what_stripe_has_refunded_meanwhile(
    app: Flask, switches: Callable[..., None]
) -> None:
    payment = paid()
    refund = asked_in_vain(payment, switches)
    hold(payment)
    refund_submission.submit(refund.id)
    assert factories.reread(refund).status == "SUBMITTED"
    rest = payment.amount_minor - refund.amount_minor + 1
    data = {"payment_intent": payment.stripe_payment_intent_id, "amount": rest}
    made = StripeRefund.of(ask_stripe("POST", "/_local/refunds", data=data))
    with pytest.raises(Unavailable, match="still under way"):
        refund_submission.told(made)
    refund_submission.submit(refund.id)
    row = factories.reread(refund)
    assert (row.status, row.failure_reason) == ("FAILED", refund_submission._NO_ROOM)
    refund_submission.told(made)
    assert books_are_whole(payment)


def test_what_stripe_was_asked_for_and_has_made_is_taken_over_while_held(
    app: Flask, switches: Callable[..., None]
) -> None:
    payment = paid()
    refund = asked_in_vain(payment, switches, fault="error_after")
    hold(payment)
    refund_submission.submit(refund.id)
    assert (factories.reread(refund).status, len(at_stripe(payment))) == ("SUCCEEDED", 1)
    assert books_are_whole(payment)


def test_what_was_given_up_is_looked_up_by_a_person_while_held_and_not_made(
    app: Flask, switches: Callable[..., None]
) -> None:
    payment = paid()
    refund = asked_in_vain(payment, switches)
    refund.due_at, refund.attempts = None, MAX_ATTEMPTS
    db.session.commit()
    hold(payment)
    refunds.retry(refund.id, by=finance())
    assert queued.work_off() == []
    row = factories.reread(refund)
    assert (row.status, row.due_at is not None, at_stripe(payment)) == ("SUBMITTED", True, [])


def test_what_a_cancellation_promises_waits_for_the_end_of_the_hold(app: Flask) -> None:
    payment = paid()
    source = hold(payment)
    with transaction():
        refunds.by_policy(payment, amount_minor=5_000, reason="cancelled", by=factories.actor())
    (refund,) = refunds_of(payment)
    assert (refund.status, refund.held_status, refund.due_at) == ("ON_HOLD", "APPROVED", None)
    assert queued.work_off() == []
    holds.lift(source, by=STRIPE, reason="Won")
    assert queued.work_off() == []
    assert factories.reread(refund).status == "SUCCEEDED"


def test_after_a_lost_dispute_what_no_money_is_left_for_gives_way_the_newest_first(app: Flask) -> None:
    payment = paid()
    older, newer = ask(payment, 3_000), ask(payment, 4_000, by=support())
    source = hold(payment)
    withdrawn(payment, 6_000)
    holds.lift(source, by=STRIPE, reason="Lost")
    assert [row.status for row in refunds_of(payment)] == ["APPROVED", "REJECTED"]
    assert actions(newer)[-1] == "refund.give_way"
    withdrawn(payment, 2_000)
    source = hold(payment)
    holds.lift(source, by=STRIPE, reason="Lost")
    assert factories.reread(older).status == "FAILED"
    assert "dispute" in factories.reread(older).failure_reason
