"""The pages of bulk runs: what a run will do, how far it is, what became of each row, and what can be done about it."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlalchemy import select

from app.accounts.models import User
from app.audit.actor import Actor
from app.bulk import service as bulk
from app.bulk import work
from app.bulk.models import Bulk
from app.extensions import db
from app.reviews import service as reviews
from app.reviews.models import Review
from tests import factories, queued
from tests.bulk.runs import Waiting, moderator, reread, started
from tests.console.browser import Browser


class AtWork:
    """A moderator with a browser, and reviews that wait."""

    def __init__(self, app: Flask, number: int) -> None:
        self.waiting = Waiting(number)
        self.person: User
        self.by: Actor
        self.person, self.by = moderator()
        self.browser = Browser(app)
        assert self.browser.sign_in(self.person).status_code == 302

    def page(self, run: Bulk, query: str = "") -> str:
        answer = self.browser.get(f"/console/bulk/{run.id}/{query}")
        assert answer.status_code == 200, answer.text
        return answer.text

    def press(self, run: Bulk, what: str) -> int:
        here = f"/console/bulk/{run.id}/"
        return self.browser.post(f"{here}{what}", token_from=here).status_code


def words(page: str) -> str:
    """What a person reads."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_a_prepared_run_says_what_it_will_do_and_begins_when_told(app: Flask) -> None:
    at_work = AtWork(app, 5)
    reviews.approve(at_work.waiting.ids[0], by=moderator()[1])
    run = bulk.freeze("reviews.approve", at_work.waiting.ids, by=at_work.by)
    page = at_work.page(run)
    assert "4 reviews will be approved" in words(page)
    assert "Skipped 1: Approved already" in words(page)
    assert "undone for 30 seconds" in words(page)
    assert "data-watch=" not in page
    assert at_work.press(run, "start") == 302
    assert 'data-watch="1"' in (page := at_work.page(run))
    assert "Waits for a worker" in words(page)
    assert queued.work_off() == []
    page = at_work.page(run)
    assert "4 approved, 1 skipped" in words(page)
    assert "<progress" not in page
    assert "Skipped 1" in words(page)
    assert "Done 4" in words(page)


def test_a_run_that_is_dropped_has_done_nothing(app: Flask) -> None:
    at_work = AtWork(app, 2)
    run = bulk.freeze("reviews.approve", at_work.waiting.ids, by=at_work.by)
    assert at_work.press(run, "cancel") == 302
    assert "Dropped. Nothing was done." in words(at_work.page(run))
    assert at_work.waiting.counts() == {"PENDING": 2}
    assert at_work.press(run, "start") == 409


