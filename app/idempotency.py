"""Idempotency keys: the first answer to a write is kept for good, and given again to whoever repeats it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, ColumnElement, FetchedValue, ForeignKey, LargeBinary, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from app.db import transaction, utcnow
from app.errors import Conflict, Invalid
from app.extensions import Model, db

# Longer than any request may take: past it the first one died without an effect, as effect and answer are committed
# together.
_LEASE = timedelta(seconds=60)


class IdempotencyKey(Model):
    """One person's key for one path, the hash of what was asked with it, and the answer once there is one."""

    __tablename__ = "idempotency_keys"

    person_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    leased_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    status: Mapped[int | None]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)


@dataclass(frozen=True)
class Use:
    """One use of a key, by whom and where."""

    person_id: int
    path: str
    key: str
    request_hash: bytes


@dataclass(frozen=True)
class KeptAnswer:
    """The first answer, as it was sent."""

    status: int
    body: bytes


def begin(use: Use) -> KeptAnswer | None:
    """Claim the key; None means go ahead. The first answer when there is one already.

    Raises Invalid when the key stood for another request, Conflict while the first one is still running.
    """
    with transaction():
        claimed = db.session.scalar(
            insert(IdempotencyKey)
            .values(
                person_id=use.person_id,
                path=use.path,
                key=use.key,
                request_hash=use.request_hash,
                leased_until=utcnow() + _LEASE,
            )
            .on_conflict_do_nothing()
            .returning(IdempotencyKey.key)
        )
        if claimed is not None:
            return None
        row = db.session.scalars(
            select(IdempotencyKey).where(*_is(use)).with_for_update().execution_options(populate_existing=True)
        ).one_or_none()
        if row is None or (
            row.request_hash == use.request_hash
            and row.status is None
            and row.leased_until
            and row.leased_until > utcnow()
        ):
            raise Conflict("The first request with this Idempotency-Key is still running.", retry_after=1)
        if row.request_hash != use.request_hash:
            raise Invalid.field(
                "Idempotency-Key", "This key was used for another request. Use a new key for a new request."
            )
        if row.status is None or row.body is None:
            row.leased_until = utcnow() + _LEASE
            return None
        return KeptAnswer(row.status, row.body)


def keep(use: Use, status: int, body: bytes) -> None:
    """Keep the answer; inside the verb's own transaction, so that neither is there without the other."""
    with transaction():
        db.session.execute(
            update(IdempotencyKey)
            .where(*_is(use))
            .values(status=status, body=body, leased_until=None)
            .execution_options(synchronize_session=False)
        )


def forget(use: Use) -> None:
    """Nothing came of it (a 5xx, or "try again"): the key may be used afresh."""
    with transaction():
        db.session.execute(
            delete(IdempotencyKey)
            .where(*_is(use), IdempotencyKey.status.is_(None))
            .execution_options(synchronize_session=False)
        )


def _is(use: Use) -> tuple[ColumnElement[bool], ...]:
    return (IdempotencyKey.person_id == use.person_id, IdempotencyKey.path == use.path, IdempotencyKey.key == use.key)
