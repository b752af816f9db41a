"""Between the console's values and its templates: how one value, and one cell of a table, is written as HTML.

In Python, as a list has hundreds of them, and the call of a template's macro takes longer than all that it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from jinja2 import Undefined
from markupsafe import Markup, escape

from app.console.formatting import chip_tone, day, exact, iso, money, relative, status_label


def _html(text: str) -> Markup:
    """HTML in which every value is escaped already; `Markup.format` would do that, in several times the time."""
    return Markup(text)  # noqa: S704  # nosec B704 - made in this file alone


def chip(status: str) -> Markup:
    """A state, in the tone that it has in the whole product."""
    return _html(f'<span class="chip" data-tone="{chip_tone(status)}">{escape(status_label(status))}</span>')


def amount(value: Mapping[str, Any], *, code: bool = False) -> Markup:
    """Money, marked where it is less than nothing; `value` and `code` as `formatting.money` takes them."""
    out = " money-out" if value["amount"] < 0 else ""
    return _html(f'<span class="money{out}">{escape(money(value, code=code))}</span>')


def when(at: datetime) -> Markup:
    """A time as people say it, exact on hover; `static/console.js` keeps it current and in the person's zone."""
    return _html(f'<time class="when" datetime="{iso(at)}" title="{exact(at)}">{relative(at)}</time>')


def absent() -> Markup:
    """That there is no value."""
    return Markup('<span class="absent" aria-label="none">–</span>')


def _day(value: date) -> Markup:
    return _html(f'<span class="tabular">{day(value)}</span>')


def _number(value: float) -> Markup:
    return _html(f'<span class="tabular">{value:,}</span>')


def _mono(value: Any) -> Markup:
    return _html(f"<code>{escape(value)}</code>")


def _text(value: Any) -> Markup:
    return _html(f"<bdi>{escape(value)}</bdi>")


_WRITERS: dict[str, Callable[[Any], Markup]] = {
    "chip": chip,
    "money": amount,
    # One of several in a line: in a narrow window it keeps its label.
    "sum": amount,
    "time": when,
    "day": _day,
    "number": _number,
    "mono": _mono,
}


def value_of(value: Any, kind: str = "text", href: str | None = None) -> Markup:
    """One value by its kind, which are those of `page.Column`; leading to `href`, unless it is a chip."""
    if value is None or isinstance(value, Undefined) or value == "":
        return absent()
    written = _WRITERS.get(kind, _text)(value)
    return _html(f'<a href="{escape(href)}">{written}</a>') if href and kind != "chip" else written


def cells(columns: Sequence[Any], values: Mapping[str, Any], href: str | None, *, leads: bool = True) -> Markup:
    """A row's cells below its columns, each a `page.Column` or a mapping with the same names. The first one leads to
    `href`, if it `leads`, and so do those that are links.
    """
    row = []
    for column in columns:
        key, kind, opened = _column(column)
        row.append(f"{opened}{value_of(values.get(key), kind, href if leads or kind == 'link' else None)}</td>")
        leads = False
    return _html("".join(row))


def _column(column: Any) -> tuple[str, str, str]:
    if isinstance(column, dict):
        return column["key"], column["kind"], _opened(column["kind"], column.get("align", "left"), column["label"])
    return column.key, column.kind, _opened(column.kind, column.align, column.label)


@lru_cache(maxsize=1000)
def _opened(kind: str, align: str, label: str) -> str:
    # The role repeats what the element means, because a narrow window lays the table out as blocks.
    return f'<td role="cell" data-kind="{kind}" data-align="{align}" data-label="{escape(label)}">'


WRITTEN: dict[str, Callable[..., Markup]] = {
    "absent": absent,
    "cells": cells,
    "chip": chip,
    "money": amount,
    "value_of": value_of,
    "when": when,
}
