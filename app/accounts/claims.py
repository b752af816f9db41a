"""Who of staff is looking at which item of a queue. A claim tells colleagues; it never keeps anybody from deciding.

Nothing that lasts hangs on a claim, so neither taking one nor letting it go is written to the audit trail.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, delete, select
from sqlalchemy.dialects.postgresql import insert

from app.accounts.models import Claim
from app.audit.actor import Actor
from app.config import settings
from app.db import read, transaction, utcnow
from app.extensions import Model, db

_HELD = """
SELECT object_id FROM claims
WHERE user_id = %(by)s AND object_type = %(model)s AND object_id IS DISTINCT FROM CAST(%(but)s AS bigint) LIMIT 1
"""
_LOOKED_AT = """
SELECT object_id FROM claims
WHERE object_type = %(model)s AND object_id = ANY(%(ids)s) AND seen_at > %(since)s LIMIT 1
"""


def take(model: type[Model], object_id: int, *, by: Actor) -> Claim:
    """Say that `by` is looking at this now; returns whose it is, which is somebody else's as long as theirs lives.

    The claims that `by` has on other rows of the model end: nobody reads two at a time.
    """
    if by.id is None:
        raise ValueError("only a person can look at something")
    # By itself, so that two people who change places don't wait for each other.
    let_go(model, by=by, but=object_id)
    now = utcnow()
    mine = insert(Claim).values(
        object_type=model.__tablename__, object_id=object_id, user_id=by.id, since=now, seen_at=now
    )
    goes_on = (Claim.user_id == by.id) & _is_live(now)
    with transaction():
        db.session.execute(
            mine.on_conflict_do_update(
                index_elements=[Claim.object_type, Claim.object_id],
                set_={"user_id": by.id, "since": case((goes_on, Claim.since), else_=now), "seen_at": now},
                where=(Claim.user_id == by.id) | ~_is_live(now),
            )
        )
        return db.session.scalars(
            select(Claim)
            .where(Claim.object_type == model.__tablename__, Claim.object_id == object_id)
            .execution_options(populate_existing=True)
        ).one()


def let_go(model: type[Model], *, by: Actor, but: int | None = None) -> None:
    """`by` looks at no row of the model any more, `but` perhaps at this one."""
    # Whoever opens a list lets go; mostly there is nothing to let go of, and no transaction to begin.
    if not read(_HELD, {"by": by.id, "model": model.__tablename__, "but": but}):
        return
    with transaction():
        db.session.execute(
            delete(Claim).where(
                Claim.user_id == by.id,
                Claim.object_type == model.__tablename__,
                Claim.object_id.is_distinct_from(but),
            )
        )


def of(model: type[Model], ids: Collection[int]) -> dict[int, Claim]:
    """Who is looking at which of these rows."""
    # Every list asks, and mostly nobody looks at any: that is known sooner than the ORM has written its query.
    if not read(_LOOKED_AT, {"model": model.__tablename__, "ids": list(ids), "since": _alive_since(utcnow())}):
        return {}
    found = db.session.scalars(
        select(Claim)
        .where(Claim.object_type == model.__tablename__, Claim.object_id.in_(ids), _is_live(utcnow()))
        .execution_options(populate_existing=True)
    )
    return {claim.object_id: claim for claim in found}


def is_somebody_elses(model: type[Model], *, by: Actor) -> ColumnElement[bool]:
    """Narrows a query to the rows that a colleague of `by` is looking at."""
    return (
        select(Claim.object_id)
        .where(
            Claim.object_type == model.__tablename__,
            Claim.object_id == model.__table__.c.id,
            Claim.user_id != by.id,
            _is_live(utcnow()),
        )
        .exists()
    )


def forget_old() -> None:
    """Delete the claims of those who went away."""
    with transaction():
        db.session.execute(delete(Claim).where(~_is_live(utcnow())))


def _is_live(now: datetime) -> ColumnElement[bool]:
    return Claim.seen_at > _alive_since(now)


def _alive_since(now: datetime) -> datetime:
    return now - timedelta(minutes=settings().claim_minutes)
