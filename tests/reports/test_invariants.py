from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests
from flask import Flask
from sqlalchemy import select, text

from app import create_app
from app.db import transaction
from app.extensions import db
from app.payments import stripe_gateway
from app.payments.models import Payment
from app.reports import invariants, stripe_balance
from app.reports.findings import MOST_LINES
from app.reports.service import SUMS
from app.reports.statements import INVARIANTS
from tests.conftest import STRIPE_KEY, run_local_stripe

# A piece of a statement, and what is planted to see it found broken.
_A_DISPUTE = (
    "INSERT INTO disputes (source, status, payment_id, booking_id, amount_minor, currency, reason, stripe_dispute_id,"
    " stripe_status, answer_by, opened_at, request_id, {column})"
    " SELECT 'CHARGEBACK', 'OPEN', id, booking_id, amount_minor, currency, 'fraudulent', 'du_nobody_posted',"
    " 'needs_response', now(), now(), 'r', {value} FROM payments WHERE succeeded_at IS NOT NULL LIMIT 1"
)

FAULTS = {
    "What is owed to providers": (
        "UPDATE provider_sums SET payable_minor = payable_minor + 1",
        "UPDATE provider_sums SET earned_minor = earned_minor - 1",
        "DELETE FROM provider_sums",
    ),
    "What a dispute has moved is posted": (
        _A_DISPUTE.format(column="withdrawn_minor", value=1),
        _A_DISPUTE.format(column="reinstated_minor", value=1),
        _A_DISPUTE.format(column="fee_minor", value=1),
        _A_DISPUTE.format(column="fee_returned_minor", value=1),
        _A_DISPUTE.format(column="withdrawn_minor", value=1).replace("'OPEN'", "'LOST'"),
    ),
    "held while a dispute over it is undecided": (_A_DISPUTE.format(column="fee_minor", value=0),),
    "stock held and booked": (
        "UPDATE availability SET booked = booked - 1 WHERE booked > 0",
        "UPDATE availability SET held = held + 1 WHERE held + booked < capacity",
        "UPDATE bookings SET status = 'EXPIRED', expired_at = now() WHERE status = 'PENDING_PAYMENT'",
    ),
    "ever booked is in its package's calendar": ("DELETE FROM availability WHERE booked > 0",),
    "total is the price of its nights": (
        "UPDATE bookings SET total_minor = total_minor + 1 WHERE id = 7",
        "UPDATE bookings SET units = units + 1 WHERE id = 7",
    ),
    "nights are every day": (
        "UPDATE bookings SET ends_on = ends_on + 1 WHERE NOT nights->0 ? 'departure'",
        "UPDATE bookings SET starts_on = starts_on - 1 WHERE nights->0 ? 'departure'",
        "UPDATE bookings SET nights = nights || nights WHERE id = 7",
        "UPDATE bookings SET nights = '[]' WHERE id = 7",
        # Each of its edges, and a gap, with as many nights as before where that is possible.
        "UPDATE bookings SET nights = jsonb_set(nights, '{0,date}', to_jsonb(CAST(starts_on - 1 AS text)))"
        " WHERE jsonb_array_length(nights) > 1",
        "UPDATE bookings SET nights = jsonb_set(nights, '{-1,date}', to_jsonb(CAST(ends_on AS text)))"
        " WHERE jsonb_array_length(nights) > 1",
        "UPDATE bookings SET nights = nights - 1 WHERE jsonb_array_length(nights) > 2",
    ),
    "times that belong to its state": (
        "UPDATE bookings SET confirmed_at = NULL WHERE status = 'CONFIRMED'",
        "UPDATE bookings SET confirmed_at = now() WHERE status = 'EXPIRED'",
        "UPDATE bookings SET completed_at = NULL WHERE status = 'COMPLETED'",
        "UPDATE bookings SET cancelled_at = NULL WHERE status LIKE 'CANCELLED%'",
        "UPDATE bookings SET expired_at = NULL WHERE status = 'EXPIRED'",
        "UPDATE bookings SET created_at = confirmed_at + interval '1 day' WHERE id = 7",
        "UPDATE bookings SET completed_at = created_at WHERE status = 'COMPLETED'",
        "UPDATE bookings SET expired_at = expires_at WHERE status = 'PENDING_PAYMENT'",
        "UPDATE bookings SET cancelled_at = confirmed_at WHERE status = 'CONFIRMED'",
        "UPDATE bookings SET created_at = expires_at WHERE status = 'PENDING_PAYMENT'",
        "UPDATE bookings SET expired_at = expires_at - interval '1 second' WHERE status = 'EXPIRED'",
        "UPDATE bookings SET confirmed_at = expired_at - interval '1 second' WHERE confirmed_at > expired_at",
        "UPDATE bookings SET cancelled_at = created_at - interval '1 second' WHERE status LIKE 'CANCELLED%'",
    ),
    "kept longer than two minutes": (
        "UPDATE bookings SET expires_at = now() - interval '121 seconds' WHERE status = 'PENDING_PAYMENT'",
    ),
    "completed after noon": (
        "UPDATE bookings SET completed_at = completed_at - interval '3 hours' WHERE status = 'COMPLETED'",
        "UPDATE bookings SET status = 'CONFIRMED', completed_at = NULL WHERE status = 'COMPLETED'",
    ),
    "exactly one captured payment": (
        "UPDATE payments SET amount_minor = amount_minor + 1 WHERE status = 'SUCCEEDED'",
        "UPDATE payments SET currency = 'EUR' WHERE status = 'SUCCEEDED'",
        "UPDATE payments SET succeeded_at = NULL WHERE status = 'SUCCEEDED'",
        *(
            "UPDATE payments SET amount_minor = amount_minor + 1 FROM bookings b WHERE b.id = booking_id"
            f" AND payments.status = 'SUCCEEDED' AND b.status = '{status}'"
            for status in ("CONFIRMED", "COMPLETED")
        ),
    ),
    "asks for its booking's amount": (
        "UPDATE payments SET amount_minor = amount_minor + 1 WHERE status = 'CANCELLED'",
        "UPDATE payments SET provider_id = (SELECT min(id) FROM providers WHERE id <> payments.provider_id)",
    ),
    "on its way back in full": (
        "UPDATE bookings SET confirmed_at = NULL, status = 'EXPIRED', expired_at = now() WHERE status = 'CONFIRMED'",
        "UPDATE refunds SET amount_minor = amount_minor - 1 WHERE kind = 'owed_back'",
        "UPDATE refunds SET status = 'REJECTED'",
        "UPDATE refunds SET status = 'EXPIRED'",
    ),
    "Stripe's ids that belong to its state": (
        "UPDATE payments SET stripe_charge_id = NULL WHERE status = 'SUCCEEDED'",
        "UPDATE payments SET fee_minor = NULL WHERE status = 'SUCCEEDED'",
        "UPDATE payments SET cancelled_at = NULL WHERE status = 'CANCELLED'",
        "UPDATE payments SET succeeded_at = created_at - interval '1 day' WHERE status = 'SUCCEEDED'",
        "UPDATE payments SET cancelled_at = created_at - interval '1 second' WHERE status = 'CANCELLED'",
        "UPDATE payments SET stripe_payment_intent_id = NULL WHERE status = 'SUCCEEDED'",
        "UPDATE payments SET succeeded_at = NULL WHERE status = 'SUCCEEDED'",
        "UPDATE payments SET succeeded_at = NULL WHERE status = 'REFUNDED'",
        "UPDATE payments SET succeeded_at = NULL, status = 'PARTIALLY_REFUNDED' WHERE status = 'REFUNDED'",
        "UPDATE payments SET succeeded_at = now(), stripe_charge_id = 'ch_planted_' || id, fee_minor = 1"
        " WHERE status = 'CANCELLED'",
        "UPDATE payments SET cancelled_at = now() WHERE status = 'SUCCEEDED'",
    ),
    "waits to go out for which nothing is left": (
        "UPDATE refunds SET status = 'APPROVED', due_at = now(), leased_until = NULL, succeeded_at = NULL,"
        " amount_minor = (SELECT amount_minor + 1 FROM payments WHERE id = payment_id) WHERE kind = 'owed_back'",
    ),
    "what its refunds have paid": (
        "UPDATE payments SET refunded_minor = 1 WHERE status = 'SUCCEEDED'",
        "UPDATE payments SET status = 'PARTIALLY_REFUNDED' WHERE status = 'REFUNDED'",
        "UPDATE refunds SET status = 'FAILED', failed_at = now()",
        "INSERT INTO refunds (payment_id, amount_minor, currency, reason, idempotency_key, status, due_at)"
        " SELECT payment_id, 1, currency, reason, 'planted_' || id, 'APPROVED', now() FROM refunds",
        # A refund of what was never captured, with everything else about it in order.
        "WITH moved AS (UPDATE refunds SET status = 'REJECTED', client_key = NULL,"
        " payment_id = (SELECT min(id) FROM payments WHERE status = 'CANCELLED'))"
        " UPDATE payments SET status = 'SUCCEEDED', refunded_minor = 0 WHERE status = 'REFUNDED'",
    ),
    "refund has the times": (
        "UPDATE refunds SET stripe_refund_id = NULL",
        "UPDATE refunds SET succeeded_at = created_at - interval '1 day'",
        "UPDATE refunds SET currency = 'EUR'",
        "UPDATE refunds SET status = 'FAILED', failed_at = NULL",
        "UPDATE refunds SET submitted_at = NULL",
        "UPDATE refunds SET succeeded_at = NULL",
        "UPDATE refunds SET submitted_at = created_at - interval '1 second'",
        "UPDATE refunds SET status = 'SUBMITTED', submitted_at = NULL, succeeded_at = NULL",
    ),
    "on hold exactly while its payment is held": (
        "UPDATE refunds SET status = 'ON_HOLD', held_status = 'APPROVED'",
        "UPDATE refunds SET status = 'PENDING_APPROVAL'",
        "WITH held AS (INSERT INTO payment_holds (payment_id, source, reason, placed_by)"
        " SELECT payment_id, 'planted:' || id, 'planted', 'planted' FROM refunds)"
        " UPDATE refunds SET status = 'APPROVED', due_at = now()",
    ),
    "says when it is due": (
        "UPDATE webhook_events SET status = 'RECEIVED'",
        "UPDATE webhook_events SET due_at = now()",
        "UPDATE refunds SET status = 'APPROVED'",
        "UPDATE payments SET due_at = now() WHERE status = 'SUCCEEDED'",
        "UPDATE webhook_events SET processed_at = NULL WHERE status = 'PROCESSED'",
        "UPDATE webhook_events SET processed_at = NULL, status = 'IGNORED' WHERE status = 'PROCESSED'",
        "UPDATE refunds SET status = 'SUBMITTED'",
        "UPDATE refunds SET due_at = now()",
        *(
            f"UPDATE payments SET due_at = now(), status = '{status}' WHERE status = '{was}'"
            for was, status in (
                ("CANCELLED", "CANCELLED"),
                ("REFUNDED", "REFUNDED"),
                ("REFUNDED", "PARTIALLY_REFUNDED"),
            )
        ),
    ),
    "due for more than two minutes": (
        "UPDATE webhook_events SET due_at = now() - interval '121 seconds'",
        "UPDATE refunds SET due_at = now() - interval '121 seconds'",
        "UPDATE payments SET due_at = now() - interval '121 seconds' WHERE status = 'CANCELLED'",
        "UPDATE reviews SET undo_until = now() - interval '121 seconds' WHERE status = 'REJECTED'",
    ),
    "A review is of a completed booking": (
        "UPDATE reviews SET booking_id = (SELECT id FROM bookings WHERE status = 'CONFIRMED' LIMIT 1)"
        " WHERE id = (SELECT min(id) FROM reviews)",
        "UPDATE reviews SET traveller_id = (SELECT min(id) FROM users)",
        "UPDATE bookings SET status = 'CONFIRMED' WHERE id IN (SELECT booking_id FROM reviews)",
        "UPDATE reviews SET package_id = (SELECT min(id) FROM packages WHERE id <> reviews.package_id)",
        "UPDATE reviews SET created_at = created_at - interval '3 years'",
    ),
    "shown everything that is asked of all": (
        "DELETE FROM provider_checks WHERE item = 'identity'",
        "UPDATE provider_checks SET status = 'OPEN', decided_at = NULL, reason = NULL WHERE item = 'bank_account'",
        "UPDATE provider_checks SET status = 'REFUSED', reason = 'Looks altered' WHERE item = 'legal_name'",
        "UPDATE providers SET status = 'VERIFIED' WHERE status = 'PENDING'",
    ),
    "at most one review": (
        "ALTER TABLE reviews DROP CONSTRAINT uq_reviews_booking_id;"
        " UPDATE reviews SET booking_id = (SELECT min(booking_id) FROM reviews)",
    ),
    "times and the decision": (
        "UPDATE reviews SET moderated_at = NULL WHERE status = 'APPROVED'",
        "UPDATE reviews SET withdrawn_at = NULL WHERE status = 'WITHDRAWN'",
        "UPDATE reviews SET withdrawn_at = now() WHERE status = 'APPROVED'",
        "UPDATE reviews SET moderated_at = created_at - interval '1 second' WHERE status = 'REJECTED'",
        "UPDATE reviews SET moderated_at = now() WHERE status = 'PENDING'",
        "UPDATE reviews SET moderation_reason = NULL WHERE status = 'REJECTED'",
        "UPDATE reviews SET moderation_reason = 'offensive' WHERE status = 'APPROVED'",
        "UPDATE reviews SET moderated_by = (SELECT min(id) FROM users) WHERE status = 'PENDING'",
        "UPDATE reviews SET moderation_notes = 'Kind' WHERE status = 'WITHDRAWN'",
        "UPDATE reviews SET undo_until = now() + interval '20 seconds' WHERE status = 'PENDING'",
    ),
    "ratings counted": (
        "UPDATE rating_counts SET reviews = reviews + 1 WHERE package_id = (SELECT min(package_id) FROM rating_counts)",
        "DELETE FROM rating_counts WHERE rating = 5",
        "UPDATE reviews SET status = 'PENDING', moderated_at = NULL WHERE status = 'APPROVED'",
        "UPDATE reviews SET rating = 6 - rating WHERE status = 'APPROVED'",
    ),
    "The stock by month": (
        "UPDATE stock_months SET prices[1] = coalesce(prices[1], 0) + 1",
        "UPDATE stock_months SET prices = array_fill(CAST(NULL AS bigint), ARRAY[31])",
        "UPDATE stock_months SET min_nights = array_fill(2, ARRAY[31])",
        "DELETE FROM stock_months",
    ),
    "audit entry of its beginning": (
        "UPDATE bookings SET id = id + 1000000 WHERE id NOT IN (SELECT booking_id FROM payments)",
        "UPDATE payments SET id = id + 1000000 WHERE status = 'CANCELLED'",
        "UPDATE refunds SET id = id + 1000000",
    ),
    "The ledger is whole": ("UPDATE payments SET fee_minor = fee_minor + 1 WHERE status = 'SUCCEEDED'",),
}
_PLANTED = [(statement, fault) for statement, faults in FAULTS.items() for fault in faults]


