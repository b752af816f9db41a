"""/console/import/: bringing in a catalogue as a file: uploaded, its columns chosen, checked, imported; and what became
of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, BinaryIO, cast

from flask import request
from flask_admin import expose
from sqlalchemy import Select, select
from sqlalchemy.orm import joinedload
from werkzeug.wrappers import Response

from app.audit import trail
from app.bulk import spreadsheet
from app.catalog.import_mapping import CURRENCY, ImportMapping
from app.catalog.models import Provider
from app.console import session
from app.console.base import ADMIN, MAX_ID, Column, Filter, RecordView, done, find, line
from app.console.formatting import status_label
from app.console.import_columns import (
    Chosen,
    errors_elsewhere,
    errors_of,
    first_choice,
    groups,
    samples_of,
    sent,
    summary,
)
from app.console.record import Action, Phrase, Record
from app.errors import Conflict, Invalid, NotFound
from app.imports import mappings
from app.imports import service as imports
from app.imports.columns import MOST_FILE_BYTES, MOST_ROWS
from app.imports.models import FILE_KEPT, UNDER_WAY, Import, ImportRejection, SavedMapping
from app.money import Money
from app.states import may_move

_TITLES: dict[str, trail.Title] = {
    "import.begin_upload": ("Upload begun", "note", None),
    "import.upload": ("Uploaded", "note", None),
    "import.check": ("Columns chosen, check asked for", "state", "active"),
    "import.checked": ("Checked", "state", "good"),
    "import.start": ("Import asked for", "state", "active"),
    "import.finish": ("Imported", "state", "good"),
    "import.cancel": ("Stopped", "state", None),
    "import.fail": ("Ended before its time", "state", "bad"),
    "import.forget_file": ("File deleted", "note", None),
}
_REJECTIONS_SHOWN = 1_000
_REJECTIONS_AT_ONCE = 1_000
_KEPT = "kept choice of columns"
# Seconds between two looks of the page while a worker is at it.
_LOOK = 1


class ImportsView(RecordView):
    """Imports of catalogues, for admins."""

    roles = ADMIN
    icon = "file-import"
    model = Import
    title = "Import"
    noun = ("import", "imports")
    intro = "Packages of a CSV file, brought in or up to date. Each file is checked first; a check writes nothing."
    empty_hint = "Upload a file to begin."
    template = "console/imports/list.html"
    commands = (("Import a catalogue", "/console/import/new", "upload csv packages providers"),)
    columns = (
        Column("file_name", "File", "link"),
        Column("status", "State", "chip"),
        Column("file_rows", "Rows", "number", "right"),
        Column("created", "Created", "number", "right"),
        Column("updated", "Updated", "number", "right"),
        Column("unchanged", "Unchanged", "number", "right"),
        Column("rejected", "Rejected", "number", "right"),
        Column("by", "By"),
        Column("created_at", "Uploaded", "time", "right"),
    )
    filters = (Filter("status", "State", {status: status_label(status) for status in Import.MOVES}),)

    def query(self) -> Select[Any]:
        """All of them, with who asked last."""
        return select(Import).options(joinedload(Import.asked_by))

    def cells(self, row: Import) -> dict[str, Any]:
        """One import's line; what a check would do is no result."""
        counts = {} if row.dry_run else row.report.json()
        return {
            "file_name": row.file_name,
            "status": row.status,
            "file_rows": row.file_rows,
            **counts,
            "by": row.asked_by.name,
            "created_at": row.created_at,
        }

    def href(self, row: Import) -> str:
        """Its page."""
        return _href(row.id)

    @expose("/new")  # type: ignore[untyped-decorator]
    def upload_form(self) -> str:
        """Choose a file."""
        return self._upload_page({})

    @expose("/new", methods=["POST"])  # type: ignore[untyped-decorator]
    def upload(self) -> Response | tuple[str, int]:
        """Take the file in."""
        provider = _provider_asked(request.form.get("provider", ""))
        try:
            file = request.files.get("file")
            if file is None or not file.filename:
                raise Invalid.field("file", "Choose a file.")
            provider_id = provider.id if provider else None
            stream = cast(BinaryIO, file.stream)  # a spooled file
            found = imports.upload(stream, file.filename, provider_id=provider_id, by=session.actor())
        except Invalid as refusal:
            fields = {wrong.field: wrong.message for wrong in refusal.fields}
            return self._upload_page(fields or {"file": refusal.detail}), 422
        return done(f"{found.file_name} is uploaded. Now say which column is what.", f"{_href(found.id)}columns")

    @expose("/<int:import_id>/")  # type: ignore[untyped-decorator]
    def show(self, import_id: int) -> str:
        """One import; its page looks again by itself while a worker is at it."""
        found = _find(import_id)
        is_moving = found.status in UNDER_WAY
        rejected = [] if is_moving else imports.rejections(found.id, most=_REJECTIONS_SHOWN + 1)
        return self.render_record(
            Record(
                title=found.file_name,
                about=found,
                titles=_TITLES,
                status=found.status,
                sub=tuple(_sub(found)),
                actions=_actions(found),
                timeline=list(trail.moments({"imports": [found.id]}, titles=_TITLES)),
            ),
            "console/imports/show.html",
            run=found,
            look_again=_LOOK if is_moving else None,
            progress=_progress(found) if is_moving else None,
            plan=_plan(found) if found.status == "CHECKED" else None,
            counts=found.counts if found.begun_at else None,
            what_next=_what_next(found),
            rejected=_rejected_lines(rejected[:_REJECTIONS_SHOWN]),
            has_more_rejected=len(rejected) > _REJECTIONS_SHOWN,
            rejected_href=f"{_href(found.id)}rejected.csv",
            file=_file_facts(found),
            chosen=summary(found),
            mapping_href=f"{_href(found.id)}mapping.toml",
        )

    @expose("/<int:import_id>/columns")  # type: ignore[untyped-decorator]
    def columns_form(self, import_id: int) -> str:
        """Say which column is what."""
        found = _find(import_id)
        asked = request.args.get("kept", "")
        kept = find(SavedMapping, int(asked), _KEPT) if asked.isascii() and asked.isdigit() else None
        return self._columns_page(found, first_choice(found, kept), kept)

    @expose("/<int:import_id>/columns", methods=["POST"])  # type: ignore[untyped-decorator]
    def check(self, import_id: int) -> Response | tuple[str, int]:
        """Have it checked with these columns."""
        found = _find(import_id)
        chosen = sent(found, request.form)
        try:
            imports.check(
                found.id,
                columns=chosen.columns,
                defaults=chosen.defaults,
                currency=chosen.currency,
                rate=chosen.rate,
                keep_as=chosen.keep_as,
                by=session.actor(),
            )
        except Invalid as refusal:
            return self._columns_page(_find(import_id), replace(chosen, errors=refusal.fields)), 422
        return done("The check was asked for. It writes nothing.", _href(import_id))

    @expose("/<int:import_id>/start", methods=["POST"])  # type: ignore[untyped-decorator]
    def start(self, import_id: int) -> Response:
        """Import what was checked."""
        imports.start(_find(import_id).id, by=session.actor())
        return done("Started. It goes on when you leave this page.", _href(import_id))

    @expose("/<int:import_id>/cancel", methods=["POST"])  # type: ignore[untyped-decorator]
    def cancel(self, import_id: int) -> Response:
        """Stop it."""
        found = imports.cancel(_find(import_id).id, by=session.actor())
        words = "Stopped. What is in stays in." if not found.dry_run else "Dropped. Nothing was written."
        return done(words, _href(import_id))

    @expose("/<int:import_id>/rejected.csv")  # type: ignore[untyped-decorator]
    def rejected(self, import_id: int) -> Response:
        """Every rejected row, to put the file right by."""
        found = _find(import_id)
        return _download(_rejected_csv(found.id), f"rejected-{found.id}.csv", "text/csv")

    @expose("/<int:import_id>/mapping.toml")  # type: ignore[untyped-decorator]
    def mapping(self, import_id: int) -> Response:
        """The choice of columns, as the command takes it."""
        found = _find(import_id)
        if not (found.columns or found.defaults):
            raise NotFound("Its columns are not chosen yet.")
        return _toml(found.mapping(), found, f"import-{found.id}.toml")

    @expose("/kept/")  # type: ignore[untyped-decorator]
    def kept(self) -> str:
        """The choices of columns that were kept."""
        return str(self.render("console/imports/kept.html", kept=mappings.of_all(), list_href=self.url))

    @expose("/kept/<int:mapping_id>.toml")  # type: ignore[untyped-decorator]
    def kept_mapping(self, mapping_id: int) -> Response:
        """One of them, as the command takes it."""
        kept = find(SavedMapping, mapping_id, _KEPT)
        return _toml(ImportMapping(kept.columns, kept.defaults), kept, f"columns-{kept.id}.toml")

    @expose("/kept/<int:mapping_id>/delete", methods=["POST"])  # type: ignore[untyped-decorator]
    def forget(self, mapping_id: int) -> Response:
        """Delete one of them."""
        kept = mappings.forget(find(SavedMapping, mapping_id, _KEPT).id, by=session.actor())
        return done(f"{kept.name} is deleted.", "/console/import/kept/")

    def _upload_page(self, errors: dict[str, str]) -> str:
        provider = _provider_asked(request.values.get("provider", ""))
        return str(
            self.render(
                "console/imports/new.html",
                errors=errors,
                provider=provider,
                most_bytes=MOST_FILE_BYTES,
                most_rows=MOST_ROWS,
                days_kept=FILE_KEPT.days,
            )
        )

    def _columns_page(self, found: Import, chosen: Chosen, kept: SavedMapping | None = None) -> str:
        refusal = found.why_no_file()
        if refusal is None and not may_move(found, "CHECKING"):
            refusal = f"This import is {status_label(found.status).lower()}; its columns can't be changed."
        if refusal is not None:
            raise Conflict(refusal)
        return str(
            self.render(
                "console/imports/columns.html",
                run=found,
                href=_href(found.id),
                groups=groups(found, chosen),
                headings=found.headings,
                samples=[samples_of(found, index) for index in range(len(found.headings))],
                chosen=chosen,
                errors=errors_of(chosen, "currency", "rate", "keep_as"),
                has_errors=bool(chosen.errors),
                other_errors=errors_elsewhere(found, chosen),
                all_kept=mappings.of_all(),
                kept=kept,
            )
        )


