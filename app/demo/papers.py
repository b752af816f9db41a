"""What the demo's providers have shown: everything is accepted of those who sell, and of those who wait every stage is
there, with documents to open.
"""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from app import storage
from app.audit.actor import Actor
from app.catalog.checklist import ITEMS, Item
from app.catalog.models import Provider, ProviderCheck, ProviderDocument
from app.demo.copying import Loading, TableCopy
from app.demo.journal import Journal

# Of each stage, how far the items are, in their order: open (-), accepted (a), refused (r); D and capitals have a
# document, with an x behind it one that has expired since.
_WAITING = ("- D D D D D", "a A A A Ax A", "a A R - - -", "a A A A A A", "- - - - - -", "a D - D - -")
_REJECTED = "a R R - - -"
_SELLING = "a a a a a a"
# Days that the insurance of a provider who sells still holds, where there is a document of it.
_INSURED_DAYS = (None, None, 210, None, None, -3, None, 12, None, 95)
_REFUSED_BECAUSE = ("Can't be read", "Is about somebody else", "Doesn't say what it has to")
_FILES = {
    "proof_of_registration": "register-extract.pdf",
    "identity": "passport.png",
    "bank_account": "bank-confirmation.pdf",
    "insurance": "liability-insurance.pdf",
    "tour_licence": "tour-operator-licence.pdf",
}
_REQUIRED = tuple(item for item in ITEMS if item.is_required)


@dataclass(frozen=True)
class _Stage:
    """How far one item is, and in how many days its document expires."""

    letter: str
    has_document: bool
    expires_in: int


class Papers:
    """Writes the checklists and documents of providers, and keeps the files until `save`."""

    def __init__(self, loading: Loading, journal: Journal, admin: Actor, today: date) -> None:
        self._rng = random.Random(f"tripdesk demo papers {today}")  # noqa: S311  # nosec B311  (believable, not secret)
        self._checks, self._documents = TableCopy(ProviderCheck, loading), TableCopy(ProviderDocument, loading)
        self._check_ids, self._document_ids = loading.ids(ProviderCheck), loading.ids(ProviderDocument)
        self._journal, self._admin, self._today = journal, admin, today
        self._files: dict[str, bytes] = {}

    def write(self, sellers: Sequence[dict[str, Any]], with_tours: Collection[int]) -> None:
        """The rows of all of these providers, with what was entered in their histories."""
        waiting = 0
        for number, seller in enumerate(sellers):
            plan = {"PENDING": _WAITING[waiting % len(_WAITING)], "REJECTED": _REJECTED}.get(seller["status"], _SELLING)
            waiting += seller["status"] == "PENDING"
            insured_days = _INSURED_DAYS[number % len(_INSURED_DAYS)] if plan is _SELLING else None
            for item, stage in _stages(plan, seller["id"] in with_tours, insured_days):
                self._write_item(seller, item, stage)
        self._checks.send()
        self._documents.send()

    def save(self) -> None:
        """Put the files into the storage."""
        for key, content in self._files.items():
            storage.save(key, [content])

    def _write_item(self, seller: dict[str, Any], item: Item, stage: _Stage) -> None:
        at = seller["created_at"] + timedelta(minutes=self._rng.randrange(40, 1_000))
        if stage.has_document:
            self._write_document(seller, item, at, self._today + timedelta(days=stage.expires_in))
            at += timedelta(minutes=self._rng.randrange(20, 400))
        if stage.letter == "-" and not stage.has_document:
            return
        status = {"a": "ACCEPTED", "r": "REFUSED"}.get(stage.letter, "OPEN")
        row = {
            "id": next(self._check_ids),
            "provider_id": seller["id"],
            "item": item.key,
            "status": status,
            "reason": self._rng.choice(_REFUSED_BECAUSE) if status == "REFUSED" else None,
            "decided_by_id": None if status == "OPEN" else self._admin.id,
            "decided_at": None if status == "OPEN" else at,
        }
        self._checks.add(row)
        if status != "OPEN" and seller["status"] in ("PENDING", "REJECTED"):
            action = "provider.accept_item" if status == "ACCEPTED" else "provider.refuse_item"
            self._enter(at, action, seller, ({item.key: "open"}, {item.key: status.lower()}), reason=row["reason"])

    def _write_document(self, seller: dict[str, Any], item: Item, at: datetime, last_day: date) -> None:
        name = _FILES[item.key]
        words = [item.label, seller["name"], f"No. {seller['id']:06}, {at:%d %B %Y}", "A specimen for the demo."]
        if item.expires:
            words.append(f"Holds until {last_day:%d %B %Y}.")
        content = _png(self._rng) if name.endswith(".png") else _pdf(words)
        key = f"documents/{self._rng.randbytes(16).hex()}"
        self._files[key] = content
        row = {
            "id": next(self._document_ids),
            "provider_id": seller["id"],
            "item": item.key,
            "status": "CURRENT",
            "storage_key": key,
            "file_name": name,
            "content_type": "image/png" if name.endswith(".png") else "application/pdf",
            "size": len(content),
            "sha256": hashlib.sha256(content).digest(),
            "expires_on": last_day if item.expires else None,
            "uploaded_by_id": self._admin.id,
            "uploaded_at": at,
            "replaced_at": None,
            "removed_at": None,
            "removal_reason": None,
        }
        self._documents.add(row)
        kind = name.rsplit(".", 1)[1].upper()
        until = f", until {last_day.day} {last_day:%b %Y}" if item.expires else ""
        told = f"{kind} of {max(1, len(content) // 1000):,} KB{until}"
        self._enter(at, "provider.add_document", seller, ({item.key: None}, {item.key: told}))

    def _enter(
        self,
        at: datetime,
        action: str,
        seller: dict[str, Any],
        changed: tuple[dict[str, Any], dict[str, Any]],
        reason: str | None = None,
    ) -> None:
        self._journal.audit(at, self._admin, action, (Provider.__tablename__, seller["id"]), changed, reason=reason)


