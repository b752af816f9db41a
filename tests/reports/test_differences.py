from __future__ import annotations

from datetime import date
from uuid import uuid4

import pytest
from sqlalchemy import select

from app.bookings import service as bookings
from app.db import utcnow
from app.disputes import chargebacks
from app.errors import Conflict
from app.extensions import db
from app.payments import ledger, ledger_checks, refund_submission, stripe_gateway
from app.payments.models import LedgerEntry
from app.reports import differences as verbs
from app.reports import invariants, proposals, stripe_balance
from app.reports.proposals import Proposal
from tests import factories
from tests.reports.days import (
    WRONG,
    Paid,
    Tamper,
    a_day,
    differences,
    finance,
    load,
    noon,
    paid,
    posted,
    reconciled,
    trail,
)

pytestmark = pytest.mark.usefixtures("app")


# ---- what is found, and fixed ----


def test_a_missing_capture_is_found_opens_its_booking_and_is_taken_over_from_stripe() -> None:
    day, by = a_day(), finance()
    one = paid(day)
    assert reconciled(day).differing == 1
    (found,) = differences(day)
    assert (found.kind, found.status, found.source_id) == ("missing_here", "OPEN", one.charge_id)
    assert (found.booking_id, found.payment_id) == (one.booking.id, one.payment_id)
    assert (found.there_minor, found.here_minor) == (one.booking.total_minor, 0)
    assert proposals.propose(found) == Proposal({}, asks_stripe=True)
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


GONE = "DELETE FROM ledger_entries WHERE source_id = %s AND kind LIKE %s"


@pytest.mark.parametrize(
    ("kind", "by", "corrected"),
    [
        ("capture.provider_share", -500, {"capture.provider_share.more": 500}),
        ("capture.provider_share", 500, {"capture.provider_share.less": 500}),
        ("capture.commission", -300, {"capture.commission.more": 300}),
        ("capture.stripe_fee", 11, {"capture.stripe_fee.less": 11}),
        ("capture.stripe_fee", -11, {"capture.stripe_fee.more": 11}),
    ],
)
def test_a_wrong_amount_is_found_and_corrected_between_the_accounts_it_is_of(
    tamper: Tamper, kind: str, by: int, corrected: dict[str, int]
) -> None:
    day = a_day()
    one = paid(day).told()
    right = ledger.sides_of(one.payment_id)
    tamper(WRONG, (by, one.charge_id, kind))
    assert ledger_checks.verify() != []
    reconciled(day)
    (found,) = differences(day)
    assert found.kind == ("fee" if kind == "capture.stripe_fee" else "amount")
    assert proposals.propose(found) == Proposal(corrected)
    before = posted(one.charge_id)
    fixed = verbs.fix(found.id, "Typed wrong.", by=finance())
    assert posted(one.charge_id) == before | corrected
    entry = db.session.get_one(LedgerEntry, fixed.entry_id)
    assert (entry.kind, entry.booking_id) == (*corrected, one.booking.id)
    assert ledger.sides_of(one.payment_id) == right
    assert "payment.fee_corrected" not in trail(one.payment)
    assert ledger_checks.verify() == []
    assert reconciled(day).differing == 0


def test_a_fee_that_was_not_booked_is_found_and_posted_as_it_should_have_been(tamper: Tamper) -> None:
    day = a_day()
    one = paid(day).told()
    tamper(GONE, (one.charge_id, "capture.stripe_fee"))
    reconciled(day)
    (found,) = differences(day)
    fee = one.payment.fee_minor
    assert (found.kind, found.there_fee_minor, found.here_fee_minor) == ("fee", fee, 0)
    verbs.fix(found.id, "It was left out.", by=finance())
    assert posted(one.charge_id)["capture.stripe_fee"] == fee
    assert ledger_checks.verify() == []
    assert reconciled(day).differing == 0


