"""Search at 100,000 packages over HTTP: a word that 29 in 100 have, with days, a price and all facets, against adding
up the days themselves; and the slowest of what is asked, and of suggestions as somebody types, against a time.

The stock is of 45 days instead of a year: a stay is looked for in its months only, which are as large.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import date, timedelta
from urllib.parse import quote

import psycopg2

from app.db import connect_args, utcnow
from app.search import indexing
from bench import meilisearch
from bench.cases import Case, Side, asking
from bench.load import Run
from bench.market import Services, http_request, served, services

NAMES = ("search", "search-p99", "undated-p99", "words-p99", "suggestions-p99", meilisearch.NAME)
PACKAGES, PROVIDERS, DAYS = 100_000, 700, 45
NIGHTS = 3
_MOST = 60_000  # minor units, of the stay
_BATCH = 10_000
_LONGER = 5  # times a round, or the slowest of a hundred would hardly be among them

_PROVIDERS = "INSERT INTO providers (name, status) SELECT 'Provider ' || n, 'VERIFIED' FROM generate_series(1, %s) AS n"
_FILL = """
INSERT INTO packages (provider_id, type, status, name, description, place, city, country, time_zone, latitude,
                      longitude, price_minor, capacity, units, min_nights, amenities)
SELECT (SELECT min(id) FROM providers) + n %% %(providers)s,
       CASE WHEN n %% 4 = 3 THEN 'tour' ELSE 'hotel' END, 'PUBLISHED',
       CASE WHEN n * 37 %% 100 < 29 THEN 'Apartment ' ELSE 'Room ' END
       || (ARRAY['quiet', 'bright', 'central', 'modern', 'small', 'large', 'cosy'])[1 + n %% 7] || ' word' || n %% 5000,
       'Close to the old town, with a kitchen. '
       || repeat('About place' || n %% 900 || ' and thing' || n %% 3000 || '. ', 12),
       'Quarter ' || n %% 12, 'City ' || n / 7 %% 40, 'Country ' || n / 7 %% 20, 'Europe/Oslo',
       59 + n %% 1000 / 1000.0, 10 + n %% 997 / 1000.0, 5000 + n * 7919 %% 40000, 1 + n %% 4, 1, 1 + n %% 2,
       ARRAY(SELECT a FROM unnest(ARRAY['wifi', 'pool', 'gym', 'spa', 'lift', 'parking', 'kitchen', 'breakfast'])
                           WITH ORDINALITY AS all_of_them (a, number) WHERE (n * 31 / number) %% 3 < 2)
