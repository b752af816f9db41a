"""Services that the tests here may empty, kill and start again: nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest

from dev.postgres import APP, DATABASE, OWNER, SUPERUSER, Postgres
from dev.services import throwaway
from dev.valkey import Valkey
from tests.stack import Stack, migrate, settings_on


@dataclass(frozen=True)
class Services:
    """A PostgreSQL with the schema in the database `tripdesk`, and a Valkey."""

    postgres: Postgres
    valkey: Valkey


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """One pair for all tests here of this process; the database is a template only."""
    with throwaway() as (postgres, valkey):
        migrate(settings_on(postgres, valkey))
        yield Services(postgres, valkey)


@contextmanager
def new_stack(services: Services, folder: Path) -> Iterator[Stack]:
    """A stack with nothing started yet, on a database of its own and an empty Valkey."""
    name = f"test_{uuid4().hex[:12]}"
    with closing(psycopg2.connect(services.postgres.url(SUPERUSER, "postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} TEMPLATE {DATABASE} OWNER {OWNER}")
            cursor.execute(f"GRANT CONNECT ON DATABASE {name} TO {APP}")
    with Stack(folder, settings_on(services.postgres, services.valkey, name)) as stack:
        stack.empty_redis()
        yield stack


@pytest.fixture
def stack(services: Services, tmp_path: Path) -> Iterator[Stack]:
    """A stack of the test's own, with nothing started yet."""
    with new_stack(services, tmp_path) as stack:
        yield stack
