"""The pages of the public's search: how it stands, what is searched for, and a query tried out."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import orjson
import pytest
from flask import Flask
from sqlalchemy import select, text
from werkzeug.test import TestResponse

from app.audit.models import AuditEntry
from app.db import transaction, utcnow
from app.extensions import db
from app.search import rebuilding, searches
from app.search.models import IndexRebuild, SearchedWords
from tests import factories, queued
from tests.console.browser import Browser, signed_in
from tests.search import catalogue


@pytest.fixture
def browser(app: Flask) -> Browser:
    for row in db.session.scalars(select(IndexRebuild).where(IndexRebuild.status == "RUNNING")).all():
        rebuilding.fail(row.id, "left over")
    return signed_in(app, "admin")


def searched(words: str, *, times: int = 1, empty: int = 0, days_ago: int = 0, took_ms: int = 20) -> SearchedWords:
    at = utcnow() - timedelta(days=days_ago)
    row = SearchedWords(
        day=at.date(),
        words=words,
        searches=times,
        without_result=empty,
        degraded=0,
        took_ms=took_ms * times,
        slowest_ms=took_ms,
        engine="postgres",
        last_at=at,
    )
    with transaction():
        db.session.add(row)
    return row


def unheard_of() -> str:
    return "".join(chr(ord("a") + int(digit, 16)) for digit in uuid4().hex)


def rebuilds() -> list[int]:
    db.session.rollback()
    return list(db.session.scalars(select(IndexRebuild.id).order_by(IndexRebuild.id)))


def get(browser: Browser, path: str, **asked: str) -> TestResponse:
    return browser.get(f"{path}?{urlencode(asked)}")


# ------------------------------------------------------------------ how it stands


def test_an_empty_product_says_so_and_what_to_expect(empty_app: Flask) -> None:
    page = signed_in(empty_app, "admin").get("/console/public-search/").text
    assert "Nobody has searched yet" in page
    assert "Never, as far as is known" in page
    assert "No change waits" in page
    assert "No answers in this time" in page


def test_the_page_counts_what_waits_and_what_is_missing(empty_app: Flask) -> None:
    factories.package(days=0)
    catalogue.index()
    factories.package(days=0)
    page = signed_in(empty_app, "admin").get("/console/public-search/").text
    facts = dict(
        re.findall(r"<dt>([^<]+)</dt>\s*<dd>\s*<(?:span|bdi)[^>]*>([^<]*)<", page),
    )
    assert facts["Packages on sale"] == "2"
    assert (facts["Documents listed"], facts["Missing"], facts["Left over"], facts["Outdated"]) == ("1", "1", "0", "1")
    assert "1 package waits" in page
    assert facts["Engine"] == "PostgreSQL"


def test_a_rebuild_is_asked_for_with_a_reason_and_refused_while_one_runs(browser: Browser) -> None:
    before = rebuilds()
    assert browser.post("/console/public-search/rebuild", {"reason": " "}).status_code == 422
    assert rebuilds() == before
    assert browser.post("/console/public-search/rebuild", {"reason": "After a restore"}).status_code == 302
    (asked,) = rebuilds()[len(before) :]
    entry = db.session.scalars(
        select(AuditEntry).where(AuditEntry.object_type == "index_rebuilds", AuditEntry.object_id == asked)
    ).one()
    assert (entry.action, entry.reason) == ("search.rebuild", "After a restore")
    again = browser.post("/console/public-search/rebuild", {"reason": "After a restore"})
    assert again.status_code == 409
    assert "being made anew already" in again.text
    assert rebuilds() == [*before, asked]
    page = browser.get("/console/public-search/").text
    assert 'data-watch="2"' in page
    assert "packages compared." in page
    assert "/console/public-search/rebuild" not in page
    assert queued.work_off() == []
    page = browser.get("/console/public-search/").text
    assert "data-watch=" not in page
    assert "/console/public-search/rebuild" in page


def test_a_rebuild_that_failed_says_why(browser: Browser) -> None:
    browser.post("/console/public-search/rebuild", {"reason": "After a restore"})
    rebuilding.fail(rebuilds()[-1], "Meilisearch has <lost> its disk.")
    page = browser.get("/console/public-search/").text
    assert "The last rebuild failed: Meilisearch has &lt;lost&gt; its disk." in page


def test_latency_is_told_by_hour_and_by_day_for_searches_and_suggestions(empty_app: Flask) -> None:
    browser = signed_in(empty_app, "admin")
    hour = utcnow().replace(minute=0, second=0, microsecond=0)
    with transaction():
        db.session.execute(
            text(
                "INSERT INTO search_latencies VALUES (:hour, 'search', 'postgres', true, 20, 100),"
                " (:hour, 'suggestions', 'meilisearch', false, 3, 7)"
            ),
            {"hour": hour},
        )
    for span, shown in (
        ("hours", "PostgreSQL, standing in"),
        ("days", "PostgreSQL, standing in"),
        ("suggestion-hours", "Meilisearch"),
        ("suggestion-days", "Meilisearch"),
    ):
        page = browser.get(f"/console/public-search/?latency={span}").text
        assert shown in page, span
    assert "17.5 ms" not in page
    assert "p95" in page
    assert browser.get("/console/public-search/?latency=years").status_code == 422


# ------------------------------------------------------------------ what is searched for


def test_the_list_is_sorted_by_count_and_last_and_narrowed_to_what_found_nothing(browser: Browser) -> None:
    mark = unheard_of()
    often, empty, old = f"{mark} often", f"{mark} empty", f"{mark} old"
    searched(often, times=9)
    searched(often, times=8, days_ago=2)
    searched(empty, times=3, empty=3)
    searched(old, times=5, empty=1, days_ago=4)

    def shown(**asked: str) -> list[str]:
        page = get(browser, "/console/searches/", q=mark, **asked).text
        return re.findall(rf"<bdi>({mark} \w+)</bdi>", page)

    assert shown() == [often, old, empty]
    assert shown(sort="-without_result") == [empty, old, often]
    assert shown(sort="last_at") == [old, often, empty] or shown(sort="last_at") == [old, empty, often]
    assert shown(outcome="empty") == [old, empty]
    assert shown(outcome="never") == [empty]
    assert shown(outcome="found") == [often]
    assert shown(since=str((utcnow() - timedelta(days=1)).date())) == [often, empty]


def test_words_are_found_however_they_are_written(browser: Browser) -> None:
    mark = unheard_of()
    searched(f"{mark} grunerlokka")
    assert mark in get(browser, "/console/searches/", q=f"{mark} Grünerløkka").text.split("data-list>")[1]


def test_the_page_of_some_words_has_their_days(browser: Browser) -> None:
    words = unheard_of()
    first = searched(words, times=4, empty=1, days_ago=1, took_ms=10)
    searched(words, times=6, took_ms=20)
    page = browser.get(f"/console/searches/{first.id}/").text
    assert page.count('data-label="Day"') == 2
    facts = dict(re.findall(r"<dt>([^<]+)</dt>\s*<dd>\s*<(?:span|bdi)[^>]*>([^<]*)<", page))
    assert (facts["Searches"], facts["Without a result"], facts["Mean"]) == ("10", "1", "16 ms")
    assert f"/console/public-search/try?q={words}" in page


def test_the_list_is_exported(browser: Browser) -> None:
    mark = unheard_of()
    searched(f"{mark} =cmd()", times=7, empty=2)
    answer = browser.post(f"/console/searches/export?q={mark}", {})
    assert answer.status_code == 302
    assert "1 query" in browser.get(answer.location).text


# ------------------------------------------------------------------ a query tried out


def answer_in(page: str) -> Any:
    (found,) = re.findall(r"<summary>JSON answer</summary>\s*<pre[^>]*>(.*?)</pre>", page, re.S)
    return orjson.loads(unescape(found))


def test_the_answer_is_the_apis(app: Flask, browser: Browser) -> None:
    mark = unheard_of()
    catalogue.named(f"{mark} <b>Ærlig</b> hus", f"Hytte {mark}", price_minor=12_345)
    asked = {"q": mark, "guests": "2", "minPrice": "10", "sort": "price_asc", "perPage": "5"}
    page = get(browser, "/console/public-search/try", **asked).text
    theirs = app.test_client().get("/v1/search/packages", query_string=asked).json
    ours = answer_in(page)
    assert {**ours, "tookMs": 0} == {**theirs, "tookMs": 0}
    assert ours["total"] == 2
    assert "<b>" not in page
    curl = unescape(re.findall(r">(curl -s .*?)</pre>", page)[0])
    assert f"/v1/search/packages?q={mark}&guests=2&minPrice=10&sort=price_asc&perPage=5" in curl


def test_trying_is_not_counted_among_the_publics_searches(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searches, "note_search", lambda *_, **__: pytest.fail("it was counted"))
    assert get(browser, "/console/public-search/try", q="cabin").status_code == 200


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"minPrice": "20", "maxPrice": "10"}, "minPrice"),
        ({"checkIn": "2020-01-01"}, "checkIn"),
        ({"checkIn": "soon"}, "checkIn"),
        ({"guests": "0"}, "guests"),
        ({"near": "here"}, "near"),
        ({"sort": "distance"}, "sort"),
        ({"page": "5000", "perPage": "100"}, "page"),
        ({"in": "hotels", "departure": "2030-01-01"}, "departure"),
        ({"in": "tours", "type": "hotel"}, "type"),
    ],
)
def test_a_wrong_parameter_is_refused_at_its_field_in_the_apis_words(
    app: Flask, browser: Browser, asked: dict[str, str], field: str
) -> None:
    answer = get(browser, "/console/public-search/try", **asked)
    path = asked.get("in", "packages")
    query = {name: value for name, value in asked.items() if name != "in"}
    theirs = app.test_client().get(f"/v1/search/{path}", query_string=query)
    assert (answer.status_code, theirs.status_code) == (422, 422)
    (message,) = [one["message"] for one in theirs.json["errors"] if one["field"] == field]
    shown = re.findall(rf'id="error-{field}">.*?</svg>(.*?)</p>', answer.text, re.S)
    assert [unescape(one) for one in shown] == [message]


def test_what_is_no_parameter_is_named(browser: Browser) -> None:
    answer = get(browser, "/console/public-search/try", colour="red")
    assert answer.status_code == 422
    assert "colour: There is nothing of this name here" in answer.text
    assert get(browser, "/console/public-search/try", **{"in": "flights"}).status_code == 422


def test_it_says_what_each_choice_takes_away_and_what_the_words_became(browser: Browser) -> None:
    mark = unheard_of()
    catalogue.add(
        {"name": f"{mark} one", "capacity": 2, "amenities": ["WiFi"]},
        {"name": f"{mark} two", "capacity": 4},
        {"name": f"{mark} three", "capacity": 4, "amenities": ["WiFi"]},
    )
    page = get(browser, "/console/public-search/try", q=f"the {mark[:-1]}x", guests="3", amenities="wifi").text
    effects = dict(
        re.findall(r'data-label="Asked for"><bdi>(.*?)</bdi></td>.*?data-label="It takes away"><bdi>(.*?)</bdi>', page)
    )
    assert (effects["Guests"], effects["Amenities"]) == ("1", "1")
    assert "The words" in effects
    assert f"{mark} (spelling)" in page
    assert "Left out" in page


def test_hits_of_any_type_have_what_they_cost_and_long_words_do_not_break(browser: Browser) -> None:
    mark = unheard_of()
    catalogue.named(f"{mark}{'å' * 300}")
    page = get(browser, "/console/public-search/try", q=mark).text
    assert "a night" in page
    assert "Why: score" in page
