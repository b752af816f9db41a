from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import select

from app.audit.actor import SYSTEM
from app.audit.models import AuditEntry
from app.bookings.models import Booking
from app.db import transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed, Unavailable
from app.extensions import db
from app.payments import ledger, stripe_gateway
from app.payments.models import LedgerEntry
from app.payments.stripe_gateway import BalanceTransaction
from app.queue import MAX_ATTEMPTS
from app.reports import differences as verbs
from app.reports import movements, reconciliation
from app.reports.comparison import VANISHED
from app.reports.models import Difference, Reconciliation, StripeMovement
from tests import factories, queued
from tests.conftest import tampering
from tests.reports.days import a_day, differences, finance, load, noon, paid, reconciled, reread


@pytest.fixture(autouse=True)
def context(app: Flask) -> Flask:
    return app


@pytest.fixture
def tamper(empty_app: Flask) -> Iterator[Any]:
    """What a thief could do, in a database of the test's own: others trust that their books are whole."""
    with tampering(empty_app) as cursor:
        yield cursor


def posted(source_id: str) -> dict[str, int]:
    db.session.rollback()
    rows = select(LedgerEntry.kind, LedgerEntry.amount_minor).where(LedgerEntry.source_id == source_id)
    return dict(db.session.execute(rows).all())


def trail(row: Any) -> list[str]:
    about = (AuditEntry.object_type == row.__tablename__, AuditEntry.object_id == row.id)
    return list(db.session.scalars(select(AuditEntry.action).where(*about).order_by(AuditEntry.id)))


# ---- what is found ----


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


def test_a_missing_capture_is_found_opens_its_booking_and_is_taken_over_from_stripe() -> None:
    day, by = a_day(), finance()
    one = paid(day)
    assert reconciled(day).differing == 1
    (found,) = differences(day)
    assert (found.kind, found.status, found.source_id) == ("missing_here", "OPEN", one.charge_id)
    assert (found.booking_id, found.payment_id) == (one.booking.id, one.payment_id)
    assert (found.there_minor, found.here_minor) == (one.booking.total_minor, 0)
    assert verbs.propose(found).asks_stripe
    fixed = verbs.fix(found.id, "Its webhook never came.", by=by)
    assert (fixed.status, fixed.explanation) == ("FIXED", "Its webhook never came.")
    assert fixed.here_minor == fixed.there_minor
    assert factories.reread(one.booking).status == "CONFIRMED"
    assert one.payment.status == "SUCCEEDED"
    assert (
        fixed.entry_id in db.session.scalars(select(LedgerEntry.id).where(LedgerEntry.source_id == one.charge_id)).all()
    )
    assert trail(fixed) == ["difference.find", "difference.fix"]
    row = reconciled(day)
    assert (row.matched, row.differing) == (1, 0)


def test_a_missing_refund_is_found_and_taken_over_from_stripe() -> None:
    day = a_day()
    refund = {"id": f"re_{uuid4().hex}", "balance_transaction": f"txn_{uuid4().hex}", "amount": 700}
    one = paid(day, refunds=[refund | {"created": int(noon(day).timestamp())}]).told()
    row = reconciled(day)
    assert (row.matched, row.differing) == (1, 1)
    (found,) = differences(day)
    assert (found.kind, found.booked_as, found.source_id) == ("missing_here", "refund.paid", refund["id"])
    assert (found.there_minor, found.here_minor, found.booking_id) == (-700, 0, one.booking.id)
    verbs.fix(found.id, "Made in Stripe's dashboard.", by=finance())
    assert one.payment.refunded_minor == 700
    assert posted(str(refund["id"])) == {"refund.paid": 700}
    assert reconciled(day).differing == 0


