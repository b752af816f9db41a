"""The public's reads of reviews: plain SQL, one round trip each, only what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.db import read


def shown(package_id: int, *, before_id: int | None, limit: int) -> Sequence[Any]:
    """A package's reviews that are shown, newest first, one more than `limit` when there is a next page."""
    return read(
        """
        SELECT r.id, r.rating, r.title, r.content, r.created_at, u.name AS author
        FROM reviews r JOIN users u ON u.id = r.traveller_id
        WHERE r.package_id = %(package_id)s AND r.status = 'APPROVED' AND r.undo_until IS NULL AND r.id < %(before)s
        ORDER BY r.id DESC LIMIT %(limit)s
        """,
        {"package_id": package_id, "before": before_id or _BEYOND, "limit": limit + 1},
    )


_BEYOND = 2**63 - 1
