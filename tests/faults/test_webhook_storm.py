"""A thousand events, three times each, while workers are killed and Redis is emptied: each takes effect once."""

from __future__ import annotations

import time
from itertools import cycle

import pytest

from tests.conftest import wait_for
from tests.faults.paid_at_stripe import Postman, assert_each_applied_once, prepare, waiting
from tests.stack import Stack

EVENTS = 1_000
TIMES = 3
EMPTY_REDIS_AFTER = (3, 6, 10)  # seconds
KILL_A_WORKER_EVERY = 3  # seconds, with the job it is at; later where a slow machine has not got on since the last one
# The trouble goes on while the bulk of the work is done. With fewer left it is over, and the minute begins.
LEFT_AT_THE_END = 200
LONGEST_STORM = 300
ONE_MINUTE = 60


def start_without_scheduler(stack: Stack, *workers: str) -> None:
    stack.start_stripe()
    stack.start_web()
    for name in workers:
        stack.start_worker("urgent", name)
    stack.start_worker("default")


def processed(stack: Stack) -> int:
    ((count,),) = stack.ask_database("SELECT count(*) FROM webhook_events WHERE status = 'PROCESSED'")
    return int(count)


@pytest.mark.timeout(LONGEST_STORM + 2 * ONE_MINUTE)
def test_each_event_takes_effect_once_whatever_is_killed(stack: Stack) -> None:
    workers = ("urgent-1", "urgent-2")
    victims = cycle((*workers, "default"))
    start_without_scheduler(stack, *workers)
    stack.start_scheduler()
    events = prepare(stack, EVENTS).events
    started = time.monotonic()
    kills, processed_before = 0, 0
    with Postman(stack) as postman:
        posts = postman.post(events, times=TIMES)
        for second in range(1, LONGEST_STORM):
            time.sleep(1)
            if second in EMPTY_REDIS_AFTER:
                stack.empty_redis()
            if second % KILL_A_WORKER_EVERY == 0 and processed(stack) > processed_before:
                processed_before = processed(stack)
                name = next(victims)
                stack.kill(name)
                stack.start_worker("default" if name == "default" else "urgent", name)
                kills += 1
            if all(post.done() for post in posts) and waiting(stack) <= LEFT_AT_THE_END:
                break
        for post in posts:
            post.result()
    storm = time.monotonic() - started
    left = waiting(stack)
    assert left <= LEFT_AT_THE_END
    wait_for(lambda: waiting(stack) == 0, "everything to be worked through", ONE_MINUTE)
    took = time.monotonic() - started
    print(  # noqa: T201  (shown with -s)
        f"storm of {storm:.0f} s: {kills} workers killed, {left} events left; all done after {took:.0f} s"
    )
    assert kills > 3
    assert postman.answers == [200] * EVENTS * TIMES
    assert_each_applied_once(stack, EVENTS)


def test_without_the_sweep_some_would_be_lost(stack: Stack) -> None:
    start_without_scheduler(stack)
    events = prepare(stack, 40).events
    with Postman(stack) as postman:
        for post in postman.post(events):
            post.result()
        time.sleep(1)  # the last of a burst are spoken for a moment later
        stack.empty_redis()
        stack.start_worker("urgent")
        # Longer than any poke: without the scheduler's sweep nobody ever comes back for them.
        time.sleep(8)
        assert waiting(stack) == len(events)
        stack.start_scheduler()
        wait_for(lambda: waiting(stack) == 0, "the sweep to find them", ONE_MINUTE)
    assert_each_applied_once(stack, len(events))
