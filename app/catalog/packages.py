"""Verbs of packages: put on sale and taken off it."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select

from app.audit import history, reasons
from app.audit import service as audit
from app.audit.actor import Actor
from app.catalog import changes
from app.catalog.models import Availability, Package
from app.db import keep_before, require_transaction, transaction, utcnow
from app.errors import Conflict, NotFound
from app.extensions import db

MAY_EDIT = ("admin",)


def today_at(package: Package) -> date:
    """Today, where the package is."""
    return datetime.now(ZoneInfo(package.time_zone)).date()


def lock_for_edit(package_id: int) -> Package:
    """The package, locked against other edits; bookings of it go on. Raises NotFound."""
    require_transaction()
    wanted = select(Package).where(Package.id == package_id).with_for_update(key_share=True, of=Package)
    package = db.session.scalar(wanted.execution_options(populate_existing=True))
    if package is None:
        raise NotFound(f"There is no package {package_id}.")
    return keep_before(package)


def publish(package_id: int, *, by: Actor) -> Package:
    """Put a package on sale, which it is while its provider is verified.

    Raises NotAllowed, NotFound, Conflict when it has no day to sell, or naming who was first.
    """
    by.require(*MAY_EDIT)
    with transaction():
        package = lock_for_edit(package_id)
        history.move(package, "PUBLISHED")
        if not _has_days_to_sell(package):
            raise Conflict("This package has no open day from today on. Offer days on its calendar first.")
        package.updated_at = utcnow()
        audit.record(by, "package.publish", package)
        changes.announce()
    return package


def unpublish(package_id: int, *, by: Actor, reason: str | None) -> Package:
    """Take a package off sale; bookings that were made stand.

    Raises NotAllowed, NotFound, Invalid without a reason, Conflict naming who was first.
    """
    by.require(*MAY_EDIT)
    reason = reasons.given(reason)
    with transaction():
        package = lock_for_edit(package_id)
        history.move(package, "DRAFT")
        package.updated_at = utcnow()
        audit.record(by, "package.unpublish", package, reason=reason)
        changes.announce()
    return package


def _has_days_to_sell(package: Package) -> bool:
    days = select(Availability.day).where(
        Availability.package_id == package.id,
        Availability.day >= today_at(package),
        Availability.capacity > 0,
        ~Availability.closed,
    )
    return db.session.scalar(days.limit(1)) is not None
