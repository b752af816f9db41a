"""What Meilisearch is told about our index, as code: how a document looks there, and how it is searched.

Every setting exists in Meilisearch 1.12: https://www.meilisearch.com/docs/reference/api/settings
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.search.engine import RATINGS
from app.search.wording import STOP_WORDS

PRIMARY_KEY = "id"
# Nobody reads that far (`engine.MAX_DEPTH`), but what was found is counted up to here.
MOST_COUNTED = 1_000_000
MOST_VALUES = 100
# From these lengths on, one slip in a word is forgiven, and two.
ONE_SLIP, TWO_SLIPS = 4, 8

# The first is the one in which a word counts most.
SEARCHABLE = ("name", "place", "city", "country", "provider", "amenities", "description")
FILTERABLE = (
    *("id", "type", "provider_id", "city", "amenities", "rating_from", "price_minor", "capacity"),
    *("place_keys", "places", "_geo"),
)
SORTABLE = ("price_minor", "rating", "added_at", "_geo")
SHOWN = ("id", "version", "name", "description", "places")
RANKING = (
    # First, so that an order that was asked for is kept strictly; without one this rule does nothing.
    "sort",
    *("words", "typo", "proximity", "attribute", "exactness"),
    # Among equals, the popular ones.
    *("reviews:desc", "rating:desc"),
)


def settings_of(synonyms: Iterable[Sequence[str]]) -> dict[str, Any]:
    """The whole of the index' settings; `synonyms` are groups of words that mean the same."""
    return {
        "searchableAttributes": list(SEARCHABLE),
        "filterableAttributes": sorted(FILTERABLE),
        "sortableAttributes": sorted(SORTABLE),
        "displayedAttributes": list(SHOWN),
        "rankingRules": list(RANKING),
        "stopWords": sorted(STOP_WORDS),
        "synonyms": _mutual(synonyms),
        "typoTolerance": {"enabled": True, "minWordSizeForTypos": {"oneTypo": ONE_SLIP, "twoTypos": TWO_SLIPS}},
        "pagination": {"maxTotalHits": MOST_COUNTED},
        "faceting": {"maxValuesPerFacet": MOST_VALUES, "sortFacetValuesBy": {"*": "count"}},
    }


def _mutual(groups: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    """Meilisearch's synonyms go one way; ours go both."""
    others: dict[str, set[str]] = {}
    for group in groups:
        for word in group:
            others.setdefault(word, set()).update(other for other in group if other != word)
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
        "price_minor": row.price_minor,
        "capacity": row.capacity,
        "amenities": list(row.amenities),
        "rating": row.rating,
        # A facet of these counts the packages that have at least so much.
        "rating_from": [least for least in RATINGS if row.rating is not None and row.rating >= least],
        "reviews": row.reviews,
        "added_at": int(row.added_at.timestamp()),
        **_position(row.latitude, row.longitude),
    }


def _position(latitude: float | None, longitude: float | None) -> Mapping[str, Any]:
    # A document without one must lack the field: https://www.meilisearch.com/docs/learn/filtering_and_sorting/geosearch
    return {} if latitude is None or longitude is None else {"_geo": {"lat": latitude, "lng": longitude}}
