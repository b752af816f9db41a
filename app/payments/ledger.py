"""The double-entry ledger: what each event of a payment posts, and the proof that the books are whole."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert

from app.db import require_transaction
from app.extensions import db
from app.payments.ledger_days import LEDGER_DAYS
from app.payments.models import LedgerEntry, Payment, Refund
from app.queue import JOB_TIMEOUT_SECONDS

STRIPE_BALANCE = "stripe_balance"
PROVIDER_PAYABLE = "provider_payable"
COMMISSION_REVENUE = "commission_revenue"
STRIPE_FEES = "stripe_fees"
REFUNDS_PAYABLE = "refunds_payable"

# Entry kind: (debited account, credited account).
POSTINGS = {
    "capture.provider_share": (STRIPE_BALANCE, PROVIDER_PAYABLE),
    "capture.commission": (STRIPE_BALANCE, COMMISSION_REVENUE),
    # A payment that no booking can take: all of it is owed back to the traveller.
    "capture.owed_back": (STRIPE_BALANCE, REFUNDS_PAYABLE),
    "capture.stripe_fee": (STRIPE_FEES, STRIPE_BALANCE),
    "refund.paid": (REFUNDS_PAYABLE, STRIPE_BALANCE),
    "refund.failed": (STRIPE_BALANCE, REFUNDS_PAYABLE),
}


def post_capture(payment: Payment, *, fee_minor: int) -> None:
    """A captured payment: the provider's share, our commission, and what Stripe kept. Amounts in minor units."""
    amounts = {
        "capture.provider_share": payment.amount_minor - payment.commission_minor,
        "capture.commission": payment.commission_minor,
        "capture.stripe_fee": fee_minor,
    }
    _post(payment, amounts, source_id=_charge_of(payment))


def post_capture_owed_back(payment: Payment, *, fee_minor: int) -> None:
    """A captured payment that no booking can take; Stripe keeps its fee all the same."""
    _post(
        payment,
        {"capture.owed_back": payment.amount_minor, "capture.stripe_fee": fee_minor},
        source_id=_charge_of(payment),
    )


def post_refund_paid(payment: Payment, refund: Refund) -> None:
    """Money owed back has left for the traveller."""
    _post(payment, {"refund.paid": refund.amount_minor}, source_id=_stripe_id_of(refund))


def post_refund_failed(payment: Payment, refund: Refund) -> None:
    """Money that had left came back, as the traveller's bank refused it: owed again."""
    _post(payment, {"refund.failed": refund.amount_minor}, source_id=_stripe_id_of(refund))


def _post(payment: Payment, amounts: dict[str, int], *, source_id: str) -> None:
    require_transaction()
    rows = [
        {
            "kind": kind,
            "debit_account": POSTINGS[kind][0],
            "credit_account": POSTINGS[kind][1],
            "amount_minor": amount,
            "currency": payment.currency,
            "source_id": source_id,
            "payment_id": payment.id,
            "booking_id": payment.booking_id,
            "provider_id": payment.provider_id,
        }
        for kind, amount in amounts.items()
        if amount > 0
    ]
    db.session.execute(insert(LedgerEntry).values(rows).on_conflict_do_nothing(index_elements=["source_id", "kind"]))


def _stripe_id_of(refund: Refund) -> str:
    if refund.stripe_refund_id is None:
        raise ValueError(f"refund {refund.id} has no refund at Stripe to post")
    return refund.stripe_refund_id


def _charge_of(payment: Payment) -> str:
    if payment.stripe_charge_id is None:
        raise ValueError(f"payment {payment.id} has no charge to post")
    return payment.stripe_charge_id


@dataclass(frozen=True)
class Balance:
    """One account's totals in one currency, in minor units."""

    code: str
    name: str
    currency: str
    debit_minor: int
    credit_minor: int


def trial_balance() -> list[Balance]:
    """Every account's debits and credits; the two columns add up to the same in each currency."""
    rows = db.session.execute(
        text(
            f"""
            SELECT a.code, a.name, d.currency, CAST(sum(d.debit_minor) AS bigint), CAST(sum(d.credit_minor) AS bigint)
            FROM ({LEDGER_DAYS.all}) AS d JOIN ledger_accounts a ON a.code = d.account
            GROUP BY a.code, a.name, d.currency ORDER BY d.currency, a.code
            """  # noqa: S608  # nosec B608 - our own tables
        )
    )
    return [Balance(*row) for row in rows]


