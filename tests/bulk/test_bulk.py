"""One thing done to many rows: the set is frozen, each row is done once, and what was done can be told and undone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import select, text

from app.accounts import staff
from app.audit.actor import SYSTEM, Actor
from app.bulk import kinds, work
from app.bulk import service as bulk
from app.bulk.kind import Outcome
from app.bulk.kinds import KINDS
from app.bulk.models import Bulk
from app.db import transaction
from app.errors import Busy, Conflict, Invalid, NotAllowed, NotFound, TripdeskError
from app.extensions import db
from app.queue import MAX_ATTEMPTS
from app.reviews import service as reviews
from app.reviews.models import Review
from jobs import bulk as job
from tests import factories, queued
from tests.bulk.runs import Waiting, asked, handed_out, moderator, reread, started


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows at a time."""
    monkeypatch.setattr(bulk, "CHUNK_ROWS", 3)


def runs_by(by: Actor) -> int:
    return int(asked("SELECT count(*) FROM bulks WHERE by_id = :id", id=by.id)[0][0])


def counted(run: Bulk) -> tuple[int, int, int, int]:
    run = reread(run)
    return run.total, run.done, run.skipped, run.failures


# --- The set ---------------------------------------------------------------------------------------------------------


def test_what_comes_in_after_the_set_was_frozen_is_not_touched(app: Flask) -> None:
    waiting = Waiting(5)
    _, by = moderator()
    pending = select(Review.id).where(Review.package_id == waiting.package_id, Review.status == "PENDING")
    run = bulk.freeze("reviews.approve", pending, by=by)
    late = waiting.more(2)
    bulk.start(run.id, by=by)
    late += waiting.more(1)
    assert queued.work_off() == []
    assert counted(run) == (5, 5, 0, 0)
    assert waiting.statuses() == dict.fromkeys(waiting.ids, "APPROVED") | dict.fromkeys(late, "PENDING")
    assert (reread(run).status, waiting.stars()) == ("DONE", 5)


def test_a_set_is_kept_in_chunks_in_order_and_each_row_once(app: Flask, small_chunks: None) -> None:
    waiting = Waiting(7)
    _, by = moderator()
    run = bulk.freeze("reviews.approve", [*reversed(waiting.ids), *waiting.ids], by=by)
    chunks = asked("SELECT ids FROM bulk_chunks WHERE bulk_id = :id ORDER BY id", id=run.id)
    assert [ids for (ids,) in chunks] == [waiting.ids[:3], waiting.ids[3:6], waiting.ids[6:]]
    assert (run.total, run.status, handed_out()) == (7, "PREPARED", [])


