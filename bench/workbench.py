"""What staff sit in all day, at a million reviews: lists against stock Flask-Admin and against SQL written by hand, the
queue with 200,000 waiting, bulk decisions, and the search box.

All over HTTP, each app served alike. Ours are requests of somebody who is signed in: the session, the claims, the count
and the menu are in them, and in none of the others.
"""

from __future__ import annotations

import itertools
import re
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import psycopg2

from app.accounts import staff
from app.audit.actor import SYSTEM, Actor
from app.db import connect_args, utcnow
from app.reviews import service as reviews
from bench import corpus, export
from bench.cases import Case, Side, asking
from bench.load import Address, Run
from bench.market import PAGE_SIZE, Services, http_request, served, services

NAMES = ("list", "list-sql", "deep", "rare", "common", "queue", "item", "polls", "box", "bulk", "bulk-sql", "export")
MANY, FEW = 10_000, 200
DEEP = 10_000  # pages
_CONSOLES, _EVERY = 50, 15.0  # seconds, as in static/live.js
_PASSWORD = "a long enough password"


@dataclass(frozen=True)
class Desk:
    """A moderator's browser: where it is signed in, and as whom."""

    cookie: str
    by: Actor


@contextmanager
def cases() -> Iterator[list[Case]]:
    """The table of what is measured, on services of its own."""
    with ExitStack() as stack:
        found = stack.enter_context(services())
        print("Filling the tables takes two minutes or more.", flush=True)
        with found.app.app_context():
            words = corpus.fill(found)
            desk = _sign_in(found)
        ours = stack.enter_context(served("wsgi:app", found.env))
        stock = stack.enter_context(served("bench.stock:app", found.env))
        by_hand = stack.enter_context(served("bench.by_hand:app", found.env))
        stack.enter_context(found.app.app_context())
        lists = _lists(found, words, desk, ours, stock, by_hand)
        yield [*lists, _polls(desk, ours), _box(words, desk, ours), *_bulk(found, desk), _export(found)]


def _lists(
    found: Services, words: corpus.Corpus, desk: Desk, ours: Address, stock: Address, by_hand: Address
) -> list[Case]:
    def page(query: str = "", path: str = "") -> bytes:
        return http_request("GET", f"/console/reviews/{path}?{query}", Cookie=desk.cookie)

    def approved(query: str = "") -> bytes:
        return page(f"status=APPROVED&{query}")

    def stocks(query: str = "", view: str = "stock") -> bytes:
        return http_request("GET", f"/console/{view}/?flt0_0=APPROVED&{query}")

    def hand(query: str = "") -> bytes:
        return http_request("GET", f"/console/by-hand?{query}")

    def case(name: str, of: str, needed: float, floor: tuple[Address, bytes], request: bytes, rounds: int) -> Case:
        if _ids(*floor) != _ids(ours, request):
            raise RuntimeError(f"{name}: {of} shows other reviews than Tripdesk")
        return Case(name, of, needed, _one(*floor), _one(ours, request), rounds)

    place = _place_before(found, DEEP)
    stock_name, hand_name = "stock Flask-Admin", "keyset SQL and the same template"
    return [
        case("list", "Flask-Admin's simple_list_pager", 3, (stock, stocks(view="simple")), approved(), 7),
        case("list-sql", hand_name, 1 / 3, (by_hand, hand()), approved(), 7),
        case("deep", stock_name, 200, (stock, stocks(f"page={DEEP}")), approved(f"after={place}"), 5),
        case("rare", stock_name, 30, (stock, stocks(f"search={words.rare}")), approved(f"q={words.rare}"), 5),
        case("common", stock_name, 1, (stock, stocks(f"search={words.common}")), approved(f"q={words.common}"), 5),
        Case("queue", "the list of what was decided", 0.7, _one(ours, approved()), _one(ours, page()), 7),
        Case("item", "100 ms", 1, _taking(0.1), _one(ours, page(path=f"{corpus.REVIEWS - MANY}/")), 7),
    ]


def _bulk(found: Services, desk: Desk) -> list[Case]:
    waiting = itertools.count(corpus.REVIEWS - corpus.WAITING + 1)
    connection = psycopg2.connect(found.env["DATABASE_URL"], **connect_args())

    def deciding(count: int, decide: Callable[[list[int]], object]) -> Side:
        def run(_: float) -> Run:
            ids = list(itertools.islice(waiting, count))
            begin = time.perf_counter()
            decide(ids)
            seconds = time.perf_counter() - begin
            return Run(seconds, [seconds / count] * count)

        return run

    def one_by_one(ids: Sequence[int]) -> None:
        for review_id in ids:
            reviews.approve(review_id, by=desk.by)

    def together(ids: Sequence[int]) -> None:
        if reviews.approve_many(ids, by=desk.by) != ids:
            raise RuntimeError("not all of these waited")

    def bare(ids: Sequence[int]) -> None:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "UPDATE reviews SET status = 'APPROVED', moderated_at = %s, moderated_by = %s, undo_until = %s"
                " WHERE id = ANY(%s)",
                (utcnow(), desk.by.id, utcnow(), ids),
            )

    return [
        Case("bulk", "the verb row by row", 50, deciding(FEW, one_by_one), deciding(MANY, together), 3),
        Case("bulk-sql", "the bare UPDATE", 0.6, deciding(MANY, bare), deciding(MANY, together), 6),
    ]


