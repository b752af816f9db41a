"""Exports: the rows that were asked for, in their order, masked by role, as a file that is there for a while."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Select, func, select, text

from app import storage
from app.accounts.models import User
from app.audit.actor import Actor
from app.bulk import exporting, kinds, work
from app.bulk import service as bulk
from app.bulk.kind import Outcome
from app.bulk.kinds import KINDS
from app.bulk.models import Bulk
from app.db import transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed, NotFound
from app.extensions import db
from app.reviews.models import Review
from jobs import bulk as job
from tests import factories, queued
from tests.bulk.runs import Waiting, asked, moderator, reread
from tests.disputes.disputing import disputed
from tests.payments.refunding import ask, payment_of
from tests.reports import days as reconciled_days


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows to a part."""
    for name, kind in KINDS.items():
        if kind.part_of is not None:
            monkeypatch.setitem(kinds.KINDS, name, replace(kind, chunk_rows=3))


@pytest.fixture(autouse=True)
def folder(app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the files of this test are."""
    monkeypatch.setitem(app.extensions, "storage", storage.Folder(tmp_path))
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.glob("exports/**/*.csv"))


def somebody(*roles: str) -> Actor:
    return factories.actor(factories.staff(*roles))


def backwards(waiting: Waiting) -> Select[Any]:
    """Reviews from the last to the first."""
    place = func.row_number().over(order_by=Review.id.desc()).label("place")
    return select(Review.id.label("id"), place).where(Review.package_id == waiting.package_id)


def people(*found: User) -> Select[Any]:
    place = func.row_number().over(order_by=User.id).label("place")
    return select(User.id.label("id"), place).where(User.id.in_([person.id for person in found]))


def exported(run: Bulk, by: Actor) -> Bulk:
    bulk.start(run.id, by=by)
    assert queued.work_off() == []
    return reread(run)


def content(run: Bulk, by: Actor) -> str:
    written = b"".join(exporting.download(run.id, by=by).content)
    assert written.startswith(b"\xef\xbb\xbf"), "Excel would take it for another encoding"
    return written.decode("utf-8-sig")


def rows(run: Bulk, by: Actor) -> list[list[str]]:
    return list(csv.reader(StringIO(content(run, by), newline="")))


def downloads(run: Bulk) -> list[int]:
    found = "SELECT actor_id FROM audit_entries WHERE object_type = 'bulks' AND object_id = :id AND action = :action"
    return [row[0] for row in asked(found + " ORDER BY id", id=run.id, action="bulk.download")]


# --- The file --------------------------------------------------------------------------------------------------------


def test_the_file_has_the_rows_that_matched_when_it_was_asked_for_in_the_order_of_the_list(app: Flask) -> None:
    waiting, by = Waiting(8), somebody("moderator")
    run = exporting.ask("reviews", backwards(waiting), by=by)
    late = waiting.more(2)
    run = exported(run, by)
    assert (run.status, run.total, run.done, run.skipped) == ("DONE", 8, 8, 0)
    first, *others = rows(run, by)
    assert first == ["Id", "Review", "Text", "Stars", "Package", "State", "Written"]
    assert [int(row[0]) for row in others] == [row_id for row_id in reversed(waiting.ids) if row_id not in late]
    assert others[0][1:4] == ["Would come back", "Quiet at night.", str(1 + waiting.ids[7] % 5)] or others[0][1] != ""


def test_columns_stand_in_the_order_of_the_list_and_amounts_have_their_currency(app: Flask) -> None:
    booking, by = factories.booking(), somebody("support")
    place = func.row_number().over(order_by=User.id).label("place")
    found = select(db.cast(booking.id, db.BigInteger).label("id"), place).where(User.id == by.id)
    run = exported(
        exporting.ask("bookings", found, columns=["total", "reference", "traveller", "starts_on"], by=by), by
    )
    name = db.session.get_one(User, booking.traveller_id).name
    assert rows(run, by) == [
        ["Id", "Booking", "Traveller", "From", "Total", "Currency"],
        [str(booking.id), booking.reference, name, booking.starts_on.isoformat(), "200.00", "USD"],
    ]


def test_nothing_that_travellers_write_is_run_by_a_spreadsheet(app: Flask) -> None:
    review, by = factories.review(title="=1+1", content="@SUM(A1)\r\n=2"), somebody("moderator")
    place = func.row_number().over(order_by=Review.id).label("place")
    run = exporting.ask("reviews", select(Review.id.label("id"), place).where(Review.id == review.id), by=by)
    assert rows(exported(run, by), by)[1][1:3] == ["'=1+1", "'@SUM(A1)\r\n=2"]


def test_a_row_that_is_gone_is_told_as_skipped_and_the_others_are_there(app: Flask) -> None:
    waiting, by = Waiting(4), somebody("moderator")
    run = exporting.ask("reviews", backwards(waiting), by=by)
    gone = 2**60
    with transaction():
        chunk = "UPDATE bulk_chunks SET ids = array_replace(ids, :old, :new) WHERE bulk_id = :id"
        db.session.execute(text(chunk), {"old": waiting.ids[2], "new": gone, "id": run.id})
    run = exported(run, by)
    assert (run.total, run.done, run.skipped) == (4, 3, 1)
    assert bulk.rows(run, "SKIPPED", after=0, most=9) == [(gone, "It is not there any more.")]
    assert [int(row[0]) for row in rows(run, by)[1:]] == [waiting.ids[3], waiting.ids[1], waiting.ids[0]]


def test_every_column_of_every_export_can_be_read(app: Flask) -> None:
    admin = somebody("admin")
    paid = factories.paid_booking()
    ask(payment_of(paid), 100)
    disputed(payment_of(factories.paid_booking()))
    factories.review()
    reconciled_days.reconciled(reconciled_days.a_day())
    with transaction():
        db.session.execute(
            text(
                "INSERT INTO webhook_events (stripe_event_id, type, payload, status, request_id, happened_at)"
                " VALUES ('evt_x' || random(), 'a.b', '{}', 'PROCESSED', 'r', now())"
            )
        )
    for name, export in exporting.EXPORTS.items():
        key = export.model.__table__.c.id
        newest = select(key.label("id")).order_by(key.desc()).limit(2).subquery()
        place = func.row_number().over(order_by=newest.c.id).label("place")
        run = exported(exporting.ask(name, select(newest.c.id, place), by=admin), admin)
        header, *lines = rows(run, admin)
        assert (run.failures, run.skipped) == (0, 0), name
        assert lines, name
        assert {len(line) for line in lines} == {len(header)}, name
    assert paid.id


def test_a_part_that_was_written_twice_or_by_two_is_in_the_file_once(app: Flask, folder: Path) -> None:
    waiting, by = Waiting(7), somebody("moderator")
    run = exporting.ask("reviews", backwards(waiting), by=by)
    bulk.start(run.id, by=by)
    real, killed = storage.save, []

    def killed_after_saving(key: str, blocks: Any) -> int:
        written = real(key, blocks)
        if len(killed) < 2:
            killed.append(key)
            raise SystemExit
        return written

    storage.save, before = killed_after_saving, storage.save
    try:
        for _ in range(2):
            with pytest.raises(SystemExit):
                job.work(run.id)
    finally:
        storage.save = before
    assert killed[0] == killed[1]
    assert (reread(run).done, len(files(folder))) == (0, 1)
    job.work(run.id)
    assert [int(row[0]) for row in rows(reread(run), by)[1:]] == waiting.ids[::-1]
    assert len(files(folder)) == 3


def test_two_workers_at_one_part_count_its_rows_once(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "TURN_SECONDS", 0.0)
    waiting, by = Waiting(7), somebody("moderator")
    run = bulk.start(exporting.ask("reviews", backwards(waiting), by=by).id, by=by)
    run_id, real, overtaken = run.id, storage.save, []

    def overtaken_while_saving(key: str, blocks: Any) -> int:
        if not overtaken:
            overtaken.append(key)
            work.go_on(run_id)
        return real(key, blocks)

    monkeypatch.setattr(storage, "save", overtaken_while_saving)
    work.go_on(run_id)
    assert overtaken
    assert reread(run).done == 3
    for _ in range(3):
        work.go_on(run_id)
    run = reread(run)
    assert (run.status, run.done) == ("DONE", 7)
    assert [int(row[0]) for row in rows(run, by)[1:]] == waiting.ids[::-1]


def test_the_file_keeps_its_order_when_a_row_that_fails_is_found(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, by = Waiting(7), somebody("moderator")
    real = KINDS["export.reviews"]
    bad = waiting.ids[5]

    def stumbling(ids: list[int], arguments: Mapping[str, Any], actor: Actor) -> tuple[bytes, Outcome]:
        assert real.part_of is not None
        if bad in ids:
            raise KeyError("nobody thought of this")
        return real.part_of(ids, arguments, actor)

    monkeypatch.setitem(kinds.KINDS, real.name, replace(real, part_of=stumbling, chunk_rows=7))
    run = exported(exporting.ask("reviews", backwards(waiting), by=by), by)
    assert (run.status, run.done, run.failures) == ("DONE", 6, 1)
    assert [int(row[0]) for row in rows(run, by)[1:]] == [row_id for row_id in waiting.ids[::-1] if row_id != bad]


def test_storage_that_is_down_is_waited_for(app: Flask, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    waiting, by = Waiting(4), somebody("moderator")
    run = exporting.ask("reviews", backwards(waiting), by=by)
    (folder / "in-the-way").write_text("")
    monkeypatch.setitem(app.extensions, "storage", storage.Folder(folder / "in-the-way"))
    run = exported(run, by)
    assert (run.status, run.done, run.attempts) == ("RUNNING", 0, 1)
    assert "Files can't be kept" in (run.last_error or "")
    monkeypatch.setitem(app.extensions, "storage", storage.Folder(folder))
    with transaction():
        db.session.execute(text("UPDATE bulks SET due_at = now(), leased_until = NULL WHERE id = :id"), {"id": run.id})
    job.work(run.id)
    assert (reread(run).status, len(rows(run, by))) == ("DONE", 5)


# --- What makes no sense ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "columns", "refusal"),
    [
        (1, ["reference"], "Reviews have no column reference"),
        (0, None, "No reviews are selected"),
        (3, None, "At most 2 reviews can be exported at once"),
    ],
)
def test_what_can_not_be_exported_is_refused_before_anything_is_kept(
    app: Flask, monkeypatch: pytest.MonkeyPatch, number: int, columns: list[str] | None, refusal: str
) -> None:
    monkeypatch.setattr(bulk, "MOST_ROWS", 2)
    by = somebody("moderator")
    with pytest.raises(Invalid, match=refusal):
        exporting.ask("reviews", backwards(Waiting(number)), columns=columns, by=by)
    assert asked("SELECT count(*) FROM bulks WHERE by_id = :id", id=by.id) == [(0,)]


def test_who_may_not_open_a_list_may_not_export_it(app: Flask) -> None:
    person, by = factories.staff("admin"), somebody("support", "moderator")
    for name in ("staff", "payments", "audit", "ledger", "webhooks"):
        with pytest.raises(NotAllowed):
            exporting.ask(name, people(person), by=by)
    assert asked("SELECT count(*) FROM bulks WHERE by_id = :id", id=by.id) == [(0,)]


def test_half_a_file_is_not_taken_up(app: Flask) -> None:
    waiting, by = Waiting(2), somebody("moderator")
    run = exporting.ask("reviews", backwards(waiting), by=by)
    bulk.start(run.id, by=by)
    bulk.cancel(run.id, by=by)
    with pytest.raises(Conflict, match="half a file"):
        bulk.take_up(run.id, by=by)
    with pytest.raises(Conflict, match="Only an export that is done"):
        exporting.download(run.id, by=by)
    assert downloads(run) == []


# --- Who sees what ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "sees_name", "sees_address"),
    [("admin", True, True), ("support", True, True), ("finance", True, False), ("moderator", False, False)],
)
def test_names_and_addresses_are_masked_by_role(app: Flask, role: str, sees_name: bool, sees_address: bool) -> None:
    person, by = factories.traveller(name="Ada Lovelace"), somebody(role)
    run = exported(exporting.ask("travellers", people(person), columns=["name", "email"], by=by), by)
    masked = (["Name"] if not sees_name else []) + (["E-mail"] if not sees_address else [])
    assert [field.heading for field in exporting.masked(run)] == [word.replace("Name", "Traveller") for word in masked]
    assert rows(run, by) == [
        ["Id", "Traveller" if sees_name else "Traveller (masked)", "E-mail" if sees_address else "E-mail (masked)"],
        [
            str(person.id),
            "Ada Lovelace" if sees_name else "A… L…",
            person.email if sees_address else f"{person.email[0]}…@example.org",
        ],
    ]


def demoted(by: Actor, *, to: str) -> Actor:
    with transaction():
        db.session.execute(text("DELETE FROM staff_roles WHERE user_id = :id"), {"id": by.id})
        db.session.execute(text("INSERT INTO staff_roles VALUES (:id, :role)"), {"id": by.id, "role": to})
    return replace(by, roles=frozenset({to}))


def test_who_was_demoted_since_gets_the_rest_masked_and_no_file_with_more(app: Flask) -> None:
    person, by = factories.traveller(), somebody("support")
    done = exported(exporting.ask("travellers", people(person), columns=["email"], by=by), by)
    waiting = exporting.ask("travellers", people(person), columns=["email"], by=by)
    assert person.email in content(done, by)
    now = demoted(by, to="moderator")
    with pytest.raises(NotAllowed, match="Your role sees E-mail masked"):
        exporting.download(done.id, by=now)
    waiting = exported(waiting, now)
    written = b"".join(exporting.download(waiting.id, by=somebody("admin")).content).decode()
    assert person.email not in written
    assert downloads(done) == [by.id]


def test_who_was_promoted_since_gets_what_the_page_said(app: Flask) -> None:
    person, by = factories.traveller(), somebody("moderator")
    run = exporting.ask("travellers", people(person), columns=["email"], by=by)
    now = demoted(by, to="admin")
    assert rows(exported(run, now), now) == [
        ["Id", "E-mail (masked)"],
        [str(person.id), f"{person.email[0]}…@example.org"],
    ]


def test_who_may_not_open_the_list_any_more_gets_nothing_of_it(app: Flask) -> None:
    by = somebody("admin")
    colleague = factories.staff("support")
    done = exported(exporting.ask("staff", people(colleague), by=by), by)
    waiting = exporting.ask("staff", people(colleague), by=by)
    bulk.start(waiting.id, by=by)
    now = demoted(by, to="support")
    assert queued.work_off() == []
    assert (reread(waiting).status, reread(waiting).done) == ("FAILED", 0)
    assert "does not hold the role admin any more" in (reread(waiting).ended_because or "")
    with pytest.raises(NotAllowed, match="may not open what was exported"):
        exporting.download(done.id, by=now)
    assert downloads(done) == []


def test_a_file_is_for_who_asked_and_for_admins_and_each_download_is_recorded(app: Flask) -> None:
    by, admin, other = somebody("moderator"), somebody("admin"), somebody("moderator")
    run = exported(exporting.ask("reviews", backwards(Waiting(2)), by=by), by)
    for who in (by, admin, by):
        content(run, who)
    with pytest.raises(NotFound):
        exporting.download(run.id, by=other)
    assert downloads(run) == [by.id, admin.id, by.id]
    prepared = asked(
        "SELECT after FROM audit_entries WHERE object_type = 'bulks' AND object_id = :id AND action = 'bulk.prepare'",
        id=run.id,
    )[0][0]
    assert (prepared["kind"], prepared["total"]) == ("export.reviews", 2)
    assert "content" in prepared["arguments"]["columns"]


def test_a_run_that_leaves_no_file_has_none_to_download(app: Flask) -> None:
    _, by = moderator()
    run = bulk.freeze("reviews.approve", Waiting(1).ids, by=by)
    with pytest.raises(NotFound, match="leaves no file"):
        exporting.download(run.id, by=by)


# --- Its end ---------------------------------------------------------------------------------------------------------


def later(run: Bulk, days: float) -> None:
    with transaction():
        db.session.execute(
            text("UPDATE bulks SET file_until = file_until - :days WHERE id = :id"),
            {"days": timedelta(days=days), "id": run.id},
        )


def test_a_file_is_deleted_after_a_week_and_said_to_be(app: Flask, folder: Path) -> None:
    by = somebody("moderator")
    run = exported(exporting.ask("reviews", backwards(Waiting(5)), by=by), by)
    kept = exported(exporting.ask("reviews", backwards(Waiting(1)), by=by), by)
    later(run, 6.9)
    job.delete_files()
    assert len(files(folder)) == 3
    content(run, by)
    later(run, 0.2)
    with pytest.raises(Conflict, match="kept for 7 days"):
        exporting.download(run.id, by=by)
    job.delete_files()
    assert [name.split("/")[1] for name in files(folder)] == [str(kept.id)]
    assert reread(run).file_deleted_at is not None
    with pytest.raises(Conflict, match="kept for 7 days"):
        exporting.download(run.id, by=by)
    job.delete_files()
    deleted = "SELECT count(*) FROM audit_entries WHERE action = 'bulk.delete_file' AND object_id = :id"
    assert asked(deleted, id=run.id) == [(1,)]


def test_the_week_begins_when_the_file_is_done_and_not_before(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    by = somebody("moderator")
    monkeypatch.setattr(work, "TURN_SECONDS", 0.0)
    run = bulk.start(exporting.ask("reviews", backwards(Waiting(4)), by=by).id, by=by)
    job.work(run.id)
    later(run, 8)
    job.delete_files()
    assert reread(run).file_deleted_at is None
    for _ in range(2):
        job.work(run.id)
    run = reread(run)
    assert run.status == "DONE"
    assert run.file_until is not None
    assert run.file_until > utcnow() + timedelta(days=6)


def test_what_was_stopped_half_way_is_deleted_too(app: Flask, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by = somebody("moderator")
    monkeypatch.setattr(work, "TURN_SECONDS", 0.0)
    run = exporting.ask("reviews", backwards(Waiting(7)), by=by)
    bulk.start(run.id, by=by)
    job.work(run.id)
    bulk.cancel(run.id, by=by)
    assert len(files(folder)) == 1
    later(run, 7.1)
    job.delete_files()
    assert files(folder) == []


def test_a_file_that_is_being_downloaded_is_not_found_before_anything_is_answered(app: Flask, folder: Path) -> None:
    by = somebody("moderator")
    run = exported(exporting.ask("reviews", backwards(Waiting(2)), by=by), by)
    for name in files(folder):
        (folder / name).unlink()
    with pytest.raises(NotFound, match="not there any more"):
        exporting.download(run.id, by=by)
