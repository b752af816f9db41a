"""What a page of the console says of itself: who may open it; and of one that lists rows, what they are called, how
they are shown, and what narrows them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar, Literal

from flask import request
from flask_admin import BaseView
from sqlalchemy import ColumnElement, Select, select
from werkzeug.wrappers import Response

from app.accounts.models import ROLES
from app.console import session
from app.console.ordering import Sort
from app.db import utcnow
from app.errors import Invalid, NotAllowed
from app.extensions import Model

EVERYBODY = frozenset(ROLES)
ADMIN = frozenset({"admin"})
FINANCE = frozenset({"finance", "admin"})
# PostgreSQL's bigint: what can't be an id isn't looked for.
MAX_ID = 2**63 - 1
# Nothing was sold before.
EARLIEST = date(2000, 1, 1)


class Page(BaseView):  # type: ignore[misc]  # Flask-Admin is not typed
    """A page of the console. `roles` may open it; the menu shows it to them alone. No roles, no entry."""

    roles: ClassVar[frozenset[str]] = frozenset()
    icon: ClassVar[str] = "circle-dot"
    # What can be done from here, for the search box: what it is called, where it is, and other words for it.
    commands: ClassVar[Sequence[tuple[str, str, str]]] = ()

    def is_accessible(self) -> bool:
        """Whether whoever is signed in holds one of the page's roles."""
        person = session.person()
        return person is not None and self.is_open_to(person.roles)

    def is_open_to(self, roles: frozenset[str]) -> bool:
        """Whether one of these roles may open it."""
        return not self.roles.isdisjoint(roles)

    def open_pages(self) -> list[Page]:
        """Every page of the console that whoever is signed in may open."""
        person = session.person()
        pages = (page for page in self.admin._views if isinstance(page, Page))
        return [page for page in pages if page.is_open_to(person.roles)] if person else []

    def inaccessible_callback(self, name: str, **arguments: Any) -> Response:
        """Sent to sign in, or told that their role may not."""
        session.actor()
        raise NotAllowed("Your role may not open this page.")


@dataclass(frozen=True)
class Column:
    """One column of a list; `kind` decides how its values are written (see `templates/console/_parts.html`)."""

    key: str
    label: str
    kind: Literal["text", "link", "chip", "money", "sum", "time", "day", "number", "mono"] = "text"
    align: Literal["left", "right"] = "left"
    # What its header sorts by.
    sort: Sort | None = None
    # Otherwise only who chooses it sees it.
    is_usual: bool = True


def line(href: str | None = None, **cells: Any) -> dict[str, Any]:
    """A row of a table: its cells by the keys of the columns, and where it leads."""
    return {"href": href, "cells": cells}


@dataclass(frozen=True)
class Filter:
    """What narrows a list: a choice among `options`, or something typed in.

    Without `where`, it is compared with the model's column of the same name. `where` is given what was chosen or typed:
    text, a number as int, a day as the time it begins at in UTC. A record (its id) and what is `linked` (text) are
    never typed: links set them.
    """

    name: str
    label: str
    options: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["choice", "text", "number", "day", "record", "linked"] = "choice"
    where: Callable[[Any], ColumnElement[bool]] | None = None
    hint: str = ""

    def parse(self, value: str) -> str | int | datetime:
        """What was chosen or typed, as `where` takes it. Raises Invalid by field."""
        if self.kind == "choice" and value not in self.options:
            raise Invalid.field(self.name, f"There is no {self.label.lower()} {value}.")
        if self.kind in ("number", "record"):
            return _number(self.name, value, f"{self.label} is a whole number.")
        if self.kind == "day":
            try:
                day = date.fromisoformat(value)
            except ValueError:
                day = date.min
            # The calendar's first and last years leave no room to look around them.
            if not date.min.year < day.year < date.max.year:
                raise Invalid.field(self.name, f"{self.label} is a day such as 2026-11-22.")
            return datetime.combine(day, time(), UTC)
        return value

    def in_words(self, value: str) -> str:
        """The filter with what it is set to."""
        return f"{self.label}: {self.options.get(value, value)}"


class ListPage(Page):
    """A page that lists rows of one model. A subclass names the model, its columns and filters."""

    model: ClassVar[type[Model]]
    title: ClassVar[str]
    # One and many of them, for counts and empty lists; left out, the title's.
    noun: ClassVar[tuple[str, str] | None] = None
    intro: ClassVar[str] = ""
    columns: ClassVar[Sequence[Column]]
    filters: ClassVar[Sequence[Filter]] = ()
    search_hint: ClassVar[str | None] = None
    empty_hint: ClassVar[str] = ""
    # What its rows are exported as (`app/bulk/exports.py`); a list without it can't be.
    exported_as: ClassVar[str] = ""
    page_size = 50
    # Counting goes no further: beyond, a list says about how many there are and stays quick.
    count_cap = 10_000

    def query(self) -> Select[Any]:
        """The rows, with what the cells need."""
        return select(self.model)

    def search(self, query: Select[Any], words: str) -> Select[Any]:
        """Narrow the query to what the words find, through an index, where they are something whole: a reference."""
        raise NotImplementedError

    def _address(self, *, asked: Mapping[str, str]) -> str:
        """The list, narrowed to what is asked for."""
        raise NotImplementedError

    def _chosen(self) -> dict[str, str]:
        """What each filter is set to, empty where it is not."""
        return {choice.name: request.args.get(choice.name, "").strip() for choice in self.filters}

    def _words(self) -> str:
        """What is searched for; empty in a list that isn't searched."""
        return request.args.get("q", "").strip() if self.search_hint else ""

    def _filtered(self, query: Select[Any], chosen: Mapping[str, str]) -> Select[Any]:
        for choice in self.filters:
            if chosen[choice.name]:
                value = choice.parse(chosen[choice.name])
                query = query.where(choice.where(value) if choice.where else getattr(self.model, choice.name) == value)
        return query

    def _chips(self, chosen: Mapping[str, str], words: str, asked: Mapping[str, str]) -> list[dict[str, str]]:
        """What the list is narrowed to, each with the way to the list without it."""
        shown = [(choice.name, choice.in_words(chosen[choice.name])) for choice in self.filters if chosen[choice.name]]
        if words:
            shown.append(("q", f"Search: {words}"))
        return [
            {"label": label, "remove_href": self._address(asked={key: asked[key] for key in asked if key != name})}
            for name, label in shown
        ]

    def _nouns(self) -> tuple[str, str]:
        return self.noun or (self.title.lower().removesuffix("s"), self.title.lower())

    def _counted(self, count: int) -> str:
        return f"{count:,} {self._nouns()[count != 1]}"


def asked_day(name: str, usual: date) -> date:
    """The day that the address or form names, the usual one without any. Raises Invalid by field."""
    typed = request.values.get(name, "").strip()
    try:
        found = date.fromisoformat(typed) if typed else usual
    except ValueError:
        found = date.max
    if not EARLIEST <= found <= utcnow().date() + timedelta(days=366):
        raise Invalid.field(name, "Give a day such as 2026-11-22.")
    return found


def _number(name: str, value: str, refusal: str) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 18:
        raise Invalid.field(name, refusal)
    return int(value)