class _TakenBackError(Exception):
    """Ends a transaction without a trace."""


@pytest.fixture(scope="module")
def owners_app(seeded_app: Flask) -> Iterator[Flask]:
    """The app in the owner's role, which may do what the app's may not."""
    settings = seeded_app.extensions["settings"]
    app = create_app(**settings.model_dump() | {"database_url": settings.database_owner_url})
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize(("statement", "fault"), _PLANTED, ids=[fault for _, fault in _PLANTED])
def test_a_planted_fault_is_found(owners_app: Flask, statement: str, fault: str) -> None:
    with owners_app.app_context(), pytest.raises(_TakenBackError), transaction():
        planted = db.session.execute(text(fault))
        assert planted.rowcount > 0, "nothing was planted"  # type: ignore[attr-defined]
        broken = {finding.statement: finding.wrong for finding in invariants.check_database() if finding.wrong}
        found = [lines for named, lines in broken.items() if statement in named]
        assert len(found) == 1, broken
        assert 1 <= len(found[0]) <= MOST_LINES + 1
        raise _TakenBackError


_ANOTHER_REFUND = (
    "INSERT INTO refunds (payment_id, amount_minor, currency, reason, idempotency_key, status, failed_at)"
    " SELECT payment_id, amount_minor, currency, reason, 'tried_' || id, '{status}', now() FROM refunds"
)
# What looks like a fault to a statement that looks less closely.
RIGHT = {
    "a refund that failed, and the next one": ("what its refunds have paid", _ANOTHER_REFUND.format(status="FAILED")),
    "a refund that was refused": ("what its refunds have paid", _ANOTHER_REFUND.format(status="REJECTED")),
    "a refund that nobody decided on": ("what its refunds have paid", _ANOTHER_REFUND.format(status="EXPIRED")),
    "a refund to be submitted": (
        "says when it is due",
        "UPDATE refunds SET status = 'APPROVED', due_at = now(), succeeded_at = NULL",
    ),
    "a refund to be looked at again": (
        "says when it is due",
        "UPDATE refunds SET status = 'SUBMITTED', due_at = now(), succeeded_at = NULL",
    ),
    "a refund whose tries are used up": (
        "says when it is due",
        "UPDATE refunds SET status = 'SUBMITTED', attempts = 12, succeeded_at = NULL",
    ),
    "a booking cancelled after it was paid": (
        "times that belong to its state",
        "UPDATE bookings SET status = 'CANCELLED_BY_GUEST', cancelled_at = now() WHERE status = 'CONFIRMED'",
    ),
}


