"""A calendar month of reconciled days (UTC): how far it is, and having the rest of it compared at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import func, select

from app.audit.actor import Actor
from app.db import utcnow
from app.errors import Conflict, Invalid
from app.extensions import db
from app.reports import reconciliation
from app.reports.day_states import is_whole
from app.reports.models import Difference, Reconciliation
from app.reports.periods import Period, begin_of
from app.reports.reconciliation import FIRST_DAY, MAY_RECONCILE

_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Month:
    """How far a month is. `over` are its days that are over; of these `left` were not compared since they were.

    `compared_at` is when the last of its days was. CLOSED once all its days were, and no difference is open.
    """

    first: date
    days: int
    over: int
    running: int
    left: int
    open: int
    explained: int
    compared_at: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether its last day is over."""
        return self.over == self.days

    @property
    def is_closed(self) -> bool:
        """Whether all of it was compared, and each difference was fixed or explained."""
        return self.is_over and not self.left and not self.running and not self.open


def read_month(typed: str) -> date:
    """The first day of a month such as 2026-11. Raises Invalid."""
    if re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", typed) and date.fromisoformat(f"{typed}-01") >= FIRST_DAY:
        return date.fromisoformat(f"{typed}-01")
    raise Invalid.field("month", f"{typed[:20]!r} is no month such as 2026-11, from {FIRST_DAY:%Y-%m} on.")


def whole(first: date) -> Period:
    """All days of the month."""
    return Period(first, begin_of(first + timedelta(days=31), "month") - _ONE_DAY)


def state_of(first: date) -> Month:
    """How far a month is."""
    month, rows = whole(first), _days_of(first)
    over = _over(first)
    left = sum(not _is_compared(rows.get(day)) and not _is_running(rows.get(day)) for day in over)
    dealt: dict[str, int] = dict(
        db.session.execute(
            select(Difference.status, func.count())
            .where(Difference.reconciliation_id.in_([row.id for row in rows.values()]))
            .group_by(Difference.status)
        ).all()
    )
    return Month(
        first,
        days=month.days,
        over=len(over),
        running=sum(_is_running(rows.get(day)) for day in over),
        left=left,
        open=dealt.get("OPEN", 0),
        explained=dealt.get("EXPLAINED", 0),
        compared_at=max((row.compared_at for row in rows.values() if row.compared_at), default=None),
    )


def reconcile(first: date, *, by: Actor) -> list[date]:
    """Have each day of a month compared that is over and was not since, failed, or has a difference that is open.
    Returns these days.

    Raises NotAllowed, Conflict when there is none.
    """
    by.require(*MAY_RECONCILE)
    rows = _days_of(first)
    has_open = set(
        db.session.scalars(
            select(Difference.reconciliation_id)
            .where(Difference.reconciliation_id.in_([row.id for row in rows.values()]), Difference.status == "OPEN")
            .distinct()
        )
    )
    begun = []
    for day in _over(first):
        row = rows.get(day)
        if _is_running(row) or (row is not None and _is_compared(row) and row.id not in has_open):
            continue
        reconciliation.reconcile(day, by=by)
        begun.append(day)
    if not begun:
        raise Conflict(f"No day of {first:%B %Y} is left to compare.")
    return begun


def _days_of(first: date) -> dict[date, Reconciliation]:
    month = whole(first)
    wanted = select(Reconciliation).where(Reconciliation.day.between(month.first, month.last))
    rows = db.session.scalars(wanted.execution_options(populate_existing=True))
    return {row.day: row for row in rows}


def _over(first: date) -> list[date]:
    """The days of a month that are over."""
    yesterday = utcnow().date() - _ONE_DAY
    return [piece.first for piece in whole(first).cut("day") if piece.first <= yesterday]


def _is_compared(row: Reconciliation | None) -> bool:
    """Whether a day was compared as a whole."""
    return row is not None and row.status == "DONE" and is_whole(row)


def _is_running(row: Reconciliation | None) -> bool:
    return row is not None and row.status == "RUNNING"
