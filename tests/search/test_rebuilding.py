"""Making the index anew: by a worker in turns, by a command at once; one at a time, and never lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select, text

from app.audit.actor import SYSTEM, Actor
from app.audit.models import AuditEntry
from app.db import transaction
from app.errors import Conflict, NotAllowed
from app.extensions import db
from app.queue import sweep
from app.search import indexing, rebuilding, sending
from app.search import meilisearch as gateway
from app.search.meilisearch import Meilisearch
from app.search.models import IndexRebuild
from jobs import search as jobs
from tests import factories, queued
from tests.concurrency import at_once
from tests.search.documents import change, document
from tests.search.meili_stand_in import StandIn

WHY = "It differs"
ADMIN = Actor("staff", None, "Ada Admin", frozenset({"admin"}))


@pytest.fixture(autouse=True)
def nothing_runs(request: pytest.FixtureRequest) -> None:
    """What an earlier test left running would refuse this one's."""
    request.getfixturevalue("meili_app" if "meili_app" in request.fixturenames else "app")
    for row in db.session.scalars(select(IndexRebuild).where(IndexRebuild.status == "RUNNING")):
        rebuilding.fail(row.id, "left over")


def row(of: IndexRebuild) -> IndexRebuild:
    db.session.rollback()
    return db.session.get_one(IndexRebuild, of.id, populate_existing=True)


def missing_document() -> int:
    """A package on sale that the index doesn't know, and no change that says so."""
    made = factories.package(days=0).id
    with transaction():
        db.session.execute(text("DELETE FROM package_changes"))
    return made


