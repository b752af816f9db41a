"""The stock by month: what the database keeps in step with availability, however that is changed."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.catalog import day_changes, inventory
from app.catalog.day_changes import DayChange
from app.catalog.models import Package
from app.db import transaction
from app.errors import Conflict
from app.extensions import db
from tests import factories
from tests.concurrency import at_once, held_up

# Two weeks on either side of a month's end.
FIRST = (factories.tomorrow().replace(day=1) + timedelta(days=62)).replace(day=1) - timedelta(days=14)
DAYS = [FIRST + timedelta(days=number) for number in range(28)]

Months = dict[tuple[int, date], tuple[list[int | None], list[int | None] | None]]


def kept(execute: Callable[..., Any], ids: list[int]) -> Months:
    rows = execute("SELECT package_id, month, prices, min_nights FROM stock_months WHERE package_id = ANY(%s)", (ids,))
    return {(package_id, month): (prices, nights) for package_id, month, prices, nights in rows}


def plain(execute: Callable[..., Any], ids: list[int]) -> Months:
    """The same from the days, one by one."""
    found: Months = {}
    rows = execute(
        "SELECT package_id, day, capacity, held, booked, price_minor, min_nights, closed FROM availability"
        " WHERE package_id = ANY(%s)",
        (ids,),
    )
    for package_id, day, capacity, held, booked, price, min_nights, closed in rows:
        key = (package_id, day.replace(day=1))
        prices, nights = found.get(key, ([None] * 31, None))
        if not closed and capacity - held - booked >= 1:
            prices[day.day - 1] = price
        if min_nights is not None:
            nights = nights or [None] * 31
            nights[day.day - 1] = min_nights
        found[key] = (prices, nights)
    return found


def assert_kept(execute: Callable[..., Any], packages: list[Package]) -> Months:
    """That nothing differs, but for months that have no days any more: those have no prices."""
    ids = [package.id for package in packages]
    expected = plain(execute, ids)
    found = kept(execute, ids)
    for key in found.keys() - expected.keys():
        expected[key] = ([None] * 31, None)
    assert found == expected
    return found


@pytest.fixture
def execute(owner: Any) -> Callable[..., Any]:
    def run(statement: str, parameters: Any = None) -> Any:
        with owner.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    return run


def change(package: Package, days: list[date], what: str) -> None:
    with transaction():
        db.session.execute(
            text(f"UPDATE availability SET {what} WHERE package_id = :id AND day = ANY(:days)"),
            {"id": package.id, "days": days},
        )


def price(package: Package, day: date) -> int | None:
    db.session.rollback()
    return db.session.scalar(
        text("SELECT prices[:number] FROM stock_months WHERE package_id = :id AND month = :month"),
        {"number": day.day, "id": package.id, "month": day.replace(day=1)},
    )


def test_a_day_has_its_price_for_as_long_as_a_unit_can_be_had(app: Flask) -> None:
    package, day = factories.package(days=28, starting=FIRST, units=2), DAYS[3]
    seen = [price(package, day)]
    for step in (
        lambda: inventory.hold(package.id, [day], 1),
        lambda: inventory.hold(package.id, [day], 1),
        lambda: inventory.book(package.id, [day], 2),
        lambda: inventory.release_booked(package.id, [day], 1),
    ):
        with transaction():
            step()
        seen.append(price(package, day))
    for what in ("closed = true", "closed = false", "price_minor = 7", "capacity = 1", "capacity = 5"):
        change(package, [day], what)
        seen.append(price(package, day))
    assert seen == [10_000, 10_000, None, None, 10_000, None, 10_000, 7, None, 7]
    assert price(package, DAYS[4]) == 10_000


def test_a_days_own_minimum_is_there_while_it_has_one(app: Flask, execute: Callable[..., Any]) -> None:
    package = factories.package(days=28, starting=FIRST)
    assert {nights for _prices, nights in kept(execute, [package.id]).values()} == {None}
    change(package, DAYS[:2], "min_nights = 3")
    change(package, DAYS[1:2], "min_nights = 4")
    assert assert_kept(execute, [package])[package.id, FIRST.replace(day=1)][1] is not None
    change(package, DAYS[:2], "min_nights = NULL")
    assert {nights for _prices, nights in assert_kept(execute, [package]).values()} == {None}


def test_whatever_is_done_to_days_the_months_follow(app: Flask, execute: Callable[..., Any]) -> None:
    rng = random.Random(6)
    packages = [factories.package(days=0, units=units) for units in (1, 1, 3)]
    offered: dict[int, list[date]] = {package.id: [] for package in packages}
    for _ in range(300):
        package = rng.choice(packages)
        days = sorted(rng.sample(DAYS, rng.randrange(1, 9)))
        there = [day for day in days if day in offered[package.id]]
        step = rng.choice(
            ("offer", "offer", "hold", "hold", "release", "book", "set", "set", "set", "delete", "undone")
        )
        try:
            with transaction():
                if step == "offer":
                    _offer(rng, packages, offered)
                elif step == "hold":
                    inventory.hold(package.id, there, 1)
                elif step in ("release", "book"):
                    getattr(inventory, {"release": "release_held", "book": "book"}[step])(
                        package.id, _held(package, there), 1
                    )
                elif step == "undone":
                    inventory.hold(package.id, there, 1)
                    raise Conflict("All of it is taken back.")
        except Conflict:
            continue
        if step == "set":
            change(
                package,
                there,
                rng.choice(
                    (
                        "closed = NOT closed",
                        f"price_minor = {rng.randrange(1, 99)}",
                        f"capacity = held + booked + {rng.randrange(2)}",
                        "min_nights = NULL",
                        f"min_nights = {rng.randrange(1, 5)}, price_minor = price_minor + 1",
                    )
                ),
            )
        elif step == "delete":
            execute("DELETE FROM availability WHERE package_id = %s AND day = ANY(%s)", (package.id, there))
            offered[package.id] = [day for day in offered[package.id] if day not in there]
        assert_kept(execute, packages)


def _offer(rng: random.Random, packages: list[Package], offered: dict[int, list[date]]) -> None:
    """New days of several packages in one statement, some of them sold out, closed or with a minimum at once."""
    rows = []
    for package in packages:
        for day in rng.sample(DAYS, rng.randrange(1, 12)):
            if day not in offered[package.id]:
                offered[package.id].append(day)
                rows.append((package.id, day, rng.randrange(1, 99), rng.choice((None, None, 2)), rng.random() < 0.2))
    if rows:
        values = ", ".join(
            f"({i}, '{day}', {package_units(packages, i)}, {p}, {n or 'NULL'}, {c})" for i, day, p, n, c in rows
        )
        db.session.execute(
            text(
                f"INSERT INTO availability (package_id, day, capacity, price_minor, min_nights, closed) VALUES {values}"
            )
        )


def package_units(packages: list[Package], package_id: int) -> int:
    return next(package.units for package in packages if package.id == package_id)


def _held(package: Package, days: list[date]) -> list[date]:
    rows = db.session.execute(
        text("SELECT day FROM availability WHERE package_id = :id AND day = ANY(:days) AND held > 0 ORDER BY day"),
        {"id": package.id, "days": days},
    )
    return list(rows.scalars())


def test_a_day_that_is_replaced_in_one_transaction_is_as_it_was_left(app: Flask, owner: Any) -> None:
    package, day = factories.package(days=28, starting=FIRST), DAYS[0]
    statements = {
        "delete": "DELETE FROM availability WHERE package_id = %s AND day = %s",
        "dearer": "UPDATE availability SET price_minor = price_minor + 1, min_nights = 9"
        " WHERE package_id = %s AND day = %s",
        "insert": "INSERT INTO availability (package_id, day, capacity, price_minor) VALUES (%s, %s, 1, 5)",
    }
    owner.autocommit = False
    for order, expected in (
        (("delete", "insert"), 5),
        (("dearer", "delete", "insert"), 5),
        (("delete", "insert", "dearer"), 6),
        (("dearer", "delete"), None),
        (("insert", "dearer", "dearer"), 7),
    ):
        with owner, owner.cursor() as cursor:
            for name in order:
                cursor.execute(statements[name], (package.id, day))
        assert price(package, day) == expected, order
        with owner, owner.cursor() as cursor:

            def run(statement: str, parameters: Any, cursor: Any = cursor) -> Any:
                cursor.execute(statement, parameters)
                return cursor.fetchall()

            assert_kept(run, [package])


def test_days_that_are_moved_are_where_they_went(app: Flask, execute: Callable[..., Any]) -> None:
    package, other = factories.package(days=20, starting=FIRST), factories.package(days=2, starting=FIRST)
    execute("UPDATE availability SET min_nights = 2 WHERE package_id = %s AND day < %s", (package.id, DAYS[2]))
    for moved in ("day + 100", "day - 370", "day + 271"):
        execute(f"UPDATE availability SET day = {moved} WHERE package_id = %s", (package.id,))
        assert_kept(execute, [package])
    execute(
        "UPDATE availability SET package_id = %s WHERE package_id = %s AND day > %s", (other.id, package.id, DAYS[4])
    )
    assert_kept(execute, [package, other])


@pytest.mark.parametrize(
    ("trigger", "statement"),
    [
        (
            "availability_insert_stock",
            "INSERT INTO availability (package_id, day, capacity, price_minor) VALUES (%s, '2031-01-31', 1, 5)",
        ),
        ("availability_update_stock", "UPDATE availability SET held = 1 WHERE package_id = %s"),
        ("availability_delete_stock", "DELETE FROM availability WHERE package_id = %s"),
    ],
)
@pytest.mark.parametrize("asleep", [False, True])
def test_each_trigger_is_needed(app: Flask, owner: Any, trigger: str, statement: str, asleep: bool) -> None:
    package = factories.package(days=3, starting=FIRST)
    owner.autocommit = False
    try:
        with owner.cursor() as cursor:
            if asleep:
                cursor.execute(f"ALTER TABLE availability DISABLE TRIGGER {trigger}")
            cursor.execute(statement, (package.id,))
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(
                "SELECT count(*) FROM (SELECT * FROM availability_months WHERE package_id = %(id)s"
                " EXCEPT SELECT package_id, month, prices, min_nights FROM stock_months WHERE package_id = %(id)s"
                " UNION ALL (SELECT package_id, month, prices, min_nights FROM stock_months WHERE package_id = %(id)s"
                " AND array_remove(prices, NULL) <> '{}' EXCEPT SELECT * FROM availability_months)) AS differing",
                {"id": package.id},
            )
            assert (cursor.fetchone()[0] > 0) == asleep
    finally:
        owner.rollback()


def test_who_takes_another_day_of_the_month_does_not_wait(app: Flask) -> None:
    package = factories.package(days=28, starting=FIRST)
    package_id = package.id

    def take(day: date) -> int:
        with transaction():
            return len(inventory.hold(package_id, [day], 1))

    with transaction():
        inventory.hold(package_id, DAYS[:1], 1)
        assert at_once(app, lambda: take(DAYS[1])) == [1]
        # Nor does this one, which would have to wait for that one now.
        inventory.release_held(package_id, DAYS[1:2], 1)
        inventory.hold(package_id, DAYS[1:3], 1)
    assert [price(package, day) for day in DAYS[:4]] == [None, None, None, 10_000]


def test_the_months_of_a_stay_are_written_in_their_order(app: Flask) -> None:
    package = factories.package(days=28, starting=FIRST, units=1)
    package_id, days = package.id, [DAYS[14], DAYS[13]]
    lock_month = text("SELECT FROM stock_months WHERE package_id = :id AND month = :month FOR UPDATE NOWAIT")

    def take() -> None:
        inventory.hold(package_id, days, 1)
        inventory.write_months()

    with transaction():
        db.session.execute(lock_month, {"id": package_id, "month": days[1].replace(day=1)})
        taking = held_up(app, take)
        # Who waits for the first has not taken the second.
        db.session.execute(lock_month, {"id": package_id, "month": days[0]})
    assert taking() is None
    assert [price(package, day) for day in days] == [None, None]


def test_many_at_once_leave_the_months_right(app: Flask, execute: Callable[..., Any]) -> None:
    packages = [factories.package(days=24, starting=FIRST, units=units) for units in (1, 2)]
    ids = [package.id for package in packages]
    admin = factories.admin()

    def guest(seed: int) -> Callable[[], int]:
        rng = random.Random(seed)

        def stay() -> int:
            taken = 0
            for _ in range(30):
                package_id, first = rng.choice(ids), rng.randrange(22)
                days = DAYS[first : first + rng.randrange(1, 4)]
                try:
                    with transaction():
                        inventory.hold(package_id, days, 1)
                    if rng.random() < 0.6:
                        with transaction():
                            inventory.release_held(package_id, days, 1)
                    taken += 1
                except Conflict:
                    pass
            return taken

        return stay

    def desk() -> int:
        done = 0
        for number in range(12):
            package_id = ids[number % 2]
            wish = DayChange(
                DAYS[0],
                DAYS[-1],
                weekdays={number % 7, (number + 3) % 7},
                price_minor=100 + number,
                min_nights=number % 3,
                closed=number % 4 == 0,
                offer_missing=True,
            )
            plan = day_changes.preview(package_id, wish, by=admin)
            if plan.changing:
                day_changes.change_days(package_id, wish, by=admin, version=plan.version)
                done += 1
        return done

    outcomes = at_once(app, guest(1), guest(2), guest(3), guest(4), desk)
    assert all(isinstance(outcome, int) and outcome > 0 for outcome in outcomes), outcomes
    assert_kept(execute, packages)
