"""How the stand-in answers questions: filters, sorts, pages and facets as documented; words are found by their
beginnings, without any rank or forgiveness.
"""

from __future__ import annotations

import copy
import re
import unicodedata
from collections import Counter
from typing import Any

from tests.search.meili_filters import distance, parse

# https://www.meilisearch.com/docs/reference/api/search#search-parameters, those of 1.12
PARAMETERS = {
    *("q", "offset", "limit", "page", "hitsPerPage", "attributesToRetrieve", "retrieveVectors", "attributesToCrop"),
    *("cropLength", "cropMarker", "attributesToHighlight", "highlightPreTag", "highlightPostTag"),
    *("showMatchesPosition", "showRankingScore", "showRankingScoreDetails", "filter", "sort", "distinct", "facets"),
    *("matchingStrategy", "attributesToSearchOn", "rankingScoreThreshold", "locales", "vector", "hybrid"),
}
# https://www.meilisearch.com/docs/reference/api/settings, those of 1.12
SETTINGS = {
    *("displayedAttributes", "searchableAttributes", "filterableAttributes", "sortableAttributes", "rankingRules"),
    *("stopWords", "nonSeparatorTokens", "separatorTokens", "dictionary", "synonyms", "distinctAttribute"),
    *("proximityPrecision", "typoTolerance", "faceting", "pagination", "embedders", "searchCutoffMs"),
    *("localizedAttributes", "facetSearch", "prefixSearch"),
}
WITHIN = {
    "typoTolerance": {"enabled", "minWordSizeForTypos", "disableOnWords", "disableOnAttributes"},
    "faceting": {"maxValuesPerFacet", "sortFacetValuesBy"},
    "pagination": {"maxTotalHits"},
}
LISTS = {
    *("displayedAttributes", "searchableAttributes", "filterableAttributes", "sortableAttributes", "rankingRules"),
    "stopWords",
}
RULES = {"words", "typo", "proximity", "attribute", "sort", "exactness"}
MOST_WORDS = 10


def default_settings() -> dict[str, Any]:
    """What an index begins with."""
    return {
        "displayedAttributes": ["*"],
        "searchableAttributes": ["*"],
        "filterableAttributes": [],
        "sortableAttributes": [],
        "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness"],
        "stopWords": [],
        "nonSeparatorTokens": [],
        "separatorTokens": [],
        "dictionary": [],
        "synonyms": {},
        "distinctAttribute": None,
        "proximityPrecision": "byWord",
        "typoTolerance": {
            "enabled": True,
            "minWordSizeForTypos": {"oneTypo": 5, "twoTypos": 9},
            "disableOnWords": [],
            "disableOnAttributes": [],
        },
        "faceting": {"maxValuesPerFacet": 100, "sortFacetValuesBy": {"*": "alpha"}},
        "pagination": {"maxTotalHits": 1000},
        "searchCutoffMs": None,
        "localizedAttributes": None,
        "facetSearch": True,
        "prefixSearch": "indexingTime",
    }


def check_settings(body: Any, known: Any, refused: Any) -> None:
    """Refuse settings that 1.12 doesn't know, or that are of another type."""
    known(body, SETTINGS)
    for name, inner in WITHIN.items():
        if body.get(name) is not None:
            known(body[name], inner)
    for name in LISTS:
        if name in body and not (body[name] is None or isinstance(body[name], list)):
            code = "invalid_settings_" + re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), name)
            raise refused(code, f"Invalid value type at `.{name}`: expected an array")
    for number, rule in enumerate(body.get("rankingRules") or []):
        if rule not in RULES and not re.fullmatch(r"[\w.]+:(asc|desc)", rule):
            raise refused(
                "invalid_settings_ranking_rules",
                f"Invalid value at `.rankingRules[{number}]`: `{rule}` ranking rule is invalid.",
            )


