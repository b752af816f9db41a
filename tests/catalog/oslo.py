"""The real listings of Oslo, which are not part of the repository: where they are, and how they go in.

OSLO_LISTINGS names the file (Inside Airbnb's summary of Oslo, https://insideairbnb.com/get-the-data/, gzipped); without
it, the tests that need it are skipped.
"""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest

from app.audit.actor import SYSTEM
from app.catalog.import_mapping import ImportMapping
from app.catalog.importing import CatalogImport, ImportReport

_ROOT = Path(__file__).parents[2]
FILE = Path(os.environ.get("OSLO_LISTINGS") or _ROOT.parent / "shared" / "data" / "oslo_listings.csv.gz")
MAPPING = _ROOT / "docs" / "import" / "oslo.toml"
ONE_DAY = MAPPING.read_bytes().replace(b"available_days = 365", b"available_days = 1")

needs_the_file = pytest.mark.skipif(
    not FILE.exists(), reason=f"OSLO_LISTINGS names no file with Oslo's listings, and there is none at {FILE}"
)


def import_it() -> ImportReport:
    """Have every listing in the catalogue, with one day each; none is rejected."""
    with FILE.open("rb") as stream:
        work = CatalogImport(stream, ImportMapping.from_toml(ONE_DAY), rate=Decimal("0.094"), by=SYSTEM)
        assert [rejection for step in work.run() for rejection in step.rejections] == []
    return work.report
