"""Refunds that fail, are tried again, or were made in Stripe's dashboard: the books follow, entry for entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from app.db import lock, transaction, utcnow
from app.errors import Conflict, Unavailable
from app.extensions import db
from app.payments import inbox, refund_submission, refundable, refunds, stripe_gateway
from app.payments import service as payments
from app.payments.models import LedgerEntry, Payment, Refund, WebhookEvent
from app.payments.stripe_gateway import KeptFailure
from app.payments.stripe_objects import StripeRefund
from app.queue import MAX_ATTEMPTS
from tests import factories, queued
from tests.conftest import wait_for
from tests.payments.refunding import (
    actions,
    ask,
    ask_stripe,
    at_stripe,
    books_are_whole,
    finance,
    paid,
    postings,
    refunds_of,
    shares,
    support,
    withdrawn,
)

REVERSED = {
    **{"refund.provider_share": 3_400, "refund.commission": 600},
    **{"refund.provider_share.reversed": 3_400, "refund.commission.reversed": 600},
}


def take_at_stripe(payment: Payment, amount_minor: int) -> dict[str, Any]:
    """Somebody refunds in Stripe's dashboard, and we aren't told yet."""
    values = {"payment_intent": payment.stripe_payment_intent_id, "amount": amount_minor}
    made: dict[str, Any] = ask_stripe("POST", "/v1/refunds", data=values)
    return made


def tell_of(refund: dict[str, Any], kind: str = "refund.created") -> WebhookEvent:
    """Stripe's event about a refund arrives and is worked through."""
    body = factories.event(kind, {key: refund[key] for key in ("id", "object", "payment_intent")})
    inbox.receive(body)
    assert queued.work_off() == []
    db.session.rollback()
    return db.session.scalars(select(WebhookEvent).where(WebhookEvent.stripe_event_id == body["id"])).one()


def fail_late(payment: Payment, refund: Refund) -> None:
    wait_for(lambda: at_stripe(payment)[0]["status"] == "failed", "Stripe to fail the refund")
    tell_of(at_stripe(payment)[0], "refund.failed")
    assert factories.reread(refund).status == "FAILED"


def refused() -> tuple[Payment, Refund]:
    """A refund of $40.00 that Stripe has refused."""
    payment = paid()
    refund = ask(payment, 4_000)
    take_at_stripe(payment, 7_000)
    assert queued.work_off() == []
    return payment, factories.reread(refund)


def test_what_stripe_refuses_takes_its_shares_back_linked_to_what_they_were(app: Flask) -> None:
    payment, refund = refused()
    assert refund.status == "FAILED"
    assert "greater than unrefunded amount" in refund.failure_reason
    assert postings(payment) == REVERSED
    entries = {
        entry.kind: entry
        for entry in db.session.scalars(select(LedgerEntry).where(LedgerEntry.payment_id == payment.id))
    }
    for kind in ("refund.provider_share", "refund.commission"):
        was, taken_back = entries[kind], entries[f"{kind}.reversed"]
        assert taken_back.reverses_id == was.id
        assert (taken_back.debit_account, taken_back.credit_account) == (was.credit_account, was.debit_account)
    assert factories.reread(payment).refunded_minor == 0


def test_a_refund_that_fails_late_takes_back_payment_and_shares(app: Flask) -> None:
    payment = paid(payment_method="pm_card_refundFail")
    refund = ask(payment, 4_000)
    assert queued.work_off() == []
    assert factories.reread(refund).status == "SUCCEEDED"
    captured_at = factories.reread(payment).succeeded_at
    fail_late(payment, refund)
    assert postings(payment) == {**REVERSED, "refund.paid": 4_000, "refund.failed": 4_000}
    row = factories.reread(payment)
    assert (row.status, row.refunded_minor, row.succeeded_at) == ("SUCCEEDED", 0, captured_at)
    assert books_are_whole(payment)


def test_one_that_was_cancelled_at_stripe_has_failed(app: Flask, switches: Callable[..., None]) -> None:
    payment = paid()
    switches(refunds={"course": "stays_pending"})
    refund = ask(payment, 4_000)
    assert queued.work_off() == []
    pending = stripe_gateway.retrieve_refund(at_stripe(payment)[0]["id"])
    refund_submission.told(replace(pending, status="canceled", came_back=True))
    row = factories.reread(refund)
    assert (row.status, row.failure_reason, row.due_at) == ("FAILED", "canceled", None)
    assert postings(payment) == {**REVERSED, "refund.paid": 4_000, "refund.failed": 4_000}


