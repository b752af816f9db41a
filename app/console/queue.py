"""What every queue of the console stands on: items that wait for a decision, the most urgent first.

A queue names its model and its decisions. From those and the model's MOVES come the buttons, the keys and the bulk bar,
and what may be asked for at all; the verbs keep the rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

from flask import flash, redirect, request
from flask_admin import expose
from sqlalchemy import ColumnElement, Select, and_, func, not_, or_, select
from werkzeug.wrappers import Response

from app.accounts import claims
from app.audit import meanwhile, trail
from app.audit.actor import Actor
from app.bulk import service as bulk_runs
from app.bulk.kind import Ids
from app.console import session
from app.console.base import MAX_ID, saved
from app.console.counting import counted
from app.console.deciding import Deciding, Decision, given, seen, whole
from app.console.exports import ask_for_export, export_href
from app.console.formatting import status_label
from app.console.record import Fact, Group, Phrase, Record
from app.console.standing import Standing, Urgency, mark
from app.errors import Conflict, Invalid, NotAllowed, NotFound
from app.extensions import Model, db

# What a queue is made of, from here.
__all__ = ["Decision", "QueueView", "Urgency"]

# A page that only looks whether something changed says so; it is no sign that somebody reads it.
LOOKING_AGAIN = "X-Looking-Again"
# How many of the following items are tried to be claimed before one is opened that a colleague has.
_TRIED = 5
# Of many items at once, so many are named.
_NAMED = 5


class QueueView(Deciding):
    """The items of one model that wait for a decision. A subclass names its `decisions`; the rest has defaults."""

    urgency: ClassVar[Sequence[Urgency]] = ()
    # The column that says since when an item waits, and from when on that is a reason by itself.
    since: ClassVar[str] = "created_at"
    patience: ClassVar[timedelta] = timedelta(days=2)
    # Tables whose rows are shown as parts of an item, and the column of each that names it.
    parts: ClassVar[Sequence[tuple[type[Model], str]]] = ()
    # An item's page; one of the queue's own extends this one.
    item_template: ClassVar[str] = "console/queue/item.html"
    # How an item's history is told, as for `trail.moments`.
    titles: ClassVar[Mapping[str, trail.Title]] = {}
    # States whose items were dealt with, and which of them need somebody again all the same.
    come_back: ClassVar[Mapping[str, Callable[[], ColumnElement[bool]]]] = {}
    # What has some words is not at hand like what waits: it is found by looking for it.
    found_cap = 1_000

    # ---- what a subclass may say ----

    def item_query(self) -> Select[Any]:
        """The items, with what the page of one needs."""
        return self.query()

    def prepare(self, rows: Sequence[Any]) -> None:
        """Read what cells and urgencies need, for all rows of a page at once."""

    def cells(self, row: Any) -> dict[str, Any]:
        """A row's cells by column key; the columns of the same names unless a subclass says otherwise."""
        return {column.key: getattr(row, column.key) for column in self.columns}

    def heading(self, row: Any) -> str:
        """What an item is called."""
        return str(self.cells(row)[self.columns[0].key])

    def text(self, row: Any) -> str | None:
        """What has to be read to decide."""
        return None

    def sub(self, row: Any) -> Sequence[Phrase]:
        """The line under an item's title."""
        return ()

    def facts(self, row: Any) -> Sequence[Group]:
        """What else there is to know about an item."""
        cells = self.cells(row)
        return [Group("Facts", [Fact(column.label, cells[column.key], column.kind) for column in self.columns[1:]])]

    def context(self, row: Any) -> dict[str, Any]:
        """What else an item's page shows, where its template is one of the queue's own."""
        return {}

    def locked_first(self, row: Any) -> tuple[type[Model], int] | None:
        """The row that the decisions' verbs lock before an item's own, if they do."""
        return None

    def just_decided(self, by: Actor) -> Sequence[Any]:
        """The items that `by` decided on last, all in one go, as long as that can be undone."""
        return ()

    def href(self, row: Any) -> str:
        """An item's page."""
        return self._address(row.id)

    @property
    def _standing(self) -> Standing:
        return Standing(self.model, self.since, self.urgency, self.patience, self.parts)

    # ---- what others see of it ----

    def waits(self) -> Select[Any]:
        """The ids of everything that waits or has come back, by an index of the status."""
        back = [and_(self.model.status == state, needs_somebody()) for state, needs_somebody in self.come_back.items()]
        return select(self._standing.key).where(or_(self.model.status == self.waiting, *back))

    def _back_in(self, state: str) -> int:
        """How much of what is in a state has come back."""
        if state not in self.come_back:
            return 0
        found = select(self._standing.key).where(self.model.status == state, self.come_back[state]())
        return counted(found, self.count_cap)

    def waits_since(self) -> datetime | None:
        """Since when the first of them waits."""
        since: ColumnElement[datetime] = getattr(self.model, self.since)
        return db.session.scalar(self.waits().with_only_columns(since).order_by(self._standing.key).limit(1))

    def mark(self, ids: Sequence[int]) -> str:
        """What a page that shows these items would show of them now, in a few letters: another one when any of them
        was changed, or is looked at by somebody else.
        """
        return mark(self._standing.versions(ids), claims.of(self.model, ids))

    # ---- the list ----

    @expose("/")  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """What waits; with a `status`, what is in that state, newest first."""
        by = session.actor()
        if self._may_decide(by) and not request.headers.get(LOOKING_AGAIN):
            claims.let_go(self.model, by=by)
        return self._list(by)

    def _list(self, by: Actor, *, refused: str | None = None, picked: Collection[int] = ()) -> str:
        status, chosen, words, asked = self._asked()
        narrowed = self._narrowed(chosen, words, status)
        is_waiting = status == self.waiting
        found = self._standing.page(narrowed, request.args.get("after"), self.page_size + 1, is_waiting=is_waiting)
        more, found = len(found) > self.page_size, found[: self.page_size]
        is_onwards = "after" in request.args
        rows = [row for row, _, _ in found]
        self.prepare(rows)
        held = claims.of(self.model, [row.id for row in rows])
        offered = {row.id: [decision.name for decision in self.offered(row, by)] for row in rows}
        here, narrowed_to = self._address(), f"?{urlencode(asked)}" if asked else ""
        lines = [
            {
                "id": row.id,
                "href": f"{here}{row.id}/{narrowed_to}",
                "heading": self.heading(row),
                "cells": self.cells(row),
                "reasons": self._standing.reasons(row, holding) if is_waiting else (),
                "claim": held.get(row.id),
                "offered": offered[row.id],
                "is_picked": row.id in picked,
            }
            for row, _, holding in found
        ]
        many = [decision for decision in self.decisions if decision.is_for_many and by.has(decision.may)]
        return str(
            self.render(
                "console/queue/list.html",
                title=self.title,
                intro=self.intro,
                columns=self.columns,
                lines=lines,
                is_waiting=is_waiting,
                states=[
                    {
                        "label": self._state(state),
                        "back": self._back_in(state),
                        "href": self._address(asked={**asked, "status": state}),
                        "is_current": state == status,
                    }
                    for state in self.model.MOVES
                ],
                status=status if not is_waiting else "",
                bulk_href=self._address("bulk", asked=self._here()),
                bulk=[decision for decision in many if any(decision.name in names for names in offered.values())],
                takes_all=is_waiting and any(decision.run for decision in many),
                search={"value": words, "placeholder": self.search_hint} if self.search_hint else None,
                filters=[(choice, chosen[choice.name]) for choice in self.filters],
                chips=self._chips(chosen, words, asked),
                first_href=self._address(asked=asked) if request.args.get("after") else None,
                more_href=self._address(asked={**asked, "after": str(rows[-1].id)}) if more else None,
                count_label=self._how_many(narrowed, status, words) if more or is_onwards else self._counted(len(rows)),
                export_href=export_href(self, asked) if rows else None,
                empty=self._nothing(status, bool(words or any(chosen.values()))),
                undo=self._undo(by),
                refused=refused,
                me=by.id,
                live={
                    "queue": self.endpoint,
                    "page": self._address(asked=self._here()),
                    "ids": [row.id for row in rows],
                    "mark": mark({row.id: version for row, version, _ in found}, held),
                },
            )
        )

    def _asked(self) -> tuple[str, dict[str, str], str, dict[str, str]]:
        """The state, filters and words that the list is narrowed to, and all of them as the address has them."""
        status = request.args.get("status", "").strip() or self.waiting
        if status not in self.model.MOVES:
            raise Invalid.field("status", f"There is no state {status}.")
        chosen, words = self._chosen(), self._words()
        shown = {**chosen, "q": words, "status": status if status != self.waiting else ""}
        return status, chosen, words, {name: value for name, value in shown.items() if value}

    def _narrowed(self, chosen: Mapping[str, str], words: str, status: str) -> Select[Any]:
        query = self._filtered(self.query().where(self.model.status == status), chosen)
        return self.search(query, words) if words else query

    def _how_many(self, narrowed: Select[Any], status: str, words: str) -> str:
        most = self.found_cap if words else self.count_cap
        counted = narrowed.with_only_columns(self._standing.key, maintain_column_froms=True).limit(most + 1)
        if words:
            # So that the planner takes the same way as for the page: without an order it bets on the index of words,
            # which for a common one has most of the table.
            counted = counted.order_by(*self._order(status))
        count = db.session.scalar(select(func.count()).select_from(counted.subquery())) or 0
        return f"{most:,}+ {self._nouns()[1]}" if count > most else self._counted(count)

    def _order(self, status: str) -> list[ColumnElement[Any]]:
        return self._standing.order if status == self.waiting else self._standing.newest_first

    def _state(self, status: str) -> str:
        return "Waiting" if status == self.waiting else status_label(status)

    def _nothing(self, status: str, is_narrowed: bool) -> dict[str, str]:
        if is_narrowed:
            hint = "Take a filter away, or search for something else."
            everything = self._address(asked={"status": status} if status != self.waiting else None)
            return {"title": f"No {self._nouns()[1]} match", "hint": hint, "href": everything, "action": "Show all"}
        if status == self.waiting:
            return {"title": "Nothing waits", "hint": self.empty_hint}
        return {"title": f"No {self._nouns()[1]} here", "hint": f"Nothing is {status_label(status).lower()}."}

    # ---- an item ----

    def _others(self, row: Any, by: Actor, most: int, *, backwards: bool = False) -> list[int]:
        """The ids of what comes after an item, or before it, that no colleague is looking at."""
        _, chosen, words, _ = self._asked()
        waiting = (
            self._narrowed(chosen, words, self.waiting)
            .with_only_columns(self._standing.key, maintain_column_froms=True)
            .where(self._standing.key != row.id, not_(claims.is_somebody_elses(self.model, by=by)))
        )
        return self._standing.around(row.id, waiting, most, backwards=backwards)

    @expose("/<int:row_id>/")  # type: ignore[untyped-decorator]
    def show(self, row_id: int) -> str:
        """One item, with what comes before and after it. Opening it claims it."""
        return self._item(self._find(row_id), session.actor())

    def _item(self, row: Any, by: Actor, *, refusal: Mapping[str, Any] | None = None) -> str:
        _, chosen, words, asked = self._asked()
        self.prepare([row])
        offered = self.offered(row, by)
        is_waiting = row.status == self.waiting
        if is_waiting and offered and not request.headers.get(LOOKING_AGAIN):
            claims.take(self.model, row.id, by=by)
        version, holding = self._standing.of(row.id)
        held = claims.of(self.model, [row.id])
        following, preceding = self._others(row, by, 1), self._others(row, by, 1, backwards=True)
        entry, narrowed = meanwhile.newest(row), self._narrowed(chosen, words, self.waiting)
        return str(
            self.render(
                self.item_template,
                record=Record(
                    title=self.heading(row),
                    status=row.status,
                    lead=self._what_happened([row.id]).get(row.id) if not is_waiting else None,
                    sub=self.sub(row),
                    facts=self.facts(row),
                    timeline=list(trail.moments({self.model.__tablename__: [row.id]}, titles=self.titles)),
                ),
                up={"label": self.title, "href": self._address(asked=asked)},
                text=self.text(row),
                reasons=self._standing.reasons(row, holding) if is_waiting else (),
                decisions=[(decision, self._address(row.id, decision.name, asked=asked)) for decision in offered],
                why_not={decision.name: decision.why_not(row) for decision in offered if decision.why_not},
                seen=entry.id if entry else 0,
                claim=held.get(row.id) if is_waiting else None,
                claim_href=self._address(row.id, "claim") if is_waiting and offered else None,
                next_href=self._address(following[0], asked=asked) if following else None,
                previous_href=self._address(preceding[0], asked=asked) if preceding else None,
                waiting_label=f"{self._how_many(narrowed, self.waiting, words)} waiting",
                undo=self._undo(by, but=row),
                refusal=refusal,
                me=by.id,
                live={
                    "queue": self.endpoint,
                    "page": self._address(row.id, asked=asked),
                    "ids": [row.id],
                    "mark": mark({row.id: version}, held),
                },
                **self.context(row),
            )
        )

    def _find(self, row_id: int) -> Any:
        # Read afresh: what a verb did to it, or a colleague meanwhile, is seen.
        wanted = self.item_query().where(self._standing.key == row_id).execution_options(populate_existing=True)
        row = db.session.scalar(wanted) if row_id <= MAX_ID else None
        if row is None:
            raise NotFound(f"There is no {self._nouns()[0]} with this id.")
        return row

    def _what_happened(self, ids: Collection[int]) -> Mapping[int, str]:
        """What was done last to each of these items, in a sentence."""
        rows = db.session.scalars(select(self.model).where(self._standing.key.in_(ids)))
        entries = {row.id: meanwhile.newest(row) for row in rows}
        return {row_id: meanwhile.told(entry, titles=self.titles) for row_id, entry in entries.items() if entry}

    def _address(self, *parts: int | str, asked: Mapping[str, str] | None = None) -> str:
        """The list, an item of it, or an action; with what the list is narrowed to."""
        path = "/".join((self.url.rstrip("/"), *map(str, parts)))
        # Pages end with a slash, actions with their name.
        page = "" if parts and isinstance(parts[-1], str) else "/"
        return f"{path}{page}?{urlencode(asked)}" if asked else f"{path}{page}"

    def _here(self) -> dict[str, str]:
        """What the list is narrowed to, and where in it one is."""
        place = {name: request.args[name] for name in ("after", "before") if request.args.get(name)}
        return {**self._asked()[-1], **place}

    @expose("/<int:row_id>/claim", methods=["POST"])  # type: ignore[untyped-decorator]
    def claim(self, row_id: int) -> Response:
        """The page is open and somebody is at work on it."""
        by = session.actor()
        row = self._find(row_id)
        if not self._may_decide(by):
            raise NotAllowed("Your role decides nothing here.")
        if row.status == self.waiting:
            claims.take(self.model, row.id, by=by)
        return redirect(self._address(row_id))

    @expose("/<int:row_id>/<decision>", methods=["POST"])  # type: ignore[untyped-decorator]
    def decide(self, row_id: int, decision: str) -> Response | tuple[str, int]:
        """Decide, and go on to the next item. Where something happened to it meanwhile, that is said and no more."""
        chosen, by = self._decision(decision), session.actor()
        by.require(*chosen.may)
        row, asked = self._find(row_id), self._asked()[-1]
        try:
            parent = self.locked_first(row)
            with meanwhile.as_seen(self.model, row_id, seen(), titles=self.titles, parent=parent):
                chosen.verb(row_id, by=by, **given(chosen))
        except Conflict as conflict:
            flash(f"{conflict.detail} Nothing was changed.", "refused")
            return redirect(self._address(row_id, asked=asked))
        except Invalid as refusal:
            said = {"detail": refusal.detail, "decision": chosen.name, "typed": request.form}
            return self._item(self._find(row_id), by, refusal=said), refusal.status
        saved()
        row = self._find(row_id)
        if not self.just_decided(by):
            # Where it stays in its state until a worker comes, that isn't what was done.
            is_as_asked = row.status in (chosen.to, *chosen.sources)
            became = (is_as_asked and chosen.said) or self._state(row.status)
            flash(f"{became}: {self.heading(row)}", "done")
        return redirect(self._address(row_id, asked=asked) if chosen.to == self.waiting else self._go_on_from(row, by))

    def _go_on_from(self, row: Any, by: Actor) -> str:
        """The next item, claimed already, so that two people who decide at once don't get the same one."""
        asked = self._asked()[-1]
        for next_id in self._others(row, by, _TRIED):
            if claims.take(self.model, next_id, by=by).user_id == by.id:
                return self._address(next_id, asked=asked)
        claims.let_go(self.model, by=by)
        return self._address(asked=asked)

    # ---- many at once ----

    @expose("/bulk", methods=["POST"])  # type: ignore[untyped-decorator]
    def decide_many(self) -> Response | str | tuple[str, int]:
        """Decide on all that were picked, after a page that asks for the reason where one is needed; says how many it
        was and what became of the others.
        """
        decision, by = self._decision(request.form.get("decision", "")), session.actor()
        by.require(*decision.may)
        if not decision.is_for_many:
            raise NotFound("This is decided one by one.")
        ids = [whole(value, "id") for value in request.form.getlist("id")]
        if "all" in request.form and decision.run:
            return self._decide_on_all(decision, by)
        if not ids or len(ids) > self.page_size:
            return self._list(by, refused=f"Pick 1 to {self.page_size} lines first.", picked=ids), Invalid.status
        if decision.asks and "asked" not in request.form:
            return self._ask(decision, ids)
        if decision.many is None:
            return self._prepare(decision, ids, by)
        try:
            moved = set(decision.many(ids, by=by, **given(decision)))
        except Invalid as refusal:
            return self._ask(decision, ids, error=refusal.detail), refusal.status
        if moved and not self.just_decided(by):
            flash(f"{decision.said or self._state(decision.to)}: {self._counted(len(moved))}", "done")
        if others := [row_id for row_id in ids if row_id not in moved]:
            flash(self._passed_over(others), "refused")
        line = request.form.get("line", "")
        place = f"#line-{line}" if re.fullmatch("[0-9]{1,3}", line) else ""
        return redirect(self._address(asked=self._here()) + place)

    def _decide_on_all(self, decision: Decision, by: Actor) -> Response | str | tuple[str, int]:
        if decision.asks and "asked" not in request.form:
            return self._ask(decision, [])
        _, chosen, words, _ = self._asked()
        ids = self._narrowed(chosen, words, self.waiting).with_only_columns(
            self._standing.key, maintain_column_froms=True
        )
        return self._prepare(decision, ids, by)

    def _prepare(self, decision: Decision, ids: Ids, by: Actor) -> Response | str | tuple[str, int]:
        """Keep the set as it is now, and lead to the page that says what will be done to it."""
        try:
            prepared = bulk_runs.freeze(decision.run or "", ids, by=by, arguments=given(decision))
        except Invalid as refusal:
            if not decision.asks:
                return self._list(by, refused=refusal.detail), refusal.status
            picked = [] if isinstance(ids, Select) else list(ids)
            return self._ask(decision, picked, error=refusal.detail), refusal.status
        return redirect(f"/console/bulk/{prepared.id}/")

    @expose("/export", methods=["POST"])  # type: ignore[untyped-decorator]
    def export(self) -> Response:
        """Keep all that match, to be exported as CSV, and lead to the page that says what that will be."""
        status, chosen, words, asked = self._asked()
        places = self._narrowed(chosen, words, status).with_only_columns(
            self._standing.key.label("id"),
            func.row_number().over(order_by=self._order(status)).label("place"),
            maintain_column_froms=True,
        )
        chips = [{"label": f"State: {self._state(status)}"}, *self._chips(chosen, words, asked)]
        return ask_for_export(self, places, None, chips)

    def _ask(self, decision: Decision, ids: Sequence[int], error: str | None = None) -> str:
        """The page that asks for the reason; without any ids it is about all that match."""
        first = self.query().where(self._standing.key.in_(ids)).order_by(self._standing.key).limit(_NAMED)
        headings = [self.heading(row) for row in db.session.scalars(first)]
        _, chosen, words, _ = self._asked()
        matching = self._narrowed(chosen, words, self.waiting)
        about = self._counted(len(ids)) if ids else self._how_many(matching, self.waiting, words)
        return str(
            self.render(
                "console/queue/ask.html",
                heading=f"{decision.label} {about}",
                decision=decision,
                ids=ids,
                headings=headings,
                more=len(ids) - len(headings),
                line=request.form.get("line", ""),
                bulk_href=self._address("bulk", asked=self._here()),
                up={"label": self.title, "href": self._address(asked=self._here())},
                typed=request.form,
                error=error,
            )
        )

    def _passed_over(self, ids: Sequence[int]) -> str:
        shown = ids[:_NAMED]
        rows = self.query().where(self._standing.key.in_(shown)).execution_options(populate_existing=True)
        happened = self._what_happened(shown)
        said = [f"{self.heading(row)}: {happened.get(row.id, '')}" for row in db.session.scalars(rows)]
        more = f" And {len(ids) - len(shown):,} more." if len(ids) > len(shown) else ""
        return f"Not changed, as something else happened meanwhile: {self._counted(len(ids))}. {' '.join(said)}{more}"

    def _undo(self, by: Actor, but: Any = None) -> dict[str, Any] | None:
        """What the person decided last, and the form that takes it back."""
        rows = self.just_decided(by) if self._may_decide(by) else ()
        # On its own page, an item has the button among its others.
        if not rows or (but is not None and [row.id for row in rows] == [but.id]):
            return None
        what = self.heading(rows[0]) if len(rows) == 1 else self._counted(len(rows))
        return {
            "words": f"{status_label(rows[0].status)}: {what}",
            "href": self._address(*([rows[0].id, "undo"] if len(rows) == 1 else ["bulk"]), asked=self._asked()[-1]),
            "ids": [row.id for row in rows],
            "until": rows[0].undo_until,
            "seen": entry.id if len(rows) == 1 and (entry := meanwhile.newest(rows[0])) else 0,
        }
