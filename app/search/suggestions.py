"""What somebody may be about to type: names of places and packages by how their words begin, popular ones first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from app.search import wording
from app.search.document import ON_SALE
from app.search.engine import Suggestion
from app.search.kept import Kept

_MOST_PLACES = 3
# What so many documents may have is looked for among the most popular ones: enough of those have it.
_MANY = 2_000
_POPULAR = 5_000

_FEW_HAVE_IT = f"""
SELECT d.package_id, d.name FROM search_documents d
WHERE {ON_SALE} AND d.words @@ CAST(:query AS tsquery) AND d.title @@ CAST(:named AS tsquery)
ORDER BY d.reviews DESC, d.package_id LIMIT :most
"""  # noqa: S608  # nosec B608 - our own constants
_MANY_HAVE_IT = f"""
SELECT d.package_id, d.name FROM (
    SELECT package_id, provider_id, listed, name, title, reviews FROM search_documents
    WHERE listed ORDER BY reviews DESC, package_id LIMIT :popular
) AS d WHERE {ON_SALE} AND d.title @@ CAST(:named AS tsquery) ORDER BY d.reviews DESC, d.package_id LIMIT :most
"""  # noqa: S608  # nosec B608 - our own constants
_PLACES = f"""
SELECT text, search_fold(text) AS key, sum(packages) AS packages FROM (
    SELECT city, place, country, count(*) AS packages FROM search_documents d WHERE {ON_SALE}
    GROUP BY city, place, country
) AS places CROSS JOIN LATERAL (VALUES (city), (place), (country)) AS one (text)
WHERE text IS NOT NULL GROUP BY text ORDER BY packages DESC, text
"""  # noqa: S608  # nosec B608 - our own constants


@dataclass(frozen=True)
class _Place:
    text: str
    key: str


_places: Kept[str, Sequence[_Place]] = Kept("search_places", seconds=60, most=1)


def suggest(connection: Connection, q: str, limit: int) -> list[Suggestion]:
    """At most `limit` names of which words begin as those of `q`: a few places, then packages."""
    words = wording.fold(connection, q)
    if not words:
        return []
    places = [Suggestion(place.text, "place") for place in _places_like(connection, words)]
    rows = _packages_like(connection, words, limit)
    packages: dict[str, Suggestion] = {}
    for row in rows:
        packages.setdefault(row.name.casefold(), Suggestion(row.name, "package", row.package_id))
    return [*places[:_MOST_PLACES], *packages.values()][:limit]


def _places_like(connection: Connection, words: Sequence[str]) -> list[_Place]:
    known = _places.get("all", lambda: [_Place(row.text, row.key) for row in connection.execute(text(_PLACES))])
    begin = " " + " ".join(words)
    return [place for place in known if begin in f" {place.key}"]


def _packages_like(connection: Connection, words: Sequence[str], limit: int) -> Sequence[Any]:
    forms = [wording.Form((word,), is_prefix=True) for word in words]
    query, named = " & ".join(map(str, forms)), " & ".join(form.of("A") for form in forms)
    # The same name may be borne by several.
    most = 2 * limit
    if min(wording.begun(connection, words)) < _MANY:
        rows = connection.execute(text(_FEW_HAVE_IT), {"query": query, "named": named, "most": most}).all()
    else:
        rows = connection.execute(text(_MANY_HAVE_IT), {"popular": _POPULAR, "named": named, "most": most}).all()
    if rows:
        return rows
    meant = wording.understand(connection, " ".join(words))
    if not meant.terms or meant.documents >= _MANY:
        return ()
    query = meant.query
    return connection.execute(text(_FEW_HAVE_IT), {"query": query, "named": query, "most": most}).all()
