"""What must always be true of the data, looked into: the rows, the ledger, and the ledger against Stripe."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text

from app.extensions import db
from app.payments import ledger_checks
from app.reports import stripe_balance
from app.reports.findings import MOST_LINES, Finding, at_leisure, at_most
from app.reports.service import SUMS
from app.reports.statements import INVARIANTS

LEDGER = "The ledger is whole: every capture and refund is posted, exactly and once"
ADDED_UP = "The sums of {} are what their rows come to, to the cent"


def check() -> Iterator[Finding]:
    """Look into every invariant, one after the other; changes nothing."""
    yield from check_database()
    yield stripe_balance.check()


def check_database() -> Iterator[Finding]:
    """The invariants that the database can answer alone."""
    for invariant in INVARIANTS:
        with at_leisure():
            rows = db.session.execute(text(invariant.select)).scalars()
            found = rows.fetchmany(MOST_LINES + 1)
            rows.close()
        yield Finding(invariant.statement, at_most(found))
    for sums in SUMS:
        with at_leisure():
            rows = db.session.execute(text(sums.contradictions)).scalars()
            found = rows.fetchmany(MOST_LINES + 1)
            rows.close()
        yield Finding(ADDED_UP.format(sums.name), at_most(found))
    with at_leisure():
        found = ledger_checks.verify(most=MOST_LINES)
    yield Finding(LEDGER, at_most(found))
