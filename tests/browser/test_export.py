"""An export as the person sees it who asks for it, from a narrowed list to the file with the same rows; and what others
see whose role may not have them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

from playwright.sync_api import Page, expect
from sqlalchemy import literal, select

from app.bulk import exporting, work
from app.bulk import service as bulk
from app.reviews.models import Review
from tests.browser.conftest import Console, SignIn
from tests.bulk.runs import Waiting, asked, moderator

COLUMNS = ["Booking", "Package", "Guests", "Units"]
_FETCHED = """
async (path) => {
    const body = new URLSearchParams({csrf_token: document.querySelector("[name=csrf_token]").value});
    return (await fetch(path, {method: "POST", body})).status;
}
"""


@contextmanager
def without_worker(console: Console) -> Iterator[None]:
    """Nobody works through runs meanwhile."""
    console.stack.kill("bulk")
    try:
        yield
    finally:
        console.stack.start_worker("bulk")


def every_row(page: Page) -> list[list[str]]:
    """The cells of the list, page by page."""
    rows = page.locator("[data-list] tbody tr")
    found = [row.get_by_role("cell").all_inner_texts() for row in rows.all()]
    older = page.get_by_role("link", name="Older")
    while older.count():
        first = rows.first.inner_text()
        older.click()
        expect(rows.first).not_to_have_text(first, use_inner_text=True)
        found += [row.get_by_role("cell").all_inner_texts() for row in rows.all()]
    return found


def test_a_narrowed_list_becomes_a_file_with_the_same_rows(sign_in: SignIn, console: Console) -> None:
    with console.stack.app():
        stays = Waiting(60)
        Waiting(2)  # of another package
    page = sign_in("support")
    page.goto(f"/console/bookings/?package_id={stays.package_id}&columns=reference,package,guests,units")
    page.get_by_role("combobox", name="State").select_option("COMPLETED")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**status=COMPLETED**")
    address = page.url
    listed = every_row(page)
    assert len(listed) == 60

    page.goto(address)
    page.get_by_role("button", name="Export").click()
    expect(page.get_by_role("heading", name="60 bookings will be exported")).to_be_visible()
    facts = page.locator(".plan .facts")
    expect(facts).to_contain_text("State: Completed")
    expect(facts).to_contain_text(f"Id, {', '.join(COLUMNS)}")
    state, bar = page.locator("#run .record-title .chip"), page.get_by_role("progressbar", name="Progress")
    with without_worker(console):
        page.get_by_role("button", name="Export 60 bookings").click()
        expect(state).to_have_text("Running")
        expect(bar).to_have_attribute("max", "60")
        expect(bar).to_have_attribute("value", "0")
        expect(page.get_by_text("Waits for a worker")).to_be_visible()
        expect(page.get_by_role("button", name="Download CSV")).to_have_count(0)
    expect(state).to_have_text("Done", timeout=60_000)
    expect(bar).to_have_count(0)
    expect(page.get_by_text("60 exported")).to_be_visible()

    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename.startswith("bookings-")
    content = download.value.path().read_bytes().decode("utf-8-sig")
    header, *rows = csv.reader(StringIO(content, newline=""))
    assert header == ["Id", *COLUMNS]
    assert [row[1:] for row in rows] == listed


def test_a_role_that_may_not_see_a_list_is_offered_no_export_of_it_and_refused_one(
    sign_in: SignIn, console: Console
) -> None:
    with console.stack.app():
        (_, by), waiting = moderator(), Waiting(1)
        place = select(Review.id.label("id"), literal(1).label("place")).where(Review.id == waiting.ids[0])
        theirs = bulk.start(exporting.ask("reviews", place, by=by).id, by=by).id
        work.go_on(theirs)
        assert bulk.find(theirs, by=by).status == "DONE"
        before = asked("SELECT count(*) FROM bulks"), asked("SELECT count(*) FROM audit_entries WHERE action ~ 'bulk'")

    page = sign_in("finance")
    page.watch.expect(403)  # type: ignore[attr-defined]
    page.goto("/console/reviews/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not allowed")
    expect(page.get_by_role("button", name="Export")).to_have_count(0)
    assert page.evaluate(_FETCHED, "/console/reviews/export") == 403

    page.watch.expect(404)  # type: ignore[attr-defined]
    page.goto(f"/console/bulk/{theirs}/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    expect(page.get_by_role("button", name="Download CSV")).to_have_count(0)
    assert page.evaluate(_FETCHED, f"/console/bulk/{theirs}/download") == 404

    with console.stack.app():
        after = asked("SELECT count(*) FROM bulks"), asked("SELECT count(*) FROM audit_entries WHERE action ~ 'bulk'")
    assert after == before
