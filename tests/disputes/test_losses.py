"""Who bears a lost chargeback, whatever is told of it and of the refunds beside it, and in whatever order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from app.db import lock, transaction
from app.disputes import chargebacks
from app.disputes.models import Dispute
from app.errors import Conflict
from app.extensions import db
from app.payments import disputed as disputed_money
from app.payments import holds, refund_submission, refundable, stripe_gateway
from app.payments.disputed import Movements
from app.payments.models import LedgerEntry, Payment, Refund
from app.reports.revenue_days import MEASURES
from tests import factories, queued
from tests.disputes.disputing import books_agree, decide, decided, disputed, disputed_at_stripe, entries, told
from tests.payments.refunding import ask, ask_stripe, at_stripe, balance_of, paid, refunds_of, shares, support
from tests.payments.test_refunds import owed_back

NOTHING_BORNE = {"provider_payable": 0, "commission_revenue": 0, "refunds_payable": 0, "disputes_held": 0}


def left_on(payment: Payment, *accounts: str) -> dict[str, int]:
    """What a payment has on each account, debits less credits."""
    db.session.rollback()
    return {account: balance_of(payment.id, account) for account in (accounts or NOTHING_BORNE)}


def loss_of(payment: Payment) -> int:
    return left_on(payment, "dispute_losses")["dispute_losses"]


def refunded_in_dashboard(payment: Payment, amount_minor: int) -> str:
    """A refund made in Stripe's dashboard that nobody has told us of."""
    values = {"payment_intent": payment.stripe_payment_intent_id, "amount": amount_minor}
    refund_id: str = ask_stripe("POST", "/_local/refunds", data=values)["id"]
    return refund_id


def tell_of_refund(refund_id: str) -> None:
    refund_submission.told(stripe_gateway.retrieve_refund(refund_id))


def fails(refund_id: str) -> None:
    """The traveller's bank sends a refund back, and Stripe says so."""
    ask_stripe("POST", f"/_local/refunds/{refund_id}/settle", data={"outcome": "failed"})
    tell_of_refund(refund_id)


def revenue(payment: Payment) -> dict[str, int]:
    """What a payment's entries come to in the charts."""
    sums = dict.fromkeys(("gross", "refunds", "chargebacks", "commission"), 0)
    for entry in db.session.scalars(select(LedgerEntry).where(LedgerEntry.payment_id == payment.id)):
        for measure in sums:
            sums[measure] += getattr(MEASURES[entry.kind], measure) * entry.amount_minor
    return sums


@pytest.mark.parametrize("refund_first", [True, False])
def test_a_refund_and_a_lost_chargeback_of_everything_leave_the_same_in_either_order(
    app: Flask, refund_first: bool
) -> None:
    payment = paid()
    refund_id = refunded_in_dashboard(payment, 3_000)
    dispute_id = disputed_at_stripe(payment, amount=10_000)
    decide(dispute_id, "lost")
    if refund_first:
        tell_of_refund(refund_id)
        told(dispute_id)
    else:
        told(dispute_id)
        assert (left_on(payment), loss_of(payment)) == (NOTHING_BORNE, 0)
        tell_of_refund(refund_id)
    assert [(row.status, shares(row)) for row in refunds_of(payment)] == [("SUCCEEDED", (2_550, 450, 0))]
    assert (left_on(payment), loss_of(payment)) == (NOTHING_BORNE, 3_000)
    assert revenue(payment) == {"gross": 10_000, "refunds": 3_000, "chargebacks": 10_000, "commission": 0}
    assert books_agree(payment, dispute_id)