def merged(before: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The settings after a PATCH: null is the default again, objects are merged."""
    after = copy.deepcopy(before)
    for name, value in body.items():
        if value is None:
            after[name] = default_settings().get(name)
        elif name in WITHIN:
            after[name] = after[name] | value
        else:
            after[name] = value
    return after


def check_geo(document: dict[str, Any], uid: str, refused: Any) -> None:
    """Refuse a `_geo` that is none: https://www.meilisearch.com/docs/reference/errors/error_codes"""
    place, number = document.get("_geo"), document.get("id")
    if place is None:
        return
    start = f"Index `{uid}`: "
    if not isinstance(place, dict):
        raise refused(
            "invalid_document_geo_field",
            f'{start}The `_geo` field in the document with the id: `"{number}"` is not an object.',
        )
    if not all(isinstance(place.get(name), int | float) for name in ("lat", "lng")):
        raise refused(
            "invalid_document_geo_field",
            f'{start}Could not find latitude nor longitude in the document with the id: `"{number}"`.',
        )


def search(index: dict[str, Any], uid: str, query: dict[str, Any], refused: Any) -> dict[str, Any]:
    """One search: https://www.meilisearch.com/docs/reference/api/search"""
    for name in query:
        if name not in PARAMETERS:
            raise refused("bad_request", f"Unknown field `{name}`: expected one of the search parameters")
    settings = index["settings"]
    q = query.get("q") or ""
    found = _matching(index, query, refused)
    found = _sorted(found, query.get("sort") or [], settings, uid, refused)
    most = settings["pagination"]["maxTotalHits"]
    answer: dict[str, Any] = {"query": q, "processingTimeMs": 1}
    total = min(len(found), most)
    if "page" in query or "hitsPerPage" in query:
        page, per_page = query.get("page", 1), query.get("hitsPerPage", 20)
        offset = max(0, page - 1) * per_page
        answer |= {"hitsPerPage": per_page, "page": page, "totalPages": -(-total // per_page) if per_page else 0}
        answer |= {"totalHits": total}
        limit = per_page
    else:
        offset, limit = query.get("offset", 0), query.get("limit", 20)
        answer |= {"limit": limit, "offset": offset, "estimatedTotalHits": total}
    answer["hits"] = [_hit(document, query, settings) for document in found[offset : min(offset + limit, most)]]
    # An empty list is answered without any counts, as 1.50 does.
    if query.get("facets"):
        answer |= _facets(found, query["facets"], settings, refused)
    return answer


def facet_search(index: dict[str, Any], body: Any, known: Any, refused: Any) -> dict[str, Any]:
    """https://www.meilisearch.com/docs/reference/api/facet_search"""
    names = {"facetQuery", "facetName", "q", "filter", "matchingStrategy", "attributesToSearchOn", "locales"}
    known(body, names | {"vector", "hybrid", "rankingScoreThreshold"})
    if "facetName" not in body:
        raise refused("missing_facet_search_facet_name", "Missing field `facetName`")
    facet = body["facetName"]
    if facet not in index["settings"]["filterableAttributes"]:
        raise refused("invalid_facet_search_facet_name", f"Attribute `{facet}` is not facet-searchable.")
    begun = fold(body.get("facetQuery") or "")
    counts = _counts(_matching(index, body, refused), facet)
    hits = [
        {"value": value, "count": count}
        for value, count in sorted(counts.items())
        if not begun or any(word.startswith(begun[-1]) for word in fold(value))
    ]
    return {"facetHits": hits, "facetQuery": body.get("facetQuery"), "processingTimeMs": 1}


def fold(text: str) -> list[str]:
    """Its words without case and accents."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return re.findall(r"\w+", plain.lower().replace("ø", "o"))


def _matching(index: dict[str, Any], query: dict[str, Any], refused: Any) -> list[dict[str, Any]]:
    settings = index["settings"]
    test = parse(query.get("filter"), settings["filterableAttributes"])
    among = [document for document in index["documents"].values() if test(document)]
    words = [word for word in fold(query.get("q") or "")[:MOST_WORDS] if word not in settings["stopWords"]]
    searchable = settings["searchableAttributes"]
    on = query.get("attributesToSearchOn") or searchable
    for name in on:
        if name not in searchable and searchable != ["*"]:
            raise refused("invalid_search_attributes_to_search_on", f"Attribute `{name}` is not searchable.")
    strategy = query.get("matchingStrategy", "last")
    if strategy not in ("last", "all", "frequency"):
        raise refused(
            "invalid_search_matching_strategy",
            f"Unknown value `{strategy}` at `.matchingStrategy`: expected one of `last`, `all`, `frequency`",
        )
    while words:
        found = [document for document in among if _has(document, words, on, settings["synonyms"])]
        if found or strategy == "all":
            return found
        words = words[:-1]
    return [] if query.get("q") and fold(query["q"]) and strategy != "all" and not words else among


def _has(document: dict[str, Any], words: list[str], on: list[str], synonyms: dict[str, list[str]]) -> bool:
    names = document if on == ["*"] else on
    there = {word for name in names for value in _values(document.get(name)) for word in fold(str(value))}

    def is_there(word: str) -> bool:
        return any(one.startswith(word) for one in there) or any(
            set(fold(other)) <= there for other in synonyms.get(word, [])
        )

    return all(is_there(word) for word in words)


def _values(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _sorted(
    found: list[dict[str, Any]], sort: list[str], settings: dict[str, Any], uid: str, refused: Any
) -> list[dict[str, Any]]:
    found = list(found)
    for rule in reversed(sort):
        geo = re.fullmatch(r"_geoPoint\((-?[\d.]+), ?(-?[\d.]+)\):(asc|desc)", rule)
        name, _, order = rule.rpartition(":")
        attribute = "_geo" if geo else name
        if order not in ("asc", "desc"):
            raise refused("invalid_search_sort", f"Invalid syntax for the sort parameter: expected `{rule}`.")
        if attribute not in settings["sortableAttributes"]:
            available = ", ".join(f"`{one}`" for one in sorted(settings["sortableAttributes"]))
            raise refused(
                "invalid_search_sort",
                f"Index `{uid}`: Attribute `{attribute}` is not sortable."
                f" Available sortable attributes are: {available}.",
            )
        has = [document for document in found if document.get(attribute) is not None]
        without = [document for document in found if document.get(attribute) is None]
        if geo:
            latitude, longitude = float(geo[1]), float(geo[2])
            has.sort(key=lambda one: distance(one["_geo"], latitude, longitude), reverse=order == "desc")
        else:
            has.sort(key=lambda one: one[name], reverse=order == "desc")
        found = has + without
    return found


def _hit(document: dict[str, Any], query: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    shown = settings["displayedAttributes"]
    wanted = query.get("attributesToRetrieve")
    hit = {
        name: value
        for name, value in document.items()
        if (shown == ["*"] or name in shown) and (wanted is None or name in wanted)
    }
    marked = query.get("attributesToHighlight") or []
    if marked:
        before, after = query.get("highlightPreTag", "<em>"), query.get("highlightPostTag", "</em>")
        words = fold(query.get("q") or "")
        hit["_formatted"] = {
            name: _marked(str(document[name]), words, before, after)
            for name in marked
            if document.get(name) is not None and (shown == ["*"] or name in shown)
        }
    if query.get("showRankingScore"):
        hit["_rankingScore"] = 0.5
    if query.get("showRankingScoreDetails"):
        # https://www.meilisearch.com/docs/reference/api/search#ranking-score-details
        hit["_rankingScoreDetails"] = {
            "words": {"order": 0, "matchingWords": 1, "maxMatchingWords": 1, "score": 1.0},
            "typo": {"order": 1, "typoCount": 0, "maxTypoCount": 1, "score": 1.0},
            "proximity": {"order": 2, "score": 1.0},
        }
    return hit


def _marked(text: str, words: list[str], before: str, after: str) -> str:
    def mark(found: re.Match[str]) -> str:
        begins = any(one.startswith(word) for word in words for one in fold(found[0]))
        return f"{before}{found[0]}{after}" if begins else found[0]

    return re.sub(r"\w+", mark, text)


def _facets(
    found: list[dict[str, Any]], facets: list[str], settings: dict[str, Any], refused: Any
) -> dict[str, dict[str, Any]]:
    filterable = settings["filterableAttributes"]
    for facet in facets:
        if facet not in filterable:
            raise refused(
                "invalid_search_facets",
                f"Invalid facet distribution, attribute `{facet}` is not filterable. The available filterable"
                f" attributes are `{', '.join(sorted(filterable))}`.",
            )
    most = settings["faceting"]["maxValuesPerFacet"]
    distribution, stats = {}, {}
    for facet in facets:
        distribution[facet] = dict(_counts(found, facet).most_common(most))
        numbers = [
            value for document in found for value in _values(document.get(facet)) if isinstance(value, int | float)
        ]
        if numbers:
            stats[facet] = {"min": min(numbers), "max": max(numbers)}
    return {"facetDistribution": distribution, "facetStats": stats}


def _counts(found: list[dict[str, Any]], facet: str) -> Counter[str]:
    def shown(value: Any) -> str:
        return f"{value:g}" if isinstance(value, float) else str(value)

    return Counter(shown(value) for document in found for value in set(_values(document.get(facet))))
