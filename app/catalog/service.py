"""Look-ups of the catalogue that verbs of other subjects stand on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from app.catalog.policies import POLICY, terms
from app.db import read
from app.errors import NotFound


@dataclass(frozen=True)
class Offer:
    """What selling a package needs to know of it; the names are the columns' of `Package`, `terms` those
    of its cancellation policy.
    """

    id: int
    provider_id: int
    type: Literal["hotel", "tour"]
    name: str
    time_zone: str
    currency: str
    capacity: int
    min_nights: int
    duration_days: int
    terms: dict[str, Any]


def on_sale(package_id: int, starts_on: date | None) -> Offer:
    """The package, if the public may buy it now: published, of a verified provider; with the minimum of nights of a
    stay from `starts_on`. Raises NotFound.
    """
    rows = read(
        f"""
        SELECT p.id, p.provider_id, p.type, p.name, p.time_zone, p.currency, p.capacity,
               COALESCE(a.min_nights, p.min_nights) AS min_nights, p.duration_days, {POLICY}
        FROM packages p JOIN providers r ON r.id = p.provider_id
        LEFT JOIN availability a ON a.package_id = p.id AND a.day = %(starts_on)s
        WHERE p.id = %(id)s AND p.status = 'PUBLISHED' AND r.status = 'VERIFIED'
        """,  # noqa: S608  # nosec B608 - our own constant
        {"id": package_id, "starts_on": starts_on},
    )
    if not rows:
        raise NotFound("There is no package with this id on sale.")
    offer = rows[0]._asdict()
    kept = terms(offer.pop("policy"), offer.pop("tiers"))
    return Offer(**offer, terms=kept)
