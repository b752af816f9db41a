"""/console/reconciliation/: each day compared with Stripe's balance, and what is done about a difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from flask import request
from flask_admin import expose
from sqlalchemy import BigInteger, ColumnElement, Select, case, func, literal, select, tuple_
from sqlalchemy.orm import joinedload
from werkzeug.wrappers import Response

from app.audit import trail
from app.console import session
from app.console.base import FINANCE, Column, Filter, done, find, line
from app.console.differences import (
    KINDS,
    DifferencePages,
    amounts_of,
    counted,
    day_href,
    difference_href,
    what_moved,
)
from app.console.formatting import day as day_in_words
from app.console.ordering import Sort
from app.console.payments import references_of
from app.console.record import Action, Blocked, Phrase, Record
from app.db import utcnow
from app.errors import Invalid
from app.extensions import db
from app.money import Money
from app.reports import day_states, months, reconciliation
from app.reports.models import Difference, Reconciliation
from app.reports.months import Month

_TITLES: dict[str, trail.Title] = {
    "reconciliation.begin": ("Asked for", "state", "active"),
    "reconciliation.finish": ("Compared", "state", "good"),
    "reconciliation.fail": ("Ended before its time", "state", "bad"),
}
_SUM_COLUMNS = (
    Column("what", "What"),
    Column("movements", "Movements", "number", "right"),
    Column("there", "At Stripe", "sum", "right"),
    Column("here", "In the ledger", "sum", "right"),
    Column("there_fee", "Fees at Stripe", "sum", "right"),
    Column("here_fee", "Fees in the ledger", "sum", "right"),
    Column("differing", "Differ", "number", "right"),
)
_DIFFERENCE_COLUMNS = (
    Column("source", "Object", "link"),
    Column("status", "State", "chip"),
    Column("what", "What"),
    Column("booking", "Booking"),
    Column("there", "At Stripe", "sum", "right"),
    Column("here", "In the ledger", "sum", "right"),
    Column("there_fee", "Fee at Stripe", "sum", "right"),
    Column("here_fee", "Fee in the ledger", "sum", "right"),
    Column("assigned", "Looked into by"),
)
_DIFFERENCES_SHOWN = 100
_ORDER_OF_STATES = {"OPEN": 0, "EXPLAINED": 1, "FIXED": 2}
_OPEN_FIRST = (case(_ORDER_OF_STATES, value=Difference.status), Difference.id)
# Seconds between two looks of a page whose day is being compared.
_LOOK = 2


_STATE_LABELS = {
    "RECONCILED": "Agrees with Stripe",
    "DIFFERS": "Differs",
    "EXPLAINED": "Differs, explained",
    "COMPARED_IN_PART": "Compared in part",
    "RUNNING": "Being compared",
    "FAILED": "Failed",
}


def _in_state(state: str) -> ColumnElement[bool]:
    return day_states.STATE.in_([state])


def _in_month(month: str) -> ColumnElement[bool]:
    first = reconciliation.id_of(months.read_month(month))
    return Reconciliation.id.between(first, first + 30)


class ReconciliationView(DifferencePages):
    """The days, for finance."""

    roles = FINANCE
    icon = "scale"
    model = Reconciliation
    title = "Reconciliation"
    noun = ("day", "days")
    exported_as = "reconciliations"
    template = "console/reconciliation/list.html"
    intro = "Each day, in UTC: what Stripe's balance had of it, compared with the ledger. Every night does yesterday."
    empty_hint = "Yesterday is compared at night; any day can be now."
    columns = (
        Column("day", "Day", "link", sort=Sort(Reconciliation.day, follows_id=True)),
        Column("state", "State", "chip"),
        Column("matched", "Agree", "number", "right"),
        Column("differing", "Differ", "number", "right"),
        Column("open", "To be dealt with", "number", "right"),
        Column("because", "Error"),
        Column("by", "Asked for by"),
        Column("compared_at", "Compared", "time", "right"),
    )
    filters = (
        Filter("state", "State", _STATE_LABELS, where=_in_state),
        Filter("month", "Month", kind="text", hint="2026-11", where=_in_month),
    )

    def query(self) -> Select[Any]:
        """The days, with who asked."""
        return select(Reconciliation).options(joinedload(Reconciliation.asked_by))

    def lines(self, rows: Sequence[Reconciliation]) -> list[dict[str, Any]]:
        """One page's days, with what is open of each."""
        ids = [row.id for row in rows]
        counts, states = _counts(ids), day_states.states_of(ids)
        return [
            line(
                day_href(row.id),
                day=day_in_words(row.day),
                state=states[row.id],
                matched=row.matched if row.compared_at else None,
                differing=row.differing if row.compared_at else None,
                open=counts.get(row.id, {}).get("OPEN"),
                because=row.ended_because or row.last_error,
                by=_who(row),
                compared_at=row.compared_at,
            )
            for row in rows
        ]

    def context(self) -> dict[str, Any]:
        """The day to be asked for, and how far the month is that the list is narrowed to."""
        today = utcnow().date()
        month = request.args.get("month", "").strip()
        return {
            "yesterday": today - timedelta(days=1),
            "today": today,
            "first_day": reconciliation.FIRST_DAY,
            "month": _month(months.state_of(months.read_month(month))) if month else None,
            "months": _months(today),
        }

    @expose("/reconcile", methods=["POST"])  # type: ignore[untyped-decorator]
    def reconcile(self) -> Response:
        """Have a day compared, again where it was before."""
        return self._begin(_day(request.form.get("day", "")))

    @expose("/reconcile-month", methods=["POST"])  # type: ignore[untyped-decorator]
    def reconcile_month(self) -> Response:
        """Have all days of a month compared that have not been, or differ."""
        first = months.read_month(request.form.get("month", ""))
        days = months.reconcile(first, by=session.actor())
        said = counted(len(days), "day is", "days are")
        return done(f"{said} being compared.", f"{self.url.rstrip('/')}/?month={first:%Y-%m}")

    @expose("/<int:day_id>/")  # type: ignore[untyped-decorator]
    def show(self, day_id: int) -> str:
        """One day."""
        row = find(Reconciliation, day_id, "reconciled day")
        counts = _counts([row.id]).get(row.id, {})
        is_running = row.status == "RUNNING"
        again = Action("again", "Compare again", f"{day_href(row.id)}again", "Reads Stripe's balance afresh.", key="r")
        return self.render_record(
            Record(
                title=day_in_words(row.day),
                about=row,
                titles=_TITLES,
                status=day_states.states_of([row.id])[row.id],
                lead=_said(row, counts),
                sub=_sub(row),
                actions=[] if is_running else [again],
                blocked=[Blocked("Compare again", "It is being compared right now.")] if is_running else [],
                timeline=list(trail.moments({"reconciliations": [row.id]}, titles=_TITLES)),
            ),
            "console/reconciliation/show.html",
            look_again=_LOOK if is_running else None,
            error=row.ended_because or row.last_error,
            sum_columns=_SUM_COLUMNS,
            sums=[_sum(found) for found in row.sums],
            columns=_DIFFERENCE_COLUMNS,
            **_differences(row),
        )

    @expose("/<int:day_id>/again", methods=["POST"])  # type: ignore[untyped-decorator]
    def again(self, day_id: int) -> Response:
        """Compare it once more."""
        return self._begin(find(Reconciliation, day_id, "reconciled day").day)

    def _begin(self, day: date) -> Response:
        row = reconciliation.reconcile(day, by=session.actor())
        return done(f"{day_in_words(day)} is being compared.", day_href(row.id))


