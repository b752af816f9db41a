"""Typed confirmation: what can't be taken back is done only by who typed what it is done to."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Flask, url_for

from tests import factories
from tests.browser.pages import every_page
from tests.console.browser import signed_in
from tests.one_of_each import OBJECTS

# What is asked for it, by the route that does it.
ASKED = {
    "bookings.cancel": "cancellation",
    "bookings.complete": "ended_stay",
    "disputes.submit": "staged_dispute",
    "disputes.accept": "accepted_dispute",
    "staff.reset_two_factor": "guarded_one",
}


def declared(app: Flask) -> set[str]:
    return {name for name, view in app.view_functions.items() if getattr(view, "asks_to_type", False)}


def test_what_asks_for_it_is_what_the_design_note_lists(app: Flask) -> None:
    assert declared(app) == set(ASKED)


@pytest.mark.parametrize("route", ASKED)
@pytest.mark.parametrize("typed", ["", "TD-00000-00000", "x"])
def test_without_it_nothing_is_done(app: Flask, route: str, typed: str) -> None:
    asked = OBJECTS[ASKED[route]](factories.actor())
    body: dict[str, Any] = {**(asked.body or {}), "typed": typed}
    right = (asked.body or {})["typed"]
    with app.test_request_context():
        path = url_for(route, **asked.args)
    browser = signed_in(app, "admin")
    answer = browser.post(path, body)
    assert answer.status_code == 422
    assert f"Type {right} to confirm it. Nothing was done." in answer.text
    # Whatever it is in, the state is as before: the right word still finds it possible, in whatever case.
    assert browser.post(path, {**body, "typed": f" {right.upper()} "}).status_code == 302


def test_on_every_page_the_field_is_there_where_its_route_asks_and_nowhere_else(app: Flask) -> None:
    browser = signed_in(app, "admin")
    routes = app.url_map.bind("localhost")
    wrong, seen = [], set()
    for page in every_page(app):
        answer = browser.get(page.address)
        for action, form in re.findall(
            r'<form[^>]* method="post" action="([^"]+)"[^>]*>(.*?)</form>', answer.text, re.DOTALL
        ):
            route, _ = routes.match(urlsplit(urljoin(page.address, action)).path, method="POST")
            seen.add(route)
            if ('name="typed"' in form) is not (route in ASKED):
                wrong.append((page.address, action))
    assert wrong == []
    assert {"bookings.cancel", "providers.decide"} <= seen
