"""Searching with Meilisearch: the questions it is asked, what PostgreSQL adds to its answers, and what happens when it
is away. On the stand-in: which words are found, and in which order, is only proven by a real server (TEST_MEILI_URL).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import inspect

from app.bookings import service as bookings
from app.catalog.models import Package
from app.db import lock, transaction
from app.extensions import db
from app.search import breaker, indexing, ranked, sending, service
from app.search import meilisearch as gateway
from app.search.engine import Answer, Question
from app.search.meilisearch import Meilisearch, NotAnswering
from app.search.postgres import PostgresEngine
from app.states import move
from tests import factories
from tests.conftest import wait_for
from tests.search.meili_stand_in import StandIn


@pytest.fixture
def indexed(meili_app: Flask) -> Iterator[Callable[[], None]]:
    """Has Meilisearch know what is on sale."""

    def index() -> None:
        indexing.catch_up()
        sending.send()
        for kept in ("meilisearch_behind", "search_suggestions", "search_places"):
            meili_app.extensions.pop(kept, None)

    yield index
    # The next test wants none of them.
    db.session.rollback()
    for package in db.session.scalars(db.select(Package).where(Package.status == "PUBLISHED")).all():
        moved(package, "DRAFT")


def moved(row: Any, status: str) -> None:
    """The row in another state, and Meilisearch not told of it."""
    with transaction():
        move(lock(type(row), inspect(row).identity[0]), status)


def find(**wishes: Any) -> Answer:
    """What Meilisearch's engine answers, which must be the one that does."""
    found = service.search(Question(**wishes))
    assert (found.answer.engine, found.degraded) == ("meilisearch", False)
    return found.answer


def ids(answer: Answer) -> list[int]:
    return [hit.id for hit in answer.hits]


def test_hits_are_rows_of_the_database_with_marked_words(indexed: Callable[[], None]) -> None:
    of = factories.package(
        name="Fjord <b>& sauna", description="A sauna by the fjord.", price_minor=12_300, amenities=["sauna", "wifi"]
    )
    factories.package(name="Another place")
    indexed()
    answer = find(q="fjord")
    assert answer.total == 1
    hit = answer.hits[0]
    assert (hit.id, hit.name, hit.price_minor, hit.total_minor) == (of.id, "Fjord <b>& sauna", 12_300, None)
    assert hit.provider == factories.reread(of).provider.name
    assert hit.highlights == {
        "name": "<mark>Fjord</mark> &lt;b&gt;&amp; sauna",
        "description": "A sauna by the <mark>fjord</mark>.",
    }


def test_what_went_off_sale_is_not_shown_though_the_index_still_has_it(indexed: Callable[[], None]) -> None:
    stays, goes = factories.package(name="Cabin one"), factories.package(name="Cabin two")
    suspended = factories.package(name="Cabin three")
    indexed()
    assert len(ids(find(q="cabin"))) == 3
    moved(goes, "DRAFT")
    moved(factories.reread(suspended).provider, "SUSPENDED")
    answer = find(q="cabin")
    assert ids(answer) == [stays.id]
    assert (answer.total, answer.total_is_estimate, answer.facets_are_estimates) == (1, True, True)


def test_what_does_not_fit_any_more_is_not_shown_though_the_index_says_so(indexed: Callable[[], None]) -> None:
    stays = factories.package(days=0, name="Cabin one", price_minor=9_000)
    dearer = factories.package(days=0, name="Cabin two", price_minor=9_000)
    indexed()
    exact = find(q="cabin", max_minor=10_000)
    assert (exact.total, exact.total_is_estimate, exact.facets_are_estimates) == (2, False, False)
    with transaction():
        lock(Package, dearer.id).price_minor = 11_000
    indexing.catch_up()
    answer = find(q="cabin", max_minor=10_000)
    assert ids(answer) == [stays.id]
    assert (answer.total, answer.total_is_estimate, answer.facets_are_estimates) == (1, True, True)