def test_borne_anew_each_entry_is_taken_back_by_a_linked_one_and_posted_under_the_next_number(app: Flask) -> None:
    payment = paid()
    refund_id = refunded_in_dashboard(payment, 3_000)
    dispute_id = disputed_at_stripe(payment, amount=10_000)
    decided(dispute_id, "lost")
    tell_of_refund(refund_id)
    found = db.session.scalars(
        select(LedgerEntry)
        .where(LedgerEntry.payment_id == payment.id, LedgerEntry.kind.like("dispute.lost.%"))
        .order_by(LedgerEntry.id)
    ).all()
    assert [(entry.kind.removeprefix("dispute.lost."), entry.amount_minor, entry.source_id) for entry in found] == [
        ("provider_share", 8_500, dispute_id),
        ("commission", 1_500, dispute_id),
        ("provider_share.reversed", 8_500, dispute_id),
        ("commission.reversed", 1_500, dispute_id),
        ("provider_share", 5_950, f"{dispute_id}.2"),
        ("commission", 1_050, f"{dispute_id}.2"),
        ("excess", 3_000, f"{dispute_id}.2"),
    ]
    assert [entry.reverses_id for entry in found] == [None, None, found[0].id, found[1].id, None, None, None]


def test_told_again_after_it_was_borne_anew_it_posts_nothing(app: Flask) -> None:
    payment = paid()
    refund_id = refunded_in_dashboard(payment, 3_000)
    dispute_id = disputed_at_stripe(payment, amount=10_000)
    decided(dispute_id, "lost")
    tell_of_refund(refund_id)
    before = db.session.scalar(select(func.count()).where(LedgerEntry.payment_id == payment.id))
    told(dispute_id)
    tell_of_refund(refund_id)
    assert db.session.scalar(select(func.count()).where(LedgerEntry.payment_id == payment.id)) == before


def test_a_refund_that_fails_after_the_chargeback_was_lost_is_our_loss_no_more(app: Flask) -> None:
    payment = paid()
    ask(payment, 8_000)
    assert queued.work_off() == []
    dispute_id = disputed(payment, amount=10_000).stripe_dispute_id or ""
    decided(dispute_id, "lost")
    assert loss_of(payment) == 8_000
    fails(at_stripe(payment)[0]["id"])
    assert [row.status for row in refunds_of(payment)] == ["FAILED"]
    assert (left_on(payment), loss_of(payment)) == (NOTHING_BORNE, 0)
    assert revenue(payment) == {"gross": 10_000, "refunds": 0, "chargebacks": 10_000, "commission": 0}
    assert books_agree(payment, dispute_id)


def test_a_refund_that_is_pending_when_everything_is_lost_fails_and_leaves_no_loss(app: Flask, switches: Any) -> None:
    payment = paid()
    switches(refunds={"course": "stays_pending"})
    ask(payment, 4_000)
    assert queued.work_off() == []
    dispute_id = disputed_at_stripe(payment, amount=10_000)
    decided(dispute_id, "lost")
    # Told of the loss first, and of the refund that it made fail later.
    assert loss_of(payment) == 4_000
    tell_of_refund(at_stripe(payment)[0]["id"])
    assert (left_on(payment), loss_of(payment)) == (NOTHING_BORNE, 0)
    assert books_agree(payment, dispute_id)


def test_a_bank_that_thinks_better_of_it_gives_everything_back_to_both_sides(app: Flask) -> None:
    payment = paid()
    ask(payment, 3_000)
    assert queued.work_off() == []
    dispute_id = disputed(payment, amount=10_000).stripe_dispute_id or ""
    assert decided(dispute_id, "lost").status == "LOST"
    assert decided(dispute_id, "won").status == "WON"
    assert left_on(payment) == {
        "provider_payable": -5_950,
        "commission_revenue": -1_050,
        "refunds_payable": 0,
        "disputes_held": 0,
    }
    assert loss_of(payment) == 0
    assert refundable.left_of(factories.reread(payment)) == 7_000
    assert revenue(payment) == {"gross": 10_000, "refunds": 3_000, "chargebacks": 0, "commission": 1_050}
    assert books_agree(payment, dispute_id)


