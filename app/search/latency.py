"""How long answers take, as a histogram of fixed ranges: what half of them, 95 and 99 in 100 stay below."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, pairwise

from sqlalchemy import func, select

from app.extensions import db
from app.search.models import SearchLatency

# Each range ends where the next begins, in milliseconds. Whatever takes longer than the last is counted there: nobody
# waits for that.
BOUNDS_MS = (
    *(1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200, 300, 400, 500, 700),
    *(1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 30_000),
)
_BEGINS = {under: begin for begin, under in pairwise((0, *BOUNDS_MS))}


@dataclass(frozen=True)
class Latency:
    """Of `answers` answers half took at most `p50` milliseconds, and so on; as near as the ranges tell."""

    answers: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Span:
    """The latency of one engine in the hour or day (UTC) that begins `at`; `degraded` when it stood in for another."""

    at: datetime
    engine: str
    degraded: bool
    latency: Latency


def by(kind: str, step: str, since: datetime) -> Sequence[Span]:
    """The latencies of each "hour" or "day" since then, the newest first."""
    at = func.date_trunc(step, SearchLatency.hour, "UTC").label("at")
    of_what = (at, SearchLatency.engine, SearchLatency.degraded)
    rows = db.session.execute(
        select(*of_what, SearchLatency.under_ms, func.sum(SearchLatency.answers))
        .where(SearchLatency.kind == kind, SearchLatency.hour >= since)
        .group_by(*of_what, SearchLatency.under_ms)
        .order_by(at.desc(), SearchLatency.engine, SearchLatency.degraded)
    )
    spans: dict[tuple[datetime, str, bool], dict[int, int]] = {}
    for begin, engine, degraded, bound, answers in rows:
        spans.setdefault((begin, engine, degraded), {})[bound] = int(answers)
    return [Span(*span, of(counts)) for span, counts in spans.items()]


def over(kind: str, since: datetime) -> Latency | None:
    """The latency of all since then, whoever answered; None without any answer."""
    rows = db.session.execute(
        select(SearchLatency.under_ms, func.sum(SearchLatency.answers))
        .where(SearchLatency.kind == kind, SearchLatency.hour >= since)
        .group_by(SearchLatency.under_ms)
    )
    counts = {bound: int(answers) for bound, answers in rows}
    return of(counts) if counts else None


def under(took_ms: float) -> int:
    """The end of the range that so many milliseconds are in."""
    return BOUNDS_MS[min(bisect_right(BOUNDS_MS, took_ms), len(BOUNDS_MS) - 1)]


def of(counts: Mapping[int, int]) -> Latency:
    """What the numbers of answers by the end of their range come to. ValueError without any answer."""
    return Latency(sum(counts.values()), *(_quantile(counts, share) for share in (0.50, 0.95, 0.99)))


def _quantile(counts: Mapping[int, int], share: float) -> float:
    """Within the range that it is in, answers count as spread evenly."""
    bounds = sorted(counts)
    reached = list(accumulate(counts[bound] for bound in bounds))
    if not reached or not reached[-1]:
        raise ValueError("there is no answer to measure")
    wanted = share * reached[-1]
    number = next(number for number, count in enumerate(reached) if count >= wanted)
    bound = bounds[number]
    into = (wanted - (reached[number] - counts[bound])) / counts[bound]
    return _BEGINS[bound] + into * (bound - _BEGINS[bound])
