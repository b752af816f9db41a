"""Who is in the demo: the logins that everybody may use, and travellers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.audit.actor import Actor
from app.demo.vocabulary import FIRST_NAMES, LAST_NAMES

DOMAIN = "demo.tripdesk.example"
TRAVELLER = f"traveller@{DOMAIN}"


@dataclass(frozen=True)
class Login:
    """A demo login: the part before the @, a name, and the roles; none for the traveller."""

    local_part: str
    name: str
    roles: tuple[str, ...]

    @property
    def email(self) -> str:
        """The whole address."""
        return f"{self.local_part}@{DOMAIN}"


STAFF = (
    Login("support", "Ingrid Solberg", ("support",)),
    Login("moderator", "Marcus Hale", ("moderator",)),
    Login("finance", "Priya Raman", ("finance",)),
    Login("finance2", "Tomas Rey", ("finance",)),
    Login("admin", "Amina Okoye", ("admin",)),
)


@dataclass(frozen=True, slots=True)
class Person:
    """A traveller as the one who books: from when on, and from which address."""

    id: int
    name: str
    email: str
    registered_at: datetime
    address: str

    @property
    def actor(self) -> Actor:
        """They act as themselves."""
        return Actor("traveller", self.id, self.name, address=self.address)

    def row(self, password_hash: str) -> dict[str, Any]:
        """Their account."""
        return _row(self.id, self.email, self.name, password_hash, self.registered_at)


def staff(ids: Iterator[int], password_hash: str, since: datetime) -> Iterator[tuple[Login, dict[str, Any]]]:
    """The staff logins as rows."""
    for number, login in enumerate(STAFF):
        yield (
            login,
            _row(next(ids), login.email, login.name, password_hash, since + timedelta(minutes=number)),
        )


def travellers(rng: random.Random, ids: Iterator[int], count: int, start: datetime, end: datetime) -> Iterator[Person]:
    """Travellers in the order they registered: a third before `start`, the others until shortly before `end`.

    The first is the demo's own login.
    """
    early = max(1, count // 3)
    for number in range(count):
        if number < early:
            registered_at = start - timedelta(days=40) * (1 - number / early)
        else:
            registered_at = start + (end - start) * 0.97 * ((number - early) / (count - early))
        name = "Emma Larsen" if number == 0 else f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"
        email = TRAVELLER if number == 0 else f"{name.lower().replace(' ', '.')}.{number}@example.org"
        # Addresses set aside for documentation: RFC 5737.
        net = rng.choice(("192.0.2", "198.51.100", "203.0.113"))
        yield Person(next(ids), name, email, registered_at, f"{net}.{rng.randrange(1, 255)}")


def _row(row_id: int, email: str, name: str, password_hash: str, created_at: datetime) -> dict[str, Any]:
    return {
        "id": row_id,
        "email": email,
        "name": name,
        "password_hash": password_hash,
        "is_active": True,
        "created_at": created_at,
        "email_verified_at": created_at,
        "two_factor_since": None,
    }
