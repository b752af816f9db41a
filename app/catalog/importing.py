"""The verb that takes somebody else's list of packages into the catalogue: for the command line and for jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import func, select, text, tuple_
from sqlalchemy.orm import lazyload

from app.audit import service as audit
from app.audit.actor import Actor
from app.catalog.import_fields import Wrong, number, shown
from app.catalog.import_file import BrokenRow, CsvFile, Row, Unusable
from app.catalog.import_mapping import CURRENCY, Fault, ImportMapping, Listing, RowReader
from app.catalog.models import Package, Provider
from app.db import keep_before, transaction, utcnow
from app.errors import Busy
from app.extensions import db
from app.states import move

# A transaction's worth: with two years of days each well under the statement timeout, and nobody waits long for it.
BATCH = 200
_TRIES_WHEN_BUSY = 6
# Any fixed number will do: two imports at once would both make the same new provider.
_IMPORT_LOCK = 7_202


@dataclass(frozen=True)
class Rejection:
    """A row that did not go in: the physical line it begins on, and each thing that is wrong with it."""

    line: int
    faults: Sequence[Fault]

    def __str__(self) -> str:
        return f"line {self.line}, " + "; ".join(f"column {fault.column}: {fault.reason}" for fault in self.faults)


@dataclass
class ImportReport:
    """How many packages were created, updated and found unchanged, and how many rows were rejected, so far."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0

    @property
    def rows(self) -> int:
        """How many rows have been dealt with."""
        return self.created + self.updated + self.unchanged + self.rejected

    def json(self) -> dict[str, int]:
        """The shape the command prints."""
        return {
            "created": self.created,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "rejected": self.rejected,
        }


@dataclass(frozen=True)
class Progress:
    """What a batch came to: the report up to here, the rows just rejected, how much of the file is read (0 to 1)."""

    report: ImportReport
    rejections: Sequence[Rejection]
    share: float


def parse_rate(written: str) -> Decimal:
    """USD per unit of the file's prices, as somebody typed it. Raises Unusable."""
    try:
        rate = number(written)
    except Wrong:
        raise Unusable(f"The rate {shown(written)} is not a number.") from None
    if rate <= 0:
        raise Unusable(f"The rate must be more than 0, not {rate}.")
    return rate