def test_a_wrong_amount_is_found_and_corrected_against_suspense(tamper: Any) -> None:
    day = a_day()
    one = paid(day).told()
    tamper.execute(
        "UPDATE ledger_entries SET amount_minor = amount_minor - 500 WHERE source_id = %s AND kind = %s",
        (one.charge_id, "capture.provider_share"),
    )
    reconciled(day)
    (found,) = differences(day)
    assert (found.kind, found.there_minor - found.here_minor) == ("amount", 500)
    assert found.there_fee_minor == found.here_fee_minor
    assert verbs.propose(found).entries == {"correction.received": 500}
    fixed = verbs.fix(found.id, "Typed wrong.", by=finance())
    assert posted(f"difference_{found.id}") == {"correction.received": 500}
    entry = db.session.get_one(LedgerEntry, fixed.entry_id)
    assert (entry.debit_account, entry.credit_account) == (ledger.STRIPE_BALANCE, ledger.SUSPENSE)
    assert entry.booking_id == one.booking.id
    assert reconciled(day).differing == 0


def test_a_fee_that_was_not_booked_is_found_and_posted_as_it_should_have_been(tamper: Any) -> None:
    day = a_day()
    one = paid(day).told()
    tamper.execute("DELETE FROM ledger_entries WHERE source_id = %s AND kind = 'capture.stripe_fee'", (one.charge_id,))
    reconciled(day)
    (found,) = differences(day)
    fee = one.payment.fee_minor
    assert (found.kind, found.there_fee_minor, found.here_fee_minor) == ("fee", fee, 0)
    verbs.fix(found.id, "It was left out.", by=finance())
    assert posted(one.charge_id)["capture.stripe_fee"] == fee
    assert reconciled(day).differing == 0


def test_a_fee_of_another_amount_is_corrected(tamper: Any) -> None:
    day = a_day()
    one = paid(day).told()
    wrong = "UPDATE ledger_entries SET amount_minor = amount_minor + 11 WHERE source_id = %s AND kind = %s"
    tamper.execute(wrong, (one.charge_id, "capture.stripe_fee"))
    reconciled(day)
    (found,) = differences(day)
    assert (found.kind, found.here_fee_minor - found.there_fee_minor) == ("fee", 11)
    verbs.fix(found.id, "Stripe takes less since May.", by=finance())
    assert posted(f"difference_{found.id}") == {"correction.fee_returned": 11}
    assert reconciled(day).differing == 0


def test_what_stripe_does_not_know_is_found_and_taken_back(tamper: Any) -> None:
    day = a_day()
    one = paid(day).told()
    tamper.execute(
        "INSERT INTO ledger_entries (kind, debit_account, credit_account, amount_minor, currency, source_id,"
        " payment_id, booking_id, provider_id, posted_at) SELECT 'refund.paid', 'refunds_payable', 'stripe_balance',"
        " 300, currency, %s, payment_id, booking_id, provider_id, %s FROM ledger_entries WHERE source_id = %s LIMIT 1",
        (f"re_{one.charge_id}", noon(day), one.charge_id),
    )
    reconciled(day)
    (found,) = differences(day)
    assert (found.kind, found.transaction_id, found.there_minor, found.here_minor) == ("missing_there", None, 0, -300)
    verbs.fix(found.id, "It never left.", by=finance())
    assert posted(f"difference_{found.id}") == {"correction.received": 300}
    assert reconciled(day).differing == 0


def test_what_was_posted_on_another_day_than_it_happened_is_no_difference(tamper: Any) -> None:
    day = a_day()
    one = paid(day).told()
    later = day + timedelta(days=1)
    tamper.execute("UPDATE ledger_entries SET posted_at = %s WHERE source_id = %s", (noon(later), one.charge_id))
    assert reconciled(later).differing == 0  # which has not been told of the day before
    assert db.session.scalar(select(StripeMovement.id).where(StripeMovement.source_id == one.charge_id)) is not None
    assert (reconciled(day).matched, differences(day), differences(later)) == (1, [], [])


def test_what_belongs_to_no_payment_here_can_only_be_explained() -> None:
    day, mark = a_day(), uuid4().hex
    load(day, payment_intent=f"pi_{mark}", charge=f"ch_{mark}", balance_transaction=f"txn_{mark}", amount=5000)
    reconciled(day)
    (found,) = differences(day)
    assert (found.kind, found.booking_id) == ("missing_here", None)
    with pytest.raises(Conflict, match="No payment here belongs to it"):
        verbs.fix(found.id, "Try it", by=finance())
    assert differences(day)[0].status == "OPEN"
    assert trail(found) == ["difference.find"]


