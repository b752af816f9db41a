"""Verbs of imports: uploading a file, checking it with a choice of columns, importing it, stopping, forgetting."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any, BinaryIO

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import joinedload

from app import storage
from app.audit import history
from app.audit import service as audit
from app.audit.actor import SYSTEM, Actor
from app.catalog.import_file import Row, Unusable
from app.catalog.import_mapping import CURRENCY, Listing, RowReader
from app.catalog.importing import ImportReport, parse_rate
from app.catalog.models import Provider
from app.db import leave_database, lock, transaction, utcnow
from app.errors import Conflict, FieldError, Invalid, NotAllowed, NotFound
from app.extensions import db
from app.imports import mappings
from app.imports.columns import look_at
from app.imports.mappings import MAY_IMPORT
from app.imports.models import FILE_KEPT, UNDER_WAY, Import, ImportRejection
from app.imports.turns import why_no_turn
from app.imports.work import fail
from app.logs import request_id

UPLOAD_TAKES = timedelta(days=1)
PROVIDER_FIELDS = frozenset({"provider_external_id", "provider_name", "provider_status"})
_LONGEST_FILE_NAME = 200
_LONGEST_CELL = 20_000
_COPY_BYTES = 1 << 20


def upload(stream: BinaryIO, file_name: str, *, by: Actor, provider_id: int | None = None) -> Import:
    """Take a file in, whose packages are one provider's, or whose rows say whose they are. `stream` is seekable.

    Raises NotAllowed, Unusable when it is no CSV file that can be imported, Invalid by field (`file`, `provider`).
    """
    by.require(*MAY_IMPORT)
    if by.id is None:
        raise NotAllowed("A file is uploaded by a person; there is a command for operators.")
    name = _file_name(file_name)
    shape = look_at(stream)
    with transaction():
        if provider_id is not None:
            _require_external_id(provider_id)
        # The row comes first: a file is never there without one that knows of it.
        found = Import(
            by_id=by.id,
            address=by.address,
            request_id=request_id.get(),
            provider_id=provider_id,
            file_name=name,
            file_key=f"imports/{secrets.token_hex(16)}",
            file_bytes=shape.size,
            file_rows=shape.rows,
            headings=shape.headings,
            samples=shape.samples,
        )
        db.session.add(found)
        audit.record(by, "import.begin_upload", found)
        import_id, key = found.id, str(found.file_key)
    leave_database()
    stream.seek(0)
    try:
        storage.save(key, iter(partial(stream.read, _COPY_BYTES), b""))
    except Exception:
        fail(import_id, "The file could not be stored.")
        raise
    with transaction():
        found = lock(Import, import_id)
        history.move(found, "UPLOADED")
        audit.record(by, "import.upload", found)
    return found


def check(
    import_id: int,
    *,
    columns: Mapping[str, str],
    defaults: Mapping[str, str],
    currency: str,
    rate: str,
    by: Actor,
    keep_as: str = "",
) -> Import:
    """Choose which of the file's columns is which of our fields, and have a dry run made with that. `columns` and
    `defaults` are as in ImportMapping, `rate` is USD per unit of the file's prices as somebody typed it; with `keep_as`
    the choice is kept under that name.

    Raises NotFound, NotAllowed, Conflict when it is under way, over, or its file is gone, Unusable with everything that
    is wrong with the choice by field: `columns.price`, `defaults.city`, `currency`, `rate`, `keep_as`.
    """
    by.require(*MAY_IMPORT)
    with transaction():
        found = lock(Import, import_id)
        _require_file(found)
        history.move(found, "CHECKING")
        found.columns, found.defaults = _chosen(found, columns), _chosen(found, defaults)
        found.currency, found.rate, wrong = _prices(currency, rate)
        wrong += _wrong_columns(found)
        try:
            mapping = found.mapping()
        except Unusable as unusable:
            wrong += unusable.fields
        if wrong:
            raise Unusable("The columns can't be used like this yet.", wrong)
        if keep_as:
            mappings.keep(keep_as, mapping, currency=found.currency, rate=found.rate, by=by)
        _begin(found, by, dry_run=True)
        audit.record(by, "import.check", found)
    return found


def start(import_id: int, *, by: Actor) -> Import:
    """Have a file that was checked imported. Raises NotFound, NotAllowed, Conflict when it isn't checked, or another
    import, of the console or by the command, may be at the same provider's packages.
    """
    by.require(*MAY_IMPORT)
    with transaction():
        found = lock(Import, import_id)
        _require_file(found)
        refusal = why_no_turn(found)
        history.move(found, "RUNNING")
        if refusal is not None:
            raise Conflict(f"{refusal} Start this one when that is over.")
        _begin(found, by, dry_run=False)
        audit.record(by, "import.start", found)
    return found


def cancel(import_id: int, *, by: Actor) -> Import:
    """Stop a check or an import after the batch that is being done, or drop a file. What is in stays in.

    Raises NotFound, NotAllowed, Conflict when it is over.
    """
    by.require(*MAY_IMPORT)
    with transaction():
        found = lock(Import, import_id)
        was_running = found.status == "RUNNING"
        history.move(found, "CANCELLED")
        found.finished()
        audit.record(by, "import.cancel", found, reason=found.counts_in_words if was_running else None)
    return found


def find(import_id: int) -> Import:
    """An import with who asked for it. Raises NotFound."""
    wanted = select(Import).where(Import.id == import_id).options(joinedload(Import.asked_by))
    found = db.session.scalar(wanted.execution_options(populate_existing=True))
    if found is None:
        raise NotFound("There is no import with this id.")
    return found


def rejections(import_id: int, *, after: int = 0, most: int) -> Sequence[ImportRejection]:
    """The rejected rows behind a line of the file, in its order."""
    return db.session.scalars(
        select(ImportRejection)
        .where(ImportRejection.import_id == import_id, ImportRejection.line > after)
        .order_by(ImportRejection.line)
        .limit(most)
    ).all()


def first_packages(found: Import) -> list[Listing]:
    """What the first rows of a file whose columns are chosen are as packages, long texts shortened; of rejected rows
    nothing. Raises Unusable.
    """
    reader = RowReader(found.headings, found.mapping(), found.rate)
    read = [reader.read(Row(0, cells)) for cells in found.samples]
    return [listing for listing in read if isinstance(listing, Listing)]


def forget_files() -> None:
    """Delete the files that were uploaded long ago, and end what waits for its file since yesterday."""
    now = utcnow()
    is_old = Import.created_at < now - FILE_KEPT
    is_cut_off = (Import.status == "UPLOADING") & (Import.created_at < now - UPLOAD_TAKES)
    wanted = select(Import.id, Import.file_key).where(
        Import.file_key.is_not(None), Import.status.not_in(UNDER_WAY), or_(is_old, is_cut_off)
    )
    for import_id, key in db.session.execute(wanted).all():
        leave_database()
        storage.delete([str(key)])
        with transaction():
            found = lock(Import, import_id)
            found.file_key = None
            if found.status == "UPLOADING":
                history.move(found, "FAILED")
                found.ended_because = "The upload was cut off."
            elif found.status in ("UPLOADED", "CHECKED"):
                history.move(found, "CANCELLED")
                found.ended_because = f"It was not imported within {FILE_KEPT.days} days."
            audit.record(SYSTEM, "import.forget_file", found)


def _begin(found: Import, by: Actor, *, dry_run: bool) -> None:
    """From the file's first row, asked for by this person."""
    db.session.execute(delete(ImportRejection).where(ImportRejection.import_id == found.id))
    found.dry_run, found.report = dry_run, ImportReport()
    found.by_id, found.address, found.request_id = by.id or found.by_id, by.address, request_id.get()
    found.begun_at, found.ended_at, found.ended_because = utcnow(), None, None
    found.attempts = 0
    found.hand_out()


