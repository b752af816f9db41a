"""/console/public-search/try: a query as the public asks it, its answer, and why each hit ranks where it does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import request
from flask_admin import expose
from markupsafe import Markup

from app.config import settings
from app.console.base import Column, Page, line
from app.console.packages import package_href
from app.errors import FieldError, Invalid
from app.money import Money
from app.schemas import parse
from app.search import public, trying
from app.search.engine import DEFAULT_RADIUS_KM, Hit, Question, Reason, Sort, Understood
from app.search.public import AnyTypeQuery, HotelsQuery, SearchOut, SearchQuery, ToursQuery
from app.search.trying import Tried

_PATHS: dict[str, type[SearchQuery]] = {"packages": AnyTypeQuery, "hotels": HotelsQuery, "tours": ToursQuery}
_SORTS: dict[Sort, str] = {
    "relevance": "Relevance",
    "price_asc": "Price, lowest first",
    "price_desc": "Price, highest first",
    "rating": "Rating",
    "distance": "Distance",
    "newest": "Newest",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of the public search as a field; of `options` each value with its words."""

    name: str
    label: str
    kind: str = "text"
    hint: str = ""
    options: Sequence[tuple[str, str]] = ()


_PARAMETERS = (
    Parameter("q", "Words", "search"),
    Parameter("type", "Type", "choice", options=(("", "Any"), ("hotel", "Hotels"), ("tour", "Tours"))),
    Parameter("location", "Location", hint="Oslo, Norway"),
    Parameter("checkIn", "Check-in", "date"),
    Parameter("checkOut", "Check-out", "date"),
    Parameter("departure", "Departure", "date"),
    Parameter("guests", "Guests", "whole"),
    Parameter("minPrice", "Price from", "decimal"),
    Parameter("maxPrice", "Price to", "decimal"),
    Parameter("minRating", "Stars from", "decimal", hint="1 to 5"),
    Parameter("amenities", "Amenities", hint="wifi,parking"),
    Parameter("provider", "Provider's id", "whole"),
    Parameter("near", "Near", hint="59.91,10.75"),
    Parameter("radiusKm", "Within km", "decimal", hint=f"{DEFAULT_RADIUS_KM:g}"),
    Parameter("sort", "Sort by", "choice", options=tuple(_SORTS.items())),
    Parameter("page", "Page", "whole", hint="1"),
    Parameter("perPage", "Per page", "whole", hint="20"),
)
_EFFECT_COLUMNS = (
    Column("choice", "Asked for"),
    Column("without", "Found without it", align="right"),
    Column("removed", "It takes away", align="right"),
)
_REASON_COLUMNS = (Column("about", "What counts"), Column("found", "How"), Column("value", "Score", align="right"))


class TryPages(Page):
    """The page that tries a query out, below the page of the public's search."""

    @expose("/try")  # type: ignore[untyped-decorator]
    def try_query(self) -> str | tuple[str, int]:
        """The form; once it is sent, what the public would get and how that came about."""
        asked = {name: value.strip() for name, value in request.args.items() if value.strip()}
        path = asked.pop("in", "packages")
        shown: dict[str, Any] = {
            "path": path,
            "paths": list(_PATHS),
            "parameters": _PARAMETERS,
            "asked": asked,
            "errors": {},
            "refusal": "",
        }
        if not request.args:
            return self._page(shown)
        try:
            query, question = _question(path, asked)
        except Invalid as refusal:
            return self._page({**shown, **_refused(refusal.fields)}), refusal.status
        return self._page({**shown, **_answer(path, asked, query, question)})

    def _page(self, shown: Mapping[str, Any]) -> str:
        return str(self.render("console/public_search/try.html", **shown))


def _question(path: str, asked: Mapping[str, str]) -> tuple[SearchQuery, Question]:
    """What is asked, read as the API reads it. Raises Invalid, naming every parameter that is wrong."""
    if path not in _PATHS:
        raise Invalid.field("in", "Search packages, hotels or tours.")
    query = parse(_PATHS[path], asked)
    return query, public.question_of(query)


