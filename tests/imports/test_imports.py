"""Imports: what a file goes through until its packages are in the catalogue, and what stops it."""

from __future__ import annotations

import gzip
import io
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from app import storage
from app.audit.actor import SYSTEM
from app.audit.models import AuditEntry
from app.catalog import calendars, importing
from app.catalog.import_file import Unusable
from app.db import transaction
from app.errors import Conflict, Invalid, NotAllowed, NotFound, Unavailable
from app.extensions import db
from app.imports import columns, mappings, work
from app.imports import service as imports
from app.imports.models import Import, SavedMapping
from app.queue import MAX_ATTEMPTS, note_failure, sweep
from tests import factories, queued
from tests.imports.files import COLUMNS, DEFAULTS, HEADER, Catalogue, admin, history, long_ago, reread


@pytest.fixture(autouse=True)
def hundred_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files here are of some hundred rows."""
    monkeypatch.setattr(importing, "BATCH", 100)


def counts(found: Import) -> tuple[int, int, int, int]:
    return (found.created, found.updated, found.unchanged, found.rejected)


def rejected(found: Import) -> dict[int, list[dict[str, Any]]]:
    return {row.line: row.faults for row in imports.rejections(found.id, most=1_000)}


def everything() -> tuple[int, int]:
    """How many imports there are, and how much was ever done."""
    db.session.rollback()
    return (
        db.session.scalar(select(func.count()).select_from(Import)) or 0,
        db.session.scalar(select(func.count()).select_from(AuditEntry)) or 0,
    )


# --- The way of a file -----------------------------------------------------------------------------------------------


def test_a_file_is_uploaded_checked_and_imported_and_the_trail_says_by_whom(app: Flask) -> None:
    _, by = admin()
    catalogue = Catalogue(good=205, bad=2)
    found = catalogue.upload(by)
    assert (found.status, found.file_name, found.file_rows) == ("UPLOADED", "oslo.csv", 207)
    assert found.headings == HEADER.split(",")
    assert found.samples[0] == ["0", "Room 0", catalogue.host, "Frogner", "3", "1000.0"]

    catalogue.check(found, by)
    assert queued.work_off() == []
    found = reread(found)
    assert (found.status, counts(found)) == ("CHECKED", (205, 0, 0, 2))
    assert found.dry_run
    assert catalogue.packages() == {}
    assert rejected(found) == {line: [{"column": "price", "reason": '"free" is not a number'}] for line in (207, 208)}

    _, other = admin()
    imports.start(found.id, by=other)
    assert queued.work_off() == []
    found = reread(found)
    assert (found.status, counts(found), found.due_at) == ("DONE", (205, 0, 0, 2), None)
    assert not found.dry_run
    assert rejected(found).keys() == {207, 208}
    packages = catalogue.packages()
    assert len(packages) == 205
    assert {package.price_minor for package in packages.values()} == {10_000}
    assert history(found) == [
        ("import.begin_upload", None),
        ("import.upload", None),
        ("import.check", None),
        ("import.checked", "205 to create, 2 rejected"),
        ("import.start", None),
        ("import.finish", "205 created, 2 rejected"),
    ]
    about = (AuditEntry.object_type == "packages", AuditEntry.object_id == packages["0"].id)
    assert db.session.scalars(select(AuditEntry.actor_id).where(*about)).all() == [other.id]


def test_a_gzipped_file_goes_the_same_way_and_a_second_import_changes_nothing(app: Flask) -> None:
    _, by = admin()
    catalogue = Catalogue(good=3)
    assert counts(catalogue.imported(by)) == (3, 0, 0, 0)
    packed = imports.upload(io.BytesIO(gzip.compress(catalogue.content)), "oslo.csv.gz", by=by)
    catalogue.check(packed, by)
    assert queued.work_off() == []
    imports.start(packed.id, by=by)
    assert queued.work_off() == []
    assert counts(reread(packed)) == (0, 0, 3, 0)
    assert len(catalogue.packages()) == 3


def test_a_file_of_one_provider_needs_no_column_for_them(app: Flask) -> None:
    _, by = admin()
    provider = factories.provider()
    with transaction():
        known = {"name": f"known-{provider.id}", "id": provider.id}
        db.session.execute(text("UPDATE providers SET external_id = :name WHERE id = :id"), known)
    db.session.expire_all()
    catalogue = Catalogue(good=2)
    found = catalogue.upload(by, provider_id=provider.id)
    catalogue.check(found, by)  # what it says of the provider is passed over
    assert queued.work_off() == []
    imports.start(found.id, by=by)
    assert queued.work_off() == []
    assert counts(reread(found)) == (2, 0, 0, 0)
    assert catalogue.packages() == {}
    of_provider = "SELECT count(*) FROM packages WHERE provider_id = :id"
    assert db.session.scalar(text(of_provider), {"id": provider.id}) == 2
    assert set(reread(found).columns) == {"external_id", "name", "place", "price", "capacity"}


# --- What can't be taken in ------------------------------------------------------------------------------------------

UNUSABLE = [
    (b"", "The file is empty."),
    (b"id;name;price\n1;A;3\n", "only one column"),
    (f"{HEADER}\n".encode(), "no rows"),
    (b"PK\x03\x04\x14\0\x06\0", "not UTF-8"),
    (f'{HEADER},"a\n\xef"\n1,2,3,4,5,6,7\n'.encode("latin-1"), "not UTF-8"),
    (f'{HEADER},"a\n\0"\n1,2,3,4,5,6,7\n'.encode(), "not UTF-8"),
    (gzip.compress(HEADER.encode() * 99)[:-9], "can't be unpacked"),
    ((",".join(f"c{n}" for n in range(301)) + "\n").encode(), "301 columns"),
]


@pytest.mark.parametrize(("content", "said"), UNUSABLE, ids=[said for _, said in UNUSABLE])
def test_what_is_no_catalogue_is_not_taken_in(app: Flask, content: bytes, said: str) -> None:
    _, by = admin()
    before = everything()
    with pytest.raises(Unusable, match=said):
        imports.upload(io.BytesIO(content), "oslo.csv", by=by)
    assert everything() == before


def test_a_file_beyond_what_can_be_taken_is_not_taken_in(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    _, by = admin()
    content = Catalogue(good=50).content
    before = everything()
    for limit, most, said in (
        ("MOST_FILE_BYTES", 999, "larger than"),
        ("MOST_UNPACKED_BYTES", 999, "holds more than"),
        ("MOST_ROWS", 49, "more than 49 rows"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(columns, limit, most)
            for file in (content, gzip.compress(content)) if limit != "MOST_FILE_BYTES" else (content,):
                with pytest.raises(Unusable, match=said):
                    imports.upload(io.BytesIO(file), "oslo.csv", by=by)
    assert everything() == before


@pytest.mark.parametrize("name", ["", "/", "a\nb.csv", "\u202evsc.exe", "bell\x07.csv"])
def test_a_file_name_that_cant_be_shown_is_refused(app: Flask, name: str) -> None:
    _, by = admin()
    before = everything()
    with pytest.raises(Invalid, match="name"):
        imports.upload(io.BytesIO(Catalogue().content), name, by=by)
    assert everything() == before


def test_of_a_file_name_its_folder_and_what_is_too_long_is_left_out(app: Flask) -> None:
    _, by = admin()
    assert Catalogue().upload(by, name="C:\\lists\\Ærlig talt.csv").file_name == "Ærlig talt.csv"
    assert Catalogue().upload(by, name="x" * 300 + ".csv").file_name == "x" * 196 + ".csv"


def test_only_an_admin_uploads_checks_starts_stops_and_keeps(app: Flask) -> None:
    _, by = admin()
    finance = factories.actor(factories.staff("finance"))
    found = Catalogue().checked(by)
    before = everything()
    for refused in (
        lambda: Catalogue().upload(finance),
        lambda: Catalogue().upload(SYSTEM),
        lambda: Catalogue().check(found, finance),
        lambda: imports.start(found.id, by=finance),
        lambda: imports.cancel(found.id, by=finance),
        lambda: mappings.keep("x", found.mapping(), currency="NOK", rate=found.rate, by=finance),
    ):
        with pytest.raises(NotAllowed):
            refused()
    assert everything() == before
    assert reread(found).status == "CHECKED"


def test_a_provider_without_an_external_id_cant_be_imported_for(app: Flask) -> None:
    _, by = admin()
    provider = factories.provider()
    assert provider.external_id is None
    before = everything()
    for provider_id, said in ((provider.id, "no external id"), (2**62, "no provider")):
        with pytest.raises(Invalid, match=said):
            Catalogue().upload(by, provider_id=provider_id)
    assert everything() == before


def test_an_upload_that_cant_be_stored_is_said_and_ended(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    _, by = admin()

    def refuse(*_: object) -> int:
        raise Unavailable("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "save", refuse)
        with pytest.raises(Unavailable):
            Catalogue().upload(by, name="full.csv")
    found = db.session.scalars(select(Import).where(Import.by_id == by.id)).one()
    assert (found.status, found.ended_because) == ("FAILED", "The file could not be stored.")


# --- Choosing columns ------------------------------------------------------------------------------------------------


def test_everything_wrong_with_a_choice_is_said_by_field_and_nothing_begins(app: Flask) -> None:
    _, by = admin()
    found = Catalogue().upload(by)
    before = everything()
    with pytest.raises(Unusable) as refusal:
        imports.check(
            found.id,
            columns={"external_id": "id", "name": "title", "latitude": "price"},
            defaults={"type": "boat", "city": "Oslo", "country": "Norway", "provider_name": "{colour}"},
            currency="kroner",
            rate="much",
            by=by,
        )
    assert {error.field: error.message for error in refusal.value.fields} == {
        "columns.name": "the file has no such column",
        "columns.provider_external_id": "needs a column or a default",
        "columns.price": "needs a column or a default",
        "columns.capacity": "needs a column or a default",
        "columns.longitude": "a position needs both latitude and longitude",
        "defaults.type": '"boat" is none of hotel, tour',
        "defaults.provider_name": "{colour} is neither a field with a column nor one with a plain default",
        "currency": "Give the currency's code of three letters, such as NOK.",
        "rate": "Give a number above 0, such as 0.094.",
    }
    assert everything() == before
    found = reread(found)
    assert (found.status, found.columns, found.due_at) == ("UPLOADED", {}, None)


@pytest.mark.parametrize(("currency", "rate"), [("USD", "0.094"), ("NOK", ""), ("NOK", "0"), ("NOK", "-1"), ("", "1")])
def test_a_rate_that_makes_no_sense_is_refused(app: Flask, currency: str, rate: str) -> None:
    _, by = admin()
    catalogue = Catalogue()
    found = catalogue.upload(by)
    with pytest.raises(Unusable):
        catalogue.check(found, by, currency=currency, rate=rate)
    assert reread(found).status == "UPLOADED"


def test_prices_in_dollars_need_no_rate(app: Flask) -> None:
    _, by = admin()
    catalogue = Catalogue(good=1)
    found = catalogue.check(catalogue.upload(by), by, currency="usd", rate="")
    assert (found.currency, found.rate) == ("USD", 1)
    imports.cancel(found.id, by=by)


def test_columns_are_known_by_their_names() -> None:
    oslo = (
        "id,name,host_id,host_since,host_is_superhost,neighbourhood,latitude,longitude,room_type,accommodates,bedrooms,"
        "price,minimum_nights,maximum_nights,availability_30"
    )
    assert columns.guess(oslo.split(",")) == {
        **COLUMNS,
        "latitude": "latitude",
        "longitude": "longitude",
        "min_nights": "minimum_nights",
    }
    assert columns.guess(["Listing ID", "hostId", " TITLE ", "Price (NOK)"]) == {
        "external_id": "Listing ID",
        "provider_external_id": "hostId",
        "name": " TITLE ",
    }


def test_no_column_is_taken_for_two_fields() -> None:
    names = [name for field, others in columns._OTHER_NAMES.items() for name in (field, *others.split())]
    assert sorted(names) == sorted(set(names))


def test_a_choice_is_kept_under_its_name_and_replaced_by_the_next_of_that_name(app: Flask) -> None:
    _, by = admin()
    name = f"Oslo {by.id}"
    catalogue = Catalogue()
    catalogue.check(catalogue.upload(by), by, keep_as=f"  {name} ")
    kept = db.session.scalars(select(SavedMapping).where(SavedMapping.name == name)).one()
    assert (kept.columns, kept.defaults, kept.currency, kept.rate) == (
        COLUMNS,
        DEFAULTS,
        "NOK",
        imports.parse_rate("0.1"),
    )
    catalogue.check(catalogue.upload(by), by, rate="0.2", keep_as=name)
    db.session.expire_all()
    (kept,) = db.session.scalars(select(SavedMapping).where(SavedMapping.name == name)).all()
    assert kept.rate == imports.parse_rate("0.2")
    mappings.forget(kept.id, by=by)
    assert db.session.scalars(select(SavedMapping).where(SavedMapping.name == name)).all() == []
    about = (AuditEntry.object_type == "import_mappings", AuditEntry.object_id == kept.id)
    actions = db.session.scalars(select(AuditEntry.action).where(*about).order_by(AuditEntry.id)).all()
    assert actions == ["import_mapping.keep", "import_mapping.keep", "import_mapping.forget"]
    with pytest.raises(NotFound):
        mappings.forget(kept.id, by=by)
    assert queued.work_off() == []


def test_a_choice_with_an_impossible_name_starts_no_check(app: Flask) -> None:
    _, by = admin()
    catalogue = Catalogue()
    found = catalogue.upload(by)
    with pytest.raises(Invalid) as refusal:
        catalogue.check(found, by, keep_as="x" * 61)
    assert [error.field for error in refusal.value.fields] == ["keep_as"]
    assert reread(found).status == "UPLOADED"


# --- Working through -------------------------------------------------------------------------------------------------


def test_others_have_their_turn_and_the_next_job_goes_on_where_it_was(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "TURN_SECONDS", 0.0)
    _, by = admin()
    catalogue = Catalogue(good=150, bad=60)
    catalogue.rows.append(catalogue.row(0))  # the first row's id once more
    found = catalogue.checked(by)
    assert counts(found) == (150, 0, 0, 61)
    app.extensions["redis"].flushdb()
    imports.start(found.id, by=by)
    work.go_on(found.id)
    found = reread(found)
    assert (found.status, counts(found)) == ("RUNNING", (100, 0, 0, 0))
    assert [call for call in queued.calls() if call[0] == Import.JOB] == [(Import.JOB, (found.id,))] * 2
    assert queued.work_off() == []
    found = reread(found)
    assert (found.status, counts(found)) == ("DONE", (150, 0, 0, 61))
    assert rejected(found)[212][0]["reason"] == '"0" of this provider is on line 2 already'


def test_a_worker_that_dies_in_a_batch_leaves_nothing_of_it_and_the_rest_is_done_once(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, by = admin()
    catalogue = Catalogue(good=250)
    found = imports.start(catalogue.checked(by).id, by=by)
    real, batches = calendars.open_days, []

    def die(listings: Any) -> None:
        batches.append(listings)
        if len(batches) == 2:
            raise KeyboardInterrupt
        real(listings)

    with monkeypatch.context() as patch:
        patch.setattr(calendars, "open_days", die)
        with pytest.raises(KeyboardInterrupt):
            work.go_on(found.id)
    assert len(catalogue.packages()) == 100
    found = reread(found)
    assert (found.status, counts(found)) == ("RUNNING", (100, 0, 0, 0))
    app.extensions["redis"].flushdb()
    with transaction():
        db.session.execute(text("UPDATE imports SET leased_until = now() WHERE id = :id"), {"id": found.id})
    assert sweep(Import) >= 1  # other tests leave imports that are due, too
    assert queued.work_off() == []
    found = reread(found)
    assert (found.status, counts(found)) == ("DONE", (250, 0, 0, 0))
    packages = catalogue.packages()
    assert len(packages) == 250
    about = (AuditEntry.object_type == "packages", AuditEntry.object_id.in_([row.id for row in packages.values()]))
    assert db.session.scalar(select(func.count()).select_from(AuditEntry).where(*about)) == 250


def test_two_workers_at_one_import_count_each_row_once(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    _, by = admin()
    catalogue = Catalogue(good=250)
    found = imports.start(catalogue.checked(by).id, by=by)
    real, calls = calendars.open_days, []

    def let_the_other_in(listings: Any) -> None:
        calls.append(listings)
        if len(calls) == 2:
            # Somebody else's job has just done this very batch.
            db.session.execute(text("UPDATE imports SET created = 200 WHERE id = :id"), {"id": found.id})
        real(listings)

    with monkeypatch.context() as patch:
        patch.setattr(calendars, "open_days", let_the_other_in)
        work.go_on(found.id)
    assert len(catalogue.packages()) == 100
    assert counts(reread(found)) == (100, 0, 0, 0)
    assert queued.work_off() == []
    assert counts(reread(found)) == (250, 0, 0, 0)


def test_a_stopped_import_writes_nothing_more_and_is_checked_again_before_it_goes_on(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "TURN_SECONDS", 0.0)
    _, by = admin()
    catalogue = Catalogue(good=250)
    found = imports.start(catalogue.checked(by).id, by=by)
    work.go_on(found.id)
    imports.cancel(found.id, by=by)
    assert queued.work_off() == []
    found = reread(found)
    assert (found.status, counts(found), len(catalogue.packages())) == ("CANCELLED", (100, 0, 0, 0), 100)
    assert history(found)[-1] == ("import.cancel", "100 created")
    with pytest.raises(Conflict, match="cancelled"):
        imports.start(found.id, by=by)
    catalogue.check(found, by)
    assert queued.work_off() == []
    assert counts(reread(found)) == (150, 0, 100, 0)
    imports.start(found.id, by=by)
    assert queued.work_off() == []
    assert (reread(found).status, len(catalogue.packages())) == ("DONE", 250)


def test_who_stops_an_import_stops_a_worker_in_its_midst_after_the_batch(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, by = admin()
    catalogue = Catalogue(good=250)
    found = imports.start(catalogue.checked(by).id, by=by)

    def after_a_batch() -> float:
        if reread(found).status == "RUNNING":
            imports.cancel(found.id, by=by)
        return 0.0

    monkeypatch.setattr(work, "monotonic", after_a_batch)
    assert queued.work_off() == []
    found = reread(found)
    assert (found.status, counts(found), len(catalogue.packages())) == ("CANCELLED", (100, 0, 0, 0), 100)
    assert found.ended_because is None


def test_a_job_of_a_check_before_does_not_count_into_the_next(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    _, by = admin()
    catalogue = Catalogue(good=150)
    found = catalogue.check(catalogue.upload(by), by)
    real, calls = work._still, []

    def choose_anew(*arguments: Any) -> Import:
        calls.append(arguments)
        if len(calls) == 1:
            db.session.execute(text("UPDATE imports SET begun_at = now() WHERE id = :id"), {"id": found.id})
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(work, "_still", choose_anew)
        work.go_on(found.id)
    assert counts(reread(found)) == (0, 0, 0, 0)
    assert queued.work_off() == []
    assert counts(reread(found)) == (150, 0, 0, 0)


def test_whoever_may_not_import_any_more_imports_nothing_more(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "TURN_SECONDS", 0.0)
    person, by = admin()
    catalogue = Catalogue(good=250)
    found = imports.start(catalogue.checked(by).id, by=by)
    work.go_on(found.id)
    with transaction():
        db.session.execute(text("DELETE FROM staff_roles WHERE user_id = :id"), {"id": person.id})
    assert queued.work_off() == []
    found = reread(found)
    assert (found.status, len(catalogue.packages())) == ("FAILED", 100)
    assert found.ended_because == f"{person.name}, who asked for it, does not hold the role admin any more."


def test_imports_of_one_provider_and_of_nobody_knows_whom_are_one_at_a_time(app: Flask) -> None:
    person, by = admin()
    first, second = Catalogue(), Catalogue()
    running = imports.start(first.checked(by, name="first.csv").id, by=by)
    _, other = admin()
    waiting = second.check(second.upload(other), other)
    work.go_on(waiting.id)
    with pytest.raises(
        Conflict, match=rf"{person.name} has been importing first.csv since \d.+ UTC \(0 of 3 rows are done\)"
    ):
        imports.start(waiting.id, by=other)
    assert reread(waiting).status == "CHECKED"
    assert queued.work_off() == []
    assert reread(running).status == "DONE"
    imports.start(waiting.id, by=other)
    assert queued.work_off() == []
    assert reread(waiting).status == "DONE"


def test_what_is_in_the_way_is_tried_again_until_the_tries_are_used_up(app: Flask) -> None:
    _, by = admin()
    found = imports.start(Catalogue().checked(by).id, by=by)
    note_failure(Import, found.id, "The disk is slow.", give_up=work.fail)
    found = reread(found)
    assert (found.status, found.last_error, found.attempts) == ("RUNNING", "The disk is slow.", 1)
    for _ in range(MAX_ATTEMPTS):
        note_failure(Import, found.id, "The disk is slow.", give_up=work.fail)
    found = reread(found)
    assert (found.status, found.due_at) == ("FAILED", None)
    assert found.ended_because == "It was tried too often. The last time: The disk is slow."


def test_using_up_the_last_try_and_ending_are_one_step(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    _, by = admin()
    found = imports.start(Catalogue().checked(by).id, by=by)
    for _ in range(MAX_ATTEMPTS - 1):
        note_failure(Import, found.id, "The disk is slow.", give_up=work.fail)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(work.history, "move", killed)
        with pytest.raises(KeyboardInterrupt):
            note_failure(Import, found.id, "The disk is slow.", give_up=work.fail)
    found = reread(found)
    # It is not left as one that runs and that nobody will ever go on with.
    assert (found.status, found.due_at is None, found.attempts) == ("RUNNING", False, MAX_ATTEMPTS - 1)
    note_failure(Import, found.id, "The disk is slow.", give_up=work.fail)
    found = reread(found)
    assert (found.status, found.due_at, found.attempts) == ("FAILED", None, MAX_ATTEMPTS)


def test_a_bug_ends_an_import_in_words(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    _, by = admin()
    catalogue = Catalogue()
    found = imports.start(catalogue.checked(by).id, by=by)
    monkeypatch.setattr(calendars, "open_days", lambda _: 1 / 0)
    assert queued.work_off() == []
    found = reread(found)
    assert (found.status, found.ended_because) == ("FAILED", "Something unexpected went wrong; it is in the log.")
    assert catalogue.packages() == {}


# --- Files of long ago -----------------------------------------------------------------------------------------------


def test_a_file_is_deleted_after_thirty_days_and_then_nothing_can_be_done_with_it(app: Flask) -> None:
    _, by = admin()
    catalogue = Catalogue()
    found, young, over = catalogue.checked(by), Catalogue().checked(by), Catalogue().imported(by)
    key = str(found.file_key)
    assert storage.exists(key)
    for old, days in ((found, 31), (over, 31), (young, 29)):
        long_ago(old, days)
    imports.forget_files()
    assert not storage.exists(key)
    assert storage.exists(str(young.file_key))
    found = reread(found)
    assert (found.status, found.file_key) == ("CANCELLED", None)
    assert found.ended_because == "It was not imported within 30 days."
    assert (reread(over).status, reread(over).file_key) == ("DONE", None)
    assert reread(young).status == "CHECKED"
    with pytest.raises(Conflict, match="Upload it again"):
        catalogue.check(found, by)
    assert reread(found).status == "CANCELLED"


def test_a_file_that_is_being_worked_on_is_not_deleted(app: Flask) -> None:
    _, by = admin()
    found = imports.start(Catalogue().checked(by).id, by=by)
    long_ago(found, 31)
    imports.forget_files()
    assert storage.exists(str(reread(found).file_key))
    assert queued.work_off() == []
    assert reread(found).status == "DONE"


def test_a_file_that_is_not_there_any_more_is_said(app: Flask) -> None:
    _, by = admin()
    catalogue = Catalogue()
    found = catalogue.check(catalogue.upload(by), by)
    storage.delete([str(found.file_key)])
    assert queued.work_off() == []
    found = reread(found)
    assert (found.status, found.ended_because) == ("FAILED", "Its file is not there any more. Upload it again.")


def test_an_upload_that_was_cut_off_is_ended_the_next_day(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    _, by = admin()

    def die(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "save", die)
        with pytest.raises(KeyboardInterrupt):
            Catalogue().upload(by)
    found = db.session.scalars(select(Import).where(Import.by_id == by.id)).one()
    assert found.status == "UPLOADING"
    imports.forget_files()
    assert reread(found).status == "UPLOADING"
    long_ago(found, 2)
    imports.forget_files()
    assert (reread(found).status, reread(found).ended_because) == ("FAILED", "The upload was cut off.")
