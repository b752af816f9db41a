"""Choices of columns that are kept under a name: the next file of the same sort takes one click."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import joinedload

from app.advisory_locks import AdvisoryLock
from app.audit import service as audit
from app.audit.actor import Actor
from app.catalog.import_mapping import ImportMapping
from app.db import keep_before, lock, transaction, utcnow
from app.errors import Conflict, Invalid
from app.extensions import db
from app.imports.models import SavedMapping

MAY_IMPORT = ("admin",)
MOST_MAPPINGS = 200
_MOST_LETTERS = 60


def of_all() -> Sequence[SavedMapping]:
    """Every choice that was kept, by name."""
    return db.session.scalars(
        select(SavedMapping).options(joinedload(SavedMapping.saved_by)).order_by(SavedMapping.name)
    ).all()


def keep(name: str, mapping: ImportMapping, *, currency: str, rate: Decimal, by: Actor) -> SavedMapping:
    """Keep a choice of columns under a name; what had that name is replaced. Raises Invalid by field (`keep_as`),
    Conflict beyond MOST_MAPPINGS, NotAllowed.
    """
    by.require(*MAY_IMPORT)
    name = " ".join(name.split())
    if not 1 <= len(name) <= _MOST_LETTERS:
        raise Invalid.field("keep_as", f"Give it a name of at most {_MOST_LETTERS} characters.")
    with transaction():
        db.session.execute(select(func.pg_advisory_xact_lock(AdvisoryLock.KEEPING_MAPPING)))
        named = select(SavedMapping).where(SavedMapping.name == name).with_for_update()
        kept = db.session.scalar(named.execution_options(populate_existing=True))
        if kept is None:
            if (db.session.scalar(select(func.count()).select_from(SavedMapping)) or 0) >= MOST_MAPPINGS:
                raise Conflict(f"There are {MOST_MAPPINGS} kept choices of columns. Delete one first.")
            kept = SavedMapping(name=name)
        else:
            keep_before(kept)
        kept.columns, kept.defaults = dict(mapping.columns), dict(mapping.defaults)
        kept.currency, kept.rate = currency, rate
        kept.saved_by_id, kept.saved_at = by.id or 0, utcnow()
        db.session.add(kept)
        audit.record(by, "import_mapping.keep", kept)
    return kept


def forget(mapping_id: int, *, by: Actor) -> SavedMapping:
    """Delete a kept choice; imports that were made with it keep theirs. Raises NotFound, NotAllowed."""
    by.require(*MAY_IMPORT)
    with transaction():
        kept = lock(SavedMapping, mapping_id)
        audit.record(by, "import_mapping.forget", kept)
        db.session.execute(delete(SavedMapping).where(SavedMapping.id == mapping_id))
    return kept
