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
from app.payments import stripe_gateway
from app.payments.stripe_objects import BalanceTransaction
from app.reports.findings import MOST_LINES, Finding, at_leisure, at_most
from app.reports.movements import BOOKED, KINDS, booked_as, is_of_no_payment, source_of

STRIPE = "The ledger and Stripe agree on every charge, fee, refund, dispute and payout"

# What happened at Stripe is known here within a minute; what is younger than this may still be on its way.
IN_FLIGHT = timedelta(minutes=2)
# Of what is of no payment no event tells: it is booked when its day is compared, the night after.
_BOOKED_AT_NIGHT = timedelta(days=2)
_PAGES_A_COMPARISON = 100

_DIFFERENCES = text(
    f"""
    SELECT told.source || ': at Stripe ' || told.amount || ' and a fee of ' || told.fee || ', in the ledger '
           || booked.amount || ' and ' || booked.fee
    FROM unnest(CAST(:sources AS text[]), CAST(:booked_as AS text[]), CAST(:amounts AS bigint[]),
                CAST(:fees AS bigint[])) AS told(source, booked_as, amount, fee)
    CROSS JOIN LATERAL ({BOOKED}) AS booked
    WHERE told.amount <> booked.amount OR told.fee <> booked.fee
    """  # noqa: S608  # nosec B608 - constants of the program
)

_POSTED = text(
    f"""
    SELECT e.source_id AS source, min(e.kind) AS kind, kinds.booked_as
    FROM ledger_entries e JOIN {KINDS} ON kinds.kind = e.kind AND NOT kinds.is_fee
    WHERE e.posted_at < :until GROUP BY e.source_id, kinds.booked_as
    -- What Stripe doesn't know and a correction took back is booked no more.
    HAVING sum(CASE e.debit_account WHEN 'stripe_balance' THEN e.amount_minor ELSE -e.amount_minor END) <> 0
    """  # noqa: S608  # nosec B608 - constants of the program
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
            settled = [row for row in block if row.created_at < started - _booked_within(row)]
            for row in block:
                net[row.currency] = net.get(row.currency, 0) + row.amount_minor - row.fee_minor
                wrong += _out_of_place(row, seen)
            wrong += _differences(settled)
    except TripdeskError as error:
        return Finding(STRIPE, [f"Stripe could not be asked: {error.detail}"])
    with at_leisure():
        posted = db.session.execute(_POSTED.execution_options(yield_per=10_000), {"until": started})
        for source, kind, known_as in posted:
            if (known_as, source) not in seen and len(wrong) <= MOST_LINES:
                wrong.append(f"{source}: posted as {kind}, but Stripe doesn't know it")
    sums = ", ".join(str(Money(amount, currency)) for currency, amount in sorted(net.items())) or "nothing"
    return Finding(STRIPE, at_most(wrong), note=f"{len(seen):,} objects, net of fees {sums}")


def _booked_within(row: BalanceTransaction) -> timedelta:
    return _BOOKED_AT_NIGHT if is_of_no_payment(row) else IN_FLIGHT


def _out_of_place(row: BalanceTransaction, seen: set[tuple[str, str]]) -> list[str]:
    known_as = booked_as(row)
    if known_as is None:
        return [f"{row.id}: a {row.type} of {row.amount_minor}, which the ledger has no posting for"]
    if (known_as, source_of(row)) in seen:
        return [f"{source_of(row)}: twice in Stripe's balance"]
    seen.add((known_as, source_of(row)))
    return []


def _differences(rows: list[BalanceTransaction]) -> list[str]:
    known = [(row, name) for row in rows if (name := booked_as(row)) is not None]
    with at_leisure():
        return list(
            db.session.scalars(
                _DIFFERENCES,
                {
                    "sources": [source_of(row) for row, _ in known],
                    "booked_as": [name for _, name in known],
                    "amounts": [row.amount_minor for row, _ in known],
                    "fees": [row.fee_minor for row, _ in known],
                },
            ).fetchmany(MOST_LINES + 1)
        )
