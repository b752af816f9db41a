"""A run over ten thousand rows while its worker is killed and Redis is emptied: every row is done, and once."""

from __future__ import annotations

import pytest

from app.audit.actor import Actor
from app.bulk import service as bulk
from app.bulk import work
from app.bulk.models import Bulk
from tests.bulk.runs import Waiting, moderator, started
from tests.conftest import wait_for
from tests.faults.held import half_a_minute_later, kill_at
from tests.stack import Stack

ROWS = 10_000
KILLS = 5
REVIEW = "SELECT FROM reviews WHERE id = %s"


def progress(stack: Stack) -> tuple[str, int, int]:
    (row,) = stack.ask_database("SELECT status, done, total FROM bulks")
    return row[0], row[1], row[2]


def kill_on_the_way(stack: Stack, ids: list[int]) -> list[int]:
    """Kill the worker in the middle of a chunk, again and again, Redis emptied with every second; how many rows were
    done each time.
    """
    seen = []
    for kill in range(1, KILLS + 1):
        # A row of a chunk further on each time: all before it are done by then.
        kill_at(stack, "bulk", Bulk, REVIEW, ids[kill * len(ids) // (KILLS + 1) + 100])
        seen.append(progress(stack)[1])
        if kill % 2:
            stack.empty_redis()
    return seen


def assert_each_once(stack: Stack, action: str) -> None:
    per_row = stack.ask_database(
        "SELECT n, count(*) FROM (SELECT count(*) AS n FROM audit_entries WHERE object_type = 'reviews' AND action = %s"
        " GROUP BY object_id) AS counted GROUP BY n",
        (action,),
    )
    assert per_row == [(1, ROWS)]


@pytest.mark.timeout(600)
def test_a_worker_killed_five_times_in_one_run_does_every_row_once(stack: Stack) -> None:
    with stack.app():
        waiting = Waiting(ROWS)
        _, by = moderator()
        run_id = started(waiting.ids, by).id
    stack.empty_redis()
    stack.start_worker("default")
    stack.start_scheduler()
    seen = kill_on_the_way(stack, waiting.ids)
    assert seen == sorted(set(seen)), "it did not get on between two kills"
    assert progress(stack)[0] == "RUNNING"
    stack.start_worker("bulk")
    half_a_minute_later(stack, Bulk)
    wait_for(lambda: progress(stack)[0] == "DONE", "the run to end", 120)
    assert progress(stack) == ("DONE", ROWS, ROWS)
    assert stack.ask_database("SELECT status, count(*) FROM reviews GROUP BY status") == [("APPROVED", ROWS)]
    assert_each_once(stack, "review.approve")
    assert stack.ask_database("SELECT sum(reviews) FROM rating_counts") == [(ROWS,)]
    assert_results_are_whole(stack, run_id)


def assert_results_are_whole(stack: Stack, run_id: int) -> None:
    """Every row of the set has one result, in one chunk."""
    assert stack.ask_database(
        "SELECT count(*), count(DISTINCT id) FROM (SELECT unnest(done) AS id FROM bulk_chunks WHERE bulk_id = %s) d",
        (run_id,),
    ) == [(ROWS, ROWS)]


@pytest.mark.timeout(600)
def test_undoing_is_finished_too_when_its_worker_is_killed(stack: Stack) -> None:
    stack.settings["undo_seconds"] = 600
    with stack.app():
        waiting = Waiting(ROWS)
        _, by = moderator()
        run_id = started(waiting.ids, by).id
        work.go_on(run_id)
        undo_all(run_id, by)
    stack.empty_redis()
    stack.start_worker("default")
    stack.start_scheduler()
    kill_at(stack, "bulk", Bulk, REVIEW, waiting.ids[ROWS // 2])
    stack.empty_redis()
    stack.start_worker("bulk")
    half_a_minute_later(stack, Bulk)
    wait_for(lambda: progress(stack)[0] == "UNDONE", "the undoing to end", 120)
    assert stack.ask_database("SELECT undone, kept FROM bulks") == [(ROWS, 0)]
    assert stack.ask_database("SELECT status, count(*) FROM reviews GROUP BY status") == [("PENDING", ROWS)]
    assert_each_once(stack, "review.undo")


def undo_all(run_id: int, by: Actor) -> None:
    while bulk.find(run_id, by=by).status == "RUNNING":
        work.go_on(run_id)
    bulk.undo(run_id, by=by)
