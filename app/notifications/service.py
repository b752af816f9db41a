"""Verbs of mail: telling somebody of something, sending it, and sending it again."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import uuid4

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert

from app.db import after_commit, require_transaction
from app.extensions import Model, db
from app.logs import request_id
from app.notifications.models import Notification
from app.queue import ask_for_sweep


def notify(
    kind: str,
    *,
    to: str,
    name: str,
    key: str,
    values: dict[str, Any],
    secrets: dict[str, Any] | None = None,
    about: Model | None = None,
) -> Notification | None:
    """Mail a person of a fact, in the transaction that makes it one; the mail goes out after the commit.

    `key` names the fact, such as `booking_confirmed:17`: told before, nothing is written and None returned. `values`
    and `secrets` fill the templates of the kind and must be JSON; secrets are dropped once sent and never shown.
    `about` is the row whose history shows the mail.
    """
    require_transaction()
    db.session.flush()
    written = (
        insert(Notification)
        .values(
            kind=kind,
            key=key,
            recipient=to,
            recipient_name=name,
            object_type=about.__tablename__ if about is not None else None,
            object_id=about.id if about is not None else None,  # type: ignore[attr-defined]  # every row told of has one
            values=values,
            secrets=secrets,
            message_id=uuid4().hex,
            request_id=request_id.get(),
            due_at=func.now(),
        )
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(Notification)
    )
    notification = db.session.scalars(written).one_or_none()
    if notification is not None:
        after_commit(partial(ask_for_sweep, Notification))
    return notification
