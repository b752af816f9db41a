"""What is owed to providers: stays completed, stays ahead and what is held, in the sums and behind their mark alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import text

from app import rollups
from app.accounts.models import User
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.db import lock, transaction
from app.extensions import db
from app.payments import holds, ledger, refund_submission
from app.payments import service as payments
from app.payments.models import Payment
from app.reports import invariants, payables
from app.reports import service as reports
from app.reports.payables import Payable
from app.reports.statements import INVARIANTS
from app.states import move
from tests import factories
from tests.payments.refunding import ask

(STATEMENT,) = (one for one in INVARIANTS if one.statement.startswith("What is owed to providers"))


@pytest.fixture(params=["added up at each step", "added up at the end", "never added up"])
def step(app: Flask, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """What happens between two steps: everything is brought into the sums, or nothing."""
    monkeypatch.setattr(rollups, "_MARGIN", timedelta(0))
    yield reports.add_up if request.param == "added up at each step" else lambda: None
    if request.param == "added up at the end":
        reports.add_up()
        assert wrong() == []


def wrong() -> list[str]:
    """What contradicts the statement about what is owed, or the sums that it stands on."""
    db.session.rollback()
    found = list(db.session.scalars(text(STATEMENT.select)))
    for finding in invariants.check_database():
        if "provider_sums" in finding.statement:
            found += finding.wrong
    return found


def owed(booking: Booking) -> tuple[int, int, int]:
    """What is owed now, not yet earned, and held, of this booking's provider, who has no other one."""
    db.session.rollback()
    found = payables.payable_to(booking.provider_id)
    return found[0][3:] if found else (0, 0, 0)


def payment_of(booking: Booking) -> Payment:
    found = payments.live_payment(booking.id)
    assert found is not None
    return found


def refund(booking: Booking, amount_minor: int) -> None:
    """Give so much back: it is taken from the provider and us when it is submitted."""
    refund_submission.submit(ask(payment_of(booking), amount_minor).id)


def complete(booking: Booking) -> None:
    with transaction():
        move(lock(Booking, booking.id), "COMPLETED")


def test_it_is_ahead_until_the_stay_is_completed_and_refunds_take_from_it(step: Callable[[], None]) -> None:
    booking = factories.paid_booking()
    step()
    assert owed(booking) == (0, 17_000, 0)
    refund(booking, 2_000)
    step()
    assert owed(booking) == (0, 15_300, 0)
    complete(booking)
    step()
    assert owed(booking) == (15_300, 0, 0)
    refund(booking, 1_000)
    step()
    assert owed(booking) == (14_450, 0, 0)
    assert wrong() == []


def test_a_hold_takes_it_out_of_both_and_lifting_it_puts_it_back(step: Callable[[], None]) -> None:
    ahead = factories.paid_booking()
    done = factories.paid_booking(of=factories.package(provider_id=ahead.provider_id))
    complete(done)
    step()
    assert owed(done) == (17_000, 17_000, 0)
    by, source = factories.actor(factories.staff("finance")), uuid4().hex
    for booking in (ahead, done):
        for more in ("a", "b"):  # held twice, counted once
            holds.place(payment_of(booking).id, source=f"{source}{more}{booking.id}", reason="r", until=None, by=by)
    step()
    assert owed(done) == (0, 0, 34_000)
    assert wrong() == []
    for booking in (ahead, done):
        for more in ("a", "b"):
            holds.lift(f"{source}{more}{booking.id}", by=by, reason="r")
    assert owed(done) == (17_000, 17_000, 0)


def test_what_a_cancellation_leaves_is_owed_at_once(step: Callable[[], None]) -> None:
    # Two days ahead the moderate policy gives half of it back.
    booking = factories.paid_booking()
    guest = factories.actor(db.session.get_one(User, booking.traveller_id))
    step()
    bookings.cancel(booking.id, by=guest)
    step()
    left = owed(booking)
    assert left[1:] == (0, 0)
    assert left[0] == ledger.sides_of(payment_of(booking).id).provider_minor > 0
    assert wrong() == []


def test_each_number_leads_to_its_bookings(app: Flask) -> None:
    ahead = factories.paid_booking()
    done = factories.paid_booking(of=factories.package(provider_id=ahead.provider_id))
    factories.booking(of=factories.package(provider_id=ahead.provider_id))
    complete(done)
    query = payables.bookings_with_something_kept(ahead.provider_id)

    def found(state: str) -> list[int]:
        return [row.id for row in db.session.scalars(query.where(payables.in_state(state)))]

    assert (found("owed"), found("ahead"), found("held")) == ([done.id], [ahead.id], [])
    holds.place(payment_of(done).id, source=uuid4().hex, reason="r", until=None, by=factories.admin())
    assert (found("owed"), found("ahead"), found("held")) == ([], [ahead.id], [done.id])
    assert payables.kept_for([ahead.id, done.id]) == {
        ahead.id: (17_000, "Not yet earned"),
        done.id: (17_000, "Held"),
    }


def test_every_provider_is_listed_with_the_most_owed_first_and_adds_up_to_the_account(app: Flask) -> None:
    complete(factories.paid_booking())
    factories.paid_booking()
    found = payables.payables()
    assert [one.owed_minor for one in found] == sorted((one.owed_minor for one in found), reverse=True)
    (account,) = (one for one in ledger.trial_balance() if one.code == "provider_payable")
    assert sum(one.total_minor for one in found) == account.credit_minor - account.debit_minor


def test_a_sum_that_is_a_cent_off_is_found(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "_MARGIN", timedelta(0))
    booking = factories.paid_booking()
    reports.add_up()
    assert wrong() == []
    for column in ("payable_minor", "earned_minor"):
        change = f"UPDATE provider_sums SET {column} = {column} + 1 WHERE provider_id = :id"
        db.session.execute(text(change), {"id": booking.provider_id})
        assert list(db.session.scalars(text(STATEMENT.select))) != []
        db.session.rollback()


def test_a_provider_without_a_payment_has_nothing(app: Flask) -> None:
    assert payables.payable_to(factories.provider().id) == []
    assert Payable(1, "x", "USD", 1, 2, 3).total_minor == 6
