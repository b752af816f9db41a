"""Differences that come back, change while somebody fixes them, or are somebody's who has left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.accounts import staff
from app.db import transaction
from app.errors import Conflict
from app.extensions import db
from app.payments import stripe_gateway
from app.queue import note_failure
from app.reports import differences as verbs
from app.reports import reconciliation
from app.reports.models import Reconciliation, StripeMovement
from app.reports.proposals import Proposal
from tests import factories
from tests.reports.days import WRONG, Tamper, a_day, differences, finance, noon, paid, reconciled, reread, trail

pytestmark = pytest.mark.usefixtures("app")

SHARE, FEE = "capture.provider_share", "capture.stripe_fee"


def test_what_was_closed_by_itself_and_differs_again_by_the_same_is_open_again(tamper: Tamper) -> None:
    day = a_day()
    one = paid(day).told()
    tamper(WRONG, (-500, one.charge_id, SHARE))
    reconciled(day)
    tamper(WRONG, (500, one.charge_id, SHARE))
    reconciled(day)
    (gone,) = differences(day)
    assert gone.status == "FIXED"
    tamper(WRONG, (-500, one.charge_id, SHARE))
    reconciled(day)
    (again,) = differences(day)
    assert (again.id, again.status, again.explanation, again.closed_at) == (gone.id, "OPEN", None, None)


def test_what_was_explained_and_differs_no_more_is_fixed_with_its_explanation(tamper: Tamper) -> None:
    day = a_day()
    one = paid(day).told()
    tamper(WRONG, (-500, one.charge_id, SHARE))
    reconciled(day)
    verbs.explain(differences(day)[0].id, "Arrives tomorrow", by=finance())
    tamper(WRONG, (500, one.charge_id, SHARE))
    reconciled(day)
    (gone,) = differences(day)
    assert (gone.status, gone.explanation, gone.closed_at is None) == ("FIXED", "Arrives tomorrow", False)
    assert trail(gone)[-1] == "difference.vanish"


def test_what_was_corrected_once_and_differs_again_is_no_longer_corrected(tamper: Tamper) -> None:
    day = a_day()
    one = paid(day).told()
    tamper(WRONG, (-500, one.charge_id, SHARE))
    reconciled(day)
    (found,) = differences(day)
    entry = verbs.fix(found.id, "Typed wrong.", by=finance()).entry_id
    tamper(WRONG, (-100, one.charge_id, SHARE))
    reconciled(day)
    (again,) = differences(day)
    assert (again.id, again.status) == (found.id, "OPEN")
    with pytest.raises(Conflict, match=f"Entry {entry} corrected it once"):
        verbs.fix(again.id, "Once more", by=finance())
    assert differences(day)[0].status == "OPEN"


def test_a_fee_that_is_higher_at_stripe_is_corrected(tamper: Tamper) -> None:
    day = a_day()
    one = paid(day).told()
    tamper(WRONG, (-11, one.charge_id, FEE))
    reconciled(day)
    (found,) = differences(day)
    assert verbs.propose(found).entries == {f"{FEE}.more": 11}
    assert verbs.fix(found.id, "Stripe takes more since May.", by=finance()).status == "FIXED"
    assert reconciled(day).differing == 0


def test_too_much_in_the_ledger_is_corrected_the_other_way(tamper: Tamper) -> None:
    day = a_day()
    one = paid(day).told()
    tamper(WRONG, (500, one.charge_id, SHARE))
    reconciled(day)
    (found,) = differences(day)
    assert verbs.propose(found).entries == {f"{SHARE}.less": 500}
    verbs.fix(found.id, "Typed wrong.", by=finance())
    assert reconciled(day).differing == 0


def test_what_changes_while_stripe_is_asked_is_not_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    day = a_day()
    one = paid(day)
    reconciled(day)
    (found,) = differences(day)
    real = stripe_gateway.retrieve_intent

    def answer(intent_id: str) -> Any:
        monkeypatch.setattr(stripe_gateway, "retrieve_intent", real)
        one.told()  # its event has come after all
        reconciled(day)
        return real(intent_id)

    monkeypatch.setattr(stripe_gateway, "retrieve_intent", answer)
    with pytest.raises(Conflict, match="no longer differs"):
        verbs.fix(found.id, "Its event never came", by=finance())
    (same,) = differences(day)
    assert (same.status, same.entry_id) == ("FIXED", None)


def test_another_proposal_than_the_one_that_was_looked_at_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    day = a_day()
    one = paid(day)
    reconciled(day)
    (found,) = differences(day)
    told = iter([Proposal({}, asks_stripe=True), Proposal({SHARE: 1})])
    monkeypatch.setattr(verbs, "propose", lambda _: next(told))
    with pytest.raises(Conflict, match="in another way by now"):
        verbs.fix(found.id, "Its event never came", by=finance())
    assert differences(day)[0].status == "OPEN"
    assert one.payment.status == "REQUIRES_PAYMENT"


def test_what_stripe_does_not_know_counts_on_the_first_day_it_was_posted(tamper: Tamper) -> None:
    day = a_day()
    one = paid(day).told()
    later = day + timedelta(days=1)
    for kind, at in ((SHARE, noon(day)), ("capture.commission", noon(later))):
        tamper(
            "INSERT INTO ledger_entries (kind, debit_account, credit_account, amount_minor, currency, source_id,"
            " payment_id, booking_id, provider_id, posted_at) SELECT kind, debit_account, credit_account, 300,"
            " currency, %s, payment_id, booking_id, provider_id, %s FROM ledger_entries"
            " WHERE source_id = %s AND kind = %s",
            (f"ch_x{one.charge_id}", at, one.charge_id, kind),
        )
    assert reconciled(later).differing == 0
    assert reconciled(day).differing == 1
    (found,) = differences(day)
    assert (found.kind, found.here_minor) == ("missing_there", 600)


def test_all_that_was_posted_late_is_asked_for_at_stripe_batch_by_batch(
    tamper: Tamper, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = a_day()
    later = day + timedelta(days=1)
    for one in [paid(day).told() for _ in range(3)]:
        tamper("UPDATE ledger_entries SET posted_at = %s WHERE source_id = %s", (noon(later), one.charge_id))
    monkeypatch.setattr(reconciliation, "_SOURCES_AT_ONCE", 1)
    assert (reconciled(later).differing, reconciled(day).matched) == (0, 3)


def test_two_movements_of_one_object_count_as_their_sum() -> None:
    day = a_day()
    one = paid(day).told()
    reconciled(day)
    with transaction():
        db.session.add(
            StripeMovement(
                id=f"txn_more_{one.charge_id}",
                booked_as="capture",
                source_id=one.charge_id,
                amount_minor=5,
                fee_minor=0,
                currency="USD",
                created_at=noon(day),
            )
        )
    reconciled(day)
    (found,) = differences(day)
    assert (found.kind, found.there_minor - found.here_minor) == ("amount", 5)


def test_what_no_posting_is_known_for_is_not_taken_over() -> None:
    day = a_day()
    one = paid(day).told()
    reconciled(day)
    with transaction():
        db.session.add(
            StripeMovement(
                id=f"txn_odd_{one.charge_id}",
                booked_as="network_cost",
                source_id=f"nc_{one.charge_id}",
                stripe_payment_intent_id=one.intent_id,
                amount_minor=-5,
                fee_minor=0,
                currency="USD",
                created_at=noon(day),
            )
        )
    reconciled(day)
    (found,) = differences(day)
    assert (found.kind, found.payment_id) == ("missing_here", one.payment_id)
    with pytest.raises(Conflict, match="Its own event books it"):
        verbs.fix(found.id, "Try it", by=finance())
    assert differences(day)[0].status == "OPEN"


def test_what_is_fixed_is_nobodys_to_look_into() -> None:
    day, by = a_day(), finance()
    paid(day)
    reconciled(day)
    (found,) = differences(day)
    verbs.fix(found.id, "Missed.", by=by)
    with pytest.raises(Conflict, match="nothing to look into"):
        verbs.assign(found.id, by.id, by=by)
    assert differences(day)[0].assigned_to_id is None


def test_nobody_who_has_left_looks_into_it() -> None:
    day, left, admin = a_day(), factories.staff("finance"), factories.staff("admin")
    paid(day)
    reconciled(day)
    (found,) = differences(day)
    assert left.id in {person.id for person in verbs.assignees()}
    staff.deactivate(left.id, reason="Left", by=factories.actor(admin))
    assert left.id not in {person.id for person in verbs.assignees()}
    assert found.assigned_to_id is None


def test_a_job_of_before_keeps_nothing_of_a_day_that_was_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    day = a_day()
    paid(day)
    row = reconciliation.reconcile(day, by=finance())
    real = stripe_gateway.balance_transactions_after

    def page(after: str | None, **between: Any) -> Any:
        monkeypatch.setattr(stripe_gateway, "balance_transactions_after", real)
        reconciliation.fail(row.id, "Stopped.")
        reconciliation.reconcile(day, by=finance())
        return real(after, **between)

    monkeypatch.setattr(stripe_gateway, "balance_transactions_after", page)
    reconciliation.go_on(row.id)
    anew = reread(day)
    assert (anew.status, anew.step) == ("RUNNING", "transactions")
    reconciliation.go_on(row.id)
    assert reread(day).status == "DONE"


def test_a_failure_that_is_told_late_undoes_no_comparison() -> None:
    day = a_day()
    row = reconciled(day)
    note_failure(Reconciliation, row.id, "Stripe can't be reached right now.", give_up=reconciliation.fail)
    same = reread(day)
    assert (same.status, same.attempts, same.last_error, same.due_at) == ("DONE", 0, None, None)
    reconciliation.fail(row.id, "Too late")
    assert (reread(day).status, reread(day).ended_because) == ("DONE", None)
