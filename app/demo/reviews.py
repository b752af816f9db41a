"""What travellers said about stays that are over, and what moderation made of it."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from app.demo.copying import Loading, TableCopy, draw_ids
from app.demo.vocabulary import (
    REVIEW_DETAILS,
    REVIEW_ENDS,
    REVIEW_OPENINGS,
    REVIEW_REFUSALS,
    REVIEW_TITLES,
)
from app.reviews.models import RatingCount, Review

_BLOCK = 20_000
_LEAST_DAYS, _MEAN_DAYS = 0.2, 6
# Moderators are a day or two behind.
_MODERATED_AFTER_DAYS = (0.05, 2.5)
_REJECTED, _WITHDRAWN = 0.025, 0.01
# However small the scale, every state is there: the newest wait, the first two were not to stay.
_WAITING = 12
_STARS = (1, 2, 3, 4, 5)
# A package is good or bad, and its reviews say so: one of these for each.
_REPUTATIONS = (
    (2, 3, 8, 32, 55),
    (2, 4, 12, 40, 42),
    (3, 6, 18, 42, 31),
    (8, 14, 28, 32, 18),
    (22, 24, 26, 18, 10),
)
_HOW_MANY_OF_EACH = (30, 35, 22, 9, 4)


class Stayed:
    """The bookings whose stays are over, as a million of them fit in memory."""

    def __init__(self) -> None:
        self._bookings, self._packages, self._travellers = array("q"), array("q"), array("q")
        self._over_at = array("d")

    def note(self, booking: dict[str, Any]) -> None:
        """One stay that was completed."""
        self._bookings.append(booking["id"])
        self._packages.append(booking["package_id"])
        self._travellers.append(booking["traveller_id"])
        self._over_at.append(booking["completed_at"].timestamp())

    def by_others_than(self, traveller_id: int) -> list[int]:
        """The places of the stays of everybody else."""
        return [place for place, traveller in enumerate(self._travellers) if traveller != traveller_id]

    def __getitem__(self, place: int) -> tuple[int, int, int, float]:
        return self._bookings[place], self._packages[place], self._travellers[place], self._over_at[place]


def write_reviews(
    rng: random.Random,
    loading: Loading,
    stays: Stayed,
    count: int,
    *,
    but_not_by: int,
    moderator: int | None,
    now: datetime,
    tell: Callable[[str], None],
) -> int:
    """Have `count` of the stays reviewed, or all there are, in order of time, and decided on by the `moderator`;
    returns how many. Who is `but_not_by` still has all of theirs to review.
    """
    table = TableCopy(Review, loading)
    made = 0
    for made, row in enumerate(_rows(rng, stays, count, but_not_by, moderator, now), start=1):
        table.add(row)
        if made % _BLOCK == 0:
            table.send()
        if made % (10 * _BLOCK) == 0:
            tell(f"  {made:,} reviews")
    table.send()
    return made


def count_ratings(connection: Connection) -> None:
    """Count the stars of the approved reviews, of which none are counted yet."""
    stars = (Review.package_id, Review.rating)
    counted = select(*stars, func.count()).where(Review.status == "APPROVED").group_by(*stars)
    connection.execute(insert(RatingCount).from_select(["package_id", "rating", "reviews"], counted))


def _rows(
    rng: random.Random, stays: Stayed, count: int, but_not_by: int, moderator: int | None, now: datetime
) -> Iterator[dict[str, Any]]:
    ids = draw_ids(Review)
    places = stays.by_others_than(but_not_by)
    reviewed = rng.sample(places, min(count, len(places)))
    written = sorted((_written_at(rng, stays[place][3], now.timestamp()), place) for place in reviewed)
    reputations: dict[int, tuple[int, ...]] = {}
    for number, (at, place) in enumerate(written):
        booking_id, package_id, traveller_id, _ = stays[place]
        if package_id not in reputations:
            reputations[package_id] = rng.choices(_REPUTATIONS, _HOW_MANY_OF_EACH)[0]
        rating = rng.choices(_STARS, reputations[package_id])[0]
        yield {
            "id": next(ids),
            "booking_id": booking_id,
            "package_id": package_id,
            "traveller_id": traveller_id,
            "rating": rating,
            "title": rng.choice(REVIEW_TITLES[rating]),
            "content": _content(rng, rating),
            "created_at": datetime.fromtimestamp(at, UTC),
            **(_UNDECIDED if number >= len(written) - _WAITING else _moderated(rng, number, at, moderator, now)),
        }


def _written_at(rng: random.Random, over_at: float, now: float) -> float:
    """Some days after the stay, but not in the future."""
    at = over_at + 86_400 * (_LEAST_DAYS + rng.expovariate(1 / _MEAN_DAYS))
    return at if at < now else over_at + (now - over_at) * rng.random()


def _content(rng: random.Random, rating: int) -> str:
    """A sentence or a few; most people write little."""
    details = rng.sample(REVIEW_DETAILS[rating], rng.choice((0, 1, 1, 2, 3)))
    return " ".join((rng.choice(REVIEW_OPENINGS[rating]), *details, rng.choice(REVIEW_ENDS[rating])))


_UNDECIDED: dict[str, Any] = {
    "status": "PENDING",
    "moderated_at": None,
    "withdrawn_at": None,
    "moderated_by": None,
    "moderation_reason": None,
    "moderation_notes": None,
    "undo_until": None,
}


def _moderated(rng: random.Random, number: int, at: float, moderator: int | None, now: datetime) -> dict[str, Any]:
    decided_at = datetime.fromtimestamp(at + 86_400 * rng.uniform(*_MODERATED_AFTER_DAYS), UTC)
    if decided_at >= now:
        return _UNDECIDED
    what = rng.random()
    if number == 0 or what < _WITHDRAWN:
        return _UNDECIDED | {"status": "WITHDRAWN", "withdrawn_at": decided_at}
    decided = _UNDECIDED | {"moderated_at": decided_at, "moderated_by": moderator}
    if number == 1 or what < _WITHDRAWN + _REJECTED:
        return decided | {"status": "REJECTED", "moderation_reason": rng.choice(REVIEW_REFUSALS)}
    return decided | {"status": "APPROVED"}
