"""What the public has searched for in the last weeks, with and without a result, and how long it has waited."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.dialects.postgresql import insert

from app.db import transaction, utcnow
from app.demo.places import CITIES
from app.extensions import db
from app.search.latency import under
from app.search.models import SearchedWords, SearchLatency
from app.search.searches import KEPT_DAYS

# As the index folds them, the most frequent first; nobody has the second ones on sale.
_FOUND = ("", "apartment", "walking tour", "loft", "river view", "old town", "breakfast", "boat", "guesthouse", "kayak")
_NOT_FOUND = ("ski chalet", "treehouse", "hot air balloon", "dog friendly", "igloo", "northern lights", "campsite")
_ANSWERS = {"search": (60.0, 0.7), "suggestions": (4.0, 0.6)}  # milliseconds in the middle, and how far they spread
_SUGGESTIONS_A_SEARCH = 6


def fill(bookings_a_year: int) -> None:
    """Have as many searches of the last days as go with so many bookings; what was counted already stays."""
    now = utcnow()
    rng = random.Random(f"searches {now.date()}")  # noqa: S311  # nosec B311  (believable, not secret)
    a_day = max(60, bookings_a_year // 30)
    with transaction():
        for model, rows in (
            (SearchedWords, list(_words(rng, now, a_day))),
            (SearchLatency, _latencies(rng, now, a_day)),
        ):
            for first in range(0, len(rows), 1_000):
                db.session.execute(insert(model).on_conflict_do_nothing(), rows[first : first + 1_000])


def _words(rng: random.Random, now: datetime, a_day: int) -> Iterator[dict[str, Any]]:
    asked = [(words, True) for words in (*_FOUND, *(city.name.lower() for city in CITIES))]
    for number, words in enumerate(_NOT_FOUND):
        asked.insert(5 + 4 * number, (words, False))
    weights = [1 / (2 + place) for place in range(len(asked))]
    for days_ago in range(KEPT_DAYS):
        at = now - timedelta(days=days_ago)
        counts = Counter(rng.choices(asked, weights, k=a_day))
        for (words, is_found), searches in counts.items():
            took = [_took(rng, "search") for _ in range(min(searches, 20))]
            yield {
                "day": at.date(),
                "words": words,
                "searches": searches,
                "without_result": 0 if is_found else searches,
                "degraded": 0,
                "took_ms": round(sum(took) / len(took) * searches),
                "slowest_ms": round(max(took)),
                "engine": "postgres",
                "last_at": at - timedelta(seconds=rng.randrange(600)),
            }


def _latencies(rng: random.Random, now: datetime, a_day: int) -> list[dict[str, Any]]:
    hour = now.replace(minute=0, second=0, microsecond=0)
    rows = []
    for hours_ago in range(1, 24 * 7):
        for kind, times in (("search", 1), ("suggestions", _SUGGESTIONS_A_SEARCH)):
            # A few of each, however many there are: the shape of the answers is what is looked at.
            answers = max(1, a_day * times // 24)
            looked_at = min(answers, 60)
            counts = Counter(under(_took(rng, kind)) for _ in range(looked_at))
            rows += [
                {
                    "hour": hour - timedelta(hours=hours_ago),
                    "kind": kind,
                    "engine": "postgres",
                    "degraded": False,
                    "under_ms": bound,
                    "answers": count * answers // looked_at,
                }
                for bound, count in counts.items()
            ]
    return rows


def _took(rng: random.Random, kind: str) -> float:
    middle, spread = _ANSWERS[kind]
    return middle * rng.lognormvariate(0, spread)