@pytest.mark.parametrize(("statement", "change"), RIGHT.values(), ids=RIGHT.keys())
def test_what_is_right_is_not_taken_for_a_fault(owners_app: Flask, statement: str, change: str) -> None:
    (invariant,) = [invariant for invariant in INVARIANTS if statement in invariant.statement]
    with owners_app.app_context(), pytest.raises(_TakenBackError), transaction():
        assert db.session.execute(text(change)).rowcount > 0  # type: ignore[attr-defined]
        assert db.session.scalars(text(invariant.select)).all() == []
        raise _TakenBackError


def test_every_invariant_has_been_seen_broken() -> None:
    statements = [*(invariant.statement for invariant in INVARIANTS), invariants.LEDGER]
    assert [said for said in statements if not any(piece in said for piece in FAULTS)] == []


def test_more_than_twenty_lines_are_cut_short(owners_app: Flask) -> None:
    with owners_app.app_context(), pytest.raises(_TakenBackError), transaction():
        db.session.execute(text("UPDATE bookings SET total_minor = total_minor + 1"))
        findings = {finding.statement: finding.wrong for finding in invariants.check_database()}
        lines = next(wrong for statement, wrong in findings.items() if "total is the price" in statement)
        assert len(lines) == 21
        assert lines[-1] == "… and more"
        raise _TakenBackError


