"""/v1/search: packages that fit what somebody looks for, and can be booked on the days they ask for."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Literal

from flask import Response
from pydantic import Field

from app.api.blueprint import api
from app.api.endpoint import endpoint
from app.schemas import PlainText, Schema, Wish
from app.search import public, searches, service
from app.search.public import AnyTypeQuery, HotelsQuery, SearchOut, SearchQuery, ToursQuery

GROUP = "Search"
# With the two that a process keeps them, what is off sale is gone within five.
SUGGESTIONS_SECONDS = 3


class SuggestionsQuery(Wish):
    """What somebody is typing."""

    q: PlainText = Field("", max_length=200, description="As far as it was typed.")
    limit: int = Field(8, ge=1, le=20)


class SuggestionOut(Schema):
    """Something that begins so."""

    text: str
    kind: Literal["package", "place"]
    package_id: int | None = Field(description="Of a package.")


class SuggestionsOut(Schema):
    """What it may become: a few places, then packages, popular ones first."""

    suggestions: list[SuggestionOut]


def _search(path: str, query: type[SearchQuery]) -> Callable[[Callable[..., SearchOut]], Callable[..., Response]]:
    return endpoint(
        api, "GET", path, group=GROUP, who="anyone", query=query, answer=SearchOut, refuses=(422,), max_age=None
    )


@_search("/search/packages", AnyTypeQuery)
def search_packages(query: AnyTypeQuery) -> SearchOut:
    """Find packages

    With days, only what can be booked then is found, for the price that booking it now would cost. Words are found in
    spite of slips, without accents, and by what means the same.
    """
    return _found(query)


@_search("/search/hotels", HotelsQuery)
def search_hotels(query: HotelsQuery) -> SearchOut:
    """Find hotels

    As packages are found.
    """
    return _found(query)


@_search("/search/tours", ToursQuery)
def search_tours(query: ToursQuery) -> SearchOut:
    """Find tours

    As packages are found.
    """
    return _found(query)


@endpoint(
    api,
    "GET",
    "/search/suggestions",
    group=GROUP,
    who="anyone",
    query=SuggestionsQuery,
    answer=SuggestionsOut,
    refuses=(422,),
    max_age=SUGGESTIONS_SECONDS,
)
def suggest(query: SuggestionsQuery) -> SuggestionsOut:
    """Complete what is being typed"""
    begin = perf_counter()
    found = service.suggested(query.q, query.limit)
    rows = [
        SuggestionOut.model_construct(text=one.text, kind=one.kind, package_id=one.package_id)
        for one in found.suggestions
    ]
    searches.note_suggestions(found.engine, took_ms=1000 * (perf_counter() - begin), degraded=found.degraded)
    return SuggestionsOut.model_construct(suggestions=rows)


def _found(query: SearchQuery) -> SearchOut:
    begin = perf_counter()
    question = public.question_of(query)
    found = service.search(question)
    out = SearchOut.of(found, question, took_ms=1000 * (perf_counter() - begin))
    searches.note_search(
        query.q,
        out.engine,
        is_first_page=query.page == 1,
        took_ms=1000 * (perf_counter() - begin),
        found=out.total > 0,
        degraded=out.degraded,
    )
    return out
