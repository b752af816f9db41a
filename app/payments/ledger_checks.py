"""What has to be true of the books, each with the SELECT that finds what contradicts it."""

from __future__ import annotations

import json

from sqlalchemy import text

from app.extensions import db
from app.payments.ledger import POSTINGS
from app.queue import JOB_TIMEOUT_SECONDS

# What corrections posted before they stayed in the accounts of what they correct; nothing posts these any more, and no
# entry is ever changed. See docs/decisions/0029.
_FORMER = {
    "correction.received": ("stripe_balance", "suspense"),
    "correction.paid_out": ("suspense", "stripe_balance"),
    "correction.fee": ("stripe_fees", "stripe_balance"),
    "correction.fee_returned": ("stripe_balance", "stripe_fees"),
}
_KNOWN = json.dumps(POSTINGS | _FORMER)

# Each finds rows that contradict the books; (what it means, SQL giving one line per contradiction).
_CHECKS = (
    (
        "a captured payment without its exact entries",
        """
        SELECT 'payment ' || p.id || ': captured ' || p.amount_minor || ', posted ' || coalesce(e.captured, 0)
               || ', fee ' || p.fee_minor || ', posted ' || coalesce(e.fee, 0)
        FROM payments p LEFT JOIN (
            SELECT payment_id,
                   sum(CASE debit_account WHEN 'stripe_balance' THEN amount_minor ELSE -amount_minor END)
                       FILTER (WHERE kind NOT LIKE 'capture.stripe_fee%') AS captured,
                   sum(CASE debit_account WHEN 'stripe_fees' THEN amount_minor ELSE -amount_minor END)
                       FILTER (WHERE kind LIKE 'capture.stripe_fee%') AS fee
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
            SELECT source_id,
                   sum(CASE credit_account WHEN 'stripe_balance' THEN amount_minor ELSE -amount_minor END) AS paid
            FROM ledger_entries WHERE kind LIKE 'refund.paid%' OR kind LIKE 'refund.failed%' GROUP BY source_id
        ) e ON e.source_id = r.stripe_refund_id
        WHERE coalesce(e.paid, 0) <> CASE r.status WHEN 'SUCCEEDED' THEN r.amount_minor ELSE 0 END
          -- Stripe's balance pays at once, and the traveller's bank may take days.
          AND NOT (r.status = 'SUBMITTED' AND e.paid = r.amount_minor)
        """,
    ),
    (
        "a refund whose shares disagree with what they posted",
        """
        SELECT 'submission ' || source_id || ' posted ' || coalesce(e.provider, 0) || ', ' || coalesce(e.commission, 0)
               || ' and ' || coalesce(e.goodwill, 0) || ', is ' || coalesce(r.status, 'nobody''s')
        FROM (SELECT source_id,
                     sum(signed) FILTER (WHERE side LIKE 'refund.provider_share%') AS provider,
                     sum(signed) FILTER (WHERE side LIKE 'refund.commission%') AS commission,
                     sum(signed) FILTER (WHERE side LIKE 'refund.goodwill%') AS goodwill
              FROM (SELECT source_id, kind AS side,
                           CASE WHEN kind LIKE '%.reversed' THEN -amount_minor ELSE amount_minor END AS signed
                    FROM ledger_entries
                    WHERE kind IN ('refund.provider_share', 'refund.commission', 'refund.goodwill',
                                   'refund.provider_share.reversed', 'refund.commission.reversed',
                                   'refund.goodwill.reversed')) AS shares
              GROUP BY source_id) e
        FULL JOIN (SELECT 'refund_' || id || '.' || submission AS source_id, status,
                          status IN ('SUBMITTED', 'SUCCEEDED') AS is_borne,
                          provider_minor, commission_minor, goodwill_minor FROM refunds) r USING (source_id)
        WHERE coalesce(e.provider, 0) <> CASE WHEN r.is_borne THEN r.provider_minor ELSE 0 END
           OR coalesce(e.commission, 0) <> CASE WHEN r.is_borne THEN r.commission_minor ELSE 0 END
           OR coalesce(e.goodwill, 0) <> CASE WHEN r.is_borne THEN r.goodwill_minor ELSE 0 END
        """,
    ),
    (
        "a reversal that is not the entry it takes back, turned round",
        """
        SELECT 'entry ' || e.id || ' (' || e.kind || ')'
        FROM ledger_entries e LEFT JOIN ledger_entries was ON was.id = e.reverses_id
        WHERE (e.reverses_id IS NOT NULL OR e.kind LIKE '%.reversed')
          AND (e.kind, e.debit_account, e.credit_account, e.amount_minor, e.payment_id, e.source_id) IS DISTINCT FROM
              (was.kind || '.reversed', was.credit_account, was.debit_account, was.amount_minor, was.payment_id,
               was.source_id)
        """,
    ),
    (
        "a side of a payment that gave back more than it got",
        """
        SELECT 'payment ' || payment_id || ': ' || account || ' ' || sum(signed)
        FROM (SELECT payment_id, credit_account AS account, amount_minor AS signed FROM ledger_entries
              WHERE credit_account IN ('provider_payable', 'commission_revenue', 'refunds_payable')
              UNION ALL
              SELECT payment_id, debit_account, -amount_minor FROM ledger_entries
              WHERE debit_account IN ('provider_payable', 'commission_revenue', 'refunds_payable')) AS sides
        GROUP BY payment_id, account HAVING sum(signed) < 0
        """,
    ),
    (
        "a loss by disputes that somebody else should bear",
        """
        SELECT 'payment ' || p.id || ': lost ' || e.lost || ', not borne '
               || e.has + CASE WHEN e.owed_back THEN p.amount_minor - e.owed - coalesce(r.refunded, 0) ELSE 0 END
        FROM (
            SELECT payment_id, bool_or(kind = 'capture.owed_back') AS owed_back,
                   sum(CASE 'dispute_losses' WHEN debit_account THEN amount_minor WHEN credit_account
                       THEN -amount_minor ELSE 0 END) AS lost,
                   sum(CASE WHEN credit_account IN ('provider_payable', 'commission_revenue') THEN amount_minor
                            WHEN debit_account IN ('provider_payable', 'commission_revenue') THEN -amount_minor
                            ELSE 0 END) AS has,
                   sum(CASE kind WHEN 'dispute.lost.owed_back' THEN amount_minor
                                 WHEN 'dispute.lost.owed_back.reversed' THEN -amount_minor ELSE 0 END) AS owed
            FROM ledger_entries
            WHERE payment_id IN (SELECT payment_id FROM ledger_entries WHERE kind = 'dispute.lost.excess')
            GROUP BY payment_id) e
        JOIN payments p ON p.id = e.payment_id LEFT JOIN (
            SELECT payment_id, sum(amount_minor) AS refunded FROM refunds WHERE status IN ('SUBMITTED', 'SUCCEEDED')
            GROUP BY payment_id) r ON r.payment_id = p.id
        WHERE e.lost < 0 OR e.lost > 0
              AND e.has + CASE WHEN e.owed_back THEN p.amount_minor - e.owed - coalesce(r.refunded, 0) ELSE 0 END > 0
        """,
    ),
    (
        "a payment whose disputes hold something else than its entries say",
        """
        SELECT 'payment ' || p.id || ': disputed ' || p.disputed_minor || ', posted ' || coalesce(e.held, 0)
        FROM payments p LEFT JOIN (
            SELECT payment_id,
                   sum(CASE credit_account WHEN 'stripe_balance' THEN amount_minor ELSE -amount_minor END) AS held
            FROM ledger_entries WHERE kind LIKE 'dispute.withdrawn%' OR kind LIKE 'dispute.reinstated%'
            GROUP BY payment_id
        ) e ON e.payment_id = p.id
        WHERE p.disputed_minor <> least(greatest(coalesce(e.held, 0), 0), p.amount_minor)
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


# In front of a check, these make it look at one payment only.
_OF_PAYMENT = """
WITH payments AS (SELECT * FROM public.payments WHERE id = :payment_id),
     refunds AS (SELECT * FROM public.refunds WHERE payment_id = :payment_id),
     ledger_entries AS (SELECT * FROM public.ledger_entries WHERE payment_id = :payment_id)
"""


def contradictions_of(payment_id: int) -> set[str]:
    """What is wrong with the books of one payment, in words."""
    parameters = {"postings": _KNOWN, "payment_id": payment_id}
    return {
        meaning
        for meaning, sql in _CHECKS
        if db.session.execute(text(_OF_PAYMENT + sql), parameters).first() is not None
    }


def verify(*, most: int = 20, patient: bool = False) -> list[str]:
    """What is wrong with the books, in words, at most `most` lines a check; empty when nothing is.

    `patient` gives each check as long as a job may take instead of as long as a request may.
    """
    if patient:
        db.session.execute(text(f"SET LOCAL statement_timeout = '{JOB_TIMEOUT_SECONDS}s'"))
    found = []
    for meaning, sql in _CHECKS:
        parameters = {"postings": _KNOWN} if ":postings" in sql else {}
        lines = db.session.execute(text(sql), parameters).scalars().fetchmany(most)
        found += [f"{meaning}: {line}" for line in lines]
    return found
