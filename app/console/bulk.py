"""/console/bulk/: one's own bulk runs; what each will do, how far it is, and what became of every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import request
from flask_admin import expose
from sqlalchemy import Select, select
from sqlalchemy.orm import joinedload
from werkzeug.wrappers import Response

from app.audit import trail
from app.audit.actor import Actor
from app.bookings.models import Booking
from app.bulk import exporting
from app.bulk import service as bulk
from app.bulk.kind import Became, Preview
from app.bulk.kinds import KINDS
from app.bulk.models import FILE_DAYS, Bulk
from app.catalog.models import Package, Provider
from app.console import confirmation, session
from app.console.base import EVERYBODY, MAX_ID, Column, Filter, RecordView, done, line
from app.console.formatting import status_label
from app.console.record import Action, Phrase, Record
from app.errors import Invalid, NotFound
from app.extensions import db
from app.money import Money
from app.payments import refunds
from app.payments.models import Payment, Refund, WebhookEvent
from app.reviews.models import Review
from app.undo import window

_TITLES: dict[str, trail.Title] = {
    "bulk.prepare": ("Rows chosen", "note", None),
    "bulk.start": ("Started", "state", "active"),
    "bulk.cancel": ("Stopped", "state", None),
    "bulk.undo": ("Undo asked for", "state", "active"),
    "bulk.finish": ("Finished", "state", "good"),
    "bulk.fail": ("Ended before its time", "state", "bad"),
    "bulk.download": ("Downloaded", "note", None),
    "bulk.delete_file": ("File deleted", "note", None),
}
# Where the rows of a table can be looked at, by whoever may do something to them, and what each is called there.
_ROW_PAGES = {name: f"/console/{name}/" for name in ("reviews", "bookings", "packages", "providers", "refunds")}
_ROW_PAGES["webhook_events"] = "/console/webhooks/"
_ROW_NAMES: dict[str, Select[int, str]] = {
    "bookings": select(Booking.id, Booking.reference),
    "packages": select(Package.id, Package.name),
    "providers": select(Provider.id, Provider.name),
    "refunds": select(Refund.id, "Refund of " + Booking.reference)
    .join(Payment, Payment.id == Refund.payment_id)
    .join(Booking, Booking.id == Payment.booking_id),
    "reviews": select(Review.id, Review.title),
    "webhook_events": select(WebhookEvent.id, WebhookEvent.type),
}
# Of which rows the list below shows which; those that need somebody come first.
_OUTCOMES = {
    "FAILED": "Failed",
    "KEPT": "Not undone",
    "SKIPPED": "Skipped",
    "LEFT": "Not reached",
    "UNDONE": "Undone",
    "DONE": "Done",
}
# Those that are told why.
_TOLD = ("FAILED", "KEPT", "SKIPPED")
_MOVING = ("RUNNING", "UNDOING")
_ROWS_SHOWN = 50
# Money that moves for more than these is confirmed by typing how many they are.
_MANY = 10
# Seconds between two looks of a page that is watched: while it is worked on, and while it can be undone or its refunds
# are on their way.
_LOOK, _LOOK_LATER = 1, 5
# Refunds that a run has begun and that Stripe has not paid yet.
_ON_THEIR_WAY = ("APPROVED", "SUBMITTED")


class BulkView(RecordView):
    """Everybody's own runs; for admins, everybody's."""

    roles = EVERYBODY
    icon = "checks"
    model = Bulk
    title = "Bulk runs"
    noun = ("bulk run", "bulk runs")
    intro = "What was done to many rows at once, and what became of each. A run goes on when you leave its page."
    empty_hint = "Select rows of a list that has actions for many, and choose one of them."
    columns = (
        Column("what", "Run", "link"),
        Column("status", "State", "chip"),
        Column("done", "Done", "number", "right"),
        Column("skipped", "Skipped", "number", "right"),
        Column("failures", "Failed", "number", "right"),
        Column("by", "By"),
        Column("created_at", "Asked for", "time", "right"),
    )
    filters = (Filter("status", "State", {status: status_label(status) for status in Bulk.MOVES}),)

    def query(self) -> Select[Any]:
        """What whoever looks may see."""
        by = session.actor()
        runs = select(Bulk).options(joinedload(Bulk.asked_by))
        return runs if by.has(bulk.SEES_ALL) else runs.where(Bulk.by_id == by.id)

    def cells(self, row: Bulk) -> dict[str, Any]:
        """One run's line."""
        return {**vars(row), "what": _what(row), "by": row.asked_by.name}

    def href(self, row: Bulk) -> str:
        """Its page."""
        return _href(row.id)

    @expose("/<int:bulk_id>/")  # type: ignore[untyped-decorator]
    def show(self, bulk_id: int) -> str:
        """One run; its page looks again by itself while something moves."""
        by = session.actor()
        run = bulk.find(_id(bulk_id), by=by)
        undoable = 0 if bulk.why_no_undo(run) else bulk.undoable(run)
        became = bulk.became(run)
        is_on_its_way = any(some.status in _ON_THEIR_WAY for some in became)
        return self.render_record(
            Record(
                title=_what(run),
                status=run.status,
                sub=tuple(_sub(run)),
                actions=_actions(run, by, undoable),
                timeline=list(trail.moments({"bulks": [run.id]}, titles=_TITLES)),
            ),
            "console/bulk/show.html",
            run=run,
            kind=KINDS[run.kind],
            look_again=_LOOK if run.status in _MOVING else _LOOK_LATER if undoable or is_on_its_way else None,
            progress=_progress(run),
            plan=_plan(run, by) if run.status == "PREPARED" else None,
            results=_results(run) if run.status != "PREPARED" else None,
            undo_seconds=f"{window().total_seconds():g}",
            became=_became_of_refunds(became),
            reason=_reason(run),
            newer=_newer(run),
            file=_file(run, by),
        )

    @expose("/<int:bulk_id>/start", methods=["POST"])  # type: ignore[untyped-decorator]
    def start(self, bulk_id: int) -> Response:
        """Do what was prepared; where money moves, by whoever typed to how many and showed that it is them."""
        by = session.actor()
        run = bulk.find(_id(bulk_id), by=by)
        if run.status == "PREPARED" and (wanted := _to_type(run, bulk.preview(run))):
            confirmation.require(wanted)
        answer: Response = _proven(run, _start)(run.id)
        return answer

    @expose("/<int:bulk_id>/cancel", methods=["POST"])  # type: ignore[untyped-decorator]
    def cancel(self, bulk_id: int) -> Response:
        """Stop it."""
        run = bulk.cancel(_id(bulk_id), by=session.actor())
        stopped = "There is no file." if KINDS[run.kind].part_of else "What was done stays done."
        words = f"Stopped. {stopped}" if run.started_at else "Dropped. Nothing was done."
        return done(words, _href(run.id))

    @expose("/<int:bulk_id>/undo", methods=["POST"])  # type: ignore[untyped-decorator]
    def undo(self, bulk_id: int) -> Response:
        """Change back what it did."""
        run = bulk.undo(_id(bulk_id), by=session.actor())
        return done("Undo was asked for.", _href(run.id))

    @expose("/<int:bulk_id>/download", methods=["POST"])  # type: ignore[untyped-decorator]
    def download(self, bulk_id: int) -> Response:
        """The file that an export left."""
        found = exporting.download(_id(bulk_id), by=session.actor())
        answer = Response(found.content, content_type="text/csv; charset=utf-8; header=present")
        answer.headers.set("Content-Disposition", "attachment", filename=found.file_name)
        return answer

    @expose("/<int:bulk_id>/take-up", methods=["POST"])  # type: ignore[untyped-decorator]
    def take_up(self, bulk_id: int) -> Response:
        """Go on with what failed or is left, in a new run."""
        run = bulk.find(_id(bulk_id), by=session.actor())
        answer: Response = _proven(run, _take_up)(run.id)
        return answer


