"""Facets as SQL: of each choice how many packages there are for its values, with all choices but itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from app.search.engine import RATINGS, Bucket, Facets, Question

# Up to here every package that was found is counted, beyond it one in so many.
EXACT_UP_TO = 50_000
MOST_VALUES = 100
# Minor units of one night or departure. A histogram of hotels only has bounds as many times as high as the stay has
# nights; one that has tours in it, which are paid once, has these, and longer stays are in the higher ranges.
PRICES = (0, 2_500, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000, 50_000, 100_000)
_NAMES = ("type", "city", "provider", "amenities", "rating", "price")

_VALUES = {
    "type": "type",
    "city": "city",
    "provider": "provider_id",
    "amenities": "amenities",
    "rating": "coalesce(width_bucket(rating, CAST(:ratings AS real[])), 0)",
    "price": "width_bucket(cost_minor, CAST(:prices AS bigint[]))",
}
# Of a sample, ids say nothing about what has them: they are spread by their hash.
_FACETS = """
counted AS (
    SELECT total, CAST(ceil(greatest(1, total / most)) AS bigint) AS every,
           CAST(ceil(greatest(1, nearly / most)) AS bigint) AS every_nearly
    FROM (SELECT count(*) FILTER (WHERE failed = 0) AS total, count(*) AS nearly, CAST(:exact_up_to AS float8) AS most
          FROM found) AS all_of_them
){alike}, facet AS ({parts})
"""
# Of a CASE the planner takes half for true: it counts by hashing, and doesn't sort what it takes for few.
_SOME = """
found WHERE CASE WHEN failed IN {own} THEN (SELECT {every} FROM counted) = 1
                 OR hashint8(package_id) & 2147483647 < 2147483648 / (SELECT {every} FROM counted) END
"""
# What nothing was chosen of is counted all at once. No value is null but where another facet is counted.
_ALIKE = """
, alike AS MATERIALIZED (
    SELECT {names}, count(*) AS count FROM (SELECT {values} FROM {some}) AS one GROUP BY GROUPING SETS ({sets})
)
"""
_OF_ALIKE = "SELECT {name} AS value, count FROM alike WHERE {name} IS NOT NULL"
_OF_CHOSEN = "SELECT {value} AS value, count(*) AS count FROM {some} GROUP BY 1"
# Packages that have the same ones are counted before they are told apart.
_OF_EACH = """
SELECT one AS value, CAST(sum(count) AS bigint) AS count FROM ({counts}) AS same, unnest(value) AS one
WHERE one IS NOT NULL GROUP BY 1
"""
_FACET = """
(SELECT '{name}' AS facet, CAST(value AS text) AS value, count * (SELECT {every} FROM counted) AS count{more}
 FROM ({counts}) AS one ORDER BY count DESC, one.value LIMIT :most_values)
