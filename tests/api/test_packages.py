"""/v1/packages over HTTP: what is on sale, and when."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from app.catalog.models import Availability
from app.db import transaction, utcnow
from app.extensions import db
from tests import factories
from tests.api.calling import Caller, problem, wrong_fields

FIRST = factories.tomorrow()


def test_a_package_tells_everything_the_contract_names(nobody: Caller) -> None:
    package = factories.package(
        name="Fjord house",
        place="Bygdøy",
        latitude=59.9,
        longitude=10.7,
        amenities=["wifi"],
        cancellation_policy="strict",
    )
    answer = nobody.get(f"/packages/{package.id}")
    body = answer.json or {}
    assert answer.status_code == 200
    assert {
        name: body[name] for name in ("id", "type", "name", "place", "city", "country", "capacity", "minNights")
    } == {
        "id": package.id,
        "type": "hotel",
        "name": "Fjord house",
        "place": "Bygdøy",
        "city": "Oslo",
        "country": "Norway",
        "capacity": 2,
        "minNights": 1,
    }
    assert body["price"] == {"amount": 10_000, "currency": "USD"}
    assert body["provider"]["id"] == package.provider_id
    assert body["rating"] == {
        "average": None,
        "count": 0,
        "distribution": {"1": 0, "2": 0, "3": 0, "4": 0, "5": 0},
    }
    assert body["cancellationPolicy"] == {
        "name": "strict",
        "tiers": [
            {"daysBefore": 14, "refundPercent": 100},
            {"daysBefore": 7, "refundPercent": 50},
            {"daysBefore": 0, "refundPercent": 0},
        ],
        "words": "100 % until 14 days before, 50 % until 7 days before",
    }


@pytest.mark.parametrize("hidden", [{"status": "DRAFT"}, {"provider": "SUSPENDED"}, {"provider": "PENDING"}])
def test_what_is_not_on_sale_is_neither_listed_nor_found(nobody: Caller, hidden: dict[str, str]) -> None:
    seller = factories.provider(status=hidden.get("provider", "VERIFIED"))
    package = factories.package(provider_id=seller.id, status=hidden.get("status", "PUBLISHED"))
    problem(nobody.get(f"/packages/{package.id}"), 404)
    problem(nobody.get(f"/packages/{package.id}/availability"), 404)
    assert nobody.get(f"/packages?provider={seller.id}").json == {"items": [], "nextCursor": None}


def test_a_list_is_narrowed_by_provider_and_type_and_paged_without_gaps(nobody: Caller) -> None:
    seller = factories.provider()
    made = [factories.package(provider_id=seller.id, days=1).id for _ in range(5)]
    tour = factories.tour(provider_id=seller.id, days=1).id
    seen: list[int] = []
    path = f"/packages?provider={seller.id}&limit=2"
    cursor: str | None = ""
    while cursor is not None:
        page = nobody.get(path + (f"&cursor={cursor}" if cursor else "")).json or {}
        assert 1 <= len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        cursor = page["nextCursor"]
    assert seen == [*made, tour]
    tours = nobody.get(f"/packages?provider={seller.id}&type=tour").json or {}
    assert [item["id"] for item in tours["items"]] == [tour]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("limit=0", ["limit"]),
        ("limit=101", ["limit"]),
        ("limit=ten", ["limit"]),
        ("limit=" + "9" * 5000, ["limit"]),
        ("limit=2&limit=3", ["limit"]),
        ("type=cruise", ["type"]),
        ("provider=0", ["provider"]),
        (f"provider={2**63}", ["provider"]),
        ("provder=1", ["provder"]),
        ("cursor=nonsense", ["cursor"]),
        ("cursor=%00", ["cursor"]),
        ("cursor=aWQ6LTE", ["cursor"]),
        ("cursor=aWQ6wrI", ["cursor"]),
        ("cursor=" + "x" * 201, ["cursor"]),
    ],
)
def test_an_odd_query_is_422_by_field(nobody: Caller, query: str, fields: list[str]) -> None:
    assert wrong_fields(nobody.get(f"/packages?{query}")) == fields


def days(answer: Any) -> list[tuple[str, int, int]]:
    assert answer.status_code == 200, answer.text
    return [(day["date"], day["unitsLeft"], day["price"]["amount"]) for day in answer.json["items"]]


def test_availability_shows_each_days_stock_and_price_with_the_end_excluded(nobody: Caller) -> None:
    package = factories.package(units=2, days=10)
    factories.booking(of=package, nights=1)
    with transaction():
        db.session.get_one(Availability, (package.id, FIRST + timedelta(days=1))).price_minor = 15_050
    answer = nobody.get(f"/packages/{package.id}/availability?from={FIRST}&to={FIRST + timedelta(days=2)}")
    assert days(answer) == [(str(FIRST), 1, 10_000), (str(FIRST + timedelta(days=1)), 2, 15_050)]
    assert (answer.json or {})["items"][0]["minNights"] == 1


def test_a_sold_out_day_is_listed_with_none_left(nobody: Caller) -> None:
    package = factories.package(units=1, days=1)
    factories.booking(of=package, nights=1)
    assert days(nobody.get(f"/packages/{package.id}/availability")) == [(str(FIRST), 0, 10_000)]


def test_without_a_window_the_next_thirty_days_are_shown(nobody: Caller) -> None:
    today = utcnow().date()
    package = factories.package(starting=today - timedelta(days=1), days=40)
    shown = days(nobody.get(f"/packages/{package.id}/availability"))
    assert (shown[0][0], shown[-1][0], len(shown)) == (str(today), str(today + timedelta(days=29)), 30)


def test_a_tour_lists_its_departures_only(nobody: Caller) -> None:
    tour = factories.tour(days=1)
    assert [day for day, *_ in days(nobody.get(f"/packages/{tour.id}/availability"))] == [str(FIRST)]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("from=2027-01-02&to=2027-01-02", ["to"]),
        ("from=2027-01-02&to=2027-01-01", ["to"]),
        ("from=2027-01-01&to=2028-01-03", ["to"]),
        ("from=2027-02-30", ["from"]),
        ("from=yesterday&to=today", ["from", "to"]),
        ("from=%00", ["from"]),
        ("until=2027-01-01", ["until"]),
    ],
)
def test_an_odd_window_is_422_by_field(nobody: Caller, query: str, fields: list[str]) -> None:
    package = factories.package(days=1)
    assert wrong_fields(nobody.get(f"/packages/{package.id}/availability?{query}")) == fields


@pytest.mark.parametrize(
    "query", ["from=2027-01-01&to=2028-01-02", "from=0001-01-01", "from=9999-12-30&to=9999-12-31", "from=9999-12-15"]
)
def test_a_window_at_the_edges_is_empty_but_fine(nobody: Caller, query: str) -> None:
    package = factories.package(days=1, starting=date(2026, 1, 1))
    assert days(nobody.get(f"/packages/{package.id}/availability?{query}")) == []


@pytest.mark.parametrize("package_id", ["0", "-1", "abc", str(2**63), "9" * 400, "9" * 5000, "%00"])
def test_an_odd_id_is_404(nobody: Caller, package_id: str) -> None:
    problem(nobody.get(f"/packages/{package_id}"), 404)
    problem(nobody.get(f"/packages/{package_id}/availability"), 404)