def _proven(run: Bulk, view: Callable[[int], Response]) -> Callable[..., Any]:
    """Before money moves, who has it moved shows that it is them."""
    return session.confirmed(view) if KINDS[run.kind].moves_money else view


def _start(bulk_id: int) -> Response:
    run = bulk.start(bulk_id, by=session.actor())
    return done("Started. It goes on when you leave this page.", _href(run.id))


def _take_up(bulk_id: int) -> Response:
    new = bulk.take_up(bulk_id, by=session.actor())
    return done("Started as a run of its own.", _href(new.id))


def _to_type(run: Bulk, plan: Preview) -> str | None:
    """What has to be typed before money goes to many, so that nobody starts what they have not read."""
    is_many = KINDS[run.kind].moves_money and plan.will > _MANY
    return str(plan.will) if is_many else None


def _file(run: Bulk, by: Actor) -> dict[str, Any] | None:
    """What the file of an export has in it, and how it can be had; None for a run that leaves none."""
    export = exporting.export_of(run)
    if export is None:
        return None
    refusal = exporting.why_no_file(run) or exporting.why_not_theirs(run, by)
    return {
        "headings": export.headings(run.arguments),
        "narrowed": run.arguments["narrowed"],
        "masked": [field.heading for field in exporting.masked(run)],
        "days": FILE_DAYS,
        "until": run.file_until,
        "href": f"{_href(run.id)}download" if refusal is None else None,
        "refusal": refusal if run.status == "DONE" else None,
    }