def test_a_fee_that_the_payment_has_wrong_too_is_corrected_in_both(tamper: Tamper) -> None:
    day = a_day()
    one = paid(day).told()
    fee = one.payment.fee_minor or 0
    tamper(WRONG, (7, one.charge_id, "capture.stripe_fee"))
    tamper("UPDATE payments SET fee_minor = fee_minor + 7 WHERE id = %s", (one.payment_id,))
    reconciled(day)
    (found,) = differences(day)
    verbs.fix(found.id, "Stripe takes less since May.", by=finance())
    assert one.payment.fee_minor == fee
    assert trail(one.payment)[-1] == "payment.fee_corrected"
    assert posted(one.charge_id)["capture.stripe_fee.less"] == 7
    assert ledger_checks.verify() == []


@pytest.mark.parametrize("is_late", [False, True])
def test_a_capture_whose_entries_are_gone_is_posted_again(tamper: Tamper, is_late: bool) -> None:
    day = a_day()
    one = paid(day)
    if is_late:
        bookings.cancel(one.booking.id, by=factories.admin(), on_behalf_of="support", reason="Changed plans")
    one.told()
    before = posted(one.charge_id)
    assert ("capture.owed_back" in before) == is_late
    tamper(GONE, (one.charge_id, "capture.%"))
    reconciled(day)
    (found,) = differences(day)
    assert (found.kind, found.booking_id) == ("missing_here", one.booking.id)
    assert proposals.propose(found) == Proposal(before)
    verbs.fix(found.id, "They were lost with a disk.", by=finance())
    assert posted(one.charge_id) == before
    assert ledger_checks.verify() == []
    assert reconciled(day).differing == 0


def test_a_refund_that_is_paid_and_has_no_entry_is_posted_again(tamper: Tamper) -> None:
    day = a_day()
    refund_id = f"re_{uuid4().hex}"
    refund = {"id": refund_id, "balance_transaction": f"txn_{uuid4().hex}", "amount": 700}
    one = paid(day, refunds=[refund | {"created": int(noon(day).timestamp())}]).told()
    refund_submission.told(stripe_gateway.retrieve_refund(refund_id))
    tamper(GONE, (refund_id, "refund.paid"))
    reconciled(day)
    (found,) = differences(day)
    assert (found.kind, found.booked_as) == ("missing_here", "refund.paid")
    verbs.fix(found.id, "It was lost.", by=finance())
    assert posted(refund_id) == {"refund.paid": 700}
    assert one.payment.refunded_minor == 700
    assert ledger_checks.verify() == []


def test_a_refund_booked_with_another_amount_is_corrected(tamper: Tamper) -> None:
    day = a_day()
    refund_id = f"re_{uuid4().hex}"
    refund = {"id": refund_id, "balance_transaction": f"txn_{uuid4().hex}", "amount": 700}
    paid(day, refunds=[refund | {"created": int(noon(day).timestamp())}]).told()
    refund_submission.told(stripe_gateway.retrieve_refund(refund_id))
    tamper(WRONG, (-200, refund_id, "refund.paid"))
    reconciled(day)
    (found,) = differences(day)
    verbs.fix(found.id, "Typed wrong.", by=finance())
    assert posted(refund_id) == {"refund.paid": 500, "refund.paid.more": 200}
    assert ledger_checks.verify() == []
    assert reconciled(day).differing == 0


def test_a_chargeback_booked_with_another_amount_is_corrected(tamper: Tamper) -> None:
    day = a_day()
    one, dispute_id = disputed(day)
    chargebacks.changed(stripe_gateway.retrieve_dispute(dispute_id))
    tamper(WRONG, (-400, dispute_id, "dispute.withdrawn"))
    tamper(WRONG, (25, dispute_id, "dispute.fee"))
    reconciled(day)
    (found,) = differences(day)
    verbs.fix(found.id, "Typed wrong.", by=finance())
    assert posted(dispute_id) == {
        "dispute.withdrawn": 500,
        "dispute.withdrawn.more": 400,
        "dispute.fee": 1_525,
        "dispute.fee.less": 25,
    }
    assert one.payment.disputed_minor == 900
    assert ledger_checks.verify() == []
    (moved,) = [
        found for found in invariants.check_database() if found.statement.startswith("What a dispute has moved")
    ]
    assert moved.wrong == []


