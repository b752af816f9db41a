from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import count

import pytest
from flask import Flask
from sqlalchemy import select

from app.db import transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed
from app.extensions import db
from app.reports import differences as verbs
from app.reports import months, reconciliation
from app.reports.models import Difference, Reconciliation
from tests import factories, queued
from tests.reports.days import differences, finance, noon, paid

pytestmark = pytest.mark.usefixtures("empty_app")
_years = count(2015)


@pytest.fixture
def june() -> date:
    """The first day of a month that no other test of this process has payments in: they share the local Stripe."""
    return date(next(_years), 6, 1)


@pytest.fixture
def closed(june: date) -> date:
    months.reconcile(june, by=finance())
    assert queued.work_off() == []
    return june


def test_all_days_of_a_month_are_compared_at_once_and_it_is_closed(june: date) -> None:
    paid(june.replace(day=30)).told()
    before = months.state_of(june)
    assert (before.days, before.over, before.left, before.is_closed, before.compared_at) == (30, 30, 30, False, None)
    begun = months.reconcile(june, by=finance())
    assert begun == [june + timedelta(days=number) for number in range(30)]
    during = months.state_of(june)
    assert (during.running, during.left, during.is_closed) == (30, 0, False)
    assert queued.work_off() == []
    after = months.state_of(june)
    assert (after.running, after.left, after.open, after.is_closed) == (0, 0, 0, True)
    assert after.compared_at is not None
    assert utcnow() - after.compared_at < timedelta(minutes=5)
    rows = db.session.execute(select(Reconciliation.day, Reconciliation.matched).order_by(Reconciliation.day)).all()
    assert [tuple(row) for row in rows[-2:]] == [(june.replace(day=29), 0), (june.replace(day=30), 1)]


def test_only_what_is_left_of_it_is_compared_again(closed: date) -> None:
    june = closed
    with pytest.raises(Conflict, match=f"No day of June {june.year} is left"):
        months.reconcile(june, by=finance())
    missed, failed, too_early, explained = (june.replace(day=day) for day in (3, 5, 7, 9))
    paid(missed)
    paid(explained)
    for day in (missed, explained, failed):
        reconciliation.reconcile(day, by=finance())
    reconciliation.fail(reconciliation.id_of(failed), "Stripe refused.")
    queued.work_off()
    verbs.explain(differences(explained)[0].id, "Known", by=finance())
    _begun(too_early, noon(too_early))
    state = months.state_of(june)
    assert (state.left, state.open, state.explained, state.is_closed) == (2, 1, 1, False)
    assert months.reconcile(june, by=finance()) == [missed, failed, too_early]
    with pytest.raises(Conflict, match=f"No day of June {june.year} is left"):  # they are at it
        months.reconcile(june, by=finance())


def test_an_explained_difference_leaves_it_closed(closed: date) -> None:
    june = closed
    day = june.replace(day=9)
    paid(day)
    reconciliation.reconcile(day, by=finance())
    queued.work_off()
    assert not months.state_of(june).is_closed
    verbs.explain(differences(day)[0].id, "Known", by=finance())
    assert months.state_of(june).is_closed


def test_of_this_month_only_the_days_that_are_over_are_compared(june: date, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.combine(june.replace(day=3), time(0, 5), UTC)
    monkeypatch.setattr(months, "utcnow", lambda: now)
    assert months.reconcile(june, by=finance()) == [june, june.replace(day=2)]
    queued.work_off()
    state = months.state_of(june)
    assert (state.over, state.left, state.is_over, state.is_closed) == (2, 0, False, False)
    monkeypatch.setattr(months, "utcnow", lambda: now - timedelta(days=2))
    with pytest.raises(Conflict):
        months.reconcile(june, by=finance())


@pytest.mark.parametrize("role", ["support", "moderator"])
def test_only_finance_and_admins_may(june: date, role: str) -> None:
    with pytest.raises(NotAllowed):
        months.reconcile(june, by=factories.actor(factories.staff(role)))
    assert db.session.scalars(select(Reconciliation.id)).all() == []


@pytest.mark.parametrize("typed", ["", "2013", "2013-13", "2010-12", "2013-6", "June"])
def test_what_is_no_month_is_refused(typed: str) -> None:
    with pytest.raises(Invalid):
        months.read_month(typed)


def test_by_the_command(empty_app: Flask, june: date) -> None:
    runner = empty_app.test_cli_runner()
    result = runner.invoke(args=["reports", "reconcile", f"{june:%Y-%m}"])
    assert (result.exit_code, result.output) == (0, f"30 days are being compared: {june} to {june:%Y-%m}-30.\n")
    assert queued.work_off() == []
    assert months.state_of(june).is_closed
    assert db.session.scalars(select(Difference.id)).all() == []
    again = runner.invoke(args=["reports", "reconcile", f"{june:%Y-%m}"])
    assert (again.exit_code, again.output) == (1, f"Error: No day of June {june.year} is left to compare.\n")


def test_the_command_names_what_is_wrong_once_and_begins_nothing(empty_app: Flask) -> None:
    answer = empty_app.test_cli_runner().invoke(args=["reports", "reconcile", "June"])
    assert (answer.exit_code, answer.output.count("'June' is no month such as 2026-11")) == (1, 1)
    assert answer.output.startswith("Error: month: ")
    assert db.session.scalars(select(Reconciliation.id)).all() == []


def _begun(day: date, at: datetime) -> None:
    with transaction():
        db.session.get_one(Reconciliation, reconciliation.id_of(day)).begun_at = at