def _href(bulk_id: int) -> str:
    return f"/console/bulk/{bulk_id}/"


def _newer(run: Bulk) -> dict[str, Any] | None:
    newer = bulk.taken_up_by(run)
    return {"id": newer, "href": _href(newer)} if newer else None


def _id(bulk_id: int) -> int:
    if bulk_id > MAX_ID:
        raise NotFound("There is no bulk run with this id.")
    return bulk_id


def _row_href(run: Bulk, row_id: int) -> str | None:
    page = _ROW_PAGES.get(KINDS[run.kind].table)
    return f"{page}{row_id}/" if page else None


def _names(table: str, ids: Sequence[int]) -> dict[int, str]:
    """What rows of a table are called, by id; none of a row that is gone."""
    if table not in _ROW_NAMES:
        return {}
    named = _ROW_NAMES[table]
    return dict(db.session.execute(named.where(named.selected_columns.id.in_(ids))).all())


def _counted(count: int, nouns: tuple[str, str]) -> str:
    return f"{count:,} {nouns[count != 1]}"


def _what(run: Bulk) -> str:
    kind = KINDS[run.kind]
    return f"{kind.verb.capitalize()} {_counted(run.total, kind.nouns)}"


def _sub(run: Bulk) -> list[Phrase]:
    sub = [Phrase("asked for by", run.asked_by.name), Phrase(at=run.created_at)]
    if run.retry_of_id is not None:
        sub.append(Phrase("takes up", f"run {run.retry_of_id}", _href(run.retry_of_id)))
    if run.ended_at is not None:
        sub.append(Phrase("ended", at=run.ended_at))
    return sub


def _actions(run: Bulk, by: Actor, undoable: int) -> list[Action]:
    kind, href = KINDS[run.kind], _href(run.id)
    may, is_own = by.has(kind.roles), run.by_id == by.id
    offered = []
    if run.status == "RUNNING":
        explain = "There will be no file." if kind.part_of else "What is done stays done; the others stay as they are."
        offered.append(Action("cancel", "Stop", f"{href}cancel", explain, key="s"))
    if undoable and may and is_own:
        explain = f"{_counted(undoable, kind.nouns).capitalize()} will be as before, and nobody outside hears of it."
        offered.append(Action("undo", f"Undo {undoable:,}", f"{href}undo", explain, key="u"))
    if may and bulk.why_no_take_up(run) is None:
        label = f"Retry {run.failures:,} failed" if not run.left else f"Go on with {run.failures + run.left:,}"
        explain = "In a new run, of what failed and what was not reached."
        offered.append(Action("take-up", label, f"{href}take-up", explain, key="r"))
    return offered


def _progress(run: Bulk) -> dict[str, Any] | None:
    """How far it is, as `value` of `most` with a bar while that says anything, and in words."""
    if run.status == "PREPARED":
        return None
    is_undone = run.status in ("UNDOING", "UNDONE")
    value, most = (run.undone + run.kept, run.done) if is_undone else (run.reached, run.total)
    if run.status not in _MOVING:
        return {"value": value, "most": most, "has_bar": value < most, "said": _became(run)}
    said = f"{value:,} of {most:,} worked through" if value else "Waits for a worker"
    return {"value": value, "most": most, "has_bar": True, "said": said}