def _href(import_id: int) -> str:
    return f"/console/import/{import_id}/"


def _find(import_id: int) -> Import:
    if import_id > MAX_ID:
        raise NotFound("There is no import with this id.")
    return imports.find(import_id)


def _provider_asked(value: str) -> Provider | None:
    """The provider whose page somebody came from."""
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise Invalid.field("provider", "There is no provider with this number.")
    return find(Provider, int(value), "provider")


def _sub(found: Import) -> list[Phrase]:
    sub = [Phrase("asked for by", found.asked_by.name), Phrase("uploaded", at=found.created_at)]
    if found.provider is not None:
        sub.insert(0, Phrase("packages of", found.provider.name, f"/console/providers/{found.provider.id}/"))
    if found.ended_at is not None:
        sub.append(Phrase("ended", at=found.ended_at))
    return sub


def _actions(found: Import) -> list[Action]:
    href = f"{_href(found.id)}cancel"
    if found.status == "RUNNING":
        return [Action("cancel", "Stop", href, "What is in stays in; the other rows are left out.", key="s")]
    if found.status == "CHECKING":
        return [Action("cancel", "Stop", href, "Nothing was written.", key="s")]
    if found.status in ("UPLOADED", "CHECKED"):
        return [Action("cancel", "Drop this import", href, "Nothing was written, and nothing will be.")]
    return []