def _stages(plan: str, sells_tours: bool, insured_days: int | None) -> Iterator[tuple[Item, _Stage]]:
    for item, written in zip(_REQUIRED, plan.split(), strict=True):
        if item.sells == "tour" and not sells_tours:
            continue
        letter, expires_in = written[0], -3 if written.endswith("x") else 400
        has_document = letter.isupper() and item.needs_document
        if item.key == "insurance" and insured_days is not None:
            has_document, expires_in = True, insured_days
        yield item, _Stage("-" if letter == "D" else letter.lower(), has_document, expires_in)


def _pdf(lines: Sequence[str]) -> bytes:
    """One page with these lines (ISO 32000-1, 7.5: the file's structure)."""
    shown = [line.encode("latin-1", "replace").translate(None, b"()\\") for line in lines]
    text = b"BT /F1 16 Tf 24 TL 60 760 Td " + b" ".join(b"(%s) Tj T*" % line for line in shown) + b" ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    body, places = b"%PDF-1.4\n", []
    for number, written in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, written)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(body))
    return body + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + end


_WIDTH, _HEIGHT, _LINE = 320, 200, 24


def _png(rng: random.Random) -> bytes:
    """A card with a picture on it and lines beside it, in shades of grey (RFC 2083)."""
    shade, lengths = rng.randrange(90, 170), [rng.randrange(90, 160) for _ in range(_HEIGHT // _LINE + 1)]
    rows = []
    for y in range(_HEIGHT):
        row = bytearray([235]) * _WIDTH
        if 30 <= y < 150:
            row[24:120] = bytes([shade]) * 96
        if y % _LINE < 4 and 30 <= y < 180:
            length = lengths[y // _LINE]
            row[140 : 140 + length] = bytes([60]) * length
        rows.append(b"\0" + row)
    header = _WIDTH.to_bytes(4) + _HEIGHT.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)
