"""What tests of importing share."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from tests.catalog.listings import Listings


@pytest.fixture
def listings(app: Flask, tmp_path: Path) -> Listings:
    return Listings(app, tmp_path)
