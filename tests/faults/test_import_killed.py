"""A worker killed in the middle of an import, again and again: every package is created once, and every row counted."""

from __future__ import annotations

import io

import pytest

from app.catalog.importing import BATCH
from app.imports import service as imports
from app.imports import work
from app.imports.models import Import
from tests.conftest import wait_for
from tests.faults.held import half_a_minute_later, kill_at
from tests.imports.files import HEADER, Catalogue, admin
from tests.stack import Stack

ROWS = 600
# A row of a batch further on each time.
HELD = (150, 350, 550)


def progress(stack: Stack) -> tuple[str, int]:
    (row,) = stack.ask_database(
        "SELECT status, created + updated + unchanged + rejected FROM imports ORDER BY id DESC LIMIT 1"
    )
    return row[0], row[1]


@pytest.mark.timeout(600)
def test_a_worker_killed_in_an_import_leaves_no_row_out_and_none_twice(stack: Stack) -> None:
    with stack.app():
        _, by = admin()
        catalogue = Catalogue(good=ROWS - 5, bad=5)
        known = "\n".join([HEADER, *(catalogue.rows[number] for number in HELD), ""]).encode()
        first = catalogue.check(imports.upload(io.BytesIO(known), "known.csv", by=by), by)
        work.go_on(first.id)
        imports.start(first.id, by=by)
        work.go_on(first.id)
        found = catalogue.checked(by)
        imports.start(found.id, by=by)
    stack.empty_redis()
    stack.start_worker("default")
    stack.start_scheduler()
    seen = []
    for kill, number in enumerate(HELD):
        kill_at(stack, "slow", Import, "SELECT FROM packages WHERE external_id = %s", str(number))
        seen.append(progress(stack))
        if kill % 2:
            stack.empty_redis()
    assert seen == [("RUNNING", number // BATCH * BATCH) for number in HELD]
    stack.start_worker("slow")
    half_a_minute_later(stack, Import)
    wait_for(lambda: progress(stack)[0] == "DONE", "the import to end", 120)
    assert stack.ask_database(
        "SELECT created, updated, unchanged, rejected FROM imports WHERE id = %s", (found.id,)
    ) == [(ROWS - 8, 0, 3, 5)]
    assert stack.ask_database("SELECT count(*), count(DISTINCT external_id) FROM packages") == [(ROWS - 5, ROWS - 5)]
    assert stack.ask_database("SELECT count(*) FROM audit_entries WHERE object_type = 'packages'") == [(ROWS - 5,)]
    assert stack.ask_database("SELECT count(*) FROM import_rejections WHERE import_id = %s", (found.id,)) == [(5,)]
    assert stack.ask_database("SELECT count(*) FROM availability") == [(3 * (ROWS - 5),)]