@pytest.mark.parametrize(
    ("kind", "amount", "known_as"),
    [
        ("charge", 100, "capture"),
        ("payment", 100, "capture"),
        ("refund", -100, "refund.paid"),
        ("refund_failure", 100, "refund.failed"),
        ("adjustment", -100, "dispute.withdrawn"),
        ("adjustment", 100, "dispute.reinstated"),
        ("payout", -100, None),
    ],
)
def test_every_movement_has_what_it_is_booked_as(kind: str, amount: int, known_as: str | None) -> None:
    row = BalanceTransaction("txn_1", kind, "du_1" if kind == "adjustment" else "xx_1", amount, 0, "USD", utcnow())
    assert movements.booked_as(row) == known_as


# ---- again, and in between ----


def test_an_explained_difference_stays_so_until_it_changes(tamper: Any) -> None:
    day, by = a_day(), finance()
    one = paid(day).told()
    wrong = "UPDATE ledger_entries SET amount_minor = amount_minor - 500 WHERE source_id = %s AND kind = %s"
    tamper.execute(wrong, (one.charge_id, "capture.provider_share"))
    reconciled(day)
    (found,) = differences(day)
    verbs.explain(found.id, "Agreed by phone.", by=by)
    assert reconciled(day).differing == 1
    (same,) = differences(day)
    assert (same.status, same.explanation) == ("EXPLAINED", "Agreed by phone.")
    tamper.execute(wrong, (one.charge_id, "capture.provider_share"))
    reconciled(day)
    (changed,) = differences(day)
    assert (changed.id, changed.status, changed.explanation) == (found.id, "OPEN", None)
    assert changed.there_minor - changed.here_minor == 1000


def test_what_differs_no_more_is_closed_by_itself_and_what_differs_again_is_opened() -> None:
    day = a_day()
    one = paid(day)
    reconciled(day)
    one.told()
    assert reconciled(day).differing == 0
    (found,) = differences(day)
    assert (found.status, found.explanation) == ("FIXED", VANISHED)
    with transaction():
        ledger.post_correction(one.payment, {"correction.received": 5}, source_id=f"difference_{found.id}")
    reconciled(day)
    (again,) = differences(day)
    assert (again.id, again.status, again.kind) == (found.id, "OPEN", "amount")
    assert trail(again) == ["difference.find", "difference.vanish", "difference.find"]


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
        reconciliation.note_failure(row.id, Unavailable("Stripe can't be reached right now."))
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
    # The next nights: nothing ran for two, and somebody looked at the third day before it was over.
    _at(monkeypatch, night + timedelta(days=3, hours=-2))
    reconciliation.reconcile(day + timedelta(days=3), by=SYSTEM)
    reconciliation.go_on(reconciliation.id_of(day + timedelta(days=3)))
    _at(monkeypatch, night + timedelta(days=3))
    assert reconciliation.reconcile_due() == [day + timedelta(days=3)]


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


def _a_difference(day: date) -> Difference:
    zeroes = dict.fromkeys(("there_minor", "there_fee_minor", "here_minor", "here_fee_minor"), 0)
    about = {"kind": "fee", "booked_as": "capture", "source_id": "ch_1", "currency": "USD"}
    return Difference(reconciliation_id=reconciliation.id_of(day), **about, **zeroes)


# ---- who may, and what is refused ----


@pytest.mark.parametrize("role", ["support", "moderator"])
def test_only_finance_and_admins_reconcile(role: str) -> None:
    day, by = a_day(), factories.actor(factories.staff(role))
    with pytest.raises(NotAllowed):
        reconciliation.reconcile(day, by=by)
    assert db.session.get(Reconciliation, reconciliation.id_of(day)) is None
    one = paid(day)
    reconciled(day)
    (found,) = differences(day)
    for verb in (verbs.explain, verbs.fix, verbs.reopen):
        with pytest.raises(NotAllowed):
            verb(found.id, "Because", by=by)
    with pytest.raises(NotAllowed):
        verbs.assign(found.id, by.id, by=by)
    (same,) = differences(day)
    assert (same.status, same.assigned_to_id, trail(same)) == ("OPEN", None, ["difference.find"])
    assert posted(one.charge_id) == {}


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


