"""What every console page stands on: the parts of a page, and the list of a model's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlencode

from flask import flash, redirect, request
from flask_admin import expose
from sqlalchemy import ColumnElement
from werkzeug.wrappers import Response

from app.accounts import recent, saved_views
from app.console import history, session
from app.console.exports import ask_for_export, export_href
from app.console.listing import Listing, Rows
from app.console.ordering import Order
from app.console.page import ADMIN, EVERYBODY, FINANCE, MAX_ID, Column, Filter, ListPage, Page, line
from app.console.record import Record
from app.console.words import letters_in
from app.errors import Invalid, NotFound
from app.extensions import Model, db

# What pages are made of, from here.
__all__ = [
    "ADMIN",
    "EVERYBODY",
    "FINANCE",
    "MAX_ID",
    "Column",
    "Filter",
    "ListPage",
    "Page",
    "RecordView",
    "done",
    "find",
    "line",
    "reason_given",
    "saved",
]

_MOST_CHARACTERS = 2000

# Ascending and descending.
_WAYS = {
    "text": ("A to Z", "Z to A"),
    "day": ("earliest first", "latest first"),
    "number": ("smallest first", "largest first"),
}

T = TypeVar("T", bound=Model)


class RecordView(ListPage):
    """A list of one model's rows, paged by key: page 10,000 costs what page 1 does. Newest first, or as a header sorts.

    A subclass names the model, its columns and filters, and turns a row into cells. It reads only; every change is a
    verb with a route of its own.
    """

    template: ClassVar[str] = "console/list.html"

    def match(self, words: str) -> ColumnElement[bool] | None:
        """Which rows have the words, where they are parts of a text, of which many rows may have some. Takes the place
        of `search`; `Listing` says how they are found.
        """
        return None

    def cells(self, row: Any) -> dict[str, Any]:
        """A row's cells by column key."""
        raise NotImplementedError

    def href(self, row: Any) -> str | None:
        """Where a row leads."""
        return None

    def lines(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """A page's rows as the table takes them; overridden where what the cells need is read for all rows at once."""
        return [line(self.href(row), **self.cells(row)) for row in rows]

    def context(self) -> dict[str, Any]:
        """What else the list's template shows, where it is one of the page's own."""
        return {}

    def render_record(self, record: Record, template: str = "console/record.html", **more: Any) -> str:
        """One record's page."""
        up = {"label": self.title, "href": self.url.rstrip("/") + "/"}
        if record.about is not None and history.is_asked_for():
            told = history.page_of(record, {page.endpoint for page in self.open_pages()})
            return str(self.render("console/history.html", record=record, up=up, **told))
        if isinstance(record.about, self.model):
            recent.note(session.actor().id or 0, self.endpoint, record.about.id)  # type: ignore[attr-defined]  # every row of a page has one
        return str(self.render(template, record=record, up=up, **more))

    @expose("/")  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """One page of the list."""
        chosen, words, columns, asked = self._asked()
        order, sorted_by = self._order()
        listing = self._listing(chosen, words, order)
        page = self._page(listing)
        return str(
            self.render(
                self.template,
                title=self.title,
                intro=self.intro,
                columns=columns,
                choices=[{"column": column, "is_chosen": column in columns} for column in self.columns[1:]],
                sorts=self._sorts(order, sorted_by, asked),
                export_href=export_href(self, asked) if page.all else None,
                sorted_by=_sort_name(sorted_by, descending=order.descending) if sorted_by else "",
                goto=_goto(sorted_by),
                asked=asked,
                views=self._views(asked),
                rows=self.lines(page.all),
                search={"value": words, "placeholder": self.search_hint} if self.search_hint else None,
                filters=[self._filter(choice, chosen[choice.name]) for choice in self.filters],
                chips=self._chips(chosen, words, asked),
                pager=_pager(page, order, asked),
                count_label=self._count_label(listing),
                empty=self._empty(any(chosen.values()) or bool(words), words),
                **self.context(),
            )
        )

    @expose("/export", methods=["POST"])  # type: ignore[untyped-decorator]
    def export(self) -> Response:
        """Keep all rows that match, to be exported as CSV, and lead to the page that says what that will be."""
        chosen, words, columns, asked = self._asked()
        listing = self._listing(chosen, words, self._order()[0])
        keys = [column.key for column in columns]
        return ask_for_export(self, listing.places(), keys, self._chips(chosen, words, asked))

    def _address(self, *, asked: Mapping[str, str]) -> str:
        return _href(asked)

    def _asked(self) -> tuple[dict[str, str], str, list[Column], dict[str, str]]:
        """The filters, words and columns that were chosen, and all of it as the address has it."""
        chosen, words, columns = self._chosen(), self._words(), self._columns_chosen()
        asked = {**chosen, "q": words, "sort": self._sort_asked(), "columns": self._columns_asked(columns)}
        return chosen, words, columns, {name: value for name, value in asked.items() if value}

    def _listing(self, chosen: dict[str, str], words: str, order: Order) -> Listing:
        query = self._filtered(self.query(), chosen)
        match = self.match(words) if words else None
        return Listing(self.search(query, words) if words and match is None else query, order, match)

    def _page(self, listing: Listing) -> Rows:
        order, goto = listing.order, request.args.get("goto", "").strip()
        for name in ("after", "before"):
            if name in request.args:
                greater = name == "after"
                beyond = order.beyond(order.place(name, request.args[name]), greater=greater)
                return listing.page(self.page_size, beyond, backwards=greater == order.descending)
        return listing.page(self.page_size, order.onwards(goto) if goto else None, is_place=False)

    def _order(self) -> tuple[Order, Column | None]:
        """How the list is sorted and by which column; without being asked the newest come first."""
        key: ColumnElement[int] = self.model.__table__.c.id
        asked = self._sort_asked()
        if not asked:
            newest = self._newest_first()
            return Order(key, newest.sort if newest else None), newest
        name = asked.removeprefix("-")
        column = next((column for column in self.columns if column.sort and column.key == name), None)
        if column is None:
            raise Invalid.field("sort", f"This list can't be sorted by {name}.")
        return Order(key, column.sort, descending=asked.startswith("-")), column

    def _newest_first(self) -> Column | None:
        return next((column for column in self.columns if column.sort and column.sort.follows_id), None)

    def _sort_asked(self) -> str:
        """The order asked for, with a minus where it is descending; empty for the one that needn't be asked for."""
        asked, newest = request.args.get("sort", "").strip(), self._newest_first()
        return "" if newest and asked == _sort_name(newest, descending=True) else asked

    def _sorts(self, order: Order, sorted_by: Column | None, asked: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Where the headers lead that sort, by column: to the other way where the list is sorted by it already."""
        sorts = {}
        for column in self.columns:
            if column.sort is None:
                continue
            is_sorted = column is sorted_by
            down = not order.descending if is_sorted else column.sort.kind != "text"
            sorts[column.key] = {
                "label": column.label,
                "href": _href({**asked, "sort": _sort_name(column, descending=down)}),
                "options": [
                    (_sort_name(column, descending=way == 1), words)
                    for way, words in enumerate(_WAYS[column.sort.kind])
                ],
                "way": ("descending" if order.descending else "ascending") if is_sorted else None,
            }
        return sorts

    def _columns_chosen(self) -> list[Column]:
        """The first column, and the others that were chosen; a name that isn't known any more is passed over."""
        asked = {key for keys in request.args.getlist("columns") for key in keys.split(",")}
        chosen = [column for column in self.columns[1:] if (column.key in asked if asked else column.is_usual)]
        return [self.columns[0], *chosen]

    def _columns_asked(self, columns: Sequence[Column]) -> str:
        is_usual = all((column in columns) is column.is_usual for column in self.columns[1:])
        return "" if is_usual else ",".join(column.key for column in columns)

    def _views(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """The views of this list that whoever looks at it has saved, and what saving this one would keep."""
        query = urlencode(asked)
        saved = saved_views.of(session.actor(), self.endpoint)
        views = [{"name": view.name, "href": f"?{view.query}", "is_shown": view.query == query} for view in saved]
        return {"page": self.endpoint, "query": query, "saved": views}

    def _count_label(self, listing: Listing) -> str:
        count, is_exact = listing.count(self.count_cap)
        if is_exact:
            return self._counted(count)
        many = self._nouns()[1]
        return f"{self.count_cap:,}+ {many}" if count == self.count_cap else f"About {count:,} {many}"

    @staticmethod
    def _filter(choice: Filter, value: str) -> dict[str, Any]:
        options = [
            {"value": "", "label": "Any"},
            *({"value": option, "label": label} for option, label in choice.options.items()),
        ]
        return {
            "name": choice.name,
            "label": choice.label,
            "value": value,
            "kind": choice.kind,
            "options": options,
            "hint": choice.hint,
        }

    def _empty(self, narrowed: bool, words: str) -> dict[str, str]:
        if narrowed:
            searchable = not words or letters_in(words)
            return {
                "title": f"No {self._nouns()[1]} match",
                "hint": "Take a filter away, or search for something else."
                if searchable
                else "There is nothing to search for: type letters or digits.",
                "href": "?",
                "action": "Show all",
            }
        return {"title": f"No {self._nouns()[1]} yet", "hint": self.empty_hint}


def _sort_name(column: Column, *, descending: bool) -> str:
    return f"-{column.key}" if descending else column.key


def _href(asked: Mapping[str, str]) -> str:
    return "?" + urlencode(asked)


def _pager(page: Rows, order: Order, asked: Mapping[str, str]) -> list[dict[str, Any]]:
    """The ways to the pages around: what the direction is called, and where it leads if there is one."""
    by_time = order.sort is None or order.sort.follows_id
    back, on = ("Newer", "Older") if by_time else ("Back", "On")
    if by_time and not order.descending:
        back, on = on, back
    onwards, backwards = ("before", "after") if order.descending else ("after", "before")
    return [
        {"label": back, "rel": "prev", "href": _href({**asked, backwards: page.back}) if page.back else None},
        {"label": on, "rel": "next", "href": _href({**asked, onwards: page.on}) if page.on else None},
    ]


def _goto(sorted_by: Column | None) -> dict[str, str] | None:
    """The field that leads to a place in the order: a day, the beginning of a word, a number."""
    if sorted_by is None or sorted_by.sort is None:
        return None
    return {"label": sorted_by.label, "kind": sorted_by.sort.kind, "value": request.args.get("goto", "").strip()}


def find(model: type[T], row_id: int, what: str) -> T:
    """The row a record's page is about; raises NotFound, which calls it `what`."""
    row = db.session.get(model, row_id) if row_id <= MAX_ID else None
    if row is None:
        raise NotFound(f"There is no {what} with this id.")
    return row


def reason_given() -> str:
    """The reason a dialog was sent with, its note behind it. Raises Invalid for a note or reason that is too long;
    whether one is needed is the verb's to say.
    """
    reason, note = request.form.get("reason", "").strip(), request.form.get("note", "").strip()
    for name, value in (("reason", reason), ("note", note)):
        if len(value) > _MOST_CHARACTERS:
            raise Invalid.field(name, f"Use at most {_MOST_CHARACTERS:,} characters.")
    return f"{reason}. {note}" if note else reason


def done(words: str, href: str) -> Response:
    """Lead on to a page that says what was done."""
    flash(words, "done")
    saved()
    return redirect(href)


def saved() -> None:
    """Have the next page tell the browser that what was sent to this address is kept, so that its draft can go."""
    flash(request.path, "saved")