def test_counts_of_an_index_that_is_behind_say_that_they_are_estimates(
    meili_app: Flask, indexed: Callable[[], None]
) -> None:
    stays = factories.package(days=0, name="Cabin", price_minor=1_000)
    goes = factories.package(days=0, name="Cabin", price_minor=9_000)
    indexed()
    exact = find(q="cabin", sort="price_asc", per_page=1)
    assert (exact.total, exact.total_is_estimate, exact.facets_are_estimates) == (2, False, False)
    moved(factories.reread(goes).provider, "SUSPENDED")
    meili_app.extensions.pop("meilisearch_behind", None)
    for index in (lambda: None, indexing.catch_up):
        index()
        answer = find(q="cabin", sort="price_asc", per_page=1)
        assert ids(answer) == [stays.id]
        assert (answer.total, answer.total_is_estimate, answer.facets_are_estimates) == (2, True, True)
        assert [one.id for one in answer.facets["provider"]] == [stays.provider_id]
        meili_app.extensions.pop("meilisearch_behind", None)
    indexed()
    exact = find(q="cabin", sort="price_asc", per_page=1)
    assert (exact.total, exact.total_is_estimate, exact.facets_are_estimates) == (1, False, False)


def test_days_are_postgresqls_word(indexed: Callable[[], None]) -> None:
    first = factories.tomorrow()
    free = factories.package(name="Cabin free", price_minor=9_000)
    taken = factories.package(name="Cabin taken")
    late = factories.package(name="Cabin from next week", starting=first + timedelta(days=7))
    tour = factories.tour(name="Cabin tour", price_minor=5_000)
    indexed()
    bookings.hold(
        by=factories.actor(),
        package_id=taken.id,
        units=1,
        guests=1,
        check_in=first + timedelta(days=1),
        check_out=first + timedelta(days=2),
    )
    answer = find(q="cabin", check_in=first, check_out=first + timedelta(days=2))
    assert {hit.id: hit.total_minor for hit in answer.hits} == {free.id: 18_000, tour.id: 5_000}
    assert (answer.total, answer.total_is_estimate) == (2, False)
    assert all("<mark>Cabin</mark>" in hit.highlights["name"] for hit in answer.hits)
    assert late.id not in ids(answer)


def test_days_without_words_are_postgresqls_whole_and_nothing_is_missing(
    indexed: Callable[[], None], stand_in: StandIn
) -> None:
    first = factories.tomorrow()
    free = factories.package(name="Cabin")
    indexed()
    stand_in.requests.clear()
    found = service.search(Question(check_in=first))
    assert (found.answer.engine, found.degraded, ids(found.answer)) == ("postgres", False, [free.id])
    assert stand_in.requests == []


