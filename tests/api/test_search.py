"""/v1/search: parameters, what a hit looks like, and what caches may keep."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from app.bookings.stay import MAX_AHEAD
from app.db import utcnow
from tests import factories
from tests.api.calling import Caller, problem
from tests.search import catalogue


def _day(days: int) -> str:
    return (utcnow().date() + timedelta(days=days)).isoformat()


def _wrong(answer: Any) -> set[str]:
    return {error["field"] for error in problem(answer, 422)["errors"]}


def test_a_hit_says_what_it_is_and_what_the_stay_costs(nobody: Caller) -> None:
    provider = factories.provider(name="Fjord & Sons")
    first = factories.tomorrow()
    (house,) = catalogue.add(
        {
            "name": "Wobblewood cabin",
            "description": "By the water.",
            "place": "Frogner",
            "latitude": 59.92,
            "longitude": 10.7,
            "amenities": ["wifi", "sauna"],
        },
        provider_id=provider.id,
    )
    catalogue.offer(house, first, [12_000, 13_000])
    catalogue.rate(house, {4: 2, 5: 1})
    asked = f"q=wobblewood&near=59.91,10.7&checkIn={first}&checkOut={first + timedelta(days=2)}&amenities=wifi,sauna"
    answer = nobody.get(f"/search/packages?{asked}")
    assert answer.status_code == 200
    body = answer.json
    assert body is not None
    assert body["hits"] == [
        {
            "id": house,
            "type": "hotel",
            "name": "Wobblewood cabin",
            "city": "Oslo",
            "country": "Norway",
            "place": "Frogner",
            "provider": {"id": provider.id, "name": "Fjord & Sons"},
            "price": {"amount": 10_000, "currency": "USD"},
            "stayPrice": {"amount": 25_000, "currency": "USD"},
            "departure": None,
            "avgRating": 4.33,
            "reviews": 3,
            "capacity": 2,
            "amenities": ["wifi", "sauna"],
            "latitude": 59.92,
            "longitude": 10.7,
            "distanceKm": pytest.approx(1.112, abs=0.001),
            "highlights": {"name": "<mark>Wobblewood</mark> cabin", "description": "By the water."},
        }
    ]
    assert body["facets"]["provider"] == [{"value": "Fjord & Sons", "count": 1, "id": provider.id}]
    assert body["facets"]["price"] == [{"value": "200-300", "count": 1, "min": 200, "max": 299.99}]
    del body["hits"], body["facets"], body["tookMs"]
    assert body == {
        "total": 1,
        "totalIsEstimate": False,
        "page": 1,
        "perPage": 20,
        "facetsAreEstimates": False,
        "didYouMean": None,
        "engine": "postgres",
        "degraded": False,
    }


def test_prices_are_asked_in_major_units(nobody: Caller) -> None:
    catalogue.named("Snorkelhaven", price_minor=9_950)
    for asked, found in {"minPrice=99.5": 1, "minPrice=99.51": 0, "maxPrice=99.5": 1, "maxPrice=99.49": 0}.items():
        assert nobody.get(f"/search/packages?q=snorkelhaven&{asked}").json["total"] == found, asked  # type: ignore[index]


def test_hotels_and_tours_are_found_apart(nobody: Caller) -> None:
    hotel, tour = catalogue.add({"name": "Quibblefield"}, {"name": "Quibblefield", "type": "tour"})
    ids = {
        path: [hit["id"] for hit in nobody.get(f"/search/{path}").json["hits"]]  # type: ignore[index]
        for path in ("hotels?q=quibblefield", "tours?q=quibblefield", "packages?q=quibblefield&type=tour")
    }
    assert list(ids.values()) == [[hotel], [tour], [tour]]


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ("minPrice=5&maxPrice=4.99", {"minPrice"}),
        ("minPrice=-1", {"minPrice"}),
        ("maxPrice=nan", {"maxPrice"}),
        ("minRating=5.1", {"minRating"}),
        ("checkOut={3}", {"checkOut"}),
        ("checkIn={3}&checkOut={3}", {"checkOut"}),
        ("checkIn={3}&checkOut={2}", {"checkOut"}),
        ("checkIn={3}&checkOut={94}", {"checkOut"}),
        ("checkIn={-2}", {"checkIn"}),
        ("checkIn=9999-12-31", {"checkIn"}),
        ("departure={-2}", {"departure"}),
        ("departure={3}&checkIn={3}", {"departure"}),
        ("departure={3}&type=hotel", {"departure"}),
        ("checkIn=tomorrow", {"checkIn"}),
        ("near=59.91", {"near"}),
        ("near=91,10", {"near"}),
        ("near=59,181", {"near"}),
        ("near=here", {"near"}),
        ("radiusKm=5", {"radiusKm"}),
        ("near=59,10&radiusKm=501", {"radiusKm"}),
        ("near=59,10&radiusKm=0", {"radiusKm"}),
        ("sort=distance", {"sort"}),
        ("sort=cheapest", {"sort"}),
        ("type=flight", {"type"}),
        ("guests=0", {"guests"}),
        ("provider=x", {"provider"}),
        ("page=0", {"page"}),
        ("page=501", {"page"}),
        ("page=101&perPage=100", {"page"}),
        ("perPage=101", {"perPage"}),
        ("q=" + "a" * 501, {"q"}),
        ("q=%00", {"q"}),
        ("location=%07", {"location"}),
        ("quary=x", {"quary"}),
        ("q=a&q=b", {"q"}),
        ("minPrice=5&maxPrice=4&sort=distance&checkOut={3}", {"minPrice", "sort", "checkOut"}),
    ],
)
def test_a_bad_parameter_is_named(nobody: Caller, asked: str, fields: set[str]) -> None:
    days = {str(number): _day(number) for number in (-2, 2, 3, 94)}
    for number, day in days.items():
        asked = asked.replace(f"{{{number}}}", day)
    assert _wrong(nobody.get(f"/search/packages?{asked}")) == fields


def test_the_edges_of_the_calendar_are_asked_about(nobody: Caller) -> None:
    # Yesterday is still today somewhere, and the last day that can be booked is somewhere a day later.
    for day in (0, MAX_AHEAD.days):
        assert nobody.get(f"/search/packages?q=zzyzx&checkIn={_day(day)}").status_code == 200
    assert nobody.get(f"/search/packages?checkIn={_day(3)}&checkOut={_day(93)}&perPage=1").status_code == 200
    assert _wrong(nobody.get(f"/search/packages?checkIn={_day(MAX_AHEAD.days + 3)}")) == {"checkIn"}
    assert nobody.get("/search/packages?page=500").status_code == 200


def test_hotels_know_no_departure_and_where_the_type_is_fixed_no_other_is_taken(nobody: Caller) -> None:
    assert _wrong(nobody.get(f"/search/hotels?departure={_day(3)}")) == {"departure"}
    for path, type_, other in (("hotels", "hotel", "tour"), ("tours", "tour", "hotel")):
        assert nobody.get(f"/search/{path}?q=zzyzx&type={type_}").status_code == 200
        (error,) = problem(nobody.get(f"/search/{path}?type={other}"), 422)["errors"]
        assert error["field"] == "type"
        assert f"'{type_}'" in error["message"]


def test_every_value_of_a_facet_leads_back_to_its_count(nobody: Caller) -> None:
    first = factories.tomorrow()
    sellers = [factories.provider(name=name) for name in ("Brimblestay, Inc.", "Brimblehost")]
    cities = ("Washington, D.C.", "Łódź", "Bergen, Vestland, North", "Washington")
    extras = (["TV, cable", "WiFi"], ["wifi", "Pool"], ["tv , Cable", "24/7"], ["O'Clock bar", "WIFI"])
    rows = [
        {
            "name": f"Brimblewick {number}",
            "type": "tour" if number % 3 == 0 else "hotel",
            "city": cities[number % 4],
            "amenities": extras[number % 4],
            "provider_id": sellers[number % 2].id,
            "price_minor": price,
        }
        for number, price in enumerate((100, 2_499, 2_500, 4_999, 5_000, 9_999, 10_000, 99_999, 100_000))
    ]
    for number, package_id in enumerate(catalogue.add(*rows)):
        catalogue.rate(package_id, {1 + number % 5: 1})
        catalogue.offer(package_id, first, [rows[number]["price_minor"]] * 3)
    days = f"checkIn={first}&checkOut={first + timedelta(days=3)}"
    for asked in ("packages?", f"packages?{days}", f"hotels?{days}", f"tours?{days}"):
        _leads_back(nobody, f"/search/{asked}&q=brimblewick")


def _leads_back(nobody: Caller, path: str) -> None:
    found: Any = nobody.get(path).json
    assert found["total"] > 2
    assert {one["value"] for one in found["facets"]["amenities"]} >= {"tv, cable", "wifi"}
    named = {"city": "location", "amenities": "amenities", "rating": "minRating"}
    choices = [
        *(({name: one["value"]}, one["count"]) for facet, name in named.items() for one in found["facets"][facet]),
        *(({"provider": one["id"]}, one["count"]) for one in found["facets"]["provider"]),
        *(
            ({"minPrice": one["min"]} | ({} if one["max"] is None else {"maxPrice": one["max"]}), one["count"])
            for one in found["facets"]["price"]
        ),
    ]
    if "packages" in path:
        choices += [({"type": one["value"]}, one["count"]) for one in found["facets"]["type"]]
    for choice, count in choices:
        assert nobody.get(f"{path}&{urlencode(choice)}").json["total"] == count, choice  # type: ignore[index]


def test_amenities_with_commas_are_chosen_among_others_and_in_any_case(nobody: Caller) -> None:
    (house,) = catalogue.named("Snarkleton", amenities=["TV, cable", "WiFi"], city="Washington, D.C.", country="USA")
    for asked in ("amenities=wifi,TV, Cable", "amenities=tv,cable,WIFI", "location=washington, dc., usa"):
        hits = nobody.get(f"/search/packages?q=snarkleton&{asked.replace(' ', '%20')}").json["hits"]  # type: ignore[index]
        expected = [] if "dc." in asked else [house]
        assert [hit["id"] for hit in hits] == expected, asked
    (hit,) = nobody.get("/search/packages?q=snarkleton&location=Washington,%20D.C.,%20USA").json["hits"]  # type: ignore[index]
    assert hit["amenities"] == ["TV, cable", "WiFi"]
    assert nobody.get("/search/packages?q=snarkleton&amenities=cable").json["total"] == 0  # type: ignore[index]


def test_what_is_found_is_never_kept_by_caches_and_suggestions_are_for_seconds(nobody: Caller) -> None:
    found = nobody.get("/search/packages?q=zzyzx")
    assert found.headers["Cache-Control"] == "no-store"
    assert "ETag" not in found.headers
    suggested = nobody.get("/search/suggestions?q=zzyzx")
    assert suggested.headers["Cache-Control"] == "public, max-age=3"
    again = nobody.get("/search/suggestions?q=zzyzx", **{"If-None-Match": suggested.headers["ETag"]})
    assert again.status_code == 304


def test_suggestions(nobody: Caller) -> None:
    (house,) = catalogue.named("Mumblecrag house")
    assert nobody.get("/search/suggestions?q=mumblec").json == {
        "suggestions": [{"text": "Mumblecrag house", "kind": "package", "packageId": house}]
    }
    assert nobody.get("/search/suggestions").json == {"suggestions": []}
    assert _wrong(nobody.get("/search/suggestions?q=" + "a" * 201)) == {"q"}
    assert _wrong(nobody.get("/search/suggestions?q=a&limit=21")) == {"limit"}