def test_what_a_dispute_took_a_second_time_is_booked_and_what_is_left_of_the_payment_follows(tamper: Tamper) -> None:
    day = a_day()
    one, dispute_id = disputed(day)
    chargebacks.changed(stripe_gateway.retrieve_dispute(dispute_id))
    # As if it had taken half at first, and nobody could book the rest.
    tamper(
        "UPDATE ledger_entries SET amount_minor = 450 WHERE source_id = %s AND kind = 'dispute.withdrawn'",
        (dispute_id,),
    )
    tamper("UPDATE payments SET disputed_minor = 450 WHERE id = %s", (one.payment_id,))
    with pytest.raises(Conflict, match="moved money twice"):
        chargebacks.changed(stripe_gateway.retrieve_dispute(dispute_id))
    reconciled(day)
    (found,) = differences(day)
    verbs.fix(found.id, "The bank took the rest later.", by=finance())
    assert posted(dispute_id) == {"dispute.withdrawn": 450, "dispute.withdrawn.more": 450, "dispute.fee": 1_500}
    assert one.payment.disputed_minor == 900
    assert ledger_checks.verify() == []
    assert chargebacks.changed(stripe_gateway.retrieve_dispute(dispute_id)).withdrawn_minor == 900


def test_what_stripe_does_not_know_is_found_and_taken_back(tamper: Tamper) -> None:
    day = a_day()
    one = paid(day).told()
    source = _paid_out_of_nothing(tamper, one, day)
    reconciled(day)
    (found,) = differences(day)
    assert (found.kind, found.transaction_id, found.there_minor, found.here_minor) == ("missing_there", None, 0, -300)
    verbs.fix(found.id, "It never left.", by=finance())
    assert posted(source) == {"refund.paid": 300, "refund.paid.less": 300}
    assert ledger_checks.verify() == []
    assert reconciled(day).differing == 0
    known = {row.source for row in db.session.execute(stripe_balance._POSTED, {"until": utcnow()})}
    assert known == {one.charge_id}  # what was taken back is not said to be unknown to Stripe


def _paid_out_of_nothing(tamper: Tamper, one: Paid, day: date) -> str:
    source = f"re_{one.charge_id}"
    tamper(
        "INSERT INTO ledger_entries (kind, debit_account, credit_account, amount_minor, currency, source_id,"
        " payment_id, booking_id, provider_id, posted_at) SELECT 'refund.paid', 'refunds_payable', 'stripe_balance',"
        " 300, currency, %s, payment_id, booking_id, provider_id, %s FROM ledger_entries WHERE source_id = %s LIMIT 1",
        (source, noon(day), one.charge_id),
    )
    return source


def test_what_is_booked_of_another_charge_than_the_payments_is_taken_back_and_leaves_its_fee(tamper: Tamper) -> None:
    day = a_day()
    one = paid(day).told()
    fee, source = one.payment.fee_minor, f"{one.charge_id}_twice"
    tamper(
        "INSERT INTO ledger_entries (kind, debit_account, credit_account, amount_minor, currency, source_id,"
        " payment_id, booking_id, provider_id, posted_at) SELECT kind, debit_account, credit_account, 300, currency,"
        " %s, payment_id, booking_id, provider_id, %s FROM ledger_entries"
        " WHERE source_id = %s AND kind = 'capture.commission'",
        (source, noon(day), one.charge_id),
    )
    reconciled(day)
    (found,) = [row for row in differences(day) if row.kind == "missing_there"]
    verbs.fix(found.id, "It was booked twice.", by=finance())
    assert posted(source) == {"capture.commission": 300, "capture.commission.less": 300}
    assert one.payment.fee_minor == fee
    assert ledger_checks.verify() == []


