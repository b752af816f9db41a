"""What each of the staff opened last, to find it again: a few records a person."""

from __future__ import annotations

from sqlalchemy import select

from app.accounts.models import RecentRecord
from app.db import write_alone
from app.extensions import db

KEPT = 20
# Nothing hangs on it, so it is no business of the audit trail's.
_NOTE = """
WITH noted AS (
  INSERT INTO recent_records (person_id, kind, record_id) VALUES (%(person_id)s, %(kind)s, %(record_id)s)
  ON CONFLICT (person_id, kind, record_id) DO UPDATE SET opened_at = now()
)
DELETE FROM recent_records WHERE (person_id, kind, record_id) IN (
  SELECT person_id, kind, record_id FROM recent_records
  WHERE person_id = %(person_id)s AND (kind, record_id) <> (%(kind)s, %(record_id)s)
  ORDER BY opened_at DESC OFFSET %(others)s FOR UPDATE SKIP LOCKED
)
"""


def note(person_id: int, kind: str, record_id: int) -> None:
    """Remember that a person opened a record; what they opened long before is forgotten."""
    write_alone(_NOTE, {"person_id": person_id, "kind": kind, "record_id": record_id, "others": KEPT - 1})


def of(person_id: int) -> list[tuple[str, int]]:
    """What a person opened last, as kind and id, the newest first."""
    newest = (
        select(RecentRecord.kind, RecentRecord.record_id)
        .where(RecentRecord.person_id == person_id)
        .order_by(RecentRecord.opened_at.desc())
    )
    return [(found.kind, found.record_id) for found in db.session.execute(newest)]