def _became(run: Bulk) -> str:
    """What a run that is over came to."""
    kind = KINDS[run.kind]
    counts = {
        "done" if kind.moves_money else kind.past: run.done,
        "skipped": run.skipped,
        "failed": run.failures,
        "not reached": run.left,
    }
    counts |= {"undone": run.undone, "not undone": run.kept}
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "Nothing was done"


def _became_of_refunds(became: Sequence[Became]) -> list[dict[str, Any]]:
    """What is now of the refunds that a run has begun, as facts that lead to the queue's list of each state."""
    return [
        {
            "status": some.status,
            "count": f"{some.count:,} {'refund' if some.count == 1 else 'refunds'}",
            "amount": Money(some.amount_minor, some.currency).json(),
            "href": f"/console/refunds/?status={some.status}",
        }
        for some in became
    ]


def _reason(run: Bulk) -> str | None:
    """Why it is done, as it will be kept with each row; None for what needs no reason."""
    reason, note = run.arguments.get("reason"), run.arguments.get("note")
    if not KINDS[run.kind].moves_money or not reason:
        return None
    words = refunds.REASONS.get(reason, reason)
    return f"{words}. {note}" if note else words


def _plan(run: Bulk, by: Actor) -> dict[str, Any]:
    """What starting it would do, and who may."""
    found, kind = bulk.preview(run), KINDS[run.kind]
    gone = run.total - found.will - sum(found.skipped.values())
    gone -= sum(found.refused.values())
    skipped = {**found.skipped, **({"Not there any more": gone} if gone else {})}
    return {
        "will": found.will,
        "title": f"{_counted(found.will, kind.nouns) if found.will else f'No {kind.nouns[0]}'} will be {kind.past}",
        "button": f"{kind.verb.capitalize()} {_counted(found.will, kind.nouns)}",
        "explain": kind.explain,
        "facts": found.facts,
        "left_out": [
            *(("Skipped", count, reason) for reason, count in skipped.items()),
            *(("Refused", count, reason) for reason, count in found.refused.items()),
        ],
        "to_type": _to_type(run, found),
        "start_href": f"{_href(run.id)}start" if run.by_id == by.id and by.has(kind.roles) else None,
        "cancel_href": f"{_href(run.id)}cancel",
        "is_own": run.by_id == by.id,
        "is_undoable": kind.undo_chunk is not None,
    }


def _results(run: Bulk) -> dict[str, Any] | None:
    """The rows that came out in one way, a page of them, and the ways there are; None before there are any."""
    counts = {
        "FAILED": run.failures,
        "KEPT": run.kept,
        "SKIPPED": run.skipped,
        "LEFT": run.left,
        "UNDONE": run.undone,
        "DONE": run.done,
    }
    shown = request.args.get("show", "")
    if shown and shown not in _OUTCOMES:
        raise Invalid.field("show", f"There are no rows that are {shown}.")
    after = request.args.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise Invalid.field("after", "This is not a place in this list.")
    # What went well is shown to who asks; and while rows still pass from one way to the other, so is what is left.
    ways = [name for name in _OUTCOMES if counts[name] and (name in _TOLD or run.status not in _MOVING)]
    shown = shown or next((name for name in ways if name in _TOLD), "")
    if not ways and not shown:
        return None
    return {
        "ways": [
            {"label": _OUTCOMES[name], "count": counts[name], "href": f"?show={name}", "is_shown": name == shown}
            for name in ways
        ],
        **(_rows(run, shown, int(after)) if shown else {}),
    }


def _rows(run: Bulk, shown: str, after: int) -> dict[str, Any]:
    noun = KINDS[run.kind].nouns[0].capitalize()
    found = bulk.rows(run, shown, after=after, most=_ROWS_SHOWN + 1)
    names = _names(KINDS[run.kind].table, [row_id for row_id, _ in found])
    columns = [Column("row", noun, "link"), Column("reason", "When its turn came")]
    return {
        "title": _OUTCOMES[shown],
        "columns": columns if shown in _TOLD else columns[:1],
        "rows": [
            line(_row_href(run, row_id), row=names.get(row_id, f"{noun} {row_id}"), reason=reason)
            for row_id, reason in found[:_ROWS_SHOWN]
        ],
        "more_href": f"?show={shown}&after={found[_ROWS_SHOWN - 1][0]}" if len(found) > _ROWS_SHOWN else None,
    }