"""
# In their place where nobody wants facets.
NOTHING_COUNTED = """
counted AS (SELECT count(*) FILTER (WHERE failed = 0) AS total, 1 AS every, 1 AS every_nearly FROM found),
facet AS (SELECT 1 AS facet WHERE false)
"""
_PROVIDER = ", (SELECT name FROM providers WHERE id = one.value) AS name"
_NO_NAME = ", CAST(NULL AS text) AS name"


def conditions(
    question: Question, places: Sequence[Sequence[str]], amenities: Sequence[Sequence[str]]
) -> tuple[dict[str, str], dict[str, Any]]:
    """What was chosen of each facet, as conditions and their parameters; `places` and `amenities` as `choices` reads
    them.
    """
    chosen: dict[str, str] = {}
    parameters: dict[str, Any] = {}
    if question.type is not None:
        chosen["type"] = "live_type = :type"
        parameters["type"] = question.type
    if places:
        chosen["city"] = _each_of("place_keys", "chosen_place", places, parameters)
    if question.provider_id is not None:
        chosen["provider"] = "provider_id = :provider_id"
        parameters["provider_id"] = question.provider_id
    if amenities:
        chosen["amenities"] = _each_of("amenities", "chosen_amenity", amenities, parameters)
    if question.min_rating is not None:
        # As narrow as the column, or 4.37 would be less than itself.
        chosen["rating"] = "rating >= CAST(:min_rating AS real)"
        parameters["min_rating"] = question.min_rating
    prices = []
    if question.min_minor is not None:
        prices.append("cost_minor >= :min_minor")
        parameters["min_minor"] = question.min_minor
    if question.max_minor is not None:
        prices.append("cost_minor <= :max_minor")
        parameters["max_minor"] = question.max_minor
    if prices:
        chosen["price"] = f"({' AND '.join(prices)})"
    return chosen, parameters


def failed(chosen: dict[str, str]) -> str:
    """Which of the chosen ones a package fails, a bit for each: with none it is found, with one it counts there."""
    return (
        " + ".join(f"CASE WHEN {condition} THEN 0 ELSE {_bit(name)} END" for name, condition in chosen.items()) or "0"
    )


def _each_of(column: str, name: str, choices: Sequence[Sequence[str]], parameters: dict[str, Any]) -> str:
    """The condition that one name of each choice is in the column, whose parameters are added."""
    parameters |= {f"{name}_{number}": list(names) for number, names in enumerate(choices)}
    return " AND ".join(f"{column} && CAST(:{name}_{number} AS text[])" for number in range(len(choices)))


def _bit(name: str) -> int:
    return int(1 << _NAMES.index(name))


def sql(question: Question, chosen: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """Common table expressions `counted` and `facet` over `found`, and their parameters."""
    parts = []
    for name, value in _VALUES.items():
        every = "every_nearly" if name in chosen else "every"
        counts = _OF_ALIKE.format(name=name)
        if name in chosen:
            counts = _OF_CHOSEN.format(value=value, some=_SOME.format(own=f"(0, {_bit(name)})", every=every))
        if name == "amenities":
            counts = _OF_EACH.format(counts=counts)
        more = _PROVIDER if name == "provider" else _NO_NAME
        parts.append(_FACET.format(name=name, counts=counts, every=every, more=more))
    others = [name for name in _VALUES if name not in chosen]
    alike = _ALIKE.format(
        names=", ".join(others),
        values=", ".join(f"{_VALUES[name]} AS {name}" for name in others),
        some=_SOME.format(own="(0)", every="every"),
        sets=", ".join(f"({name})" for name in others),
    )
    parameters = {
        "exact_up_to": EXACT_UP_TO,
        "most_values": MOST_VALUES,
        "ratings": list(RATINGS),
        "prices": list(_bounds(question)),
    }
    return _FACETS.format(alike=alike if others else "", parts=" UNION ALL ".join(parts)), parameters


def read(rows: Sequence[dict[str, Any]], question: Question) -> Facets:
    """What the statement counted as an answer has it: the values that most have first, ratings and prices in order."""
    by_facet: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _NAMES}
    for row in rows:
        by_facet[row["facet"]][row["value"]] = row
    found: Facets = {
        name: [Bucket(value, row["count"]) for value, row in by_facet[name].items()]
        for name in ("type", "city", "amenities")
    }
    found["provider"] = [
        Bucket(row["name"], row["count"], id=int(value)) for value, row in by_facet["provider"].items()
    ]
    found["rating"] = _ratings({int(number): row["count"] for number, row in by_facet["rating"].items()})
    found["price"] = _prices({int(number): row["count"] for number, row in by_facet["price"].items()}, question)
    return {name: found[name] for name in _NAMES}


def none() -> Facets:
    """The facets of nothing."""
    return {name: [] for name in _NAMES}


def _ratings(counts: dict[int, int]) -> list[Bucket]:
    """Whoever has more stars has fewer too."""
    at_least = list(accumulate(counts.get(number, 0) for number in range(len(RATINGS), 0, -1)))[::-1]
    return [Bucket(f"{stars:g}", count) for stars, count in zip(RATINGS, at_least, strict=True) if count]


def _prices(counts: dict[int, int], question: Question) -> list[Bucket]:
    bounds = [*_bounds(question), None]
    return [
        Bucket(_range(low, high), counts[number], from_minor=low, to_minor=high)
        for number, (low, high) in enumerate(pairwise(bounds), start=1)
        if low is not None and counts.get(number)
    ]


def _bounds(question: Question) -> tuple[int, ...]:
    nights = max(1, len(question.days)) if question.type == "hotel" else 1
    return tuple(price * nights for price in PRICES)


def _range(low: int, high: int | None) -> str:
    return f"{low // 100}-{high // 100}" if high is not None else f"{low // 100}-"
