"""Money in bulk: many bookings are refunded or cancelled, many refunds approved, each row once and by its own rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import select, text

from app.audit.actor import SYSTEM, Actor
from app.bulk import refunding
from app.bulk import service as bulk
from app.bulk.models import Bulk
from app.db import transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed
from app.extensions import db
from app.payments import holds, ledger_checks, refund_approval, refunds
from app.payments.models import Payment, Refund
from tests import factories, queued
from tests.bulk.paid import PAID_MINOR, Paid, finance, prepared, stripe_paid, why
from tests.bulk.runs import asked, reread
from tests.payments.refunding import withdrawn


def counted(run: Bulk) -> tuple[str, int, int, int]:
    run = reread(run)
    return run.status, run.done, run.skipped, run.failures


def approve_all(paid: Paid) -> None:
    """A second person approves all that waits, in one run."""
    _, second = finance()
    waiting = select(Refund.id).where(
        Refund.payment_id.in_(paid.payments.values()), Refund.status == "PENDING_APPROVAL"
    )
    bulk.start(bulk.freeze("refunds.approve", waiting, by=second).id, by=second)
    assert queued.work_off() == []


def refund_one(paid: Paid, booking_id: int, by: Actor, minor: int = PAID_MINOR) -> int:
    made = refunds.request(paid.payments[booking_id], amount_minor=minor, reason="stay_problem", key=uuid4().hex, by=by)
    return made.id


@contextmanager
def held(paid: Paid, booking_id: int) -> Iterator[None]:
    source = f"test:{uuid4().hex}"
    until = utcnow() + timedelta(days=3)
    holds.place(paid.payments[booking_id], source=source, reason="The bank asks.", until=until, by=SYSTEM)
    yield
    holds.lift(source, by=SYSTEM, reason="It is answered.")


# --- Refunding -------------------------------------------------------------------------------------------------------


def test_three_hundred_bookings_of_a_provider_are_refunded_but_for_two_that_were_already(app: Flask) -> None:
    paid = Paid(300)
    _, by = finance()
    for booking_id in paid.ids[:2]:
        refund_one(paid, booking_id, by)
    assert queued.work_off() == []
    run = prepared(paid.ids, by)
    plan = bulk.preview(run)
    assert (plan.will, plan.skipped, plan.refused) == (298, {"Refunded already, or on its way": 2}, {})
    assert plan.facts == (
        ("Goes back", "$29,800.00\N{NO-BREAK SPACE}USD"),
        ("At once", "0 refunds, nothing"),
        (
            "Waits for a second person",
            "298 refunds, $29,800.00\N{NO-BREAK SPACE}USD: together above your limit of $500.00",
        ),
    )
    bulk.start(run.id, by=by)
    assert queued.work_off() == []
    assert counted(run) == ("DONE", 298, 2, 0)
    assert [(some.status, some.count) for some in bulk.became(reread(run))] == [("PENDING_APPROVAL", 298)]
    approve_all(paid)
    assert set(why(run, "SKIPPED")) == set(paid.ids[:2])
    assert set(why(run, "SKIPPED").values()) == {"All that was paid is refunded already, or on its way."}
    assert paid.refunds() == [(booking_id, "SUCCEEDED", PAID_MINOR) for booking_id in paid.ids]
    assert Counter(stripe_paid(paid).values()) == {PAID_MINOR: 300}
    assert [(some.status, some.count, some.amount_minor) for some in bulk.became(reread(run))] == [
        ("SUCCEEDED", 298, 298 * PAID_MINOR)
    ]
    assert paid.states() == {"CONFIRMED": 300}
    assert ledger_checks.verify() == []


def test_the_rest_of_a_payment_goes_back_where_a_part_did_before(app: Flask) -> None:
    paid = Paid(2)
    _, by = finance()
    refund_one(paid, paid.ids[0], by, minor=3_000)
    run = bulk.start(prepared(paid.ids, by).id, by=by)
    assert queued.work_off() == []
    assert counted(run) == ("DONE", 2, 0, 0)
    assert [minor for _, _, minor in paid.refunds()] == [3_000, 7_000, 10_000]


def test_held_rows_are_refused_with_the_words_of_the_hold_and_can_be_taken_up_later(app: Flask) -> None:
    paid = Paid(3)
    _, by = finance()
    with held(paid, paid.ids[1]):
        run = prepared(paid.ids, by)
        plan = bulk.preview(run)
        assert (plan.will, plan.refused) == (2, {"Refunds of the payment are on hold": 1})
        bulk.start(run.id, by=by)
        assert queued.work_off() == []
        assert counted(run) == ("DONE", 2, 0, 1)
        assert (why(run, "FAILED")[paid.ids[1]] or "").startswith("Refunds of this payment are on hold, until")
        assert [booking_id for booking_id, _, _ in paid.refunds()] == [paid.ids[0], paid.ids[2]]
    again = bulk.take_up(run.id, by=by)
    assert queued.work_off() == []
    assert counted(again) == ("DONE", 1, 0, 0)
    assert [booking_id for booking_id, _, _ in paid.refunds()] == paid.ids


def test_what_an_open_chargeback_has_taken_is_refused_with_the_words_of_its_hold_and_a_lost_one_is_skipped(
    app: Flask,
) -> None:
    paid = Paid(2)
    _, by = finance()
    for booking_id in paid.ids:
        withdrawn(db.session.get_one(Payment, paid.payments[booking_id]), PAID_MINOR)
    with held(paid, paid.ids[0]):
        run = prepared(paid.ids, by)
        plan = bulk.preview(run)
        assert plan.refused == {"Refunds of the payment are on hold": 1}
        assert (plan.will, plan.skipped) == (0, {"A dispute has taken it": 1})
        bulk.start(run.id, by=by)
        assert queued.work_off() == []
        assert counted(run) == ("DONE", 0, 1, 1)
        assert (why(run, "FAILED")[paid.ids[0]] or "").startswith("Refunds of this payment are on hold, until")
        assert "a dispute has withdrawn it" in (why(run, "SKIPPED")[paid.ids[1]] or "")
    assert paid.refunds() == []


def test_above_the_limit_a_second_person_is_waited_for_and_the_preview_says_so(app: Flask) -> None:
    paid = Paid(3)
    _, by = finance()
    with transaction():
        db.session.execute(text("UPDATE refund_limits SET amount_minor = 9999 WHERE role = 'finance'"))
    try:
        run = prepared(paid.ids, by)
        facts = dict(bulk.preview(run).facts)
        assert facts["At once"] == "0 refunds, nothing"
        assert facts["Waits for a second person"].startswith("3 refunds, $300.00")
        bulk.start(run.id, by=by)
        assert queued.work_off() == []
    finally:
        with transaction():
            db.session.execute(text("UPDATE refund_limits SET amount_minor = 50000 WHERE role = 'finance'"))
    assert counted(run) == ("DONE", 3, 0, 0)
    assert {status for _, status, _ in paid.refunds()} == {"PENDING_APPROVAL"}
    assert [(some.status, some.count) for some in bulk.became(reread(run))] == [("PENDING_APPROVAL", 3)]


def test_a_run_within_the_limit_goes_out_at_once_and_one_above_it_in_small_steps_does_not(app: Flask) -> None:
    within, above = Paid(5), Paid(6)
    _, by = finance()
    for paid, status in ((within, "SUCCEEDED"), (above, "PENDING_APPROVAL")):
        run = bulk.start(prepared(paid.ids, by).id, by=by)
        assert queued.work_off() == []
        assert counted(run) == ("DONE", len(paid.ids), 0, 0)
        assert {became for _, became, _ in paid.refunds()} == {status}


def test_the_rest_of_a_run_that_waits_for_a_second_person_waits_as_well(app: Flask) -> None:
    paid = Paid(6)
    _, by = finance()
    with held(paid, paid.ids[0]):
        run = prepared(paid.ids, by)
        with transaction():
            db.session.execute(text("UPDATE refund_limits SET amount_minor = 49999 WHERE role = 'finance'"))
        try:
            bulk.start(run.id, by=by)
            assert queued.work_off() == []
        finally:
            with transaction():
                db.session.execute(text("UPDATE refund_limits SET amount_minor = 50000 WHERE role = 'finance'"))
    assert counted(run) == ("DONE", 5, 0, 1)
    bulk.take_up(run.id, by=by)
    assert queued.work_off() == []
    assert [status for _, status, _ in paid.refunds()] == ["PENDING_APPROVAL"] * 6


def test_what_was_refunded_alone_before_counts_towards_the_limit_in_the_preview_as_in_the_verb(app: Flask) -> None:
    paid = Paid(2)
    _, by = finance()
    with transaction():
        db.session.execute(text("UPDATE refund_limits SET amount_minor = 9000 WHERE role = 'finance'"))
    try:
        refund_one(paid, paid.ids[0], by, minor=2_000)
        refund_one(paid, paid.ids[1], finance()[1], minor=2_000)
        run = prepared(paid.ids, by)
        facts = dict(bulk.preview(run).facts)
        assert facts["Waits for a second person"].startswith("1 refund, $80.00")
        bulk.start(run.id, by=by)
        assert queued.work_off() == []
    finally:
        with transaction():
            db.session.execute(text("UPDATE refund_limits SET amount_minor = 50000 WHERE role = 'finance'"))
    assert [status for _, status, _ in paid.refunds()] == ["SUCCEEDED", "PENDING_APPROVAL", "SUCCEEDED", "SUCCEEDED"]


def test_what_was_never_paid_is_skipped(app: Flask) -> None:
    held_booking = factories.booking()
    _, by = finance()
    run = prepared([held_booking.id], by)
    assert bulk.preview(run).skipped == {"Nothing was paid": 1}
    bulk.start(run.id, by=by)
    assert queued.work_off() == []
    assert counted(run) == ("DONE", 0, 1, 0)
    assert why(run, "SKIPPED") == {held_booking.id: "Nothing was paid for it."}


def test_two_starts_of_one_run_and_two_runs_of_one_set_pay_each_booking_once(app: Flask) -> None:
    paid = Paid(3)
    (_, by), (_, other) = finance(), finance()
    run, twin = prepared(paid.ids, by), prepared(paid.ids, other)
    bulk.start(run.id, by=by)
    with pytest.raises(Conflict, match="running already"):
        bulk.start(run.id, by=by)
    bulk.start(twin.id, by=other)
    assert queued.work_off() == []
    assert counted(run) == ("DONE", 3, 0, 0)
    assert counted(twin) == ("DONE", 0, 3, 0)
    assert [minor for _, _, minor in paid.refunds()] == [PAID_MINOR] * 3


@pytest.mark.parametrize("kind", ["bookings.refund", "bookings.cancel_for_provider", "refunds.approve"])
@pytest.mark.parametrize("role", ["support", "moderator"])
def test_support_and_moderators_move_no_money_in_bulk(app: Flask, kind: str, role: str) -> None:
    by = factories.actor(factories.staff(role))
    with pytest.raises(NotAllowed):
        bulk.freeze(kind, [1], by=by, arguments=refunding.refund_arguments("other", "x"))
    assert asked("SELECT count(*) FROM bulks WHERE by_id = :id", id=by.id) == [(0,)]


@pytest.mark.parametrize(("reason", "note"), [("mood", ""), ("", ""), ("other", " "), ("duplicate", "x" * 2_001)])
def test_a_run_without_a_reason_is_not_kept(app: Flask, reason: str, note: str) -> None:
    _, by = finance()
    with pytest.raises(Invalid):
        prepared([1], by, reason=reason, note=note)
    assert asked("SELECT count(*) FROM bulks WHERE by_id = :id", id=by.id) == [(0,)]


def test_more_than_a_days_work_is_refused_before_anything_is_kept(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    _, by = finance()
    with pytest.raises(Invalid, match="At most 20,000 bookings can be refunded at once"):
        prepared(list(range(1, refunding.MOST_ROWS + 2)), by)
    assert asked("SELECT count(*) FROM bulks WHERE by_id = :id", id=by.id) == [(0,)]


def test_who_lost_the_role_meanwhile_refunds_nothing_more(app: Flask) -> None:
    paid = Paid(2)
    person, by = finance()
    run = bulk.start(prepared(paid.ids, by).id, by=by)
    with transaction():
        db.session.execute(text("DELETE FROM staff_roles WHERE user_id = :id"), {"id": person.id})
    assert queued.work_off() == []
    assert reread(run).status == "FAILED"
    assert paid.refunds() == []


# --- Cancelling for the provider -------------------------------------------------------------------------------------


def admin() -> Actor:
    return factories.actor(factories.staff("admin"))


def cancelling(ids: list[int], by: Actor) -> Bulk:
    return bulk.freeze("bookings.cancel_for_provider", ids, by=by, arguments={"reason": "Provider closed"})


def test_bookings_are_cancelled_for_their_provider_with_all_that_is_left_of_each(app: Flask) -> None:
    paid = Paid(5)
    by = admin()
    refund_one(paid, paid.ids[0], by, minor=2_500)
    factories_support = factories.actor(factories.staff("support"))
    refund_one(paid, paid.ids[1], factories_support, minor=4_000)  # waits, and gives way
    assert queued.work_off() == []
    with held(paid, paid.ids[2]):
        run = cancelling(paid.ids, by)
        plan = bulk.preview(run)
        assert (plan.will, plan.skipped) == (5, {})
        facts = dict(plan.facts)
        assert facts["Goes back"] == "5 refunds, $475.00\N{NO-BREAK SPACE}USD"
        assert facts["Waits for its hold"].startswith("1 refund, $100.00")
        assert paid.booked() == 5
        bulk.start(run.id, by=by)
        assert queued.work_off() == []
        assert counted(run) == ("DONE", 5, 0, 0)
        assert paid.states() == {"CANCELLED_BY_PROVIDER": 5}
        assert paid.booked() == 0
        began = [(some.status, some.count, some.amount_minor) for some in bulk.became(reread(run))]
        assert began == [("ON_HOLD", 1, 10_000), ("SUCCEEDED", 4, 37_500)]
    assert queued.work_off() == []
    assert sorted(stripe_paid(paid).values()) == [PAID_MINOR] * 5
    assert ledger_checks.verify() == []


def test_what_is_cancelled_or_over_already_is_skipped_and_one_by_one_for_finance_alone_refused(app: Flask) -> None:
    paid = Paid(2)
    by = admin()
    with transaction():
        over = "UPDATE bookings SET starts_on = current_date - 3, ends_on = current_date - 2 WHERE id = :id"
        db.session.execute(text(over), {"id": paid.ids[0]})
    first = bulk.start(cancelling(paid.ids[1:], by).id, by=by)
    assert queued.work_off() == []
    assert counted(first) == ("DONE", 1, 0, 0)
    run = cancelling(paid.ids, by)
    said = {"The stay is over; refund what is due instead": 1, "Cancelled by provider already": 1}
    assert (bulk.preview(run).will, bulk.preview(run).skipped) == (0, said)
    bulk.start(run.id, by=by)
    assert queued.work_off() == []
    assert counted(run) == ("DONE", 0, 2, 0)
    assert paid.states() == {"CONFIRMED": 1, "CANCELLED_BY_PROVIDER": 1}
    with pytest.raises(NotAllowed):
        cancelling(paid.ids, finance()[1])


# --- Approving -------------------------------------------------------------------------------------------------------


def test_many_refunds_are_approved_but_not_ones_own_held_decided_or_expired_ones(app: Flask) -> None:
    paid = Paid(6)
    person, by = finance()
    asker = factories.actor(factories.staff("support"))
    waiting = [refund_one(paid, booking_id, asker) for booking_id in paid.ids]
    with transaction():
        own = "UPDATE refunds SET requested_by_id = :by WHERE id = :id"
        db.session.execute(text(own), {"by": by.id, "id": waiting[0]})
        late = "UPDATE refunds SET expires_at = now() WHERE id = :id"
        db.session.execute(text(late), {"id": waiting[1]})
    refund_approval.reject(waiting[2], by=finance()[1], reason="No.")
    with held(paid, paid.ids[3]):
        run = bulk.freeze("refunds.approve", waiting, by=by)
        plan = bulk.preview(run)
        assert (plan.will, plan.skipped) == (2, {"Rejected already": 1})
        assert sorted(plan.refused.values()) == [1, 1, 1]
        assert plan.facts == (("Goes back", "$200.00\N{NO-BREAK SPACE}USD"),)
        bulk.start(run.id, by=by)
        assert queued.work_off() == []
        assert counted(run) == ("DONE", 2, 1, 3)
        refused = why(run, "FAILED")
        assert refused[waiting[0]] == "You asked for this refund yourself. Somebody else has to approve it."
        assert refused[waiting[1]] == "The time to approve this refund is over. Ask for it again."
        assert (refused[waiting[3]] or "").startswith("Refunds of this payment are on hold, until")
        assert "rejected this refund" in (why(run, "SKIPPED")[waiting[2]] or "")
    states = [status for _, status, _ in paid.refunds()]
    assert states == [*["PENDING_APPROVAL"] * 2, "REJECTED", "PENDING_APPROVAL", "SUCCEEDED", "SUCCEEDED"]
    assert [(some.status, some.count) for some in bulk.became(reread(run))] == [("SUCCEEDED", 2)]
    assert person.id == by.id
