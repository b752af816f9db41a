"""A whole running product for the journeys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import _copy_database, _settings
from tests.stack import Stack


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything a running product has, on a database of its own."""
    with Stack(tmp_path_factory.mktemp("stack"), _settings(_copy_database())) as stack:
        stack.start_all()
        yield stack
