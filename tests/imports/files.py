"""Files of foreign catalogues, each of a host of its own, and the choice of columns that fits them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from sqlalchemy import select, text

from app.accounts.models import User
from app.audit.actor import SYSTEM, Actor
from app.audit.models import AuditEntry
from app.catalog.models import Package, Provider
from app.db import transaction
from app.extensions import db
from app.imports import service as imports
from app.imports import work
from app.imports.models import UNDER_WAY, Import
from tests import factories

COLUMNS = {
    "external_id": "id",
    "provider_external_id": "host_id",
    "name": "name",
    "place": "neighbourhood",
    "price": "price",
    "capacity": "accommodates",
}
DEFAULTS = {
    "provider_name": "Host {provider_external_id}",
    "type": "hotel",
    "city": "Oslo",
    "country": "Norway",
    "published": "true",
    "available_days": "3",
}
HEADER = "id,name,host_id,neighbourhood,accommodates,price"


class Catalogue:
    """A file in the making: rows of one host, the good and the bad ones, and what came of importing it."""

    def __init__(self, good: int = 3, bad: int = 0) -> None:
        self.host = f"host-{uuid4().hex[:12]}"
        self.rows = [self.row(number) for number in range(good)]
        self.rows += [self.row(number, price="free") for number in range(good, good + bad)]

    def row(self, number: int, *, name: str = "", price: str = "1000.0", guests: str = "3") -> str:
        """One line of the file."""
        return f"{number},{name or f'Room {number}'},{self.host},Frogner,{guests},{price}"

    @property
    def content(self) -> bytes:
        """The file."""
        return "\n".join([HEADER, *self.rows, ""]).encode()

    def upload(self, by: Actor, name: str = "oslo.csv", **more: Any) -> Import:
        """Take it in."""
        return imports.upload(io.BytesIO(self.content), name, by=by, **more)

    def check(self, found: Import, by: Actor, **more: Any) -> Import:
        """Choose its columns, in kroner."""
        asked: Mapping[str, Any] = {"currency": "NOK", "rate": "0.1", "columns": COLUMNS, "defaults": DEFAULTS, **more}
        return imports.check(found.id, by=by, **asked)

    def checked(self, by: Actor, **more: Any) -> Import:
        """Taken in, and its check over."""
        return worked(self.check(self.upload(by, **more), by))

    def imported(self, by: Actor) -> Import:
        """All of it."""
        return worked(imports.start(self.checked(by).id, by=by))

    def packages(self) -> dict[str, Package]:
        """What the catalogue has of this host, by external id."""
        db.session.rollback()
        found = select(Package).join(Provider).where(Provider.external_id == self.host)
        rows = db.session.scalars(found.execution_options(populate_existing=True))
        return {str(package.external_id): package for package in rows}


def admin() -> tuple[User, Actor]:
    """Somebody who may import."""
    person = factories.staff("admin")
    return person, factories.actor(person)


def worked(found: Import) -> Import:
    """The import, with nothing left to do: whether by a worker that runs, or here and now."""
    while (now := reread(found)).status in UNDER_WAY:
        work.go_on(now.id)
    return now


def nobody_imports() -> None:
    """What other tests left running is stopped: one import is in the way of the next."""
    db.session.rollback()
    for import_id in db.session.scalars(select(Import.id).where(Import.status == "RUNNING")).all():
        imports.cancel(import_id, by=SYSTEM)


def reread(found: Import) -> Import:
    """The import as it is now."""
    db.session.rollback()
    return imports.find(found.id)


def history(found: Import) -> list[tuple[str, str | None]]:
    """What the trail says was done, and why."""
    about = (AuditEntry.object_type == "imports", AuditEntry.object_id == found.id)
    entries = db.session.scalars(select(AuditEntry).where(*about).order_by(AuditEntry.id))
    return [(entry.action, entry.reason) for entry in entries]


def long_ago(found: Import, days: int) -> None:
    """Uploaded so many days before."""
    with transaction():
        earlier = "UPDATE imports SET created_at = created_at - make_interval(days => :days) WHERE id = :id"
        db.session.execute(text(earlier), {"days": days, "id": found.id})
