"""The verb that takes somebody else's list of packages into the catalogue: for the command line and the console's
imports.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, BinaryIO

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import lazyload

from app.advisory_locks import AdvisoryLock
from app.audit import service as audit
from app.audit.actor import Actor
from app.catalog import calendars, changes, checklist
from app.catalog.import_fields import Wrong, number, shown
from app.catalog.import_file import BrokenRow, CsvFile, Row, Unusable
from app.catalog.import_mapping import CURRENCY, Fault, ImportMapping, Listing, RowReader
from app.catalog.models import Package, Provider
from app.db import keep_before, transaction, utcnow
from app.errors import Busy
from app.extensions import db
from app.states import move

# A transaction's worth: with two years of days each well under the statement timeout. The commit puts each day's new
# price into its month and holds the days meanwhile: nine seconds for a hundred packages on a busy machine.
BATCH = 20
_TRIES_WHEN_BUSY = 6


@dataclass(frozen=True)
class Rejection:
    """A row that did not go in: the physical line it begins on, and each thing that is wrong with it."""

    line: int
    faults: Sequence[Fault]

    def __str__(self) -> str:
        return f"line {self.line}, " + "; ".join(f"column {fault.column}: {fault.reason}" for fault in self.faults)


@dataclass(frozen=True)
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

    `stream` is the CSV file, seekable, plain or gzipped; `rate` is USD per unit of its prices. With `dry_run` all
    is read and compared, and nothing written. The rows of `done`, which came first, were dealt with before: they are
    only read again. `keep` is called with each batch's progress in the batch's own transaction.
    """

    def __init__(
        self,
        stream: BinaryIO,
        mapping: ImportMapping,
        *,
        rate: Decimal,
        by: Actor,
        dry_run: bool = False,
        done: ImportReport | None = None,
        keep: Callable[[Progress], None] | None = None,
    ) -> None:
        """Raises Unusable when the file can't be read or lacks a column of the mapping, NotAllowed."""
        by.require("admin")
        self.report = done or ImportReport()
        self._file = CsvFile(stream)
        self._reader = RowReader(self._file.columns, mapping, rate)
        self._given = mapping.given
        self._by = by
        self._dry_run = dry_run
        self._keep = keep or (lambda _progress: None)
        self._lines: dict[tuple[str, str], int] = {}
        self._providers: dict[str, tuple[str, str]] = {}

    def run(self) -> Iterator[Progress]:
        """Import batch by batch; each is in the database, packages and their days together, when its progress is told.

        Stopped halfway, what was told is in and a second run finishes. Packages are found again by provider and
        external id, and keep what the mapping says nothing about. Raises Busy when others hold the same rows for long,
        Unavailable, and what `keep` raises: of that batch nothing is in.
        """
        listings: list[Listing] = []
        rejections: list[Rejection] = []
        done_before = self.report.rows
        for count, row in enumerate(self._file.rows(), 1):
            listing = self._read(row)
            if count <= done_before:
                continue
            if isinstance(listing, Listing):
                listings.append(listing)
            else:
                rejections.append(listing)
            if len(listings) + len(rejections) >= BATCH:
                yield self._finish(listings, rejections)
                listings, rejections = [], []
        if listings or rejections:
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

    def _finish(self, listings: Sequence[Listing], rejections: Sequence[Rejection]) -> Progress:
        progress = self._settle_patiently(listings, rejections)
        self.report = progress.report
        return progress

    def _settle_patiently(self, listings: Sequence[Listing], rejections: Sequence[Rejection]) -> Progress:
        for attempt in range(1, _TRIES_WHEN_BUSY):
            try:
                return self._settle(listings, rejections)
            except Busy:
                time.sleep(0.2 * 2**attempt)
        return self._settle(listings, rejections)

    def _settle(self, listings: Sequence[Listing], rejections: Sequence[Rejection]) -> Progress:
        with transaction():
            batch = self._write(listings) if listings else _Batch()
            rejected = sorted([*rejections, *batch.rejections], key=lambda rejection: rejection.line)
            report = ImportReport(
                created=self.report.created + len(batch.created),
                updated=self.report.updated + len(batch.updated),
                unchanged=self.report.unchanged + len(batch.kept),
                rejected=self.report.rejected + len(rejected),
            )
            progress = Progress(report, rejected, self._file.share_read)
            self._keep(progress)
        return progress

    def _write(self, listings: Sequence[Listing]) -> _Batch:
        if not self._dry_run:
            db.session.execute(select(func.pg_advisory_xact_lock(AdvisoryLock.IMPORTING_BATCH)))
        providers = self._upsert_providers(listings)
        packages = self._existing_packages(listings, providers)
        found = [(row, packages.get((row.provider_external_id, row.external_id))) for row in listings]
        oversold = self._oversold([(row, package) for row, package in found if package is not None])
        batch = _Batch()
        for row, package in found:
            if package is None:
                batch.create(row, providers.get(row.provider_external_id))
            elif package.id in oversold:
                batch.reject(row, self._reader.column_of("units"), oversold[package.id])
            else:
                batch.compare(row, package, self._differences(row, package))
        if not self._dry_run:
            batch.write(self._by)
            changes.announce()
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
        trusted = [provider for provider in created if provider.status in ("VERIFIED", "SUSPENDED")]
        checklist.accept_unseen(trusted, because="Verified elsewhere: came in so with an imported catalogue.")
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

    def _oversold(self, known: Sequence[tuple[Listing, Package]]) -> dict[int, str]:
        """By package id, why it can't go down to the units of its row."""
        if "units" not in self._given:
            return {}
        wanted = {package.id: row.package["units"] for row, package in known}
        beyond = calendars.sold_beyond(((p, wanted[p.id]) for _row, p in known), lock=not self._dry_run)
        return {
            package_id: f"{wanted[package_id]} is fewer than the {day.sold} held or booked on {day.day.isoformat()}"
            for package_id, day in beyond.items()
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


@dataclass
class _Batch:
    """What the rows of one transaction come to."""

    created: list[tuple[Listing, Package]] = field(default_factory=list)
    updated: list[tuple[Listing, Package, dict[str, Any]]] = field(default_factory=list)
    kept: list[tuple[Listing, Package]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)

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
        former = [
            calendars.Former(package, package.units, package.price_minor) for _row, package, _changes in self.updated
        ]
        for _row, package, differences in self.updated:
            for name, value in differences.items():
                if name == "status":
                    move(package, value)
                else:
                    setattr(package, name, value)
            package.updated_at = utcnow()
        db.session.add_all(package for _row, package in self.created)
        audit.record_each(by, "package.update", [package for _row, package, _differences in self.updated])
        audit.record_each(by, "package.create", [package for _row, package in self.created])
        calendars.follow(former)
        calendars.open_days([(package, row.available_days) for row, package in self.created])
        calendars.top_up([(package, row.available_days) for row, package in self.kept])
        calendars.top_up([(package, row.available_days) for row, package, _differences in self.updated])
