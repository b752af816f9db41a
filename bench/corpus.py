"""What the workbench is measured on: a million reviews on Tripdesk's own schema, joined to travellers and packages.

The texts have words as life has them: a few are in every third text, most in a handful. The newest fifth waits for a
decision, which is a queue at its worst.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import psycopg2

from app.accounts.models import User
from app.bookings.models import Booking
from app.db import owner_engine
from app.demo.set_aside import SetAside
from app.names import NameWord
from app.reviews.models import Review, ReviewText
from bench.market import Services
from dev.postgres import SUPERUSER

REVIEWS, WAITING = 1_000_000, 200_000
TRAVELLERS, PACKAGES = 100_000, 5_000
# So many different words, the second half as common as the first, the third a third as common (Zipf's law). Twice as
# many are in names, each in one.
VOCABULARY = 100_000
SENTENCES, TITLES = 100_000, 30_000
_BLOCK = 50_000
_NEWEST = datetime(2026, 11, 22, tzinfo=UTC)
_ONSETS = ("", *"bcdfghklmnprstvw", "bl", "br", "ch", "cl", "dr", "fl", "gr", "pl", "sh", "sl", "st", "str", "th", "tr")
_VOWELS = (*"aeiou", "ai", "ea", "ee", "ie", "oa", "oo", "ou")
_CODAS = ("", "", *"dklmnprst", "ck", "ll", "nd", "ng", "nt", "rn", "ss", "st")
_STARS = (5, 4, 4, 5, 3, 5, 4, 2, 5, 1)

_CATALOGUE = """
INSERT INTO providers (name, status) SELECT 'Provider ' || n, 'VERIFIED' FROM generate_series(1, 200) n;
INSERT INTO packages (provider_id, type, status, name, place, city, country, time_zone, latitude, longitude,
                      price_minor, capacity, units)
SELECT 1 + n %% 200, 'hotel', 'PUBLISHED', 'Apartment ' || n || ' by the river', 'Grünerløkka', 'Oslo', 'Norway',
       'Europe/Oslo', 59.92, 10.76, 10000, 4, 10
FROM generate_series(1, %(packages)s) n;
"""
_STAYS = """
INSERT INTO bookings (id, reference, status, traveller_id, package_id, provider_id, package_name, starts_on, ends_on,
                      time_zone, units, guests, nights, total_minor, currency, policy, expires_at, created_at,
                      completed_at)
SELECT r.booking_id, 'TD-' || r.booking_id, 'COMPLETED', r.traveller_id, r.package_id, p.provider_id, p.name,
       r.created_at::date - 3, r.created_at::date - 1, p.time_zone, 1, 2,
       jsonb_build_array(jsonb_build_object('date', r.created_at::date - 3, 'price', 10000)),
       10000, 'USD', '{}', r.created_at - interval '9 days', r.created_at - interval '9 days',
       r.created_at - interval '1 day'
FROM reviews r JOIN packages p ON p.id = r.package_id;
INSERT INTO rating_counts (package_id, rating, reviews)
SELECT package_id, rating, count(*) FROM reviews WHERE status = 'APPROVED' GROUP BY package_id, rating;
SELECT setval('users_id_seq', (SELECT max(id) FROM users)), setval('reviews_id_seq', max(id)),
       setval('bookings_id_seq', max(booking_id)) FROM reviews;
"""


@dataclass(frozen=True)
class Corpus:
    """Two words of the texts, one that few have and one that many have; and some travellers' names."""

    rare: str
    common: str
    names: Sequence[str]


def fill(found: Services) -> Corpus:
    """Fill empty tables, and let the database learn what is in them."""
    rng = random.Random(20_261_122)
    names = list(itertools.islice(_words(rng), 2 * TRAVELLERS))
    vocabulary = names[:VOCABULARY]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))

    def phrases(count: int, words: int) -> list[list[str]]:
        drawn = iter(rng.choices(vocabulary, cum_weights=weights, k=count * words))
        return [list(itertools.islice(drawn, words)) for _ in range(count)]

    sentences, titles = phrases(SENTENCES, 10), phrases(TITLES, 3)
    texts, headings = ([" ".join(phrase).capitalize() for phrase in some] for some in (sentences, titles))
    engine = owner_engine(found.env["DATABASE_OWNER_URL"])
    with engine.begin() as connection:
        slowing = SetAside(connection, (User, Booking, Review, ReviewText, NameWord))
        cursor = connection.connection.cursor()
        people = (f"{n}\t{_email(n)}\t{_name(names, n)}\n" for n in range(1, TRAVELLERS + 1))
        _copy(cursor, "users (id, email, name)", people)
        cursor.execute(_CATALOGUE, {"packages": PACKAGES})
        columns = "id, booking_id, package_id, traveller_id, status, rating, title, content, created_at, moderated_at"
        written = (_review(rng, n, headings, texts) for n in range(1, REVIEWS + 1))
        _copy(cursor, f"reviews ({columns})", written)
        cursor.execute(_STAYS)
        slowing.restore()
    engine.dispose()
    _settle(found.postgres.url(SUPERUSER))
    used = Counter(itertools.chain.from_iterable(sentences))
    return Corpus(
        rare=next(word for word in reversed(vocabulary) if used[word] == 1),
        common=next(word for word in vocabulary[12:] if len(word) > 4),
        names=[_name(names, n) for n in (4_711, 50_000, 99_999)],
    )


def _copy(cursor: Any, table: str, lines: Iterator[str]) -> None:
    while block := "".join(itertools.islice(lines, _BLOCK)):
        cursor.copy_expert(f"COPY {table} FROM STDIN", StringIO(block))


def _settle(superuser_url: str) -> None:
    with closing(psycopg2.connect(superuser_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def _email(n: int) -> str:
    return f"traveller-{n}@example.org"


def _name(words: list[str], n: int) -> str:
    return f"{words[n - 1]} {words[n - 1 + TRAVELLERS]}".title()


def _review(rng: random.Random, n: int, titles: list[str], sentences: list[str]) -> str:
    """A review, as COPY reads it: one a minute, and a few packages have most of them."""
    package, traveller = 1 + int(PACKAGES * rng.random() ** 3), 1 + int(TRAVELLERS * rng.random() ** 2)
    status = "PENDING" if n > REVIEWS - WAITING else "REJECTED" if n % 40 == 0 else "APPROVED"
    written = (_NEWEST - timedelta(minutes=REVIEWS - n)).isoformat()
    decided = r"\N" if status == "PENDING" else written
    title, content = rng.choice(titles), ". ".join(rng.choices(sentences, k=4))
    fields = (n, n, package, traveller, status, _STARS[n % len(_STARS)], title, content, written, decided)
    return "\t".join(map(str, fields)) + "\n"


def _words(rng: random.Random) -> Iterator[str]:
    """Words of one to three syllables, each different; the common ones are short."""
    known: set[str] = set()
    while True:
        syllables = 1 + (len(known) > 300) + (len(known) > 20_000)
        word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(syllables))
        if len(word) > 2 and word not in known:
            known.add(word)
            yield word
