"""Saving a form over what others saved meanwhile: field by field, by what the trail says happened since it was opened.

The version of a row is the id of its newest entry. What a field held when a form was opened is what the first later
entry about it has as its before; so a form has to carry nothing but that version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from app.audit import meanwhile
from app.audit.models import AuditEntry
from app.db import require_transaction
from app.errors import Conflict, FieldError, Invalid
from app.extensions import Model, db


@dataclass(frozen=True)
class Editable:
    """A column as a form has it: `read` makes a value of what was typed, or raises Invalid by field; `write` is the way
    back.
    """

    column: str
    read: Callable[[str], Any]
    write: Callable[[Any], str] = str


Fields = Mapping[str, Editable]


@dataclass(frozen=True)
class Clash:
    """A field that two people changed, each to something else: as it was, as it was saved, by whom and when, and as it
    was typed.
    """

    field: str
    opened: str
    theirs: str
    yours: str
    by: str
    at: datetime


class SavedMeanwhile(Conflict):
    """Somebody saved the same fields since the form was opened.

    `texts` is the form with both sides in it: what was typed, and what only the others changed (`followed`); `version`
    is what a form that shows all this has seen.
    """

    def __init__(
        self, clashes: Sequence[Clash], texts: Mapping[str, str], followed: Sequence[str], version: int
    ) -> None:
        names = ", ".join(dict.fromkeys(clash.by for clash in clashes))
        super().__init__(f"{names} saved the same fields while you were at it. Nothing of yours is saved yet.")
        self.clashes = clashes
        self.texts = texts
        self.followed = followed
        self.version = version


def opened(row: Model, fields: Fields) -> tuple[int, dict[str, str]]:
    """What a form of the row starts with: the version it carries, and the text of each field."""
    # The version first: what is saved between the two shows as a change since it, never as one that was seen.
    version = version_of(row)
    db.session.refresh(row)
    return version, texts_of(row, fields)


def version_of(row: Model) -> int:
    """The newest entry about the row; 0 when there is none."""
    entry = meanwhile.newest(row)
    return entry.id if entry else 0


def texts_of(row: Model, fields: Fields) -> dict[str, str]:
    """The row's fields as a form shows them."""
    return {name: field.write(getattr(row, field.column)) for name, field in fields.items()}


def merge(row: Model, fields: Fields, typed: Mapping[str, str], *, seen: int) -> dict[str, Any]:
    """What a form that was opened at the version `seen` changes about the locked row, by column.

    A field that still reads as it did then, or isn't in `typed`, was not touched: it keeps what others made of it, and
    is not checked. Raises Invalid by field, SavedMeanwhile.
    """
    require_transaction()
    since = _since(row, seen)
    texts = texts_of(row, fields)
    wanted: dict[str, Any] = {}
    wrong: list[FieldError] = []
    clashes: list[Clash] = []
    followed: list[str] = []
    for name, field in fields.items():
        now, now_text = getattr(row, field.column), texts[name]
        theirs = [entry for entry in since if field.column in (entry.after or {})]
        was = (theirs[0].before or {}).get(field.column, now) if theirs else now
        text = _with_plain_breaks(typed.get(name, now_text))
        if text in (field.write(was), now_text):
            if was != now and text != now_text:
                followed.append(name)
            continue
        texts[name] = text
        try:
            value = field.read(text)
        except Invalid as refusal:
            wrong += refusal.fields
            continue
        if value == now:
            continue
        if was != now:
            last = theirs[-1]
            clashes.append(Clash(name, field.write(was), now_text, text, last.actor_label, last.at))
        wanted[field.column] = value
    if wrong:
        raise Invalid("Some fields need another look.", wrong)
    if clashes:
        raise SavedMeanwhile(clashes, texts, followed, version_of(row))
    return wanted


def _since(row: Model, seen: int) -> list[AuditEntry]:
    entries = select(AuditEntry).where(
        AuditEntry.object_type == row.__tablename__,
        AuditEntry.object_id == row.id,  # type: ignore[attr-defined]  # every audited table has one
        AuditEntry.id > seen,
        AuditEntry.before.is_not(None),
    )
    return list(db.session.scalars(entries.order_by(AuditEntry.id)))


def _with_plain_breaks(text: str) -> str:
    """A form sends line breaks as CRLF, whatever it was given."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
