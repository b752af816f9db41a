"""A worker killed in the middle of an export, again and again: the file is whole, with each row once, and nothing else
is left on the disk.
"""

from __future__ import annotations

import csv
import os
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.audit.actor import Actor
from app.bulk import exporting
from app.bulk import service as bulk
from app.bulk.kinds import KINDS
from app.bulk.models import Bulk
from app.reviews.models import Review
from tests.bulk.runs import Waiting, moderator
from tests.conftest import wait_for
from tests.faults.held import half_a_minute_later, kill_at
from tests.stack import Stack

KILLS = 5
PART_ROWS = KINDS["export.reviews"].chunk_rows or 0
ROWS = (KILLS + 1) * PART_ROWS


def newest_first_exported(stack: Stack) -> tuple[list[int], Actor]:
    """An export that a worker may begin with: the ids in the order that the file shall have, and who asked for it."""
    with stack.app():
        waiting = Waiting(ROWS)
        _, by = moderator()
        places = select(Review.id.label("id"), func.row_number().over(order_by=Review.id.desc()).label("place"))
        bulk.start(exporting.ask("reviews", places, columns=["rating"], by=by).id, by=by)
    stack.empty_redis()
    stack.start_worker("default")
    stack.start_scheduler()
    return waiting.ids[::-1], by


def progress(stack: Stack) -> tuple[str, int]:
    (row,) = stack.ask_database("SELECT status, done FROM bulks")
    return row[0], row[1]


def parts(stack: Stack) -> list[Path]:
    return list((stack.folder / "storage" / "exports").rglob("*.*"))


def halves(stack: Stack) -> list[Path]:
    return list((stack.folder / "storage" / ".half").glob("*"))


def assert_ends_well(stack: Stack, ids: list[int], by: Actor) -> None:
    """The worker that nobody kills makes the rest of the file, which has every row once and is all that there is."""
    stack.start_worker("bulk")
    half_a_minute_later(stack, Bulk)
    wait_for(lambda: progress(stack)[0] == "DONE", "the export to end", 120)
    assert progress(stack) == ("DONE", ROWS)
    with stack.app():
        ((run_id,),) = stack.ask_database("SELECT id FROM bulks")
        content = b"".join(exporting.download(run_id, by=by).content).decode("utf-8-sig")
    header, *rows = csv.reader(StringIO(content, newline=""))
    assert header == ["Id", "Stars"]
    assert [int(row[0]) for row in rows] == ids
    assert len(parts(stack)) == ROWS // PART_ROWS
    assert halves(stack) == []
    stack.ask_database("UPDATE bulks SET file_until = now() - interval '1 second'")
    with stack.app():
        assert exporting.delete_old() == 1
    assert parts(stack) == []


@pytest.mark.timeout(600)
def test_a_worker_killed_five_times_between_a_part_and_its_results_leaves_each_row_in_the_file_once(
    stack: Stack,
) -> None:
    ids, by = newest_first_exported(stack)
    seen = []
    for kill in range(1, KILLS + 1):
        place = kill * PART_ROWS + 1
        kill_at(stack, "bulk", Bulk, "SELECT FROM bulk_chunks WHERE place = %s", place)
        seen.append((progress(stack), len(parts(stack))))
        if kill % 2:
            stack.empty_redis()
    # The part of the chunk that it was killed at is written already, and is written again.
    assert seen == [(("RUNNING", kill * PART_ROWS), kill + 1) for kill in range(1, KILLS + 1)]
    assert_ends_well(stack, ids, by)


@pytest.mark.timeout(600)
def test_a_worker_killed_while_it_writes_a_part_leaves_no_half_of_it(stack: Stack) -> None:
    ids, by = newest_first_exported(stack)
    stack.start("bulk", [sys.executable, "-m", "tests.faults.slow_disk", "bulk"])
    half_a_minute_later(stack, Bulk)
    wait_for(lambda: halves(stack), "the worker to write", 90)
    stack.kill("bulk")
    assert (progress(stack), parts(stack)) == (("RUNNING", 0), [])
    # What a worker writes just now looks the same; a day later it doesn't.
    (half,) = halves(stack)
    a_day_ago = half.stat().st_mtime - timedelta(days=1).total_seconds() - 1
    os.utime(half, (a_day_ago, a_day_ago))
    assert_ends_well(stack, ids, by)