@pytest.mark.parametrize(
    ("kind", "ids", "arguments", "refusal"),
    [
        ("reviews.approve", [], {}, "No reviews are selected"),
        ("reviews.approve", [1, 2, 3, 4], {}, "At most 3 reviews"),
        ("reviews.reject", [1], {"reason": "mood"}, "Choose one of"),
        ("reviews.reject", [1], {"reason": "other"}, "Say what the reason is"),
        ("weather", [1], {}, "no bulk work called weather"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_kept(
    app: Flask, monkeypatch: pytest.MonkeyPatch, kind: str, ids: list[int], arguments: dict[str, str], refusal: str
) -> None:
    monkeypatch.setattr(bulk, "MOST_ROWS", 3)
    _, by = moderator()
    with pytest.raises(Invalid, match=refusal):
        bulk.freeze(kind, ids, by=by, arguments=arguments)
    assert runs_by(by) == 0


def test_who_may_not_do_it_to_one_may_not_do_it_to_many(app: Flask) -> None:
    waiting = Waiting(2)
    for role in ("support", "finance"):
        by = factories.actor(factories.staff(role))
        with pytest.raises(NotAllowed):
            bulk.freeze("reviews.approve", waiting.ids, by=by)
        assert runs_by(by) == 0


def test_a_run_is_seen_by_who_asked_for_it_and_by_admins_and_driven_by_who_asked(app: Flask) -> None:
    waiting = Waiting(2)
    _, by = moderator()
    run = bulk.freeze("reviews.approve", waiting.ids, by=by)
    _, other = moderator()
    admin = factories.actor(factories.staff("admin"))
    assert bulk.find(run.id, by=by).id == bulk.find(run.id, by=admin).id == run.id
    for verb in (bulk.find, bulk.start, bulk.cancel, bulk.undo, bulk.take_up):
        with pytest.raises(NotFound):
            verb(run.id, by=other)
    for verb in (bulk.start, bulk.undo):
        with pytest.raises(NotAllowed):
            verb(run.id, by=admin)
    assert (reread(run).status, handed_out()) == ("PREPARED", [])
    assert bulk.cancel(run.id, by=admin).status == "CANCELLED"


# --- What becomes of the rows ----------------------------------------------------------------------------------------


def test_the_preview_says_what_will_be_done_and_the_result_what_happened_meanwhile(app: Flask) -> None:
    waiting = Waiting(6)
    other_person, other = moderator()
    _, by = moderator()
    reviews.approve(waiting.ids[0], by=other)
    reviews.reject(waiting.ids[1], reason="fake", by=other)
    run = bulk.freeze("reviews.approve", waiting.ids, by=by)
    plan = bulk.preview(run)
    assert (plan.will, plan.skipped) == (4, {"Approved already": 1, "Rejected already": 1})
    reviews.reject(waiting.ids[2], reason="private", by=other)
    bulk.start(run.id, by=by)
    assert queued.work_off() == []
    assert counted(run) == (6, 3, 3, 0)
    skipped = bulk.rows(run, "SKIPPED", after=0, most=10)
    assert [row_id for row_id, _ in skipped] == waiting.ids[:3]
    said = [reason or "" for _, reason in skipped]
    assert said[0].startswith(f"Approved by {other_person.name}")
    assert said[2].startswith(f"Rejected by {other_person.name}")
    assert bulk.rows(run, "DONE", after=waiting.ids[3], most=10) == [(row_id, None) for row_id in waiting.ids[4:]]
    assert waiting.decided("review.approve") == Counter(dict.fromkeys([waiting.ids[0], *waiting.ids[3:]], 1))


def test_an_id_that_is_no_row_is_skipped_and_said_to_be(app: Flask) -> None:
    waiting = Waiting(1)
    _, by = moderator()
    run = started([*waiting.ids, 2**60], by)
    assert queued.work_off() == []
    assert counted(run) == (2, 1, 1, 0)
    assert bulk.rows(run, "SKIPPED", after=0, most=10) == [(2**60, "It is not there any more.")]


def test_rejecting_many_gives_each_the_reason(app: Flask) -> None:
    waiting = Waiting(3)
    _, by = moderator()
    run = bulk.freeze("reviews.reject", waiting.ids, by=by, arguments={"reason": "other", "notes": "A test"})
    bulk.start(run.id, by=by)
    assert queued.work_off() == []
    found = asked("SELECT DISTINCT status, moderation_notes FROM reviews WHERE package_id = :id", id=waiting.package_id)
    assert found == [("REJECTED", "A test")]


def test_the_trail_names_who_asked_from_where_and_by_which_request(app: Flask) -> None:
    waiting = Waiting(2)
    person, _ = moderator()
    by = replace(factories.actor(person), address="192.0.2.7")
    run = started(waiting.ids, by)
    app.extensions["redis"].flushdb()
    job.work(run.id)
    entries = asked(
        "SELECT DISTINCT actor_id, address, request_id FROM audit_entries"
        " WHERE object_type = 'reviews' AND object_id = ANY(:ids) AND action = 'review.approve'",
        ids=waiting.ids,
    )
    assert entries == [(person.id, "192.0.2.7", run.request_id)]


class Stumbling:
    """Approving, which raises over some of the rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, over: list[int], error: Exception) -> None:
        self.over, self.error = set(over), error
        self.real = KINDS["reviews.approve"]
        monkeypatch.setitem(kinds.KINDS, self.real.name, replace(self.real, apply_chunk=self._apply))

    def _apply(self, ids: list[int], arguments: Mapping[str, Any], by: Actor) -> Outcome:
        outcome = self.real.apply_chunk(ids, arguments, by)
        if self.over & set(ids):
            raise self.error
        return outcome


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Conflict("Its stay is disputed."), "Its stay is disputed."),
        (KeyError("nobody thought of this"), "Something unexpected went wrong; it is in the log."),
    ],
)
def test_a_row_that_raises_fails_alone_and_is_taken_up_by_a_new_run(
    app: Flask, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    waiting = Waiting(40)
    _, by = moderator()
    bad = [waiting.ids[7], waiting.ids[30]]
    stumbling = Stumbling(monkeypatch, bad, error)
    run = started(waiting.ids, by)
    assert queued.work_off() == []
    assert counted(run) == (40, 38, 0, 2)
    assert bulk.rows(run, "FAILED", after=0, most=10) == [(row_id, said) for row_id in bad]
    assert waiting.counts() == {"APPROVED": 38, "PENDING": 2}

    stumbling.over.clear()
    new = bulk.take_up(run.id, by=by)
    assert queued.work_off() == []
    assert (counted(new), reread(new).retry_of_id) == ((2, 2, 0, 0), run.id)
    assert waiting.decided("review.approve") == Counter(dict.fromkeys(waiting.ids, 1))
    with pytest.raises(Conflict, match=f"Run {new.id} has taken this up"):
        bulk.take_up(run.id, by=by)


def test_a_chunks_effects_are_not_kept_without_its_results(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting(4)
    _, by = moderator()
    real = KINDS["reviews.approve"]

    def forget_the_last(ids: list[int], arguments: Mapping[str, Any], by: Actor) -> Outcome:
        outcome = real.apply_chunk(ids, arguments, by)
        return Outcome(outcome.done[:-1], outcome.skipped)

    monkeypatch.setitem(kinds.KINDS, real.name, replace(real, apply_chunk=forget_the_last))
    run = started(waiting.ids, by)
    assert queued.work_off() == []
    assert counted(run) == (4, 0, 0, 4)
    assert (waiting.counts(), waiting.decided("review.approve"), waiting.stars()) == ({"PENDING": 4}, {}, 0)


# --- On the way ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "said"), [("demoted", "does not hold the role"), ("deactivated", "is deactivated")])
def test_who_may_not_any_more_is_stopped_at_the_next_chunk(app: Flask, small_chunks: None, how: str, said: str) -> None:
    waiting = Waiting(10)
    person, by = moderator()
    run = started(waiting.ids, by)
    assert work._work_chunk(run.id)
    if how == "demoted":
        staff.set_roles(person.id, ["support"], reason="Another team", by=SYSTEM)
    else:
        staff.deactivate(person.id, reason="Left", by=SYSTEM)
    assert queued.work_off() == []
    run = reread(run)
    assert (run.status, run.done, run.left, run.due_at) == ("FAILED", 3, 7, None)
    assert said in (run.ended_because or "")
    assert waiting.counts() == {"APPROVED": 3, "PENDING": 7}

    admin = factories.actor(factories.staff("admin"))
    new = bulk.take_up(run.id, by=admin)
    assert queued.work_off() == []
    assert counted(new) == (7, 7, 0, 0)


def test_stopped_midway_the_rest_stays_as_it_is_and_can_be_taken_up(app: Flask, small_chunks: None) -> None:
    waiting = Waiting(8)
    _, by = moderator()
    run = started(waiting.ids, by)
    assert work._work_chunk(run.id)
    bulk.cancel(run.id, by=by)
    assert queued.work_off() == []
    assert (reread(run).status, counted(run)) == ("CANCELLED", (8, 3, 0, 0))
    assert bulk.rows(run, "LEFT", after=0, most=10) == [(row_id, None) for row_id in waiting.ids[3:]]
    with pytest.raises(Conflict, match="cancelled already"):
        bulk.cancel(run.id, by=by)
    bulk.take_up(run.id, by=by)
    assert queued.work_off() == []
    assert waiting.decided("review.approve") == Counter(dict.fromkeys(waiting.ids, 1))


def test_two_jobs_at_once_do_each_row_once(app: Flask, small_chunks: None) -> None:
    waiting = Waiting(60)
    _, by = moderator()
    run = started(waiting.ids, by)

    def work() -> None:
        with app.app_context():
            job.work(run.id)

    with ThreadPoolExecutor(3) as workers:
        for work_done in [workers.submit(work) for _ in range(3)]:
            work_done.result()
    assert (reread(run).status, counted(run)) == ("DONE", (60, 60, 0, 0))
    assert waiting.decided("review.approve") == Counter(dict.fromkeys(waiting.ids, 1))
    assert waiting.stars() == 60


def test_after_its_turn_a_run_goes_behind_the_others(
    app: Flask, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "TURN_SECONDS", 0)
    _, by = moderator()
    long, short = started(Waiting(9).ids, by), started(Waiting(1).ids, by)
    app.extensions["redis"].flushdb()
    job.work(long.id)
    assert (counted(long), handed_out()) == ((9, 3, 0, 0), [long.id])
    assert {job.origin for job in queued.jobs() if job.func_name == Bulk.JOB} == {"bulk"}
    job.work(short.id)
    assert queued.work_off() == []
    assert (reread(long).status, reread(short).status) == ("DONE", "DONE")


def test_a_job_that_nobody_needs_does_nothing(app: Flask) -> None:
    waiting = Waiting(2)
    _, by = moderator()
    run = bulk.freeze("reviews.approve", waiting.ids, by=by)
    job.work(run.id)
    job.work(2**60)
    assert (counted(run), waiting.counts()) == ((2, 0, 0, 0), {"PENDING": 2})
    with pytest.raises(Conflict, match="running already"):
        for _ in range(2):
            bulk.start(run.id, by=by)


def test_while_somebody_holds_a_row_the_run_waits_and_goes_on_later(app: Flask) -> None:
    waiting = Waiting(3)
    _, by = moderator()
    run = started(waiting.ids, by)
    app.extensions["redis"].flushdb()
    with closing(psycopg2.connect(app.extensions["settings"].database_owner_url)) as holder:
        holder.cursor().execute("SELECT FROM reviews WHERE id = %s FOR UPDATE", (waiting.ids[1],))
        job.work(run.id)
        run = reread(run)
        assert (run.status, run.attempts, run.done, waiting.counts()) == ("RUNNING", 1, 0, {"PENDING": 3})
        assert run.last_error == "Somebody else is working on this right now. Try again in a moment."
        holder.rollback()
    job.work(run.id)
    run = reread(run)
    assert (run.status, run.attempts, run.last_error, run.done) == ("DONE", 0, None, 3)


def test_a_run_that_never_gets_on_ends_and_says_why(app: Flask) -> None:
    waiting = Waiting(2)
    _, by = moderator()
    run = started(waiting.ids, by)
    for _ in range(MAX_ATTEMPTS):
        work.note_failure(run.id, Busy("Everybody is busy."))
    run = reread(run)
    assert (run.status, run.due_at, run.left) == ("FAILED", None, 2)
    assert run.ended_because == "It was tried too often. The last time: Everybody is busy."
    job.work(run.id)
    assert waiting.counts() == {"PENDING": 2}


# --- Undo ------------------------------------------------------------------------------------------------------------


def test_a_whole_set_is_undone_within_the_window(app: Flask, small_chunks: None) -> None:
    waiting = Waiting(10)
    _, by = moderator()
    run = started(waiting.ids, by)
    assert queued.work_off() == []
    assert (waiting.counts(), waiting.stars(), bulk.undoable(run)) == ({"APPROVED": 10}, 10, 10)
    bulk.undo(run.id, by=by)
    assert queued.work_off() == []
    run = reread(run)
    assert (run.status, run.undone, run.kept, run.due_at) == ("UNDONE", 10, 0, None)
    assert (waiting.counts(), waiting.stars()) == ({"PENDING": 10}, 0)
    assert waiting.decided("review.undo") == Counter(dict.fromkeys(waiting.ids, 1))
    with pytest.raises(Conflict, match="undone already"):
        bulk.undo(run.id, by=by)


def test_undoing_what_still_runs_stops_it(app: Flask, small_chunks: None) -> None:
    waiting = Waiting(8)
    _, by = moderator()
    run = started(waiting.ids, by)
    assert work._work_chunk(run.id)
    bulk.undo(run.id, by=by)
    assert queued.work_off() == []
    run = reread(run)
    assert (run.status, run.done, run.undone, run.left) == ("UNDONE", 3, 3, 5)
    assert waiting.counts() == {"PENDING": 8}
    assert sum(waiting.decided("review.approve").values()) == 3


def test_what_was_changed_since_is_not_undone_and_is_named(app: Flask) -> None:
    waiting = Waiting(3)
    _, by = moderator()
    other_person, other = moderator()
    run = started(waiting.ids, by)
    assert queued.work_off() == []
    reviews.reverse(waiting.ids[0], reason="Looked again", by=other)
    reviews.reject(waiting.ids[0], reason="fake", by=other)
    bulk.undo(run.id, by=by)
    assert queued.work_off() == []
    run = reread(run)
    assert (run.status, run.undone, run.kept) == ("UNDONE", 2, 1)
    ((row_id, reason),) = bulk.rows(run, "KEPT", after=0, most=10)
    assert row_id == waiting.ids[0]
    assert (reason or "").startswith(f"Rejected by {other_person.name}")
    assert waiting.counts() == {"PENDING": 2, "REJECTED": 1}


def test_after_the_window_nothing_is_undone(app: Flask) -> None:
    waiting = Waiting(3)
    _, by = moderator()
    run = started(waiting.ids, by)
    assert queued.work_off() == []
    age(run, waiting)
    with pytest.raises(Conflict, match="time to undo it is over"):
        bulk.undo(run.id, by=by)
    assert (reread(run).status, waiting.counts()) == ("DONE", {"APPROVED": 3})


def age(run: Bulk, waiting: Waiting) -> None:
    """As if it had been done some minutes ago."""
    with transaction():
        for statement in (
            "UPDATE bulk_chunks SET settled_at = settled_at - interval '10 minutes' WHERE bulk_id = :id",
            "UPDATE reviews SET undo_until = undo_until - interval '10 minutes' WHERE package_id = :package",
        ):
            db.session.execute(text(statement), {"id": run.id, "package": waiting.package_id})


def test_a_demoted_person_undoes_nothing(app: Flask) -> None:
    waiting = Waiting(2)
    person, by = moderator()
    run = started(waiting.ids, by)
    assert queued.work_off() == []
    bulk.undo(run.id, by=by)
    staff.set_roles(person.id, ["support"], reason="Another team", by=SYSTEM)
    assert queued.work_off() == []
    assert (reread(run).status, waiting.counts()) == ("FAILED", {"APPROVED": 2})
    with pytest.raises(NotAllowed):
        bulk.undo(run.id, by=factories.actor(factories.reread(person)))


def test_what_has_no_way_back_is_not_undone(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting(1)
    _, by = moderator()
    real = KINDS["reviews.approve"]
    monkeypatch.setitem(kinds.KINDS, real.name, replace(real, undo_chunk=None))
    run = started(waiting.ids, by)
    assert queued.work_off() == []
    with pytest.raises(Conflict, match="can't be undone"):
        bulk.undo(run.id, by=by)
    assert waiting.counts() == {"APPROVED": 1}


def test_a_row_that_can_t_be_undone_keeps_no_other_from_it(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting(9)
    _, by = moderator()
    real = KINDS["reviews.approve"]
    assert real.undo_chunk is not None
    undo_really = real.undo_chunk

    def stumble(ids: list[int], by: Actor) -> Outcome:
        if waiting.ids[4] in ids:
            raise TripdeskError("It is in a parcel already.")
        return undo_really(ids, by)

    monkeypatch.setitem(kinds.KINDS, real.name, replace(real, undo_chunk=stumble))
    run = started(waiting.ids, by)
    assert queued.work_off() == []
    bulk.undo(run.id, by=by)
    assert queued.work_off() == []
    run = reread(run)
    assert (run.status, run.undone, run.kept) == ("UNDONE", 8, 1)
    assert bulk.rows(run, "KEPT", after=0, most=10) == [(waiting.ids[4], "It is in a parcel already.")]
    assert waiting.counts() == {"PENDING": 8, "APPROVED": 1}
