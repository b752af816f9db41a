"""The acting person, passed to every verb as `by`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from app.errors import NotAllowed


@dataclass(frozen=True)
class Actor:
    """Somebody who acts: a person, Stripe telling us something, or Tripdesk itself; `address` is where they are."""

    kind: Literal["traveller", "staff", "system", "stripe"]
    id: int | None
    label: str
    roles: frozenset[str] = frozenset()
    address: str | None = None

    def has(self, roles: Collection[str]) -> bool:
        """Whether this is staff with at least one of these roles."""
        return self.kind == "staff" and not self.roles.isdisjoint(roles)

    def require(self, *roles: str) -> None:
        """Raises NotAllowed unless this is staff with one of these roles, or Tripdesk itself."""
        if self.kind != "system" and not self.has(roles):
            raise NotAllowed(f"This needs the role {' or '.join(roles)}.")


SYSTEM = Actor("system", None, "Tripdesk")
STRIPE = Actor("stripe", None, "Stripe")
