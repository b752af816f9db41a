"""Verbs of the documents that providers show: added, replaced by newer ones, removed, opened; their files are in the
storage.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from typing import BinaryIO

from sqlalchemy import select

from app import storage
from app.audit import history, reasons
from app.audit import service as audit
from app.audit.actor import Actor
from app.catalog import checklist
from app.catalog.models import Provider, ProviderDocument
from app.db import keep_before, leave_database, transaction, utcnow
from app.errors import Conflict, Invalid, NotFound, Unavailable
from app.extensions import db
from app.states import move

log = logging.getLogger(__name__)

MAY_OPEN = checklist.MAY_DECIDE
MOST_BYTES = 10_000_000
LONGEST_NAME = 200
# How a file of each type begins, whatever its name says, and what such names end with.
_BEGINNINGS = {
    b"%PDF-": "application/pdf",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
}
ENDINGS = {"application/pdf": (".pdf",), "image/png": (".png",), "image/jpeg": (".jpg", ".jpeg")}
_FOLDER = "documents"
_READ_BYTES = 1 << 16
# So long a file may be there without its row: whoever uploads it is about to write that.
_GRACE = timedelta(days=1)
_BATCH = 500
# Turn the direction of what stands behind them: a name could look like another.
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def add(
    provider_id: int,
    key: str,
    stream: BinaryIO,
    *,
    file_name: str,
    expires_on: date | None,
    replaces: int | None,
    by: Actor,
) -> ProviderDocument:
    """Take in a document for an item of a provider's checklist, in the place of the one with the id `replaces`.

    `stream` is a PDF, PNG or JPEG of at most `MOST_BYTES`, seekable. The item is open then, to be decided on it; of a
    verified provider whoever adds it accepts it with that, so that it never stands without. Raises NotAllowed,
    NotFound, Invalid by field, Conflict when the current document is another one than `replaces`, Unavailable when the
    storage can't take it; nothing is kept then.
    """
    by.require(*MAY_OPEN)
    item = checklist.find(key)
    name = _name(file_name)
    _check_last_day(item, expires_on)
    content_type = _type_of(stream)
    if db.session.get(Provider, provider_id) is None:
        raise NotFound(f"There is no provider {provider_id}.")
    storage_key = f"{_FOLDER}/{secrets.token_hex(16)}"
    digest = hashlib.sha256()
    leave_database()
    size = storage.save(storage_key, _digested(stream, digest.update))
    try:
        with transaction():
            provider, standing = checklist.locked(provider_id, key)
            former = standing.document
            _require_current(standing, replaces)
            document = ProviderDocument(
                provider_id=provider.id,
                item=key,
                storage_key=storage_key,
                file_name=name,
                content_type=content_type,
                size=size,
                sha256=digest.digest(),
                expires_on=expires_on,
                uploaded_by_id=by.id,
            )
            if former is not None:
                move(former, "REPLACED")
                db.session.flush()
            db.session.add(document)
            _decide_anew(provider, standing, by)
            audit.record(
                by,
                "provider.replace_document" if former else "provider.add_document",
                provider,
                before={key: in_words(former) if former else None},
                after={key: in_words(document)},
            )
    except (Conflict, NotFound):
        # After any other error nobody knows whether the row is there; a file that has none is swept.
        storage.delete([storage_key])
        raise
    return document


def remove(document_id: int, *, reason: str | None, by: Actor) -> ProviderDocument:
    """Take a document away, with its file: it was somebody else's, or nobody may keep it any longer.

    Its item is open then. Raises NotAllowed, NotFound, Invalid without a reason, Conflict when it is removed already or
    a verified provider stands on it.
    """
    by.require(*MAY_OPEN)
    reason = reasons.given(reason)
    with transaction():
        document = find(document_id)
        provider, standing = checklist.locked(document.provider_id, document.item)
        document = find(document_id)  # now that nobody else can change it
        was_current = document.status == "CURRENT"
        if was_current and standing.item.needs_document:
            checklist.require_not_verified(provider)
        move(document, "REMOVED")
        document.removal_reason = reason
        if was_current and standing.check and standing.status != "OPEN":
            checklist.decide(standing.check, "OPEN", by=by)
        before, after = {document.item: in_words(document)}, {document.item: "removed"}
        audit.record(by, "provider.remove_document", provider, reason=reason, before=before, after=after)
    try:
        storage.delete([document.storage_key])
    except Unavailable as error:
        log.warning(
            "a removed document's file is left to be swept", extra={"key": document.storage_key, "why": str(error)}
        )
    return document


def opened(document_id: int, *, by: Actor) -> ProviderDocument:
    """A document that somebody is about to read, which is kept in the trail.

    Raises NotAllowed, NotFound, Unavailable.
    """
    by.require(*MAY_OPEN)
    document = find(document_id)
    if document.status == "REMOVED":
        raise NotFound(f"This document was removed: {document.removal_reason}")
    leave_database()
    if not storage.exists(document.storage_key):
        raise NotFound("The file of this document is not in the storage.")
    with transaction():
        audit.record(by, "document.open", keep_before(find(document_id)), after={"item": document.item})
    return document


def former(provider_id: int, key: str) -> Sequence[ProviderDocument]:
    """What was shown for an item before, the newest first."""
    before = (ProviderDocument.provider_id == provider_id, ProviderDocument.item == key)
    ended = select(ProviderDocument).where(*before, ProviderDocument.status != "CURRENT")
    return db.session.scalars(ended.order_by(ProviderDocument.id.desc())).all()


def ids_of(provider_id: int) -> Sequence[int]:
    """Every document that a provider ever showed."""
    return db.session.scalars(select(ProviderDocument.id).where(ProviderDocument.provider_id == provider_id)).all()


def download_name(document: ProviderDocument) -> str:
    """The name that a document is saved under: the one it came with, ending as its content does."""
    endings = ENDINGS[document.content_type]
    name = document.file_name
    return name if name.lower().endswith(endings) else f"{name}{endings[0]}"


def sweep_files() -> int:
    """Delete files that no document has, or only a removed one; returns how many there were. What came in within the
    last day is left alone, as its row may be on its way.
    """
    swept = 0
    found = list(storage.older(_FOLDER, utcnow() - _GRACE))
    for first in range(0, len(found), _BATCH):
        batch = found[first : first + _BATCH]
        kept = select(ProviderDocument.storage_key).where(
            ProviderDocument.storage_key.in_(batch), ProviderDocument.status != "REMOVED"
        )
        known = set(db.session.scalars(kept))
        leave_database()
        orphans = [key for key in batch if key not in known]
        storage.delete(orphans)
        swept += len(orphans)
    return swept


def find(document_id: int) -> ProviderDocument:
    """A document, whatever became of it. Raises NotFound."""
    document = db.session.get(ProviderDocument, document_id, populate_existing=True)
    if document is None:
        raise NotFound("There is no document with this id.")
    return document


def _name(given: str) -> str:
    """A file's name as it is kept and shown: without folders. Raises Invalid."""
    name = unicodedata.normalize("NFC", given).replace("\\", "/").rsplit("/", 1)[-1].strip()
    if not name:
        raise Invalid.field("file", "Choose a file.")
    if len(name) > LONGEST_NAME:
        raise Invalid.field("file", f"The file's name is longer than {LONGEST_NAME} characters. Rename it.")
    if any(unicodedata.category(letter) in ("Cc", "Cs") or letter in _TURNING for letter in name):
        raise Invalid.field("file", "The file's name has characters that can't be shown. Rename it.")
    return name


