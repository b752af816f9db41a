"""Two hundred travellers want the last unit at the same moment."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import requests

from tests import factories
from tests.stack import Stack

TRAVELLERS = 200
WEB_WORKERS = 6


def everybody_books(stack: Stack) -> tuple[int, Counter[int]]:
    """The package with one unit that all of them book for the same two nights, and how many got which status."""
    with stack.app():
        package_id = factories.package(units=1, days=4).id
        headers = [factories.bearer() for _ in range(4)]
    first = factories.tomorrow()
    wish = {"packageId": package_id, "checkIn": str(first), "checkOut": str(first + timedelta(days=2))}
    together = Barrier(TRAVELLERS)

    def book(number: int) -> requests.Response:
        together.wait()
        return requests.post(f"{stack.url}/v1/bookings", json=wish, headers=headers[number % 4], timeout=120)

    with ThreadPoolExecutor(TRAVELLERS) as travellers:
        answers = list(travellers.map(book, range(TRAVELLERS)))
    for answer in answers:
        if answer.status_code == 409:
            problem: dict[str, Any] = answer.json()
            assert problem["detail"].startswith(("Sold out", "Too many people")), problem
    return package_id, Counter(answer.status_code for answer in answers)


def sold(stack: Stack, package_id: int) -> list[tuple[int, int, int]]:
    return stack.ask_database(
        "SELECT a.held, a.booked, (SELECT count(*)::int FROM bookings b WHERE b.package_id = a.package_id)"
        " FROM availability a WHERE a.package_id = %s ORDER BY a.day LIMIT 2",
        (package_id,),
    )


def test_the_last_unit_is_sold_once_and_everybody_else_is_told_so(stack: Stack) -> None:
    stack.start_web(workers=WEB_WORKERS)
    package_id, answers = everybody_books(stack)
    assert answers == {201: 1, 409: TRAVELLERS - 1}
    assert sold(stack, package_id) == [(1, 0, 1), (1, 0, 1)]


def test_it_is_sold_once_also_where_everybody_looks_before_anybody_takes(stack: Stack) -> None:
    stack.start_web(app="tests.faults.contended:app", workers=WEB_WORKERS)
    package_id, answers = everybody_books(stack)
    assert answers == {201: 1, 409: TRAVELLERS - 1}
    assert sold(stack, package_id) == [(1, 0, 1), (1, 0, 1)]


def test_without_the_lock_the_same_travellers_are_oversold(stack: Stack) -> None:
    stack.ask_database("ALTER TABLE availability DROP CONSTRAINT ck_availability_not_oversold")
    stack.start_web(app="tests.faults.contended:app", workers=WEB_WORKERS, without_lock="yes")
    package_id, answers = everybody_books(stack)
    assert answers[201] > 1
    assert answers[500] == 0
    assert sold(stack, package_id) == [(answers[201], 0, answers[201])] * 2
