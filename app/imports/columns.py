"""What an uploaded file looks like: its columns, its first rows, and which of our fields each column seems to be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from app.catalog.import_file import BrokenRow, CsvFile, Unusable

MOST_FILE_BYTES = 20_000_000
MOST_UNPACKED_BYTES = 200_000_000
MOST_ROWS = 100_000
MOST_COLUMNS = 300
_SAMPLES = 3
_SAMPLE_CHARACTERS = 80

# What others call our fields; a field's own name comes first. No name stands for two of them.
_OTHER_NAMES = {
    "external_id": "id listing_id package_id product_id item_id code sku reference ref",
    "provider_external_id": "provider_id host_id supplier_id vendor_id owner_id operator_id partner_id",
    "provider_name": "provider host_name supplier_name supplier vendor_name vendor operator host",
    "type": "package_type kind category",
    "name": "title listing_name package_name product_name",
    "description": "summary text details about",
    "place": "neighbourhood neighborhood district area suburb",
    "city": "town municipality",
    "country": "country_code country_name nation",
    "latitude": "lat y",
    "longitude": "lon lng long x",
    "price": "nightly_price price_per_night rate amount cost",
    "capacity": "accommodates guests max_guests persons pax people",
    "units": "rooms quantity stock inventory",
    "min_nights": "minimum_nights minimum_stay min_stay",
    "amenities": "facilities features",
    "cancellation_policy": "cancellation policy",
    "provider_status": "host_status",
    "published": "is_published active enabled visible",
    "available_days": "days_available horizon",
}


@dataclass(frozen=True)
class Shape:
    """A file's columns in order, the cells of its first good rows, how many rows it has, and its size in bytes."""

    headings: list[str]
    samples: list[list[str]]
    rows: int
    size: int


def look_at(stream: BinaryIO) -> Shape:
    """Read a file through once. `stream` is seekable. Raises Unusable when it is no CSV file that can be imported."""
    size = stream.seek(0, 2)
    if size > MOST_FILE_BYTES:
        raise Unusable(
            f"The file is larger than {MOST_FILE_BYTES // 1_000_000} MB. Compress it with gzip, or split it."
        )
    file = CsvFile(stream, most_bytes=MOST_UNPACKED_BYTES)
    headings = _headings(file)
    samples: list[list[str]] = []
    rows = 0
    for row in file.rows():
        rows += 1
        if rows > MOST_ROWS:
            raise Unusable(f"The file has more than {MOST_ROWS:,} rows. Split it.")
        if len(samples) < _SAMPLES and not isinstance(row, BrokenRow):
            samples.append([_sample(cell) for cell in row.cells])
    if rows == 0:
        raise Unusable("The file has a header and no rows.")
    return Shape(headings, samples, rows, size)


def guess(headings: Sequence[str]) -> dict[str, str]:
    """Which heading each of our fields seems to be, by their names; each heading at most once."""
    plain = {_plain(heading): heading for heading in reversed(headings)}
    found: dict[str, str] = {}
    for field, others in _OTHER_NAMES.items():
        heading = next((plain[name] for name in (field, *others.split()) if name in plain), None)
        if heading:
            found[field] = heading
    return found


def _headings(file: CsvFile) -> list[str]:
    headings = list(file.columns)
    if len(headings) == 1:
        raise Unusable(
            "The file has only one column. Save it with commas between its cells, not with semicolons or tabs."
        )
    if len(headings) > MOST_COLUMNS:
        raise Unusable(f"The file has {len(headings):,} columns; at most {MOST_COLUMNS} are allowed.")
    if any("\0" in heading or not _is_text(heading) for heading in headings):
        raise Unusable("The file's header is not UTF-8 text: save it as CSV in UTF-8.")
    return headings


def _is_text(heading: str) -> bool:
    try:
        heading.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sample(cell: str) -> str:
    tidy = " ".join(cell.split())
    short = tidy if len(tidy) <= _SAMPLE_CHARACTERS else tidy[: _SAMPLE_CHARACTERS - 1] + "…"
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in short)


def _plain(heading: str) -> str:
    """`Host ID` and `hostId` are both `host_id`."""
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", heading)
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")
