from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from app.audit.actor import SYSTEM
from app.db import transaction, utcnow
from app.errors import Conflict, Invalid, Unavailable
from app.extensions import db
from app.payments import stripe_gateway
from app.payments.stripe_objects import BalanceTransaction
from app.queue import MAX_ATTEMPTS, note_failure
from app.reports import movements, reconciliation
from app.reports.models import Difference, Reconciliation, StripeMovement
from tests import factories, queued
from tests.reports.days import (
    Tamper,
    a_day,
    differences,
    finance,
    load,
    noon,
    paid,
    paid_out,
    posted,
    reconciled,
    reread,
    trail,
)

pytestmark = pytest.mark.usefixtures("app")


# ---- what a day comes to ----


def test_a_day_that_agrees_is_a_record_with_its_date_and_sums() -> None:
    day = a_day()
    one = paid(day).told()
    by = finance()
    row = reconciled(day, by)
    assert (row.status, row.matched, row.differing, row.by_id) == ("DONE", 1, 0, by.id)
    assert row.compared_at is not None
    assert row.due_at is None
    payment = one.payment
    assert row.sums == [
        {
            "booked_as": "capture",
            "currency": "USD",
            "movements": 1,
            "differing": 0,
            "there_minor": payment.amount_minor,
            "here_minor": payment.amount_minor,
            "there_fee_minor": payment.fee_minor,
            "here_fee_minor": payment.fee_minor,
        }
    ]
    assert differences(day) == []
    assert trail(row) == ["reconciliation.begin", "reconciliation.finish"]


def test_a_day_without_any_movement_agrees() -> None:
    day = a_day()
    row = reconciled(day)
    assert (row.status, row.matched, row.differing, row.sums) == ("DONE", 0, 0, [])


def test_what_was_posted_on_another_day_than_it_happened_is_no_difference(tamper: Tamper) -> None:
    day = a_day()
    one = paid(day).told()
    later = day + timedelta(days=1)
    tamper("UPDATE ledger_entries SET posted_at = %s WHERE source_id = %s", (noon(later), one.charge_id))
    assert reconciled(later).differing == 0  # which has not been told of the day before
    assert db.session.scalar(select(StripeMovement.id).where(StripeMovement.source_id == one.charge_id)) is not None
    assert (reconciled(day).matched, differences(day), differences(later)) == (1, [], [])


@pytest.mark.parametrize(
    ("kind", "amount", "known_as"),
    [
        ("charge", 100, "capture"),
        ("payment", 100, "capture"),
        ("refund", -100, "refund.paid"),
        ("refund_failure", 100, "refund.failed"),
        ("adjustment", -100, "dispute.withdrawn"),
        ("adjustment", 100, "dispute.reinstated"),
        ("payout", -100, "payout.sent"),
        ("topup", 100, None),
    ],
)
def test_every_movement_has_what_it_is_booked_as(kind: str, amount: int, known_as: str | None) -> None:
    row = BalanceTransaction("txn_1", kind, "du_1" if kind == "adjustment" else "xx_1", amount, 0, "USD", utcnow())
    assert movements.booked_as(row) == known_as


# ---- again, and in between ----


class _KilledError(BaseException):
    """What nobody catches."""


def test_a_worker_that_dies_between_two_pages_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    day = a_day()
    load(day, lines=350, amount=5000)
    row = reconciliation.reconcile(day, by=finance())
    asked: list[str | None] = []
    real = stripe_gateway.balance_transactions_after

    def page(after: str | None, **between: datetime) -> Any:
        asked.append(after)
        if len(asked) == 3:
            raise _KilledError
        return real(after, **between)

    monkeypatch.setattr(stripe_gateway, "balance_transactions_after", page)
    with pytest.raises(_KilledError):
        reconciliation.go_on(row.id)
    db.session.remove()
    half = reread(day)
    assert (half.status, half.step, half.reached) == ("RUNNING", "transactions", asked[2])
    assert half.due_at is not None  # for the sweep
    reconciliation.go_on(row.id)
    done = reread(day)
    assert (done.status, done.matched, done.differing) == ("DONE", 0, 350)
    assert len(asked) == 5  # four pages, and the one that was asked for twice
    assert len({found.source_id for found in differences(day)}) == 350


