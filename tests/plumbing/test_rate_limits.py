"""The limiter itself: what comes back when, and what it does without Redis."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

import pytest
import redis

from app import rate_limits
from app.rate_limits import Limiter, Policy, Verdict
from dev.valkey import Valkey
from tests.conftest import wait_for

MANY = Policy("many", quota=100, seconds=3600)  # nothing comes back while a test runs
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy doesn't make Redis look dead."""
    monkeypatch.setattr(rate_limits, "_PATIENCE_SECONDS", 30)


@pytest.fixture
def valkey(patient: None) -> Iterator[Valkey]:
    """One that a test may kill."""
    with TemporaryDirectory(prefix="tripdesk-test-") as folder, Valkey(Path(folder), durable=False) as found:
        yield found


@pytest.fixture(params=["in redis", "in this process"])
def limiter(request: pytest.FixtureRequest) -> Iterator[Limiter]:
    if request.param == "in redis":
        yield Limiter(request.getfixturevalue("valkey").url())
        return
    found = Limiter(NOWHERE)
    yield found
    stop(found)


def let_pass(limiter: Limiter, seconds: int) -> None:
    """Shift what was counted into the past."""
    if limiter._away:
        counted = limiter._own._whole_at
        counted.update({key: whole_at - seconds * 1000 for key, whole_at in counted.items()})
        return
    for key in limiter._redis.keys("tripdesk:limit:*"):
        limiter._redis.decrby(key, seconds * 1000)


def stop(limiter: Limiter) -> None:
    """Have its thread look for Redis no more."""
    limiter._away = False


def test_a_quota_is_passed_and_no_more(limiter: Limiter) -> None:
    verdicts = [limiter.take(MANY, "one") for _ in range(102)]
    assert [verdict.allowed for verdict in verdicts] == [True] * 100 + [False] * 2
    assert [verdict.remaining for verdict in verdicts[:3]] == [99, 98, 97]
    assert verdicts[-1].remaining == 0
    assert 30 <= verdicts[-1].retry_after <= 36
    assert 3590 <= verdicts[-1].whole_in <= 3600
    assert limiter.take(MANY, "another").remaining == 99
    assert limiter.take(Policy("other", 100, 3600), "one").remaining == 99


def test_it_comes_back_evenly(limiter: Limiter) -> None:
    assert [limiter.take(MANY, "one").allowed for _ in range(101)] == [True] * 100 + [False]
    let_pass(limiter, 2 * 36)
    assert [limiter.take(MANY, "one").allowed for _ in range(3)] == [True, True, False]
    away = limiter._away
    let_pass(limiter, 2 * 3600)
    assert limiter.take(MANY, "one").remaining == 99
    assert limiter._away is away, "what is whole for long is no error of Redis'"


def test_a_quota_of_one_lets_one_pass(limiter: Limiter) -> None:
    assert [limiter.take(Policy("once", 1, 3600), "one").allowed for _ in range(2)] == [True, False]


def test_refused_requests_cost_nothing(limiter: Limiter) -> None:
    for _ in range(150):
        refused = limiter.take(MANY, "one")
    assert not refused.allowed
    let_pass(limiter, 36)
    assert limiter.take(MANY, "one").allowed


def test_however_many_ask_at_once_the_quota_holds(limiter: Limiter) -> None:
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda _: limiter.take(MANY, "one"), range(300)))
    assert sum(verdict.allowed for verdict in verdicts) == 100


class _Interrupted(dict[str, int]):
    """A count that another thread always gets in between of."""

    def pop(self, *arguments: Any) -> Any:
        found = super().pop(*arguments)
        sleep(0.02)
        return found


def test_the_threads_of_a_process_wait_for_each_other() -> None:
    memory = rate_limits._Memory()
    memory._whole_at = _Interrupted()
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: memory.take("somebody", MANY.window, MANY.window)[0], range(8)))
    assert sorted(taken) == [False] * 7 + [True]


def test_processes_count_together(valkey: Valkey) -> None:
    one, other = Limiter(valkey.url()), Limiter(valkey.url())
    assert [limiter.take(MANY, "one").remaining for limiter in (one, other, one)] == [99, 98, 97]


def test_what_is_whole_again_leaves_nothing_in_redis(valkey: Valkey) -> None:
    for _ in range(2):
        Limiter(valkey.url()).take(MANY, "one")
    client = redis.Redis.from_url(valkey.url())
    (key,) = client.keys("tripdesk:limit:*")
    assert 36_000 < client.pttl(key) <= 2 * 36_000
    client.close()


