"""GET /health and /health/ready, for load balancers and people in a hurry."""

from __future__ import annotations

from pathlib import Path

import orjson
import redis
from alembic.config import Config
from alembic.script import ScriptDirectory
from flask import Blueprint, Response, current_app
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from app import storage
from app.errors import TripdeskError
from app.extensions import db
from app.queue import connection
from app.search import indexing, meilisearch, sending
from app.search.kept import Kept

# Packages that changed longer ago than this should be found as they are.
_LAG_SECONDS = 30

# However often it is asked for, and by how many: the server at the other end may hang.
_answers: Kept[str, bool] = Kept("meilisearch_answers", seconds=5, most=1)

ops = Blueprint("ops", __name__)


@ops.get("/health")
def health() -> Response:
    """The process answers; nothing else is touched."""
    return Response(b'{"status":"ok"}', content_type="application/json")


@ops.get("/health/ready")
def ready() -> Response:
    """Whether requests can be served: 503 only when the database is down or its schema is not the one this code was
    written for.
    """
    parts = {"db": _database(), "redis": _redis()}
    parts["search"] = _search() if parts["db"] == "ok" else "down"
    server = meilisearch.server()
    if server is not None:
        parts["meilisearch"] = _meilisearch(server) if parts["db"] == "ok" else "down"
    if storage.problem() is not None:
        parts["storage"] = "down"
    status = "down" if parts["db"] != "ok" else "degraded" if {"down", "degraded"} & set(parts.values()) else "ok"
    return Response(
        orjson.dumps({"status": status, **parts}), 503 if status == "down" else 200, content_type="application/json"
    )


def _database() -> str:
    try:
        with db.engine.connect() as found:
            version = found.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except SQLAlchemyError as error:
        return "wrong schema" if isinstance(error, ProgrammingError) else "down"
    return "ok" if version == current_app.extensions["schema_head"] else "wrong schema"


def _search() -> str:
    try:
        return "degraded" if indexing.lag_seconds() > _LAG_SECONDS else "ok"
    except TripdeskError:
        return "down"


def _meilisearch(server: meilisearch.Meilisearch) -> str:
    # Without it PostgreSQL searches.
    try:
        if not _answers.get(server.url, server.answers):
            return "down"
        return "degraded" if sending.how_far_behind().too_far else "ok"
    except TripdeskError:
        return "down"


def _redis() -> str:
    try:
        connection().ping()
    except redis.RedisError:
        return "down"
    return "ok"


def schema_head(root: Path) -> str | None:
    """The newest migration that this code brings along."""
    config = Config()
    config.set_main_option("script_location", str(root / "migrations"))
    return ScriptDirectory.from_config(config).get_current_head()
