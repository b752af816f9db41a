"""The paths that travellers and Stripe take: what the frame costs over the same SQL, or over a bare Flask route."""

from __future__ import annotations

import itertools
import os
import runpy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from app.extensions import db
from bench import floors
from bench.cases import Case, Side, asking
from bench.floors import Statement
from bench.load import Address, Requests
from bench.market import PACKAGES, ROOT, Market, constant, market, served

NAMES = ("booking", "webhook", "read")
CLIENTS = 16  # with few more than processes, chance alone would leave some of those without a connection
MOST_EVENTS_PER_SECOND = 10_000  # more than any machine takes


@contextmanager
def cases() -> Iterator[list[Case]]:
    """The table of what is measured, on services of its own."""
    processes = runpy.run_path(str(ROOT / "deploy" / "gunicorn.conf.py"))["workers"]
    print(f"{CLIENTS} clients, {processes} server processes, {os.cpu_count()} CPUs")
    with ExitStack() as stack:
        found = stack.enter_context(market(clients=CLIENTS))
        app = stack.enter_context(served("wsgi:app", found.env))
        plain = stack.enter_context(served("bench.constant:app", found.env))
        yield _cases(found, app, plain, processes=processes)


def _cases(found: Market, app: Address, plain: Address, *, processes: int) -> list[Case]:
    url = found.env["DATABASE_URL"]
    number = itertools.count()
    # Made before a round's clock starts: writing and signing requests is not the server's work.
    bookings = [found.booking(client) for client in range(CLIENTS)]
    readings = itertools.cycle([found.reading(n) for n in range(PACKAGES)])

    def new_events(seconds: float) -> Requests:
        events = [found.event(next(number)) for _ in range(int(seconds * MOST_EVENTS_PER_SECOND))]
        return lambda _: events.pop()

    def repeating(transactions: Sequence[Sequence[Statement]]) -> Side:
        return lambda seconds: floors.repeat(url, transactions, processes=processes, seconds=seconds)

    return [
        Case(
            "booking",
            "the same SQL through psycopg2",
            0.3,
            repeating([_recorded(found, request) for request in bookings]),
            asking(app, lambda _: bookings.__getitem__, 201, clients=CLIENTS),
        ),
        Case(
            "webhook",
            "the same INSERT through psycopg2",
            0.3,
            repeating([_recorded(found, found.event(next(number)))] * CLIENTS),
            asking(app, new_events, 200, clients=CLIENTS),
        ),
        Case(
            "read",
            "a Flask route that returns a constant",
            0.5,
            asking(plain, lambda _: constant, 200, clients=CLIENTS),
            asking(app, lambda _: lambda _: next(readings), 200, clients=CLIENTS),
        ),
    ]


def _recorded(found: Market, request: bytes) -> list[Statement]:
    """What the app sends to the database for one request."""
    with found.app.app_context():
        found.send(request)  # the first one also sees to connections
        with floors.recording() as statements:
            found.send(request)
        for engine in db.engines.values():
            engine.dispose()
    return statements