def turn_by_turn(asked: IndexRebuild, until: Callable[[IndexRebuild], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on by a step at a time: a turn is over as soon as it has done one."""
    with monkeypatch.context() as patched:
        for _ in range(200):
            if until(row(asked)):
                return
            now = iter([0.0, 0.0, 1_000.0])
            patched.setattr(rebuilding, "monotonic", lambda: next(now))  # noqa: B023
            rebuilding.go_on(asked.id)
    raise AssertionError(f"it stays at {row(asked).step}: {row(asked).ended_because}")


def actions(of: IndexRebuild) -> list[tuple[str, str]]:
    found = select(AuditEntry).where(AuditEntry.object_type == "index_rebuilds", AuditEntry.object_id == of.id)
    return [(entry.action, entry.actor_label) for entry in db.session.scalars(found.order_by(AuditEntry.id))]


def test_a_worker_writes_what_differs_and_says_how_much_that_was(app: Flask) -> None:
    indexing.catch_up()
    missing_document()
    asked = rebuilding.begin(WHY, by=ADMIN)
    assert ("jobs.search.rebuild", (asked.id,)) in queued.calls()
    assert queued.work_off() == []
    done = row(asked)
    assert (done.status, done.written, done.asked_by, done.due_at) == ("DONE", 1, "Ada Admin", None)
    assert done.ended_at is not None
    assert done.packages >= 1
    assert actions(asked) == [("search.rebuild", "Ada Admin"), ("search.finish_rebuild", "Tripdesk")]
    assert indexing.status().equal


def test_a_second_one_is_refused_and_names_who_began(app: Flask) -> None:
    asked = rebuilding.begin(WHY, by=ADMIN)
    with pytest.raises(Conflict, match="Ada Admin began"):
        rebuilding.begin(WHY, by=ADMIN)
    assert actions(asked) == [("search.rebuild", "Ada Admin")]
    rebuilding.go_on(asked.id)
    again = rebuilding.begin(WHY, by=ADMIN)
    assert again.id != asked.id
    rebuilding.fail(again.id, "The test is over.")


def test_of_two_who_ask_at_once_one_is_refused(app: Flask) -> None:
    results = at_once(app, *[lambda: rebuilding.begin(WHY, by=ADMIN).id] * 4)
    assert sorted(isinstance(result, Conflict) for result in results) == [False, True, True, True]
    assert len(db.session.scalars(select(IndexRebuild).where(IndexRebuild.status == "RUNNING")).all()) == 1


def test_who_is_no_admin_may_not_ask(app: Flask) -> None:
    before = rebuilding.last()
    with pytest.raises(NotAllowed):
        rebuilding.begin(WHY, by=Actor("staff", 1, "Sue", frozenset({"support", "finance", "moderator"})))
    assert rebuilding.last() is before


def test_a_turn_ends_and_another_goes_on_where_it_was(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    indexing.catch_up()
    for _ in range(3):
        missing_document()
    monkeypatch.setattr(indexing, "BATCH", 2)
    asked = rebuilding.begin(WHY, by=ADMIN)
    turn_by_turn(asked, lambda found: found.packages >= 2, monkeypatch)
    assert (row(asked).packages, row(asked).status) == (2, "RUNNING")
    assert ("jobs.search.rebuild", (asked.id,)) in queued.calls()
    assert queued.work_off() == []
    assert (row(asked).status, row(asked).written) == ("DONE", 3)


def test_two_workers_at_once_do_each_step_once(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    indexing.catch_up()
    monkeypatch.setattr(indexing, "BATCH", 1)
    # All of it is one turn, also where one package after the other takes long.
    monkeypatch.setattr(rebuilding, "TURN_SECONDS", 300.0)
    for _ in range(3):
        missing_document()
    asked = rebuilding.begin(WHY, by=ADMIN)
    assert at_once(app, *[lambda: rebuilding.go_on(asked.id)] * 4) == [None] * 4
    done = row(asked)
    assert (done.status, done.written) == ("DONE", 3)
    assert done.packages == db.session.scalar(text("SELECT count(*) FROM packages"))


def test_what_a_command_was_killed_over_a_worker_finishes(app: Flask) -> None:
    asked = rebuilding.begin_here(by=SYSTEM)
    jobs.index()
    assert ("jobs.search.rebuild", (asked.id,)) not in queued.calls()
    with transaction():
        db.session.execute(text("UPDATE index_rebuilds SET leased_until = now() WHERE id = :id"), {"id": asked.id})
    sweep(IndexRebuild)
    assert queued.work_off() == []
    assert row(asked).status == "DONE"


def test_what_is_in_a_commands_way_ends_the_rebuild_and_says_why(app: Flask) -> None:
    asked = rebuilding.begin_here(by=SYSTEM)

    def stop(_: IndexRebuild) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuilding.finish_here(asked.id, stop)
    assert (row(asked).status, row(asked).ended_because) == ("FAILED", "It was stopped.")


def test_meilisearch_gets_a_second_index_which_takes_over(
    meili_app: Flask, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "BATCH", 2)
    made = [document(of=factories.package(days=0)) for _ in range(3)]
    indexing.catch_up()
    sending.send()
    stand_in.indexes[gateway.INDEX]["documents"]["999"] = {"id": 999, "version": 1}
    asked = rebuilding.begin(WHY, by=ADMIN)
    turn_by_turn(asked, lambda found: found.step == "swap", monkeypatch)
    change(made[0], name="Changed meanwhile")
    assert "999" in stand_in.indexes[gateway.INDEX]["documents"]
    rebuilding.go_on(asked.id)
    rebuilding.go_on(asked.id)
    done = row(asked)
    assert (done.status, done.sent, done.total) == ("DONE", 3, 3)
    theirs = stand_in.indexes[gateway.INDEX]["documents"]
    assert set(theirs) == {str(one.package_id) for one in made}
    assert theirs[str(made[0].package_id)]["name"] == "Changed meanwhile"


def test_a_second_index_that_was_lost_halfway_is_begun_again(
    meili_app: Flask, meilisearch: Meilisearch, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "BATCH", 1)
    made = [document(of=factories.package(days=0)) for _ in range(3)]
    ids = {str(one.package_id) for one in made}
    indexing.catch_up()
    asked = rebuilding.begin(WHY, by=ADMIN)
    turn_by_turn(asked, lambda found: found.sent == 1, monkeypatch)
    del stand_in.indexes[meilisearch.next_index]
    jobs.rebuild(asked.id)
    assert (row(asked).step, row(asked).sent) == ("second_index", 0)
    assert "lost the second index" in (row(asked).last_error or "")
    monkeypatch.setattr(rebuilding, "TURN_SECONDS", 60.0)
    rebuilding.go_on(asked.id)
    assert row(asked).status == "DONE"
    assert set(stand_in.indexes[gateway.INDEX]["documents"]) == ids


def test_meilisearch_away_is_tried_again_later_and_search_goes_on(meili_app: Flask, stand_in: StandIn) -> None:
    asked = rebuilding.begin(WHY, by=ADMIN)
    stand_in.kill()
    jobs.rebuild(asked.id)
    found = row(asked)
    assert (found.status, found.attempts) == ("RUNNING", 1)
    assert found.due_at is not None
    assert found.last_error