def _what_next(found: Import) -> dict[str, str] | None:
    """The way to the columns, while they may still be chosen."""
    if found.file_key is None or not may_move(found, "CHECKING") or (found.status == "FAILED" and not found.begun_at):
        return None
    label = "Change the columns" if found.begun_at else "Choose the columns"
    return {"label": label, "href": f"{_href(found.id)}columns"}


def _progress(found: Import) -> dict[str, Any]:
    rows, what = found.report.rows, "checked" if found.status == "CHECKING" else "worked through"
    said = f"{rows:,} of {found.file_rows:,} rows {what}" if rows else "Waits for a worker"
    return {"value": rows, "most": found.file_rows, "has_bar": True, "said": said}


def _plan(found: Import) -> dict[str, Any]:
    """What importing a checked file would do."""
    good = found.file_rows - found.rejected
    packages = f"{good:,} {'package' if good == 1 else 'packages'}"
    return {
        "title": f"{packages} can be imported" if good else "No row can be imported",
        "button": f"Import {packages}" if good else "",
        "start_href": f"{_href(found.id)}start",
        "first": [
            line(
                name=listing.package["name"],
                provider=listing.provider_name,
                where=", ".join(filter(None, (listing.package["place"], listing.package["city"]))),
                guests=listing.package["capacity"],
                price=Money(listing.package["price_minor"], CURRENCY).json(),
            )
            for listing in imports.first_packages(found)
        ],
    }


def _file_facts(found: Import) -> list[tuple[str, str]]:
    facts = [("File", f"{_size(found.file_bytes)}, {found.file_rows:,} rows, {len(found.headings)} columns")]
    if found.columns or found.defaults:
        rate = f"1 {found.currency} is {found.rate.normalize():f} USD"
        facts.append(("Prices", f"in {found.currency}" + ("" if found.currency == CURRENCY else f", {rate}")))
    until = found.created_at + FILE_KEPT
    facts.append(("Kept", f"until {until.day} {until:%b %Y}" if found.file_key else "deleted"))
    return facts


def _size(count: int) -> str:
    return f"{count / 1_000_000:.1f} MB" if count >= 1_000_000 else f"{max(1, round(count / 1_000)):,} KB"


def _rejected_lines(rejected: Sequence[ImportRejection]) -> list[dict[str, Any]]:
    return [
        line(line=row.line, column=fault["column"], reason=fault["reason"]) for row in rejected for fault in row.faults
    ]


def _rejected_csv(import_id: int) -> bytes:
    """The rejected rows, a line for each thing that is wrong."""
    written = spreadsheet.BYTE_ORDER_MARK + spreadsheet.lines([("line", "column", "reason")])
    after = 0
    while rows := imports.rejections(import_id, after=after, most=_REJECTIONS_AT_ONCE):
        written += spreadsheet.lines(
            (row.line, fault["column"], fault["reason"]) for row in rows for fault in row.faults
        )
        after = rows[-1].line
    return written


def _toml(mapping: ImportMapping, prices: Import | SavedMapping, file_name: str) -> Response:
    rate = f"{prices.rate.normalize():f}"
    content = f"# Prices are in {prices.currency}: import with --rate {rate}\n\n{mapping.to_toml()}\n"
    return _download(content, file_name, "application/toml")


def _download(content: str | bytes, file_name: str, kind: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{file_name}"'}
    return Response(content, content_type=f"{kind}; charset=utf-8", headers=headers)
