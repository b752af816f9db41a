"""What is found among ten thousand real listings: names with a slip, without accents, with words run together.

`OSLO_LISTINGS=file.csv.gz make test ARGS="-n 0 -s tests/search/test_oslo.py"` prints the figures.
"""

from __future__ import annotations

import random
from collections import Counter

import click
import pytest
from flask import Flask
from sqlalchemy import select

from app.catalog.models import Package
from app.extensions import db
from app.search import indexing
from app.search.engine import Hit, Question
from app.search.postgres import PostgresEngine
from tests.catalog import oslo
from tests.search.test_words import _with_a_slip

QUERIES, WANTED = 200, 190
FIRST = 10


def first(q: str) -> list[Hit]:
    return list(PostgresEngine().search(Question(q, per_page=FIRST)).hits)


@oslo.needs_the_file
def test_real_names_are_found_with_a_slip_without_accents_and_with_words_run_together(
    empty_app: Flask, capsys: pytest.CaptureFixture[str]
) -> None:
    assert oslo.import_it().created == 10_099
    indexing.catch_up(lambda _: None)

    hits = first("grunerlokka")
    assert len(hits) == FIRST
    assert all("Grünerløkka" in f"{hit.name} {hit.place}" for hit in hits), hits
    for hit in first("aparment riverview"):
        name = hit.name.lower()
        assert any(word in name for word in ("apartment", "flat", "apt", "condo")), hit.name
        assert "river" in name, hit.name
        assert "view" in name, hit.name

    called = Counter(db.session.scalars(select(Package.name)))
    rows = db.session.execute(select(Package.name, Package.id).order_by(Package.id)).all()
    ids = {name: row_id for name, row_id in rows if called[name] == 1 and len(name.replace(" ", "")) >= 4}
    rng = random.Random(6)
    asked = [(name, _with_a_slip(rng, name)) for name in rng.sample(sorted(ids), QUERIES)]
    missed = [(name, q) for name, q in asked if ids[name] not in [hit.id for hit in first(q)]]
    with capsys.disabled():
        click.echo(f"\n{QUERIES - len(missed)} of {QUERIES} names with one slip are among the first {FIRST}")
    assert QUERIES - len(missed) >= WANTED, missed
