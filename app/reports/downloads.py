"""Files of sums, such as all balances, that are made while somebody waits: whoever takes one stands in the trail."""

from __future__ import annotations

from app.accounts.models import User
from app.audit import service as audit
from app.audit.actor import Actor
from app.db import keep_before, transaction
from app.extensions import db


def taken(file: str, *, by: Actor) -> None:
    """Keep in somebody's history that they took a file, by its name."""
    with transaction():
        audit.record(by, "sums.download", keep_before(db.session.get_one(User, by.id)), after={"file": file})