def test_what_was_won_is_never_lost_again_without_somebody_looking(app: Flask) -> None:
    payment = paid()
    dispute_id = disputed_at_stripe(payment)
    decide(dispute_id, "lost")
    lost = stripe_gateway.retrieve_dispute(dispute_id)
    decided(dispute_id, "won")
    before = entries(payment)
    with pytest.raises(Conflict, match="was won before"):
        chargebacks.changed(lost)
    assert entries(payment) == before
    dispute = db.session.scalars(select(Dispute).where(Dispute.stripe_dispute_id == dispute_id)).one()
    assert (dispute.status, dispute.stripe_status) == ("WON", "won")


def test_lost_with_what_was_refunded_given_back_is_nobodys_loss(app: Flask) -> None:
    payment = paid()
    ask(payment, 3_000)
    assert queued.work_off() == []
    dispute_id = disputed(payment, amount=10_000).stripe_dispute_id or ""
    assert decided(dispute_id, "partially_won").status == "LOST"
    assert factories.reread(payment).disputed_minor == 7_000
    assert (left_on(payment), loss_of(payment)) == (NOTHING_BORNE, 0)
    assert books_agree(payment, dispute_id)


def test_what_comes_back_of_a_lost_one_later_is_taken_off_what_was_borne(app: Flask) -> None:
    payment = paid()
    ask(payment, 3_000)
    assert queued.work_off() == []
    dispute_id = disputed(payment, amount=10_000).stripe_dispute_id or ""
    decide(dispute_id, "partially_won")
    now = stripe_gateway.retrieve_dispute(dispute_id)
    chargebacks.changed(replace(now, movements=now.movements[:1]))
    assert (loss_of(payment), factories.reread(payment).disputed_minor) == (3_000, 10_000)
    chargebacks.changed(now)
    assert (left_on(payment), loss_of(payment)) == (NOTHING_BORNE, 0)
    assert books_agree(payment, dispute_id)


def test_of_two_lost_ones_the_first_is_borne_by_the_sides_and_the_second_by_us_until_the_first_is_won(
    app: Flask,
) -> None:
    payment = paid()
    first, second = (disputed(payment, amount=10_000).stripe_dispute_id or "" for _ in range(2))
    for dispute_id in (first, second):
        decided(dispute_id, "lost")
    assert (left_on(payment), loss_of(payment)) == (NOTHING_BORNE, 10_000)
    decided(first, "won")
    assert (left_on(payment), loss_of(payment)) == (NOTHING_BORNE, 0)
    assert factories.reread(payment).disputed_minor == 10_000
    assert books_agree(payment, first, second)


def test_of_a_payment_that_no_booking_took_what_was_refunded_in_the_dashboard_too_is_our_loss(app: Flask) -> None:
    refund = owed_back()
    payment = db.session.get_one(Payment, refund.payment_id)
    refund_id = refunded_in_dashboard(payment, 3_000)
    dispute_id = disputed_at_stripe(payment, amount=20_000)
    decided(dispute_id, "lost")
    assert (left_on(payment), loss_of(payment)) == (NOTHING_BORNE, 0)
    tell_of_refund(refund_id)
    assert (left_on(payment), loss_of(payment)) == (NOTHING_BORNE, 3_000)
    fails(refund_id)
    assert (left_on(payment), loss_of(payment)) == (NOTHING_BORNE, 0)
    assert books_agree(payment, dispute_id)


def test_of_a_payment_that_no_booking_took_a_second_lost_one_takes_what_is_still_owed_and_the_rest_is_our_loss(
    app: Flask,
) -> None:
    refund = owed_back()
    payment = db.session.get_one(Payment, refund.payment_id)
    both = [disputed(payment, amount=12_000).stripe_dispute_id or "" for _ in range(2)]
    for dispute_id in both:
        decided(dispute_id, "lost")
    assert (left_on(payment), loss_of(payment)) == (NOTHING_BORNE, 4_000)
    assert books_agree(payment, *both)


