"""What everything stands on goes away for a while: nothing is lost, nothing is done twice, and nobody has to help."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from dev.postgres import Postgres
from dev.valkey import Valkey
from tests import factories
from tests.conftest import wait_for
from tests.faults.conftest import Services
from tests.faults.held import held, is_held_up
from tests.faults.paid_at_stripe import Postman, assert_each_applied_once, prepare, waiting
from tests.stack import Stack, migrate, settings_on

WANTED = 60
EVENTS = 60


class Traveller:
    """Books over HTTP, again and again with the same key until it is done, as a client should."""

    def __init__(self, stack: Stack, *, units: int) -> None:
        self.url = f"{stack.url}/v1/bookings"
        with stack.app():
            self.package_id = factories.package(units=units, days=1).id
            self.headers = factories.bearer()
        first = factories.tomorrow()
        self.wish = {"packageId": self.package_id, "checkIn": str(first), "checkOut": str(first + timedelta(days=1))}
        self.refusals: list[requests.Response] = []

    def book(self, patience: float = 120) -> int:
        """One booking's id."""
        headers = {**self.headers, "Idempotency-Key": uuid4().hex}
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            answer = requests.post(self.url, json=self.wish, headers=headers, timeout=30)
            if answer.status_code == 201:
                booking_id: int = answer.json()["id"]
                return booking_id
            self.refusals.append(answer)
            time.sleep(0.3)
        raise AssertionError(f"not booked within {patience} s; the last answer: {answer.text}")


@pytest.fixture
def own_postgres(services: Services) -> Iterator[tuple[Postgres, Valkey]]:
    """A PostgreSQL that keeps what it committed even over a crash, migrated, beside the shared Valkey."""
    with tempfile.TemporaryDirectory(prefix="tripdesk-test-") as name:
        Path(name).chmod(0o711)
        with Postgres(Path(name) / "postgres", durable=True) as postgres:
            migrate(settings_on(postgres, services.valkey))
            yield postgres, services.valkey


def crash(postgres: Postgres) -> None:
    assert postgres.process is not None
    postgres.process.kill()
    postgres.process.wait()


def shut_down(postgres: Postgres) -> None:
    postgres.stop()


@pytest.mark.parametrize("end", [shut_down, crash])
def test_a_database_that_goes_away_under_load_loses_and_doubles_nothing(
    own_postgres: tuple[Postgres, Valkey], tmp_path: Path, end: Callable[[Postgres], None]
) -> None:
    postgres, valkey = own_postgres
    with Stack(tmp_path, settings_on(postgres, valkey)) as stack, Postman(stack) as postman:
        stack.empty_redis()
        stack.start_all()
        events = prepare(stack, EVENTS).events
        traveller = Traveller(stack, units=WANTED)
        with ThreadPoolExecutor(3) as travellers:
            wishes = [travellers.submit(traveller.book) for _ in range(WANTED)]
            posts = postman.post(events, times=2, patience=120)
            wait_for(lambda: sum(wish.done() for wish in wishes) > 5, "the first bookings")
            end(postgres)
            ready = requests.get(f"{stack.url}/health/ready", timeout=30)
            alive = requests.get(f"{stack.url}/health", timeout=30)
            time.sleep(1)
            postgres.start()
            booked = [wish.result() for wish in wishes]
        for post in posts:
            post.result()
        assert (ready.status_code, ready.json()["db"]) == (503, "down")
        assert alive.status_code == 200

        during = [answer for answer in traveller.refusals if answer.status_code == 503]
        assert during, "nobody asked while it was away"
        for answer in traveller.refusals:
            # 409: the first request with the same key may still be running, as far as anybody knows.
            assert answer.status_code in (503, 409), answer.text
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert int(answer.headers["Retry-After"]) > 0
        assert set(postman.answers) <= {200, 503}

        assert len(set(booked)) == WANTED
        assert stack.ask_database(
            "SELECT held, booked, (SELECT array_agg(id ORDER BY id) FROM bookings WHERE package_id = %(id)s)"
            " FROM availability WHERE package_id = %(id)s",
            {"id": traveller.package_id},
        ) == [(WANTED, 0, sorted(booked))]
        wait_for(lambda: waiting(stack) == 0, "the events to be worked through", 90)
        assert_each_applied_once(stack, EVENTS)
        assert requests.get(f"{stack.url}/health/ready", timeout=30).json()["status"] == "ok"


def test_without_valkey_bookings_and_events_are_still_taken_and_the_work_is_done_when_it_is_back(
    services: Services, stack: Stack
) -> None:
    stack.start_all()
    events = prepare(stack, EVENTS).events
    traveller = Traveller(stack, units=20)
    services.valkey.stop()
    try:
        with Postman(stack) as postman:
            for post in postman.post(events):
                post.result()
        booked = [traveller.book() for _ in range(20)]
        ready = requests.get(f"{stack.url}/health/ready", timeout=30)
    finally:
        services.valkey.start()
    assert postman.answers == [200] * EVENTS
    assert (len(set(booked)), traveller.refusals) == (20, [])
    assert ready.status_code == 200
    assert (ready.json()["status"], ready.json()["redis"]) == ("degraded", "down")
    assert waiting(stack) == EVENTS
    for name in ("urgent", "default", "slow", "scheduler"):
        if stack.processes[name].poll() is not None:
            raise AssertionError(f"{name} did not live through it:\n{stack.logs()}")
    wait_for(lambda: waiting(stack) == 0, "the events to be worked through", 90)
    assert_each_applied_once(stack, EVENTS)
    assert requests.get(f"{stack.url}/health/ready", timeout=30).json()["status"] == "ok"


def test_a_worker_killed_in_the_middle_of_a_transaction_leaves_nothing_half_done(stack: Stack) -> None:
    stack.start_stripe()
    stack.start_web()
    stack.start_worker("urgent")
    stack.start_worker("default")
    paid = prepare(stack, 1)
    with held(stack, "SELECT FROM availability"), Postman(stack) as postman:
        (post,) = postman.post(paid.events)
        post.result()
        wait_for(lambda: is_held_up(stack), "the job to get to the stock")
        stack.kill("urgent")
    assert stack.ask_database("SELECT status FROM bookings") == [("PENDING_PAYMENT",)]
    assert stack.ask_database("SELECT count(*) FROM ledger_entries") == [(0,)]
    assert waiting(stack) == 1
    stack.start_worker("urgent")
    stack.start_scheduler()
    # Half a minute later.
    stack.ask_database("UPDATE webhook_events SET leased_until = now()")
    wait_for(lambda: waiting(stack) == 0, "another worker to take it up", 60)
    assert_each_applied_once(stack, 1)
