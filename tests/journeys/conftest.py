"""A whole running product for the journeys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import settings_of_a_product
from tests.stack import Stack


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything a running product has, on a database and a Redis of its own."""
    with Stack(tmp_path_factory.mktemp("stack"), settings_of_a_product(2)) as stack:
        stack.start_all()
        yield stack
