"""The pages of imports: uploading a file, choosing its columns, what was found, how far it is, what came of it."""

from __future__ import annotations

import gzip
import io
import re
import tomllib
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.test import TestResponse

from app.catalog.import_mapping import ImportMapping
from app.db import transaction
from app.extensions import db
from app.imports import columns, mappings
from app.imports import service as imports
from app.imports.models import Import, SavedMapping
from tests import factories, queued
from tests.console.browser import Browser
from tests.imports.files import COLUMNS, DEFAULTS, HEADER, Catalogue, admin, long_ago, nobody_imports, reread

FORM = {
    **{f"column-{field}": str(HEADER.split(",").index(heading)) for field, heading in COLUMNS.items()},
    **{f"default-{field}": value for field, value in DEFAULTS.items()},
    "currency": "NOK",
    "rate": "0.1",
}


class AtWork:
    """An admin with a browser, and a file."""

    def __init__(self, app: Flask, good: int = 3, bad: int = 0) -> None:
        nobody_imports()
        self.person, self.by = admin()
        self.catalogue = Catalogue(good, bad)
        self.browser = Browser(app)
        assert self.browser.sign_in(self.person).status_code == 302

    def upload(self, content: bytes | None = None, name: str = "oslo.csv", **more: Any) -> TestResponse:
        file = (io.BytesIO(self.catalogue.content if content is None else content), name)
        return self.browser.post("/console/import/new", {"file": file, **more}, token_from="/console/import/new")

    def uploaded(self) -> Import:
        """The file that this person uploaded last."""
        db.session.rollback()
        return db.session.scalars(select(Import).where(Import.by_id == self.by.id).order_by(Import.id.desc())).all()[0]

    def page(self, found: Import, more: str = "") -> str:
        answer = self.browser.get(f"/console/import/{found.id}/{more}")
        assert answer.status_code == 200, answer.text
        return answer.text

    def press(self, found: Import, what: str, form: dict[str, Any] | None = None) -> TestResponse:
        return self.browser.post(f"/console/import/{found.id}/{what}", form, token_from="/console/import/new")


def work_off() -> None:
    """What a worker does: it knows nothing of what this process has read before."""
    db.session.remove()
    assert queued.work_off() == []