def test_a_pending_refund_of_what_was_owed_back_is_counted_once_when_the_rest_is_lost(
    app: Flask, switches: Any
) -> None:
    refund = owed_back()
    payment = db.session.get_one(Payment, refund.payment_id)
    with transaction():
        lock(Refund, refund.id).amount_minor = 8_000
    switches(refunds={"course": "stays_pending"})
    refund_submission.submit(refund.id)
    with transaction():
        disputed_money.book(
            lock(Payment, payment.id), Movements(20_000, 0, 0, 0), stripe_dispute_id="du_part", is_lost=True
        )
    assert (left_on(payment), loss_of(payment)) == (NOTHING_BORNE, 8_000)


def test_requests_that_nothing_is_left_for_give_way_though_we_hear_of_the_dispute_once_it_is_lost(app: Flask) -> None:
    payment = paid()
    waiting, approved = ask(payment, 4_000, by=support()), ask(payment, 3_000)
    dispute_id = disputed_at_stripe(payment, amount=10_000)
    decided(dispute_id, "lost")
    assert holds.of(payment.id) == []
    rows = [factories.reread(refund) for refund in (waiting, approved)]
    assert [(row.status, row.due_at) for row in rows] == [("REJECTED", None), ("FAILED", None)]
    assert queued.work_off() == []
    assert at_stripe(payment) == []
    assert books_agree(payment, dispute_id)


def test_one_made_in_the_dashboard_that_failed_before_we_heard_of_it_needs_no_room(app: Flask) -> None:
    payment = paid()
    first = refunded_in_dashboard(payment, 10_000)
    ask_stripe("POST", f"/_local/refunds/{first}/settle", data={"outcome": "failed"})
    second = refunded_in_dashboard(payment, 9_000)
    tell_of_refund(second)
    waiting = ask(payment, 1_000, by=support())
    tell_of_refund(first)
    assert [(row.status, row.amount_minor, shares(row)) for row in refunds_of(payment)] == [
        ("SUCCEEDED", 9_000, (7_650, 1_350, 0)),
        ("PENDING_APPROVAL", 1_000, (0, 0, 0)),
        ("FAILED", 10_000, (0, 0, 0)),
    ]
    assert factories.reread(waiting).status == "PENDING_APPROVAL"
    assert factories.reread(payment).refunded_minor == 9_000
    assert books_agree(payment)


def test_what_is_on_hold_stays_though_the_dashboard_was_quicker_and_goes_out_when_the_dispute_is_won(
    app: Flask,
) -> None:
    payment = paid()
    waiting = ask(payment, 7_000)
    refund_id = refunded_in_dashboard(payment, 3_000)
    dispute_id = disputed(payment, amount=10_000).stripe_dispute_id or ""
    tell_of_refund(refund_id)
    assert factories.reread(waiting).status == "ON_HOLD"
    decided(dispute_id, "won")
    assert queued.work_off() == []
    assert factories.reread(waiting).status == "SUCCEEDED"
    assert books_agree(payment, dispute_id)


def test_a_request_for_the_rest_gives_way_to_a_refund_in_the_dashboard_after_part_was_lost(app: Flask) -> None:
    payment = paid()
    refund_id = refunded_in_dashboard(payment, 3_000)
    dispute_id = disputed_at_stripe(payment, amount=4_000)
    decided(dispute_id, "lost")
    waiting = ask(payment, 5_000)
    tell_of_refund(refund_id)
    assert factories.reread(waiting).status == "FAILED"
    assert books_agree(payment, dispute_id)


def test_money_that_a_dispute_moved_twice_in_one_direction_is_not_passed_over(app: Flask) -> None:
    payment = paid()
    dispute_id = disputed_at_stripe(payment)
    now = stripe_gateway.retrieve_dispute(dispute_id)
    chargebacks.changed(now)
    before = entries(payment)
    with pytest.raises(Conflict, match=r"moved \$200\.00 for .*, but \$100\.00 is booked as dispute\.withdrawn"):
        chargebacks.changed(replace(now, movements=now.movements * 2))
    assert entries(payment) == before
    assert books_agree(payment, dispute_id)