class CatalogImport:
    """One import of one file. Making it checks the file's header and the mapping; `run` does the work.

    `stream` is the CSV file, seekable, plain or gzipped; `rate` is USD per unit of its prices. With `dry_run` everything
    is read and compared, and nothing written.
    """

    def __init__(
        self, stream: BinaryIO, mapping: ImportMapping, *, rate: Decimal, by: Actor, dry_run: bool = False
    ) -> None:
        """Raises Unusable when the file can't be read or lacks a column of the mapping, NotAllowed."""
        by.require("admin")
        self.report = ImportReport()
        self._file = CsvFile(stream)
        self._reader = RowReader(self._file, mapping, rate)
        self._given = mapping.given
        self._by = by
        self._dry_run = dry_run
        self._lines: dict[tuple[str, str], int] = {}
        self._providers: dict[str, tuple[str, str]] = {}

    def run(self) -> Iterator[Progress]:
        """Import batch by batch; each is in the database, packages and their days together, when its progress is told.

        Stopped halfway, what was told is in and a second run finishes. Packages are found again by provider and external
        id, and keep what the mapping says nothing about. Raises Busy when others hold the same rows for long, Unavailable.
        """
        listings: list[Listing] = []
        rejections: list[Rejection] = []
        for row in self._file.rows():
            listing = self._read(row)
            if isinstance(listing, Listing):
                listings.append(listing)
            else:
                rejections.append(listing)
            if len(listings) + len(rejections) >= BATCH:
                yield self._finish(listings, rejections)
                listings, rejections = [], []
        yield self._finish(listings, rejections)

    def _read(self, row: Row | BrokenRow) -> Listing | Rejection:
        if isinstance(row, BrokenRow):
            return Rejection(row.line, [Fault(row.column, row.reason)])
        listing = self._reader.read(row)
        if not isinstance(listing, Listing):
            return Rejection(row.line, listing)
        first_line = self._lines.setdefault((listing.provider_external_id, listing.external_id), row.line)
        if first_line != row.line:
            reason = f"{shown(listing.external_id)} of this provider is on line {first_line} already"
            return Rejection(row.line, [Fault(self._reader.column_of("external_id"), reason)])
        # Where rows disagree about their provider, the first one counts.
        self._providers.setdefault(listing.provider_external_id, (listing.provider_name, listing.provider_status))
        return listing

    def _finish(self, listings: Sequence[Listing], rejections: list[Rejection]) -> Progress:
        batch = self._write_patiently(listings) if listings else _Batch()
        rejections = sorted([*rejections, *batch.rejections], key=lambda rejection: rejection.line)
        self.report.created += len(batch.created)
        self.report.updated += len(batch.updated)
        self.report.unchanged += batch.unchanged
        self.report.rejected += len(rejections)
        return Progress(replace(self.report), rejections, self._file.share_read)

    def _write_patiently(self, listings: Sequence[Listing]) -> _Batch:
        for attempt in range(1, _TRIES_WHEN_BUSY):
            try:
                return self._write(listings)
            except Busy:
                time.sleep(0.2 * 2**attempt)
        return self._write(listings)

    def _write(self, listings: Sequence[Listing]) -> _Batch:
        with transaction():
            if not self._dry_run:
                db.session.execute(select(func.pg_advisory_xact_lock(_IMPORT_LOCK)))
            providers = self._upsert_providers(listings)
            packages = self._existing_packages(listings, providers)
            too_few = self._days_sold_beyond(listings, packages)
            batch = _Batch()
            for listing in listings:
                package = packages.get((listing.provider_external_id, listing.external_id))
                if package is None:
                    batch.create(listing, providers.get(listing.provider_external_id))
                elif package.id in too_few:
                    batch.reject(listing, self._reader.column_of("units"), too_few[package.id])
                else:
                    batch.compare(listing, package, self._differences(listing, package))
            if not self._dry_run:
                batch.write(self._by)
        return batch

    def _upsert_providers(self, listings: Sequence[Listing]) -> dict[str, Provider]:
        """The batch's providers by external id. In a dry run the new ones are missing."""
        wanted = {listing.provider_external_id for listing in listings}
        found = select(Provider).where(Provider.external_id.in_(wanted)).order_by(Provider.id)
        if self._dry_run:
            return {str(provider.external_id): provider for provider in db.session.scalars(found)}
        # Not FOR UPDATE, which would keep bookings of these providers waiting.
        locked = found.with_for_update(key_share=True).execution_options(populate_existing=True)
        providers = {str(provider.external_id): keep_before(provider) for provider in db.session.scalars(locked)}
        renamed = []
        for external_id, provider in providers.items():
            name, _status = self._providers[external_id]
            if provider.name != name:
                provider.name = name
                renamed.append(provider)
        created = []
        for external_id in sorted(wanted - providers.keys()):
            name, status = self._providers[external_id]
            created.append(Provider(external_id=external_id, name=name, status=status))
        db.session.add_all(created)
        audit.record_each(self._by, "provider.update", renamed)
        audit.record_each(self._by, "provider.create", created)
        return providers | {str(provider.external_id): provider for provider in created}

    def _existing_packages(
        self, listings: Sequence[Listing], providers: dict[str, Provider]
    ) -> dict[tuple[str, str], Package]:
        external_ids = {provider.id: external_id for external_id, provider in providers.items()}
        keys = [
            (providers[listing.provider_external_id].id, listing.external_id)
            for listing in listings
            if listing.provider_external_id in providers
        ]
        found = (
            select(Package)
            .options(lazyload(Package.provider))
            .where(tuple_(Package.provider_id, Package.external_id).in_(keys))
            .order_by(Package.id)
        )
        if not self._dry_run:
            found = found.with_for_update(key_share=True).execution_options(populate_existing=True)
        return {
            (external_ids[package.provider_id], str(package.external_id)): keep_before(package)
            for package in db.session.scalars(found)
        }

    def _differences(self, listing: Listing, package: Package) -> dict[str, Any]:
        """What the row changes. The time zone follows only when the place does: staff may have put a guess right."""
        differing = {
            name: value
            for name, value in listing.package.items()
            if name.removesuffix("_minor") in self._given and getattr(package, name) != value
        }
        if differing.keys() & {"country", "city", "latitude", "longitude"}:
            zone = listing.package["time_zone"]
            differing |= {"time_zone": zone} if zone != package.time_zone else {}
        if "published" in self._given and listing.published != (package.status == "PUBLISHED"):
            differing["status"] = "PUBLISHED" if listing.published else "DRAFT"
        return differing

    def _days_sold_beyond(
        self, listings: Sequence[Listing], packages: dict[tuple[str, str], Package]
    ) -> dict[int, str]:
        """Why packages can't go down to the row's units: a day has sold more. Locks their days, in day order."""
        if "units" not in self._given:
            return {}
        fewer = []
        for listing in listings:
            package = packages.get((listing.provider_external_id, listing.external_id))
            if package is not None and listing.package["units"] < package.units:
                fewer.append(
                    {
                        "package_id": package.id,
                        "first_day": _today_in(package.time_zone),
                        "units": listing.package["units"],
                        "old_units": package.units,
                    }
                )
        if not fewer:
            return {}
        beyond = db.session.execute(
            text(_DAYS_OF_FEWER_UNITS + ("" if self._dry_run else " FOR UPDATE OF a")), {"rows": _json(fewer)}
        )
        reasons: dict[int, str] = {}
        for package_id, day, sold, units in beyond:
            if sold > units:
                reasons.setdefault(
                    package_id, f"{units} is fewer than the {sold} units held or booked on {day.isoformat()}"
                )
        return reasons


