"""What tests of importing share."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from tests.catalog.listings import Listings
from tests.imports.files import nobody_imports


@pytest.fixture
def listings(app: Flask, tmp_path: Path) -> Listings:
    nobody_imports()
    return Listings(app, tmp_path)