def test_what_would_break_the_books_elsewhere_is_refused_in_words(tamper: Tamper) -> None:
    day = a_day()
    one = paid(day).told()
    source = _paid_out_of_nothing(tamper, one, day)
    tamper(
        "INSERT INTO refunds (payment_id, status, kind, amount_minor, currency, reason, idempotency_key, request_id,"
        " stripe_refund_id, submitted_at, succeeded_at) VALUES (%s, 'SUCCEEDED', 'owed_back', 300, 'USD', 'other',"
        " %s, '-', %s, now(), now())",
        (one.payment_id, source, source),
    )
    reconciled(day)
    (found,) = differences(day)
    with pytest.raises(Conflict, match="the books would have a refund whose entries disagree with its state"):
        verbs.fix(found.id, "It never left.", by=finance())
    assert posted(source) == {"refund.paid": 300}
    assert differences(day)[0].status == "OPEN"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("amount_minor = amount_minor + 100", r"Stripe took \$200.00, and payment"),
        ("stripe_charge_id = 'ch_else'", "another charge"),
    ],
)
def test_a_capture_that_is_not_the_payments_can_only_be_explained(tamper: Tamper, what: str, said: str) -> None:
    day = a_day()
    one = paid(day).told()
    tamper(f"UPDATE payments SET {what} WHERE id = %s", (one.payment_id,))
    tamper(WRONG, (50, one.charge_id, "capture.commission"))
    reconciled(day)
    (found,) = differences(day)
    before = posted(one.charge_id)
    with pytest.raises(Conflict, match=said):
        verbs.fix(found.id, "Try it", by=finance())
    assert posted(one.charge_id) == before
    assert verbs.explain(found.id, "Stripe was told.", by=finance()).status == "EXPLAINED"


def test_a_capture_that_stripe_does_not_know_can_only_be_explained(tamper: Tamper) -> None:
    day = a_day()
    one = paid(day).told()
    tamper("UPDATE ledger_entries SET source_id = 'ch_lost', posted_at = %s", (noon(day),))
    tamper("UPDATE payments SET stripe_charge_id = 'ch_lost' WHERE id = %s", (one.payment_id,))
    reconciled(day)
    (found,) = [row for row in differences(day) if row.kind == "missing_there"]
    with pytest.raises(Conflict, match="Stripe has nothing of it"):
        verbs.fix(found.id, "Try it", by=finance())
    assert "capture.provider_share.less" not in posted("ch_lost")


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


def disputed(day: date) -> tuple[Paid, str]:
    """A payment of which a bank has taken $9.00, which nobody has heard of."""
    mark = uuid4().hex
    dispute = {"id": f"du_{mark}", "amount": 900, "reason": "fraudulent", "status": "needs_response", "fee": 1500}
    dispute |= {
        "created": int(noon(day).timestamp()),
        "due_by": int(utcnow().timestamp()) + 604_800,
        "balance_transaction": f"txn_d{mark}",
    }
    return paid(day, disputes=[dispute]).told(), f"du_{mark}"


def test_a_missing_chargeback_is_taken_over_with_its_fee_and_hold() -> None:
    day = a_day()
    one, dispute_id = disputed(day)
    reconciled(day)
    (found,) = differences(day)
    assert (found.kind, found.booked_as, found.booking_id) == ("missing_here", "dispute.withdrawn", one.booking.id)
    assert (found.there_minor, found.there_fee_minor) == (-900, 1500)
    verbs.fix(found.id, "Its event was lost.", by=finance())
    assert posted(dispute_id) == {"dispute.withdrawn": 900, "dispute.fee": 1500}
    assert one.payment.disputed_minor == 900
    assert reconciled(day).differing == 0
