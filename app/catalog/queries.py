"""The public's reads of the catalogue: plain SQL, one round trip each, only what is on sale."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from app.catalog.policies import POLICY
from app.db import read

_PACKAGE = """
SELECT p.id, p.type, p.name, p.description, p.place, p.city, p.country, p.latitude, p.longitude, p.time_zone,
       p.price_minor, p.currency, p.capacity, p.min_nights, p.duration_days, p.amenities, {policy},
       r.id AS provider_id, r.name AS provider_name{more}
FROM packages p JOIN providers r ON r.id = p.provider_id
WHERE p.status = 'PUBLISHED' AND r.status = 'VERIFIED'
"""


def package(package_id: int, *, more: str = "") -> Any:
    """One package on sale, with its provider. `more` are columns that another subject knows of the package `p`."""
    rows = read(_PACKAGE.format(more=more, policy=POLICY) + " AND p.id = %(id)s", {"id": package_id})
    return rows[0] if rows else None


def packages(
    *, type_: str | None, provider_id: int | None, after_id: int | None, limit: int, more: str = ""
) -> Sequence[Any]:
    """Packages on sale in order of id, one more than `limit` when there is a next page; `more` as for one."""
    sql = _PACKAGE.format(more=more, policy=POLICY)
    parameters = {"limit": limit + 1, "after": after_id or 0, "type": type_, "provider": provider_id}
    if type_ is not None:
        sql += " AND p.type = %(type)s"
    if provider_id is not None:
        sql += " AND p.provider_id = %(provider)s"
    return read(sql + " AND p.id > %(after)s ORDER BY p.id LIMIT %(limit)s", parameters)


def availability(package_id: int, start: date, end: date) -> Sequence[Any]:
    """The days from `start` to `end` (excluded) that the package is offered on, sold out or not.

    `min_nights` is None where the package's own counts.
    """
    return read(
        """
        SELECT day, CASE WHEN closed THEN 0 ELSE capacity - held - booked END AS units_left, price_minor, min_nights
        FROM availability
        WHERE package_id = %(id)s AND day >= %(start)s AND day < %(end)s ORDER BY day
        """,
        {"id": package_id, "start": start, "end": end},
    )
