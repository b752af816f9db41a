"""Answering a chargeback: what is said is staged, and submitted once; or the dispute is accepted."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from app.audit.edits import SavedMeanwhile
from app.audit.models import AuditEntry
from app.bookings.models import Booking
from app.db import lock, transaction, utcnow
from app.disputes import evidence
from app.disputes.models import Dispute
from app.errors import Conflict, Invalid, NotAllowed
from app.extensions import db
from app.payments import stripe_gateway
from app.payments.models import Payment
from app.queue import sweep
from tests import factories, queued
from tests.conftest import wait_for
from tests.disputes.disputing import books_agree, decide, disputed, told
from tests.payments.refunding import ask_stripe, finance, paid, support


def reread(dispute: Dispute) -> Dispute:
    db.session.rollback()
    return db.session.get_one(Dispute, dispute.id, populate_existing=True)


def staged(**typed: str) -> Dispute:
    """A chargeback whose evidence Stripe has, and the bank has not."""
    dispute = disputed(paid())
    evidence.stage(dispute.id, typed, seen=0, by=finance())
    assert queued.work_off() == []
    return reread(dispute)


def at_stripe(dispute: Dispute) -> dict[str, Any]:
    found: dict[str, Any] = ask_stripe("GET", f"/v1/disputes/{dispute.stripe_dispute_id}")
    return found


def make_due(dispute: Dispute) -> None:
    with transaction():
        row = lock(Dispute, dispute.id)
        row.due_at, row.leased_until = utcnow() - timedelta(seconds=1), None


def actions(dispute: Dispute) -> list[str]:
    entry = select(AuditEntry.action).where(AuditEntry.object_type == "disputes", AuditEntry.object_id == dispute.id)
    return list(db.session.scalars(entry.order_by(AuditEntry.id)))


def test_evidence_is_filled_in_from_the_booking_its_policy_and_its_receipt(app: Flask) -> None:
    payment = paid()
    dispute = disputed(payment)
    assert dispute.customer_email_address.endswith("@example.org")
    assert dispute.product_description.startswith("Hotel stay: Package ")
    assert "50 % is paid back when cancelled at least 1 day before" in dispute.cancellation_policy_disclosure
    assert dispute.cancellation_rebuttal == "The booking was never cancelled; its place is still kept for the customer."
    booking = db.session.get_one(Booking, payment.booking_id)
    days = f"{booking.starts_on.day} {booking.starts_on:%b %Y} to {booking.ends_on.day} {booking.ends_on:%b %Y}"
    assert dispute.service_date == days
    assert f"From {days}, 1 unit, " in dispute.product_description
    assert not re.search(r"\d{4}-\d\d", " ".join(evidence.written_of(dispute).values()))
    receipt = dispute.uncategorized_text.splitlines()
    assert receipt[0].startswith("Receipt of booking TD-")
    assert any(
        line.startswith("Paid $100.00 USD on ") and line.endswith(f"charge {payment.stripe_charge_id}.")
        for line in receipt
    )
    # Nobody has said anything yet.
    assert at_stripe(dispute)["evidence_details"]["has_evidence"] is False


def test_staged_evidence_is_at_stripe_and_not_with_the_bank(app: Flask) -> None:
    dispute = staged(product_description="A room with a view")
    assert at_stripe(dispute)["evidence"]["product_description"] == "A room with a view"
    assert at_stripe(dispute)["evidence_details"]["submission_count"] == 0
    assert (dispute.status, dispute.asked, dispute.due_at, evidence.is_staged(dispute)) == ("OPEN", None, None, True)
    assert actions(dispute) == ["dispute.open", "dispute.stage", "dispute.update", "dispute.answered"]
    # A field that is emptied is taken back at Stripe.
    evidence.stage(dispute.id, {"product_description": ""}, seen=2**40, by=finance())
    assert queued.work_off() == []
    assert at_stripe(dispute)["evidence"]["product_description"] is None
    assert evidence.is_staged(reread(dispute))


def test_an_export_says_of_evidence_what_the_page_says(app: Flask) -> None:
    def exported(dispute: Dispute) -> str | None:
        db.session.rollback()
        return db.session.scalar(select(evidence.STATE).where(Dispute.id == dispute.id))

    dispute = disputed(paid())
    assert exported(dispute) == "DRAFT"
    dispute = staged(refund_refusal_explanation="", product_description="A room with a view")
    assert exported(dispute) == "STAGED"
    with transaction():
        lock(Dispute, dispute.id).product_description = "Changed since"
    assert exported(dispute) == "DRAFT"
    with transaction():
        lock(Dispute, dispute.id).product_description = "A room with a view"
    evidence.submit(dispute.id, by=finance())
    queued.work_off()
    assert exported(dispute) == "SUBMITTED"
    over = disputed(paid())
    decide(over.stripe_dispute_id or "", "lost")
    assert exported(told(over.stripe_dispute_id or "")) is None


def test_only_what_is_staged_is_submitted_and_only_once(app: Flask) -> None:
    dispute = disputed(paid())
    with pytest.raises(Conflict, match="Stage the evidence first"):
        evidence.submit(dispute.id, by=finance())
    assert (reread(dispute).asked, reread(dispute).due_at) == (None, None)
    evidence.stage(dispute.id, {}, seen=0, by=finance())
    assert queued.work_off() == []
    with pytest.raises(NotAllowed):
        evidence.submit(dispute.id, by=support())
    evidence.submit(dispute.id, by=finance())
    with pytest.raises(Conflict, match="being submitted to the bank"):
        evidence.submit(dispute.id, by=finance())
    assert queued.work_off() == []
    dispute = reread(dispute)
    assert (dispute.status, dispute.asked, dispute.due_at) == ("EVIDENCE_SUBMITTED", None, None)
    assert at_stripe(dispute)["evidence_details"]["submission_count"] == 1
    for again in (
        lambda: evidence.submit(dispute.id, by=finance()),
        lambda: evidence.stage(dispute.id, {"customer_name": "Ada"}, seen=2**40, by=finance()),
    ):
        with pytest.raises(Conflict, match="Stripe takes it once"):
            again()


@pytest.mark.parametrize("fault", ["hang_up", "error_after", "error_before", "rate_limit"])
def test_whatever_becomes_of_stripes_answer_it_is_submitted_once(app: Flask, switches: Any, fault: str) -> None:
    dispute = staged()
    evidence.submit(dispute.id, by=finance())
    switches(api=[{"fault": fault, "method": "POST", "path": "/v1/disputes/*"}])
    assert queued.work_off() == []
    switches(api=[])
    row = reread(dispute)
    assert (row.status, row.asked, row.attempts, row.due_at is not None) == ("OPEN", "SUBMIT", 1, True)
    make_due(dispute)
    assert sweep(Dispute) >= 1
    assert queued.work_off() == []
    row = reread(dispute)
    assert (row.status, row.asked, row.due_at, row.refusal) == ("EVIDENCE_SUBMITTED", None, None, None)
    assert at_stripe(dispute)["evidence_details"]["submission_count"] == 1


def test_a_worker_that_died_after_stripe_took_it_is_followed_by_one_that_finds_it(app: Flask) -> None:
    dispute = staged()
    evidence.submit(dispute.id, by=finance())
    ask_stripe(
        "POST", f"/v1/disputes/{dispute.stripe_dispute_id}", data={"submit": "true", "evidence[customer_name]": "Ada"}
    )
    assert queued.work_off() == []
    row = reread(dispute)
    assert (row.status, row.asked, row.refusal) == ("EVIDENCE_SUBMITTED", None, None)


def test_what_stripe_refuses_is_kept_in_its_words(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise Conflict("Stripe refused: This is no evidence.")

    dispute = staged()
    evidence.stage(dispute.id, {"customer_name": "Ada"}, seen=2**40, by=finance())
    with monkeypatch.context() as patched:
        patched.setattr(stripe_gateway, "stage_evidence", refuse)
        assert queued.work_off() == []
    row = reread(dispute)
    assert (row.asked, row.due_at, row.refusal) == (None, None, "Stripe refused: This is no evidence.")
    assert actions(dispute)[-1] == "dispute.refused"
    assert not evidence.is_staged(row)


def test_what_was_decided_before_stripe_was_asked_ends_the_asking(app: Flask) -> None:
    dispute = staged()
    evidence.stage(dispute.id, {"customer_name": "Ada"}, seen=2**40, by=finance())
    decide(dispute.stripe_dispute_id or "", "won")
    assert queued.work_off() == []
    row = reread(dispute)
    assert (row.status, row.asked, row.due_at) == ("WON", None, None)


def test_an_accepted_dispute_is_lost(app: Flask) -> None:
    payment = paid()
    dispute = disputed(payment)
    with pytest.raises(Invalid):
        evidence.accept(dispute.id, by=finance(), reason=" ")
    assert reread(dispute).asked is None
    evidence.accept(dispute.id, by=finance(), reason="They are right")
    assert queued.work_off() == []
    assert reread(dispute).status == "LOST"
    assert at_stripe(dispute)["status"] == "lost"
    assert books_agree(payment, dispute.stripe_dispute_id or "")


def test_after_the_deadline_nothing_is_taken(app: Flask) -> None:
    dispute = staged()
    with transaction():
        row = lock(Dispute, dispute.id)
        row.evidence_due_by = row.answer_by = utcnow() - timedelta(seconds=1)
    with pytest.raises(Conflict, match="time to answer is over"):
        evidence.submit(dispute.id, by=finance())
    assert reread(dispute).asked is None


def test_what_two_people_wrote_is_not_lost(app: Flask) -> None:
    dispute = disputed(paid())
    version = db.session.scalars(select(AuditEntry.id).order_by(AuditEntry.id.desc()).limit(1)).one()
    evidence.stage(dispute.id, {"product_description": "First"}, seen=version, by=finance())
    assert queued.work_off() == []
    with pytest.raises(SavedMeanwhile):
        evidence.stage(dispute.id, {"product_description": "Second"}, seen=version, by=finance())
    assert reread(dispute).product_description == "First"
    evidence.stage(dispute.id, {"customer_name": "Somebody else"}, seen=version, by=finance())
    row = reread(dispute)
    assert (row.product_description, row.customer_name) == ("First", "Somebody else")


def test_evidence_that_wins_is_told_of(app: Flask, switches: Any) -> None:
    switches(timing={"settle": 0, "balance_transaction": 0})
    dispute = staged(uncategorized_text="winning_evidence")
    evidence.submit(dispute.id, by=finance())
    assert queued.work_off() == []
    stripe_id = dispute.stripe_dispute_id or ""
    wait_for(lambda: at_stripe(reread(dispute))["status"] == "won", "the bank to decide")
    assert told(stripe_id).status == "WON"
    payment = db.session.get_one(Payment, reread(dispute).payment_id)
    assert books_agree(payment, stripe_id)
    assert factories.reread(payment).disputed_minor == 0
