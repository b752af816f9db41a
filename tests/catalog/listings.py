"""A foreign catalogue as a file with its mapping, which tests change and import."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from flask import Flask
from sqlalchemy import select

from app.audit.models import AuditEntry
from app.catalog.models import Availability, Package, Provider
from app.db import transaction
from app.extensions import db

COLUMNS = ["id", "host", "title", "text", "lat", "lon", "price", "guests", "rooms", "nights", "kind", "land"]
MAPPING = """
[columns]
external_id = "id"
provider_external_id = "host"
name = "title"
description = "text"
latitude = "lat"
longitude = "lon"
price = "price"
capacity = "guests"
units = "rooms"
min_nights = "nights"
type = "kind"
country = "land"

[defaults]
provider_name = "Host {provider_external_id}"
provider_status = "VERIFIED"
city = "Oslo"
published = true
available_days = 20
"""


class Listings:
    """A CSV file in the making, all rows of one host of its own, and what importing it printed."""

    def __init__(self, app: Flask, folder: Path) -> None:
        self.app = app
        self.file = folder / "listings.csv"
        self.mapping = folder / "mapping.toml"
        self.mapping.write_text(MAPPING)
        self.host = f"host-{uuid4().hex[:12]}"

    def row(self, external_id: str, **cells: str) -> bytes:
        """One line of the file; `cells` differ from a good row's."""
        good = {
            "id": external_id,
            "host": self.host,
            "title": f"Room {external_id}",
            "text": "",
            "lat": "59.91",
            "lon": "10.75",
            "price": "1000.0",
            "guests": "3.0",
            "rooms": "2",
            "nights": "1.0",
            "kind": "hotel",
            "land": "Norway",
        }
        line = io.StringIO(newline="")
        csv.writer(line).writerow({**good, **cells}.values())
        return line.getvalue().encode()

    def write(self, *rows: bytes, header: Sequence[str] = COLUMNS) -> None:
        self.file.write_bytes(",".join(header).encode() + b"\n" + b"".join(rows))

    def run(self, *options: str) -> tuple[int, list[str], str]:
        """Exit status, lines of stdout, stderr."""
        arguments = ["catalog", "import", str(self.file), "--mapping", str(self.mapping), *options]
        result = self.app.test_cli_runner().invoke(args=arguments)
        db.session.rollback()
        return result.exit_code, result.stdout.splitlines(), result.stderr

    def run_well(self, *options: str) -> dict[str, int]:
        status, lines, stderr = self.run(*options)
        assert status == 0, (lines, stderr)
        counts: dict[str, int] = json.loads(lines[-1])
        return counts

    def packages(self) -> dict[str, Package]:
        found = db.session.scalars(
            select(Package)
            .join(Provider)
            .where(Provider.external_id == self.host)
            .execution_options(populate_existing=True)
        )
        return {str(package.external_id): package for package in found}


def counts(created: int = 0, updated: int = 0, unchanged: int = 0, rejected: int = 0) -> dict[str, int]:
    return {"created": created, "updated": updated, "unchanged": unchanged, "rejected": rejected}


def days_of(package: Package) -> list[Availability]:
    return list(
        db.session.scalars(
            select(Availability)
            .where(Availability.package_id == package.id)
            .order_by(Availability.day)
            .execution_options(populate_existing=True)
        )
    )


def change_day(package: Package, number: int, **values: int) -> None:
    with transaction():
        day = days_of(package)[number]
        for name, value in values.items():
            setattr(day, name, value)


def audited(row: Any) -> list[tuple[str, Any, Any]]:
    entries = db.session.scalars(
        select(AuditEntry)
        .where(AuditEntry.object_type == row.__tablename__, AuditEntry.object_id == row.id)
        .order_by(AuditEntry.id)
    )
    return [(entry.action, entry.before, entry.after) for entry in entries]
