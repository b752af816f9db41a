"""The engine that is PostgreSQL itself: words by full text, prices by the month, facets in the same statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from math import asin, cos, degrees, radians, sin
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.db import raise_from_database
from app.extensions import db
from app.search import choices, explaining, facets, highlights, scoring, stay_price, suggestions, wording
from app.search.document import ON_SALE, live
from app.search.engine import DEFAULT_RADIUS_KM, Answer, Explanation, Hit, Question, Suggestion
from app.search.wording import SynonymsChange, Wording

_EARTH_KM = 6371.0088
_DEGREE_KM = 111.19

# For this transaction: no compiling for 100 ms of work, room to sort what was found, months joined in the order of the
# packages instead of by hashing, which reads memory all over, and the trigrams of `wording`; and no scan of all
# documents, as that reads each one's words from where they are kept apart, which the planner takes for free.
_SETTINGS = """
SELECT set_config('jit', 'off', true), set_config('work_mem', '64MB', true),
       set_config('max_parallel_workers_per_gather', '0', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_seqscan', 'off', true),
       set_config('pg_trgm.similarity_threshold', '0.15', true)
"""

_ORDERS = {
    "relevance": "score DESC, package_id",
    "price_asc": "cost_minor, package_id",
    "price_desc": "cost_minor DESC, package_id",
    "rating": "rating DESC NULLS LAST, reviews DESC, package_id",
    "distance": "distance_km NULLS LAST, package_id",
    "newest": "added_at DESC, package_id DESC",
}
_POPULARITY = "coalesce(d.rating, 3) * ln(2 + d.reviews)"
_DISTANCE = f"""
2 * {_EARTH_KM} * asin(least(1, sqrt(
    sin(radians(d.latitude - :latitude) / 2) ^ 2
    + cos(radians(:latitude)) * cos(radians(d.latitude)) * sin(radians(d.longitude - :longitude) / 2) ^ 2)))
"""
_RANKED = """
(SELECT d.*, ranked.rank FROM unnest(CAST(:ranked AS bigint[])) WITH ORDINALITY AS ranked (package_id, rank)
 JOIN search_documents d ON d.package_id = ranked.package_id) AS d
"""
_UNKNOWN = """
SELECT count(*) FROM unnest(CAST(:words AS text[])) AS asked (word)
WHERE NOT EXISTS (SELECT FROM search_words WHERE search_words.word = asked.word)
"""
_SEARCH = """
WITH found AS MATERIALIZED (  -- what is looked at most comes first, as what is before it would have to be stepped over
    SELECT failed, package_id, cost_minor, live_type AS type, city, provider_id, rating, reviews, added_at, distance_km,
           score, amenities
    FROM (SELECT *, {failed} AS failed FROM (
        SELECT d.*, {price} AS cost_minor FROM (
            SELECT d.*, {type} AS live_type, {score} AS score, {distance} AS distance_km
            FROM {source} WHERE {wanted} OFFSET 0
        ) AS d {joins} WHERE {condition} OFFSET 0  -- a price is added up once
    ) AS d WHERE {limits} OFFSET 0) AS d WHERE CASE WHEN failed & failed - 1 = 0 THEN true END  -- one bit at most
), page AS (
    SELECT package_id, type, cost_minor, distance_km, score, row_number() OVER (ORDER BY {order}) AS position
    FROM (SELECT * FROM found WHERE failed = 0 ORDER BY {order} LIMIT :per_page OFFSET :offset) AS first_of_them
), {counting}
SELECT (SELECT total FROM counted) AS total, (SELECT {sampled} FROM counted) AS is_sampled,
       (SELECT json_agg(one) FROM facet AS one) AS facets,
       (SELECT json_agg(json_build_object(
            'id', d.package_id, 'type', page.type, 'name', d.name, 'city', d.city, 'country', d.country,
            'place', d.place, 'provider_id', d.provider_id, 'provider', d.provider, 'price_minor', d.price_minor,
            'currency', d.currency,
            'total_minor', {total}, 'departure', {departure}, 'rating', d.rating, 'reviews', d.reviews,
            'capacity', d.capacity, 'amenities', (SELECT p.amenities FROM packages p WHERE p.id = d.package_id),
            'latitude', d.latitude, 'longitude', d.longitude, 'distance_km', page.distance_km,
            'score', page.score, 'description', d.description) ORDER BY page.position)
        FROM page JOIN search_documents d USING (package_id) {joins}) AS hits
"""


class PostgresEngine:
    """Search by the tables that `indexing` keeps; it has no index apart that could be behind them."""

    name = "postgres"

    def search(self, question: Question) -> Answer:
        """One page of what fits, and the counts of all. Raises Busy, Unavailable."""
        with _reading() as connection:
            words = wording.understand(connection, question.q)
            if words.is_hopeless:
                return Answer((), 0, facets.none(), self.name)
            return self._answer(connection, question, words)

    def search_with(self, question: Question, change: SynonymsChange | None) -> Answer:
        """What `search` would answer with synonyms changed like this, nothing of which is written; without facets.
        Raises Busy, Unavailable.
        """
        with _reading() as connection:
            words = wording.understand(connection, question.q, change)
            if words.is_hopeless:
                return Answer((), 0, facets.none(), self.name)
            return self._answer(connection, question, words, counting=False)

    def among(self, question: Question, ranked: Sequence[int], *, counting: bool = True) -> Answer:
        """The same among these packages only, the most relevant first: another engine has found them by the question's
        words, which count for nothing here. Without `counting` there are no facets. Raises Busy, Unavailable.
        """
        with _reading() as connection:
            return self._answer(connection, question, Wording(), ranked, counting=counting)

    def _answer(
        self,
        connection: Connection,
        question: Question,
        words: Wording,
        ranked: Sequence[int] | None = None,
        *,
        counting: bool = True,
    ) -> Answer:
        sql, parameters = _statement(question, words, ranked, counting=counting)
        row = connection.execute(text(sql), parameters).one()
        rows = row.hits or []
        marked = highlights.mark(connection, rows, words)
        return Answer(
            [_hit(found, shown) for found, shown in zip(rows, marked, strict=True)],
            row.total,
            facets.read(row.facets or [], question),
            self.name,
            facets_are_estimates=row.is_sampled,
            did_you_mean=words.did_you_mean,
        )

    def did_you_mean(self, q: str, *, found: int) -> str | None:
        """What was meant, where a word is none that any document has, or where no more than so few were found. Raises
        Busy, Unavailable.
        """
        with _reading() as connection:
            words = wording.fold(connection, q)
            if found < wording.FEW or connection.scalar(text(_UNKNOWN), {"words": list(words)}):
                return wording.understand(connection, q).did_you_mean
        return None

    def suggest(self, q: str, limit: int) -> list[Suggestion]:
        """Packages and places that begin like this, popular ones first. Raises Busy, Unavailable."""
        with _reading() as connection:
            return suggestions.suggest(connection, q, limit)

    def explain(self, question: Question, ids: Sequence[int]) -> Explanation:
        """Why these packages rank as they do. Raises Busy, Unavailable."""
        with _reading() as connection:
            return explaining.explain(connection, question, ids, popularity=_POPULARITY)


@contextmanager
def _reading() -> Iterator[Connection]:
    """A connection of its own for some reads: whatever session there is goes on as if nothing had been."""
    try:
        with db.engine.connect() as connection:
            connection.execute(text(_SETTINGS))
            yield connection
    except DBAPIError as error:
        raise_from_database(error)


def _statement(
    question: Question, words: Wording, ranked: Sequence[int] | None, *, counting: bool
) -> tuple[str, dict[str, Any]]:
    places = choices.places(question.location)
    chosen, parameters = facets.conditions(question, places, choices.amenities(question.amenities))
    counts, more = facets.sql(question, chosen) if counting else (facets.NOTHING_COUNTED, {})
    parameters |= {**more, "per_page": question.per_page, "offset": question.offset}
    wanted, limits = [ON_SALE], ["cost_minor IS NOT NULL"]
    score, distance = _POPULARITY, "CAST(NULL AS float8)"
    if words.terms:
        wanted.append("d.words @@ CAST(:query AS tsquery)")
        parameters["query"] = words.query
        if question.sort == "relevance":
            score, patterns = scoring.score(words)
            parameters |= patterns
    if ranked is not None:
        parameters["ranked"] = list(ranked)
        score = "-d.rank"
    if question.guests is not None:
        wanted.append(f"{live('capacity')} >= :guests")
        parameters["guests"] = question.guests
    if question.near is not None:
        within, where = _box(*question.near, question.radius_km or DEFAULT_RADIUS_KM)
        wanted.append(within)
        parameters |= where
        distance = _DISTANCE
        limits.append("distance_km <= :radius_km")
    stay = stay_price.of(question)
    if stay is not None:
        limits.append("cost_minor <= :max_charge")
        parameters |= stay.parameters
    failed = facets.failed(chosen)
    sql = _SEARCH.format(
        source="search_documents d" if ranked is None else _RANKED,
        type=live("type"),
        score=score,
        distance=distance,
        price=stay.price if stay else "d.price_minor",
        joins=stay.joins if stay else "",
        wanted=" AND ".join(wanted),
        condition=stay.condition if stay else "true",
        limits=" AND ".join(limits),
        failed=failed,
        order=_ORDERS[question.sort],
        counting=counts,
        sampled="every_nearly > 1" if chosen else "every > 1",
        total="page.cost_minor" if stay else "NULL",
        departure=stay.departure if stay else "NULL",
    )
    return sql, parameters


def _box(latitude: float, longitude: float, radius_km: float) -> tuple[str, dict[str, Any]]:
    """A condition that an index can be asked, for all within the radius and some beyond, and its parameters."""
    north, south = latitude + radius_km / _DEGREE_KM, latitude - radius_km / _DEGREE_KM
    where = {"latitude": latitude, "longitude": longitude, "radius_km": radius_km, "north": north, "south": south}
    condition = "d.latitude BETWEEN :south AND :north"
    if north >= 90 or south <= -90:
        return condition, where  # round a pole all meridians are near
    wide = degrees(asin(min(1.0, sin(radius_km / _EARTH_KM) / cos(radians(latitude))))) + 0.01
    where |= {"west": longitude - wide, "east": longitude + wide}
    meridians = ["d.longitude BETWEEN :west AND :east"]
    if longitude - wide < -180:
        meridians.append("d.longitude >= :west + 360")
    if longitude + wide > 180:
        meridians.append("d.longitude <= :east - 360")
    return f"{condition} AND ({' OR '.join(meridians)})", where


def _hit(row: dict[str, Any], marked: dict[str, str]) -> Hit:
    departure = row.pop("departure")
    del row["description"]
    return Hit(**row, departure=date.fromisoformat(departure) if departure else None, highlights=marked)
