"""Fills the catalogue for tests of search, many packages at once, and has them indexed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import insert

from app.catalog.models import Availability, Package
from app.db import transaction
from app.extensions import db
from app.reviews.models import RatingCount
from app.search import indexing
from app.search.engine import Answer, Engine, Question
from tests import factories

DEFAULTS: dict[str, Any] = {
    "type": "hotel",
    "status": "PUBLISHED",
    "description": "",
    "place": None,
    "city": "Oslo",
    "country": "Norway",
    "time_zone": "Europe/Oslo",
    "latitude": None,
    "longitude": None,
    "price_minor": 10_000,
    "capacity": 2,
    "units": 1,
    "min_nights": 1,
    "amenities": [],
}


def add(*rows: Mapping[str, Any], provider_id: int | None = None) -> list[int]:
    """Packages with these values, all of one provider unless they say otherwise; their ids, once they are indexed."""
    seller = provider_id or factories.provider().id
    with transaction():
        ids = list(
            db.session.scalars(
                insert(Package).returning(Package.id, sort_by_parameter_order=True),
                [{**DEFAULTS, "provider_id": seller, **row} for row in rows],
            )
        )
    index()
    return ids


def named(*names: str, **values: Any) -> list[int]:
    """Packages with these names."""
    return add(*({"name": name, **values} for name in names))


def offer(package_id: int, first: date, prices: Sequence[int | None], **values: Any) -> None:
    """Days from the first on at these prices; none where there is None."""
    days = [(first + timedelta(days=n), price) for n, price in enumerate(prices) if price is not None]
    with transaction():
        db.session.execute(
            insert(Availability),
            [
                {"package_id": package_id, "day": day, "price_minor": price, "capacity": 1, **values}
                for day, price in days
            ],
        )


def rate(package_id: int, stars: Mapping[int, int]) -> None:
    """So many reviews with each number of stars, counted already."""
    with transaction():
        for rating, reviews in stars.items():
            db.session.add(RatingCount(package_id=package_id, rating=rating, reviews=reviews))
    index()


def index() -> None:
    """Have the documents follow, as a worker does."""
    while indexing.index_changes():
        pass


def pages(engine: Engine, question: Question) -> Iterator[Answer]:
    """Every page of the answer."""
    asked = question
    while True:
        answer = engine.search(asked)
        yield answer
        if asked.offset + asked.per_page >= answer.total:
            return
        asked = _next(asked)


def found(engine: Engine, q: str = "", **values: Any) -> list[int]:
    """The ids on the first page, in order."""
    return [hit.id for hit in engine.search(Question(q=q, **values)).hits]


def _next(question: Question) -> Question:
    values = {**question.__dict__, "page": question.page + 1}
    return Question(**values)
