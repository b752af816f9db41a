"""What is known of the public's searches: counted once each, without anybody's data, kept within bounds, and never in a
request's way.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import orjson
import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, text

from app.db import transaction, utcnow
from app.errors import Busy
from app.extensions import db
from app.queue import connection
from app.search import latency, searches
from app.search.models import SearchedFor, SearchedWords, SearchLatency
from jobs import search as jobs
from tests.concurrency import at_once


@pytest.fixture(autouse=True)
def nothing_is_counted_yet(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted is handed over when the test says so."""
    monkeypatch.setattr(searches, "HAND_OVER_SECONDS", 3600.0)
    searches.hand_over()
    connection().delete("tripdesk:searches")


def kept(words: str) -> SearchedFor | None:
    searches.hand_over()
    jobs.keep_searches()
    db.session.rollback()
    return db.session.scalar(select(SearchedFor).where(SearchedFor.words == words))


def note(q: str, *, found: bool = True, took_ms: float = 12.0, degraded: bool = False, page: int = 1) -> None:
    searches.note_search(q, "postgres", is_first_page=page == 1, took_ms=took_ms, found=found, degraded=degraded)


def answers(kind: str, since: datetime) -> int:
    counted = select(func.coalesce(func.sum(SearchLatency.answers), 0)).where(
        SearchLatency.kind == kind, SearchLatency.hour >= since
    )
    return int(db.session.scalar(counted) or 0)


def test_a_search_is_counted_by_its_folded_words_with_what_it_found_and_how_long_it_took(app: Flask) -> None:
    note("Grünerløkka  Ærø-1", took_ms=10.4)
    note("grünerløkka ærø 1", found=False, degraded=True, took_ms=30)
    row = kept("grunerlokka aero 1")
    assert row is not None
    assert (row.searches, row.without_result, row.degraded, row.engine) == (2, 1, 1, "postgres")
    assert (row.mean_ms, row.slowest_ms) == (20, 30)
    assert utcnow() - row.last_at < timedelta(minutes=1)


@pytest.mark.parametrize("path", ["packages", "hotels", "tours"])
def test_each_public_search_leaves_its_words(client: FlaskClient, path: str) -> None:
    words = f"word{uuid4().hex[:6].translate(str.maketrans('0123456789', 'ghijklmnop'))}"
    assert client.get(f"/v1/search/{path}?q={words}").json["total"] == 0
    assert client.get(f"/v1/search/{path}?q={words}&page=2").status_code == 200
    assert client.get(f"/v1/search/{path}?q={words}&minRating=9").status_code == 422
    row = kept(words)
    assert row is not None
    assert (row.searches, row.without_result) == (1, 1)


def test_suggestions_are_counted_for_their_latency_only(client: FlaskClient) -> None:
    since = utcnow().replace(minute=0, second=0, microsecond=0)
    assert kept("nothing yet") is None
    before = answers("suggestions", since)
    for begun in ("suggx", "suggxy", "suggxyz"):
        assert client.get(f"/v1/search/suggestions?q={begun}").status_code == 200
    assert kept("suggxyz") is None
    assert answers("suggestions", since) == before + 3


@pytest.mark.parametrize(
    "q",
    [
        "kari.nordmann@example.com",
        "hotel for ola＠example.com",
        "4242 4242 4242 4242",
        "4242-4242-4242-4242 oslo",
        "+47 99 88 77 66",
        "99887766",
        "01019012345",
        "４２４２４２４２４２４２４２４２",
    ],
)
def test_nothing_is_kept_that_may_be_somebodys(app: Flask, q: str) -> None:
    since = utcnow().replace(minute=0, second=0, microsecond=0)
    assert kept("nothing yet") is None
    before, words_before = answers("search", since), db.session.scalar(select(func.count(SearchedWords.id)))
    note(q)
    searches.hand_over()
    waiting = connection().lrange("tripdesk:searches", 0, -1)
    assert [orjson.loads(one)["words"] for one in waiting] == [[]]
    jobs.keep_searches()
    db.session.rollback()
    assert db.session.scalar(select(func.count(SearchedWords.id))) == words_before
    assert answers("search", since) == before + 1, "that somebody has waited is counted all the same"


def test_house_numbers_and_days_without_a_year_are_kept(app: Flask) -> None:
    note("Room 101 for 2 adults 24 dec 2026")
    assert kept("room 101 for 2 adults 24 dec 2026") is not None


def test_many_at_once_are_each_counted_once(app: Flask) -> None:
    words = "all at once"

    def search() -> None:
        for _ in range(50):
            note(words)
            searches.hand_over()

    assert at_once(app, *[search] * 6) == [None] * 6
    assert at_once(app, *[searches.keep] * 4) == [None] * 4
    row = kept(words)
    assert row is not None
    assert row.searches == 300
    assert kept(words).searches == 300  # type: ignore[union-attr]


