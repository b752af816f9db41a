"""One piece of work on the state, begun by a request or by the passing of time, in one transaction."""

import secrets
import sqlite3
import string
import time
from dataclasses import dataclass, field
from typing import Any

from dev.stripe.switches import Switches

Json = dict[str, Any]

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    """An identifier like Stripe's, such as `pi_3Nq…`."""
    return f"{prefix}_3" + "".join(secrets.choice(_ALPHABET) for _ in range(23))


@dataclass(frozen=True)
class Work:
    """What every piece of work has at hand. `request_id` is empty for what Stripe does by itself."""

    db: sqlite3.Connection
    switches: Switches
    sends_webhooks: bool
    request_id: str | None = None
    idempotency_key: str | None = None
    now: int = field(default_factory=lambda: int(time.time()))

    def insert(self, table: str, **values: Any) -> int:
        """Adds a row and returns its sequence number."""
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        cursor = self.db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(values.values()))  # nosec B608
        return int(cursor.lastrowid or 0)

    def update(self, table: str, identifier: str, **values: Any) -> None:
        """Changes the columns of one row."""
        columns = ", ".join(f"{name} = ?" for name in values)
        self.db.execute(f"UPDATE {table} SET {columns} WHERE id = ?", (*values.values(), identifier))  # nosec B608

    def later(self, seconds: float, action: str, identifier: str) -> None:
        """Has `action` (a name in `schedule.ACTIONS`) done to an object after so many seconds."""
        self.insert("schedule", due=time.time() + seconds, action=action, object=identifier)
