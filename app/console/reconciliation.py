"""/console/reconciliation/: each day compared with Stripe's balance, and what is done about a difference."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from flask import request
from flask_admin import expose
from sqlalchemy import ColumnElement, Select, and_, func, not_, select
from sqlalchemy.orm import joinedload
from werkzeug.wrappers import Response

from app.audit import trail
from app.console import session
from app.console.base import FINANCE, Column, Filter, RecordView, done, find, line, reason_given
from app.console.formatting import day as day_in_words
from app.console.ordering import Sort
from app.console.payments import account_names, payment_href, references_of
from app.console.record import Action, Blocked, Fact, Group, Phrase, Record
from app.db import utcnow
from app.errors import Invalid
from app.extensions import db
from app.money import Money
from app.payments import ledger
from app.payments.ledger_names import kind_in_words
from app.reports import differences, proposals, reconciliation
from app.reports.models import Difference, Reconciliation

KINDS = {
    "missing_here": "Missing in the ledger",
    "missing_there": "Missing at Stripe",
    "amount": "Another amount",
    "fee": "Another fee",
}
# One of them, and many.
_BOOKED_AS = {
    "capture": ("Payment", "Payments"),
    "refund.paid": ("Refund", "Refunds"),
    "refund.failed": ("Refund that came back", "Refunds that came back"),
    "dispute.withdrawn": ("Chargeback", "Chargebacks"),
    "dispute.reinstated": ("Chargeback given back", "Chargebacks given back"),
}
_TITLES: dict[str, trail.Title] = {
    "reconciliation.begin": ("Asked for", "state", "active"),
    "reconciliation.finish": ("Compared", "state", "good"),
    "reconciliation.fail": ("Ended before its time", "state", "bad"),
    "difference.find": ("Found", "state", None),
    "difference.vanish": ("No longer differs", "state", "good"),
    "difference.assign": ("Assigned", "note", None),
    "difference.explain": ("Explained", "note", None),
    "difference.reopen": ("Explanation taken back", "note", None),
    "difference.fix": ("Fixed", "ledger", "good"),
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
_ENTRY_COLUMNS = (
    Column("kind", "Posting"),
    Column("debit", "Debit"),
    Column("credit", "Credit"),
    Column("amount", "Amount", "money", "right"),
)
_DIFFERENCES_SHOWN = 100
# Seconds between two looks of a page whose day is being compared.
_LOOK = 2


def _has(status: str) -> ColumnElement[bool]:
    mine = select(Difference.id).where(Difference.reconciliation_id == Reconciliation.id, Difference.status == status)
    return mine.exists()


_STATES: dict[str, ColumnElement[bool]] = {
    "RECONCILED": and_(Reconciliation.status == "DONE", not_(_has("OPEN")), not_(_has("EXPLAINED"))),
    "DIFFERS": and_(Reconciliation.status == "DONE", _has("OPEN")),
    "EXPLAINED": and_(Reconciliation.status == "DONE", not_(_has("OPEN")), _has("EXPLAINED")),
    "RUNNING": Reconciliation.status == "RUNNING",
    "FAILED": Reconciliation.status == "FAILED",
}
_STATE_LABELS = {
    "RECONCILED": "Agrees with Stripe",
    "DIFFERS": "Differs",
    "EXPLAINED": "Differs, explained",
    "RUNNING": "Being compared",
    "FAILED": "Failed",
}


def _in_state(state: str) -> ColumnElement[bool]:
    return _STATES[state]


def _in_month(month: str) -> ColumnElement[bool]:
    first = _first_of(month)
    return Reconciliation.id.between(reconciliation.id_of(first), reconciliation.id_of(first) + 30)


def _first_of(month: str) -> date:
    if re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", month) and month >= "2011-01":
        return date.fromisoformat(f"{month}-01")
    raise Invalid.field("month", "Month is one such as 2026-11.")


class ReconciliationView(RecordView):
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
        counts = _counts([row.id for row in rows])
        return [
            line(
                _day_href(row.id),
                day=day_in_words(row.day),
                state=_state(row, counts.get(row.id, {})),
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
            "month": _month(_first_of(month), today) if month else None,
            "months": _months(today),
        }

    @expose("/reconcile", methods=["POST"])  # type: ignore[untyped-decorator]
    def reconcile(self) -> Response:
        """Have a day compared, again where it was before."""
        return self._begin(_day(request.form.get("day", "")))

    @expose("/<int:day_id>/")  # type: ignore[untyped-decorator]
    def show(self, day_id: int) -> str:
        """One day."""
        row = find(Reconciliation, day_id, "reconciled day")
        counts = _counts([row.id]).get(row.id, {})
        is_running = row.status == "RUNNING"
        again = Action("again", "Compare again", f"{_day_href(row.id)}again", "Reads Stripe's balance afresh.", key="r")
        return self.render_record(
            Record(
                title=day_in_words(row.day),
                about=row,
                titles=_TITLES,
                status=_state(row, counts),
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
        return done(f"{day_in_words(day)} is being compared.", _day_href(row.id))

    @expose("/differences/<int:difference_id>/")  # type: ignore[untyped-decorator]
    def difference(self, difference_id: int) -> str:
        """One difference."""
        row = find(Difference, difference_id, "difference")
        refusal = proposals.why_no_fix(row)
        proposal = None if refusal else proposals.propose(row)
        by = session.actor()
        return self.render_record(
            Record(
                title=f"{KINDS[row.kind]}: {_what(row.booked_as).lower()}",
                status=row.status,
                lead=row.explanation,
                sub=_difference_sub(row),
                actions=_actions(row, proposal, by.id),
                blocked=[Blocked("Fix", refusal)] if refusal and row.status != "FIXED" else [],
                facts=_facts(row),
                timeline=list(trail.moments({"differences": [row.id]}, titles=_TITLES, currency=row.currency)),
            ),
            "console/reconciliation/difference.html",
            proposal=proposal,
            entry_columns=_ENTRY_COLUMNS,
            entries=_entries(row, proposal) if proposal else [],
            assign_href=f"{_href(row.id)}assign" if row.status != "FIXED" else None,
            assignees=differences.assignees(),
            assigned_to_id=row.assigned_to_id,
        )

    @expose("/differences/<int:difference_id>/assign", methods=["POST"])  # type: ignore[untyped-decorator]
    def assign(self, difference_id: int) -> Response:
        """Say who looks into it."""
        person = request.form.get("person", "")
        if not (person == "" or (person.isascii() and person.isdigit() and len(person) <= 18)):
            raise Invalid.field("person", "Choose somebody of the list.")
        find(Difference, difference_id, "difference")
        row = differences.assign(difference_id, int(person) if person else None, by=session.actor())
        words = f"{row.assigned_to.name} looks into it." if row.assigned_to else "Nobody looks into it now."
        return done(words, _href(row.id))

    @expose("/differences/<int:difference_id>/explain", methods=["POST"])  # type: ignore[untyped-decorator]
    def explain(self, difference_id: int) -> Response:
        """Leave it as it is, and say why."""
        find(Difference, difference_id, "difference")
        row = differences.explain(difference_id, reason_given(), by=session.actor())
        return done("Explained. Should it change, it is open again.", _href(row.id))

    @expose("/differences/<int:difference_id>/reopen", methods=["POST"])  # type: ignore[untyped-decorator]
    def reopen(self, difference_id: int) -> Response:
        """Take the explanation back."""
        find(Difference, difference_id, "difference")
        row = differences.reopen(difference_id, reason_given(), by=session.actor())
        return done("Open again.", _href(row.id))

    @expose("/differences/<int:difference_id>/fix", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def fix(self, difference_id: int) -> Response:
        """Do what is proposed."""
        find(Difference, difference_id, "difference")
        row = differences.fix(difference_id, reason_given(), by=session.actor())
        return done("Fixed: the ledger agrees with Stripe.", _href(row.id))


def _day_href(day_id: int) -> str:
    return f"/console/reconciliation/{day_id}/"


def _href(difference_id: int) -> str:
    return f"/console/reconciliation/differences/{difference_id}/"


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


def _state(row: Reconciliation, counts: Mapping[str, int]) -> str:
    if row.status != "DONE":
        return row.status
    return "DIFFERS" if counts.get("OPEN") else "EXPLAINED" if counts.get("EXPLAINED") else "RECONCILED"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _said(row: Reconciliation, counts: Mapping[str, int]) -> str | None:
    """What the comparison came to, in a sentence; None before there was one."""
    if row.compared_at is None or row.status != "DONE":
        return None
    so_far = " so far" if row.compared_at.date() == row.day else ""
    movements = _counted(row.matched + row.differing, "movement", "movements")
    if not row.matched + row.differing:
        return f"Neither Stripe nor the ledger has any movement{so_far}."
    if not row.differing:
        return f"Stripe and the ledger agree on {movements}{so_far}."
    return f"{_counted(row.differing, 'difference', 'differences')} in {movements}{so_far}, {_dealt_with(counts)}."


def _dealt_with(counts: Mapping[str, int]) -> str:
    said = [f"{counts[status]:,} {status.lower()}" for status in ("OPEN", "EXPLAINED", "FIXED") if counts.get(status)]
    return ", ".join(said)


def _who(row: Reconciliation) -> str:
    return row.asked_by.name if row.asked_by else "Tripdesk, at night"


def _sub(row: Reconciliation) -> tuple[Phrase, ...]:
    asked = Phrase("asked for by", row.asked_by.name) if row.asked_by else Phrase("done at night")
    return (asked, Phrase(at=row.begun_at), *([Phrase("compared", at=row.compared_at)] if row.compared_at else []))


def _what(booked_as: str, *, many: bool = False) -> str:
    """What moved; of a type that the ledger has no posting for, Stripe's own word."""
    words = booked_as.replace("_", " ").capitalize()
    return _BOOKED_AS.get(booked_as, (words, words))[many]


