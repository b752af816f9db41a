"""README shows how a queue is added, by one class and one line: here it is added, just as it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from flask import Flask

from app import create_app
from app.catalog import packages
from app.catalog.models import Package
from app.console import pages
from app.console.base import EVERYBODY, Column
from app.console.queue import Decision, QueueView
from app.extensions import db
from tests import factories
from tests.conftest import ROOT, FreshClient
from tests.console.browser import Browser, signed_in

IMPORTED: dict[str, Any] = {
    "EVERYBODY": EVERYBODY,
    "Column": Column,
    "Decision": Decision,
    "Package": Package,
    "QueueView": QueueView,
    "packages": packages,
}


def shown_in_the_readme() -> tuple[str, str]:
    """The class, and the line of the menu."""
    part = (ROOT / "README.md").read_text().split("## A queue\n")[1]
    blocks = re.findall(r"```python\n(.*?)```", part, re.S)
    return blocks[0], blocks[1].strip().removesuffix(",")


@pytest.fixture
def with_drafts(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The app, had the README's queue been added to it."""
    queue, line = shown_in_the_readme()
    names = dict(IMPORTED)
    exec(queue, names)
    monkeypatch.setattr("app.console.pages", lambda: [*pages(), eval(line, names)])
    other = create_app(**app.extensions["settings"].model_dump())
    other.test_client_class = FreshClient
    yield other
    with other.app_context():
        db.engine.dispose()


def test_a_queue_for_a_new_model_is_a_class_of_under_15_lines_and_one_line() -> None:
    queue, line = shown_in_the_readme()
    assert len([code for code in queue.splitlines() if code.strip()]) < 15
    assert len(line.splitlines()) == 1


def test_the_queue_is_in_the_menu_with_its_depth_and_decides(with_drafts: Flask) -> None:
    first, second = (factories.package(status="DRAFT") for _ in range(2))
    person = factories.staff("admin")
    admin, reader = Browser(with_drafts), signed_in(with_drafts, "moderator")
    assert admin.sign_in(person).status_code == 302
    page = unescape(admin.get("/console/drafts/").text)
    assert page.index(first.name) < page.index(second.name)
    depth = re.search(r'data-depth="drafts"[^>]*>(\d+)<', page)
    assert depth
    assert int(depth[1]) >= 2
    here = f"/console/drafts/{first.id}/"
    assert 'data-key="p"' in admin.get(here).text
    assert f"{person.name}, <time" in unescape(reader.get("/console/drafts/").text)
    assert 'data-key="p"' not in reader.get(here).text
    assert reader.post(f"{here}publish", {"seen": "0"}).status_code == 403
    assert factories.reread(first).status == "DRAFT"
    assert admin.post(f"{here}publish", {"seen": "0"}).location == f"/console/drafts/{second.id}/"
    assert factories.reread(first).status == "PUBLISHED"
    assert first.name not in unescape(admin.get("/console/drafts/").text.split("<tbody")[-1])