def test_undo_is_offered_as_long_as_it_can_be_done(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work = AtWork(app, 3)
    run = started(at_work.waiting.ids, at_work.by)
    assert queued.work_off() == []
    page = at_work.page(run)
    assert "Undo 3" in words(page)
    assert 'data-watch="5"' in page
    settings = app.extensions["settings"]
    monkeypatch.setitem(app.extensions, "settings", settings.model_copy(update={"undo_seconds": 0}))
    assert "Undo 3" not in words(page := at_work.page(run))
    assert "data-watch=" not in page
    assert at_work.press(run, "undo") == 409
    monkeypatch.setitem(app.extensions, "settings", settings)
    assert at_work.press(run, "undo") == 302
    assert queued.work_off() == []
    assert "3 approved, 3 undone" in words(at_work.page(run))
    assert at_work.waiting.counts() == {"PENDING": 3}


def test_the_rows_are_told_by_what_became_of_them_a_page_at_a_time(app: Flask) -> None:
    at_work = AtWork(app, 130)
    run = started(at_work.waiting.ids, at_work.by)
    assert queued.work_off() == []
    found, query = [], "?show=DONE"
    while query:
        page = at_work.page(run, query)
        found += [int(number) for number in re.findall(r'href="/console/reviews/(\d+)/"', page)]
        more = re.search(r'href="(\?show=DONE&amp;after=\d+)"', page)
        query = more[1].replace("&amp;", "&") if more else ""
    assert found == at_work.waiting.ids
    assert db.session.get_one(Review, found[-1]).title in words(page)
    for query in ("?show=SOON", "?after=x", "?after=-1"):
        assert at_work.browser.get(f"/console/bulk/{run.id}/{query}").status_code == 422


def test_a_run_that_ended_before_its_time_says_why_and_is_gone_on_with(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK_ROWS", 2)
    at_work = AtWork(app, 6)
    run = started(at_work.waiting.ids, at_work.by)
    assert work._work_chunk(run.id)
    assert at_work.press(run, "cancel") == 302
    page = at_work.page(run)
    assert "Go on with 4" in words(page)
    assert "Not reached 4" in words(page)
    assert at_work.press(run, "take-up") == 302
    new = bulk.taken_up_by(run)
    assert new is not None
    page = at_work.page(run)
    assert f'href="/console/bulk/{new}/"' in page
    assert "Go on with" not in words(page)
    assert queued.work_off() == []
    assert at_work.waiting.counts() == {"APPROVED": 6}
    assert reread(run).status == "CANCELLED"


def test_the_list_shows_ones_own_runs_and_admins_everybodys(app: Flask) -> None:
    at_work, other = AtWork(app, 2), AtWork(app, 3)
    mine, theirs = (bulk.freeze("reviews.approve", one.waiting.ids, by=one.by) for one in (at_work, other))
    page = at_work.browser.get("/console/bulk/").text
    assert f"/console/bulk/{mine.id}/" in page
    assert f"/console/bulk/{theirs.id}/" not in page
    assert "Approve 2 reviews" in page
    admin = Browser(app)
    admin.sign_in(factories.staff("admin"))
    page = admin.get("/console/bulk/?status=PREPARED").text
    assert f"/console/bulk/{mine.id}/" in page
    assert f"/console/bulk/{theirs.id}/" in page
    assert other.browser.get(f"/console/bulk/{mine.id}/").status_code == 404


def test_all_that_match_are_kept_as_a_set_and_what_comes_in_later_is_not_in_it(app: Flask) -> None:
    at_work = AtWork(app, 60)
    queue = f"/console/reviews/?package_id={at_work.waiting.package_id}"
    page = at_work.browser.get(queue).text
    assert "All 60 reviews that match" in words(page)
    action = f"/console/reviews/bulk?package_id={at_work.waiting.package_id}"
    answer = at_work.browser.post(action, {"decision": "approve", "all": "yes"}, token_from=queue)
    (run,) = runs_of(at_work.by)
    assert (answer.status_code, answer.location) == (302, f"/console/bulk/{run.id}/")
    late = at_work.waiting.more(1)
    assert "60 reviews will be approved" in words(at_work.page(run))
    assert at_work.press(run, "start") == 302
    assert queued.work_off() == []
    assert at_work.waiting.statuses() == dict.fromkeys(at_work.waiting.ids, "APPROVED") | {late[0]: "PENDING"}
    page = at_work.page(run, "?show=DONE")
    assert f'href="/console/reviews/{at_work.waiting.ids[0]}/"' in page


def test_rejecting_all_that_match_asks_for_the_reason_first(app: Flask) -> None:
    at_work = AtWork(app, 51)
    queue = f"/console/reviews/?package_id={at_work.waiting.package_id}"
    action = f"/console/reviews/bulk?package_id={at_work.waiting.package_id}"
    wish = {"decision": "reject", "all": "yes"}
    page = at_work.browser.post(action, wish, token_from=queue)
    assert (page.status_code, runs_of(at_work.by)) == (200, [])
    assert "Reject 51 reviews" in words(page.text)
    refused = at_work.browser.post(action, {**wish, "asked": "yes", "reason": "other"}, token_from=queue)
    assert (refused.status_code, runs_of(at_work.by)) == (422, [])
    assert "Say what the reason is." in refused.text
    answer = at_work.browser.post(action, {**wish, "asked": "yes", "reason": "fake"}, token_from=queue)
    (run,) = runs_of(at_work.by)
    assert (answer.status_code, run.arguments) == (302, {"reason": "fake", "notes": ""})
    assert "51 reviews will be rejected" in words(at_work.page(run))


def test_support_reads_the_queue_and_prepares_nothing(app: Flask) -> None:
    waiting = Waiting(51)
    person = factories.staff("support")
    browser = Browser(app)
    assert browser.sign_in(person).status_code == 302
    queue = f"/console/reviews/?package_id={waiting.package_id}"
    assert "that match" not in words(browser.get(queue).text)
    answer = browser.post("/console/reviews/bulk", {"decision": "approve", "all": "yes"}, token_from=queue)
    assert (answer.status_code, runs_of(factories.actor(person))) == (403, [])
    assert waiting.counts() == {"PENDING": 51}


def runs_of(by: Actor) -> list[Bulk]:
    db.session.rollback()
    return list(db.session.scalars(select(Bulk).where(Bulk.by_id == by.id)))
