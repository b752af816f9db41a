"""The double-entry ledger: what each event of a payment posts, and the proof that the books are whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
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
GOODWILL = "goodwill"
DISPUTES_HELD = "disputes_held"
DISPUTE_LOSSES = "dispute_losses"

# Who bears a refund; what one posts when it is submitted, and takes back when it ends failed.
_SHARES = {
    "refund.provider_share": (PROVIDER_PAYABLE, REFUNDS_PAYABLE),
    "refund.commission": (COMMISSION_REVENUE, REFUNDS_PAYABLE),
    "refund.goodwill": (GOODWILL, REFUNDS_PAYABLE),
}

# Who bears a lost dispute; taken back, and posted anew, when there is something else to bear.
_LOSSES = {
    "dispute.lost.provider_share": (PROVIDER_PAYABLE, DISPUTES_HELD),
    "dispute.lost.commission": (COMMISSION_REVENUE, DISPUTES_HELD),
    "dispute.lost.owed_back": (REFUNDS_PAYABLE, DISPUTES_HELD),
    # What the traveller gets a second time, by a refund.
    "dispute.lost.excess": (DISPUTE_LOSSES, DISPUTES_HELD),
}

# Entry kind: (debited account, credited account). What people read instead of the codes is in `ledger_names`.
POSTINGS = {
    "capture.provider_share": (STRIPE_BALANCE, PROVIDER_PAYABLE),
    "capture.commission": (STRIPE_BALANCE, COMMISSION_REVENUE),
    # A payment that no booking can take: all of it is owed back to the traveller.
    "capture.owed_back": (STRIPE_BALANCE, REFUNDS_PAYABLE),
    "capture.stripe_fee": (STRIPE_FEES, STRIPE_BALANCE),
    **_SHARES,
    **_LOSSES,
    **{f"{kind}.reversed": (credit, debit) for kind, (debit, credit) in (_SHARES | _LOSSES).items()},
    "refund.paid": (REFUNDS_PAYABLE, STRIPE_BALANCE),
    "refund.failed": (STRIPE_BALANCE, REFUNDS_PAYABLE),
    "dispute.withdrawn": (DISPUTES_HELD, STRIPE_BALANCE),
    "dispute.fee": (STRIPE_FEES, STRIPE_BALANCE),
    "dispute.reinstated": (STRIPE_BALANCE, DISPUTES_HELD),
    "dispute.fee_returned": (STRIPE_BALANCE, STRIPE_FEES),
}

# What moves Stripe's balance may have been booked otherwise than Stripe did it. What corrects that, once the
# reconciliation has found it, adds to the same accounts (`.more`) or takes back (`.less`), for the same source.
CORRECTABLE = tuple(kind for kind, accounts in POSTINGS.items() if STRIPE_BALANCE in accounts)
POSTINGS |= {f"{kind}.more": POSTINGS[kind] for kind in CORRECTABLE}
POSTINGS |= {f"{kind}.less": POSTINGS[kind][::-1] for kind in CORRECTABLE}


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


def post_correction(payment: Payment, amounts: dict[str, int], *, source_id: str) -> None:
    """What makes the books agree with what Stripe did with an object, by kind in minor units."""
    _post(payment, amounts, source_id=source_id)


def posted_of(source_id: str) -> dict[str, int]:
    """What the entries of an object at Stripe come to, by kind in minor units, each with its corrections."""
    posted: dict[str, int] = {}
    entries = select(LedgerEntry.kind, LedgerEntry.amount_minor).where(LedgerEntry.source_id == source_id)
    for kind, amount in db.session.execute(entries):
        of = kind.removesuffix(".more").removesuffix(".less")
        posted[of] = posted.get(of, 0) + (-amount if kind.endswith(".less") else amount)
    return posted


def refund_lines(*, provider_minor: int, commission_minor: int, goodwill_minor: int) -> dict[str, int]:
    """What a refund of these shares posts when it is submitted: amounts in minor units by entry kind."""
    return dict(zip(_SHARES, (provider_minor, commission_minor, goodwill_minor), strict=True))


def post_refund_shares(payment: Payment, refund: Refund) -> None:
    """A submitted refund is owed to the traveller by who bears it. One that was owed back all along posts nothing."""
    amounts = refund_lines(
        provider_minor=refund.provider_minor,
        commission_minor=refund.commission_minor,
        goodwill_minor=refund.goodwill_minor,
    )
    _post(payment, amounts, source_id=_submission_of(refund))


def reverse_refund_shares(refund: Refund) -> None:
    """A refund has failed for good: what its submission posted is taken back, entry by entry."""
    posted = select(LedgerEntry).where(LedgerEntry.source_id == _submission_of(refund), LedgerEntry.kind.in_(_SHARES))
    _reverse(db.session.scalars(posted).all())


def _reverse(entries: Sequence[LedgerEntry]) -> None:
    require_transaction()
    _insert(
        [
            {
                "kind": f"{entry.kind}.reversed",
                "debit_account": entry.credit_account,
                "credit_account": entry.debit_account,
                "amount_minor": entry.amount_minor,
                "currency": entry.currency,
                "source_id": entry.source_id,
                "payment_id": entry.payment_id,
                "booking_id": entry.booking_id,
                "provider_id": entry.provider_id,
                "reverses_id": entry.id,
            }
            for entry in entries
        ]
    )


@dataclass(frozen=True)
class Sides:
    """What a payment has left for each side, in minor units; `owed_back` when it never was anybody's."""

    provider_minor: int
    commission_minor: int
    owed_back: bool


