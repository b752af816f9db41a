"""A seeded marketplace, made once for all tests of a process that only read it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from app import create_app
from app.audit.actor import SYSTEM
from app.db import utcnow
from app.demo import service as demo
from app.extensions import db
from tests.conftest import _copy_database, _settings, run_local_stripe

# So long that no hold runs out while the tests do.
HOLD_MINUTES = 120


@pytest.fixture(scope="session")
def seeded_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The app on a database with the small demo data, and a local Stripe that knows its payments and nothing else."""
    state = tmp_path_factory.mktemp("demo") / "stripe.sqlite3"
    with run_local_stripe(state, webhook_url="http://127.0.0.1:1/") as url:
        app = create_app(**_settings(_copy_database(), stripe_api_base=url, hold_minutes=HOLD_MINUTES))
        with app.app_context():
            app.config |= {"SEEDED_ON": utcnow().date(), "STRIPE_STATE": state}
            demo.seed(demo.Scale.named("small"), by=SYSTEM, tell=lambda line: None)
            db.session.remove()
        yield app
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def seeded(seeded_app: Flask) -> Iterator[Flask]:
    """The same with a context pushed."""
    with seeded_app.app_context():
        yield seeded_app
        db.session.rollback()
        db.session.remove()