@contextmanager
def _before_stripe(seeded: Flask, state: Path) -> Iterator[Flask]:
    settings = seeded.extensions["settings"]
    with run_local_stripe(state, webhook_url="http://127.0.0.1:1/") as url:
        app = create_app(**settings.model_dump() | {"stripe_api_base": url})
        with app.app_context():
            yield app
            db.session.remove()
            db.engine.dispose()


@pytest.fixture
def other_stripe(seeded: Flask, tmp_path: Path) -> Iterator[Flask]:
    """The seeded app before a local Stripe that knows nothing yet."""
    with _before_stripe(seeded, tmp_path / "stripe.sqlite3") as app:
        yield app


@pytest.fixture
def same_stripe(seeded: Flask, tmp_path: Path) -> Iterator[Flask]:
    """The seeded app before a local Stripe of its own that knows what the seeded one does."""
    copy = tmp_path / "stripe.sqlite3"
    with closing(sqlite3.connect(seeded.config["STRIPE_STATE"])) as known, closing(sqlite3.connect(copy)) as state:
        known.backup(state)
    with _before_stripe(seeded, copy) as app:
        yield app


def _load(app: Flask, **line: object) -> None:
    base = app.extensions["settings"].stripe_api_base
    whole = {"currency": "usd", "status": "succeeded", "created": int(time.time()) - 600, **line}
    requests.post(f"{base}/_local/load", data=json.dumps(whole), auth=(STRIPE_KEY, ""), timeout=10).raise_for_status()


