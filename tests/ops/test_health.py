"""/health and /health/ready: alive, and ready or not, and why."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from app import create_app
from app.db import transaction
from app.extensions import db
from app.queue import connect
from app.search import indexing
from tests import factories
from tests.conftest import _settings, tampering


def lonely(**settings: str) -> Flask:
    """An app whose database is where nobody listens."""
    nowhere = "postgresql://nobody@127.0.0.1:1/nowhere"
    return create_app(**_settings("nowhere", **{"database_url": nowhere, **settings}))


@pytest.fixture(autouse=True)
def nothing_waits(app: Flask) -> None:
    """Other tests have made packages, and indexed none."""
    indexing.catch_up()


def test_packages_that_changed_and_are_not_found_so_degrade(app: Flask, client: FlaskClient) -> None:
    made = factories.package(days=0)
    assert client.get("/health/ready").json["search"] == "ok"  # type: ignore[index]
    with transaction():
        db.session.execute(text("DELETE FROM package_changes WHERE package_id = :id"), {"id": made.id})
        db.session.execute(
            text("INSERT INTO package_changes (package_id, changed_at) VALUES (:id, now() - interval '31 seconds')"),
            {"id": made.id},
        )
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json) == (
        200,
        {"status": "degraded", "db": "ok", "redis": "ok", "search": "degraded"},
    )
    indexing.catch_up()
    assert client.get("/health/ready").json["search"] == "ok"  # type: ignore[index]


def test_everything_is_there(client: FlaskClient) -> None:
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "db": "ok", "redis": "ok", "search": "ok"})


def test_a_dead_redis_degrades(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.extensions, "redis", connect("redis://127.0.0.1:1/0"))
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json) == (
        200,
        {"status": "degraded", "db": "ok", "redis": "down", "search": "ok"},
    )


def test_a_dead_database_is_down(app: Flask) -> None:
    answer = lonely().test_client().get("/health/ready")
    assert (answer.status_code, answer.json) == (503, {"status": "down", "db": "down", "redis": "ok", "search": "down"})


def test_health_touches_nothing(app: Flask) -> None:
    answer = lonely(redis_url="redis://127.0.0.1:1/0").test_client().get("/health")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "damage",
    ["UPDATE alembic_version SET version_num = '0000'", "DELETE FROM alembic_version", "DROP TABLE alembic_version"],
)
def test_another_schema_is_down(empty_app: Flask, damage: str) -> None:
    client = empty_app.test_client()
    assert client.get("/health/ready").status_code == 200
    with tampering(empty_app) as superuser:
        superuser.execute(damage)
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json is not None
    assert (answer.json["status"], answer.json["db"]) == ("down", "wrong schema")


def test_other_requests_to_a_dead_database_are_503_with_retry_after(app: Flask) -> None:
    client = lonely().test_client()
    answer = client.get("/v1/packages")
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert answer.headers["Retry-After"] == "5"
    page = client.get("/console/login")
    assert page.status_code == 200
    with client.application.app_context():
        db.engine.dispose()
