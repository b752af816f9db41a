"""Verbs and look-ups of the catalogue."""

from __future__ import annotations

from sqlalchemy import select

from app.catalog.models import Package, Provider
from app.errors import NotFound
from app.extensions import db


def on_sale(package_id: int) -> Package:
    """The package, if the public may buy it now: published, of a verified provider. Raises NotFound."""
    package = db.session.scalar(
        select(Package)
        .join(Package.provider)
        .where(Package.id == package_id, Package.status == "PUBLISHED", Provider.status == "VERIFIED")
    )
    if package is None:
        raise NotFound("There is no package with this id on sale.")
    return package
