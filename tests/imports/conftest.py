"""What tests of imports share."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.imports.files import nobody_imports


@pytest.fixture(autouse=True)
def nobody_else(app: Flask) -> None:
    """No import of another test is in the way."""
    nobody_imports()
