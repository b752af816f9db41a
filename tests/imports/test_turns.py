"""Imports of the console and of the command are one at a time, and whoever is second is told who was first."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.catalog.importing import CatalogImport
from app.errors import Conflict
from app.extensions import db
from app.imports import service as imports
from tests import queued
from tests.catalog.listings import Listings, counts
from tests.imports.files import Catalogue, admin, reread

SINCE = r"since \d{1,2} [A-Z][a-z]{2} \d{4} at \d\d:\d\d UTC"


@pytest.fixture
def listings(app: Flask, tmp_path: Path) -> Listings:
    """What the command imports: one package."""
    found = Listings(app, tmp_path)
    found.write(found.row("1"))
    return found


def in_the_middle(monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> list[Any]:
    """Make this call once while the next import is about to write its first rows; what it returned or raised."""
    real, outcomes = CatalogImport._settle, []

    def settle(self: CatalogImport, *rows: Any) -> Any:
        if not outcomes:
            outcomes.append(None)
            try:
                outcomes[0] = call()
            except Conflict as refusal:
                outcomes[0] = refusal
        return real(self, *rows)

    monkeypatch.setattr(CatalogImport, "_settle", settle)
    return outcomes


def test_the_command_does_nothing_while_the_console_imports_and_says_who_does_since_when(
    app: Flask, listings: Listings
) -> None:
    person, by = admin()
    running = imports.start(Catalogue().checked(by, name="oslo.csv").id, by=by)
    status, lines, stderr = listings.run()
    assert (status, lines) == (1, [])
    assert re.search(rf"{person.name} has been importing oslo\.csv {SINCE} \(0 of 3 rows are done\)", stderr)
    assert "Nothing was imported" in stderr
    assert listings.packages() == {}
    assert listings.run_well("--dry-run") == counts(created=1)
    assert queued.work_off() == []
    assert reread(running).status == "DONE"
    assert listings.run_well() == counts(created=1)


def test_the_command_does_nothing_while_the_console_imports_for_one_provider(app: Flask, listings: Listings) -> None:
    assert listings.run_well() == counts(created=1)
    provider = listings.packages()["1"].provider
    person, by = admin()
    catalogue = Catalogue()
    found = catalogue.upload(by, provider_id=provider.id)
    catalogue.check(found, by)
    assert queued.work_off() == []
    imports.start(found.id, by=by)
    listings.write(listings.row("1", title="Another name"))
    status, _, stderr = listings.run()
    assert (status, person.name in stderr) == (1, True)
    assert listings.packages()["1"].name == "Room 1"


def test_the_console_does_nothing_while_the_command_imports_and_says_who_does_since_when(
    app: Flask, listings: Listings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, by = admin()
    waiting = Catalogue().checked(by)
    refusals = in_the_middle(monkeypatch, lambda: imports.start(waiting.id, by=by))
    assert listings.run_well() == counts(created=1)
    assert re.fullmatch(
        rf".+ \(command line\) has been importing {SINCE}\. Start this one when that is over\.", refusals[0].detail
    )
    assert reread(waiting).status == "CHECKED"
    imports.start(waiting.id, by=by)
    assert queued.work_off() == []
    assert reread(waiting).status == "DONE"


def test_two_commands_are_one_after_the_other(
    app: Flask, listings: Listings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "second").mkdir()
    second = Listings(app, tmp_path / "second")
    second.write(second.row("1"))
    outcomes = in_the_middle(monkeypatch, second.run)
    assert listings.run_well() == counts(created=1)
    status, lines, stderr = outcomes[0]
    assert (status, lines) == (1, [])
    assert re.search(rf"\(command line\) has been importing {SINCE}\. Nothing was imported", stderr)
    assert second.packages() == {}
    assert second.run_well() == counts(created=1)


def test_a_command_whose_turn_was_lost_with_the_database_writes_nothing_more(
    app: Flask, listings: Listings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off() -> int:
        ended = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name ~ 'command line'"
        found = db.session.scalars(text(ended)).all()
        db.session.rollback()
        return len(found)

    outcomes = in_the_middle(monkeypatch, cut_off)
    status, lines, stderr = listings.run()
    assert outcomes == [1]
    assert (status, lines) == (1, [])
    assert "The database can't be reached right now" in stderr
    assert listings.packages() == {}
    assert listings.run_well() == counts(created=1)


def test_the_turn_is_free_again_when_the_file_is_unusable(app: Flask, listings: Listings) -> None:
    listings.write(header=["id", "title"])
    assert listings.run()[0] == 2
    listings.write(listings.row("1"))
    assert listings.run_well() == counts(created=1)
