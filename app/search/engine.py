"""What every engine of search is asked and answers; `postgres.py` is one, and the contract tests hold for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, Protocol

PackageType = Literal["hotel", "tour"]
Sort = Literal["relevance", "price_asc", "price_desc", "rating", "distance", "newest"]

# Nobody reads further, and each page costs as much as all before it.
MAX_DEPTH = 10_000
RATINGS = (1.0, 2.0, 3.0, 4.0, 4.5)
DEFAULT_RADIUS_KM = 10.0


@dataclass(frozen=True)
class Question:
    """What somebody looks for; whatever is None matters to them not at all.

    Prices are minor units: of the whole stay when it has days, else of one night or departure. `near` is latitude and
    longitude in degrees. `check_in` to `check_out` (excluded) are a hotel's nights, and the days on which a tour may
    depart; with `departure` only tours of that day are meant. `amenities` must all be there, in whatever case; one
    whose name has commas may come as the parts between them.
    """

    q: str = ""
    type: PackageType | None = None
    location: str | None = None
    near: tuple[float, float] | None = None
    radius_km: float | None = None
    min_minor: int | None = None
    max_minor: int | None = None
    min_rating: float | None = None
    check_in: date | None = None
    check_out: date | None = None
    departure: date | None = None
    guests: int | None = None
    amenities: tuple[str, ...] = ()
    provider_id: int | None = None
    sort: Sort = "relevance"
    page: int = 1
    per_page: int = 20

    @property
    def days(self) -> tuple[date, ...]:
        """The nights of the stay, or the days of possible departures; none when no days were asked for."""
        if self.departure is not None:
            return (self.departure,)
        if self.check_in is None:
            return ()
        until = self.check_out or self.check_in + timedelta(days=1)
        return tuple(self.check_in + timedelta(days=n) for n in range((until - self.check_in).days))

    @property
    def offset(self) -> int:
        """How many hits come before this page."""
        return (self.page - 1) * self.per_page


@dataclass(frozen=True)
class Hit:
    """A package that was found. `total_minor` is what one unit costs for the asked stay, and None without one;
    `departure` is the tour's that costs this. `score` says how well it fits the words, for comparing within one answer.

    `highlights` are HTML: escaped text with the words that were found in `<mark>`.
    """

    id: int
    type: PackageType
    name: str
    city: str
    country: str
    place: str | None
    provider_id: int
    provider: str
    price_minor: int
    currency: str
    total_minor: int | None
    departure: date | None
    rating: float | None
    reviews: int
    capacity: int
    amenities: Sequence[str]
    latitude: float | None
    longitude: float | None
    distance_km: float | None
    score: float
    highlights: dict[str, str]


@dataclass(frozen=True)
class Bucket:
    """How many packages one value of a facet would leave, with all other choices as they are.

    A provider's has its `id`; a range of prices its bounds in minor units, the upper one excluded, or None for the
    last. An amenity's is in lower case.
    """

    value: str
    count: int
    id: int | None = None
    from_minor: int | None = None
    to_minor: int | None = None


Facets = dict[str, list[Bucket]]


@dataclass(frozen=True)
class Answer:
    """One page of what was found. `total_is_estimate` and `facets_are_estimates` say what was not counted to the last
    one.
    """

    hits: Sequence[Hit]
    total: int
    facets: Facets
    engine: str
    total_is_estimate: bool = False
    facets_are_estimates: bool = False
    did_you_mean: str | None = None


@dataclass(frozen=True)
class Suggestion:
    """What somebody may be about to type; `package_id` when it is a package's name."""

    text: str
    kind: Literal["package", "place"]
    package_id: int | None = None


@dataclass(frozen=True)
class Understood:
    """What a word of the question became: the ways to say it that are looked for, each with why; or why it is
    `left_out`. About so many `documents` have one of them.
    """

    typed: str
    forms: Sequence[tuple[str, str]] = ()
    documents: int = 0
    left_out: str = ""


@dataclass(frozen=True)
class Reason:
    """One number that a hit's rank is made of: what it is about, and what was found, in words. None adds nothing."""

    about: str
    found: str
    value: float | None


@dataclass(frozen=True)
class Explanation:
    """Why hits rank as they do: what the question's words became, as far as the engine says, and for each package its
    reasons, `are_summed` when the score is their sum.
    """

    words: Sequence[Understood]
    reasons: Mapping[int, Sequence[Reason]]
    are_summed: bool


class Engine(Protocol):
    """Something that finds packages. What can be booked, and for how much, is PostgreSQL's word for all of them."""

    name: str

    def search(self, question: Question) -> Answer:
        """One page of the packages that fit, and the counts of all. The answer says who gave it, where that is another,
        and what of its counts are estimates. Raises Unavailable when it can't answer now.
        """

    def suggest(self, q: str, limit: int) -> list[Suggestion]:
        """What begins like this, popular ones first. Raises Unavailable."""

    def explain(self, question: Question, ids: Sequence[int]) -> Explanation:
        """Why these packages, which `search` has found, rank as they do. Raises Unavailable."""
