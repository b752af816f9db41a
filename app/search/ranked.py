"""The engine in which Meilisearch finds, ranks and counts, and PostgreSQL has the last word: what is shown is on sale
at this moment, and with days it can be had, for this price.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from app.db import read
from app.search import choices, facets, sending, wording
from app.search.engine import DEFAULT_RADIUS_KM, Answer, Explanation, Question, Reason, Suggestion
from app.search.kept import Kept
from app.search.meilisearch import Meilisearch, NotAnswering
from app.search.postgres import PostgresEngine

# So many packages are looked at for the asked days. Where more fit the words, one that is chosen and can be had may be
# none of them: PostgreSQL answers.
CANDIDATES = 10_000
_MOST_PLACES = 3

_ATTRIBUTES = {
    "type": "type",
    "city": "city",
    "provider": "provider_id",
    "amenities": "amenities",
    "rating": "rating_bucket",
    "price": "price_bucket",
}
# By id in the end, so that no page repeats or leaves out what is equal.
_ORDERS: dict[str, list[str]] = {
    "relevance": [],
    "price_asc": ["price_minor:asc", "id:asc"],
    "price_desc": ["price_minor:desc", "id:asc"],
    "rating": ["rating:desc", "reviews:desc", "id:asc"],
    "newest": ["added_at:desc", "id:desc"],
}
# Nobody types these: marked texts are escaped before the marks become HTML.
_BEGIN, _END = "\ue000", "\ue001"
_SHOWN_WORDS = 40
# Counted by the number of a provider, or of a range.
_NUMBERED = ("provider", "rating", "price")
_QUOTES = re.compile(r"[\"“”]")
_PROVIDERS = "SELECT id, name FROM providers WHERE id = ANY(%(ids)s::bigint[]) AND status = 'VERIFIED'"

_behind: Kept[str, sending.Behind] = Kept("meilisearch_behind", seconds=2, most=1)


class MeilisearchEngine:
    """Search by Meilisearch. Every method raises NotAnswering where it is away, too slow, or not up to date."""

    name = "meilisearch"

    def __init__(self, server: Meilisearch, postgres: PostgresEngine) -> None:
        self._server = server
        self._postgres = postgres

    def search(self, question: Question) -> Answer:
        """One page of what fits, and the counts of all. Raises NotAnswering, Busy, Unavailable.

        With days, PostgreSQL answers what has no words to rank by, and what too many packages fit; the answer has its
        name then. Where few fit, what may have been meant is looked for instead, if that finds more: Meilisearch
        forgives slips, but has no synonyms for what it forgave.
        """
        words = _plain(question.q)
        if question.days and not words:
            return self._postgres.search(question)
        self._require_up_to_date()
        answer = self._search(question)
        if not words or answer.engine != self.name:
            return answer
        meant = self._postgres.did_you_mean(words, found=answer.total)
        if meant is not None and answer.total < wording.FEW:
            again = self._search(replace(question, q=meant))
            answer = again if again.total > answer.total else answer
        return replace(answer, did_you_mean=meant)

    def _search(self, question: Question) -> Answer:
        """What these very words find. Without days what fits is counted by the index; a hit that the rows don't bear
        out is left out of the page, which is shorter by it. Total and facets say then that they are estimates, and
        while the index is behind.
        """
        asked = _Asked(question)
        if question.days:
            return self._search_days(question, asked)
        answers = self._ask(asked, asked.queries)
        found = answers["hits"]
        shown = self._rows(question, [hit["id"] for hit in found["hits"]])
        fell_away = len(found["hits"]) - len(shown.hits)
        is_estimate = fell_away > 0 or self._behind().documents > 0
        marked = {hit["id"]: hit for hit in found["hits"]}
        return Answer(
            [
                replace(hit, score=marked[hit.id]["_rankingScore"], highlights=_highlights(marked[hit.id]))
                for hit in shown.hits
            ],
            found["totalHits"] - fell_away,
            facets.read(_facet_rows(asked, answers), question),
            self.name,
            total_is_estimate=is_estimate,
            facets_are_estimates=is_estimate,
        )

    def suggest(self, q: str, limit: int) -> list[Suggestion]:
        """Places and packages with words that begin like this, popular ones first."""
        self._require_up_to_date()
        words = _typed(q)
        if not words:
            return []
        places = sorted(self._server.facet_values("places", words), key=lambda place: -place["count"])[:_MOST_PLACES]
        wanted = {
            "q": words,
            "attributesToSearchOn": ["name"],
            "attributesToRetrieve": ["id"],
            "matchingStrategy": "all",
            "sort": ["popularity:desc", "id:asc"],
            "limit": 2 * limit,
        }
        rows = self._rows(Question(), [hit["id"] for hit in self._server.search([wanted])[0]["hits"]])
        packages: dict[str, Suggestion] = {}
        for hit in rows.hits:
            packages.setdefault(hit.name.casefold(), Suggestion(hit.name, "package", hit.id))
        return [*(Suggestion(place["value"], "place") for place in places), *packages.values()][:limit]

    def explain(self, question: Question, ids: Sequence[int]) -> Explanation:
        """Why these packages rank as they do, by Meilisearch's rules in their order: each decides among those that the
        rules before it take for equal. What it made of the words, it doesn't say.

        https://www.meilisearch.com/docs/learn/relevancy/ranking_score
        """
        if question.days and not _plain(question.q):
            return self._postgres.explain(question, ids)
        self._require_up_to_date()
        if not ids:
            return Explanation((), {}, are_summed=False)
        asked = _Asked(question)
        hits = self._ask(asked, lambda strategy: {"hits": asked.explained(strategy, ids)})["hits"]["hits"]
        return Explanation((), {hit["id"]: _reasons(hit["_rankingScoreDetails"]) for hit in hits}, are_summed=False)

    def _behind(self) -> sending.Behind:
        return _behind.get("", sending.how_far_behind)

    def _require_up_to_date(self) -> None:
        if self._behind().too_far:
            raise NotAnswering("Meilisearch has not heard of all that it should know by now.")

    def _search_days(self, question: Question, asked: _Asked) -> Answer:
        """Meilisearch ranks whatever fits the words; which of those can be had on the days, and all the counts, are
        PostgreSQL's. Where they are too many to be looked at each, all of it is.
        """
        found = self._ask(asked, lambda strategy: {"hits": asked.candidates(strategy)})["hits"]
        if found["estimatedTotalHits"] > CANDIDATES:
            return self._postgres.search(question)
        ids = [hit["id"] for hit in found["hits"]]
        answer = self._postgres.among(question, ids)
        return replace(answer, hits=self._with_highlights(asked, answer.hits), engine=self.name)

    def _with_highlights(self, asked: _Asked, hits: Sequence[Any]) -> list[Any]:
        if not hits:
            return []
        found = self._server.search([asked.highlighted([hit.id for hit in hits])])[0]
        marked = {hit["id"]: hit for hit in found["hits"]}
        return [
            replace(hit, score=marked[hit.id]["_rankingScore"], highlights=_highlights(marked[hit.id]))
            if hit.id in marked
            else hit
            for hit in hits
        ]

    def _ask(self, asked: _Asked, queries: Callable[[str], dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
        """The answers to these queries, by their names: with all the words, or, where no package at all has them all,
        without the most frequent ones.
        """
        named = queries("all")
        if len(asked.words.split()) > 1:
            named["all words"] = asked.all_words()
        answers = dict(zip(named, self._server.search(list(named.values())), strict=True))
        if "all words" in answers and not answers.pop("all words")["estimatedTotalHits"]:
            named = queries("frequency")
            answers = dict(zip(named, self._server.search(list(named.values())), strict=True))
        return answers

    def _rows(self, question: Question, ids: Sequence[int]) -> Answer:
        """What is still on sale of these and still fits, in this order; nothing is counted."""
        page = replace(question, sort="relevance", page=1, per_page=max(1, len(ids)))
        return self._postgres.among(page, ids, counting=False)


class _Asked:
    """A question as Meilisearch takes it."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.words = _plain(question.q)
        self.always = _always(question)
        self.chosen = _chosen(question)

    def queries(self, strategy: str) -> dict[str, dict[str, Any]]:
        """The page with the counts of what nothing was chosen of, and each other facet without its own choice."""
        free = [attribute for name, attribute in _ATTRIBUTES.items() if name not in self.chosen]
        wanted = {
            "hits": {
                **self._query(strategy, [*self.always, *self.chosen.values()]),
                # To an empty list Meilisearch answers without any counts.
                **({"facets": free} if free else {}),
                "sort": self._order(),
                "page": self.question.page,
                "hitsPerPage": self.question.per_page,
                **_MARKS,
            }
        }
        for name in self.chosen:
            others = [condition for other, condition in self.chosen.items() if other != name]
            wanted[name] = {
                **self._query(strategy, [*self.always, *others]),
                "facets": [_ATTRIBUTES[name]],
                "limit": 0,
            }
        return wanted

    def candidates(self, strategy: str) -> dict[str, Any]:
        """The most relevant packages, or those first in the asked order; what was chosen counts later."""
        wanted = {"attributesToRetrieve": ["id"], "sort": self._order(), "limit": CANDIDATES}
        return {**self._query(strategy, self.always), **wanted}

    def highlighted(self, ids: Sequence[int]) -> dict[str, Any]:
        """These packages with the words marked."""
        return {**self._query("frequency", [_among(ids)]), "limit": len(ids), **_MARKS}

    def explained(self, strategy: str, ids: Sequence[int]) -> dict[str, Any]:
        """These packages with how each rule ranked them."""
        return {
            **self._query(strategy, [_among(ids)]),
            "sort": self._order(),
            "attributesToRetrieve": ["id"],
            "limit": len(ids),
            "showRankingScoreDetails": True,
        }

    def all_words(self) -> dict[str, Any]:
        """Whether any package has all the words."""
        return {**self._query("all", []), "limit": 0}

    def _query(self, strategy: str, conditions: Sequence[str]) -> dict[str, Any]:
        return {"q": self.words, "matchingStrategy": strategy, "filter": list(conditions)}

    def _order(self) -> list[str]:
        if self.question.sort == "distance" and self.question.near is not None:
            latitude, longitude = self.question.near
            return [f"_geoPoint({latitude:.7f},{longitude:.7f}):asc", "id:asc"]
        return _ORDERS[self.question.sort]


