"""Asking for a refund: what is left, who bears it to the cent, and one refund however often it is asked for."""

from __future__ import annotations

import random
import re
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import text

from app.db import transaction
from app.errors import Conflict, Invalid, NotAllowed, NotFound
from app.extensions import db
from app.money import written
from app.payments import refund_submission, refundable, refunds, stripe_gateway
from app.payments.models import Payment, Refund
from app.payments.stripe_objects import StripeRefund
from tests import factories, queued
from tests.concurrency import at_once
from tests.payments.refunding import (
    actions,
    ask,
    ask_stripe,
    books_are_whole,
    finance,
    paid,
    postings,
    refunds_of,
    shares,
    support,
    withdrawn,
)


def test_a_refund_within_the_limit_is_approved_by_asking_and_paid_by_a_job(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 4_000)
    assert (refund.status, refund.submission, postings(payment)) == ("APPROVED", 0, {})
    assert queued.work_off() == []
    refund = factories.reread(refund)
    assert (refund.status, refund.submission) == ("SUCCEEDED", 1)
    assert shares(refund) == (3_400, 600, 0)
    assert postings(payment) == {"refund.provider_share": 3_400, "refund.commission": 600, "refund.paid": 4_000}
    assert factories.reread(payment).status == "PARTIALLY_REFUNDED"
    assert actions(refund) == ["refund.approve", "refund.submit", "refund.succeeded"]
    assert books_are_whole(payment)


def test_what_a_refund_posts_is_told_though_it_is_sent_to_stripe_meanwhile(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 10_000)
    refund_id, waiting = refund.id, refunds.lines_of(refund)
    assert (refund.status, [line.amount_minor for line in waiting]) == ("APPROVED", [8_500, 1_500, 10_000])
    assert at_once(app, lambda: refund_submission.submit(refund_id)) == [None]
    assert (refund.status, refunds.lines_of(refund)) == ("APPROVED", waiting), "as a page has read it before"
    assert refund.submission == 1
    assert queued.work_off() == []


def test_goodwill_is_borne_by_us_alone(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 2_500, kind="goodwill", reason="goodwill")
    assert queued.work_off() == []
    assert shares(refund) == (0, 0, 2_500)
    assert postings(payment) == {"refund.goodwill": 2_500, "refund.paid": 2_500}
    assert books_are_whole(payment)


@pytest.mark.parametrize("seed", range(5))
def test_however_a_payment_is_split_the_shares_add_up_to_what_each_side_got(app: Flask, seed: int) -> None:
    payment, rng, by = paid(), random.Random(seed), finance()
    rest = 10_000
    while rest:
        amount = min(rest, rng.randint(1, 2_700))
        refund = ask(payment, amount, by=by)
        assert queued.work_off() == []
        provider, commission, goodwill = shares(refund)
        assert provider + commission == amount
        assert min(provider, commission) >= 0
        # Never more than a cent from its exact share.
        assert abs(commission - amount * 0.15) <= 1, (amount, commission)
        rest -= amount
        assert goodwill == 0
    posted = postings(payment)
    assert (posted["refund.provider_share"], posted["refund.commission"]) == (8_500, 1_500)
    assert books_are_whole(payment)


def fail_late(refund: Refund) -> None:
    """The traveller's bank sends a refund back."""
    row = factories.reread(refund)
    with transaction():
        refund_submission.settle(
            row.id, StripeRefund(row.stripe_refund_id, "failed", "lost_or_stolen_card", row.id, row.submission)
        )


def test_half_a_cent_and_more_of_the_commission_is_rounded_up_and_less_is_not(app: Flask) -> None:
    payment = paid()
    # 15 % of which is 0.45, 0.75 and 1.5 cents.
    assert [refundable.shares_of(payment, minor, "standard")["commission_minor"] for minor in (3, 5, 10)] == [0, 1, 2]


def test_a_commission_that_was_taken_before_what_failed_is_never_given_back_by_a_refund(app: Flask) -> None:
    payment, by = paid(), finance()
    first, second = ask(payment, 3, by=by), ask(payment, 1, by=by)
    assert queued.work_off() == []
    assert (shares(first), shares(second)) == ((3, 0, 0), (0, 1, 0))
    fail_late(first)
    # Of two cents our share is 0.3, and we gave one already.
    third = ask(payment, 1, by=by)
    assert queued.work_off() == []
    assert shares(third) == (1, 0, 0)


def test_a_provider_gets_nothing_by_a_refund_though_our_commission_has_more_to_give(app: Flask) -> None:
    payment, by = paid(), finance()
    taken = [ask(payment, minor, by=by) for minor in (3, 1, 5, 1, 6, 1)]
    assert queued.work_off() == []
    assert [shares(refund) for refund in taken[1::2]] == [(0, 1, 0)] * 3
    for refund in taken[1::2]:
        fail_late(refund)
    # Of fifteen cents our share is 2.25, and we have given none.
    last = ask(payment, 1, by=by)
    assert queued.work_off() == []
    assert shares(last) == (0, 1, 0)