def _polls(desk: Desk, ours: Address) -> Case:
    """What open pages of the queue ask again and again: how long the queues are, and whether their items changed."""
    shown = "&".join(f"id={corpus.REVIEWS - number}" for number in range(PAGE_SIZE))
    request = http_request("GET", f"/console/live?queue=reviews&{shown}", Cookie=desk.cookie)
    asked = Run(_EVERY, [_EVERY / _CONSOLES] * _CONSOLES)
    return Case("polls", "50 open pages ask; a twentieth is theirs", 20, lambda _: asked, _one(ours, request), 7)


def _export(found: Services) -> Case:
    """Every review as CSV. What stands as milliseconds are megabytes here: the peak of the worker."""

    def peak(_: float) -> Run:
        megabytes = export.measure(found.env)["worker_peak_mb"]
        return Run(megabytes / 1000, [megabytes / 1000])

    return Case("export", f"{export.MOST_MEMORY_MB} MB", 1, _taking(export.MOST_MEMORY_MB / 1000), peak, 1)


def _box(words: corpus.Corpus, desk: Desk, ours: Address) -> Case:
    typed = ["traveller-4711@example.org", *words.names, *(_slip(name) for name in words.names)]
    asked = itertools.cycle(
        [http_request("GET", f"/console/search/?part=1&q={quote(words)}", Cookie=desk.cookie) for words in typed]
    )
    return Case("box", "100 ms", 1, _taking(0.1), asking(ours, lambda _: lambda _: next(asked), 200, clients=1), 7)


def _slip(name: str) -> str:
    """The name with a letter left out of each word."""
    return " ".join(word[:3] + word[4:] for word in name.split())


def _one(address: Address, request: bytes) -> Side:
    """One person who loads a page again and again."""
    return asking(address, lambda _: lambda _: request, 200, clients=1)


def _taking(seconds: float) -> Side:
    """Something that takes so long, whatever the machine: what people feel as at once."""
    return lambda _: Run(seconds, [seconds])


def _ids(address: Address, request: bytes) -> list[int]:
    """The reviews that a page shows, in order: by the column of ids, or the links."""
    path = request.split(b" ", 2)[1].decode()
    headers = dict(line.split(": ", 1) for line in request.decode().split("\r\n")[1:] if line)
    asked = urllib.request.Request(f"http://{address[0]}:{address[1]}{path}", headers=headers)
    with urllib.request.urlopen(asked) as answer:  # nosec B310 - a server of our own
        page = answer.read().decode()
    found = re.findall(r'class="col-id">\s*(\d+)', page) or re.findall(r"/console/reviews/(\d+)/", page)
    ids = [int(number) for number in dict.fromkeys(found)]
    if not 0 < len(ids) <= PAGE_SIZE:
        raise RuntimeError(f"{path} shows {len(ids)} reviews")
    return ids


def _place_before(found: Services, page: int) -> int:
    """The last review before a page of the approved ones."""
    with closing(psycopg2.connect(found.env["DATABASE_URL"])) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM reviews WHERE status = 'APPROVED' ORDER BY id DESC OFFSET %s LIMIT 1",
            (page * PAGE_SIZE - 1,),
        )
        (place,) = cursor.fetchone() or (0,)
    return int(place)


def _sign_in(found: Services) -> Desk:
    """Make a moderator and sign them in, as the browser does."""
    person = staff.create_staff(
        email="moderator@example.org", name="Mo Derator", password=_PASSWORD, roles=("moderator",), by=SYSTEM
    )
    browser = found.app.test_client()
    token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get("/console/login").text)
    if token is None:
        raise RuntimeError("the sign-in page has no form")
    form = {"csrf_token": token[1], "email": person.email, "password": _PASSWORD}
    answer = browser.post("/console/login", data=form)
    kept = browser.get_cookie("tripdesk")
    if answer.status_code != 302 or kept is None:
        raise RuntimeError(f"signing in was answered {answer.status_code}")
    return Desk(
        f"tripdesk={kept.value}", Actor("staff", person.id, person.email, frozenset({"moderator"}), "127.0.0.1")
    )
