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
from app.spelling import forgiven, slips

_MOST_PLACES = 3
# Words that fewer have may have been meant otherwise, as one of the places that most packages are in; not short ones.
_FEW = 5
_FREQUENT_PLACES = 500
_SHORTEST_SLIP = 4
# What so many documents may have is looked for among the most popular ones: enough of those have it.
_MANY = 2_000
_POPULAR = 5_000

_FEW_HAVE_IT = f"""
SELECT d.package_id, d.name FROM (
    SELECT package_id, provider_id, listed, name, title, reviews FROM search_documents
    WHERE listed AND words @@ CAST(:query AS tsquery) LIMIT :looked_at
) AS d WHERE {ON_SALE} AND d.title @@ CAST(:named AS tsquery) ORDER BY d.reviews DESC, d.package_id LIMIT :most
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
# Another number as soon as other providers may not sell.
_NOT_SELLING = "SELECT coalesce(sum(hashint8extended(id, 0)), 0) FROM providers WHERE status <> 'VERIFIED'"


@dataclass(frozen=True)
class _Place:
    text: str
    key: str


_places: Kept[int, Sequence[_Place]] = Kept("search_places", seconds=60, most=1)


def suggest(connection: Connection, q: str, limit: int) -> list[Suggestion]:
    """At most `limit` names of which words begin as those of `q`: a few places, then packages."""
    words = wording.fold(connection, q)
    if not words:
        return []
    begun = wording.begun(connection, words)
    places = [Suggestion(place.text, "place") for place in _places_like(connection, words, begun)]
    rows = _packages_like(connection, words, begun, limit)
    packages: dict[str, Suggestion] = {}
    for row in rows:
        packages.setdefault(row.name.casefold(), Suggestion(row.name, "package", row.package_id))
    return [*places[:_MOST_PLACES], *packages.values()][:limit]


def _places_like(connection: Connection, words: Sequence[str], begun: Sequence[int]) -> list[_Place]:
    not_selling = int(connection.scalar(text(_NOT_SELLING)) or 0)
    known = _places.get(not_selling, lambda: [_Place(row.text, row.key) for row in connection.execute(text(_PLACES))])
    begin = " " + " ".join(words)
    found = [place for place in known if begin in f" {place.key}"]
    if found or min(begun) >= _FEW:
        return found
    return [place for place in known[:_FREQUENT_PLACES] if _may_be_meant(words, place.key.split())]


def _may_be_meant(words: Sequence[str], name: Sequence[str]) -> bool:
    """Whether words that follow each other in the name are these, but for slips."""
    return any(
        all(_is_like(word, other) for word, other in zip(words, name[begin:], strict=False))
        for begin in range(len(name) - len(words) + 1)
    )


def _is_like(word: str, other: str) -> bool:
    if len(word) < _SHORTEST_SLIP or abs(len(word) - len(other)) > forgiven(word):
        return other.startswith(word)
    return slips(word, other) <= forgiven(word)


def _packages_like(connection: Connection, words: Sequence[str], begun: Sequence[int], limit: int) -> Sequence[Any]:
    forms = [wording.Form((word,), is_prefix=True) for word in words]
    query, named = " & ".join(map(str, forms)), " & ".join(form.of("A") for form in forms)
    # The same name may be borne by several.
    more = {"popular": _POPULAR, "looked_at": 2 * _MANY, "most": 2 * limit}
    few = min(begun) < _MANY
    rows = _rows(connection, _FEW_HAVE_IT if few else _MANY_HAVE_IT, query, named, more)
    if rows:
        return rows
    meant = wording.understand(connection, " ".join(words))
    if not meant.terms:
        return ()
    if meant.documents >= _MANY:
        rows = _rows(connection, _MANY_HAVE_IT, meant.query, meant.query, more)
        # One word that many have, and none of these in its name, is of descriptions; several may meet in few names.
        if rows or len(meant.terms) == 1:
            return rows
    return _rows(connection, _FEW_HAVE_IT, meant.query, meant.query, more)


def _rows(connection: Connection, statement: str, query: str, named: str, more: dict[str, int]) -> Sequence[Any]:
    return connection.execute(text(statement), {"query": query, "named": named, **more}).all()
