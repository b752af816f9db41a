"""Documents as the index of search has them, written straight into their table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from app.db import transaction
from app.extensions import db
from app.search import indexing, sending
from app.search.models import SearchDocument
from tests import factories


def document(**values: Any) -> SearchDocument:
    """A listed document of a new package; what isn't given is the package's."""
    of = values.pop("of", None) or factories.package(days=0)
    made = SearchDocument(
        **{
            "package_id": of.id,
            "listed": True,
            "type": of.type,
            "provider_id": of.provider_id,
            "provider": of.provider.name,
            "name": of.name,
            "description": of.description,
            "place": of.place,
            "city": of.city,
            "country": of.country,
            "price_minor": of.price_minor,
            "currency": of.currency,
            "capacity": of.capacity,
            "amenities": of.amenities,
            "rating": None,
            "reviews": 0,
            "latitude": of.latitude,
            "longitude": of.longitude,
            "added_at": of.created_at,
            "title": "",
            "words": "",
            "place_keys": [of.city.lower(), of.country.lower()],
            **values,
        }
    )
    with transaction():
        db.session.add(made)
    return made


def change(of: SearchDocument, **values: Any) -> None:
    """Write the document anew, as the indexer does: with a newer version."""
    names = ", ".join(f"{name} = :{name}" for name in values)
    with transaction():
        db.session.execute(
            text(
                f"UPDATE search_documents SET {names}, version = nextval('search_document_versions')"
                " WHERE package_id = :package_id"
            ),
            {**values, "package_id": of.package_id},
        )


def sent(of: SearchDocument) -> bool:
    """Whether Meilisearch has confirmed the document as it is now."""
    db.session.rollback()
    found = db.session.get_one(SearchDocument, of.package_id, populate_existing=True)
    return found.sent_version == found.version


def everything_anew() -> int:
    """Compare every document with its rows; how many were written."""
    after = written = 0
    while (some := indexing.reindex_some(after)).packages:
        after, written = some.last_id, written + some.written
    indexing.count_words()
    return written


def rebuild(progress: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Fill a second index and let it take over."""
    version, total, done, after = sending.begin_anew(), sending.listed(), 0, 0
    while True:
        after, count = sending.send_anew(after)
        if not count:
            break
        done += count
        progress(done, total)
    sending.take_over(version)
