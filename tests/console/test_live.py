"""What an open page of the console asks for: how much waits in each queue, and whether what it shows has changed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from werkzeug.test import TestResponse

from app import console
from app.accounts import claims
from app.bookings.models import Booking
from app.console import live
from app.console.queue import QueueView
from app.db import transaction
from app.extensions import db
from app.reviews import service as reviews
from app.reviews.models import Review
from tests import factories
from tests.console.browser import Browser, signed_in

LIVE = "/console/live"


def ask(browser: Browser, *shown: Review, etag: str | None = None) -> TestResponse:
    query = "&".join(f"id={review.id}" for review in shown)
    headers = {"If-None-Match": etag} if etag else {}
    return browser.client.get(f"{LIVE}?queue=reviews&{query}", headers=headers)


def mark(browser: Browser, *shown: Review) -> str:
    return str(ask(browser, *shown).json["mark"])  # type: ignore[index]


def in_the_menu(page: str) -> dict[str, str]:
    return dict(re.findall(r'data-depth="(\w+)"[^>]*>([^<]*)</span>', page))


def test_menu_home_and_live_say_how_much_waits(empty_app: Flask) -> None:
    for _ in range(3):
        factories.review()
    factories.provider(status="PENDING")
    browser = signed_in(empty_app, "support")
    depths = {"refunds": "", "reviews": "3", "verification": "1"}
    assert browser.get(LIVE).json == {"depths": depths, "mark": None}
    assert in_the_menu(browser.get("/console/bookings/").text) == depths
    home = browser.get("/console/").text
    assert re.findall(r'<span class="queue-count">(\d+)</span>', home)[:3] == ["3", "0", "1"]


def test_where_nothing_waits_the_menu_has_no_number(empty_app: Flask) -> None:
    browser = signed_in(empty_app, "moderator")
    page = browser.get("/console/").text
    assert in_the_menu(page) == {"reviews": "", "verification": ""}
    assert len(re.findall(r'data-depth="\w+" hidden>', page)) == 2


def test_counting_stops_where_the_exact_number_says_nothing_any_more(
    empty_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        factories.review()
    browser = signed_in(empty_app, "moderator")
    monkeypatch.setattr(live, "_COUNTED", 3)
    assert browser.get(LIVE).json["depths"]["reviews"] == "3"  # type: ignore[index]
    monkeypatch.setattr(live, "_COUNTED", 2)
    assert browser.get(LIVE).json["depths"]["reviews"] == "2+"  # type: ignore[index]


def test_every_queue_is_counted_by_an_index(app: Flask) -> None:
    queues = [page for page in console.pages() if isinstance(page, QueueView)]
    assert len(queues) >= 2
    with transaction():
        # A table of a few rows is read as a whole otherwise.
        db.session.execute(text("SET LOCAL enable_seqscan = off"))
        for queue in queues:
            statement = queue.waits().compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
            plan = "\n".join(db.session.scalars(text(f"EXPLAIN {statement}")))
            assert "Index" in plan, plan
            assert "Seq Scan" not in plan, plan
            if not queue.come_back:
                assert "Filter" not in plan, plan


def test_nothing_new_is_an_answer_without_a_body(empty_app: Flask) -> None:
    browser = signed_in(empty_app, "moderator")
    review = factories.review()
    first = ask(browser, review)
    assert first.status_code == 200
    again = ask(browser, review, etag=first.headers["ETag"])
    assert (again.status_code, again.data) == (304, b"")
    factories.review()
    assert ask(browser, review, etag=first.headers["ETag"]).status_code == 200


def test_the_mark_is_the_one_on_the_page_until_something_happens_to_an_item(app: Flask) -> None:
    browser, by = signed_in(app, "moderator"), factories.moderator()
    review, other = factories.review(), factories.review()
    reference = db.session.get_one(Booking, review.booking_id).reference
    pages = (f"/console/reviews/{review.id}/", f"/console/reviews/?q={reference}")
    for address in pages:
        page = browser.client.get(address, headers={"X-Looking-Again": "1"}).text
        assert f'data-live-ids="{review.id}" data-live-mark="{mark(browser, review)}"' in page
        assert f'data-live-page="{address}"' in page
    marks = [mark(browser, review)]

    def changed() -> bool:
        marks.append(mark(browser, review))
        return marks[-1] != marks[-2]

    reviews.approve(other.id, by=by)
    assert not changed()
    reviews.approve(review.id, by=by)
    assert changed()
    # It waits as before, but a decision on the page as it was would be refused.
    reviews.undo(review.id, by=by)
    assert changed()
    claims.take(Review, review.id, by=by)
    assert changed()
    claims.let_go(Review, by=by)
    assert changed()
    assert marks[-1] == marks[-3]


@pytest.mark.parametrize(
    ("query", "status"),
    [("queue=bookings", 404), ("queue=nothing", 404), ("queue=reviews&id=x", 422), (f"queue=reviews&id={2**63}", 422)],
)
def test_what_is_no_queue_or_no_item_is_refused(app: Flask, query: str, status: int) -> None:
    assert signed_in(app, "moderator").get(f"{LIVE}?{query}").status_code == status


def test_no_more_items_are_asked_about_than_a_page_has(app: Flask) -> None:
    browser = signed_in(app, "moderator")
    ids: Any = [f"id={number}" for number in range(1, QueueView.page_size + 2)]
    assert browser.get(f"{LIVE}?queue=reviews&{'&'.join(ids[1:])}").status_code == 200
    assert browser.get(f"{LIVE}?queue=reviews&{'&'.join(ids)}").status_code == 422


def test_the_mark_of_a_provider_changes_with_its_checklist(app: Flask) -> None:
    browser, provider = signed_in(app, "admin"), factories.provider(status="PENDING")
    address = f"{LIVE}?queue=verification&id={provider.id}"
    marks = [browser.get(address).json["mark"], browser.get(address).json["mark"]]  # type: ignore[index]
    factories.complete(provider)
    marks.append(browser.get(address).json["mark"])  # type: ignore[index]
    assert marks[0] == marks[1] != marks[2]


def test_a_page_that_only_looks_again_does_not_take_what_is_said_once(app: Flask) -> None:
    browser = signed_in(app, "moderator")
    review = factories.review()
    reviews.approve(review.id, by=factories.moderator())
    browser.post(f"/console/reviews/{review.id}/reverse", {"seen": "0", "reason": "Wrong one"})
    looked = browser.client.get("/console/reviews/", headers={"X-Looking-Again": "1"}).text
    assert "Nothing was changed." not in looked
    assert "Nothing was changed." in browser.get("/console/reviews/").text
    assert "Nothing was changed." not in browser.get("/console/reviews/").text


def test_asking_is_no_sign_that_somebody_reads(app: Flask) -> None:
    browser = signed_in(app, "moderator")
    review = factories.review()
    ask(browser, review)
    assert claims.of(Review, [review.id]) == {}
