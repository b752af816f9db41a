"""A stand-in for Meilisearch, and an app on a database of its own that searches with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from flask import Flask

from app import create_app
from app.extensions import db
from app.search import meilisearch as gateway
from app.search import sending
from app.search.meilisearch import Meilisearch
from tests.conftest import FreshClient, _copy_database, _settings
from tests.search.meili_stand_in import MASTER_KEY, StandIn


@pytest.fixture(scope="session")
def _stand_in() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    if not server.stopping.is_set():
        server.kill()


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
def meili_app(_meili_app: Flask, stand_in: StandIn) -> Iterator[Flask]:
    """An app whose Meilisearch is the stand-in, configured; it has no documents."""
    settings = _meili_app.extensions["settings"]
    gateway.configure(_meili_app, settings)
    connection = psycopg2.connect(settings.database_owner_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE search_documents, package_changes")
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
