"""One throw-away PostgreSQL and Valkey for the whole run; a database of its own for each process of pytest-xdist.

Nothing is cleaned up between tests: append-only tables can't be. Each test makes its own people, packages and bookings
with `tests.factories` and looks only at those; one that needs an empty database asks for `empty_app`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import Context
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
import requests
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade
from sqlalchemy import delete, update

from app import create_app
from app.accounts import passwords
from app.accounts.models import PasswordResetRequest, SignInThrottle
from app.db import transaction
from app.extensions import db
from app.logs import OUTSIDE_A_REQUEST, request_id
from dev.postgres import APP, OWNER, SUPERUSER
from dev.services import throwaway
from jobs.sweeps import SWEPT
from tests.queued import asked_for

ROOT = Path(__file__).parent.parent
MIGRATED = "tripdesk_migrated"
STRIPE_KEY = "sk_test_tripdesk_demo"
WEBHOOK_SECRET = "whsec_tripdesk_demo"
APPEND_ONLY = ("audit_entries", "audit_seals", "ledger_entries")
# What takes a minute and more. Begun last, such a file would leave every process but its own without work; with
# `--no-loadscope-reorder`, pytest-xdist hands the files out in this order.
LONGEST_FIRST = (
    "browser/test_every_page.py",
    "faults/test_money_storm.py",
    "faults/test_webhook_storm.py",
    "faults/test_outages.py",
    "test_role_matrix.py",
    "payments/test_money_machine.py",
    "faults/test_last_unit.py",
    "faults/",
    "browser/",
    "demo/",
    "api/test_schemathesis.py",
    "test_odd_input.py",
)
_SERVICES = "TRIPDESK_TEST_SERVICES"

_services = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    """Start the services once, in the process that starts the others; they find them through the environment."""
    if _SERVICES in os.environ or config.option.collectonly or config.option.help:
        return
    postgres, valkey = _services.enter_context(throwaway())
    postgres.create_database(MIGRATED)
    home = _services.enter_context(tempfile.TemporaryDirectory(prefix="tripdesk-home-"))
    os.environ[_SERVICES] = json.dumps(
        {
            "home": home,
            "redis": valkey.url(),
            **{role: postgres.url(role, "DATABASE") for role in (SUPERUSER, OWNER, APP)},
        }
    )
    app = create_app(**_settings(MIGRATED))
    with app.app_context():
        upgrade(str(ROOT / "migrations"))
        db.engine.dispose()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others as they come."""

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(ROOT / "tests").as_posix()
        return next((place for place, start in enumerate(LONGEST_FIRST) if name.startswith(start)), len(LONGEST_FIRST))

    items.sort(key=place)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop them where they were started."""
    _services.close()


def _url(role: str, database: str) -> str:
    url: str = json.loads(os.environ[_SERVICES])[role]
    return url.replace("DATABASE", database)


def _redis(of: int) -> str:
    # Whose Redis a process' tests empty and look into must not be the one where a running product puts its jobs.
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw15").removeprefix("gw"))
    url: str = json.loads(os.environ[_SERVICES])["redis"]
    return url.replace("db=0", f"db={number + 16 * of}")


def settings_of_a_product(of: int) -> dict[str, Any]:
    """The settings of the running product number `of` (1 to 3) of this process: a database and a Redis of its own."""
    return {**_settings(_copy_database()), "redis_url": _redis(of)}


def _settings(database: str, **more: Any) -> dict[str, Any]:
    return {
        "app_env": "test",
        "tripdesk_home": json.loads(os.environ[_SERVICES])["home"],
        "database_url": _url(APP, database),
        "database_owner_url": _url(OWNER, database),
        "redis_url": _redis(0),
        # The ids in its keys are those of the database.
        "storage_url": f"file://{json.loads(os.environ[_SERVICES])['home']}/storage/{database}",
        "stripe_secret_key": STRIPE_KEY,
        "stripe_webhook_secret": WEBHOOK_SECRET,
        "stripe_api_base": "http://127.0.0.1:1",
        "rate_limits": "off",
        **more,
    }


def _copy_database() -> str:
    name = f"test_{uuid4().hex[:12]}"
    connection = psycopg2.connect(_url(SUPERUSER, "postgres"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {MIGRATED} OWNER {OWNER}")
        cursor.execute(f"GRANT CONNECT ON DATABASE {name} TO {APP}")
    connection.close()
    return name


@pytest.fixture(scope="session", autouse=True)
def real_password_hasher() -> PasswordHasher:
    """What the product hashes passwords with; the hundreds of people of the tests are hashed at the lowest cost."""
    real = passwords._hasher
    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    passwords._NOBODY = passwords._hasher.hash("nobody has this password")
    return real


@pytest.fixture(scope="session")
def database() -> str:
    """The name of this process' own database."""
    return _copy_database()


