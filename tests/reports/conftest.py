"""The demo's marketplace is what the invariants are tried on; books that somebody has tampered with are others'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from flask import Flask

from tests.conftest import tampering
from tests.demo.conftest import seeded, seeded_app

__all__ = ["seeded", "seeded_app"]


@pytest.fixture
def tamper(empty_app: Flask) -> Callable[..., None]:
    """What a thief could do, in a database of the test's own: others trust that their books are whole."""

    def execute(statement: str, values: Sequence[Any] = ()) -> None:
        with tampering(empty_app) as cursor:
            cursor.execute(statement, values)

    return execute
