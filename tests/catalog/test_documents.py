"""Documents that providers show: what is taken in, what replaces what, what is removed, and what becomes of files."""

from __future__ import annotations

import os
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from app import storage
from app.audit.actor import Actor
from app.audit.models import AuditEntry
from app.catalog import checklist, documents
from app.catalog.models import Provider, ProviderDocument
from app.db import utcnow
from app.errors import Conflict, Invalid, NotAllowed, NotFound, Unavailable
from app.extensions import db
from app.storage import Folder
from tests import factories
from tests.concurrency import at_once

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
JPEG = b"\xff\xd8\xff\xe0" + bytes(20)


def waiting() -> Provider:
    return factories.provider(status="PENDING")


@pytest.fixture(autouse=True)
def folder(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The storage of this test alone: the others share one."""
    monkeypatch.setitem(app.extensions, "storage", Folder(tmp_path))
    return tmp_path


def files(app: Flask) -> set[str]:
    """The keys of all files there are."""
    return set(storage.older("documents", utcnow() + timedelta(minutes=1)))


def status_of(of: Provider, key: str) -> str:
    db.session.rollback()
    return next(found.status for found in checklist.of(of.id) if found.item.key == key)


def kept(of: Provider) -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).where(ProviderDocument.provider_id == of.id)) or 0


def last_entry(table: str, row_id: int) -> AuditEntry:
    entries = select(AuditEntry).where(AuditEntry.object_type == table, AuditEntry.object_id == row_id)
    found = db.session.scalars(entries.order_by(AuditEntry.id.desc()).limit(1)).first()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("content", "content_type"),
    [(b"%PDF-1.7 and so on", "application/pdf"), (PNG, "image/png"), (JPEG, "image/jpeg")],
)
def test_a_document_is_kept_as_it_came(app: Flask, content: bytes, content_type: str) -> None:
    provider, by = waiting(), factories.admin()
    document = factories.reread(factories.document(provider, by=by, stream=BytesIO(content), file_name="x.exe"))
    assert (document.content_type, document.size, document.status) == (content_type, len(content), "CURRENT")
    assert (document.file_name, document.uploaded_by_id, document.item) == ("x.exe", by.id, "proof_of_registration")
    assert b"".join(storage.read(document.storage_key)) == content
    assert "x.exe" not in document.storage_key
    assert documents.download_name(document).startswith("x.exe.")
    entry = last_entry("providers", provider.id)
    assert entry.action == "provider.add_document"
    assert "x.exe" not in str(entry.after), "a name may be a person's, and the history is for everybody"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<html>%PDF-", "no PDF, PNG or JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no PDF, PNG or JPEG"),
        (b"GIF89a", "no PDF, PNG or JPEG"),
        (b"%PDF-" + bytes(documents.MOST_BYTES - 4), r"has 10\.0 MB. Send at most 10 MB"),
    ],
    ids=["empty", "html", "svg", "gif", "large"],
)
def test_what_is_no_document_is_refused_whatever_its_name(app: Flask, content: bytes, words: str) -> None:
    provider, before = waiting(), files(app)
    with pytest.raises(Invalid, match=words):
        factories.document(provider, stream=BytesIO(content), file_name="extract.pdf")
    assert (kept(provider), files(app)) == (0, before)


def test_the_largest_document_is_taken(app: Flask) -> None:
    document = factories.document(waiting(), stream=BytesIO(b"%PDF-" + bytes(documents.MOST_BYTES - 5)))
    assert document.size == documents.MOST_BYTES


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("C:\\Users\\ada\\extract.pdf", "extract.pdf"),
        ("../../etc/passwd", "passwd"),
        ("  Auszug für Zoë.pdf ", "Auszug für Zoë.pdf"),
        ("e\u0301.pdf", "é.pdf"),
        ("x" * 200, "x" * 200),
    ],
)
def test_a_files_name_is_kept_as_text_alone(app: Flask, given: str, name: str) -> None:
    assert factories.document(waiting(), file_name=given).file_name == name


@pytest.mark.parametrize("name", ["", "  ", "a/", "x" * 201, "a\nb.pdf", "a\x7f.pdf", "a\u202efdp.exe", "\ud800.pdf"])
def test_an_odd_name_is_refused(app: Flask, name: str) -> None:
    provider, before = waiting(), files(app)
    with pytest.raises(Invalid) as refusal:
        factories.document(provider, file_name=name)
    assert [wrong.field for wrong in refusal.value.fields] == ["file"]
    assert (kept(provider), files(app)) == (0, before)


def test_the_last_day_is_given_where_there_is_one_and_lies_ahead(app: Flask) -> None:
    provider, today = waiting(), utcnow().date()
    wrong: list[tuple[str, Any]] = [
        ("insurance", None),
        ("insurance", today - timedelta(days=1)),
        ("bank_account", today),
    ]
    for item, last in wrong:
        with pytest.raises(Invalid) as refusal:
            factories.document(provider, item, expires_on=last)
        assert [each.field for each in refusal.value.fields] == ["expires_on"]
    assert kept(provider) == 0
    assert factories.document(provider, "insurance", expires_on=today).expires_on == today


@pytest.mark.parametrize("role", ["support", "moderator", "finance"])
def test_documents_are_for_those_who_decide(app: Flask, role: str) -> None:
    provider, by = waiting(), factories.actor(factories.staff(role))
    with pytest.raises(NotAllowed):
        factories.document(provider, by=by)
    document = factories.document(provider)
    with pytest.raises(NotAllowed):
        documents.opened(document.id, by=by)
    with pytest.raises(NotAllowed):
        documents.remove(document.id, reason="Because", by=by)
    assert factories.reread(document).status == "CURRENT"
    assert kept(provider) == 1


def test_a_newer_document_replaces_the_other_and_is_decided_on_anew(app: Flask) -> None:
    provider, by = waiting(), factories.admin()
    first = factories.document(provider, by=by)
    checklist.refuse(provider.id, first.item, document_id=first.id, reason="Can't be read", by=by)
    second = factories.document(provider, by=by, replaces=first.id)
    assert status_of(provider, first.item) == "OPEN"
    checklist.accept(provider.id, first.item, document_id=second.id, by=by)
    third = factories.document(provider, by=by, replaces=second.id)
    assert status_of(provider, first.item) == "OPEN"
    assert [factories.reread(document).status for document in (first, second, third)] == [
        *("REPLACED", "REPLACED", "CURRENT"),
    ]
    assert factories.reread(first).replaced_at is not None
    assert [document.id for document in documents.former(provider.id, first.item)] == [second.id, first.id]
    assert last_entry("providers", provider.id).action == "provider.replace_document"
    # What was shown before can still be read.
    assert documents.opened(first.id, by=by).id == first.id


def test_nobody_replaces_a_document_that_they_have_not_seen(app: Flask) -> None:
    provider, other = waiting(), factories.admin()
    first = factories.document(provider)
    second = factories.document(provider, replaces=first.id, by=other)
    before = files(app)
    for seen in (None, first.id):
        with pytest.raises(Conflict, match=f"was added by {other.label} .*Look at it first"):
            factories.document(provider, replaces=seen)
    assert kept(provider) == 2
    assert factories.reread(second).status == "CURRENT"
    assert files(app) == before


def test_of_two_who_add_at_once_one_is_told_and_leaves_no_file(app: Flask) -> None:
    provider, before = waiting(), files(app)
    people = [factories.admin(), factories.admin()]
    outcomes = at_once(app, *[lambda by=by: factories.document(provider, by=by) for by in people])  # type: ignore[misc]
    (refusal,) = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert people[1 - outcomes.index(refusal)].label in refusal.detail
    assert kept(provider) == 1
    assert len(files(app) - before) == 1


def test_of_a_verified_provider_whoever_adds_a_document_accepts_it(app: Flask) -> None:
    provider, by = factories.provider(), factories.admin()
    document = factories.document(provider, "insurance", by=by)
    (found,) = [each for each in checklist.of(provider.id) if each.item.key == "insurance"]
    assert found.check is not None
    assert (found.status, found.check.decided_by_id, found.check.reason) == ("ACCEPTED", by.id, None)
    with pytest.raises(Conflict, match="Suspend it first"):
        documents.remove(document.id, reason="Expired", by=by)
    assert factories.reread(document).status == "CURRENT"
    assert storage.exists(document.storage_key)


def test_a_removed_document_is_gone_with_its_file(app: Flask) -> None:
    provider, by = waiting(), factories.admin()
    document = factories.document(provider, by=by)
    checklist.accept(provider.id, document.item, document_id=document.id, by=by)
    documents.remove(document.id, reason=" Belongs to somebody else ", by=by)
    found = factories.reread(document)
    assert (found.status, found.removal_reason) == ("REMOVED", "Belongs to somebody else")
    assert status_of(provider, document.item) == "OPEN"
    assert not storage.exists(document.storage_key)
    entry = last_entry("providers", provider.id)
    assert (entry.action, entry.reason) == ("provider.remove_document", "Belongs to somebody else")
    with pytest.raises(NotFound, match="was removed: Belongs to somebody else"):
        documents.opened(document.id, by=by)
    with pytest.raises(Conflict, match="removed already"):
        documents.remove(document.id, reason="Again", by=by)


def test_an_earlier_document_is_removed_without_touching_what_was_decided(app: Flask) -> None:
    provider, by = factories.provider(), factories.admin()
    first = factories.document(provider, by=by)
    second = factories.document(provider, by=by, replaces=first.id)
    documents.remove(first.id, reason="May not be kept any longer", by=by)
    assert status_of(provider, first.item) == "ACCEPTED"
    assert storage.exists(second.storage_key)


@pytest.mark.parametrize("reason", [None, "", " "])
def test_a_document_is_not_removed_without_a_reason(app: Flask, reason: str | None) -> None:
    document = factories.document(waiting())
    with pytest.raises(Invalid):
        documents.remove(document.id, reason=reason, by=factories.admin())
    assert factories.reread(document).status == "CURRENT"
    assert storage.exists(document.storage_key)


def test_whoever_opens_a_document_is_written_down(app: Flask) -> None:
    document, by = factories.document(waiting()), factories.admin()
    documents.opened(document.id, by=by)
    entry = last_entry("provider_documents", document.id)
    assert (entry.action, entry.actor_id) == ("document.open", by.id)
    assert document.storage_key not in str(entry.after)


def test_a_lost_file_is_said_and_nobody_is_written_down(app: Flask) -> None:
    document = factories.document(waiting())
    storage.delete([document.storage_key])
    with pytest.raises(NotFound, match="not in the storage"):
        documents.opened(document.id, by=factories.admin())
    assert (
        db.session.scalar(
            select(func.count()).where(
                AuditEntry.object_type == "provider_documents", AuditEntry.object_id == document.id
            )
        )
        == 0
    )


# ------------------------------------------------------------------ files without a document


def age(file: Path, hours: int) -> None:
    """Make a file so many hours old."""
    at = utcnow().timestamp() - 3600 * hours
    os.utime(file, (at, at))


def test_files_without_a_document_are_swept_after_a_day(app: Flask, folder: Path) -> None:
    current, replaced_by = (factories.document(waiting()) for _ in range(2))
    newer = factories.document(db.session.get_one(Provider, replaced_by.provider_id), replaces=replaced_by.id)
    orphan, young, elsewhere = "documents/orphan", "documents/young", "exports/1/0001.csv"
    for key in (orphan, young, elsewhere):
        storage.save(key, [b"x"])
    for key in (orphan, elsewhere, current.storage_key, replaced_by.storage_key, newer.storage_key):
        age(folder / key, 25)
    age(folder / young, 23)
    documents.sweep_files()
    left = {key for key in (orphan, young, elsewhere) if storage.exists(key)}
    assert left == {young, elsewhere}
    assert all(storage.exists(document.storage_key) for document in (current, replaced_by, newer))


def test_the_file_of_a_removed_document_is_swept_when_it_could_not_be_deleted(
    app: Flask, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = factories.document(waiting())

    def down(_keys: Any) -> None:
        raise Unavailable("The storage is down.")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "delete", down)
        documents.remove(document.id, reason="Added by mistake", by=factories.admin())
    assert factories.reread(document).status == "REMOVED"
    assert storage.exists(document.storage_key)
    age(folder / document.storage_key, 25)
    documents.sweep_files()
    assert not storage.exists(document.storage_key)


def test_what_the_storage_can_not_take_is_refused_and_leaves_nothing(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider: Provider = waiting()
    by: Actor = factories.admin()

    def full(_key: str, _content: Any) -> int:
        raise Unavailable("Files can't be kept: no space left.")

    monkeypatch.setattr(storage, "save", full)
    with pytest.raises(Unavailable):
        factories.document(provider, by=by)
    assert kept(provider) == 0
    assert status_of(provider, "proof_of_registration") == "OPEN"
