"""Every kind of mail there is: its name, and example values for the console's previews.

A kind is one line here and two templates, `templates/mail/KIND.txt` (with the subject) and `KIND.html`. What `notify`
is given must have the keys of the example.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NAME = "Ada Lovelace"
_LINK = "https://desk.tripdesk.example/console"
_HOTEL = {
    "reference": "TD-7K2QX-9M4RB",
    "package": "Harbour View, double room with breakfast",
    "city": "Oslo",
    "country": "Norway",
    "provider": "Fjord Hotels",
    "time_zone": "Europe/Oslo",
    "is_tour": False,
    "starts_on": "2027-06-18",
    "ends_on": "2027-06-21",
    "nights": 3,
    "units": 1,
    "guests": 2,
    "total": {"amount": 77_700, "currency": "USD"},
    "policy": [
        {"daysBefore": 14, "refundPercent": 100},
        {"daysBefore": 3, "refundPercent": 50},
        {"daysBefore": 0, "refundPercent": 0},
    ],
}
_TOUR = {**_HOTEL, "package": "Three days on the fjord", "is_tour": True, "nights": 1, "units": 2}


@dataclass(frozen=True)
class Kind:
    """What a mail is called, and an example of the values and secrets its templates are filled with."""

    title: str
    values: Mapping[str, Any]
    secrets: Mapping[str, Any] = field(default_factory=dict)


KINDS: dict[str, Kind] = {
    "booking_confirmed": Kind("Booking confirmed", {"booking": _HOTEL}),
    "booking_cancelled": Kind(
        "Booking cancelled",
        {
            "booking": _TOUR,
            "by": "provider",
            "paid": {
                "refund": {"amount": 67_700, "currency": "USD"},
                "before": {"amount": 10_000, "currency": "USD"},
                "is_late": False,
                "waits": False,
            },
        },
    ),
    "hold_expired": Kind("Hold expired", {"booking": _HOTEL}),
    "payment_failed": Kind(
        "Payment failed",
        {"booking": _HOTEL, "why": "Your card has insufficient funds.", "pay_until": "2026-11-22T13:35:00Z"},
    ),
    "late_payment_refunded": Kind(
        "Late payment refunded",
        {"booking": _TOUR, "refund": {"amount": 77_700, "currency": "USD"}, "because": "hold_expired"},
    ),
    "dispute_deadline": Kind(
        "Deadline of a dispute",
        {
            "reference": "TD-7K2QX-9M4RB",
            "reason": "not received",
            "amount": {"amount": 77_700, "currency": "USD"},
            "due_by": "2026-11-25T23:59:59+00:00",
            "hours": 72,
            "link": f"{_LINK}/disputes/17/",
        },
    ),
    "password_reset": Kind("Password reset", {"good_for": "an hour"}, {"link": f"{_LINK}/password/reset/…"}),
    "verify_email": Kind("Address to confirm", {"good_for": "7 days"}, {"link": f"{_LINK}/email/verify/…"}),
    "staff_invitation": Kind(
        "Invitation of staff",
        {"good_for": "7 days", "invited_by": "Amina Okoye", "roles": ["finance", "support"]},
        {"link": f"{_LINK}/invitation/…"},
    ),
    "address_changed": Kind("Address changed", {"at": "22 Nov 2026, 13:35 UTC"}),
    "password_changed": Kind("Password changed", {"at": "22 Nov 2026, 13:35 UTC", "address": "192.0.2.7"}),
}


def title_of(kind: str) -> str:
    """What a kind of mail is called; one that is no more, by its own name."""
    return KINDS[kind].title if kind in KINDS else kind.replace("_", " ").capitalize()