def test_told_again_of_a_failure_nothing_more_is_reversed(app: Flask) -> None:
    payment = paid(payment_method="pm_card_refundFail")
    refund = ask(payment, 4_000)
    assert queued.work_off() == []
    fail_late(payment, refund)
    tell_of(at_stripe(payment)[0], "refund.updated")
    assert postings(payment) == {**REVERSED, "refund.paid": 4_000, "refund.failed": 4_000}
    assert actions(refund).count("refund.failed") == 1


def test_tried_again_it_is_a_new_submission_and_what_is_told_of_the_first_does_it_no_harm(app: Flask) -> None:
    payment = paid(payment_method="pm_card_refundFail")
    refund = ask(payment, 4_000)
    assert queued.work_off() == []
    fail_late(payment, refund)
    (first,) = at_stripe(payment)
    key = factories.reread(refund).idempotency_key
    refunds.retry(refund.id, by=finance())
    tell_of(first, "refund.failed")
    row = factories.reread(refund)
    assert row.idempotency_key != key
    assert (row.status, row.submission, row.failure_reason) == ("SUCCEEDED", 2, None)
    assert len(at_stripe(payment)) == 2
    assert row.stripe_refund_id != first["id"]
    assert shares(refund) == (3_400, 600, 0)
    sources = db.session.scalars(
        select(LedgerEntry.source_id).where(
            LedgerEntry.payment_id == payment.id, LedgerEntry.kind == "refund.commission"
        )
    )
    assert set(sources) == {f"refund_{row.id}.1", f"refund_{row.id}.2"}
    assert "refund.retry" in actions(refund)
    assert books_are_whole(payment)


