"""Taking and giving back stock. Days are locked in order, and then months are: overlapping stays wait for each other,
never in a ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from sqlalchemy import text

from app.db import require_transaction, statement
from app.errors import Conflict
from app.extensions import db

_LOCK = """
SELECT day, price_minor, CASE WHEN closed THEN 0 ELSE capacity - held - booked END AS units_left FROM availability
WHERE package_id = %(package_id)s AND day = ANY(%(days)s) ORDER BY day FOR UPDATE
"""
_CHANGE = """
UPDATE availability SET held = held + %(held)s, booked = booked + %(booked)s
WHERE package_id = %(package_id)s AND day = ANY(%(days)s)
"""
# At once, and what comes later at the commit again.
_WRITE_MONTHS = text(
    "SET CONSTRAINTS availability_update_stock IMMEDIATE; SET CONSTRAINTS availability_update_stock DEFERRED"
)


@dataclass(frozen=True)
class StockDay:
    """One day's price of one unit, and how many are left."""

    day: date
    price_minor: int
    units_left: int


def hold(package_id: int, days: Sequence[date], units: int) -> list[StockDay]:
    """Take units off every one of the days until they are paid or given back; returns the days' prices.

    Raises Conflict when sold out or closed.
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
    """Book units that were given back already, if every day is still open and has them; says whether."""
    stock = _lock_days(package_id, days)
    if len(stock) < len(days) or any(day.units_left < units for day in stock):
        return False
    _change(package_id, days, booked=units)
    return True


def release_held(package_id: int, days: Sequence[date], units: int) -> None:
    """Give held units back."""
    _lock_days(package_id, days)
    _change(package_id, days, held=-units)


def release_booked(package_id: int, days: Sequence[date], units: int) -> None:
    """Give booked units back: their booking is cancelled."""
    _lock_days(package_id, days)
    _change(package_id, days, booked=-units)


def write_months() -> None:
    """Have the stock by month written now, which else is done at the commit, and wait here for who is at the same
    months: only when the transaction wants no more days.
    """
    require_transaction()
    db.session.execute(_WRITE_MONTHS)


def _lock_days(package_id: int, days: Sequence[date]) -> list[StockDay]:
    return [StockDay(*row) for row in statement(_LOCK, {"package_id": package_id, "days": list(days)})]


def _change(package_id: int, days: Sequence[date], *, held: int = 0, booked: int = 0) -> None:
    # Months are written in the order in which their days were changed, which within one statement is nobody's.
    for _, some in groupby(sorted(days), key=lambda day: day.replace(day=1)):
        statement(_CHANGE, {"package_id": package_id, "days": list(some), "held": held, "booked": booked})


def _sold_out(stock: Sequence[StockDay], days: Sequence[date], units: int) -> str:
    offered = {day.day: day.units_left for day in stock}
    short = [day for day in days if offered.get(day, 0) < units]
    listed = ", ".join(day.isoformat() for day in short[:5]) + (f" and {len(short) - 5} more" if len(short) > 5 else "")
    return f"Sold out for {units} {'unit' if units == 1 else 'units'} on {listed}."
