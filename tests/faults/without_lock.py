"""The app with the lock on stock taken out: what the test of the last unit has to catch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import select

from app.catalog import inventory
from app.catalog.inventory import StockDay
from app.catalog.models import Availability
from app.extensions import db
from wsgi import app

__all__ = ["app"]


def _read_days(package_id: int, days: Sequence[date]) -> list[StockDay]:
    left = Availability.capacity - Availability.held - Availability.booked
    rows = db.session.execute(
        select(Availability.day, Availability.price_minor, left)
        .where(Availability.package_id == package_id, Availability.day.in_(days))
        .order_by(Availability.day)
    )
    return [StockDay(*row) for row in rows]


inventory._lock_days = _read_days