def _check_last_day(item: checklist.Item, expires_on: date | None) -> None:
    if item.expires and expires_on is None:
        raise Invalid.field("expires_on", f"Give the last day of {item.label}.")
    if not item.expires and expires_on is not None:
        raise Invalid.field("expires_on", f"{item.label} has no last day. Leave it empty.")
    if expires_on is not None and expires_on < utcnow().date():
        raise Invalid.field(
            "expires_on", f"This expired on {expires_on.day} {expires_on:%b %Y}. Ask for one that holds."
        )


def _type_of(stream: BinaryIO) -> str:
    """What a file is, by how it begins. Raises Invalid, also for one that is too large."""
    size = stream.seek(0, 2)
    stream.seek(0)
    if size == 0:
        raise Invalid.field("file", "The file is empty.")
    if size > MOST_BYTES:
        raise Invalid.field("file", f"The file has {size / 1e6:.1f} MB. Send at most {MOST_BYTES // 1_000_000} MB.")
    begins = stream.read(max(map(len, _BEGINNINGS)))
    stream.seek(0)
    for beginning, content_type in _BEGINNINGS.items():
        if begins.startswith(beginning):
            return content_type
    raise Invalid.field("file", "This is no PDF, PNG or JPEG. Send one of these.")


def _digested(stream: BinaryIO, update: Callable[[bytes], object]) -> Iterator[bytes]:
    while chunk := stream.read(_READ_BYTES):
        update(chunk)
        yield chunk


def _require_current(standing: checklist.Standing, replaces: int | None) -> None:
    """Raises Conflict unless the item's document is still the one that whoever adds another had seen, or none."""
    document = standing.document
    if document is not None and document.id != replaces:
        who = document.uploaded_by.name if document.uploaded_by else "Tripdesk"
        raise Conflict(
            f"A document for {standing.item.label} was added by {who} {history.ago(document.uploaded_at)}."
            " Look at it first."
        )


def _decide_anew(provider: Provider, standing: checklist.Standing, by: Actor) -> None:
    check = checklist.check_of(provider, standing)
    if check.status != "OPEN":
        checklist.decide(check, "OPEN", by=by)
    if provider.status == "VERIFIED":
        checklist.decide(check, "ACCEPTED", by=by)


def in_words(document: ProviderDocument) -> str:
    """A document for those who may not open it: without its name, which may be a person's."""
    kind = ENDINGS[document.content_type][0][1:].upper()
    last = document.expires_on
    until = f", until {last.day} {last:%b %Y}" if last else ""
    return f"{kind} of {max(1, document.size // 1000):,} KB{until}"