# Each finds rows that contradict the books; (what it means, SQL giving one line per contradiction).
_CHECKS = (
    (
        "a captured payment without its exact entries",
        """
        SELECT 'payment ' || p.id || ': captured ' || p.amount_minor || ', posted ' || coalesce(e.captured, 0)
               || ', fee ' || p.fee_minor || ', posted ' || coalesce(e.fee, 0)
        FROM payments p LEFT JOIN (
            SELECT payment_id,
                   sum(amount_minor) FILTER (WHERE kind <> 'capture.stripe_fee') AS captured,
                   sum(amount_minor) FILTER (WHERE kind = 'capture.stripe_fee') AS fee
            FROM ledger_entries WHERE kind LIKE 'capture.%' GROUP BY payment_id) e ON e.payment_id = p.id
        WHERE p.succeeded_at IS NOT NULL
          AND (coalesce(e.captured, 0) <> p.amount_minor OR coalesce(e.fee, 0) <> coalesce(p.fee_minor, -1))
        """,
    ),
    (
        "entries of a payment that was never captured",
        """
        SELECT DISTINCT 'payment ' || p.id || ' is ' || p.status
        FROM ledger_entries e JOIN payments p ON p.id = e.payment_id WHERE p.succeeded_at IS NULL
        """,
    ),
    (
        "a refund whose entries disagree with its state",
        """
        SELECT 'refund ' || r.id || ' is ' || r.status || ', posted ' || coalesce(e.paid, 0)
        FROM refunds r LEFT JOIN (
            SELECT source_id, sum(CASE kind WHEN 'refund.paid' THEN amount_minor ELSE -amount_minor END) AS paid
            FROM ledger_entries WHERE kind IN ('refund.paid', 'refund.failed') GROUP BY source_id
        ) e ON e.source_id = r.stripe_refund_id
        WHERE coalesce(e.paid, 0) <> CASE r.status WHEN 'SUCCEEDED' THEN r.amount_minor ELSE 0 END
        """,
    ),
    (
        "an entry in another currency, booking or provider than its payment",
        """
        SELECT 'entry ' || e.id || ' (' || e.kind || ')' FROM ledger_entries e JOIN payments p ON p.id = e.payment_id
        WHERE e.currency <> p.currency OR e.booking_id <> p.booking_id OR e.provider_id <> p.provider_id
        """,
    ),
    (
        "entries between accounts that their kind doesn't use",
        """
        SELECT e.entries || ' of ' || e.kind || ' from ' || e.credit_account || ' to ' || e.debit_account
        FROM (SELECT kind, debit_account, credit_account, count(*) AS entries FROM ledger_entries GROUP BY 1, 2, 3) e
        WHERE CAST(:postings AS jsonb) -> e.kind IS DISTINCT FROM jsonb_build_array(e.debit_account, e.credit_account)
        """,
    ),
    (
        "the database no longer guards the ledger",
        """
        SELECT 'trigger ' || wanted || ' is missing or off'
        FROM unnest(ARRAY['ledger_entries_no_change', 'ledger_entries_no_truncate']) wanted
        WHERE NOT EXISTS (
            SELECT FROM pg_trigger WHERE tgrelid = 'ledger_entries'::regclass AND tgname = wanted AND tgenabled = 'A')
        UNION ALL
        SELECT 'the role ' || current_user || ' may ' || privilege || ' ledger_entries'
        FROM unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) privilege
        WHERE has_table_privilege('ledger_entries', privilege)
        UNION ALL
        SELECT 'the role ' || current_user || ' owns ledger_entries' FROM pg_class
        WHERE oid = 'ledger_entries'::regclass AND pg_has_role(relowner, 'USAGE')
        """,
    ),
)


def verify(*, most: int = 20, patient: bool = False) -> list[str]:
    """What is wrong with the books, in words, at most `most` lines a check; empty when nothing is.

    `patient` gives each check as long as a job may take instead of as long as a request may.
    """
    if patient:
        db.session.execute(text(f"SET LOCAL statement_timeout = '{JOB_TIMEOUT_SECONDS}s'"))
    found = []
    for meaning, sql in _CHECKS:
        parameters = {"postings": json.dumps(POSTINGS)} if ":postings" in sql else {}
        lines = db.session.execute(text(sql), parameters).scalars().fetchmany(most)
        found += [f"{meaning}: {line}" for line in lines]
    return found
