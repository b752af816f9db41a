"""Taking and giving back stock. Days are locked in order: overlapping stays wait for each other, never in a ring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import bindparam, select, update

from app.catalog.models import Availability
from app.db import require_transaction
from app.errors import Conflict
from app.extensions import db

# Built once and without the ORM: they run in every booking, and building them would take longer than the database does.
_STOCK = Availability.metadata.tables[Availability.__tablename__]
_THESE_DAYS = (
    _STOCK.c.package_id == bindparam("package"),
    _STOCK.c.day.in_(bindparam("days", expanding=True)),
)
_LOCK = (
    select(_STOCK.c.day, _STOCK.c.price_minor, _STOCK.c.capacity - _STOCK.c.held - _STOCK.c.booked)
    .where(*_THESE_DAYS)
    .order_by(_STOCK.c.day)
    .with_for_update()
)
_CHANGE = (
    update(_STOCK)
    .where(*_THESE_DAYS)
    .values(held=_STOCK.c.held + bindparam("more_held"), booked=_STOCK.c.booked + bindparam("more_booked"))
)


@dataclass(frozen=True)
class StockDay:
    """One day's price of one unit, and how many are left."""

    day: date
    price_minor: int
    units_left: int


def hold(package_id: int, days: Sequence[date], units: int) -> list[StockDay]:
    """Take units off every one of the days until they are paid or given back; returns the days' prices.

    Raises Conflict when sold out.
    """
    stock = _lock_days(package_id, days)
    if len(stock) < len(days) or any(day.units_left < units for day in stock):
        raise Conflict(_sold_out(stock, days, units))
    _change(package_id, days, held=units)
    return stock


def book(package_id: int, days: Sequence[date], units: int) -> None:
    """Turn held units into booked ones."""
    _lock_days(package_id, days)
    _change(package_id, days, held=-units, booked=units)


def book_again(package_id: int, days: Sequence[date], units: int) -> bool:
    """Book units that were given back already, if every day still has them; says whether."""
    stock = _lock_days(package_id, days)
    if len(stock) < len(days) or any(day.units_left < units for day in stock):
        return False
    _change(package_id, days, booked=units)
    return True


def release_held(package_id: int, days: Sequence[date], units: int) -> None:
    """Give held units back."""
    _lock_days(package_id, days)
    _change(package_id, days, held=-units)


def _lock_days(package_id: int, days: Sequence[date]) -> list[StockDay]:
    require_transaction()
    rows = db.session.execute(_LOCK, {"package": package_id, "days": days})
    return [StockDay(*row) for row in rows]


def _change(package_id: int, days: Sequence[date], *, held: int = 0, booked: int = 0) -> None:
    db.session.execute(_CHANGE, {"package": package_id, "days": days, "more_held": held, "more_booked": booked})


def _sold_out(stock: Sequence[StockDay], days: Sequence[date], units: int) -> str:
    offered = {day.day: day.units_left for day in stock}
    short = [day for day in days if offered.get(day, 0) < units]
    listed = ", ".join(day.isoformat() for day in short[:5]) + (f" and {len(short) - 5} more" if len(short) > 5 else "")
    return f"Sold out for {units} {'unit' if units == 1 else 'units'} on {listed}."
