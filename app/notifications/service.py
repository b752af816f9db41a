"""Verbs of mail: telling somebody of something, sending it, and sending it again."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from functools import partial
from typing import Any
from uuid import uuid4

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert

from app.audit import service as audit
from app.audit.actor import Actor
from app.config import settings
from app.db import after_commit, leave_database, lock, require_transaction, transaction, utcnow
from app.errors import Conflict, Unavailable
from app.extensions import Model, db
from app.logs import request_id
from app.notifications.kinds import KINDS
from app.notifications.models import Notification
from app.notifications.rendering import Rendered, compose, render
from app.notifications.transport import Transport, Unanswered, transport
from app.queue import JOB_TIMEOUT_SECONDS, ask_for_sweep
from app.states import may_move, move

log = logging.getLogger(__name__)

MAY_SEND = ("admin",)
# A job is stopped before; whatever is still SENDING then was left by a worker that died.
SENDING_AT_MOST = timedelta(seconds=JOB_TIMEOUT_SECONDS + 30)


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
    `about` is the row whose history shows the mail. ValueError when they aren't shaped like the kind's example.
    """
    require_transaction()
    _check_shape(kind, values, secrets or {})
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


def send(notification_id: int) -> None:
    """Hand a mail that is due to the mail server, at most once.

    Everything that can go wrong is tried before SENDING is committed; after that only the server's word counts, and
    without it the mail is UNKNOWN and waits for a person: see `docs/decisions/0009-mail-is-sent-at-most-once.md`.
    """
    way_out = transport()
    prepared = _prepare(notification_id, way_out)
    if prepared is None:
        return
    leave_database()
    begun = None
    try:
        with way_out.ready(prepared.message, file_name=prepared.file_name) as hand_over:
            begun = _begin(notification_id, prepared.shown)
            if begun is None:
                return
            hand_over()
    except Unanswered as silence:
        _unknown(notification_id, begun, silence.detail)
    except Conflict as refusal:
        _refused(notification_id, begun, refusal.detail)
    except Unavailable as failure:
        _later(notification_id, begun, failure.detail)
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        if begun is None:
            _later(notification_id, begun, words)
        else:
            _unknown(notification_id, begun, words)
        raise
    else:
        _sent(notification_id, begun)


@dataclass(frozen=True)
class _Prepared:
    """A mail to hand over, and what of it may be shown to others than its reader."""

    message: EmailMessage
    shown: Rendered
    file_name: str


def _prepare(notification_id: int, way_out: Transport) -> _Prepared | None:
    with transaction():
        row = lock(Notification, notification_id)
        if row.status == "SENDING" and row.sending_at is not None and row.sending_at + SENDING_AT_MOST <= utcnow():
            _left_by_a_dead_worker(row, way_out)
        if not _is_due(row):
            return None
        # Whoever got it before gets the same again. A secret is never kept, so what carries one is written anew.
        as_before = kept(row) if row.secrets is None else None
        try:
            message = compose(
                as_before or render(row.kind, name=row.recipient_name, values=row.values, secrets=row.secrets or {}),
                sender=settings().mail_sender,
                to=row.recipient,
                name=row.recipient_name,
                message_id=row.message_id,
            )
        except Conflict as refusal:
            _give_up(row, "FAILED", refusal.detail)
            return None
        shown = as_before or render(row.kind, name=row.recipient_name, values=row.values)
        return _Prepared(message, shown, f"{row.created_at:%Y%m%d-%H%M%S}-{row.id}-{row.kind}")


def kept(row: Notification) -> Rendered | None:
    """A mail as it was handed to the mail server, without its secrets; None when it was not, or refused for good."""
    if row.subject is None or row.body is None or row.html is None:
        return None
    return Rendered(row.subject, row.body, row.html)


def _is_due(row: Notification) -> bool:
    # A doubled job comes too late or too early.
    return row.status == "QUEUED" and row.due_at is not None and row.due_at <= utcnow()