def test_an_answer_that_comes_after_it_was_tried_again_is_of_the_first_submission_and_changes_nothing(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = paid()
    refund, create = ask(payment, 4_000), stripe_gateway.create_refund

    def answer_late(**asked: Any) -> StripeRefund:
        monkeypatch.undo()
        first = replace(create(**asked), status="failed", came_back=True)
        ask_stripe("POST", f"/_local/refunds/{first.id}/settle", data={"outcome": "failed"})
        refund_submission.told(stripe_gateway.retrieve_refund(first.id))
        refunds.retry(refund.id, by=finance())
        assert queued.work_off() == []
        return first

    monkeypatch.setattr(stripe_gateway, "create_refund", answer_late)
    refund_submission.submit(refund.id)
    row = factories.reread(refund)
    assert (row.status, row.submission, row.failure_reason) == ("SUCCEEDED", 2, None)
    second = next(made for made in at_stripe(payment) if made["status"] == "succeeded")
    assert row.stripe_refund_id == second["id"]
    assert books_are_whole(payment)


def test_a_refund_is_tried_again_only_where_money_is_left_for_it(app: Flask) -> None:
    payment, refund = refused()
    tell_of(at_stripe(payment)[0])
    before = actions(refund)
    with pytest.raises(Conflict, match=r"Only \$30\.00 is left"):
        refunds.retry(refund.id, by=finance())
    assert (factories.reread(refund).status, actions(refund)) == ("FAILED", before)


def test_one_that_got_no_answer_in_all_its_tries_is_looked_up_before_it_is_asked_for_again(
    app: Flask, switches: Callable[..., None]
) -> None:
    payment = paid()
    refund = ask(payment, 4_000)
    switches(api=[{"fault": "hang_up", "method": "POST", "path": "/v1/refunds"}])
    assert queued.work_off() == []
    switches(api=[])
    before = actions(refund)
    with pytest.raises(Conflict):  # it is at it
        refunds.retry(refund.id, by=finance())
    row = factories.reread(refund)
    assert (row.status, row.due_at is None, actions(refund)) == ("SUBMITTED", False, before)
    row.attempts, row.due_at = MAX_ATTEMPTS, None
    db.session.commit()
    refunds.retry(refund.id, by=finance())
    assert queued.work_off() == []
    row = factories.reread(refund)
    assert (row.status, row.submission, len(at_stripe(payment))) == ("SUCCEEDED", 1, 1)
    assert books_are_whole(payment)


@pytest.mark.parametrize(("error", "is_kept"), [(KeptFailure("Stripe had an error"), False), (Unavailable("No"), True)])
def test_after_an_error_that_stripe_keeps_for_a_key_the_next_try_has_another(
    app: Flask, monkeypatch: pytest.MonkeyPatch, error: Unavailable, is_kept: bool
) -> None:
    payment = paid()
    refund = ask(payment, 4_000)
    key = factories.reread(refund).idempotency_key

    def fail(**_: Any) -> None:
        raise error

    with monkeypatch.context() as patched, pytest.raises(Unavailable):
        patched.setattr(stripe_gateway, "create_refund", fail)
        refund_submission.submit(refund.id)
    assert (factories.reread(refund).idempotency_key == key) is is_kept
    refund_submission.submit(refund.id)
    assert (factories.reread(refund).status, len(at_stripe(payment))) == ("SUCCEEDED", 1)


def make_again(refund: Refund, amount_minor: int) -> dict[str, Any]:
    """Stripe has made another refund for the same submission, and its list did not show the first in time."""
    row = factories.reread(refund)
    payment = db.session.get_one(Payment, row.payment_id)
    values = {
        "payment_intent": payment.stripe_payment_intent_id,
        "amount": amount_minor,
        "metadata[refund_id]": row.id,
        "metadata[submission]": row.submission,
    }
    made: dict[str, Any] = ask_stripe("POST", "/v1/refunds", data=values)
    return made


def test_a_second_one_that_stripe_made_for_a_submission_is_booked_beside_the_first(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 4_000)
    assert queued.work_off() == []
    first = factories.reread(refund).stripe_refund_id
    second = make_again(refund, 4_000)
    for _ in range(2):
        tell_of(second, "refund.updated")
    row, other = refunds_of(payment)
    assert (row.stripe_refund_id, row.status) == (first, "SUCCEEDED")
    assert (other.stripe_refund_id, other.status, other.reason) == (second["id"], "SUCCEEDED", "stripe_dashboard")
    assert other.note == f"Stripe made it for refund {refund.id}, which has another one there or has failed."
    assert postings(payment)["refund.paid"] == 8_000
    assert factories.reread(payment).refunded_minor == 8_000
    assert books_are_whole(payment)


def test_of_two_that_stripe_made_for_a_submission_the_one_that_failed_moves_the_books_there_and_back(
    app: Flask,
) -> None:
    payment = paid()
    refund = ask(payment, 4_000)
    assert queued.work_off() == []
    second = make_again(refund, 4_000)
    ask_stripe("POST", f"/_local/refunds/{second['id']}/settle", data={"outcome": "failed"})
    tell_of(second, "refund.failed")
    row, other = refunds_of(payment)
    assert (row.status, other.status, other.stripe_refund_id) == ("SUCCEEDED", "FAILED", second["id"])
    assert factories.reread(payment).refunded_minor == 4_000
    assert books_are_whole(payment)


def test_told_of_the_failure_again_before_it_is_sent_anew_the_next_submission_is_made(app: Flask) -> None:
    payment = paid(payment_method="pm_card_refundFail")
    refund = ask(payment, 4_000)
    assert queued.work_off() == []
    fail_late(payment, refund)
    first = stripe_gateway.retrieve_refund(at_stripe(payment)[0]["id"])
    refunds.retry(refund.id, by=finance())
    refund_submission.told(first)
    assert factories.reread(refund).stripe_refund_id is None
    refund_submission.submit(refund.id)
    row = factories.reread(refund)
    assert (row.status, row.submission, len(at_stripe(payment))) == ("SUCCEEDED", 2, 2)
    assert len(refunds_of(payment)) == 1
    assert books_are_whole(payment)


def test_a_refusal_of_what_is_paid_by_now_fails_nothing(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first try paid; before its event came, a second one with a new key was on its way."""
    payment = paid()
    refund = ask(payment, 10_000)

    def refuse(**_: Any) -> None:
        refund_submission.told(stripe_gateway.retrieve_refund(make_again(refund, 10_000)["id"]))
        raise Conflict("Stripe refused: the charge has already been refunded.")

    monkeypatch.setattr(stripe_gateway, "create_refund", refuse)
    refund_submission.submit(refund.id)
    assert (factories.reread(refund).status, factories.reread(payment).status) == ("SUCCEEDED", "REFUNDED")
    assert books_are_whole(payment)


def test_what_was_made_though_stripe_refused_it_in_the_end_is_booked(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = paid()
    refund, made = ask(payment, 10_000), {}

    def refuse(**_: Any) -> None:
        made.update(make_again(refund, 10_000))
        raise Conflict("Stripe refused: the charge has already been refunded.")

    with monkeypatch.context() as patched:
        patched.setattr(stripe_gateway, "create_refund", refuse)
        refund_submission.submit(refund.id)
    assert factories.reread(refund).status == "FAILED"
    tell_of(made)
    row, other = refunds_of(payment)
    assert (row.status, other.status, other.stripe_refund_id) == ("FAILED", "SUCCEEDED", made["id"])
    assert factories.reread(payment).status == "REFUNDED"
    assert books_are_whole(payment)


def test_an_error_kept_for_one_key_leaves_the_key_of_the_next_submission(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    refund = ask(paid(), 4_000)

    def fail(**_: Any) -> None:
        with transaction():
            lock(Refund, refund.id).idempotency_key = f"next_{refund.id}"
        raise KeptFailure("Stripe had an error")

    monkeypatch.setattr(stripe_gateway, "create_refund", fail)
    with pytest.raises(KeptFailure):
        refund_submission.submit(refund.id)
    assert factories.reread(refund).idempotency_key == f"next_{refund.id}"


def test_what_is_not_due_is_not_asked_for(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 4_000)
    with transaction():
        lock(Refund, refund.id).due_at = None
    refund_submission.submit(refund.id)
    assert (factories.reread(refund).status, at_stripe(payment)) == ("APPROVED", [])
    with transaction():
        lock(Refund, refund.id).hand_out()
    assert queued.work_off() == []
    assert factories.reread(refund).status == "SUCCEEDED"


def test_a_worker_killed_between_its_commit_and_the_call_leaves_one_refund_at_stripe(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = paid()
    refund = ask(payment, 4_000)

    def die(**_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(stripe_gateway, "create_refund", die)
        refund_submission.submit(refund.id)
    assert (factories.reread(refund).status, at_stripe(payment)) == ("SUBMITTED", [])
    refund_submission.submit(refund.id)
    refund_submission.submit(refund.id)
    assert factories.reread(refund).status == "SUCCEEDED"
    assert len(at_stripe(payment)) == 1
    assert books_are_whole(payment)


def test_a_refund_made_in_stripes_dashboard_is_noticed_and_booked_once(app: Flask) -> None:
    payment = paid()
    made = take_at_stripe(payment, 4_000)
    assert tell_of(made).status == "PROCESSED"
    tell_of(made, "refund.updated")
    (refund,) = refunds_of(payment)
    assert (refund.status, refund.reason, refund.stripe_refund_id) == ("SUCCEEDED", "stripe_dashboard", made["id"])
    assert (refund.amount_minor, refund.requested_by_id) == (4_000, None)
    assert shares(refund) == (3_400, 600, 0)
    assert postings(payment) == {"refund.provider_share": 3_400, "refund.commission": 600, "refund.paid": 4_000}
    assert factories.reread(payment).status == "PARTIALLY_REFUNDED"
    assert books_are_whole(payment)


def test_one_made_in_the_dashboard_that_fails_is_not_tried_again_here(app: Flask) -> None:
    payment = paid(payment_method="pm_card_refundFail")
    tell_of(take_at_stripe(payment, 4_000))
    (refund,) = refunds_of(payment)
    fail_late(payment, refund)
    assert postings(payment) == {**REVERSED, "refund.paid": 4_000, "refund.failed": 4_000}
    with pytest.raises(Conflict, match="dashboard"):
        refunds.retry(refund.id, by=finance())
    assert books_are_whole(payment)


def test_one_made_in_the_dashboard_that_is_pending_is_looked_up_and_never_made_again(
    app: Flask, switches: Callable[..., None]
) -> None:
    payment = paid()
    switches(refunds={"course": "stays_pending"})
    made = take_at_stripe(payment, 3_000)
    tell_of(made)
    (row,) = refunds_of(payment)
    assert (row.status, row.stripe_refund_id) == ("SUBMITTED", made["id"])
    with transaction():
        lock(Refund, row.id).due_at = utcnow()
    refund_submission.submit(row.id)
    assert [refund["id"] for refund in at_stripe(payment)] == [made["id"]]
    assert factories.reread(row).stripe_refund_id == made["id"]
    with transaction():
        given_up = lock(Refund, row.id)
        given_up.attempts, given_up.due_at, given_up.last_error = MAX_ATTEMPTS, None, "Stripe gave no answer"
    refunds.retry(row.id, by=finance())
    assert queued.work_off() == []
    assert [refund["id"] for refund in at_stripe(payment)] == [made["id"]]
    ask_stripe("POST", f"/_local/refunds/{made['id']}/settle", data={"outcome": "succeeded"})
    tell_of(made, "refund.updated")
    assert factories.reread(row).status == "SUCCEEDED"
    assert books_are_whole(payment)


def test_one_made_in_the_dashboard_and_told_after_a_chargeback_of_everything_is_booked(app: Flask) -> None:
    payment = paid()
    made = take_at_stripe(payment, 3_000)
    withdrawn(payment, 10_000)
    tell_of(made)
    (refund,) = refunds_of(payment)
    assert (refund.status, shares(refund)) == ("SUCCEEDED", (2_550, 450, 0))
    row = factories.reread(payment)
    assert (row.refunded_minor, row.disputed_minor, refundable.left_of(row)) == (3_000, 10_000, -3_000)
    with pytest.raises(Conflict, match="Nothing is left"):
        ask(payment, 1)


def test_a_refund_of_nothing_is_of_no_payment_here(app: Flask) -> None:
    held = factories.booking()
    with transaction():
        payments.open_payment(
            booking_id=held.id, provider_id=held.provider_id, amount_minor=100, currency="USD", by=factories.actor()
        )
    assert not refund_submission.is_about_ours("re_of_somebody_else", None)


def test_what_waits_here_gives_way_to_what_was_made_in_the_dashboard_the_newest_first(app: Flask) -> None:
    payment, by = paid(), support()
    oldest, older, newest = (ask(payment, amount, by=by) for amount in (3_000, 3_001, 3_002))
    tell_of(take_at_stripe(payment, 7_000))
    assert [row.status for row in refunds_of(payment)] == ["PENDING_APPROVAL", "REJECTED", "REJECTED", "SUCCEEDED"]
    assert actions(newest)[-1] == "refund.give_way"
    assert actions(oldest) == ["refund.request"]
    assert actions(older)[-1] == "refund.give_way"


@pytest.mark.parametrize("kind", ["standard", "goodwill"])
def test_one_made_in_the_dashboard_waits_for_ours_that_is_at_stripe_already(app: Flask, kind: str) -> None:
    payment = paid()
    made = take_at_stripe(payment, 7_000)
    refund = ask(payment, 4_000, kind=kind)
    row = factories.reread(refund)
    db.session.execute(Refund.__table__.update().where(Refund.id == row.id).values(due_at=None, leased_until=None))
    db.session.commit()
    _submit_without_calling(refund)
    assert tell_of(made).status == "RECEIVED"
    assert len(refunds_of(payment)) == 1


def _submit_without_calling(refund: Refund) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(refund_submission, "_create", _die)
        row = factories.reread(refund)
        row.due_at = row.created_at
        db.session.commit()
        with pytest.raises(KeyboardInterrupt):
            refund_submission.submit(refund.id)
    row = factories.reread(refund)
    row.due_at = None
    db.session.commit()


def _die(*_: Any) -> None:
    raise KeyboardInterrupt


def test_one_that_fails_while_it_is_pending_has_left_the_balance_and_come_back(
    app: Flask, switches: Callable[..., None]
) -> None:
    switches(timing={"settle": 3600, "balance_transaction": 0})
    payment = paid(payment_method="pm_card_pendingRefund")
    refund = ask(payment, 4_000)
    assert queued.work_off() == []
    (pending,) = at_stripe(payment)
    assert (pending["status"], factories.reread(refund).status) == ("pending", "SUBMITTED")
    ask_stripe("POST", f"/_local/refunds/{pending['id']}/settle", data={"outcome": "failed"})
    tell_of(pending, "refund.failed")
    assert factories.reread(refund).status == "FAILED"
    assert postings(payment) == {**REVERSED, "refund.paid": 4_000, "refund.failed": 4_000}
    assert books_are_whole(payment)