def words(page: str) -> str:
    """What a person reads."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_a_file_goes_all_the_way_through_the_pages(app: Flask) -> None:
    at_work = AtWork(app, good=4, bad=2)
    answer = at_work.upload()
    found = at_work.uploaded()
    assert (answer.status_code, answer.location) == (302, f"/console/import/{found.id}/columns")

    page = at_work.page(found, "columns")
    assert re.search(r'id="column-capacity".*?<option value="4" selected>accommodates', page, re.DOTALL)
    assert f"{at_work.catalogue.host} · {at_work.catalogue.host}" in page
    assert at_work.press(found, "columns", FORM).location == f"/console/import/{found.id}/"

    page = at_work.page(found)
    assert 'data-watch="1"' in page
    assert "Waits for a worker" in words(page)
    work_off()
    page = at_work.page(found)
    assert "data-watch=" not in page
    assert "4 packages can be imported" in words(page)
    assert "To create 4 To update 0 Unchanged 0 Rejected 2" in words(page)
    assert '6 price "free" is not a number' in words(page).replace("&#34;", '"')
    assert f"Room 0 Host {at_work.catalogue.host} Frogner, Oslo 3 $100.00" in words(page)
    assert at_work.catalogue.packages() == {}

    assert at_work.press(found, "start").status_code == 302
    assert "Stop" in words(at_work.page(found))
    work_off()
    page = at_work.page(found)
    assert "Created 4 Updated 0 Unchanged 0 Rejected 2" in words(page)
    assert "4 created, 2 rejected" in words(page)
    assert len(at_work.catalogue.packages()) == 4
    assert at_work.press(found, "start").status_code == 409
    assert at_work.browser.get(f"/console/import/{found.id}/columns").status_code == 409


def test_what_is_wrong_with_a_choice_stands_at_its_field_and_nothing_typed_is_lost(app: Flask) -> None:
    at_work = AtWork(app)
    found = at_work.catalogue.upload(at_work.by)
    wrong = {**FORM, "column-price": "", "default-type": "boat", "default-city": "Ålesund <b>", "rate": "much"}
    answer = at_work.press(found, "columns", {**wrong, "keep_as": "For later"})
    assert answer.status_code == 422
    page = answer.text
    for field in ("column-error-price", "default-error-type", "error-rate"):
        assert f'id="{field}"' in page
    assert "Needs a column or a default." in words(page)
    assert 'value="Ålesund &lt;b&gt;"' in page
    assert 'value="much"' in page
    assert 'value="For later"' in page
    assert re.search(r'id="column-capacity".*?<option value="4" selected>', page, re.DOTALL)
    assert (reread(found).status, reread(found).columns) == ("UPLOADED", {})
    assert at_work.press(found, "columns", {**FORM, "column-price": "6"}).status_code == 422
    assert at_work.press(found, "columns", {**FORM, "column-price": "-1"}).status_code == 422


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"", "empty.csv", "The file is empty."),
        (b"", "", "Choose a file."),
        (b"a;b\n1;2\n", "semicolons.csv", "only one column"),
        (b"PK\x03\x04\0\0", "sheet.xlsx", "save it as CSV in UTF-8"),
        (b"a,b\n1,2\n", "bell\x07.csv", "Rename it."),
    ],
)
def test_what_cant_be_taken_in_is_said_at_the_field(app: Flask, content: bytes, name: str, said: str) -> None:
    at_work = AtWork(app)
    answer = at_work.upload(content, name)
    assert answer.status_code == 422
    assert said in words(answer.text)
    assert 'aria-invalid="true"' in answer.text
    assert db.session.scalars(select(Import).where(Import.by_id == at_work.by.id)).all() == []


def told(answer: TestResponse) -> tuple[int, str]:
    """The answer to something large, whose copy on the disk is of no more use."""
    answer.request.environ["wsgi.input"].close()
    return answer.status_code, words(answer.text)


def test_a_file_that_is_too_large_is_said_at_the_field_and_one_far_beyond_is_not_read(app: Flask) -> None:
    at_work = AtWork(app)
    large = HEADER.encode() + b"\n" + b"x" * columns.MOST_FILE_BYTES
    status, said = told(at_work.upload(large))
    assert (status, "The file is larger than 20 MB." in said) == (422, True)
    status, said = told(at_work.upload(large * 2))
    assert (status, "at most 40 MB" in said) == (413, True)
    # Who isn't signed in sends no files.
    stranger = Browser(app)
    assert told(stranger.post("/console/import/new", {"file": (io.BytesIO(large), "oslo.csv")}))[0] == 413
    # What takes no files takes no more than before.
    too_long = {"rate": "1" * 1_100_000}
    status, said = told(at_work.browser.post("/console/import/1/columns", too_long, token_from="/console/import/new"))
    assert (status, "at most 1 MB" in said) == (413, True)
    assert db.session.scalars(select(Import).where(Import.by_id == at_work.by.id)).all() == []


def test_a_gzipped_file_is_told_by_what_it_holds_and_not_by_its_name(app: Flask) -> None:
    at_work = AtWork(app)
    assert at_work.upload(gzip.compress(at_work.catalogue.content), "list.csv").status_code == 302
    assert at_work.uploaded().file_rows == 3


def test_a_provider_has_the_way_to_an_import_of_theirs(app: Flask) -> None:
    at_work = AtWork(app)
    provider = factories.provider()
    page = f"/console/providers/{provider.id}/"
    assert "/console/import/" not in at_work.browser.get(page).text.split("<main")[1]
    with transaction():
        db.session.merge(provider).external_id = f"known-{provider.id}"
    link = f"/console/import/new?provider={provider.id}"
    assert link in at_work.browser.get(page).text
    finance = Browser(app)
    assert finance.sign_in(factories.staff("finance")).status_code == 302
    assert link not in finance.get(page).text
    assert f"sold by {provider.name}" in words(at_work.browser.get(link).text)
    assert at_work.upload(provider=str(provider.id)).status_code == 302
    found = at_work.uploaded()
    assert found.provider_id == provider.id
    assert "column-provider_external_id" not in at_work.page(found, "columns")
    assert at_work.upload(provider="x").status_code == 422
    assert at_work.upload(provider=str(10**17)).status_code == 404


def test_kept_columns_are_taken_downloaded_and_deleted(app: Flask) -> None:
    at_work = AtWork(app)
    found, name = at_work.catalogue.upload(at_work.by), f"Mine {at_work.by.id} <i>"
    assert at_work.press(found, "columns", {**FORM, "keep_as": name}).status_code == 302
    kept = db.session.scalars(select(SavedMapping).where(SavedMapping.name == name)).one()

    other = Catalogue().upload(at_work.by)
    page = at_work.page(other, f"columns?kept={kept.id}")
    assert 'value="Host {provider_external_id}"' in page
    assert 'value="0.1"' in page
    answer = at_work.browser.get(f"/console/import/kept/{kept.id}.toml")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="columns-{kept.id}.toml"'
    assert tomllib.loads(answer.text) == {"columns": COLUMNS, "defaults": DEFAULTS}
    assert answer.text.startswith("# Prices are in NOK: import with --rate 0.1\n")

    shown = at_work.browser.get("/console/import/kept/").text
    assert f"Mine {at_work.by.id} &lt;i&gt;" in shown
    forget = f"/console/import/kept/{kept.id}/delete"
    assert at_work.browser.post(forget, token_from="/console/import/kept/").status_code == 302
    assert f'action="{forget}"' not in at_work.browser.get("/console/import/kept/").text
    work_off()


def test_kept_columns_that_a_file_lacks_are_named(app: Flask) -> None:
    at_work = AtWork(app)
    mapping = ImportMapping({**COLUMNS, "price": "cost_nok"}, DEFAULTS)
    kept = mappings.keep(f"Other {at_work.by.id}", mapping, currency="NOK", rate=imports.parse_rate("1"), by=at_work.by)
    found = at_work.catalogue.upload(at_work.by)
    assert "The file has no column cost_nok." in words(at_work.page(found, f"columns?kept={kept.id}"))
    mappings.forget(kept.id, by=at_work.by)
    assert at_work.browser.get(f"/console/import/{found.id}/columns?kept={kept.id}").status_code == 404


def test_the_columns_of_an_import_are_downloaded_as_the_command_takes_them(app: Flask) -> None:
    at_work = AtWork(app)
    found = at_work.catalogue.upload(at_work.by)
    assert at_work.browser.get(f"/console/import/{found.id}/mapping.toml").status_code == 404
    odd = {**FORM, "default-description": 'Say "hi" \\ é'}
    assert at_work.press(found, "columns", odd).status_code == 302
    text = at_work.browser.get(f"/console/import/{found.id}/mapping.toml").text
    mapping = ImportMapping.from_toml(text.encode())
    assert mapping.columns == COLUMNS
    assert mapping.defaults["description"] == 'Say "hi" \\ é'
    imports.cancel(found.id, by=at_work.by)


def test_the_download_has_every_rejected_row_and_no_formula(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work = AtWork(app, good=1, bad=130)
    at_work.catalogue.rows[-1] = at_work.catalogue.row(130, price="-1", guests="0")
    content = at_work.catalogue.content.replace(b",price\n", b",=price\n")
    found = imports.upload(io.BytesIO(content), "oslo.csv", by=at_work.by)
    at_work.catalogue.check(found, at_work.by, columns={**COLUMNS, "price": "=price"})
    work_off()
    monkeypatch.setattr("app.console.imports._REJECTIONS_SHOWN", 100)
    monkeypatch.setattr("app.console.imports._REJECTIONS_AT_ONCE", 50)
    page = at_work.page(found)
    assert page.count("is not a number") == 100
    assert "of 130; the download has all of them" in words(page)
    answer = at_work.browser.get(f"/console/import/{found.id}/rejected.csv")
    assert answer.content_type == "text/csv; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    lines = answer.get_data().decode("utf-8-sig").splitlines()
    assert lines[0] == '"line","column","reason"'
    assert lines[1] == '3,"\'=price","""free"" is not a number"'
    assert len(lines) == 1 + 129 + 2
    assert [line.split(",")[0] for line in lines[-2:]] == ["132", "132"]


