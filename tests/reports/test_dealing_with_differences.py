from __future__ import annotations

from typing import Any

import pytest

from app.bookings.models import Booking
from app.db import transaction
from app.errors import Conflict, Invalid, NotAllowed
from app.extensions import db
from app.payments import ledger, ledger_checks
from app.reports import differences as verbs
from app.reports import proposals, reconciliation
from app.reports.comparison import VANISHED
from app.reports.models import Reconciliation
from tests import factories
from tests.reports.days import (
    WRONG,
    Tamper,
    a_day,
    differences,
    finance,
    paid,
    posted,
    reconciled,
    trail,
)

pytestmark = pytest.mark.usefixtures("app")


# ---- explained, and compared again ----


def test_an_explained_difference_stays_so_until_it_changes(tamper: Tamper) -> None:
    day, by = a_day(), finance()
    one = paid(day).told()
    tamper(WRONG, (-500, one.charge_id, "capture.provider_share"))
    reconciled(day)
    (found,) = differences(day)
    verbs.explain(found.id, "Agreed by phone.", by=by)
    assert reconciled(day).differing == 1
    (same,) = differences(day)
    assert (same.status, same.explanation) == ("EXPLAINED", "Agreed by phone.")
    tamper(WRONG, (-500, one.charge_id, "capture.provider_share"))
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
        ledger.post_correction(one.payment, {"capture.commission.more": 5}, source_id=one.charge_id)
    reconciled(day)
    (again,) = differences(day)
    assert (again.id, again.status, again.kind) == (found.id, "OPEN", "amount")
    assert trail(again) == ["difference.find", "difference.vanish", "difference.find"]
    verbs.fix(again.id, "Posted in error.", by=finance())
    assert posted(one.charge_id)["capture.commission.less"] == 5
    assert ledger_checks.contradictions_of(one.payment_id) == set()


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


def test_a_fix_that_would_leave_a_difference_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    day = a_day()
    one = paid(day)
    reconciled(day)
    (found,) = differences(day)
    monkeypatch.setitem(proposals.TAKES_OVER, "capture", lambda _: lambda: None)
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
