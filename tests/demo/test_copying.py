"""Rows as COPY reads them: what comes out of the table is what went in, and what cannot be taken is said."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Any

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import select

from app.catalog.models import Provider
from app.db import owner_engine, transaction
from app.demo.copying import Loading, TableCopy
from app.extensions import db
from tests import factories


def provider(row_id: int, **values: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(column.name for column in Provider.__table__.columns),
        "id": row_id,
        "name": f"Provider {row_id}",
        "status": "VERIFIED",
        "created_at": datetime(2026, 3, 1, 12, 30, 0, 123_456, tzinfo=UTC),
        **values,
    }


def test_texts_arrive_as_they_are(empty_app: Flask) -> None:
    names = ["back\\slash", "tab\tand\nnew line\r", r"\N", r"\.", "", "“quotes” 'and' \"commas\", ü 東京", "\\\\n"]
    with transaction(), Loading(db.session.connection()) as loading:
        table = TableCopy(Provider, loading)
        for row_id, name in enumerate(names, start=1):
            table.add(provider(row_id, name=name))
        table.send()
    rows = db.session.scalars(select(Provider).order_by(Provider.id)).all()
    assert [row.name for row in rows] == names
    assert {row.external_id for row in rows} == {None}
    assert rows[0].created_at == datetime(2026, 3, 1, 12, 30, 0, 123_456, tzinfo=UTC)


def test_a_block_that_is_refused_ends_the_loading_and_leaves_nothing(empty_app: Flask) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation), transaction(), Loading(db.session.connection()) as loading:
        table = TableCopy(Provider, loading)
        for row_id in range(1, 9):
            table.add(provider(row_id, status="NONSENSE" if row_id == 3 else "VERIFIED"))
            table.send()
    assert db.session.scalars(select(Provider.id)).all() == []


def test_ids_go_on_from_the_tables_own_sequence_and_it_goes_on_after_them(empty_app: Flask) -> None:
    earlier = factories.provider().id
    engine = owner_engine(empty_app.extensions["settings"].database_owner_url)
    with engine.begin() as connection, Loading(connection, (Provider,)) as loading:
        ids = list(islice(loading.ids(Provider), 1_000))
    engine.dispose()
    assert ids == list(range(earlier + 1, earlier + 1_001))
    assert factories.provider().id == ids[-1] + 1