def test_what_cannot_be_written_now_is_kept_later(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    note("written later")
    searches.hand_over()

    def busy() -> None:
        raise Busy("not now")

    with monkeypatch.context() as patched:
        patched.setattr(searches, "transaction", busy)
        with pytest.raises(Busy):
            searches.keep()
    row = kept("written later")
    assert row is not None
    assert row.searches == 1


def test_without_redis_a_search_is_answered_and_waits_for_nothing(
    client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        def __getattr__(self, name: str) -> None:
            raise redis.ConnectionError("away")

    monkeypatch.setitem(app.extensions, "redis", Away())
    assert client.get("/v1/search/packages?q=without+redis").status_code == 200
    searches.hand_over()


def test_a_process_counts_no_more_than_so_many_words(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searches, "MOST_WORDS", 2)
    for words in ("bound one", "bound two", "bound three", "bound one"):
        note(words)
    row = kept("bound one")
    assert row is not None
    assert row.searches == 2
    assert kept("bound two") is not None
    assert kept("bound three") is None


def test_redis_keeps_no_more_than_so_many_hand_overs(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searches, "MOST_WAITING", 2)
    for words in ("the oldest goes", "the middle stays", "the newest stays"):
        note(words)
        searches.hand_over()
    assert connection().llen("tripdesk:searches") == 2
    assert kept("the newest stays") is not None
    assert kept("the oldest goes") is None


def test_a_day_keeps_its_most_frequent_words(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    often = f"often {uuid4().hex[:4].translate(str.maketrans('0123456789', 'ghijklmnop'))}"
    for _ in range(1_000):
        note(often)
    note("rare, and made up")
    monkeypatch.setattr(searches, "MOST_WORDS_A_DAY", 1)
    assert kept(often) is not None
    assert kept("rare and made up") is None


def test_what_is_older_than_a_month_is_forgotten_and_the_rest_stays(app: Flask) -> None:
    now = utcnow()
    for days, words in ((searches.KEPT_DAYS + 1, "long ago"), (searches.KEPT_DAYS - 1, "not so long ago")):
        at = now - timedelta(days=days)
        with transaction():
            db.session.add(
                SearchedWords(
                    day=at.date(),
                    words=words,
                    searches=1,
                    without_result=0,
                    degraded=0,
                    took_ms=1,
                    slowest_ms=1,
                    engine="postgres",
                    last_at=at,
                )
            )
            db.session.execute(
                text("INSERT INTO search_latencies VALUES (:hour, 'search', 'postgres', false, 10, 1)"), {"hour": at}
            )
    jobs.forget_searches()
    db.session.rollback()
    found = db.session.scalars(select(SearchedWords.words).where(SearchedWords.words.like("%long ago"))).all()
    assert found == ["not so long ago"]
    oldest = db.session.scalar(select(func.min(SearchLatency.hour)))
    assert oldest is not None
    assert oldest > now - timedelta(days=searches.KEPT_DAYS)


def test_the_words_of_two_days_are_added_up(app: Flask) -> None:
    note("on two days")
    first = kept("on two days")
    assert first is not None
    with transaction():
        db.session.execute(
            text(
                "INSERT INTO searched_words (day, words, searches, without_result, degraded, took_ms, slowest_ms,"
                " engine, last_at) SELECT day - 1, words, 3, 2, 0, 28, 20, 'meilisearch', last_at - interval '1 day'"
                " FROM searched_words WHERE words = 'on two days'"
            )
        )
    row = kept("on two days")
    assert row is not None
    assert (row.searches, row.without_result, row.mean_ms, row.slowest_ms) == (4, 2, 10, 20)
    assert (row.engine, row.last_at) == ("postgres", first.last_at)


def test_percentiles_are_as_near_as_the_ranges_tell() -> None:
    measured = [n * 0.5 for n in range(1, 801)]  # up to 400 ms
    counts: dict[int, int] = {}
    for took in measured:
        counts[latency.under(took)] = counts.get(latency.under(took), 0) + 1
    found = latency.of(counts)
    assert found.answers == 800
    assert found.p50 == pytest.approx(200, rel=0.02)
    assert found.p95 == pytest.approx(380, rel=0.02)
    assert found.p99 == pytest.approx(396, rel=0.02)


def test_what_takes_longer_than_the_last_range_is_counted_in_it() -> None:
    assert (latency.under(0), latency.under(1), latency.under(10**9)) == (1, 2, latency.BOUNDS_MS[-1])
    assert latency.of({1: 1}).p99 <= 1


def test_hours_are_those_of_the_answers(app: Flask) -> None:
    at = datetime(2026, 3, 29, 1, 59, 59, tzinfo=UTC)
    tally = searches.Tally()
    tally.add_latency("search", "postgres", took_ms=4, degraded=False, at=at)
    (row,) = tally.take()["latencies"]
    assert (row["hour"], row["under_ms"], row["answers"]) == ("2026-03-29T01:00:00+00:00", 5, 1)
    assert tally.take() == {"words": [], "latencies": []}