def _sum(found: Mapping[str, Any]) -> dict[str, Any]:
    amounts: dict[str, Any] = {
        name: Money(found[f"{name}_minor"], found["currency"]).json()
        for name in ("there", "here", "there_fee", "here_fee")
    }
    return line(
        what=_what(found["booked_as"], many=True),
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
    after = request.args.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise Invalid.field("after", "This is not a place in this list.")
    wanted = select(Difference).where(mine, Difference.kind == shown, Difference.id > int(after))
    found = db.session.scalars(
        wanted.options(joinedload(Difference.assigned_to)).order_by(Difference.id).limit(_DIFFERENCES_SHOWN + 1)
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
        "more_href": f"?kind={shown}&after={page[-1].id}" if len(found) > _DIFFERENCES_SHOWN else None,
    }


def _difference_line(row: Difference, references: Mapping[int, str]) -> dict[str, Any]:
    return line(
        _href(row.id),
        source=row.source_id,
        status=row.status,
        what=_what(row.booked_as),
        booking=references.get(row.booking_id) if row.booking_id else None,
        assigned=row.assigned_to.name if row.assigned_to else None,
        **_amounts(row),
    )


def _amounts(row: Difference) -> dict[str, Any]:
    """The four amounts, without those of a side that has nothing of it."""

    def money(minor: int) -> dict[str, Any]:
        return Money(minor, row.currency).json()

    there, here = row.kind != "missing_there", row.kind != "missing_here" or row.status == "FIXED"
    return {
        "there": money(row.there_minor) if there else None,
        "there_fee": money(row.there_fee_minor) if there else None,
        "here": money(row.here_minor) if here else None,
        "here_fee": money(row.here_fee_minor) if here else None,
    }


def _difference_sub(row: Difference) -> tuple[Phrase, ...]:
    day = db.session.get_one(Reconciliation, row.reconciliation_id).day
    sub = [Phrase("of", day_in_words(day), href=_day_href(row.reconciliation_id))]
    if row.booking_id:
        reference = references_of([row.booking_id])[row.booking_id]
        sub.append(Phrase("for", reference, href=f"/console/bookings/{row.booking_id}/"))
    return (*sub, Phrase("found", at=row.found_at))


def _facts(row: Difference) -> tuple[Group, ...]:
    amounts = _amounts(row)
    return (
        Group(
            "At Stripe",
            (
                Fact("Amount", amounts["there"], "money"),
                Fact("Fee", amounts["there_fee"], "money"),
                Fact("About", row.source_id, "mono"),
                Fact("Balance transaction", row.transaction_id, "mono"),
                Fact("Intent", row.stripe_payment_intent_id, "mono"),
            ),
        ),
        Group(
            "In the ledger",
            (
                Fact("Amount", amounts["here"], "money"),
                Fact("Fee", amounts["here_fee"], "money"),
                Fact(
                    "Payment",
                    f"Payment {row.payment_id}" if row.payment_id else None,
                    href=payment_href(row.payment_id) if row.payment_id else None,
                ),
                Fact(
                    "Fixed by",
                    f"Entry {row.entry_id}" if row.entry_id else None,
                    href=f"/console/ledger/{row.entry_id}/" if row.entry_id else None,
                ),
            ),
        ),
    )


def _actions(row: Difference, proposal: proposals.Proposal | None, person_id: int | None) -> list[Action]:
    href, offered = _href(row.id), []
    if proposal is not None:
        what = (
            f"Asks Stripe about {row.source_id} and books it, as the event that never arrived would have."
            if proposal.asks_stripe
            else f"Posts {_counted(len(proposal.entries), 'entry', 'entries')} for the difference. Entries stay."
        )
        offered.append(Action("fix", "Fix", f"{href}fix", what, key="f", needs_reason=True))
    if row.status == "OPEN":
        what = "Leaves both as they are. The day counts as explained."
        offered.append(Action("explain", "Explain", f"{href}explain", what, key="e", needs_reason=True))
    if row.status == "EXPLAINED":
        what = "The difference has to be dealt with again."
        offered.append(Action("reopen", "Take the explanation back", f"{href}reopen", what, needs_reason=True))
    return offered


def _entries(row: Difference, proposal: proposals.Proposal) -> list[dict[str, Any]]:
    names = account_names()
    return [
        line(
            kind=kind_in_words(kind),
            debit=names[ledger.POSTINGS[kind][0]],
            credit=names[ledger.POSTINGS[kind][1]],
            amount=Money(minor, row.currency).json(),
        )
        for kind, minor in proposal.entries.items()
    ]


def _month(first: date, today: date) -> dict[str, Any]:
    """How far a month is, in words: closed once every day of it was compared and nothing is open."""
    days = monthrange(first.year, first.month)[1]
    last = first + timedelta(days=days - 1)
    compared = db.session.execute(
        select(Reconciliation.id, Reconciliation.differing).where(
            _in_month(f"{first:%Y-%m}"), Reconciliation.status == "DONE", Reconciliation.day < today
        )
    ).all()
    counts = _counts([row.id for row in compared])
    still_open = sum(of.get("OPEN", 0) for of in counts.values())
    explained = sum(of.get("EXPLAINED", 0) for of in counts.values())
    name, left = f"{first:%B %Y}", max(0, (min(last, today - timedelta(days=1)) - first).days + 1 - len(compared))
    if last < today and not left and not still_open:
        said = f"{explained:,} explained" if explained else "no differences"
        return {"said": f"{name} is closed with {said}: all {days} days were compared.", "tone": "good"}
    open_points = [
        *([f"{_counted(still_open, 'difference is', 'differences are')} open"] if still_open else []),
        *([f"{_counted(left, 'day was', 'days were')} not compared"] if left else []),
        *(["it is not over"] if last >= today else []),
    ]
    return {
        "said": f"{name} is not closed: {', '.join(open_points)}.",
        "tone": "warn" if still_open or left else "info",
    }


def _months(today: date) -> list[dict[str, str]]:
    """This month and those before, for the ways above the list."""
    found, month = [], today.replace(day=1)
    for _ in range(6):
        found.append({"label": f"{month:%b %Y}", "value": f"{month:%Y-%m}", "href": f"?month={month:%Y-%m}"})
        month = (month - timedelta(days=1)).replace(day=1)
    return found
