"""What Meilisearch is told about our index, as code: how a document looks there, and how it is searched.

Every setting exists in Meilisearch 1.12: https://www.meilisearch.com/docs/reference/api/settings
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from math import log
from typing import Any

from app.search.engine import RATINGS
from app.search.facets import MOST_VALUES, PRICES
from app.search.wording import telling

PRIMARY_KEY = "id"
# Nobody reads that far (`engine.MAX_DEPTH`), but what was found is counted up to here.
MOST_COUNTED = 1_000_000
# From these lengths on, one slip in a word is forgiven, and two.
ONE_SLIP, TWO_SLIPS = 4, 8

# The first is the one in which a word counts most.
SEARCHABLE = ("name", "place", "city", "country", "provider", "amenities", "description", "folded")
FILTERABLE = (
    *("id", "type", "provider_id", "city", "amenities", "rating", "rating_bucket", "price_minor", "price_bucket"),
    *("capacity", "place_keys", "places", "_geo"),
)
SORTABLE = ("id", "price_minor", "rating", "reviews", "added_at", "popularity", "_geo")
SHOWN = ("id", "version", "name", "description", "places")
RANKING = (
    # First, so that an order that was asked for is kept strictly; without one this rule does nothing.
    "sort",
    *("words", "typo", "proximity", "attribute", "exactness"),
    "popularity:desc",
)
_IN_ORDER = ("searchableAttributes", "rankingRules")


def settings_of(synonyms: Iterable[Sequence[str]]) -> dict[str, Any]:
    """The whole of the index' settings; `synonyms` are groups of words that mean the same."""
    return {
        "searchableAttributes": list(SEARCHABLE),
        "filterableAttributes": sorted(FILTERABLE),
        "sortableAttributes": sorted(SORTABLE),
        "displayedAttributes": list(SHOWN),
        "rankingRules": list(RANKING),
        # They are left out of questions (`ranked`). Left out of documents, they would leave gaps in their phrases,
        # which synonyms of several words are not found across.
        "stopWords": [],
        "synonyms": synonyms_of(synonyms),
        "typoTolerance": {"enabled": True, "minWordSizeForTypos": {"oneTypo": ONE_SLIP, "twoTypos": TWO_SLIPS}},
        "pagination": {"maxTotalHits": MOST_COUNTED},
        "faceting": {"maxValuesPerFacet": MOST_VALUES, "sortFacetValuesBy": {"*": "count"}},
    }


def are_set(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Whether an index has these settings; what it has besides is its own, and synonyms are compared by themselves."""
    return all(_same(name, value, there.get(name)) for name, value in wanted.items() if name != "synonyms")


def _same(name: str, wanted: Any, there: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(_same(inner, value, there.get(inner)) for inner, value in wanted.items())
    if isinstance(wanted, list) and isinstance(there, list) and name not in _IN_ORDER:
        return sorted(wanted) == sorted(there)
    return bool(wanted == there)


def synonyms_of(groups: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    """The groups as the index has them: Meilisearch's synonyms go one way; ours go both. It compares them with
    questions that lack the words that say nothing, and with documents that have them.
    """
    others: dict[str, set[str]] = {}
    for group in groups:
        each = dict.fromkeys([*group, *(" ".join(telling(phrase.split())) for phrase in group)])
        for word in each:
            others.setdefault(word, set()).update(other for other in each if other != word)
    return {word: sorted(same) for word, same in sorted(others.items())}


def document_of(row: Any) -> dict[str, Any]:
    """A row of `search_documents` as it stands in the index; `version` is the row's, by which the two are compared."""
    return {
        "id": row.package_id,
        "version": row.version,
        "type": row.type,
        "provider_id": row.provider_id,
        "provider": row.provider,
        "name": row.name,
        "description": row.description,
        "place": row.place,
        "city": row.city,
        "country": row.country,
        "places": list(dict.fromkeys(filter(None, (row.place, row.city, row.country)))),
        "place_keys": list(row.place_keys),
        # Meilisearch takes accents off, and knows no other letter for ł or đ.
        "folded": row.folded,
        "price_minor": row.price_minor,
        "capacity": row.capacity,
        "amenities": list(row.amenities),
        "rating": row.rating,
        "reviews": row.reviews,
        # The facets of these are counted by range; those without a rating are in none.
        "rating_bucket": None if row.rating is None else bisect_right(RATINGS, row.rating),
        "price_bucket": bisect_right(PRICES, row.price_minor),
        # As PostgreSQL's engine has it.
        "popularity": round((3 if row.rating is None else row.rating) * log(2 + row.reviews), 4),
        "added_at": int(row.added_at.timestamp()),
        **_position(row.latitude, row.longitude),
    }


def _position(latitude: float | None, longitude: float | None) -> Mapping[str, Any]:
    # A document without one must lack the field: https://www.meilisearch.com/docs/learn/filtering_and_sorting/geosearch
    return {} if latitude is None or longitude is None else {"_geo": {"lat": latitude, "lng": longitude}}
