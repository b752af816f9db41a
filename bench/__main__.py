"""`make bench`: each of Tripdesk's hot paths against its floor in the same run; the ratio has to reach its mark."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import runpy
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from app.extensions import db
from bench import floors
from bench.floors import Statement
from bench.load import Address, Requests, Run, drive
from bench.market import PACKAGES, ROOT, Market, constant, market, served

RESULTS = Path(__file__).parent / "results.json"
ROUNDS = 15
CLIENTS = 16  # with few more than processes, chance alone would leave some of those without a connection
WARM_UP_SECONDS = 2.0
MOST_EVENTS_PER_SECOND = 10_000  # more than any machine takes

Side = Callable[[float], Run]  # runs for so many seconds


@dataclass(frozen=True)
class Case:
    """Something Tripdesk does, what it is measured against, and the share of that it has to reach."""

    name: str
    floor_name: str
    needed: float
    floor: Side
    tripdesk: Side


@dataclass(frozen=True)
class Result:
    """The medians of all rounds. A ratio is of two neighbouring rounds, so that a busy machine slows both sides."""

    name: str
    floor_name: str
    needed: float
    floor_per_second: float
    tripdesk_per_second: float
    tripdesk_p50_ms: float
    tripdesk_p99_ms: float
    ratio: float
    ratio_lowest: float
    ratio_highest: float


def cases(found: Market, app: Address, plain: Address, *, processes: int, clients: int) -> list[Case]:
    """The table of what is measured."""
    url = found.env["DATABASE_URL"]
    number = itertools.count()
    # Made before a round's clock starts: writing and signing requests is not the server's work.
    bookings = [found.booking(client) for client in range(clients)]
    readings = itertools.cycle([found.reading(n) for n in range(PACKAGES)])

    def new_events(seconds: float) -> Requests:
        events = [found.event(next(number)) for _ in range(int(seconds * MOST_EVENTS_PER_SECOND))]
        return lambda _: events.pop()

    def asking(address: Address, requests: Callable[[float], Requests], status: int) -> Side:
        def run(seconds: float) -> Run:
            done = drive(address, requests(seconds), clients=clients, seconds=seconds)
            if set(done.statuses) != {status}:
                raise RuntimeError(f"only {status} was expected, and the answers were {dict(done.statuses)}")
            return done

        return run

    def repeating(transactions: Sequence[Sequence[Statement]]) -> Side:
        return lambda seconds: floors.repeat(url, transactions, processes=processes, seconds=seconds)

    return [
        Case(
            "booking",
            "the same SQL through psycopg2",
            0.3,
            repeating([_recorded(found, request) for request in bookings]),
            asking(app, lambda _: bookings.__getitem__, 201),
        ),
        Case(
            "webhook",
            "the same INSERT through psycopg2",
            0.3,
            repeating([_recorded(found, found.event(next(number)))] * clients),
            asking(app, new_events, 200),
        ),
        Case(
            "read",
            "a Flask route that returns a constant",
            0.5,
            asking(plain, lambda _: constant, 200),
            asking(app, lambda _: lambda _: next(readings), 200),
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


def measure(case: Case, seconds: float) -> Result:
    """Let both sides run in turns."""
    case.floor(WARM_UP_SECONDS)
    case.tripdesk(WARM_UP_SECONDS)
    rounds = [(case.floor(seconds), case.tripdesk(seconds)) for _ in range(ROUNDS)]
    ratios = [ours.per_second / floor.per_second for floor, ours in rounds]
    return Result(
        case.name,
        case.floor_name,
        case.needed,
        floor_per_second=round(statistics.median(floor.per_second for floor, _ in rounds), 1),
        tripdesk_per_second=round(statistics.median(ours.per_second for _, ours in rounds), 1),
        tripdesk_p50_ms=round(statistics.median(ours.percentile_ms(50) for _, ours in rounds), 2),
        tripdesk_p99_ms=round(statistics.median(ours.percentile_ms(99) for _, ours in rounds), 2),
        ratio=round(statistics.median(ratios), 3),
        ratio_lowest=round(min(ratios), 3),
        ratio_highest=round(max(ratios), 3),
    )


def main() -> int:
    """0 when every ratio reaches its mark, 1 when one falls short."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=("booking", "webhook", "read"), help="measure this one alone")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round (1)")
    arguments = parser.parse_args()

    server = runpy.run_path(str(ROOT / "deploy" / "gunicorn.conf.py"))
    processes, clients = server["workers"], CLIENTS
    print(f"{clients} clients, {processes} server processes, {os.cpu_count()} CPUs; {ROUNDS} rounds each way")
    print(f"{'':8} {'floor/s':>8} {'ours/s':>8} {'p50 ms':>7} {'p99 ms':>7} {'ratio':>6} {'from-to':>10} {'needed':>7}")
    results = []
    with ExitStack() as stack:
        found = stack.enter_context(market(clients=clients))
        app = stack.enter_context(served("wsgi:app", found.env))
        plain = stack.enter_context(served("bench.constant:app", found.env))
        for case in cases(found, app, plain, processes=processes, clients=clients):
            if arguments.only in (None, case.name):
                results.append(_show(measure(case, arguments.seconds)))
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    content = {"machine": machine, "clients": clients, "results": [asdict(result) for result in results]}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    short = [result for result in results if result.ratio < result.needed]
    for result in short:
        print(
            f"{result.name} falls short: {result.ratio:.2f} of {result.floor_name}, and {result.needed} is needed.",
            file=sys.stderr,
        )
    return 1 if short else 0


def _show(result: Result) -> Result:
    spread = f"{result.ratio_lowest:.2f}-{result.ratio_highest:.2f}"
    print(
        f"{result.name:8} {result.floor_per_second:8.0f} {result.tripdesk_per_second:8.0f} "
        f"{result.tripdesk_p50_ms:7.1f} {result.tripdesk_p99_ms:7.1f} {result.ratio:6.2f} {spread:>10} "
        f"{result.needed:7.1f}  of {result.floor_name}",
        flush=True,
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