def test_a_stopped_import_says_how_it_goes_on(app: Flask) -> None:
    at_work = AtWork(app)
    found = at_work.catalogue.checked(at_work.by)
    assert at_work.press(found, "start").status_code == 302
    assert at_work.press(found, "cancel").status_code == 302
    work_off()
    page = at_work.page(found)
    assert "Change the columns" in words(page)
    assert "Import 3 packages" not in words(page)
    assert at_work.press(found, "cancel").status_code == 409
    long_ago(found, 31)
    imports.forget_files()
    page = at_work.page(found)
    assert "Change the columns" not in words(page)
    assert "Kept deleted" in words(page)


def test_a_check_that_is_dropped_is_not_told_as_an_import(app: Flask) -> None:
    at_work = AtWork(app)
    found = at_work.catalogue.checked(at_work.by)
    assert at_work.press(found, "cancel").status_code == 302
    page = at_work.page(found)
    assert "Dropped. Nothing was written." in words(page)
    assert "To create 3" in words(page)
    page = at_work.browser.get("/console/import/?status=CANCELLED").text
    line = next(part for part in page.split("<tr") if f'href="/console/import/{found.id}/"' in part)
    assert f"oslo.csv Cancelled 3 – – – – {at_work.person.name}" in words(f"<tr{line}")


def test_whoever_is_second_is_told_who_imports(app: Flask) -> None:
    at_work, second = AtWork(app), AtWork(app)
    mine, theirs = at_work.catalogue.checked(at_work.by), second.catalogue.checked(second.by)
    assert at_work.press(mine, "start").status_code == 302
    answer = second.press(theirs, "start")
    assert answer.status_code == 409
    said = rf"{at_work.person.name} has been importing oslo\.csv since \d.+ UTC \(0 of 3 rows are done\)"
    assert re.search(said, words(answer.text))
    assert reread(theirs).status == "CHECKED"
    work_off()


def test_the_list_tells_the_imports_there_were(app: Flask) -> None:
    at_work = AtWork(app, good=2, bad=1)
    found = at_work.catalogue.imported(at_work.by)
    page = at_work.browser.get("/console/import/?status=DONE").text
    line = next(part for part in page.split("<tr") if f'href="/console/import/{found.id}/"' in part)
    assert f"oslo.csv Done 3 2 0 0 1 {at_work.person.name}" in words(f"<tr{line}")
