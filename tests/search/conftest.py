"""The engines that the contract of search holds for; a stand-in for Meilisearch, and an app that searches with it.

The stand-in finds words too simply for the contract: for Meilisearch it is only run against a real server, whose
address TEST_MEILI_URL names (and TEST_MEILI_API_KEY its master key).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from flask import Flask

from app import create_app
from app.extensions import db
from app.search import meilisearch as gateway
from app.search import sending
from app.search.engine import Answer, Engine, Question, Suggestion
from app.search.meilisearch import Meilisearch
from app.search.postgres import PostgresEngine
from app.search.ranked import MeilisearchEngine
from tests.conftest import FreshClient, _copy_database, _settings
from tests.search.meili_stand_in import MASTER_KEY, StandIn

ENGINES = ("postgres", "meilisearch")
REAL_URL = os.environ.get("TEST_MEILI_URL", "")
# Of this process: others may be at the same server.
_REAL_INDEX = f"test_{uuid4().hex[:12]}"


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, app: Flask) -> Iterator[Engine]:
    """An engine on this process' database, which has what other tests have made as well."""
    yield from _made(request.param, app)


@pytest.fixture(params=ENGINES)
def lone_engine(request: pytest.FixtureRequest, empty_app: Flask) -> Iterator[Engine]:
    """An engine on a database of its own."""
    yield from _made(request.param, empty_app)


def _made(name: str, app: Flask) -> Iterator[Engine]:
    if name == "postgres":
        yield PostgresEngine()
        return
    if not REAL_URL:
        pytest.skip("TEST_MEILI_URL names no Meilisearch: ranking and facets are not run on one")
    server = Meilisearch(REAL_URL, os.environ.get("TEST_MEILI_API_KEY", ""), index=f"{_REAL_INDEX}_{uuid4().hex[:6]}")
    app.extensions["meilisearch"] = server
    sending.compare(mend=True)  # which finds nothing there
    sending.configure()
    yield _UpToDate(server, PostgresEngine())
    app.extensions["meilisearch"] = None
    server.begin_anew({})
    server.take_over()


class _UpToDate(MeilisearchEngine):
    """Meilisearch that has heard of everything whenever it is asked."""

    def search(self, question: Question) -> Answer:
        sending.send_synonyms()
        sending.send()
        return super().search(question)

    def suggest(self, q: str, limit: int) -> list[Suggestion]:
        sending.send()
        return super().suggest(q, limit)

    def _require_up_to_date(self) -> None:
        assert not sending.behind(1)


@pytest.fixture(scope="session")
def _stand_in() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    if not server.stopping.is_set():
        server.kill()
    server.leave()


@pytest.fixture(scope="session")
def _meili_app(_stand_in: StandIn, local_stripe: str) -> Iterator[Flask]:
    app = create_app(
        **_settings(_copy_database(), stripe_api_base=local_stripe, meili_url=_stand_in.url, meili_api_key=MASTER_KEY)
    )
    app.test_client_class = FreshClient
    yield app
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()


@pytest.fixture
def stand_in(_stand_in: StandIn) -> StandIn:
    """A server that answers, with nothing in it."""
    if hasattr(_stand_in, "server") and not _stand_in.stopping.is_set():
        _stand_in.kill()
    _stand_in.lose_everything()
    _stand_in.behave()
    _stand_in.master_key = MASTER_KEY
    _stand_in.start()
    return _stand_in


@pytest.fixture
def meili_app(_meili_app: Flask, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """An app whose Meilisearch is the stand-in, configured; nothing is on sale and it has no documents."""
    # However slow this machine is, it is no answer that comes too late.
    monkeypatch.setattr(gateway, "_READING_SECONDS", (30.0, 30.0))
    monkeypatch.setattr(gateway, "_WRITING_SECONDS", (30.0, 30.0))
    monkeypatch.setattr(gateway, "SLOW_SECONDS", 30.0)
    monkeypatch.setattr(sending, "BEHIND_SECONDS", 1_000.0)
    settings = _meili_app.extensions["settings"]
    gateway.configure(_meili_app, settings)
    connection = psycopg2.connect(settings.database_owner_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE packages SET status = 'DRAFT' WHERE status = 'PUBLISHED'")
        cursor.execute("TRUNCATE search_documents, package_changes, index_rebuilds")
    connection.close()
    with _meili_app.app_context():
        _meili_app.extensions["redis"].flushdb()
        sending.configure()
        yield _meili_app
        db.session.remove()


@pytest.fixture
def meilisearch(meili_app: Flask) -> Meilisearch:
    """The app's connection to it."""
    found: Any = meili_app.extensions["meilisearch"]
    assert isinstance(found, Meilisearch)
    return found
