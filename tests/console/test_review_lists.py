"""The lists of reviews: what waits is read by its index, and words find a review whatever became of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, text

from app.console.reviews import ReviewsView
from app.db import transaction
from app.extensions import db
from app.reviews import service as reviews
from tests import factories
from tests.console.test_queues import QUEUE, Desk


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is sent to the database meanwhile, as it gets it."""
    sent: list[str] = []

    def note(_connection: Any, cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        sent.append(cursor.mogrify(sql, parameters).decode())

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(db.engine, "before_cursor_execute", note)


def plan_without_sorting(sql: str) -> str:
    """The plan where the planner sorts or reads a whole table only if there is no other way."""
    with transaction():
        for way in ("sort", "incremental_sort", "seqscan", "hashjoin", "mergejoin"):
            db.session.execute(text(f"SET LOCAL enable_{way} = off"))
        return "\n".join(db.session.connection().exec_driver_sql("EXPLAIN " + sql.replace("%", "%%")).scalars())


@pytest.mark.parametrize("query", ["", "?after={}"])
def test_what_waits_is_read_in_the_order_of_its_index_and_never_sorted(app: Flask, query: str) -> None:
    desk = Desk(app)
    review = desk.review()
    with statements() as sent:
        assert desk.browser.get(f"{QUEUE}{query.format(review.id)}").status_code == 200
    (page,) = (sql for sql in sent if sql.startswith("SELECT reviews.id, reviews.booking_id") and "timezone(" in sql)
    plan = plan_without_sorting(page)
    assert "Index Scan using ix_reviews_urgent" in plan
    assert "Sort" not in plan


def test_the_next_item_is_found_by_the_same_index(app: Flask) -> None:
    desk = Desk(app)
    review = desk.review()
    with statements() as sent:
        desk.browser.get(f"{QUEUE}{review.id}/")
    walked = [sql for sql in sent if "claims" in sql and "ORDER BY timezone(" in sql]
    assert walked, "the ones after it, and the ones before it"
    for sql in walked:
        plan = plan_without_sorting(sql)
        assert "ix_reviews_urgent" in plan
        assert "Sort" not in plan


def found(desk: Desk, query: str) -> list[int]:
    """The ids of the reviews in a list."""
    page = desk.browser.get(f"{QUEUE}?{query}").text
    ids = [part.partition('"')[0] for part in page.split('name="id" value="')[1:]]
    rows = page.count("data-row")
    assert len(ids) in (rows, 0)
    return [int(row_id) for row_id in ids]


def test_words_of_title_and_text_find_a_review_in_whatever_state(app: Flask) -> None:
    desk = Desk(app)
    waiting, approved, rejected = (desk.review(content=f"Loud{desk.word} at night.") for _ in range(3))
    reviews.approve(approved.id, by=desk.by)
    reviews.reject(rejected.id, reason="fake", by=desk.by)
    expected = {"PENDING": waiting, "APPROVED": approved, "REJECTED": rejected}
    for state, review in expected.items():
        for words in (desk.word, desk.word[2:-1].upper(), f"loud{desk.word}", f"fine loud{desk.word[:5]}"):
            assert found(desk, f"status={state}&q={words}") == [review.id], (state, words)
        assert found(desk, f"status={state}&q={desk.word}x") == []


def test_a_text_that_is_changed_is_found_by_what_it_says_now(app: Flask) -> None:
    desk = Desk(app)
    review = desk.review()
    with transaction():
        db.session.execute(
            text("UPDATE reviews SET content = :content WHERE id = :id"),
            {"content": f"Later{desk.word}", "id": review.id},
        )
    assert found(desk, f"q=later{desk.word}") == [review.id]
    assert found(desk, f"q=quiet {desk.word}") == [], "what it said before"


def test_a_decision_leaves_the_words_alone(app: Flask) -> None:
    review = factories.review()
    row = text("SELECT xmin::text, ctid::text, words FROM review_texts WHERE review_id = :id")
    before = db.session.execute(row, {"id": review.id}).one()
    reviews.approve(review.id, by=factories.moderator())
    assert db.session.execute(row, {"id": review.id}).one() == before
    assert before.words == f"{review.title}\n {review.content}"


def test_what_has_some_words_is_counted_up_to_its_own_cap(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(app)
    for _ in range(4):
        desk.review()
    monkeypatch.setattr(ReviewsView, "page_size", 2)
    for most, label in ((3, "3+ reviews"), (4, "4 reviews")):
        monkeypatch.setattr(ReviewsView, "found_cap", most)
        assert f">{label}<" in desk.queue()


def test_a_list_that_fits_a_page_is_not_counted_again(app: Flask) -> None:
    desk = Desk(app)
    desk.review()
    with statements() as sent:
        page = desk.queue()
    assert ">1 review<" in page
    assert not [sql for sql in sent if "count(" in sql and "review_texts" in sql]


def test_a_booking_and_an_address_still_find_exactly_theirs(app: Flask) -> None:
    desk = Desk(app)
    review, _ = desk.review(), desk.review()
    reference, email = db.session.execute(
        text("SELECT b.reference, u.email FROM bookings b JOIN users u ON u.id = b.traveller_id WHERE b.id = :id"),
        {"id": review.booking_id},
    ).one()
    assert found(desk, f"q={reference.lower()}") == [review.id]
    assert found(desk, f"q={email.upper()}") == [review.id]
