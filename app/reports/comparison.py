"""Comparing a day: what Stripe's balance had of it with what the ledger has, movement by movement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text

from app.audit import service as audit
from app.audit.actor import SYSTEM
from app.db import keep_before, require_transaction
from app.extensions import db
from app.reports.models import Difference, Reconciliation
from app.reports.movements import BOOKED, KINDS
from app.states import move

VANISHED = "It no longer differs."
_FIGURES = ("there_minor", "there_fee_minor", "here_minor", "here_fee_minor")
_COLUMNS = (
    *("kind", "booked_as", "source_id", "transaction_id", "stripe_payment_intent_id", "payment_id", "booking_id"),
    *("currency", *_FIGURES),
)

# A movement belongs to the day on which it was in Stripe's balance; one that Stripe doesn't know to the day on which it
# was first posted. Both sums in one statement, as what is posted meanwhile may not be in one of them alone.
_COMPARE = text(
    f"""
    WITH told AS (
        SELECT m.booked_as, m.source_id AS source, m.currency, min(m.id) AS transaction_id,
               min(m.stripe_payment_intent_id) AS intent_id, sum(m.amount_minor)::bigint AS amount,
               sum(m.fee_minor)::bigint AS fee
        FROM stripe_movements m
        WHERE (m.source_id, m.booked_as) IN (
            SELECT source_id, booked_as FROM stripe_movements WHERE created_at >= :since AND created_at < :until)
        GROUP BY m.booked_as, m.source_id, m.currency
        UNION ALL
        SELECT kinds.booked_as, e.source_id, e.currency, NULL, NULL, 0, 0
        FROM ledger_entries e JOIN {KINDS} ON kinds.kind = e.kind
        WHERE e.posted_at >= :since AND e.posted_at < :until
          AND NOT EXISTS (SELECT FROM stripe_movements m
                          WHERE m.source_id = e.source_id AND m.booked_as = kinds.booked_as)
          AND NOT EXISTS (SELECT FROM ledger_entries earlier JOIN {KINDS.replace("kinds(", "same(")}
                          ON same.kind = earlier.kind AND same.booked_as = kinds.booked_as
                          WHERE earlier.source_id = e.source_id AND earlier.posted_at < :since)
        GROUP BY kinds.booked_as, e.source_id, e.currency
    ), compared AS MATERIALIZED (
        SELECT told.*, booked.amount AS booked_amount, booked.fee AS booked_fee, booked.entries, booked.payment_id,
               (told.amount, told.fee) <> (booked.amount, booked.fee) AS differs
        FROM told CROSS JOIN LATERAL ({BOOKED}) AS booked
    ), sums AS (
        SELECT booked_as, currency, count(*) AS movements, sum(amount)::bigint AS there_minor,
               sum(fee)::bigint AS there_fee_minor, sum(booked_amount)::bigint AS here_minor,
               sum(booked_fee)::bigint AS here_fee_minor, count(*) FILTER (WHERE differs) AS differing
        FROM compared GROUP BY booked_as, currency ORDER BY currency, booked_as
    ), differing AS (
        SELECT CASE WHEN c.transaction_id IS NULL THEN 'missing_there' WHEN c.entries = 0 THEN 'missing_here'
                    WHEN c.amount <> c.booked_amount THEN 'amount' ELSE 'fee' END AS kind,
               c.booked_as, c.source AS source_id, c.transaction_id, c.intent_id AS stripe_payment_intent_id,
               p.id AS payment_id, p.booking_id, c.currency, c.amount AS there_minor, c.fee AS there_fee_minor,
               c.booked_amount AS here_minor, c.booked_fee AS here_fee_minor
        FROM compared c LEFT JOIN payments p ON p.id = coalesce(
            c.payment_id, (SELECT id FROM payments WHERE stripe_payment_intent_id = c.intent_id))
        WHERE c.differs ORDER BY c.source, c.booked_as
    )
    SELECT coalesce((SELECT jsonb_agg(sums) FROM sums), '[]') AS sums,
           coalesce((SELECT jsonb_agg(differing) FROM differing), '[]') AS differing
    """  # noqa: S608  # nosec B608 - constants of the program
)


@dataclass(frozen=True)
class Compared:
    """A day's sums, by what they are booked as and currency, and the movements that differ, as columns."""

    sums: list[dict[str, Any]]
    differing: list[dict[str, Any]]


def compare(since: datetime, until: datetime) -> Compared:
    """What Stripe's balance, as far as it was read, and the ledger have between two moments."""
    found = db.session.execute(_COMPARE, {"since": since, "until": until}).one()
    return Compared(found.sums, found.differing)


def keep(day: Reconciliation, found: Sequence[Mapping[str, Any]]) -> None:
    """Take over what differs now: what is new is OPEN, what differs otherwise than explained is OPEN again, and what
    differs no more is FIXED, with its explanation if it had one.
    """
    require_transaction()
    mine = select(Difference).where(Difference.reconciliation_id == day.id).order_by(Difference.id).with_for_update()
    known = {
        (row.source_id, row.booked_as): keep_before(row)
        for row in db.session.scalars(mine.execution_options(populate_existing=True))
    }
    new = []
    for columns in found:
        row = known.pop((columns["source_id"], columns["booked_as"]), None)
        if row is None:
            new.append(Difference(reconciliation_id=day.id, **{name: columns[name] for name in _COLUMNS}))
        else:
            _again(row, columns)
    db.session.add_all(new)
    audit.record_each(SYSTEM, "difference.find", new)
    for row in known.values():
        if row.status != "FIXED":
            move(row, "FIXED")
            row.explanation = row.explanation or VANISHED
            audit.record(SYSTEM, "difference.vanish", row, reason=VANISHED)


def _again(row: Difference, columns: Mapping[str, Any]) -> None:
    changed = any(getattr(row, name) != columns[name] for name in _COLUMNS)
    if not changed and row.status != "FIXED":
        return
    for name in _COLUMNS:
        setattr(row, name, columns[name])
    if row.status != "OPEN":
        move(row, "OPEN")
        row.explanation = row.closed_at = None
    audit.record(SYSTEM, "difference.find", row)
