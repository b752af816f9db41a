"""The days packages are offered on: opened, topped up, and following their package's units and price."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import text

from app.catalog.models import Package
from app.db import require_transaction
from app.extensions import db

_OPEN = """
INSERT INTO availability (package_id, day, capacity, price_minor)
SELECT x.package_id, x.today + n, x.units, x.price
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS x(package_id bigint, today date, days int, units int, price bigint)
CROSS JOIN LATERAL generate_series(0, x.days - 1) n
"""

# Counting first makes the usual case, where no day is missing, cheap.
_TOP_UP = (
    _OPEN  # noqa: S608  # nosec B608  (both parts are constants)
    + """
WHERE x.days > (
    SELECT count(*) FROM availability a
    WHERE a.package_id = x.package_id AND a.day >= x.today AND a.day < x.today + x.days
)
ON CONFLICT DO NOTHING
"""
)

_FOLLOW = """
UPDATE availability a
SET capacity = CASE WHEN a.capacity = x.old_units THEN x.units ELSE a.capacity END,
    price_minor = CASE WHEN a.price_minor = x.old_price THEN x.price ELSE a.price_minor END
FROM jsonb_to_recordset(CAST(:rows AS jsonb))
    AS x(package_id bigint, today date, units int, old_units int, price bigint, old_price bigint)
WHERE a.package_id = x.package_id AND a.day >= x.today
  AND (x.units <> x.old_units AND a.capacity = x.old_units OR x.price <> x.old_price AND a.price_minor = x.old_price)
"""

_FOLLOWING_DAYS = """
SELECT a.package_id, a.day, a.held + a.booked
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS x(package_id bigint, today date, old_units int)
JOIN availability a ON a.package_id = x.package_id AND a.day >= x.today AND a.capacity = x.old_units
ORDER BY a.package_id, a.day
"""


@dataclass(frozen=True)
class Former:
    """A package that changes, and the units and the price its days had from it."""

    package: Package
    units: int
    price_minor: int


@dataclass(frozen=True)
class SoldDay:
    """A day and how many units of it are held or booked."""

    day: date
    sold: int


def open_days(packages: Sequence[tuple[Package, int]]) -> None:
    """Offer new packages on so many days each, today (where the package is) the first."""
    _execute(_OPEN, [_offer(package, days) for package, days in packages])


def top_up(packages: Sequence[tuple[Package, int]]) -> None:
    """Offer packages on those of the next so many days that are missing; the others stay as they are."""
    _execute(_TOP_UP, [_offer(package, days) for package, days in packages])


def follow(changed: Sequence[Former]) -> None:
    """Give the days from today on their package's new units and price; days with their own keep them."""
    rows = [
        {
            **_today(former.package),
            "units": former.package.units,
            "old_units": former.units,
            "price": former.package.price_minor,
            "old_price": former.price_minor,
        }
        for former in changed
        if (former.units, former.price_minor) != (former.package.units, former.package.price_minor)
    ]
    _execute(_FOLLOW, rows)


def sold_beyond(wanted: Iterable[tuple[Package, int]], *, lock: bool) -> dict[int, SoldDay]:
    """By package id, the first day that has sold more than the units wanted; to be asked before the package changes.

    With `lock`, the days that would follow stay as they are until the transaction ends; they are locked in day order.
    """
    fewer = {package.id: (package, units) for package, units in wanted if units < package.units}
    if not fewer:
        return {}
    rows = [{**_today(package), "old_units": package.units} for package, _units in fewer.values()]
    query = text(_FOLLOWING_DAYS + (" FOR UPDATE OF a" if lock else ""))
    found: dict[int, SoldDay] = {}
    for package_id, day, sold in db.session.execute(query, {"rows": orjson.dumps(rows).decode()}):
        if sold > fewer[package_id][1]:
            found.setdefault(package_id, SoldDay(day, sold))
    return found


def _offer(package: Package, days: int) -> dict[str, Any]:
    return {**_today(package), "days": days, "units": package.units, "price": package.price_minor}


def _today(package: Package) -> dict[str, Any]:
    return {"package_id": package.id, "today": datetime.now(ZoneInfo(package.time_zone)).date()}


def _execute(statement: str, rows: list[dict[str, Any]]) -> None:
    require_transaction()
    if rows:
        db.session.execute(text(statement), {"rows": orjson.dumps(rows).decode()})