@pytest.mark.parametrize(("used", "retry_after", "remaining"), [(60_000, 1, 0), (59_401, 1, 0), (60_000 + 5_000, 6, 0)])
def test_when_to_come_back_is_at_least_a_second(used: int, retry_after: int, remaining: int) -> None:
    refused = Verdict(Policy("a minute", quota=100, seconds=60), allowed=False, used=used)
    assert (refused.retry_after, refused.remaining) == (retry_after, remaining)


# ------------------------------------------------------------------ without Redis


def test_one_request_is_one_round_trip(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = Limiter(valkey.url())
    limiter.take(MANY, "one")
    client = redis.Redis.from_url(valkey.url())
    client.config_resetstat()
    for _ in range(10):
        limiter.take(MANY, "one")
    calls = {name: stats["calls"] for name, stats in client.info("commandstats").items()}
    # The script's own commands run inside the server.
    asked = {
        name: number for name, number in calls.items() if name not in ("cmdstat_get", "cmdstat_set", "cmdstat_time")
    }
    assert asked == {"cmdstat_evalsha": 10, "cmdstat_config|resetstat": 1}
    client.close()


def test_an_emptied_redis_is_no_error(valkey: Valkey) -> None:
    limiter = Limiter(valkey.url())
    limiter.take(MANY, "one")
    client = redis.Redis.from_url(valkey.url())
    client.flushall()
    client.script_flush()
    client.close()
    assert limiter.take(MANY, "one").remaining == 99
    assert not limiter._away


def test_redis_may_die_and_come_back(valkey: Valkey) -> None:
    limiter = Limiter(valkey.url())
    assert [limiter.take(MANY, "one").remaining for _ in range(3)] == [99, 98, 97]
    assert valkey.process
    valkey.process.kill()
    valkey.process.wait()
    assert [limiter.take(MANY, "one").remaining for _ in range(3)] == [99, 98, 97]
    valkey.start()
    wait_for(lambda: not limiter._away, "the limiter to find Redis again")
    assert Limiter(valkey.url()).take(MANY, "one").remaining == 99
    assert limiter.take(MANY, "one").remaining == 98


def test_a_restart_between_two_requests_is_not_noticed(valkey: Valkey) -> None:
    limiter = Limiter(valkey.url())
    limiter.take(MANY, "one")
    valkey.stop()
    valkey.start()
    assert limiter.take(MANY, "one").remaining == 99
    assert not limiter._away


@pytest.fixture
def silent() -> Iterator[str]:
    """A Redis that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


@pytest.fixture
def full() -> Iterator[str]:
    """A Redis that doesn't even take connections: its queue is full."""
    with socket.socket() as listening, socket.socket() as one, socket.socket() as two:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for waiting in (one, two):
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


@pytest.mark.parametrize("kind", ["silent", "full"])
def test_a_redis_that_hangs_holds_up_one_request_for_a_moment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    limiter = Limiter(request.getfixturevalue(kind))
    options = limiter._redis.connection_pool.connection_kwargs
    assert (options["socket_connect_timeout"], options["socket_timeout"]) == (0.1, 0.1)
    asked: list[str] = []

    def take(keys: list[str], args: list[int]) -> Any:
        asked.extend(keys)
        return script(keys=keys, args=args)

    script = limiter._take
    monkeypatch.setattr(limiter, "_take", take)
    monkeypatch.setattr(limiter, "_wait_for_redis", lambda: None)
    assert [limiter.take(MANY, "one").remaining for _ in range(50)] == list(range(99, 49, -1))
    assert len(asked) == 1


def test_one_thread_looks_for_redis_however_many_requests_miss_it(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looking: list[threading.Thread] = []
    monkeypatch.setattr(Limiter, "_wait_for_redis", lambda self: looking.append(threading.current_thread()))
    limiter = Limiter(silent)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: limiter.take(MANY, "one"), range(40)))
    assert len(looking) == 1


def test_a_redis_that_refuses_writes_is_as_good_as_none(valkey: Valkey) -> None:
    client = redis.Redis.from_url(valkey.url())
    client.config_set("maxmemory", "1")
    client.close()
    limiter = Limiter(valkey.url())
    assert [limiter.take(MANY, "one").remaining for _ in range(2)] == [99, 98]
    assert limiter._away
    stop(limiter)


def test_of_too_many_callers_the_longest_silent_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "_REMEMBERED_CALLERS", 3)
    limiter = Limiter(NOWHERE)
    for caller in "abcad":
        limiter.take(MANY, caller)
    assert [limiter.take(MANY, caller).remaining for caller in "acb"] == [97, 98, 99]
    stop(limiter)