def test_a_posting_that_stripe_does_not_know_is_found(other_stripe: Flask) -> None:
    wrong = stripe_balance.check().wrong
    assert len(wrong) == 21
    assert wrong[0].startswith("ch_")
    assert "Stripe doesn't know it" in wrong[0]


def test_what_stripe_knows_and_the_ledger_does_not_is_found(same_stripe: Flask) -> None:
    assert stripe_balance.check().wrong == []
    _load(same_stripe, payment_intent="pi_x", charge="ch_x", balance_transaction="txn_x", amount=5000, fee=175)
    assert stripe_balance.check().wrong == ["ch_x: at Stripe 5000 and a fee of 175, in the ledger 0 and 0"]
    # The same charge a second time in the balance, and with another fee.
    paid = db.session.scalars(select(Payment).where(Payment.status == "SUCCEEDED").limit(1)).one()
    charge, amount, fee = paid.stripe_charge_id, paid.amount_minor, paid.fee_minor or 0
    twice = {"payment_intent": "pi_y", "charge": charge, "balance_transaction": "txn_y"}
    _load(same_stripe, **twice, amount=amount, fee=fee + 1)
    wrong = stripe_balance.check().wrong
    assert f"{charge}: twice in Stripe's balance" in wrong
    assert f"{charge}: at Stripe {amount} and a fee of {fee + 1}, in the ledger {amount} and {fee}" in wrong