def sides_of(payment_id: int) -> Sides:
    """Read what the entries of a payment say. A verb that acts on it holds the payment's lock."""
    found = db.session.execute(_SIDES, {"payment_id": payment_id}).one()
    return Sides(found.provider_minor, found.commission_minor, found.owed_back)


_SIDES = text(
    """
    SELECT coalesce(sum(amount_minor) FILTER (WHERE credit_account = 'provider_payable'), 0)::bigint
           - coalesce(sum(amount_minor) FILTER (WHERE debit_account = 'provider_payable'), 0)::bigint AS provider_minor,
           coalesce(sum(amount_minor) FILTER (WHERE credit_account = 'commission_revenue'), 0)::bigint
           - coalesce(sum(amount_minor) FILTER (WHERE debit_account = 'commission_revenue'), 0)::bigint
           AS commission_minor,
           coalesce(bool_or(kind = 'capture.owed_back'), false) AS owed_back
    FROM ledger_entries WHERE payment_id = :payment_id
    """
)


def post_refund_paid(payment: Payment, refund: Refund) -> None:
    """Money owed back has left for the traveller."""
    _post(payment, {"refund.paid": refund.amount_minor}, source_id=_stripe_id_of(refund))


def post_refund_failed(payment: Payment, refund: Refund) -> None:
    """Money that had left came back, as the traveller's bank refused it: owed again."""
    _post(payment, {"refund.failed": refund.amount_minor}, source_id=_stripe_id_of(refund))


def post_dispute(payment: Payment, amounts: dict[str, int], *, stripe_dispute_id: str) -> None:
    """What a dispute moved, by entry kind; see `disputed`."""
    _post(payment, amounts, source_id=stripe_dispute_id)


def losses_of(payment_id: int) -> dict[str, int]:
    """What is borne of each lost dispute of a payment, by Stripe's id of it, in minor units; the oldest first."""
    losses: dict[str, int] = {}
    for entry in _standing_losses(payment_id):
        dispute_id = _dispute_of(entry)
        losses[dispute_id] = losses.get(dispute_id, 0) + entry.amount_minor
    return losses


def reverse_losses(payment_id: int) -> None:
    """Take back what is borne of the lost disputes of a payment, entry by entry."""
    _reverse(_standing_losses(payment_id))


def post_loss(payment: Payment, amounts: dict[str, int], *, stripe_dispute_id: str) -> None:
    """Who bears a lost dispute, by entry kind. Borne anew, it has a number, as each submission of a refund does."""
    posted = select(LedgerEntry).where(LedgerEntry.payment_id == payment.id, LedgerEntry.kind.in_(_LOSSES))
    turns = {entry.source_id for entry in db.session.scalars(posted) if _dispute_of(entry) == stripe_dispute_id}
    _post(payment, amounts, source_id=f"{stripe_dispute_id}.{len(turns) + 1}" if turns else stripe_dispute_id)


def _standing_losses(payment_id: int) -> Sequence[LedgerEntry]:
    taken_back = select(LedgerEntry.reverses_id).where(
        LedgerEntry.payment_id == payment_id, LedgerEntry.reverses_id.is_not(None)
    )
    standing = select(LedgerEntry).where(
        LedgerEntry.payment_id == payment_id, LedgerEntry.kind.in_(_LOSSES), LedgerEntry.id.not_in(taken_back)
    )
    return db.session.scalars(standing.order_by(LedgerEntry.id)).all()


def _dispute_of(entry: LedgerEntry) -> str:
    return entry.source_id.partition(".")[0]


def balance_of(payment_id: int, account: str) -> int:
    """What a payment's entries leave on an account, debits less credits, in minor units."""
    found: int = db.session.execute(
        text(
            """
            SELECT coalesce(sum(CASE debit_account WHEN :account THEN amount_minor ELSE -amount_minor END), 0)::bigint
            FROM ledger_entries WHERE payment_id = :payment_id AND :account IN (debit_account, credit_account)
            """
        ),
        {"payment_id": payment_id, "account": account},
    ).scalar_one()
    return found


def _post(payment: Payment, amounts: dict[str, int], *, source_id: str) -> None:
    require_transaction()
    _insert(
        [
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
    )


def _insert(rows: list[dict[str, Any]]) -> None:
    if rows:
        new = insert(LedgerEntry).values(rows).on_conflict_do_nothing(index_elements=["source_id", "kind"])
        db.session.execute(new)


def _submission_of(refund: Refund) -> str:
    return f"refund_{refund.id}.{refund.submission}"


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
    parameters = {"postings": json.dumps(POSTINGS), "payment_id": payment_id}
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
        parameters = {"postings": json.dumps(POSTINGS)} if ":postings" in sql else {}
        lines = db.session.execute(text(sql), parameters).scalars().fetchmany(most)
        found += [f"{meaning}: {line}" for line in lines]
    return found
