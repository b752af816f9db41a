"""What is indexed without anybody's doing: an import's packages, a seeded marketplace, and what was there before."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import select, text

from app.catalog.models import Package
from app.extensions import db
from app.search import indexing
from app.search.models import SearchDocument, SearchSynonyms
from tests import factories
from tests.catalog.listings import Listings, counts
from tests.conftest import ROOT
from tests.imports.files import nobody_imports

FOLDER = str(ROOT / "migrations")


@pytest.fixture
def listings(app: Flask, tmp_path: Path) -> Listings:
    nobody_imports()
    return Listings(app, tmp_path)


def test_what_the_command_imports_is_found_when_it_ends(listings: Listings) -> None:
    listings.write(listings.row("a", title="Loft by the lighthouse"), listings.row("b"))
    assert listings.run_well() == counts(created=2)
    db.session.rollback()
    found = select(SearchDocument.name).join(Package, Package.id == SearchDocument.package_id)
    names = db.session.scalars(found.where(Package.provider.has(external_id=listings.host), SearchDocument.listed))
    assert set(names) == {"Loft by the lighthouse", "Room b"}
    assert db.session.scalar(text("SELECT count(*) FROM package_changes")) == 0


def test_a_dry_run_indexes_nothing(listings: Listings) -> None:
    indexing.catch_up()
    made = factories.package(days=0)
    listings.write(listings.row("a"))
    assert listings.run_well("--dry-run") == counts(created=1)
    db.session.rollback()
    assert db.session.scalars(text("SELECT package_id FROM package_changes")).all() == [made.id]


def test_what_was_there_before_the_migrations_is_found_and_has_its_stock(empty_app: Flask) -> None:
    made = [factories.package(days=40, units=2) for _ in range(2)]
    first, second = (package.id for package in made)
    db.session.remove()
    owner = psycopg2.connect(empty_app.extensions["settings"].database_owner_url)
    owner.autocommit = True
    with owner.cursor() as cursor:
        downgrade(FOLDER, revision="0031")
        cursor.execute("UPDATE availability SET closed = true WHERE package_id = %s AND day < %s", (first, _day(5)))
        cursor.execute("UPDATE availability SET min_nights = 3 WHERE package_id = %s AND day < %s", (second, _day(5)))
        upgrade(FOLDER)
        assert _differing(cursor) == 0
        # Run again over what it has left halfway, and over what was sold meanwhile.
        downgrade(FOLDER, revision="0032")
        cursor.execute("UPDATE availability SET booked = capacity WHERE day = %s", (_day(9),))
        upgrade(FOLDER)
        assert _differing(cursor) == 0
        cursor.execute("SELECT count(*) FROM stock_months")
        assert cursor.fetchone()[0] >= 4
    owner.close()
    indexing.catch_up()
    assert indexing.status() == indexing.Status(on_sale=2, listed=2)


def _day(number: int) -> Any:
    return factories.tomorrow() + timedelta(days=number)


def _differing(cursor: Any) -> int:
    cursor.execute(
        "SELECT count(*) FROM (SELECT package_id, month, prices, min_nights FROM availability_months"
        " EXCEPT SELECT package_id, month, prices, min_nights FROM stock_months) AS differing"
    )
    found: int = cursor.fetchone()[0]
    return found


def test_words_that_mean_the_same_are_there_from_the_start(empty_app: Flask) -> None:
    groups = db.session.scalars(select(SearchSynonyms.words)).all()
    assert ["apartment", "flat", "apt", "condo"] in groups
    folded = db.session.scalars(
        text("SELECT word FROM search_synonyms, unnest(words) AS word WHERE word <> search_fold(word)")
    )
    assert folded.all() == []
    words = [word for group in groups for word in group]
    assert len(words) == len(set(words))
