"""Look-ups of the catalogue that verbs of other subjects stand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.db import read
from app.errors import NotFound


@dataclass(frozen=True)
class Offer:
    """What selling a package needs to know of it; the names are the columns' of `Package`."""

    id: int
    provider_id: int
    type: Literal["hotel", "tour"]
    name: str
    time_zone: str
    currency: str
    capacity: int
    min_nights: int
    duration_days: int
    cancellation_policy: str


def on_sale(package_id: int) -> Offer:
    """The package, if the public may buy it now: published, of a verified provider. Raises NotFound."""
    rows = read(
        """
        SELECT p.id, p.provider_id, p.type, p.name, p.time_zone, p.currency, p.capacity, p.min_nights, p.duration_days,
               p.cancellation_policy
        FROM packages p JOIN providers r ON r.id = p.provider_id
        WHERE p.id = %(id)s AND p.status = 'PUBLISHED' AND r.status = 'VERIFIED'
        """,
        {"id": package_id},
    )
    if not rows:
        raise NotFound("There is no package with this id on sale.")
    return Offer(*rows[0])
