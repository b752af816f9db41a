"""The circuit breaker: when it opens, who pays for it, and how it closes by itself."""

from __future__ import annotations

from threading import Event

import pytest

from app.search import breaker
from app.search.breaker import Breaker
from tests.conftest import wait_for


class Service:
    """Something to probe, with a clock of its own."""

    def __init__(self) -> None:
        self.is_well = False
        self.probes = 0
        self.time = 0.0
        self.done = Event()
        self.breaker = Breaker("it", self.probe, now=lambda: self.time)

    def probe(self) -> None:
        self.probes += 1
        self.done.wait(10)
        if not self.is_well:
            raise OSError("not yet")


def test_it_opens_after_some_failures_in_a_row() -> None:
    closed = Service().breaker
    for _ in range(breaker.FAILURES - 1):
        closed.failed("no", waited=False)
    assert closed.is_closed()
    closed.succeeded()
    for _ in range(breaker.FAILURES - 1):
        closed.failed("no", waited=False)
    assert closed.is_closed(), "a success begins the count anew"
    closed.failed("no", waited=False)
    assert not closed.is_closed()


def test_one_timeout_opens_it() -> None:
    closed = Service().breaker
    closed.failed("slow", waited=True)
    assert not closed.is_closed()


def test_one_probe_at_a_time_and_nobody_waits_for_it() -> None:
    service = Service()
    service.breaker.failed("slow", waited=True)
    assert not service.breaker.is_closed()
    assert service.probes == 0, "not before some time has passed"
    service.time += breaker.PROBE_EVERY_SECONDS
    for _ in range(5):
        assert not service.breaker.is_closed()
    wait_for(lambda: service.probes == 1, "the probe")
    # It fails: the next one comes after another while, and closes.
    service.done.set()
    wait_for(lambda: not service.breaker._is_probing, "the probe to end")
    assert not service.breaker.is_closed()
    assert service.probes == 1
    service.is_well = True
    service.time += breaker.PROBE_EVERY_SECONDS
    assert not service.breaker.is_closed()
    wait_for(service.breaker.is_closed, "the breaker to close")
    assert service.probes == 2


def test_a_probe_that_gets_no_thread_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    service.is_well = True
    service.done.set()
    service.breaker.failed("slow", waited=True)
    service.time += breaker.PROBE_EVERY_SECONDS

    class NoThread:
        def __init__(self, **_: object) -> None:
            pass

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(breaker, "Thread", NoThread)
    assert not service.breaker.is_closed()
    monkeypatch.undo()
    service.time += breaker.PROBE_EVERY_SECONDS
    assert not service.breaker.is_closed()
    wait_for(service.breaker.is_closed, "the breaker to close")
    assert service.probes == 1