def test_the_sides_never_bear_more_than_they_have(app: Flask) -> None:
    payment = paid()
    with pytest.raises(Conflict, match=r"only \$100\.00 left"):
        refundable.shares_of(payment, 10_001, "standard")


def test_no_cent_is_lost_when_one_in_the_middle_fails(app: Flask) -> None:
    payment, by = paid(), finance()
    first, second, third = (ask(payment, 3_333, by=by) for _ in range(3))
    assert queued.work_off() == []
    fail_late(second)
    last = ask(payment, 3_334)
    assert queued.work_off() == []
    standing = [shares(refund) for refund in (first, third, last)]
    assert sum(commission for _, commission, _ in standing) == 1_500
    assert sum(provider for provider, _, _ in standing) == 8_500


def test_more_than_is_left_is_refused_and_says_how_much_is(app: Flask) -> None:
    payment = paid()
    ask(payment, 9_000)
    with pytest.raises(Conflict, match=r"Only \$10\.00 is left"):
        ask(payment, 1_001)
    assert len(refunds_of(payment)) == 1
    ask(payment, 1_000)
    with pytest.raises(Conflict, match="Nothing is left"):
        ask(payment, 1)
    assert len(refunds_of(payment)) == 2


def test_what_a_dispute_has_withdrawn_is_not_left(app: Flask) -> None:
    payment = paid()
    withdrawn(payment, 9_500)
    payment = factories.reread(payment)
    with pytest.raises(Conflict, match=r"Only \$5\.00 is left"):
        ask(payment, 501)
    assert refunds_of(payment) == []


def test_a_payment_that_was_never_captured_has_nothing_to_refund(app: Flask) -> None:
    held = factories.booking()
    factories.intent_of(held)
    payment = db.session.query(Payment).filter_by(booking_id=held.id).one()
    with pytest.raises(Conflict, match="never captured"):
        ask(payment, 100)
    assert refunds_of(payment) == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"amount_minor": 0}, "amount"),
        ({"amount_minor": -5}, "amount"),
        ({"amount_minor": 10**12}, "amount"),
        ({"kind": "owed_back"}, "kind"),
        ({"reason": "because"}, "reason"),
        ({"reason": "late_payment"}, "reason"),
        ({"reason": "other", "note": "  "}, "note"),
        ({"note": "x" * 2_001}, "note"),
    ],
)
def test_what_makes_no_sense_is_refused_by_field(app: Flask, given: dict[str, object], field: str) -> None:
    payment = paid()
    with pytest.raises(Invalid) as refusal:
        ask(payment, **{"amount_minor": 100, **given})  # type: ignore[arg-type]
    assert [error.field for error in refusal.value.fields] == [field]
    assert refunds_of(payment) == []


def test_a_payment_that_is_not_there_is_said_to_be_missing(app: Flask) -> None:
    with pytest.raises(NotFound):
        refunds.request(10**9, amount_minor=1, reason="fraud", key="k", by=finance())


def test_moderators_and_travellers_may_not_ask(app: Flask) -> None:
    payment = paid()
    for by in (factories.actor(factories.staff("moderator")), factories.actor()):
        with pytest.raises(NotAllowed):
            ask(payment, 100, by=by)
        with pytest.raises(NotAllowed):
            refunds.quote(payment.id, 100, by=by)
    assert refunds_of(payment) == []


def test_the_same_key_is_the_same_refund_and_another_request_under_it_is_refused(app: Flask) -> None:
    payment, by, key = paid(), finance(), uuid4().hex
    refund = ask(payment, 2_000, by=by, key=key)
    assert ask(payment, 2_000, by=by, key=key).id == refund.id
    with pytest.raises(Conflict, match="sent before, for another refund"):
        ask(payment, 2_001, by=by, key=key)
    with pytest.raises(Conflict, match="sent before"):
        ask(payment, 2_000, key=key)
    assert len(refunds_of(payment)) == 1
    # A key belongs to its payment alone.
    assert ask(paid(), 2_000, by=by, key=key).id != refund.id


def test_the_second_of_two_people_reads_who_started_which_refund_how_long_ago(app: Flask) -> None:
    payment, first = paid(), finance()
    ask(payment, 2_000, by=first)
    with pytest.raises(Conflict) as refusal:
        ask(payment, 2_000)
    said = refusal.value.detail
    assert said.startswith(f"{first.label} started a refund of $20.00 ")
    assert "second" in said or "just now" in said
    assert len(refunds_of(payment)) == 1
    ask(payment, 2_000, by=first)  # they know what they did
    ask(payment, 2_000, again=True)
    ask(payment, 1_999)
    assert len(refunds_of(payment)) == 4


