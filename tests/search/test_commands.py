"""`flask search …`: made anew, compared, waited for."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import text

from app.db import transaction
from app.extensions import db
from app.search import indexing
from tests import factories


@pytest.fixture(autouse=True)
def nothing_waits(app: Flask) -> None:
    indexing.catch_up()


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["search", *arguments])


def test_status_says_when_everything_is_found_as_it_is(app: Flask) -> None:
    factories.package(days=0)
    indexing.index_changes()
    result = run(app, "status")
    assert result.exit_code == 0, result.output
    assert "Documents and packages say the same." in result.output
    lines = dict(line.rsplit(maxsplit=1) for line in result.output.splitlines() if "  " in line)
    assert lines["engine"] == "postgres"
    assert lines["packages on sale"] == lines["documents listed"] != "0"
    assert lines["missing"] == lines["outdated"] == lines["left over"] == lines["changes waiting"] == "0"


def test_status_fails_while_a_change_waits_and_says_what_to_do(app: Flask) -> None:
    factories.package(days=0)
    result = run(app, "status")
    assert result.exit_code == 1
    assert "changes waiting    1" in result.output
    assert "missing            1" in result.output
    assert "search reindex" in result.output


def test_status_waits_until_it_is_found(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    factories.package(days=0)

    def index() -> None:
        with app.app_context():
            indexing.index_changes()
            db.session.remove()

    later = threading.Timer(1.5, index)
    later.start()
    result = run(app, "status", "--wait")
    later.join()
    assert result.exit_code == 0, result.output


def test_status_does_not_wait_for_ever(app: Flask) -> None:
    factories.package(days=0)
    result = run(app, "status", "--wait", "--seconds", "1")
    assert result.exit_code == 1


def test_reindex_makes_what_is_missing(app: Flask, owner: Any) -> None:
    made = factories.package(days=0)
    with transaction():
        db.session.execute(text("DELETE FROM package_changes"))
    result = run(app, "reindex")
    assert result.exit_code == 0, result.output
    assert "1 documents were written" in result.output
    assert run(app, "status").exit_code == 0
    with owner.cursor() as cursor:
        cursor.execute("SELECT listed FROM search_documents WHERE package_id = %s", (made.id,))
        assert cursor.fetchone() == (True,)
