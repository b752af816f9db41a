"""The ledger: append-only for everybody, each posting once, and `verify` names what is wrong."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.bookings.models import Booking
from app.db import transaction
from app.extensions import db
from app.payments import ledger, ledger_checks
from app.payments.models import LedgerEntry, Payment
from tests import factories
from tests.conftest import tampering

BAD_WRITES = {
    "change an amount": "UPDATE ledger_entries SET amount_minor = amount_minor + 1",
    "change an account": "UPDATE ledger_entries SET debit_account = 'stripe_fees'",
    "delete": "DELETE FROM ledger_entries",
    "delete one": "DELETE FROM ledger_entries WHERE id = (SELECT min(id) FROM ledger_entries)",
    "truncate": "TRUNCATE ledger_entries CASCADE",
    "truncate with all that hangs on it": "TRUNCATE payments CASCADE",
}


def entries_of(booking: Booking) -> list[tuple[str, int]]:
    db.session.rollback()
    rows = db.session.execute(
        select(LedgerEntry.kind, LedgerEntry.amount_minor)
        .where(LedgerEntry.booking_id == booking.id)
        .order_by(LedgerEntry.kind)
    )
    return [(kind, amount) for kind, amount in rows]


CAPTURED = [("capture.commission", 3_000), ("capture.provider_share", 17_000), ("capture.stripe_fee", 610)]


def payment_id_of(booking: Booking) -> int:
    return db.session.scalars(select(Payment.id).where(Payment.booking_id == booking.id)).one()


@pytest.mark.parametrize("write", BAD_WRITES.values(), ids=BAD_WRITES.keys())
def test_the_apps_role_may_not(app: Flask, write: str) -> None:
    booking = factories.paid_booking()
    with pytest.raises(DBAPIError, match="permission denied"):
        db.session.execute(text(write))
    assert entries_of(booking) == CAPTURED


@pytest.mark.parametrize("write", BAD_WRITES.values(), ids=BAD_WRITES.keys())
def test_the_owners_role_may_not_either(app: Flask, owner: Any, write: str) -> None:
    booking = factories.paid_booking()
    with owner.cursor() as cursor, pytest.raises(psycopg2.errors.RestrictViolation, match="append-only"):
        cursor.execute(write)
    assert entries_of(booking) == CAPTURED


def test_the_apps_role_may_not_switch_the_guards_off(app: Flask) -> None:
    for switch in ("ALTER TABLE ledger_entries DISABLE TRIGGER ALL", "SET session_replication_role = replica"):
        with pytest.raises(DBAPIError, match=r"must be owner|permission denied"):
            db.session.execute(text(switch))
        db.session.rollback()


@pytest.mark.parametrize(
    ("column", "value", "constraint"),
    [
        ("amount_minor", "0", "ck_ledger_entries_amount"),
        ("amount_minor", "-5", "ck_ledger_entries_amount"),
        ("credit_account", "debit_account", "ck_ledger_entries_two_accounts"),
        ("debit_account", "'nowhere'", "fk_ledger_entries_debit_account"),
        ("source_id", "source_id", "uq_ledger_entries_source"),
    ],
)
def test_the_database_refuses_an_entry_that_makes_no_sense(
    app: Flask, column: str, value: str, constraint: str
) -> None:
    booking = factories.paid_booking()
    columns = ["kind", "debit_account", "credit_account", "amount_minor", "currency", "source_id"]
    columns += ["payment_id", "booking_id", "provider_id"]
    values = [value if name == column else "source_id || '_new'" if name == "source_id" else name for name in columns]
    with pytest.raises(IntegrityError, match=constraint):
        db.session.execute(
            text(
                f"INSERT INTO ledger_entries ({', '.join(columns)}) SELECT {', '.join(values)} FROM ledger_entries"
                " WHERE booking_id = :id AND kind = 'capture.stripe_fee'"
            ),
            {"id": booking.id},
        )
    assert entries_of(booking) == CAPTURED


def test_posting_the_same_capture_again_posts_nothing(app: Flask) -> None:
    booking = factories.paid_booking()
    with transaction():
        ledger.post_capture(db.session.get_one(Payment, payment_id_of(booking)), fee_minor=610)
    assert entries_of(booking) == CAPTURED


def test_posting_needs_a_transaction(app: Flask) -> None:
    booking = factories.paid_booking()
    with pytest.raises(RuntimeError, match="transaction"):
        ledger.post_capture(db.session.get_one(Payment, payment_id_of(booking)), fee_minor=610)


def test_a_payment_without_a_charge_cannot_be_posted(app: Flask) -> None:
    booking = factories.booking()
    factories.intent_of(booking)
    with pytest.raises(ValueError, match="no charge"), transaction():
        ledger.post_capture(db.session.get_one(Payment, payment_id_of(booking)), fee_minor=610)


def test_the_trial_balance_adds_up(empty_app: Flask) -> None:
    assert ledger.trial_balance() == []
    factories.paid_booking()
    balances = {balance.code: (balance.debit_minor, balance.credit_minor) for balance in ledger.trial_balance()}
    assert balances == {
        "stripe_balance": (20_000, 610),
        "provider_payable": (0, 17_000),
        "commission_revenue": (0, 3_000),
        "stripe_fees": (610, 0),
    }
    assert sum(debit for debit, _ in balances.values()) == sum(credit for _, credit in balances.values())


PLANTED = {
    "an amount changed": (
        "UPDATE ledger_entries SET amount_minor = 1 WHERE kind = 'capture.commission'",
        "captured payment",
    ),
    "an entry gone": ("DELETE FROM ledger_entries WHERE kind = 'capture.stripe_fee'", "captured payment"),
    "all entries gone": ("DELETE FROM ledger_entries", "captured payment"),
    "accounts swapped": (
        "UPDATE ledger_entries SET debit_account = credit_account, credit_account = debit_account"
        " WHERE kind = 'capture.commission'",
        "between accounts that their kind doesn't use",
    ),
    "an unknown kind": ("UPDATE ledger_entries SET kind = 'gift' WHERE kind = 'capture.commission'", "gift"),
    "another currency": (
        "UPDATE ledger_entries SET currency = 'EUR' WHERE kind = 'capture.commission'",
        "another currency",
    ),
    "another booking": (
        "UPDATE ledger_entries SET booking_id = (SELECT max(id) FROM bookings) WHERE kind = 'capture.commission'",
        "another currency, booking or provider",
    ),
    "another provider": (
        "UPDATE ledger_entries SET provider_id = (SELECT max(id) FROM providers) WHERE kind = 'capture.commission'",
        "another currency, booking or provider",
    ),
    "a payment never captured": (
        "UPDATE payments SET succeeded_at = NULL, status = 'FAILED'",
        "never captured",
    ),
    "a refund that was not posted": (
        "INSERT INTO refunds (payment_id, amount_minor, currency, reason, idempotency_key, stripe_refund_id, status)"
        " SELECT id, 5, 'USD', 'planted', 'k', 're_planted', 'SUCCEEDED' FROM payments",
        "refund whose entries disagree",
    ),
    "a refund that failed and is posted as paid": (
        "INSERT INTO refunds (payment_id, amount_minor, currency, reason, idempotency_key, stripe_refund_id, status)"
        " SELECT id, 5, 'USD', 'planted', 'k', 're_planted', 'FAILED' FROM payments;"
        " INSERT INTO ledger_entries (kind, debit_account, credit_account, amount_minor, currency, source_id,"
        " payment_id, booking_id, provider_id) SELECT 'refund.paid', 'refunds_payable', 'stripe_balance', 5, 'USD',"
        " 're_planted', id, booking_id, provider_id FROM payments",
        "refund whose entries disagree",
    ),
}


_SHARE = (
    " INSERT INTO ledger_entries (kind, debit_account, credit_account, amount_minor, currency, source_id, payment_id,"
    " booking_id, provider_id) SELECT '{kind}', '{debit}', '{credit}', {minor}, 'USD', '{source}', id, booking_id,"
    " provider_id FROM payments WHERE succeeded_at IS NOT NULL"
)
_OF_PROVIDER = {"kind": "refund.provider_share", "debit": "provider_payable", "credit": "refunds_payable"}
_EXCESS = {"kind": "dispute.lost.excess", "debit": "dispute_losses", "credit": "disputes_held"}
PLANTED |= {
    "a share that no refund bears": (
        _SHARE.format(**_OF_PROVIDER, minor=5, source="refund_1.1"),
        "shares disagree with what they posted: submission refund_1.1 posted 5, 0 and 0, is nobody's",
    ),
    "a reversal of nothing": (
        _SHARE.format(
            kind="refund.commission.reversed",
            debit="refunds_payable",
            credit="commission_revenue",
            minor=5,
            source="refund_1.1",
        ),
        "a reversal that is not the entry it takes back",
    ),
    "more of a side than it got": (
        _SHARE.format(**_OF_PROVIDER, minor=17_001, source="refund_1.1"),
        "a side of a payment that gave back more than it got: payment",
    ),
    "more paid back than was owed": (
        _SHARE.format(
            kind="refund.paid", debit="refunds_payable", credit="stripe_balance", minor=5, source="re_planted"
        ),
        "refunds_payable -5",
    ),
    "a loss of ours that the sides should bear": (
        _SHARE.format(**_EXCESS, minor=5, source="du_planted"),
        "a loss by disputes that somebody else should bear: payment 1: lost 5, not borne 20000",
    ),
    "a loss below zero": (
        _SHARE.format(**_EXCESS, minor=5, source="du_planted")
        + ";"
        + _SHARE.format(
            kind="dispute.lost.excess.reversed",
            debit="disputes_held",
            credit="dispute_losses",
            minor=6,
            source="du_planted",
        ),
        "a loss by disputes that somebody else should bear: payment 1: lost -1",
    ),
}


@pytest.mark.parametrize(("fault", "words"), PLANTED.values(), ids=PLANTED.keys())
def test_verify_names_a_planted_fault(empty_app: Flask, fault: str, words: str) -> None:
    factories.paid_booking()
    factories.booking()
    assert ledger_checks.verify() == []
    with tampering(empty_app) as thief:
        thief.execute(fault)
    found = ledger_checks.verify()
    assert any(words in line for line in found), found
    outcome = empty_app.test_cli_runner().invoke(args=["ledger", "verify"])
    assert outcome.exit_code == 1
    assert "NOT in order" in outcome.output


@pytest.mark.parametrize(
    ("debit", "credit", "passes"), [("suspense", "stripe_balance", True), ("stripe_balance", "suspense", False)]
)
def test_verify_passes_a_correction_of_former_days_between_the_accounts_it_was_posted_to(
    empty_app: Flask, debit: str, credit: str, passes: bool
) -> None:
    factories.paid_booking()
    with tampering(empty_app) as thief:
        thief.execute("INSERT INTO ledger_accounts (code, name, kind) VALUES ('suspense', 'Suspense', 'liability')")
        thief.execute(_SHARE.format(kind="correction.paid_out", debit=debit, credit=credit, minor=5, source="txn_old"))
    words = f"entries between accounts that their kind doesn't use: 1 of correction.paid_out from {credit} to {debit}"
    assert ledger_checks.verify() == ([] if passes else [words])


def test_verify_notices_that_the_guards_are_off(empty_app: Flask) -> None:
    with tampering(empty_app):
        assert ledger_checks.verify() == [
            "the database no longer guards the ledger: trigger ledger_entries_no_change is missing or off",
            "the database no longer guards the ledger: trigger ledger_entries_no_truncate is missing or off",
        ]
    assert ledger_checks.verify() == []


@pytest.mark.parametrize("privilege", ["UPDATE", "DELETE", "TRUNCATE"])
def test_verify_notices_that_the_apps_role_may_change_the_books(empty_app: Flask, privilege: str) -> None:
    with tampering(empty_app) as thief:
        thief.execute(f"GRANT {privilege} ON ledger_entries TO tripdesk_app")
    assert ledger_checks.verify() == [
        f"the database no longer guards the ledger: the role tripdesk_app may {privilege} ledger_entries"
    ]


def test_verify_notices_that_the_apps_role_owns_the_books(empty_app: Flask) -> None:
    with tampering(empty_app) as thief:
        thief.execute("ALTER TABLE ledger_entries OWNER TO tripdesk_app")
        thief.execute("REVOKE UPDATE, DELETE, TRUNCATE ON ledger_entries FROM tripdesk_app")
    # It has none of these rights, and could give them to itself.
    assert ledger_checks.verify() == [
        "the database no longer guards the ledger: the role tripdesk_app owns ledger_entries"
    ]


def test_the_command_says_that_the_books_are_in_order(empty_app: Flask) -> None:
    factories.paid_booking()
    outcome = empty_app.test_cli_runner().invoke(args=["ledger", "verify"])
    assert (outcome.exit_code, outcome.output.splitlines()[-1]) == (0, "The ledger is in order.")
    assert "Stripe balance" in outcome.output
    assert "200.00 USD" in outcome.output


def test_what_is_posted_of_an_object_counts_what_was_corrected_of_it(empty_app: Flask) -> None:
    booking = factories.paid_booking()
    with transaction():
        payment = db.session.get_one(Payment, payment_id_of(booking))
        corrected = {"capture.provider_share.less": 40, "capture.commission.more": 30}
        ledger.post_correction(payment, corrected, source_id=payment.stripe_charge_id or "")
    assert ledger.posted_of(payment.stripe_charge_id or "") == {
        "capture.provider_share": 16_960,
        "capture.commission": 3_030,
        "capture.stripe_fee": 610,
    }


def test_a_capture_of_nothing_but_commission_posts_no_empty_entry(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = app.extensions["settings"].model_copy(update={"commission_basis_points": 10_000})
    monkeypatch.setitem(app.extensions, "settings", settings)
    booking = factories.paid_booking()
    assert entries_of(booking) == [("capture.commission", 20_000), ("capture.stripe_fee", 610)]
