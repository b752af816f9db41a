"""The second person: who waits for one, who may be one, what whoever comes second is told, and running out of time."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import text

from app.audit.actor import SYSTEM, Actor
from app.audit.models import AuditEntry
from app.db import transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed
from app.extensions import db
from app.payments import holds, refund_approval, refundable, refunds
from app.payments.models import Payment, Refund, RefundLimit
from app.states import move
from jobs import payments as payment_jobs
from tests import factories, queued
from tests.concurrency import at_once
from tests.payments.refunding import (
    actions,
    ask,
    books_are_whole,
    finance,
    paid,
    postings,
    refunds_of,
    support,
    withdrawn,
)


def admin() -> Actor:
    return factories.actor(factories.staff("admin"))


def waiting(amount_minor: int = 2_000) -> Refund:
    return ask(paid(), amount_minor, by=support())


def expire(refund: Refund) -> None:
    with transaction():
        due = "UPDATE refunds SET expires_at = now() - interval '1 second' WHERE id = :id"
        db.session.execute(text(due), {"id": refund.id})


def fail(refund: Refund) -> None:
    """Stripe refuses it."""
    with transaction():
        _, row = refundable.lock_with_payment(refund.id)
        move(row, "FAILED")
        row.finished()


def unchanged(refund: Refund, before: list[str]) -> bool:
    row = factories.reread(refund)
    return (row.status, row.due_at, actions(row)) == ("PENDING_APPROVAL", None, before)


def test_what_support_asks_for_waits_until_somebody_from_finance_approves(app: Flask) -> None:
    refund = waiting()
    assert (refund.status, refund.due_at, refund.decided_by_id) == ("PENDING_APPROVAL", None, None)
    assert queued.work_off() == []
    assert factories.reread(refund).status == "PENDING_APPROVAL"
    approver = finance()
    refund_approval.approve(refund.id, by=approver)
    assert queued.work_off() == []
    row = factories.reread(refund)
    assert (row.status, row.decided_by_id) == ("SUCCEEDED", approver.id)
    assert actions(row) == ["refund.request", "refund.approve", "refund.submit", "refund.succeeded"]


def test_above_the_limit_of_the_role_a_refund_waits_and_at_it_it_does_not(app: Flask) -> None:
    payment = paid(nights=30)
    assert ask(payment, 50_000).status == "APPROVED"
    assert ask(payment, 50_001).status == "PENDING_APPROVAL"
    assert ask(payment, 50_002, by=admin()).status == "APPROVED"
    assert refunds.quote(payment.id, 50_001, by=finance()).second_person == (
        "Your limit is $500.00. A second person approves what goes beyond it."
    )
    both = factories.actor(factories.staff("finance", "admin"))
    assert refunds.quote(payment.id, 100_000, by=both).second_person is None


def test_a_limit_is_not_passed_in_small_steps(app: Flask) -> None:
    payment, by = paid(nights=30), finance()
    assert ask(payment, 30_000, by=by).status == "APPROVED"
    assert ask(payment, 30_000, by=by).status == "PENDING_APPROVAL"
    assert ask(payment, 20_000, by=by).status == "APPROVED"
    assert "$500.00 of this payment" in (refunds.quote(payment.id, 1, by=by).second_person or "")


def test_a_limit_is_not_passed_by_trying_again_what_failed(app: Flask) -> None:
    payment, by = paid(nights=30), finance()
    refund = ask(payment, 50_000, by=by)
    fail(refund)
    instead = ask(payment, 50_000, by=by)
    assert instead.status == "APPROVED"
    before = actions(refund)
    with pytest.raises(
        Conflict, match=r"\$500\.00 of this payment are refunded by you already.*somebody else has to try"
    ):
        refunds.retry(refund.id, by=by)
    row = factories.reread(refund)
    assert (row.status, row.due_at, actions(row)) == ("FAILED", None, before)
    assert refunds.retry(refund.id, by=finance()).status == "APPROVED"


def test_what_failed_is_tried_again_by_who_asked_within_the_limit_or_with_somebody_elses_approval(app: Flask) -> None:
    payment, by = paid(nights=30), finance()
    within, approved = ask(payment, 50_000, by=by), ask(payment, 50_001, by=by)
    refund_approval.approve(approved.id, by=finance())
    fail(within)
    fail(approved)
    assert refunds.retry(within.id, by=by).status == "APPROVED"
    assert refunds.retry(approved.id, by=by).status == "APPROVED"


def test_nobody_approves_their_own_request(app: Flask) -> None:
    by = finance()
    refund = ask(paid(nights=30), 50_001, by=by)
    before = actions(refund)
    with pytest.raises(NotAllowed, match="Somebody else has to approve"):
        refund_approval.approve(refund.id, by=by)
    assert unchanged(refund, before)
    refund_approval.approve(refund.id, by=finance())


def test_support_approves_and_rejects_nothing(app: Flask) -> None:
    refund = waiting()
    before = actions(refund)
    with pytest.raises(NotAllowed):
        refund_approval.approve(refund.id, by=support())
    with pytest.raises(NotAllowed):
        refund_approval.reject(refund.id, by=support(), reason="No")
    with pytest.raises(NotAllowed):
        refunds.retry(refund.id, by=support())
    assert unchanged(refund, before)


def test_of_two_who_approve_at_once_one_does_and_the_other_reads_who_was_first_and_how_long_ago(app: Flask) -> None:
    refund, people = waiting(), (finance(), finance())
    refund_id = refund.id
    outcomes = at_once(app, *(lambda by=by: refund_approval.approve(refund_id, by=by) for by in people))
    (refusal,) = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    first = people[1 - outcomes.index(refusal)]
    assert re.match(rf"{first.label} approved this refund (just now|\d+ seconds? ago)\.", refusal.detail)
    assert actions(factories.reread(refund)).count("refund.approve") == 1
    assert queued.work_off() == []
    assert factories.reread(refund).status == "SUCCEEDED"
    with pytest.raises(Conflict, match=rf"{first.label} approved this refund"):
        refund_approval.reject(refund_id, by=people[0], reason="Too late")


def test_a_rejected_refund_gives_its_money_free_and_keeps_the_reason(app: Flask) -> None:
    refund = waiting(10_000)
    payment = db.session.get_one(type(paid()), refund.payment_id)
    before = actions(refund)
    with pytest.raises(Invalid):
        refund_approval.reject(refund.id, by=finance(), reason=" ")
    assert unchanged(refund, before)
    rejecter = finance()
    refund_approval.reject(refund.id, by=rejecter, reason="Not covered")
    row = factories.reread(refund)
    assert (row.status, row.decided_by_id) == ("REJECTED", rejecter.id)
    entry = (
        db.session.query(AuditEntry).filter_by(object_type="refunds", object_id=row.id, action="refund.reject").one()
    )
    assert entry.reason == "Not covered"
    with pytest.raises(Conflict, match="rejected this refund"):
        refund_approval.approve(refund.id, by=finance())
    assert ask(payment, 10_000).status == "APPROVED"
    assert queued.work_off() == []
    assert books_are_whole(payment)


def test_an_approval_that_nobody_gave_in_time_expires(app: Flask) -> None:
    late, still_waiting = waiting(), waiting()
    expire(late)
    before = actions(late)
    with pytest.raises(Conflict, match="time to approve this refund is over"):
        refund_approval.approve(late.id, by=finance())
    assert unchanged(late, before)
    payment_jobs.expire_refunds()
    assert factories.reread(late).status == "EXPIRED"
    assert actions(late)[-1] == "refund.expire"
    assert factories.reread(still_waiting).status == "PENDING_APPROVAL"
    with pytest.raises(Conflict, match="let go this refund"):
        refund_approval.approve(late.id, by=finance())


def test_one_that_was_held_and_released_just_as_its_time_ran_out_waits_on(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    refund, source = waiting(), f"claim:{uuid4()}"
    expire(refund)
    lock_both = refundable.lock_with_payment

    def meanwhile(refund_id: int) -> tuple[Payment, Refund]:
        # Behind the look for what is due, and in front of its lock.
        holds.place(refund.payment_id, source=source, reason="Looked into", until=None, by=SYSTEM)
        holds.lift(source, by=SYSTEM, reason="Nothing was found")
        return lock_both(refund_id)

    monkeypatch.setattr(refundable, "lock_with_payment", meanwhile)
    refund_approval.expire_due()
    row = factories.reread(refund)
    assert (row.status, row.expires_at > utcnow()) == ("PENDING_APPROVAL", True)
    assert actions(row) == ["refund.request", "refund.hold", "refund.release"]


def test_an_approval_is_refused_once_nothing_is_left_for_it(app: Flask) -> None:
    refund = waiting()
    payment = db.session.get_one(Payment, refund.payment_id)
    withdrawn(payment, 9_000)
    before = actions(refund)
    with pytest.raises(Conflict, match="Not enough is left of this payment"):
        refund_approval.approve(refund.id, by=finance())
    assert unchanged(refund, before)


def test_a_waiting_refund_cannot_be_sent_past_its_approval_as_a_retry(app: Flask) -> None:
    refund = waiting()
    before = actions(refund)
    with pytest.raises(Conflict):
        refunds.retry(refund.id, by=finance())
    assert unchanged(refund, before)
    assert postings(db.session.get_one(type(paid()), refund.payment_id)) == {}


def test_admins_change_the_limits_and_nobody_else(empty_app: Flask) -> None:
    limits = {limit.role: limit for limit in refund_approval.limits()}
    assert {role: limit.amount_minor for role, limit in limits.items()} == {"finance": 50_000, "admin": 200_000}
    with pytest.raises(NotAllowed):
        refund_approval.set_limit(limits["finance"].id, 1, by=finance(), reason="More")
    for wrong in (-1, 10**12):
        with pytest.raises(Invalid):
            refund_approval.set_limit(limits["finance"].id, wrong, by=admin(), reason="More")
    assert factories.reread(limits["finance"]).amount_minor == 50_000
    refund_approval.set_limit(limits["finance"].id, 0, by=admin(), reason="Everything is looked at")
    assert db.session.get_one(RefundLimit, limits["finance"].id).amount_minor == 0
    payment = paid()
    assert ask(payment, 1).status == "PENDING_APPROVAL"
    assert len(refunds_of(payment)) == 1