FROM generate_series(1, %(packages)s) AS n
"""
_STOCK = """
INSERT INTO availability (package_id, day, capacity, booked, price_minor)
SELECT id, day, 1, CASE WHEN (id * 7 + (day - DATE '2020-01-01')) %% 17 = 0 THEN 1 ELSE 0 END, price_minor
FROM packages, generate_series(0, %(days)s - 1) AS n, LATERAL (SELECT %(first)s + n AS day) AS days
WHERE id BETWEEN %(begin)s AND %(end)s
"""
# The same answer from the days themselves, by the words that the index has.
_PLAIN = """
WITH stays AS (
    SELECT p.id, p.type, p.city, p.provider_id, p.amenities, sum(a.price_minor) AS price,
           max(ts_rank(d.words, 'apartment')) AS score
    FROM search_documents d JOIN packages p ON p.id = d.package_id JOIN providers r ON r.id = p.provider_id
    JOIN availability a ON a.package_id = p.id AND a.day BETWEEN %(first)s AND %(last)s
    WHERE d.words @@ 'apartment' AND p.status = 'PUBLISHED' AND r.status = 'VERIFIED' AND p.min_nights <= %(nights)s
    AND NOT a.closed AND a.held + a.booked < a.capacity
    GROUP BY p.id HAVING count(*) = %(nights)s AND sum(a.price_minor) <= %(most)s
)
SELECT 'total', count(*) FROM stays
UNION ALL SELECT type, count(*) FROM stays GROUP BY type
UNION ALL SELECT city, count(*) FROM stays GROUP BY city
UNION ALL SELECT CAST(provider_id AS text), count(*) FROM stays GROUP BY provider_id
UNION ALL SELECT amenity, count(*) FROM stays, unnest(amenities) AS amenity GROUP BY amenity
UNION ALL SELECT CAST(width_bucket(price, 0, 100000, 10) AS text), count(*) FROM stays GROUP BY 1
UNION ALL (SELECT CAST(id AS text), price FROM stays ORDER BY score DESC, id LIMIT 20)
"""


@contextmanager
def cases() -> Iterator[list[Case]]:
    """The table of what is measured, on services of its own."""
    with ExitStack() as stack:
        found = stack.enter_context(services())
        print("Filling the catalogue and its index takes some minutes.", flush=True)
        first = utcnow().date() + timedelta(days=3)
        _fill(found, first)
        with found.app.app_context():
            indexing.catch_up()
        with closing(psycopg2.connect(found.env["DATABASE_OWNER_URL"])) as connection:
            connection.autocommit = True
            connection.cursor().execute("VACUUM ANALYZE")
        ours = stack.enter_context(served("wsgi:app", found.env))
        stays = itertools.cycle([first + timedelta(days=n) for n in range(20)])
        until = timedelta(days=NIGHTS)
        numbers = itertools.cycle(range(300))

        def stay() -> str:
            day = next(stays)
            return f"checkIn={day}&checkOut={day + until}&maxPrice={_MOST // 100}"

        def asked(parameters: Callable[[], str]) -> Side:
            def search(_: int) -> bytes:
                return http_request("GET", f"/v1/search/packages?{parameters()}")

            return asking(ours, lambda _: search, 200, clients=1)

        common = asked(lambda: f"q=apartment&type=hotel&{stay()}")
        undated = asked(lambda: f"q=apartment&maxPrice={100 + next(numbers)}")
        words = asked(lambda: f"q=quiet+apartment+word{next(numbers) * 7}&{stay()}")

        prefixes = [
            word[:n] for word in ("apartment", "quiet", "word4711", "city 3", "room ce") for n in range(1, len(word))
        ]
        # A process keeps an answer for some seconds: each of these is another question.
        typed = (f"{prefix} {blanks * ' '}" for blanks in itertools.count() for prefix in prefixes)

        def suggestion(_: int) -> bytes:
            return http_request("GET", f"/v1/search/suggestions?q={quote(next(typed)[:200])}")

        typing = asking(ours, lambda _: suggestion, 200, clients=1)
        yield [
            Case("search", "adding up the days themselves", 2, _plainly(found, first), common, 7),
            Case("search-p99", "200 ms", 1, _taking(0.2), _by_its_slowest(common), 3),
            Case("undated-p99", "200 ms", 1, _taking(0.2), _by_its_slowest(undated), 3),
            Case("words-p99", "200 ms", 1, _taking(0.2), _by_its_slowest(words), 3),
            Case("suggestions-p99", "30 ms", 1, _taking(0.03), _by_its_slowest(typing), 3),
            *stack.enter_context(meilisearch.cases(found)),
        ]


def _fill(found: Services, first: date) -> None:
    with closing(psycopg2.connect(found.env["DATABASE_OWNER_URL"])) as connection, connection.cursor() as cursor:
        cursor.execute(_PROVIDERS, (PROVIDERS,))
        cursor.execute(_FILL, {"packages": PACKAGES, "providers": PROVIDERS})
        connection.commit()
        for begin in range(1, PACKAGES + 1, _BATCH):
            days = {"days": DAYS, "first": first, "begin": begin, "end": begin + _BATCH - 1}
            cursor.execute(_STOCK, days)
            connection.commit()


def _plainly(found: Services, first: date) -> Side:
    connection = psycopg2.connect(found.env["DATABASE_URL"], **connect_args())
    connection.autocommit = True

    def ask(day: date) -> None:
        stay = {"first": day, "last": day + timedelta(days=NIGHTS - 1), "nights": NIGHTS, "most": _MOST}
        with connection.cursor() as cursor:
            cursor.execute(_PLAIN, stay)
            cursor.fetchall()

    return _timed(lambda number: ask(first + timedelta(days=number % 20)))


def _timed(call: Callable[[int], None]) -> Side:
    """The same call, one after the other, for so many seconds."""

    def run(seconds: float) -> Run:
        begin = time.perf_counter()
        latencies: list[float] = []
        while not latencies or time.perf_counter() - begin < seconds:
            started = time.perf_counter()
            call(len(latencies))
            latencies.append(time.perf_counter() - started)
        return Run(time.perf_counter() - begin, latencies)

    return run


def _taking(seconds: float) -> Side:
    """Something that takes so long, whatever the machine."""
    return lambda _: Run(seconds, [seconds])


def _by_its_slowest(side: Side) -> Side:
    """The same for longer, as if every request took as long as 99 in 100 stay within."""

    def run(seconds: float) -> Run:
        done = side(_LONGER * seconds)
        return Run(len(done.latencies) * done.percentile_ms(99) / 1000, done.latencies)

    return run