def test_of_two_workers_at_one_page_one_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    day = a_day()
    paid(day)
    row = reconciliation.reconcile(day, by=finance())
    real = stripe_gateway.balance_transactions_after

    def page(after: str | None, **between: datetime) -> Any:
        monkeypatch.setattr(stripe_gateway, "balance_transactions_after", real)
        reconciliation.go_on(row.id)  # the other one, from beginning to end
        return real(after, **between)

    monkeypatch.setattr(stripe_gateway, "balance_transactions_after", page)
    reconciliation.go_on(row.id)
    assert reread(day).status == "DONE"
    assert reread(day).step == "comparison"  # not where the one that gave way would have gone on
    assert trail(reread(day)) == ["reconciliation.begin", "reconciliation.finish"]
    assert len(differences(day)) == 1


def test_others_have_their_turn_between_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    day = a_day()
    row = reconciliation.reconcile(day, by=finance())
    queued.jobs()
    monkeypatch.setattr(reconciliation, "TURN_SECONDS", 0.0)
    reconciliation.go_on(row.id)
    assert reread(day).status == "RUNNING"
    assert queued.calls().count(("jobs.reconciliation.work", (row.id,))) == 2


def test_it_is_worked_through_by_a_worker() -> None:
    day = a_day()
    paid(day).told()
    reconciliation.reconcile(day, by=finance())
    assert queued.work_off() == []
    assert reread(day).status == "DONE"


def test_a_stripe_that_gives_no_answer_is_asked_again_until_the_tries_are_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    day = a_day()
    row = reconciliation.reconcile(day, by=finance())

    def page(*_: Any, **__: Any) -> Any:
        raise Unavailable("Stripe can't be reached right now.")

    monkeypatch.setattr(stripe_gateway, "balance_transactions_after", page)
    queued.work_off()
    tried = reread(day)
    assert (tried.status, tried.attempts, tried.last_error) == ("RUNNING", 1, "Stripe can't be reached right now.")
    assert tried.due_at is not None
    assert tried.due_at > utcnow()
    for _ in range(MAX_ATTEMPTS - 1):
        note_failure(Reconciliation, row.id, "Stripe can't be reached right now.", give_up=reconciliation.fail)
    given_up = reread(day)
    assert (given_up.status, given_up.due_at) == ("FAILED", None)
    assert given_up.ended_because == "It was tried too often. The last time: Stripe can't be reached right now."
    monkeypatch.undo()
    assert reconciled(day).status == "DONE"


# ---- whose turn it is ----


def _at(monkeypatch: pytest.MonkeyPatch, now: datetime) -> None:
    monkeypatch.setattr(reconciliation, "utcnow", lambda: now)