def _day(typed: str) -> date:
    try:
        return date.fromisoformat(typed.strip())
    except ValueError as error:
        raise Invalid.field("day", "Choose a day such as 2026-11-22.") from error


def _counts(ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """How many differences there are of each day, by state."""
    wanted = (
        select(Difference.reconciliation_id, Difference.status, func.count())
        .where(Difference.reconciliation_id.in_(ids))
        .group_by(Difference.reconciliation_id, Difference.status)
    )
    found: dict[int, dict[str, int]] = {}
    for row_id, status, count in db.session.execute(wanted):
        found.setdefault(row_id, {})[status] = count
    return found


def _said(row: Reconciliation, counts: Mapping[str, int]) -> str | None:
    """What the comparison came to, in a sentence; None before there was one."""
    if row.compared_at is None or row.status != "DONE":
        return None
    so_far = "" if day_states.is_whole(row) else " so far"
    movements = counted(row.matched + row.differing, "movement", "movements")
    if not row.matched + row.differing:
        return f"Neither Stripe nor the ledger has any movement{so_far}."
    if not row.differing:
        return f"Stripe and the ledger agree on {movements}{so_far}."
    return f"{counted(row.differing, 'difference', 'differences')} in {movements}{so_far}, {_dealt_with(counts)}."


def _dealt_with(counts: Mapping[str, int]) -> str:
    said = [f"{counts[status]:,} {status.lower()}" for status in ("OPEN", "EXPLAINED", "FIXED") if counts.get(status)]
    return ", ".join(said)


def _who(row: Reconciliation) -> str:
    return row.asked_by.name if row.asked_by else "Tripdesk"


def _sub(row: Reconciliation) -> tuple[Phrase, ...]:
    asked = Phrase("asked for by", row.asked_by.name) if row.asked_by else Phrase("begun by", "Tripdesk")
    return (asked, Phrase(at=row.begun_at), *([Phrase("compared", at=row.compared_at)] if row.compared_at else []))


def _sum(found: Mapping[str, Any]) -> dict[str, Any]:
    amounts: dict[str, Any] = {
        name: Money(found[f"{name}_minor"], found["currency"]).json()
        for name in ("there", "here", "there_fee", "here_fee")
    }
    return line(
        what=what_moved(found["booked_as"], many=True),
        movements=found["movements"],
        differing=found["differing"] or None,
        **amounts,
    )


def _differences(row: Reconciliation) -> dict[str, Any]:
    """A page of the day's differences by kind, open ones first, and the ways to the others."""
    mine = Difference.reconciliation_id == row.id
    counts = dict(db.session.execute(select(Difference.kind, func.count()).where(mine).group_by(Difference.kind)).all())
    shown = request.args.get("kind", "") or next((kind for kind in KINDS if counts.get(kind)), "")
    if shown and shown not in KINDS:
        raise Invalid.field("kind", f"There are no differences of the kind {shown}.")
    wanted = select(Difference).where(mine, Difference.kind == shown, _place_asked())
    found = db.session.scalars(
        wanted.options(joinedload(Difference.assigned_to)).order_by(*_OPEN_FIRST).limit(_DIFFERENCES_SHOWN + 1)
    ).all()
    page = found[:_DIFFERENCES_SHOWN]
    references = references_of(found.booking_id for found in page if found.booking_id)
    return {
        "ways": [
            {"label": label, "count": counts[kind], "href": f"?kind={kind}", "is_shown": kind == shown}
            for kind, label in KINDS.items()
            if counts.get(kind)
        ],
        "differences": [_difference_line(found, references) for found in page],
        "more_href": f"?kind={shown}&after={_place_of(page[-1])}" if len(found) > _DIFFERENCES_SHOWN else None,
    }


def _place_asked() -> ColumnElement[bool]:
    """The differences behind the place in their order that is asked for. Raises Invalid."""
    after = request.args.get("after", "0~0")
    values = after.split("~")
    if len(values) != 2 or not all(value.isascii() and value.isdigit() and len(value) <= 18 for value in values):
        raise Invalid.field("after", "This is not a place in this list.")
    return tuple_(*_OPEN_FIRST) > tuple_(*(literal(int(value), BigInteger) for value in values))


def _place_of(row: Difference) -> str:
    return f"{_ORDER_OF_STATES[row.status]}~{row.id}"


def _difference_line(row: Difference, references: Mapping[int, str]) -> dict[str, Any]:
    return line(
        difference_href(row.id),
        source=row.source_id,
        status=row.status,
        what=what_moved(row.booked_as),
        booking=references.get(row.booking_id) if row.booking_id else None,
        assigned=row.assigned_to.name if row.assigned_to else None,
        **amounts_of(row),
    )


def _month(month: Month) -> dict[str, Any]:
    """How far a month is, in words, and what is left to be done at once."""
    name = f"{month.first:%B %Y}"
    if month.is_closed and month.compared_at:
        said = f"{month.explained:,} explained" if month.explained else "no differences"
        since = f"the last on {day_in_words(month.compared_at.date())}"
        return {"said": f"{name} is closed with {said}: all {month.days} days were compared, {since}.", "tone": "good"}
    open_points = [
        *([f"{counted(month.open, 'difference is', 'differences are')} open"] if month.open else []),
        *([f"{counted(month.running, 'day is', 'days are')} being compared"] if month.running else []),
        *([f"{counted(month.left, 'day was', 'days were')} not compared"] if month.left else []),
        *(["it is not over"] if not month.is_over else []),
    ]
    return {
        "said": f"{name} is not closed: {', '.join(open_points)}.",
        "tone": "warn" if month.open or month.left else "info",
        "label": f"Compare what is left of {month.first:%B}" if month.open or month.left else None,
        "is_running": month.running > 0,
    }


def _months(today: date) -> list[dict[str, str]]:
    """This month and those before, for the ways above the list."""
    found, month = [], today.replace(day=1)
    for _ in range(6):
        found.append({"label": f"{month:%b %Y}", "value": f"{month:%Y-%m}", "href": f"?month={month:%Y-%m}"})
        month = (month - timedelta(days=1)).replace(day=1)
    return found
