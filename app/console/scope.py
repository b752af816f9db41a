"""Narrowing a list to what belongs to one record: a link on the record's page sets it, a chip shows it by name."""

from __future__ import annotations

from dataclasses import dataclass

from app.accounts.models import User
from app.catalog.models import Package, Provider
from app.console.base import Filter
from app.extensions import db


@dataclass(frozen=True)
class Of(Filter):
    """Only what belongs to one row of `model`, whose id is in the list's own column `name`."""

    model: type[Provider | Package | User] = Provider

    def in_words(self, value: str) -> str:
        """With the record's name."""
        row = db.session.get(self.model, int(value))
        return f"{self.label}: {getattr(row, 'name', value)}"


PROVIDER = Of("provider_id", "Provider", kind="record", model=Provider)
PACKAGE = Of("package_id", "Package", kind="record", model=Package)
TRAVELLER = Of("traveller_id", "Traveller", kind="record", model=User)