@dataclass
class _Batch:
    """What the rows of one transaction come to."""

    created: list[tuple[Listing, Package]] = field(default_factory=list)
    updated: list[tuple[Listing, Package, dict[str, Any]]] = field(default_factory=list)
    kept: list[tuple[Listing, Package]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)

    @property
    def unchanged(self) -> int:
        return len(self.kept)

    def reject(self, listing: Listing, column: str, reason: str) -> None:
        self.rejections.append(Rejection(listing.line, [Fault(column, reason)]))

    def create(self, listing: Listing, provider: Provider | None) -> None:
        package = Package(
            **listing.package,
            provider_id=provider.id if provider else None,
            external_id=listing.external_id,
            currency=CURRENCY,
            status="PUBLISHED" if listing.published else "DRAFT",
        )
        self.created.append((listing, package))

    def compare(self, listing: Listing, package: Package, differences: dict[str, Any]) -> None:
        if differences:
            self.updated.append((listing, package, differences))
        else:
            self.kept.append((listing, package))

    def write(self, by: Actor) -> None:
        repriced = []
        for _listing, package, differences in self.updated:
            repriced.append({"package_id": package.id, "old_units": package.units, "old_price": package.price_minor})
            for name, value in differences.items():
                if name == "status":
                    move(package, value)
                else:
                    setattr(package, name, value)
            package.updated_at = utcnow()
        db.session.add_all(package for _listing, package in self.created)
        audit.record_each(by, "package.update", [package for _listing, package, _differences in self.updated])
        audit.record_each(by, "package.create", [package for _listing, package in self.created])
        self._reprice_days(repriced)
        self._fill_calendar()

    def _reprice_days(self, before: list[dict[str, Any]]) -> None:
        changed = [
            {**old, "first_day": _today_in(package.time_zone), "units": package.units, "price": package.price_minor}
            for old, (_listing, package, differences) in zip(before, self.updated, strict=True)
            if differences.keys() & {"units", "price_minor"}
        ]
        if changed:
            db.session.execute(text(_REPRICE_DAYS), {"rows": _json(changed)})

    def _fill_calendar(self) -> None:
        calendars = [
            {
                "package_id": package.id,
                "first_day": _today_in(package.time_zone),
                "days": listing.available_days,
                "units": package.units,
                "price": package.price_minor,
            }
            for listing, package in [*self.created, *self.kept, *((row, package) for row, package, _ in self.updated)]
        ]
        db.session.execute(text(_FILL_CALENDAR), {"rows": _json(calendars)})


def _today_in(zone: str) -> date:
    return datetime.now(ZoneInfo(zone)).date()


def _json(rows: list[dict[str, Any]]) -> str:
    return orjson.dumps(rows).decode()


# Days with a capacity or a price of their own keep it: only those that still have the package's old one follow.
_DAYS_OF_FEWER_UNITS = """
SELECT a.package_id, a.day, a.held + a.booked, x.units
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS x(package_id bigint, first_day date, units int, old_units int)
JOIN availability a ON a.package_id = x.package_id AND a.day >= x.first_day AND a.capacity = x.old_units
ORDER BY a.package_id, a.day
"""

_REPRICE_DAYS = """
UPDATE availability a
SET capacity = CASE WHEN a.capacity = x.old_units THEN x.units ELSE a.capacity END,
    price_minor = CASE WHEN a.price_minor = x.old_price THEN x.price ELSE a.price_minor END
FROM jsonb_to_recordset(CAST(:rows AS jsonb))
    AS x(package_id bigint, first_day date, units int, old_units int, price bigint, old_price bigint)
WHERE a.package_id = x.package_id AND a.day >= x.first_day
  AND (x.units <> x.old_units AND a.capacity = x.old_units OR x.price <> x.old_price AND a.price_minor = x.old_price)
"""

# Counting first makes the usual second import, where no day is missing, cheap.
_FILL_CALENDAR = """
WITH wanted AS MATERIALIZED (
    SELECT x.* FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS x(package_id bigint, first_day date, days int, units int, price bigint)
    WHERE x.days > (SELECT count(*) FROM availability a
                    WHERE a.package_id = x.package_id AND a.day >= x.first_day AND a.day < x.first_day + x.days)
)
INSERT INTO availability (package_id, day, capacity, price_minor)
SELECT w.package_id, w.first_day + n, w.units, w.price
FROM wanted w CROSS JOIN LATERAL generate_series(0, w.days - 1) n
WHERE NOT EXISTS (SELECT FROM availability a WHERE a.package_id = w.package_id AND a.day = w.first_day + n)
ORDER BY w.package_id, n
ON CONFLICT DO NOTHING
"""
