"""Cancellation policies: what part of the price a guest gets back, by how many days before the start they cancel."""

from __future__ import annotations

from typing import Any

# (at least so many days before the start, per cent back), most days first.
POLICIES: dict[str, tuple[tuple[int, int], ...]] = {
    "flexible": ((1, 100), (0, 0)),
    "moderate": ((5, 100), (1, 50), (0, 0)),
    "strict": ((14, 100), (7, 50), (0, 0)),
}


def terms(policy: str) -> dict[str, Any]:
    """A policy as it is kept with a booking, so that a later change of the policy doesn't touch what was sold."""
    return {
        "name": policy,
        "tiers": [{"daysBefore": days, "refundPercent": percent} for days, percent in POLICIES[policy]],
    }