def test_a_fix_that_would_leave_a_difference_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    day = a_day()
    one = paid(day)
    reconciled(day)
    (found,) = differences(day)
    monkeypatch.setitem(verbs._TAKES_OVER, "capture", lambda _: lambda: None)
    with pytest.raises(Conflict, match="would still differ"):
        verbs.fix(found.id, "Try it", by=finance())
    (same,) = differences(day)
    assert (same.status, same.here_minor, same.entry_id) == ("OPEN", 0, None)
    assert posted(one.charge_id) == {}
    assert db.session.get_one(Booking, one.booking.id).status == "PENDING_PAYMENT"


def test_a_difference_is_fixed_once() -> None:
    day, by = a_day(), finance()
    one = paid(day)
    reconciled(day)
    (found,) = differences(day)
    verbs.fix(found.id, "Missed.", by=by)
    before = posted(one.charge_id)
    with pytest.raises(Conflict, match="no longer differs"):
        verbs.fix(found.id, "Missed.", by=by)
    assert posted(one.charge_id) == before
    with pytest.raises(Conflict):
        verbs.explain(found.id, "Too late", by=by)


@pytest.mark.parametrize("verb", [verbs.explain, verbs.fix])
def test_words_are_needed(verb: Any) -> None:
    day = a_day()
    paid(day)
    reconciled(day)
    (found,) = differences(day)
    with pytest.raises(Invalid):
        verb(found.id, "  ", by=finance())
    assert differences(day)[0].status == "OPEN"


def test_it_is_assigned_to_who_can_deal_with_it() -> None:
    day, by = a_day(), finance()
    paid(day)
    reconciled(day)
    (found,) = differences(day)
    other = finance()
    assert verbs.assign(found.id, other.id, by=by).assigned_to_id == other.id
    with pytest.raises(Invalid):
        verbs.assign(found.id, factories.staff("support").id, by=by)
    assert differences(day)[0].assigned_to_id == other.id
    assert verbs.assign(found.id, None, by=by).assigned_to_id is None


def test_an_explanation_can_be_taken_back() -> None:
    day, by = a_day(), finance()
    paid(day)
    reconciled(day)
    (found,) = differences(day)
    with pytest.raises(Conflict):
        verbs.reopen(found.id, "Wrong one", by=by)
    verbs.explain(found.id, "Known.", by=by)
    again = verbs.reopen(found.id, "Wrong one", by=by)
    assert (again.status, again.explanation, again.closed_at) == ("OPEN", None, None)
    verbs.fix(found.id, "Missed.", by=by)
    with pytest.raises(Conflict):
        verbs.reopen(found.id, "Not so", by=by)
    assert differences(day)[0].status == "FIXED"


def test_a_missing_chargeback_is_taken_over_with_its_fee_and_hold() -> None:
    day = a_day()
    mark = uuid4().hex
    dispute = {"id": f"du_{mark}", "amount": 900, "reason": "fraudulent", "status": "needs_response", "fee": 1500}
    dispute |= {
        "created": int(noon(day).timestamp()),
        "due_by": int(utcnow().timestamp()) + 604_800,
        "balance_transaction": f"txn_d{mark}",
    }
    one = paid(day, disputes=[dispute]).told()
    reconciled(day)
    (found,) = differences(day)
    assert (found.kind, found.booked_as, found.booking_id) == ("missing_here", "dispute.withdrawn", one.booking.id)
    assert (found.there_minor, found.there_fee_minor) == (-900, 1500)
    verbs.fix(found.id, "Its event was lost.", by=finance())
    assert posted(f"du_{mark}") == {"dispute.withdrawn": 900, "dispute.fee": 1500}
    assert one.payment.disputed_minor == 900
    assert reconciled(day).differing == 0