_MARKS = {
    "attributesToRetrieve": ["id"],
    "attributesToHighlight": ["name", "description"],
    "attributesToCrop": ["description"],
    "cropLength": _SHOWN_WORDS,
    "highlightPreTag": _BEGIN,
    "highlightPostTag": _END,
    "showRankingScore": True,
}


def _reasons(details: Mapping[str, Mapping[str, Any]]) -> list[Reason]:
    """The rules in their order, each with its score and whatever else it says."""
    ranked = sorted(details.items(), key=lambda rule: rule[1]["order"])
    return [
        Reason(
            rule,
            ", ".join(f"{_spaced(name)} {value}" for name, value in told.items() if name not in ("order", "score")),
            told.get("score"),
        )
        for rule, told in ranked
    ]


def _spaced(name: str) -> str:
    return re.sub(r"([A-Z])", r" \1", name).lower()


def _among(ids: Sequence[int]) -> str:
    return f"id IN [{', '.join(map(str, ids))}]"


def _plain(q: str) -> str:
    """The words alone, without those that say nothing: those would have to be there, too."""
    words = _typed(q).split()
    plain = " ".join([word for word in words if word.casefold() not in wording.STOP_WORDS] or words)
    # A blank says that the last word is whole, and no beginning of one.
    return f"{plain} " if plain and q[-1:].isspace() else plain