def _require_file(found: Import) -> None:
    refusal = found.why_no_file()
    if refusal is not None:
        raise Conflict(refusal)


def _require_external_id(provider_id: int) -> None:
    provider = db.session.get(Provider, provider_id)
    if provider is None:
        raise Invalid.field("provider", "There is no provider with this number.")
    if provider.external_id is None:
        words = f"{provider.name} has no external id, by which an import finds a provider's packages again."
        raise Invalid.field("provider", words)


def _file_name(given: str) -> str:
    """The name without the folder that some browsers send."""
    name = given.replace("\\", "/").rpartition("/")[2].strip()
    if not name or not name.isprintable():
        raise Invalid.field("file", "The file's name is empty or has signs that can't be shown. Rename it.")
    return name[-_LONGEST_FILE_NAME:]


def _chosen(found: Import, values: Mapping[str, Any]) -> dict[str, str]:
    """What was chosen, without what is left empty, and without what the import's own provider says."""
    settled = PROVIDER_FIELDS if found.provider_id is not None else frozenset()
    return {field: value.strip() for field, value in values.items() if value.strip() and field not in settled}


def _wrong_columns(found: Import) -> list[FieldError]:
    missing = [field for field, heading in found.columns.items() if heading not in found.headings]
    too_long = [field for field, value in found.defaults.items() if len(value) > _LONGEST_CELL]
    return [
        *(FieldError(f"columns.{field}", "the file has no such column") for field in missing),
        *(FieldError(f"defaults.{field}", "is too long") for field in too_long),
    ]


def _prices(currency: str, rate: str) -> tuple[str, Decimal, list[FieldError]]:
    """The file's currency, USD per unit of it, and what is wrong with them."""
    code = currency.strip().upper()
    wrong = []
    if not (len(code) == 3 and code.isascii() and code.isalpha()):
        wrong.append(FieldError("currency", "Give the currency's code of three letters, such as NOK."))
        code = CURRENCY
    try:
        usd_per_unit = parse_rate(rate if rate.strip() or code != CURRENCY else "1")
    except Unusable:
        return code, Decimal(1), [*wrong, FieldError("rate", "Give a number above 0, such as 0.094.")]
    if code == CURRENCY and usd_per_unit != 1:
        wrong.append(FieldError("rate", f"Prices in {CURRENCY} have the rate 1. Or is the currency another?"))
    return code, usd_per_unit, wrong
