"""However odd an address or a query is, it is answered in words: no route fails over what somebody made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from werkzeug.datastructures import ImmutableMultiDict

from tests.objects.asked import Asked
from tests.one_of_each import OBJECTS
from tests.test_role_matrix import CONSOLE, ROWS, Caller, Row, caller_of, known, made_for

__all__ = ["caller_of", "known"]

# The least that no column can keep, and far more than that.
BEYOND = (2**63, 10**30)
# Digits without end, a digit that is none, what no text in a database can have, and a day without any before it.
ODD = ("9" * 30, "²", "\x00", "0001-01-01")
PAGES = [row for row in CONSOLE if row.method == "GET" and row.expected("admin", "own") == "200"]


def asked_by_number(row: Row) -> Asked:
    return OBJECTS[row.object](None) if row.object != "-" else Asked({})


@pytest.mark.parametrize("number", BEYOND)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.route} {row.method}")
def test_an_id_that_no_row_can_have_is_like_one_that_none_has(
    caller_of: Callable[[str], Caller], row: Row, number: int
) -> None:
    caller, asked = caller_of("admin"), asked_by_number(row)
    ids = {name for name, value in asked.args.items() if isinstance(value, int)}
    for name in ids:
        answer = caller.ask(row, Asked({**asked.args, name: number}, asked.body))
        assert str(answer.status_code) in (row.expected("admin", "missing"), "404"), answer.text[:2000]


class Noting(ImmutableMultiDict[str, Any]):
    """What came with a request, noting what is asked of it."""

    asked: set[str] = set()

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return super().__getitem__(name)

    def getlist(self, name: str, *more: Any) -> list[Any]:
        """As it is, and noted."""
        self.asked.add(name)
        return super().getlist(name, *more)


@pytest.mark.parametrize("row", PAGES, ids=lambda row: row.route)
def test_no_query_breaks_a_page(
    app: Flask, caller_of: Callable[[str], Caller], row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = caller_of("admin")
    asked = made_for(row, caller, "own" if row.object != "-" else "none")
    noting = type("Noting", (Noting,), {"asked": set()})
    monkeypatch.setattr(
        app, "request_class", type("Request", (app.request_class,), {"parameter_storage_class": noting})
    )
    assert caller.ask(row, asked).status_code == 200
    path = caller.address(row.route, asked)
    broken = []
    for name in sorted(noting.asked):
        for value in ODD:
            answer = caller.browser.get(f"{path}?{quote(name)}={quote(value)}")
            if answer.status_code >= 500:
                broken.append((name, value, answer.status_code))
    assert broken == []
