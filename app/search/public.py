"""What the public may ask of search and is answered, typed: the API takes and gives these, and so does who tries a
question out in the console.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from app.bookings.stay import MAX_AHEAD, MAX_NIGHTS
from app.db import utcnow
from app.errors import FieldError, Invalid
from app.money import to_minor
from app.schemas import Day, Id, MoneyOut, PlainText, ProviderOut, Schema, Wish
from app.search.engine import DEFAULT_RADIUS_KM, MAX_DEPTH, Bucket, Facets, Hit, PackageType, Question, Sort
from app.search.service import Found

_CURRENCY = "USD"  # what prices are asked in
_POINT = re.compile(r"\s*([+-]?[0-9]{1,3}(?:\.[0-9]{1,12})?)\s*,\s*([+-]?[0-9]{1,3}(?:\.[0-9]{1,12})?)\s*")
# The first to have a day is at UTC+14, the last to end it at UTC-12.
_EARLY, _LATE = timedelta(hours=14), timedelta(hours=12)

Price = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class SearchQuery(Wish):
    """What somebody looks for, whatever the type."""

    q: PlainText = Field("", max_length=500, description="Words of name, place, provider, amenities or description.")
    location: PlainText | None = Field(
        None, max_length=200, description="A city, a part of one, or a country; several separated by commas."
    )
    near: PlainText | None = Field(
        None, max_length=60, description="Latitude and longitude in degrees.", examples=["59.91,10.75"]
    )
    radius_km: float | None = Field(
        None, gt=0, le=500, allow_inf_nan=False, description=f"Around `near`; {DEFAULT_RADIUS_KM:g} when left out."
    )
    min_price: Price | None = Field(
        None, description="Major units, of the whole stay when days are asked for, else of one night or departure."
    )
    max_price: Price | None = Field(None, description="As `minPrice`.")
    min_rating: float | None = Field(None, ge=1, le=5, allow_inf_nan=False)
    check_in: Day | None = Field(
        None, description="First night. Tours depart on this day or later, and before `checkOut`."
    )
    check_out: Day | None = Field(None, description="Day after the last night; the day after `checkIn` when left out.")
    guests: int | None = Field(None, ge=1, le=10_000, description="How many one unit has to hold.")
    amenities: PlainText | None = Field(
        None,
        max_length=1_000,
        description="All of these, separated by commas, in whatever case.",
        examples=["wifi,parking"],
    )
    provider: Id | None = Field(None, description="A provider's id.")
    sort: Sort = Field("relevance", description="`distance` is from `near`.")
    page: int = Field(1, ge=1, le=MAX_DEPTH, description=f"`page` x `perPage` is at most {MAX_DEPTH}.")
    per_page: int = Field(20, ge=1, le=100)


class HotelsQuery(SearchQuery):
    """What hotel somebody looks for."""

    type: Literal["hotel"] | None = Field(None, description="Nothing else is found here.")


class DeparturesQuery(SearchQuery):
    """What somebody looks for that may depart."""

    departure: Day | None = Field(None, description="Tours that depart on this very day; not with `checkIn`.")


class ToursQuery(DeparturesQuery):
    """What tour somebody looks for."""

    type: Literal["tour"] | None = Field(None, description="Nothing else is found here.")


class AnyTypeQuery(DeparturesQuery):
    """What package somebody looks for."""

    type: PackageType | None = None


class HighlightsOut(Schema):
    """HTML: escaped text, with the words that were found in `<mark>`."""

    name: str
    description: str = Field(description="The piece around the first word that was found.")


class HitOut(Schema):
    """A package that fits."""

    id: int
    type: PackageType
    name: str
    city: str
    country: str
    place: str | None
    provider: ProviderOut
    price: MoneyOut = Field(description="One unit for one night or departure, unless the day has its own price.")
    stay_price: MoneyOut | None = Field(
        description="One unit for all of the asked stay; null when no days were asked for."
    )
    departure: date | None = Field(
        description="The tour's departure that `stayPrice` is for: the cheapest, then the first."
    )
    avg_rating: float | None
    reviews: int
    capacity: int
    amenities: list[str]
    latitude: float | None
    longitude: float | None
    distance_km: float | None = Field(description="From `near`.")
    highlights: HighlightsOut

    @classmethod
    def of(cls, hit: Hit) -> HitOut:
        """From what an engine found."""
        total = hit.total_minor
        return cls.model_construct(
            id=hit.id,
            type=hit.type,
            name=hit.name,
            city=hit.city,
            country=hit.country,
            place=hit.place,
            provider=ProviderOut.model_construct(id=hit.provider_id, name=hit.provider),
            price=MoneyOut.model_construct(amount=hit.price_minor, currency=hit.currency),
            stay_price=None if total is None else MoneyOut.model_construct(amount=total, currency=hit.currency),
            departure=hit.departure,
            avg_rating=None if hit.rating is None else round(hit.rating, 2),
            reviews=hit.reviews,
            capacity=hit.capacity,
            amenities=list(hit.amenities),
            latitude=hit.latitude,
            longitude=hit.longitude,
            distance_km=None if hit.distance_km is None else round(hit.distance_km, 3),
            highlights=HighlightsOut.model_construct(
                name=hit.highlights["name"], description=hit.highlights["description"]
            ),
        )


class ValueOut(Schema):
    """One value that could be chosen, and how many packages there would be with it."""

    value: str
    count: int


class ProviderValueOut(ValueOut):
    """A provider that could be chosen."""

    id: int


class PricesOut(ValueOut):
    """A range of prices that could be chosen, both ends included. Those of hotels only are for all of the asked nights;
    where tours are found as well, the ranges are the same for one night and many.
    """

    min: int = Field(description="Major units, for `minPrice`.")
    max: float | None = Field(description="Major units, for `maxPrice`; null for the last range.", examples=[49.99])


class FacetsOut(Schema):
    """What else could be chosen: each is counted with all that was asked for but its own parameter; the most frequent
    values first, at most 100.
    """

    type: list[ValueOut]
    city: list[ValueOut]
    provider: list[ProviderValueOut]
    amenities: list[ValueOut]
    rating: list[ValueOut] = Field(description="How many have at least so many stars.")
    price: list[PricesOut]

    @classmethod
    def of(cls, facets: Facets) -> FacetsOut:
        """From what an engine counted."""
        return cls.model_construct(
            type=_values(facets["type"]),
            city=_values(facets["city"]),
            provider=[
                ProviderValueOut.model_construct(value=one.value, count=one.count, id=one.id)
                for one in facets["provider"]
                if one.id is not None
            ],
            amenities=_values(facets["amenities"]),
            rating=_values(facets["rating"]),
            price=[
                PricesOut.model_construct(
                    value=one.value,
                    count=one.count,
                    min=(one.from_minor or 0) // 100,
                    max=None if one.to_minor is None else (one.to_minor - 1) / 100,
                )
                for one in facets["price"]
            ],
        )


class SearchOut(Schema):
    """A page of what was found."""

    hits: list[HitOut]
    total: int
    total_is_estimate: bool
    page: int
    per_page: int
    facets: FacetsOut
    facets_are_estimates: bool = Field(
        description="So many were found that one in a few was counted, or what counted them was a moment behind."
    )
    did_you_mean: str | None = Field(
        description="What `q` may have been meant as, when words of it are in no package, or not together."
    )
    engine: str = Field(examples=["postgres"])
    degraded: bool = Field(description="Another engine stands in for the one that should have answered.")
    took_ms: int

    @classmethod
    def of(cls, found: Found, question: Question, *, took_ms: float) -> SearchOut:
        """From what an engine answered."""
        answer = found.answer
        return cls.model_construct(
            hits=[HitOut.of(hit) for hit in answer.hits],
            total=answer.total,
            total_is_estimate=answer.total_is_estimate,
            page=question.page,
            per_page=question.per_page,
            facets=FacetsOut.of(answer.facets),
            facets_are_estimates=answer.facets_are_estimates,
            did_you_mean=answer.did_you_mean,
            engine=answer.engine,
            degraded=found.degraded,
            took_ms=round(took_ms),
        )


def _values(buckets: Sequence[Bucket]) -> list[ValueOut]:
    return [ValueOut.model_construct(value=one.value, count=one.count) for one in buckets]


def question_of(query: SearchQuery) -> Question:
    """The question as engines are asked it. Raises Invalid, naming every parameter that is wrong."""
    type_: PackageType | None = None
    departure = query.departure if isinstance(query, DeparturesQuery) else None
    if isinstance(query, HotelsQuery):
        type_ = "hotel"
    elif isinstance(query, ToursQuery):
        type_ = "tour"
    elif isinstance(query, AnyTypeQuery):
        type_ = query.type
    near = _point(query.near)
    wrong = [*_wrong_days(query, type_, departure), *_wrong_together(query)]
    if query.near is not None and near is None:
        wrong.append(FieldError("near", "Give latitude and longitude in degrees, such as 59.91,10.75."))
    if wrong:
        raise Invalid("Some fields need another look.", wrong)
    return Question(
        q=query.q,
        type=type_,
        location=query.location,
        near=near,
        radius_km=query.radius_km,
        min_minor=_minor(query.min_price),
        max_minor=_minor(query.max_price),
        min_rating=query.min_rating,
        check_in=query.check_in,
        check_out=query.check_out,
        departure=departure,
        guests=query.guests,
        amenities=tuple(dict.fromkeys(filter(None, map(str.strip, (query.amenities or "").split(","))))),
        provider_id=query.provider,
        sort=query.sort,
        page=query.page,
        per_page=query.per_page,
    )


def _wrong_days(query: SearchQuery, type_: PackageType | None, departure: date | None) -> list[FieldError]:
    check_in, check_out = query.check_in, query.check_out
    wrong = [
        *_wrong_day("checkIn", check_in),
        *_wrong_day("departure", departure),
    ]
    if departure is not None and type_ == "hotel":
        wrong.append(FieldError("departure", "A hotel has a check-in and a check-out, no departure."))
    if departure is not None and check_in is not None:
        wrong.append(FieldError("departure", "Ask for a departure, or for checkIn and checkOut."))
    if check_out is not None:
        if check_in is None:
            wrong.append(FieldError("checkOut", "Give checkIn as well."))
        elif check_out <= check_in:
            wrong.append(FieldError("checkOut", "This must be after checkIn."))
        elif (check_out - check_in).days > MAX_NIGHTS:
            wrong.append(FieldError("checkOut", f"At most {MAX_NIGHTS} nights can be booked at once."))
    return wrong


def _wrong_day(name: str, day: date | None) -> list[FieldError]:
    """Days that are past everywhere, or too far ahead everywhere."""
    now = utcnow()
    if day is None:
        return []
    if day < (now - _LATE).date():
        return [FieldError(name, "This day is in the past.")]
    if day > (now + _EARLY).date() + MAX_AHEAD:
        return [FieldError(name, "This day is too far ahead.")]
    return []


def _wrong_together(query: SearchQuery) -> list[FieldError]:
    wrong = []
    if query.min_price is not None and query.max_price is not None and query.min_price > query.max_price:
        wrong.append(FieldError("minPrice", "This is above maxPrice."))
    if query.near is None and query.radius_km is not None:
        wrong.append(FieldError("radiusKm", "Give near as well."))
    if query.near is None and query.sort == "distance":
        wrong.append(FieldError("sort", "Give near as well, to sort by the distance from there."))
    if query.page * query.per_page > MAX_DEPTH:
        wrong.append(FieldError("page", f"Only the first {MAX_DEPTH} can be paged through: narrow the search."))
    return wrong


def _point(near: str | None) -> tuple[float, float] | None:
    match = _POINT.fullmatch(near or "")
    if match is None:
        return None
    latitude, longitude = float(match[1]), float(match[2])
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def _minor(price: float | None) -> int | None:
    return None if price is None else to_minor(Decimal(str(price)), _CURRENCY)
