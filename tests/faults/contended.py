"""The app on a slow day: between looking at the stock and taking it there is time enough for everybody else to look.

On a machine with few cores a request is hardly ever interrupted there, so a missing lock would go unnoticed. With
WITHOUT_LOCK set the lock is taken out as well: what the test of the last unit has to catch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import date

from sqlalchemy import select

from app.catalog import inventory
from app.catalog.inventory import StockDay
from app.catalog.models import Availability
from app.extensions import db
from wsgi import app

__all__ = ["app"]

_locked_days = inventory._lock_days


def _read_days(package_id: int, days: Sequence[date]) -> list[StockDay]:
    left = Availability.capacity - Availability.held - Availability.booked
    rows = db.session.execute(
        select(Availability.day, Availability.price_minor, left)
        .where(Availability.package_id == package_id, Availability.day.in_(days))
        .order_by(Availability.day)
    )
    return [StockDay(*row) for row in rows]


def _look_and_dawdle(package_id: int, days: Sequence[date]) -> list[StockDay]:
    look = _read_days if os.environ.get("WITHOUT_LOCK") else _locked_days
    found = look(package_id, days)
    if all(day.units_left for day in found):
        time.sleep(0.5)
    return found


inventory._lock_days = _look_and_dawdle
