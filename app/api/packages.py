"""/v1/packages: what is on sale, and on which days."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from app.api.blueprint import api
from app.api.endpoint import endpoint
from app.catalog import queries
from app.catalog.policies import in_words, terms
from app.db import utcnow
from app.errors import Invalid, NotFound
from app.reviews import ratings
from app.schemas import Day, Id, MoneyOut, PageQuery, ProviderOut, Schema, Wish, decode_cursor, page

GROUP = "Packages"
MAX_DAYS = 366


class TierOut(Schema):
    """What a guest gets back who cancels at least so many days before the start."""

    days_before: int
    refund_percent: int


class PolicyOut(Schema):
    """A cancellation policy; the first tier that fits counts."""

    name: str = Field(examples=["moderate"])
    tiers: list[TierOut]
    words: str = Field(
        description="The same for people.", examples=["100 % until 5 days before, 50 % until 1 day before"]
    )

    @classmethod
    @lru_cache
    def of(cls, name: str, tiers: tuple[tuple[int, int], ...]) -> PolicyOut:
        """From its name and tiers; kept, as thousands of packages have the same few."""
        rows = [TierOut.model_construct(days_before=days, refund_percent=percent) for days, percent in tiers]
        return cls.model_construct(name=name, tiers=rows, words=in_words(terms(name, tiers)))


class RatingOut(Schema):
    """The stars of the reviews that are shown."""

    average: float | None = Field(description="Two decimals; null while there is no review.", examples=[4.37])
    count: int = Field(examples=[26])
    distribution: dict[str, int] = Field(
        description="How many reviews give so many stars.", examples=[{"1": 0, "2": 1, "3": 2, "4": 9, "5": 14}]
    )

    @classmethod
    def of(cls, stars: dict[int, int]) -> RatingOut:
        """From how many reviews give each number of stars."""
        return cls.model_construct(
            average=ratings.average(stars),
            count=sum(stars.values()),
            distribution={str(rating): count for rating, count in stars.items()},
        )


class PackageOut(Schema):
    """A hotel package (sold by the night) or a tour package (sold by the departure)."""

    id: int
    type: Literal["hotel", "tour"]
    name: str
    description: str
    provider: ProviderOut
    place: str | None = Field(description="Neighbourhood or part of the city.")
    city: str
    country: str
    latitude: float | None
    longitude: float | None
    time_zone: str = Field(description="IANA name; the package's days are counted in it.", examples=["Europe/Oslo"])
    price: MoneyOut = Field(description="One unit for one night or departure, unless the day has its own price.")
    capacity: int = Field(description="Guests per unit.")
    min_nights: int
    duration_days: int = Field(description="Days a tour takes; 1 for hotels.")
    amenities: list[str]
    cancellation_policy: PolicyOut
    rating: RatingOut

    @classmethod
    def of(cls, row: Any) -> PackageOut:
        """From a row of `catalog.queries`, whose columns the database has checked already."""
        return cls.model_construct(
            id=row.id,
            type=row.type,
            name=row.name,
            description=row.description,
            provider=ProviderOut.model_construct(id=row.provider_id, name=row.provider_name),
            place=row.place,
            city=row.city,
            country=row.country,
            latitude=row.latitude,
            longitude=row.longitude,
            time_zone=row.time_zone,
            price=MoneyOut.model_construct(amount=row.price_minor, currency=row.currency),
            capacity=row.capacity,
            min_nights=row.min_nights,
            duration_days=row.duration_days,
            amenities=row.amenities,
            cancellation_policy=PolicyOut.of(row.policy, tuple(map(tuple, row.tiers))),
            rating=RatingOut.of(ratings.from_column(row.stars)),
        )


class PackagesQuery(PageQuery):
    """Which packages."""

    type: Literal["hotel", "tour"] | None = None
    provider: Id | None = Field(None, description="A provider's id.")


class PackagesOut(Schema):
    """A page of packages, in order of id."""

    items: list[PackageOut]
    next_cursor: str | None


class AvailabilityQuery(Wish):
    """Which days."""

    from_: Day | None = Field(None, alias="from", description="First day; today (UTC) when left out.")
    to: Day | None = Field(None, description="Day after the last; 30 days after `from` when left out.")


class DayOut(Schema):
    """One night or departure."""

    date: date
    units_left: int
    price: MoneyOut = Field(description="One unit.")
    min_nights: int


class AvailabilityOut(Schema):
    """The days a package is offered on; sold-out ones have `unitsLeft` 0."""

    items: list[DayOut]


@endpoint(api, "GET", "/packages", group=GROUP, who="anyone", query=PackagesQuery, answer=PackagesOut, refuses=(422,))
def list_packages(query: PackagesQuery) -> PackagesOut:
    """List packages on sale"""
    after = decode_cursor(query.cursor)
    rows = queries.packages(
        type_=query.type, provider_id=query.provider, after_id=after, limit=query.limit, more=ratings.SHOWN
    )
    return PackagesOut.model_construct(**page(rows, query.limit, PackageOut.of))


@endpoint(api, "GET", "/packages/<int:package_id>", group=GROUP, who="anyone", answer=PackageOut, refuses=(404,))
def get_package(package_id: int) -> PackageOut:
    """Get one package"""
    return PackageOut.of(_on_sale(package_id, more=ratings.SHOWN))


@endpoint(
    api,
    "GET",
    "/packages/<int:package_id>/availability",
    group=GROUP,
    who="anyone",
    query=AvailabilityQuery,
    answer=AvailabilityOut,
    refuses=(404, 422),
)
def get_availability(package_id: int, query: AvailabilityQuery) -> AvailabilityOut:
    """See which days are free and what they cost

    At most 366 days; `to` is excluded. Tours list their departures only.
    """
    start = query.from_ or utcnow().date()
    # Not past the calendar's own end.
    end = query.to or start + min(timedelta(days=30), date.max - start)
    if end <= start:
        raise Invalid.field("to", "This must be after from.")
    if (end - start).days > MAX_DAYS:
        raise Invalid.field("to", f"Ask for at most {MAX_DAYS} days at once.")
    row = _on_sale(package_id)
    days = [
        DayOut.model_construct(
            date=day.day,
            units_left=day.units_left,
            price=MoneyOut.model_construct(amount=day.price_minor, currency=row.currency),
            min_nights=day.min_nights or row.min_nights,
        )
        for day in queries.availability(package_id, start, end)
    ]
    return AvailabilityOut.model_construct(items=days)


def _on_sale(package_id: int, more: str = "") -> Any:
    row = queries.package(package_id, more=more) if package_id < 2**63 else None
    if row is None:
        raise NotFound("There is no package with this id on sale.")
    return row