@pytest.fixture(scope="session")
def local_stripe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A local Stripe of this process' own; it sends its webhooks nowhere, so that a test decides what arrives when."""
    with run_local_stripe(
        tmp_path_factory.mktemp("stripe") / "state.sqlite3", webhook_url="http://127.0.0.1:1/"
    ) as url:
        yield url


class run_local_stripe:  # noqa: N801  (reads as a verb where it is used)
    """Context manager: a local Stripe on a free port; its address."""

    def __init__(self, state: Path, *, webhook_url: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [
            *(
                sys.executable,
                "-m",
                "dev.stripe",
                "--host",
                "127.0.0.1",
                "--port",
                str(self.port),
                "--state",
                str(state),
            ),
            *("--webhook-url", webhook_url, "--webhook-secret", WEBHOOK_SECRET, "--secret-key", STRIPE_KEY),
        ]

    def __enter__(self) -> str:
        self.process = subprocess.Popen(self.command, cwd=ROOT, stdout=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{self.port}"
        wait_for(lambda: _answers(f"{url}/health"), "the local Stripe to answer")
        return url

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait_for(condition: Any, what: str, seconds: float = 20) -> Any:
    """Wait until `condition()` is true and return it; fails the test with `what` it waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


class FreshClient(FlaskClient):
    """Begins each request with nothing of the test's context, as a server does: no session, no `g`."""

    def open(self, *args: Any, **options: Any) -> Any:
        """One request."""
        return Context().run(super().open, *args, **options)


@pytest.fixture(scope="session")
def _app(database: str, local_stripe: str) -> Iterator[Flask]:
    app = create_app(**_settings(database, stripe_api_base=local_stripe))
    app.test_client_class = FreshClient
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture(scope="module")
def _nothing_left_to_do(_app: Flask) -> None:
    """What other files left to be done stays undone: the sweeps would find it, and a test work through it all first."""
    with _app.app_context(), transaction():
        for model in SWEPT:
            db.session.execute(
                update(model).where(model.due_at.is_not(None)).values(due_at=None, leased_until=None),
                execution_options={"synchronize_session": False},
            )
    with _app.app_context():
        db.session.remove()


@pytest.fixture
def app(_app: Flask, _nothing_left_to_do: None) -> Iterator[Flask]:
    """The app on this process' database, with a context pushed; its Redis is empty."""
    request_id.set(OUTSIDE_A_REQUEST)
    with _app.app_context():
        asked_for()
        _app.extensions["redis"].flushdb()
        _app.extensions["asked_for"].clear()
        # All tests come from one address, are wrong and forget passwords more often than one address may.
        with transaction():
            db.session.execute(delete(SignInThrottle))
            db.session.execute(delete(PasswordResetRequest))
        yield _app
        db.session.remove()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser or API client without anybody signed in."""
    return app.test_client()


@pytest.fixture
def empty_app(local_stripe: str) -> Iterator[Flask]:
    """An app on a database of its own, with nothing in it."""
    app = create_app(**_settings(_copy_database(), stripe_api_base=local_stripe))
    app.test_client_class = FreshClient
    with app.app_context():
        app.extensions["redis"].flushdb()
        yield app
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def owner(app: Flask) -> Iterator[Any]:
    """A connection of the owner's role, for what the app must not be able to do; autocommit."""
    connection = psycopg2.connect(app.extensions["settings"].database_owner_url)
    connection.autocommit = True
    yield connection
    connection.close()


@contextmanager
def tampering(app: Flask) -> Iterator[Any]:
    """A superuser's cursor on the app's database, with the triggers that guard tables asleep: what a thief could do."""
    database = str(db.engine.url.database)
    connection = psycopg2.connect(_url(SUPERUSER, database))
    connection.autocommit = True
    guarded = [(table, f"{table}_{what}") for table in APPEND_ONLY for what in ("no_change", "no_truncate")]
    with connection.cursor() as cursor:
        for table, trigger in guarded:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
        yield cursor
        for table, trigger in guarded:
            cursor.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")
    connection.close()


@pytest.fixture
def switches(app: Flask) -> Iterator[Callable[..., None]]:
    """Makes the local Stripe misbehave for one test: `switches(api=[{"fault": "hang_up", …}])`."""
    settings = app.extensions["settings"]

    def switch(**wanted: Any) -> None:
        answer = requests.post(
            f"{settings.stripe_api_base}/_local/switches",
            json=wanted,
            auth=(settings.stripe_secret_key.get_secret_value(), ""),
            timeout=10,
        )
        assert answer.ok, answer.text

    yield switch
    switch(api=[], timing={"settle": 2, "balance_transaction": 0}, refunds={}, disputes={})