@pytest.mark.parametrize(
    ("first_minor", "then_minor", "refusal"),
    [
        (None, None, "Nothing is left to refund of this payment."),
        (None, 10_000, "Nothing is left to refund of this payment."),
        (5_000, 6_000, "Only $50.00 is left to refund of this payment, which is less than $60.00."),
    ],
)
def test_who_wants_more_than_somebody_else_has_left_reads_who_started_which_refund_how_long_ago(
    app: Flask, first_minor: int | None, then_minor: int | None, refusal: str
) -> None:
    payment, first = paid(), finance()
    given = {"reason": "stay_problem", "by": first}
    started = refunds.request(payment.id, amount_minor=first_minor, key=uuid4().hex, **given)
    said = re.compile(
        re.escape(f"{refusal} {first.label} started a refund of {written(started.amount_minor, 'USD')} ")
        + r"(just now|\d+ seconds? ago)\."
    )
    with pytest.raises(Conflict, match=said):
        refunds.request(payment.id, amount_minor=then_minor, key=uuid4().hex, **{**given, "by": finance()})
    assert said.search(refunds.quote(payment.id, then_minor or 10_000, by=finance()).refusal or "")
    assert len(refunds_of(payment)) == 1


def test_who_wants_more_than_the_dashboard_has_left_reads_that_it_was_that(app: Flask) -> None:
    payment = paid()
    made = ask_stripe(
        "POST", "/v1/refunds", data={"payment_intent": payment.stripe_payment_intent_id, "amount": 10_000}
    )
    refund_submission.told(stripe_gateway.retrieve_refund(made["id"]))
    with pytest.raises(Conflict, match=r"Nothing is left .*\$100\.00 of it were refunded in Stripe's dashboard"):
        ask(payment, 1)


def test_after_a_while_the_same_amount_is_another_refund(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 2_000)
    with transaction():
        aged = "UPDATE refunds SET created_at = created_at - interval '61 seconds' WHERE id = :id"
        db.session.execute(text(aged), {"id": refund.id})
    ask(payment, 2_000)
    assert len(refunds_of(payment)) == 2


def test_a_quote_says_what_would_be_posted_and_what_is_left(app: Flask) -> None:
    payment = paid()
    quote = refunds.quote(payment.id, 4_000, by=finance())
    assert (quote.left_minor, quote.left_after_minor, quote.refusal, quote.second_person) == (10_000, 6_000, None, None)
    assert (quote.provider_minor, quote.platform_minor) == (3_400, 600)
    assert [(line.debit, line.credit, line.amount_minor) for line in quote.lines] == [
        ("Provider payable", "Refunds payable", 3_400),
        ("Commission revenue", "Refunds payable", 600),
        ("Refunds payable", "Stripe balance", 4_000),
    ]
    assert refunds_of(payment) == []
    ask(payment, 4_000)
    assert queued.work_off() == []
    assert postings(payment) == {line.kind: line.amount_minor for line in quote.lines}


def test_a_quote_of_goodwill_and_of_too_much(app: Flask) -> None:
    payment = paid()
    goodwill = refunds.quote(payment.id, 1_000, "goodwill", by=finance())
    assert (goodwill.provider_minor, goodwill.platform_minor) == (0, 1_000)
    too_much = refunds.quote(payment.id, 10_001, by=finance())
    assert (too_much.refusal or "").startswith("Only $100.00 is left")
    assert too_much.lines == []
    assert refunds.quote(payment.id, 100, by=support()).second_person is not None


def test_what_a_cancellation_promises_needs_nobody_and_joins_its_transaction(app: Flask) -> None:
    payment, guest = paid(nights=9), factories.actor()
    with transaction():
        refund = refunds.by_policy(payment, amount_minor=90_000, reason="cancelled", by=guest)
    assert (refund.status, refund.requested_by_id) == ("APPROVED", guest.id)
    assert queued.work_off() == []
    assert shares(refund) == (76_500, 13_500, 0)
    assert factories.reread(payment).status == "REFUNDED"
    with pytest.raises(Conflict), transaction():
        refunds.by_policy(factories.reread(payment), amount_minor=1, reason="cancelled", by=guest)
    assert len(refunds_of(payment)) == 1
    with pytest.raises(RuntimeError, match="transaction"):
        refunds.by_policy(payment, amount_minor=1, reason="cancelled", by=guest)


def test_the_database_refuses_shares_that_do_not_add_up(app: Flask) -> None:
    refund = ask(paid(), 1_000)
    assert queued.work_off() == []
    for change in ("provider_minor = provider_minor + 1", "commission_minor = -1", "kind = 'gift'"):
        with pytest.raises(Exception, match="ck_refunds"), transaction():
            db.session.execute(text(f"UPDATE refunds SET {change} WHERE id = :id"), {"id": refund.id})
    assert shares(refund) == (850, 150, 0)
