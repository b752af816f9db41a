"""The ledger against Stripe's balance: every movement there is booked here, and every posting here happened there."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice

from sqlalchemy import text

from app.config import settings
from app.db import utcnow
from app.errors import TripdeskError
from app.extensions import db
from app.money import Money
from app.payments import ledger, stripe_gateway
from app.payments.stripe_gateway import BalanceTransaction
from app.reports.findings import MOST_LINES, Finding, at_leisure, at_most

STRIPE = "The ledger and Stripe agree on every charge, fee, refund and dispute"

# What happened at Stripe is known here within a minute; what is younger than this may still be on its way.
_IN_FLIGHT = timedelta(minutes=2)
_PAGES_A_COMPARISON = 100

# Stripe's types of balance transactions, and the beginning of the ledger's kinds that book them.
# https://docs.stripe.com/reports/balance-transaction-types
_KINDS = {
    "charge": "capture.",
    "payment": "capture.",
    "refund": "refund.paid",
    "payment_refund": "refund.paid",
    "refund_failure": "refund.failed",
    "payment_failure_refund": "refund.failed",
}
# What a dispute takes and gives back has the same type (https://docs.stripe.com/disputes/how-disputes-work).
_WITHDRAWN, _REINSTATED = "dispute.withdrawn", "dispute.reinstated"
# The kind that books the fee beside each.
_FEES = {"capture.": "capture.stripe_fee", _WITHDRAWN: "dispute.fee", _REINSTATED: "dispute.fee_returned"}

_DIFFERENCES = text(
    """
    SELECT told.source || ': at Stripe ' || told.amount || ' and a fee of ' || told.fee || ', in the ledger '
           || coalesce(booked.amount, 0) || ' and ' || coalesce(booked.fee, 0)
    FROM unnest(CAST(:sources AS text[]), CAST(:kinds AS text[]), CAST(:fee_kinds AS text[]),
                CAST(:amounts AS bigint[]), CAST(:fees AS bigint[])) AS told(source, kind, fee_kind, amount, fee)
    CROSS JOIN LATERAL (
        SELECT sum(CASE debit_account WHEN :balance THEN amount_minor ELSE -amount_minor END)
                   FILTER (WHERE e.kind <> told.fee_kind) AS amount,
               sum(CASE credit_account WHEN :balance THEN amount_minor ELSE -amount_minor END)
                   FILTER (WHERE e.kind = told.fee_kind) AS fee
        FROM ledger_entries e
        WHERE e.source_id = told.source AND (starts_with(e.kind, told.kind) OR e.kind = told.fee_kind)) AS booked
    WHERE told.amount <> coalesce(booked.amount, 0) OR told.fee <> coalesce(booked.fee, 0)
    """
)

_POSTED = text(
    """
    SELECT source_id, min(kind) AS kind,
           CASE WHEN starts_with(kind, 'capture.') THEN 'capture.' ELSE kind END AS booked_as
    FROM ledger_entries
    WHERE posted_at < :until AND kind <> ALL(:fee_kinds) AND :balance IN (debit_account, credit_account)
    GROUP BY source_id, booked_as
    """
)


def check() -> Finding:
    """Every balance transaction at Stripe against the ledger, and every posting against Stripe."""
    if not settings().stripe_secret_key.get_secret_value():
        return Finding(STRIPE, skipped="STRIPE_SECRET_KEY is not set, so there is no Stripe to compare with")
    started = utcnow()
    seen: set[tuple[str, str]] = set()
    wrong: list[str] = []
    net: dict[str, int] = {}
    pages = stripe_gateway.balance_transactions()
    try:
        while block := [row for page in islice(pages, _PAGES_A_COMPARISON) for row in page]:
            settled = [row for row in block if row.created_at < started - _IN_FLIGHT]
            for row in block:
                net[row.currency] = net.get(row.currency, 0) + row.amount_minor - row.fee_minor
                wrong += _out_of_place(row, seen)
            wrong += _differences(settled)
    except TripdeskError as error:
        return Finding(STRIPE, [f"Stripe could not be asked: {error.detail}"])
    with at_leisure():
        posted = db.session.execute(
            _POSTED.execution_options(yield_per=10_000),
            {"until": started, "balance": ledger.STRIPE_BALANCE, "fee_kinds": list(_FEES.values())},
        )
        for source, kind, booked_as in posted:
            if (booked_as, source) not in seen and len(wrong) <= MOST_LINES:
                wrong.append(f"{source}: posted as {kind}, but Stripe doesn't know it")
    sums = ", ".join(str(Money(amount, currency)) for currency, amount in sorted(net.items())) or "nothing"
    return Finding(STRIPE, at_most(wrong), note=f"{len(seen):,} objects, net of fees {sums}")


def _out_of_place(row: BalanceTransaction, seen: set[tuple[str, str]]) -> list[str]:
    kind = _kind_of(row)
    if kind is None or row.source_id is None:
        return [f"{row.id}: a {row.type} of {row.amount_minor}, which the ledger has no posting for"]
    if (kind, row.source_id) in seen:
        return [f"{row.source_id}: twice in Stripe's balance"]
    seen.add((kind, row.source_id))
    return []


def _kind_of(row: BalanceTransaction) -> str | None:
    if row.type == "adjustment" and (row.source_id or "").startswith(("dp_", "du_")):
        return _WITHDRAWN if row.amount_minor < 0 else _REINSTATED
    return _KINDS.get(row.type)


def _differences(rows: list[BalanceTransaction]) -> list[str]:
    known = [(row, kind) for row in rows if (kind := _kind_of(row)) is not None]
    with at_leisure():
        return list(
            db.session.scalars(
                _DIFFERENCES,
                {
                    "sources": [row.source_id for row, _ in known],
                    "kinds": [kind for _, kind in known],
                    "fee_kinds": [_FEES.get(kind, "") for _, kind in known],
                    "amounts": [row.amount_minor for row, _ in known],
                    "fees": [row.fee_minor for row, _ in known],
                    "balance": ledger.STRIPE_BALANCE,
                },
            ).fetchmany(MOST_LINES + 1)
        )
