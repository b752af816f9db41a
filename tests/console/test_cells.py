"""How values and cells are written as HTML, by hand: whatever they hold, it is text there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from jinja2 import Undefined
from markupsafe import escape

from app.console import cells
from app.console.page import Column

EVIL = "<script>alert(1)</script>\"'&"


@pytest.mark.parametrize("kind", ["text", "link", "mono", "chip"])
@pytest.mark.parametrize("href", [None, "/console/x/"])
def test_what_a_value_holds_is_never_taken_for_html(kind: str, href: str | None) -> None:
    written = cells.value_of(EVIL, kind, href)
    assert "<script" not in written.lower()
    assert written.count("<") == written.count(">") == (4 if href and kind != "chip" else 2)
    assert "&lt;script&gt;" in written.lower()


def test_where_a_value_leads_can_t_leave_its_attribute() -> None:
    written = cells.value_of("x", "link", '"><script>')
    assert written == '<a href="&#34;&gt;&lt;script&gt;"><bdi>x</bdi></a>'


@pytest.mark.parametrize("nothing", [None, "", Undefined()])
@pytest.mark.parametrize("kind", ["text", "money", "time", "chip"])
def test_no_value_is_a_dash_that_leads_nowhere(nothing: Any, kind: str) -> None:
    assert cells.value_of(nothing, kind, "/console/x/") == '<span class="absent" aria-label="none">–</span>'


def test_nothing_counted_is_a_number() -> None:
    assert cells.value_of(0, "number") == '<span class="tabular">0</span>'
    assert cells.value_of(1234567, "number") == '<span class="tabular">1,234,567</span>'


def test_money_going_out_is_marked() -> None:
    out = cells.value_of({"amount": -1050, "currency": "USD"}, "money")
    assert out == '<span class="money money-out">−$10.50</span>'
    assert 'class="money"' in cells.value_of({"amount": 0, "currency": "USD"}, "money")


def test_a_time_is_there_for_machines_in_full_and_for_people() -> None:
    written = cells.value_of(datetime(2020, 5, 4, 3, 2, 1, tzinfo=UTC), "time")
    assert 'datetime="2020-05-04T03:02:01Z" title="4 May 2020, 03:02:01 UTC"' in written
    assert written.endswith(">4 May 2020</time>")


def test_the_first_cell_of_a_row_and_its_links_lead_to_it() -> None:
    columns = [
        Column("name", 'The "name"'),
        {"key": "status", "label": "State", "kind": "chip"},
        {"key": "note", "label": "Note", "kind": "text", "align": "right"},
        {"key": "ref", "label": "Ref", "kind": "link"},
    ]
    row = cells.cells(columns, {"name": "A & B", "status": "ON_HOLD", "note": EVIL, "ref": "R1"}, "/console/x/")
    assert row.split("</td>")[:-1] == [
        '<td role="cell" data-kind="text" data-align="left" data-label="The &#34;name&#34;">'
        '<a href="/console/x/"><bdi>A &amp; B</bdi></a>',
        '<td role="cell" data-kind="chip" data-align="left" data-label="State">'
        '<span class="chip" data-tone="warn">On hold</span>',
        f'<td role="cell" data-kind="text" data-align="right" data-label="Note"><bdi>{escape(EVIL)}</bdi>',
        '<td role="cell" data-kind="link" data-align="left" data-label="Ref"><a href="/console/x/"><bdi>R1</bdi></a>',
    ]
    assert "<a" not in cells.cells(columns[:1], {"name": "x"}, "/console/x/", leads=False)
    assert "absent" in cells.cells(columns[:1], {}, None)
