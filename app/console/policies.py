"""A cancellation policy in words."""

from __future__ import annotations

from typing import Any


def policy_in_words(policy: dict[str, Any]) -> str:
    """What a guest who cancels gets back, by when."""
    tiers = [
        f"{tier['refundPercent']} % until {tier['daysBefore']} {'day' if tier['daysBefore'] == 1 else 'days'} before"
        for tier in policy["tiers"]
        if tier["refundPercent"]
    ]
    return f"{policy['name'].capitalize()}: {', '.join(tiers)}"
