"""The engines that the contract of search holds for."""

from __future__ import annotations

import pytest
from flask import Flask

from app.search.engine import Engine
from app.search.postgres import PostgresEngine


@pytest.fixture(params=["postgres"])
def engine(request: pytest.FixtureRequest, app: Flask) -> Engine:
    """An engine on this process' database, which has what other tests have made as well."""
    return _made(request.param)


@pytest.fixture(params=["postgres"])
def lone_engine(request: pytest.FixtureRequest, empty_app: Flask) -> Engine:
    """An engine on a database of its own."""
    return _made(request.param)


def _made(name: str) -> Engine:
    return {"postgres": PostgresEngine}[name]()