def _left_by_a_dead_worker(row: Notification, way_out: Transport) -> None:
    if way_out.is_repeatable:
        move(row, "QUEUED")
    else:
        _give_up(row, "UNKNOWN", "Whoever was sending it was stopped before the mail server's answer was written down.")


def _give_up(row: Notification, to: str, words: str) -> None:
    move(row, to)
    row.finished()
    row.last_error = words[:2000]
    if to == "FAILED" and row.sent_at is None:
        # It reached nobody: sent again, it is written by the templates of that day.
        row.body = row.html = None
    log.error("a mail needs somebody to look", extra={"notification": row.id, "became": to, "error": words})


def _begin(notification_id: int, shown: Rendered) -> datetime | None:
    with transaction():
        row = lock(Notification, notification_id)
        if not _is_due(row):
            return None
        move(row, "SENDING")
        row.subject, row.body, row.html = shown.subject, shown.text, shown.html
        # The sweep looks again when whoever sends must be dead.
        row.leased_until = utcnow() + SENDING_AT_MOST
    return row.sending_at


def _still_ours(row: Notification, begun: datetime | None) -> bool:
    return row.status == "QUEUED" if begun is None else (row.status, row.sending_at) == ("SENDING", begun)


def _sent(notification_id: int, begun: datetime | None) -> None:
    with transaction():
        row = lock(Notification, notification_id)
        # Even when it was given up meanwhile: now we know.
        if row.sending_at == begun and may_move(row, "SENT"):
            move(row, "SENT")
            row.finished()
            row.secrets = None


def _unknown(notification_id: int, begun: datetime | None, words: str) -> None:
    with transaction():
        row = lock(Notification, notification_id)
        if _still_ours(row, begun):
            _give_up(row, "UNKNOWN", words)


def _refused(notification_id: int, begun: datetime | None, words: str) -> None:
    with transaction():
        row = lock(Notification, notification_id)
        if _still_ours(row, begun):
            _give_up(row, "FAILED", words)


def _later(notification_id: int, begun: datetime | None, words: str) -> None:
    with transaction():
        row = lock(Notification, notification_id)
        if not _still_ours(row, begun):
            return
        if begun is not None:
            move(row, "QUEUED")
        if not row.failed(words):
            _give_up(row, "FAILED", words)


def send_again(notification_id: int, *, by: Actor) -> Notification:
    """Have a mail sent once more: one that failed, whose fate nobody knows, or that its reader has lost.

    Raises NotFound, NotAllowed, Conflict while it is still being sent or when it carried a secret, which is gone.
    """
    by.require(*MAY_SEND)
    with transaction():
        row = lock(Notification, notification_id)
        refusal = why_not_again(row)
        if refusal is not None:
            raise Conflict(refusal)
        if row.status == "SENT":
            # A mailbox that has it shows the next one too; after UNKNOWN it shows one.
            row.message_id = uuid4().hex
        move(row, "QUEUED")
        row.attempts, row.last_error = 0, None
        row.hand_out()
        audit.record(by, "mail.send_again", row)
    return row


def why_not_again(row: Notification) -> str | None:
    """Why this mail can't be sent again now; None when it can."""
    if not may_move(row, "QUEUED") or row.status == "SENDING":
        return "This mail is still being sent."
    if row.kind not in KINDS:
        return f"There are no templates for mail of the kind {row.kind} any more."
    if KINDS[row.kind].secrets and row.secrets is None:
        return (
            "This mail carried a link for its reader alone, which is not kept once sent. A new one has to be asked for."
        )
    return None


def _check_shape(kind: str, values: dict[str, Any], secrets: dict[str, Any]) -> None:
    if kind not in KINDS:
        raise ValueError(f"there is no mail of the kind {kind}")
    example = KINDS[kind]
    if values.keys() != example.values.keys() or secrets.keys() != example.secrets.keys():
        raise ValueError(
            f"a mail of the kind {kind} takes {sorted(example.values)} and secrets {sorted(example.secrets)}"
        )