def test_what_is_younger_than_two_minutes_may_still_be_on_its_way(same_stripe: Flask) -> None:
    now = int(time.time())
    _load(same_stripe, payment_intent="pi_x", charge="ch_x", balance_transaction="txn_x", amount=5000, created=now)
    assert stripe_balance.check().wrong == []


def test_a_fee_of_no_payment_is_missed_only_once_its_day_was_compared(same_stripe: Flask) -> None:
    base = same_stripe.extensions["settings"].stripe_api_base
    for hours, wrong in ((47, []), (49, ["{}: at Stripe -900 and a fee of 0, in the ledger 0 and 0"])):
        form = {"amount": 900, "created": int(time.time()) - hours * 3600}
        fee = requests.post(f"{base}/_local/fees", data=form, auth=(STRIPE_KEY, ""), timeout=10).json()
        assert stripe_balance.check().wrong == [line.format(fee["id"]) for line in wrong]


def test_balance_transactions_come_in_pages_from_a_moment_on(seeded: Flask) -> None:
    pages = list(stripe_gateway.balance_transactions())
    rows = [row for page in pages for row in page]
    assert len(pages) > 2
    assert len({row.id for row in rows}) == len(rows) > 200
    middle = rows[150].created_at
    later = [row for page in stripe_gateway.balance_transactions(since=middle) for row in page]
    assert later == [row for row in rows if row.created_at >= middle]


def test_a_stripe_that_does_not_answer_fails_the_check(seeded_app: Flask) -> None:
    settings = seeded_app.extensions["settings"]
    app = create_app(**settings.model_dump() | {"stripe_api_base": "http://127.0.0.1:1"})
    result = app.test_cli_runner().invoke(args=["invariants", "check"])
    assert result.exit_code == 1
    assert "Stripe could not be asked" in result.output
    assert "1 invariant is broken." in result.output


def test_without_a_key_stripe_is_passed_over_and_said_so(seeded_app: Flask) -> None:
    settings = seeded_app.extensions["settings"]
    app = create_app(**settings.model_dump() | {"stripe_secret_key": ""})
    result = app.test_cli_runner().invoke(args=["invariants", "check"])
    assert result.exit_code == 0, result.output
    assert "skipped  The ledger and Stripe agree" in result.output
    assert "STRIPE_SECRET_KEY is not set" in result.output


def test_all_is_well_and_every_statement_is_printed(seeded: Flask) -> None:
    result = seeded.test_cli_runner().invoke(args=["invariants", "check"])
    assert result.exit_code == 0, result.output
    assert result.output.count("ok       ") == len(INVARIANTS) + len(SUMS) + 2
    assert result.output.endswith("Nothing breaks an invariant.\n")
