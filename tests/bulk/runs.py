"""Reviews that wait, as many as wanted, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from app.accounts.models import User
from app.audit.actor import Actor
from app.bulk import service as bulk
from app.bulk.models import Bulk
from app.db import transaction
from app.extensions import db
from tests import factories, queued

_REVIEWS = """
WITH stays AS (
    INSERT INTO bookings (reference, status, traveller_id, package_id, provider_id, package_name, starts_on, ends_on,
                          time_zone, units, guests, nights, total_minor, currency, policy, expires_at, confirmed_at,
                          completed_at)
    SELECT :mark || number, 'COMPLETED', :traveller_id, :package_id, :provider_id, 'Somewhere', current_date - 9,
           current_date - 8, 'Europe/Oslo', 1, 1, '[]', 10000, 'USD', '{}', now(), now(), now()
    FROM generate_series(1, :number) AS number RETURNING id)
INSERT INTO reviews (booking_id, package_id, traveller_id, rating, title, content)
SELECT id, :package_id, :traveller_id, 1 + id % 5, 'Would come back', 'Quiet at night.' FROM stays RETURNING id
"""


class Waiting:
    """Reviews of one package that wait for a decision."""

    def __init__(self, number: int) -> None:
        package = factories.package(days=0)
        self.package_id, self.provider_id = package.id, package.provider_id
        self.traveller_id = factories.traveller().id
        self.ids = self.more(number)

    def more(self, number: int) -> list[int]:
        """Others come in."""
        with transaction():
            mark = f"T-{uuid4().hex[:8]}-"
            made = db.session.scalars(text(_REVIEWS), {**vars(self), "mark": mark, "number": number})
            return sorted(made)

    def statuses(self) -> dict[int, str]:
        """Where each stands now."""
        found = "SELECT id, status FROM reviews WHERE package_id = :id"
        return dict(asked(found, id=self.package_id))  # type: ignore[arg-type]

    def counts(self) -> Counter[str]:
        """How many are in each state."""
        return Counter(self.statuses().values())

    def decided(self, action: str) -> Counter[int]:
        """How often each was decided on, by the trail."""
        found = "SELECT object_id FROM audit_entries WHERE object_type = 'reviews' AND action = :action"
        ids = set(self.statuses())
        return Counter(row[0] for row in asked(found, action=action) if row[0] in ids)

    def stars(self) -> int:
        """How many ratings the package's counts hold."""
        found = "SELECT coalesce(sum(reviews), 0) FROM rating_counts WHERE package_id = :id"
        return int(asked(found, id=self.package_id)[0][0])


def asked(sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Rows, as the database has them now."""
    db.session.rollback()
    return [tuple(row) for row in db.session.execute(text(sql), parameters)]


def moderator() -> tuple[User, Actor]:
    """Somebody who may decide on reviews."""
    person = factories.staff("moderator")
    return person, factories.actor(person)


def started(ids: Iterable[int], by: Actor) -> Bulk:
    """A run that approves these reviews, which a worker may begin with."""
    return bulk.start(bulk.freeze("reviews.approve", list(ids), by=by).id, by=by)


def handed_out() -> list[int]:
    """The runs that a job waits for in Redis, in order."""
    return [ids[0] for name, ids in queued.calls() if name == Bulk.JOB]


def reread(run: Bulk) -> Bulk:
    """The run as it is now."""
    found: Bulk = factories.reread(run)
    return found