def test_where_more_fit_the_words_than_are_looked_at_none_that_can_be_booked_is_missing(
    indexed: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        factories.package(name="Cabin", city="Oslo")
    in_bergen = factories.package(name="Cabin", city="Bergen")
    cheapest = factories.package(name="Cabin", city="Oslo", price_minor=9_000)
    day = factories.tomorrow()
    with transaction():
        lock(Package, cheapest.id).price_minor = 90_000
    indexed()
    monkeypatch.setattr(ranked, "CANDIDATES", 5)
    assert find(q="cabin", check_in=day).total == 5
    monkeypatch.setattr(ranked, "CANDIDATES", 3)
    found = service.search(Question(q="cabin", check_in=day, location="bergen"))
    assert (found.answer.engine, found.degraded) == ("postgres", False)
    assert (ids(found.answer), found.answer.total, found.answer.total_is_estimate) == ([in_bergen.id], 1, False)
    found = service.search(Question(q="cabin", check_in=day, sort="price_asc"))
    assert (ids(found.answer)[0], found.answer.total) == (cheapest.id, 5), "the index knows the base price alone"


def test_both_engines_find_count_and_order_alike(indexed: Callable[[], None]) -> None:
    generator = random.Random(20261123)
    providers = [factories.provider() for _ in range(3)]
    for _ in range(60):
        factories.package(
            days=3,
            name=generator.choice(["Cabin", "Loft", "House"]),
            type=generator.choice(["hotel", "hotel", "tour"]),
            provider_id=generator.choice(providers).id,
            city=generator.choice(["Oslo", "Bergen", "Tromsø"]),
            price_minor=generator.randrange(1_000, 120_000),
            capacity=generator.randrange(1, 6),
            amenities=generator.sample(["wifi", "sauna", "free parking"], generator.randrange(4)),
            latitude=generator.choice([None, 59.9 + generator.random()]),
            longitude=10.7 + generator.random(),
        )
    indexed()
    postgres = PostgresEngine()
    for number in range(60):
        question = Question(
            q=generator.choice(["", "", "cabin"]),
            type=generator.choice([None, None, "hotel", "tour"]),
            location=generator.choice([None, None, "oslo", "Tromso", "bergen, NORWAY"]),
            near=generator.choice([None, None, (60.1, 11.0)]),
            radius_km=generator.choice([None, 40.0]),
            min_minor=generator.choice([None, 20_000]),
            max_minor=generator.choice([None, 80_000]),
            guests=generator.choice([None, 3]),
            amenities=generator.choice([(), (), ("wifi",), ("wifi", "free parking"), ("nothing has this",)]),
            provider_id=generator.choice([None, None, providers[0].id]),
            check_in=generator.choice([None, None, factories.tomorrow()]),
            sort=generator.choice(["price_asc", "price_desc", "newest", "relevance"]),
            per_page=100,
        )
        if question.near and number % 2:
            question = replace(question, sort="distance")
        if question.days and not question.q:
            continue  # PostgreSQL's whole
        theirs, ours = find(**vars(question)), postgres.search(question)
        assert theirs.total == ours.total, question
        assert set(ids(theirs)) == set(ids(ours)), question
        if question.sort != "relevance" and question.sort != "newest":
            assert ids(theirs) == ids(ours), question
        assert theirs.facets == ours.facets, question


def test_pages_neither_repeat_nor_leave_out(indexed: Callable[[], None]) -> None:
    wanted = {factories.package(days=0, name="Cabin").id for _ in range(7)}
    indexed()
    pages = [ids(find(q="cabin", sort="price_asc", page=page, per_page=3)) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert {number for page in pages for number in page} == wanted


def test_words_that_nothing_has_together_are_dropped(indexed: Callable[[], None], stand_in: StandIn) -> None:
    cabin = factories.package(days=0, name="Cabin by the lake")
    indexed()
    assert ids(find(q="cabin lake")) == [cabin.id]
    assert ids(find(q="cabin elephants")) == [cabin.id]
    # What was chosen isn't a reason to drop words.
    assert ids(find(q="cabin lake", max_minor=1)) == []


def test_a_word_that_nothing_has_is_told_otherwise(indexed: Callable[[], None]) -> None:
    factories.package(days=0, name="Lighthouse")
    indexed()
    assert find(q="lightouse").did_you_mean == "lighthouse"
    assert find(q="lighthouse").did_you_mean is None


def test_odd_words_are_no_operators(indexed: Callable[[], None]) -> None:
    cabin = factories.package(days=0, name="Cabin")
    indexed()
    for q in ('"cabin', "-cabin", "cabin -", "cabin \ue000", 'cabin" OR id > 0', "cabin\\", "c" * 10_000, "\x00"):
        service.search(Question(q=q))
    assert ids(find(q="-cabin")) == [cabin.id]
    assert ids(find(location='os"lo\\')) == []
    assert ids(find(amenities=('x" OR id > 0 OR type = "',))) == []


def test_suggestions_are_places_and_packages_on_sale(indexed: Callable[[], None]) -> None:
    of = factories.package(days=0, name="Trysil lodge", city="Trysil")
    gone = factories.package(days=0, name="Trysil hut", city="Trysil")
    indexed()
    moved(gone, "DRAFT")
    found = service.suggest("trys", 5)
    assert [(one.text, one.kind, one.package_id) for one in found] == [
        ("Trysil", "place", None),
        ("Trysil lodge", "package", of.id),
    ]
    assert service.suggest(' "-', 5) == []


# When it is away


def degraded(**wishes: Any) -> Answer:
    found = service.search(Question(**wishes))
    assert (found.answer.engine, found.degraded) == ("postgres", True)
    return found.answer


def test_a_dead_engine_is_asked_no_more_until_it_answers_a_probe(
    indexed: Callable[[], None], meilisearch: Meilisearch, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = factories.package(days=0, name="Cabin")
    indexed()
    monkeypatch.setattr(breaker, "PROBE_EVERY_SECONDS", 1_000.0)
    stand_in.kill()
    for _ in range(5):
        assert ids(degraded(q="cabin")) == [of.id]
    assert not meilisearch.breaker.is_closed()
    stand_in.start()
    stand_in.requests.clear()
    assert ids(degraded(q="cabin")) == [of.id]
    monkeypatch.setattr(meilisearch.breaker, "_probe_at", 0.0)
    degraded(q="cabin")
    wait_for(meilisearch.breaker.is_closed, "the breaker to close")
    assert all(path == f"/indexes/{gateway.INDEX}/search" for _, path, _ in stand_in.requests if "keys" not in path)
    assert ids(find(q="cabin")) == [of.id]


def test_an_engine_that_hangs_costs_one_short_wait(
    indexed: Callable[[], None], meilisearch: Meilisearch, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = factories.package(days=0, name="Cabin")
    indexed()
    find(q="cabin")
    monkeypatch.setattr(breaker, "PROBE_EVERY_SECONDS", 1_000.0)
    monkeypatch.setattr(gateway, "_READING_SECONDS", (30.0, 0.2))
    stand_in.answer_after = 5
    stand_in.requests.clear()
    for _ in range(5):
        assert ids(degraded(q="cabin")) == [of.id]
    assert len(stand_in.requests) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda stand_in: stand_in.indexes.clear(),
        lambda stand_in: stand_in.keys.clear(),
        lambda stand_in: stand_in.indexes[gateway.INDEX]["settings"].update(filterableAttributes=[]),
    ],
    ids=["without its index", "without its keys", "without its settings"],
)
def test_an_engine_that_refuses_is_no_500(
    indexed: Callable[[], None], stand_in: StandIn, damage: Callable[[StandIn], None]
) -> None:
    of = factories.package(days=0, name="Cabin")
    indexed()
    damage(stand_in)
    for _ in range(5):
        assert ids(degraded(q="cabin", type="hotel")) == [of.id]
    assert [one.package_id for one in service.suggest("cabin", 5)] == [of.id]


def test_something_else_at_its_address_is_no_500(
    indexed: Callable[[], None], stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = factories.package(days=0, name="Cabin")
    indexed()
    monkeypatch.setattr(type(stand_in), "_answer", lambda self, request: (200, ["Welcome to nginx!"]))
    for _ in range(5):
        assert ids(degraded(q="cabin")) == [of.id]
    with pytest.raises(NotAnswering, match="is not understood"):
        sending.compare(mend=False)


@pytest.mark.parametrize(
    "results",
    [
        lambda results: [],
        lambda results: [{} for _ in results],
        lambda results: [*results, results[0]],
        lambda results: [{**one, "hits": None} for one in results],
        lambda results: [{**one, "hits": [{}]} for one in results],
        lambda results: [{**one, "hits": ["cabin"]} for one in results],
        lambda results: [{**one, "hits": [{**hit, "_formatted": None} for hit in one["hits"]]} for one in results],
        lambda results: [{**one, "totalHits": "many", "estimatedTotalHits": None} for one in results],
        lambda results: [{**one, "facetDistribution": None} for one in results],
        lambda results: [{**one, "facetDistribution": {"price_bucket": {"cheap": 1}}} for one in results],
        lambda results: {"cabin": 1},
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_no_500(
    meili_app: Flask,
    indexed: Callable[[], None],
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    results: Callable[[Any], Any],
) -> None:
    factories.package(name="Cabin")
    indexed()
    find(q="cabin by the lake")  # with the keys
    real = type(stand_in)._answer

    def nonsense(self: StandIn, request: Any) -> tuple[int, Any]:
        status, body = real(self, request)
        return status, {"results": results(body["results"])} if request.path == "/multi-search" else body

    monkeypatch.setattr(type(stand_in), "_answer", nonsense)
    client = meili_app.test_client()
    for path in (
        "packages?q=cabin",
        "packages?q=cabin+lake&type=hotel",
        f"packages?q=cabin&checkIn={factories.tomorrow()}",
    ):
        answer = client.get(f"/v1/search/{path}")
        assert answer.status_code == 200, answer.text
        assert answer.json is not None
        assert [hit["name"] for hit in answer.json["hits"]] == ["Cabin"]
    assert client.get("/v1/search/suggestions?q=cab").status_code == 200


def test_nonsense_opens_the_breaker(
    indexed: Callable[[], None], meilisearch: Meilisearch, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = factories.package(days=0, name="Cabin")
    indexed()
    find(q="cabin")
    real = type(stand_in)._answer
    monkeypatch.setattr(breaker, "PROBE_EVERY_SECONDS", 1_000.0)
    monkeypatch.setattr(
        type(stand_in),
        "_answer",
        lambda self, request: (200, {"results": []}) if "multi" in request.path else real(self, request),
    )
    for _ in range(breaker.FAILURES):
        assert ids(degraded(q="cabin")) == [of.id]
    assert not meilisearch.breaker.is_closed()


def test_suggestions_of_nonsense_are_no_500(
    indexed: Callable[[], None], stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = factories.package(days=0, name="Cabin")
    indexed()
    find(q="cabin")
    real = type(stand_in)._answer
    monkeypatch.setattr(
        type(stand_in),
        "_answer",
        lambda self, request: (200, {"facetHits": [{}]}) if "facet-search" in request.path else real(self, request),
    )
    assert [one.package_id for one in service.suggest("cabin", 5)] == [of.id]


def test_an_engine_that_is_far_behind_is_not_asked(
    meili_app: Flask, indexed: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "BEHIND_AT_MOST", 1)
    some = [factories.package(days=0, name="Cabin") for _ in range(3)]
    indexing.catch_up()
    meili_app.extensions.pop("meilisearch_behind", None)
    assert len(ids(degraded(q="cabin"))) == 3
    indexed()
    assert set(ids(find(q="cabin"))) == {one.id for one in some}


@pytest.mark.parametrize("makes", [sending.configure, sending.send_synonyms], ids=["by hand", "for its synonyms"])
def test_an_index_that_was_lost_and_made_anew_is_not_asked_before_it_is_filled(
    meili_app: Flask, indexed: Callable[[], None], stand_in: StandIn, makes: Callable[[], None]
) -> None:
    of = factories.package(days=0, name="Cabin")
    indexed()
    stand_in.kill()
    stand_in.lose_everything()
    stand_in.start()
    makes()
    assert stand_in.documents(gateway.INDEX) == {}
    meili_app.extensions.pop("meilisearch_behind", None)
    assert ids(degraded(q="cabin")) == [of.id]
    assert [one.package_id for one in service.suggest("cabin", 5)] == [of.id]
    assert meili_app.test_client().get("/health/ready").json["meilisearch"] == "degraded"  # type: ignore[index]
    indexed()
    assert ids(find(q="cabin")) == [of.id]


def test_an_engine_that_has_not_heard_of_one_change_for_long_is_not_asked(
    meili_app: Flask, indexed: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = factories.package(days=0, name="Cabin")
    factories.package(days=0, name="House")
    indexed()
    with transaction():
        lock(Package, renamed.id).name = "Loft"
    indexing.catch_up()
    meili_app.extensions.pop("meilisearch_behind", None)
    assert ids(find(q="cabin")) == [renamed.id], "it is some moments behind"
    monkeypatch.setattr(sending, "BEHIND_SECONDS", 0.0)
    meili_app.extensions.pop("meilisearch_behind", None)
    assert ids(degraded(q="cabin")) == []
    assert ids(degraded(q="loft")) == [renamed.id]
    indexed()
    assert ids(find(q="loft")) == [renamed.id]


def test_a_dead_engine_during_500_writes_and_searches(
    meili_app: Flask, indexed: Callable[[], None], meilisearch: Meilisearch, stand_in: StandIn
) -> None:
    generator = random.Random(6)
    packages = [factories.package(days=0, name=f"Cabin {number}") for number in range(20)]
    indexed()
    client = meili_app.test_client()
    flags: Counter[tuple[str, bool]] = Counter()
    for number in range(500):
        if number == 150:
            stand_in.kill()
        if number == 350:
            stand_in.start()
            meilisearch.breaker._probe_at = 0.0
        if number % 2:
            answer = client.get("/v1/search/packages?q=cabin")
            assert answer.status_code == 200, answer.text
            assert answer.json is not None
            flags[answer.json["engine"], answer.json["degraded"]] += 1
            if 160 < number < 350:
                assert (answer.json["engine"], answer.json["degraded"]) == ("postgres", True)
        else:
            write(generator.choice(packages), number)
        if number % 20 == 0:
            indexing.index_changes()
            try:
                sending.send()
            except NotAnswering:
                assert 150 <= number < 350
    assert set(flags) == {("meilisearch", False), ("postgres", True)}
    wait_for(lambda: service.search(Question(q="cabin")).degraded is False, "Meilisearch to be asked again")
    indexed()
    assert indexing.status().equal
    assert not sending.compare(mend=False)
    there = stand_in.documents(gateway.INDEX)
    for package in packages:
        row = factories.reread(package)
        assert (str(row.id) in there) == (row.status == "PUBLISHED")
        if row.status == "PUBLISHED":
            assert there[str(row.id)]["name"] == row.name


def write(package: Any, number: int) -> None:
    """One change that search has to hear of."""
    with transaction():
        row = lock(Package, package.id)
        if number % 3:
            row.name = f"Cabin changed {number}"
        else:
            move(row, "DRAFT" if row.status == "PUBLISHED" else "PUBLISHED")