def _refused(wrong: Sequence[FieldError]) -> dict[str, Any]:
    names = {parameter.name for parameter in _PARAMETERS}
    elsewhere = [f"{one.field}: {one.message}" for one in wrong if one.field not in names]
    return {
        "errors": {one.field: one.message for one in wrong},
        "refusal": " ".join(["The API answers 422: some parameters need another look.", *elsewhere]),
    }


def _answer(path: str, asked: Mapping[str, str], query: SearchQuery, question: Question) -> dict[str, Any]:
    tried = trying.try_out(question)
    out = SearchOut.of(tried.found, question, took_ms=tried.took_ms)
    answer, explanation = tried.found.answer, tried.explanation
    return {
        "out": out,
        "said": _said(out, question),
        "standing_in": out.degraded,
        "effect_columns": _EFFECT_COLUMNS,
        "effects": _effects(tried),
        "words": [{"typed": word.typed, "said": _read_as(word)} for word in explanation.words],
        "reason_columns": _REASON_COLUMNS,
        "are_summed": explanation.are_summed,
        "hits": [
            _hit(place, hit, question, explanation.reasons.get(hit.id, ()))
            for place, hit in enumerate(answer.hits, question.offset + 1)
        ],
        "json": out.model_dump_json(indent=2, by_alias=True),
        "curl": _curl(path, asked),
    }


def _said(out: SearchOut, question: Question) -> str:
    about = "About " if out.total_is_estimate else ""
    found = f"{about}{out.total:,} {'package' if out.total == 1 else 'packages'}" if out.total else "Nothing"
    return f"{found} found by {out.engine} in {out.took_ms:,} ms, sorted by {_SORTS[question.sort].lower()}."


def _effects(tried: Tried) -> list[dict[str, Any]]:
    total = tried.found.answer.total
    return [
        line(
            choice=effect.choice,
            without=f"{'about ' if effect.is_estimate else ''}{effect.without:,}",
            removed=f"{max(0, effect.without - total):,}",
        )
        for effect in tried.effects
    ]


def _read_as(word: Understood) -> str:
    if word.left_out:
        return f"Left out: {word.left_out}"
    forms = ", ".join(form if why == "as typed" else f"{form} ({why})" for form, why in word.forms)
    return f"{forms}; about {word.documents:,} {'document' if word.documents == 1 else 'documents'}"


def _hit(place: int, hit: Hit, question: Question, reasons: Sequence[Reason]) -> dict[str, Any]:
    # Engines escape what they mark.
    marked = {name: Markup(html) for name, html in hit.highlights.items()}  # noqa: S704  # nosec B704
    price = hit.price_minor if hit.total_minor is None else hit.total_minor
    return {
        "place": place,
        "href": package_href(hit.id),
        "name": marked["name"] or hit.name,
        "description": marked["description"],
        "where": ", ".join(filter(None, (hit.place, hit.city, hit.country))),
        "provider": hit.provider,
        "price": Money(price, hit.currency).json(),
        "price_of": "for the stay" if hit.total_minor is not None else "from" if hit.type == "tour" else "a night",
        "key": _key(hit, question.sort),
        "score": f"{hit.score:.4f}",
        "reasons": [
            line(about=reason.about, found=reason.found, value=None if reason.value is None else f"{reason.value:.4f}")
            for reason in reasons
        ],
    }


def _key(hit: Hit, sort: Sort) -> str:
    """What it is sorted by, where that isn't the score; a price is shown anyway."""
    if sort == "rating":
        return "no reviews" if hit.rating is None else f"{hit.rating:.2f} stars of {hit.reviews:,} reviews"
    if sort == "distance" and hit.distance_km is not None:
        return f"{hit.distance_km:,.3f} km away"
    if sort == "newest":
        return f"number {hit.id}"
    return ""


def _curl(path: str, asked: Mapping[str, str]) -> str:
    """The line that asks the same of the API."""
    address = f"{settings().public_url.rstrip('/')}/v1/search/{path}"
    return f"curl -s {shlex.quote(f'{address}?{urlencode(asked)}' if asked else address)}"
