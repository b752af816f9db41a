"""Filters, facets, orders and pages: facets are compared with counting in Python, on random filters."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from app.reviews import ratings
from app.search import facets
from app.search.engine import RATINGS, Bucket, Engine, Question
from app.search.postgres import PostgresEngine
from tests import factories
from tests.search import catalogue

CITIES = (("Oslo", "Norway"), ("Bergen", "Norway"), ("São Paulo", "Brasil"), ("Łódź", "Polska"))
AMENITIES = ("wifi", "pool", "sauna", "parking")
BOUNDS = (0, 2_500, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000, 50_000, 100_000)

Row = dict[str, Any]


def _some_packages(rng: random.Random) -> list[Row]:
    first = factories.tomorrow()
    sellers = [factories.provider(name=f"Seller {letter}") for letter in "ABC"]
    rows: list[Row] = []
    for number in range(60):
        city, country = rng.choice(CITIES)
        rows.append(
            {
                "name": f"{rng.choice(('Blue', 'Red'))} house {number}",
                "type": rng.choice(("hotel", "hotel", "tour")),
                "city": city,
                "country": country,
                "provider_id": rng.choice(sellers).id,
                "price_minor": rng.choice((1_000, 2_500, 7_499, 9_000, 14_900, 60_000, 250_000)),
                "capacity": rng.randint(1, 4),
                "amenities": sorted(rng.sample(AMENITIES, rng.randrange(4))),
            }
        )
    for row, package_id in zip(rows, catalogue.add(*rows), strict=True):
        row["id"], row["provider"] = package_id, next(one.name for one in sellers if one.id == row["provider_id"])
        stars = {rng.randint(1, 5): rng.randint(1, 3) for _ in range(rng.randrange(3))}
        row["reviews"] = sum(stars.values())
        row["rating"] = sum(star * n for star, n in stars.items()) / row["reviews"] if stars else None
        catalogue.rate(package_id, stars)
        row["nights"] = [row["price_minor"] if rng.random() < 0.7 else None for _ in range(3)]
        if any(row["nights"]):
            catalogue.offer(package_id, first, row["nights"])
    return rows


def _some_question(rng: random.Random) -> Question:
    def perhaps(value: Any) -> Any:
        return value if rng.random() < 0.35 else None

    low, high = sorted(rng.sample((0, 2_500, 9_000, 14_900, 20_000, 180_000), 2))
    question = Question(
        q=rng.choice(("", "blue", "red house", "house")),
        type=perhaps(rng.choice(("hotel", "tour"))),
        location=perhaps(rng.choice(("oslo", "norway", "sao paulo", "Łódź"))),
        min_minor=perhaps(low),
        max_minor=perhaps(high),
        min_rating=perhaps(rng.choice((1, 3, 4.5))),
        guests=perhaps(rng.randint(1, 4)),
        amenities=tuple(rng.sample(AMENITIES, rng.randrange(3))) if rng.random() < 0.4 else (),
        per_page=100,
    )
    if rng.random() < 0.4:
        nights = rng.randint(1, 3)
        first = factories.tomorrow()
        return replace(question, check_in=first, check_out=first + timedelta(days=nights))
    return question


def _price(row: Row, question: Question) -> int | None:
    nights = row["nights"][: len(question.days)]
    if not question.days:
        return int(row["price_minor"])
    if row["type"] == "hotel":
        return None if None in nights else sum(nights)
    return min((price for price in nights if price is not None), default=None)


def _counted(rows: Sequence[Row], question: Question) -> tuple[set[int], dict[str, dict[str, int]]]:
    """The ids that fit, and the counts of each facet, by looking at every row."""
    known = [
        {**row, "price": price}
        for row in rows
        if (price := _price(row, question)) is not None
        and all(word in row["name"].lower().split() for word in question.q.split())
        and row["capacity"] >= (question.guests or 1)
    ]
    places = {"oslo": "Oslo", "sao paulo": "São Paulo", "Łódź": "Łódź"}
    fits: dict[str, Callable[[Row], bool]] = {
        "type": lambda row: question.type in (None, row["type"]),
        "city": lambda row: (
            question.location is None
            or places.get(question.location) == row["city"]
            or question.location == row["country"].lower()
        ),
        "provider": lambda row: question.provider_id in (None, row["provider_id"]),
        "amenities": lambda row: set(question.amenities) <= set(row["amenities"]),
        "rating": lambda row: question.min_rating is None or (row["rating"] or 0) >= question.min_rating,
        "price": lambda row: (question.min_minor or 0) <= row["price"] <= (question.max_minor or 10**9),
    }
    of = {
        name: [row for row in known if all(fit(row) for other, fit in fits.items() if other != name)] for name in fits
    }
    scale = max(1, len(question.days)) if question.type == "hotel" else 1
    bounds = [bound * scale for bound in BOUNDS]
    counts = {
        "type": Counter(row["type"] for row in of["type"]),
        "city": Counter(row["city"] for row in of["city"]),
        "provider": Counter(row["provider"] for row in of["provider"]),
        "amenities": Counter(amenity for row in of["amenities"] for amenity in row["amenities"]),
        "rating": Counter(f"{stars:g}" for row in of["rating"] for stars in RATINGS if (row["rating"] or 0) >= stars),
        "price": Counter(str(max(bound for bound in bounds if bound <= row["price"])) for row in of["price"]),
    }
    return {row["id"] for row in known if all(fit(row) for fit in fits.values())}, {
        k: dict(v) for k, v in counts.items()
    }


def _shown(buckets: Sequence[Bucket]) -> dict[str, int]:
    return {str(one.from_minor) if one.from_minor is not None else one.value: one.count for one in buckets}


@pytest.mark.parametrize("seed", [1, 2])
def test_facets_are_what_counting_every_row_finds(lone_engine: Engine, seed: int) -> None:
    rng = random.Random(seed)
    rows = _some_packages(rng)
    seen = 0
    for _ in range(60):
        question = _some_question(rng)
        if rng.random() < 0.2:
            question = replace(question, provider_id=rng.choice(rows)["provider_id"])
        answer = lone_engine.search(question)
        ids, counts = _counted(rows, question)
        assert {hit.id for hit in answer.hits} == ids, question
        assert answer.total == len(ids)
        assert {name: _shown(buckets) for name, buckets in answer.facets.items()} == counts, question
        assert not answer.facets_are_estimates
        seen += bool(ids)
    assert seen > 20


def test_choosing_a_city_keeps_the_counts_of_the_others(lone_engine: Engine) -> None:
    catalogue.named("One", "Two", city="Oslo")
    catalogue.named("Three", city="Bergen")
    answer = lone_engine.search(Question(location="Oslo"))
    assert answer.total == 2
    assert _shown(answer.facets["city"]) == {"Oslo": 2, "Bergen": 1}


def test_with_something_chosen_of_every_facet_each_is_counted_without_its_own(lone_engine: Engine) -> None:
    provider = factories.provider()
    alike = {"provider_id": provider.id, "type": "hotel", "amenities": ["wifi"], "price_minor": 9_000}
    ids = catalogue.add({**alike, "name": "One", "city": "Oslo"}, {**alike, "name": "Two", "city": "Bergen"})
    for package_id in ids:
        catalogue.rate(package_id, {5: 1})
    answer = lone_engine.search(
        Question(
            type="hotel", location="Oslo", provider_id=provider.id, amenities=("wifi",), min_rating=4, max_minor=10_000
        )
    )
    assert [hit.id for hit in answer.hits] == ids[:1]
    assert _shown(answer.facets["city"]) == {"Oslo": 1, "Bergen": 1}
    assert all(list(_shown(answer.facets[name]).values())[:1] == [1] for name in ("type", "provider", "price"))
    assert _shown(answer.facets["amenities"]) == {"wifi": 1}
    assert _shown(answer.facets["rating"]) == {"1": 1, "2": 1, "3": 1, "4": 1, "4.5": 1}


def test_beyond_a_size_facets_are_estimates_that_say_so(lone_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facets, "EXACT_UP_TO", 50)
    catalogue.named(*(f"House {number}" for number in range(200)))
    answer = lone_engine.search(Question("house"))
    (count,) = _shown(answer.facets["city"]).values()
    if lone_engine.name == "meilisearch":  # which always counts all of them
        assert (answer.total, answer.facets_are_estimates, count) == (200, False, 200)
        return
    assert (answer.total, answer.facets_are_estimates) == (200, True)
    assert 100 <= count <= 320
    assert count % 4 == 0
    assert not lone_engine.search(Question("house 77")).facets_are_estimates


def test_a_rating_is_found_by_what_is_shown_of_it(app: Flask) -> None:
    package = factories.package()
    catalogue.rate(package.id, {5: 124, 4: 126})  # 4.496
    (hit,) = PostgresEngine().search(Question(provider_id=package.provider_id, min_rating=4.5)).hits
    assert hit.rating == 4.5 == ratings.average(ratings.shown(package.id))
    assert PostgresEngine().search(Question(provider_id=package.provider_id, min_rating=4.51)).total == 0


def test_pages_have_no_gaps_and_no_repeats(lone_engine: Engine) -> None:
    # Alike in all that they could be ordered by.
    ids = catalogue.named(*(["Twin house"] * 47), latitude=59.9, longitude=10.7)
    for sort in ("relevance", "price_asc", "price_desc", "rating", "distance", "newest"):
        for q in ("", "twin"):
            question = Question(q, sort=sort, near=(59.9, 10.7), per_page=10)  # type: ignore[arg-type]
            pages = [[hit.id for hit in answer.hits] for answer in catalogue.pages(lone_engine, question)]
            assert [len(page) for page in pages] == [10, 10, 10, 10, 7]
            assert sorted(one for page in pages for one in page) == ids
    assert lone_engine.search(Question("twin", page=6, per_page=10)).hits == []


def test_orders(lone_engine: Engine) -> None:
    dear, cheap, middling = catalogue.add(
        {"name": "House", "price_minor": 30_000, "latitude": 59.91, "longitude": 10.75},
        {"name": "House", "price_minor": 10_000, "latitude": 59.93, "longitude": 10.75},
        {"name": "House", "price_minor": 20_000, "latitude": 59.92, "longitude": 10.75},
    )
    catalogue.rate(dear, {3: 1})
    catalogue.rate(cheap, {5: 1})
    near = (59.91, 10.75)
    assert catalogue.found(lone_engine, sort="price_asc") == [cheap, middling, dear]
    assert catalogue.found(lone_engine, sort="price_desc") == [dear, middling, cheap]
    assert catalogue.found(lone_engine, sort="rating") == [cheap, dear, middling]
    assert catalogue.found(lone_engine, sort="distance", near=near) == [dear, middling, cheap]
    (newest,) = catalogue.named("House")
    assert catalogue.found(lone_engine, sort="newest")[0] == newest


def test_distance_is_along_the_earth_and_across_the_antimeridian(lone_engine: Engine) -> None:
    places = {
        "Taveuni": (-16.85, -179.97),
        "Rabi": (-16.5, 180.0),
        "Suva": (-18.14, 178.44),
        "Alert": (82.5, -62.35),
        "Pole": (89.9, 100.0),
        "Oslo": (59.91, 10.75),
    }
    ids = {
        name: catalogue.add({"name": name, "latitude": latitude, "longitude": longitude})[0]
        for name, (latitude, longitude) in places.items()
    }
    catalogue.named("Nowhere")

    def within(latitude: float, longitude: float, radius_km: float) -> list[str]:
        found = catalogue.found(lone_engine, near=(latitude, longitude), radius_km=radius_km, sort="distance")
        return [name for one in found for name in ids if ids[name] == one]

    assert within(-16.8, 179.9, 100) == ["Taveuni", "Rabi"]
    assert within(-16.8, -179.9, 100) == ["Taveuni", "Rabi"]
    assert within(-16.8, 179.9, 230) == ["Taveuni", "Rabi", "Suva"]
    assert within(90, 0, 50) == ["Pole"]
    assert within(89.9, -80, 50) == ["Pole"]
    assert within(59.91, 10.75, 1) == ["Oslo"]
    assert within(59.0, 10.75, 101) == []
    # One degree of latitude is 111.195 km on the mean sphere.
    (hit,) = lone_engine.search(Question(near=(58.91, 10.75), radius_km=112)).hits
    assert hit.distance_km == pytest.approx(111.195, abs=0.01)
    assert catalogue.found(lone_engine, near=(59.91, 10.75)) == [ids["Oslo"]]


def test_among_packages_that_another_engine_found_filters_and_facets_are_the_same(lone_engine: Engine) -> None:
    ids = catalogue.add(*({"name": f"House {n}", "city": "Oslo" if n % 2 else "Bergen"} for n in range(6)))
    ranked = [ids[4], ids[1], ids[5], ids[0]]
    postgres = PostgresEngine()
    answer = postgres.among(Question("words that nothing has"), ranked)
    assert [hit.id for hit in answer.hits] == ranked
    answer = postgres.among(Question(location="oslo", per_page=1), ranked)
    assert ([hit.id for hit in answer.hits], answer.total) == ([ids[1]], 2)
    assert _shown(answer.facets["city"]) == {"Oslo": 2, "Bergen": 2}
    assert postgres.among(Question(), []).total == 0
