"""What is measured against what, and how: both sides in turns, in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench.load import Address, Requests, Run, drive

ROUNDS = 15
WARM_UP_SECONDS = 2.0

Side = Callable[[float], Run]  # runs for so many seconds


@dataclass(frozen=True)
class Case:
    """Something Tripdesk does, what it is measured against, and how many times as fast as that it has to be."""

    name: str
    floor_name: str
    needed: float
    floor: Side
    tripdesk: Side
    rounds: int = ROUNDS


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


def asking(address: Address, requests: Callable[[float], Requests], status: int, *, clients: int) -> Side:
    """So many clients send one request after the other. Raises RuntimeError for an answer with another status."""

    def run(seconds: float) -> Run:
        done = drive(address, requests(seconds), clients=clients, seconds=seconds)
        if set(done.statuses) != {status}:
            raise RuntimeError(f"only {status} was expected, and the answers were {dict(done.statuses)}")
        return done

    return run


def measure(case: Case, seconds: float) -> Result:
    """Let both sides run in turns; what runs only once has nothing to warm up for."""
    if case.rounds > 1:
        case.floor(WARM_UP_SECONDS)
        case.tripdesk(WARM_UP_SECONDS)
    rounds = [(case.floor(seconds), case.tripdesk(seconds)) for _ in range(case.rounds)]
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
