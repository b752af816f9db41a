"""A bulk run as the person sees it who asked for it: started, watched and undone by keys, without loading the page."""

from __future__ import annotations

from playwright.sync_api import expect

from app.audit.actor import Actor
from app.bulk import service as bulk
from tests import factories
from tests.browser.conftest import Console, SignIn
from tests.bulk.runs import Waiting, asked


def test_a_run_is_started_watched_and_undone_by_keys(sign_in: SignIn, console: Console) -> None:
    with console.stack.app():
        ((person_id, name),) = asked(
            "SELECT id, name FROM users WHERE email = :email", email=console.emails["moderator"]
        )
        by = Actor("staff", person_id, name, frozenset({"moderator"}))
        waiting = Waiting(1_200)
        run = bulk.freeze("reviews.approve", waiting.ids, by=by)
        late = waiting.more(1)
    page = sign_in("moderator")
    page.goto(f"/console/bulk/{run.id}/")
    expect(page.get_by_role("heading", name="1,200 reviews will be approved")).to_be_visible()
    page.keyboard.press("a")
    state = page.locator("#run .record-title .chip")
    expect(state).to_have_text("Done")
    expect(page.get_by_text("1,200 approved")).to_be_visible()
    expect(page.get_by_text("Started. It goes on")).to_have_count(0)
    with console.stack.app():
        assert waiting.counts() == {"APPROVED": 1_200, "PENDING": 1}
        assert waiting.statuses()[late[0]] == "PENDING"
    page.keyboard.press("u")
    expect(state).to_have_text("Undone")
    expect(page.get_by_text("1,200 approved, 1,200 undone")).to_be_visible()
    with console.stack.app():
        assert waiting.counts() == {"PENDING": 1_201}
    assert page.locator("#run[data-watch]").count() == 0


def test_a_lost_connection_is_said_and_the_page_catches_up(sign_in: SignIn, console: Console) -> None:
    with console.stack.app():
        person = factories.staff("moderator")
        run = bulk.freeze("reviews.approve", Waiting(3).ids, by=factories.actor(person))
        bulk.start(run.id, by=factories.actor(person))
    page = sign_in("admin")
    address = f"**/console/bulk/{run.id}/"
    page.goto(f"/console/bulk/{run.id}/")
    # Whatever it shows by now, it looks again for as long as the run can be undone.
    page.watch.expect(503)  # type: ignore[attr-defined]
    page.route(address, lambda route: route.fulfill(status=503, body="gone"))
    expect(page.locator("#connection")).to_be_visible()
    page.unroute(address)
    expect(page.locator("#connection")).to_be_hidden()
    expect(page.locator("#run .record-title .chip")).to_have_text("Done")