def test_at_night_yesterday_is_reconciled_once_and_days_somebody_has_to_look_at_again(
    empty_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = date(2011, 3, 1)
    night = datetime.combine(day + timedelta(days=1), time(0, 10), utcnow().tzinfo)
    _at(monkeypatch, night - timedelta(seconds=1))
    assert reconciliation.reconcile_due() == []
    _at(monkeypatch, night)
    assert reconciliation.reconcile_due() == [day]
    assert reconciliation.reconcile_due() == []
    reconciliation.go_on(reconciliation.id_of(day))
    assert reconciliation.reconcile_due() == []
    # The next nights: nothing ran for two, and somebody looked at the third day before it was over. All three are made
    # up for, though the newest of them is known.
    _at(monkeypatch, night + timedelta(days=3, hours=-2))
    reconciliation.reconcile(day + timedelta(days=3), by=SYSTEM)
    reconciliation.go_on(reconciliation.id_of(day + timedelta(days=3)))
    _at(monkeypatch, night + timedelta(days=3))
    assert reconciliation.reconcile_due() == [day + timedelta(days=number) for number in (1, 2, 3)]


def test_of_days_long_ago_no_more_than_a_month_is_made_up_for(
    empty_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = date(2011, 3, 1)
    night = datetime.combine(day + timedelta(days=1), time(0, 10), utcnow().tzinfo)
    _at(monkeypatch, night)
    reconciliation.reconcile_due()
    reconciliation.go_on(reconciliation.id_of(day))
    _at(monkeypatch, night + timedelta(days=40))
    assert reconciliation.reconcile_due() == [day + timedelta(days=number) for number in range(10, 41)]


def test_missed_nights_are_made_up_for(empty_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    day = date(2011, 3, 1)
    night = datetime.combine(day + timedelta(days=1), time(0, 10), utcnow().tzinfo)
    _at(monkeypatch, night)
    reconciliation.reconcile_due()
    reconciliation.go_on(reconciliation.id_of(day))
    _at(monkeypatch, night + timedelta(days=3))
    assert reconciliation.reconcile_due() == [day + timedelta(days=back) for back in (1, 2, 3)]


def test_a_day_with_an_open_difference_or_that_failed_is_tried_again_every_night(
    empty_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = date(2011, 5, 1)
    night = datetime.combine(day + timedelta(days=1), time(0, 10), utcnow().tzinfo)
    _at(monkeypatch, night)
    reconciliation.reconcile_due()
    reconciliation.fail(reconciliation.id_of(day), "Stripe refused: no.")
    assert reconciliation.reconcile_due() == []
    _at(monkeypatch, night + timedelta(days=1))
    assert reconciliation.reconcile_due() == [day, day + timedelta(days=1)]
    for back in (0, 1):
        reconciliation.go_on(reconciliation.id_of(day + timedelta(days=back)))
    assert reconciliation.reconcile_due() == []
    with transaction():
        db.session.add(_a_difference(day))
    _at(monkeypatch, night + timedelta(days=2))
    assert reconciliation.reconcile_due() == [day, day + timedelta(days=2)]


def test_a_payout_that_could_only_be_explained_once_is_booked_in_the_next_night(
    empty_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = date(2011, 7, 1)
    night = datetime.combine(day + timedelta(days=1), time(0, 10), utcnow().tzinfo)
    _at(monkeypatch, night)
    assert reconciliation.reconcile_due() == [day]
    reconciliation.go_on(reconciliation.id_of(day))
    payout = paid_out(day)
    with transaction():
        db.session.add(_explained(day, "payout", payout))
    _at(monkeypatch, night + timedelta(days=1))
    assert reconciliation.reconcile_due() == [day, day + timedelta(days=1)]
    for back in (0, 1):
        reconciliation.go_on(reconciliation.id_of(day + timedelta(days=back)))
    (found,) = differences(day)
    assert (found.status, found.explanation) == ("FIXED", "Agreed with the bank.")
    assert posted(payout) == {"payout.sent": 3_000}
    # It is over, and what still has no posting stays explained.
    with transaction():
        db.session.add(_explained(day, "reserve_transaction", "rsv_1"))
    _at(monkeypatch, night + timedelta(days=2))
    assert reconciliation.reconcile_due() == [day + timedelta(days=2)]


def test_a_day_that_is_compared_does_not_fail_any_more() -> None:
    day = a_day()
    row = reconciled(day)
    before = trail(row)
    reconciliation.fail(row.id, "Stripe refused: no.")
    assert (reread(day).status, reread(day).ended_because, trail(row)) == ("DONE", None, before)


def _a_difference(day: date) -> Difference:
    zeroes = dict.fromkeys(("there_minor", "there_fee_minor", "here_minor", "here_fee_minor"), 0)
    about = {"kind": "fee", "booked_as": "capture", "source_id": "ch_1", "currency": "USD"}
    return Difference(reconciliation_id=reconciliation.id_of(day), **about, **zeroes)


def _explained(day: date, booked_as: str, source_id: str) -> Difference:
    found = _a_difference(day)
    found.booked_as, found.source_id = booked_as, source_id
    found.status, found.explanation, found.closed_at = "EXPLAINED", "Agreed with the bank.", utcnow()
    return found


# ---- what is refused ----


@pytest.mark.parametrize("days", [1, -8000])
def test_a_day_that_has_not_begun_or_has_no_balance_is_refused(days: int) -> None:
    day = utcnow().date() + timedelta(days=days)
    with pytest.raises(Invalid):
        reconciliation.reconcile(day, by=finance())
    assert db.session.get(Reconciliation, reconciliation.id_of(day)) is None


def test_a_day_that_is_being_reconciled_is_not_begun_twice() -> None:
    day = a_day()
    first = reconciliation.reconcile(day, by=finance())
    begun_at = first.begun_at
    with pytest.raises(Conflict, match="running already"):
        reconciliation.reconcile(day, by=finance())
    assert reread(day).begun_at == begun_at


def test_what_happened_in_the_last_minutes_may_still_be_on_its_way() -> None:
    intent = factories.intent_of(factories.booking())
    assert factories.confirm(intent.id).ok
    charge = stripe_gateway.retrieve_intent(intent.id).charge_id
    today = utcnow().date()
    reconciled(today)
    assert db.session.scalar(select(StripeMovement.id).where(StripeMovement.source_id == charge)) is not None
    assert [found for found in differences(today) if found.source_id == charge] == []
