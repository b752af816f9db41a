"""Our API over a bare Meilisearch: what it costs to ask through us, with the packages of `bench.search`.

Only where TEST_MEILI_URL names a server (and TEST_MEILI_API_KEY its master key): its index of ours is filled anew.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

from app import create_app
from app.search import sending
from app.search.engine import Question
from app.search.meilisearch import INDEX, Meilisearch
from app.search.postgres import PostgresEngine
from app.search.ranked import MeilisearchEngine
from bench.cases import Case, Side, asking
from bench.load import Address, Run
from bench.market import Services, http_request, served

NAME = "meilisearch"
_URL = os.environ.get("TEST_MEILI_URL", "")
_KEY = os.environ.get("TEST_MEILI_API_KEY", "")
_MOST_TIMES_AS_LONG = 1.3
# What is asked of the API, and the same for the engine: frequent words and rare ones, with and without slips.
_ASKED: Sequence[tuple[Mapping[str, str], Question]] = (
    ({"q": "apartment", "type": "hotel", "maxPrice": "200"}, Question("apartment", type="hotel", max_minor=20_000)),
    ({"q": "quiet apartment"}, Question("quiet apartment")),
    ({"q": "aparment", "location": "City 7"}, Question("aparment", location="City 7")),
    ({"q": "room word4711", "amenities": "wifi"}, Question("room word4711", amenities=("wifi",))),
)


@contextmanager
def cases(found: Services) -> Iterator[list[Case]]:
    """The one case, or none, which is said; `found` has the packages and their documents."""
    if not _URL:
        print(f"{NAME} is not run: TEST_MEILI_URL names no Meilisearch.", flush=True)
        yield []
        return
    settings = {"MEILI_URL": _URL, "MEILI_API_KEY": _KEY}
    env = found.env | settings
    app = create_app(**{name.lower(): value for name, value in env.items()})
    recorder = _Recorder(_URL, _KEY)
    with app.app_context():
        print("Filling Meilisearch's index.", flush=True)
        sending.configure()
        while sending.behind(1):
            sending.send()
        engine = MeilisearchEngine(recorder, PostgresEngine())
        for _, question in _ASKED:
            engine.search(question)
    bare = [_multi_search(queries) for queries in recorder.asked]
    ours = [http_request("GET", f"/v1/search/packages?{urlencode(asked)}") for asked, _ in _ASKED]
    server = urlsplit(_URL)
    with served("wsgi:app", env) as api:
        yield [
            Case(
                *(NAME, "the bare engine's call, median by median", 1 / _MOST_TIMES_AS_LONG),
                _in_turn((server.hostname or "", server.port or 80), bare),
                _in_turn(api, ours),
            )
        ]


class _Recorder(Meilisearch):
    """Keeps what it is asked."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url, key)
        self.asked: list[Sequence[Mapping[str, Any]]] = []

    def search(self, queries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """As Meilisearch."""
        self.asked.append(queries)
        return super().search(queries)


def _multi_search(queries: Sequence[Mapping[str, Any]]) -> bytes:
    body = json.dumps({"queries": [{"indexUid": INDEX, **query} for query in queries]}).encode()
    return http_request("POST", "/multi-search", body, Authorization=f"Bearer {_KEY}")


def _in_turn(address: Address, requests: Sequence[bytes]) -> Side:
    """One client asks these one after the other; what counts is each one's median."""

    def run(seconds: float) -> Run:
        turns = itertools.cycle(requests)
        done = asking(address, lambda _: lambda _: next(turns), 200, clients=1)(seconds)
        medians = [statistics.median(done.latencies[n :: len(requests)]) for n in range(len(requests))]
        return Run(sum(medians), medians)

    return run
