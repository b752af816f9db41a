"""A question tried out: answered as the public is, with why each hit ranks, and what each choice takes away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from app.search import service
from app.search.engine import Explanation, Question
from app.search.service import Found

# What may be chosen, and the question's fields that say so.
_CHOICES = {
    "The words": ("q",),
    "Type": ("type",),
    "Location": ("location",),
    "Distance": ("near", "radius_km"),
    "Price": ("min_minor", "max_minor"),
    "Rating": ("min_rating",),
    "Dates": ("check_in", "check_out", "departure"),
    "Guests": ("guests",),
    "Amenities": ("amenities",),
    "Provider": ("provider_id",),
}
_NOTHING = Question()


@dataclass(frozen=True)
class Effect:
    """What one choice does: so many packages would be found without it. `is_estimate` says that they weren't counted to
    the last one.
    """

    choice: str
    without: int
    is_estimate: bool


@dataclass(frozen=True)
class Tried:
    """What was found, in how many milliseconds, why it ranks so, and the effect of each choice."""

    found: Found
    explanation: Explanation
    effects: list[Effect]
    took_ms: float


def try_out(question: Question) -> Tried:
    """Ask as the public does, and how it came about. It isn't counted among the public's searches. Raises Busy,
    Unavailable.
    """
    found, took_ms, explanation = service.search_and_explain(question)
    return Tried(found, explanation, list(_effects(question)), took_ms)


def _effects(question: Question) -> Iterator[Effect]:
    for choice, names in _CHOICES.items():
        taken_away: dict[str, Any] = {name: getattr(_NOTHING, name) for name in names}
        without = replace(question, **taken_away, page=1, per_page=1)
        if without == replace(question, page=1, per_page=1):
            continue
        # There is no distance from nowhere.
        answer = service.search(replace(without, sort="relevance")).answer
        yield Effect(choice, answer.total, answer.total_is_estimate)
