"""What comparing a day came to, in one word: the same on its page, in the list of days, its filter and its export."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

from sqlalchemy import ColumnElement, DateTime, case, cast, func, not_, select

from app.extensions import db
from app.reports.models import Difference, Reconciliation
from app.reports.stripe_balance import IN_FLIGHT


def is_whole(row: Reconciliation) -> bool:
    """Whether all of its day is compared: what begins before the day is over, and what was on its way has come, leaves
    the rest out.
    """
    return row.begun_at >= datetime.combine(row.day + timedelta(days=1), time(), UTC) + IN_FLIGHT


def _has(status: str) -> ColumnElement[bool]:
    mine = select(Difference.id).where(Difference.reconciliation_id == Reconciliation.id, Difference.status == status)
    return mine.correlate(Reconciliation).exists()


_ENDED = func.timezone("UTC", cast(Reconciliation.day + 1, DateTime))
_IS_WHOLE: ColumnElement[bool] = Reconciliation.begun_at >= _ENDED + IN_FLIGHT

# A day that was compared DIFFERS while a difference is open; without one, it has all agreed or was explained, or was
# COMPARED_IN_PART. Any other is what its row says.
STATE: ColumnElement[str] = case(
    (Reconciliation.status != "DONE", Reconciliation.status),
    (_has("OPEN"), "DIFFERS"),
    (not_(_IS_WHOLE), "COMPARED_IN_PART"),
    (_has("EXPLAINED"), "EXPLAINED"),
    else_="RECONCILED",
)


def states_of(ids: Sequence[int]) -> dict[int, str]:
    """The states of these days."""
    return dict(db.session.execute(select(Reconciliation.id, STATE).where(Reconciliation.id.in_(ids))).all())
