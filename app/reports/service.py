"""The verbs of reports: have the sums follow what they are sums of."""

from __future__ import annotations

from collections.abc import Callable

from app import rollups
from app.payments.ledger_days import LEDGER_DAYS
from app.reports.activity_days import ACTIVITY_DAYS
from app.reports.provider_sums import PROVIDER_SUMS
from app.reports.revenue_days import REVENUE_DAYS, REVENUE_MONTHS

SUMS = (LEDGER_DAYS, REVENUE_DAYS, REVENUE_MONTHS, PROVIDER_SUMS, ACTIVITY_DAYS)


def add_up() -> None:
    """Bring every sum by day up to what is settled; the first time that is all there is. Raises Busy."""
    for sums in SUMS:
        rollups.advance(sums)


def rebuild(tell: Callable[[str], None]) -> None:
    """Make every sum by day anew; `tell` hears which. Who reads meanwhile sees the old ones. Raises Busy."""
    for sums in SUMS:
        tell(f"Adding up {sums.name}")
        rollups.rebuild(sums)