def _typed(q: str) -> str:
    """The words alone: phrases in quotes, and words that must not be there, mean something to Meilisearch only."""
    words = (word.lstrip("-") for word in _QUOTES.sub(" ", q).split())
    return " ".join(word for word in words if any(letter.isalnum() for letter in word))


def _always(question: Question) -> list[str]:
    """Conditions that are nobody's facet."""
    conditions = []
    if question.guests is not None:
        conditions.append(f"capacity >= {question.guests}")
    if question.near is not None:
        latitude, longitude = question.near
        metres = 1_000 * (question.radius_km or DEFAULT_RADIUS_KM)
        conditions.append(f"_geoRadius({latitude:.7f}, {longitude:.7f}, {metres:.1f})")
    return conditions


def _chosen(question: Question) -> dict[str, str]:
    """What was chosen of each facet."""
    chosen = {}
    if question.type is not None:
        chosen["type"] = f"type = {question.type}"
    places = choices.places(question.location)
    if places:
        chosen["city"] = _all(_any("place_keys", names) for names in places)
    if question.provider_id is not None:
        chosen["provider"] = f"provider_id = {question.provider_id}"
    if question.amenities:
        chosen["amenities"] = _all(_any("amenities", names) for names in choices.amenities(question.amenities))
    if question.min_rating is not None:
        chosen["rating"] = f"rating >= {question.min_rating}"
    prices = []
    if question.min_minor is not None:
        prices.append(f"price_minor >= {question.min_minor}")
    if question.max_minor is not None:
        prices.append(f"price_minor <= {question.max_minor}")
    if prices:
        chosen["price"] = _all(prices)
    return chosen


def _all(conditions: Any) -> str:
    return " AND ".join(conditions)


def _any(attribute: str, values: Sequence[str]) -> str:
    return f"({' OR '.join(f'{attribute} = {_quoted(value)}' for value in values)})"


def _quoted(value: str) -> str:
    """https://www.meilisearch.com/docs/learn/filtering_and_sorting/filter_expression_reference"""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _facet_rows(asked: _Asked, answers: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was counted, as PostgreSQL's engine counts it, those that most have first."""
    rows = []
    for name, attribute in _ATTRIBUTES.items():
        answer = answers[name if name in asked.chosen else "hits"]
        counts = answer["facetDistribution"][attribute]
        if name in _NUMBERED and not all(value.isdecimal() for value in counts):
            raise NotAnswering(f"Meilisearch counts {attribute} that are no numbers.")
        found = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[: facets.MOST_VALUES]
        rows += [{"facet": name, "value": value, "count": count, "name": None} for value, count in found]
    ids = [int(row["value"]) for row in rows if row["facet"] == "provider"]
    names = {str(row.id): row.name for row in read(_PROVIDERS, {"ids": ids})} if ids else {}
    return [
        {**row, "name": names.get(row["value"])} for row in rows if row["facet"] != "provider" or row["value"] in names
    ]


def _highlights(hit: Mapping[str, Any]) -> dict[str, str]:
    """The marked texts as HTML."""
    marked = hit["_formatted"]
    return {
        name: escape(str(marked.get(name) or "")).replace(_BEGIN, "<mark>").replace(_END, "</mark>")
        for name in ("name", "description")
    }
