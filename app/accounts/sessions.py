"""Console sessions: opened by password and code, asked on every request, listed, and ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, func, select, update

from app.accounts import service as accounts
from app.accounts import throttle, two_factor
from app.accounts.models import StaffMember, StaffSession, User
from app.accounts.secret_tokens import hash_token, new_token
from app.audit import service as audit
from app.audit.actor import Actor
from app.db import keep_before, lock, read, require_transaction, transaction, utcnow
from app.errors import NotAllowed, NotFound
from app.extensions import db

LIFETIME = timedelta(hours=12)
# How long it is good for what needs it that somebody has just shown that it is them.
PROOF_LASTS = timedelta(minutes=15)
# Between the password and the code.
_HALF_OPEN_LIFETIME = timedelta(minutes=10)
_SEEN_EVERY = timedelta(minutes=1)

_LIVE = """
SELECT s.id, s.last_seen_at, s.needs_code, s.proven_at, u.id AS user_id, u.email, u.name, u.two_factor_since,
       ARRAY(SELECT role FROM staff_roles WHERE user_id = u.id) AS roles
FROM staff_sessions s JOIN users u ON u.id = s.user_id
WHERE s.token_hash = %(token_hash)s AND s.ended_at IS NULL AND s.expires_at > now() AND u.is_active
"""


@dataclass(frozen=True)
class ConsoleSession:
    """A live session, and what it still needs before it opens the console: the second factor's code, or that one is
    set up at all.
    """

    id: int
    person: StaffMember
    needs: Literal["code", "enrolment"] | None
    proven_at: datetime | None


def sign_in(*, email: str, password: str, address: str | None, user_agent: str | None) -> tuple[User, str]:
    """Open a console session for a member of staff; returns them and the token for their cookie.

    Where they have a second factor, the session waits for `give_code`. Raises NotAllowed, TooMany.
    """
    person = accounts.check_password(email=email, password=password, address=address, staff_only=True)
    needs_code = person.two_factor_since is not None
    if not needs_code:
        throttle.note_success(email, address)
    token, now = new_token(), utcnow()
    with transaction():
        session = StaffSession(
            token_hash=hash_token(token),
            user_id=person.id,
            expires_at=now + (_HALF_OPEN_LIFETIME if needs_code else LIFETIME),
            address=address,
            user_agent=(user_agent or "")[:400] or None,
            needs_code=needs_code,
            proven_at=None if needs_code else now,
        )
        db.session.add(session)
        audit.record(
            accounts.actor_of(person, address), "session.await_code" if needs_code else "session.open", session
        )
    return person, token


def give_code(token: str, code: str, *, address: str | None) -> None:
    """Give a session that waits for it the second factor's code, or a recovery code. Raises NotAllowed,
    TooMany.
    """
    found = find(token)
    if found is None or found.needs != "code":
        raise NotAllowed("This sign-in took too long. Start again with your password.")
    person = found.person
    accounts.check_code(person, code, address=address)
    throttle.note_success(person.email, address)
    with transaction():
        session = lock(StaffSession, found.id)
        if session.ended_at is not None:
            raise NotAllowed("This sign-in was ended meanwhile. Start again with your password.")
        now = utcnow()
        session.needs_code, session.proven_at, session.expires_at = False, now, now + LIFETIME
        audit.record(accounts.actor_of(person, address), "session.open", session)


def prove(token: str, proof: str, *, address: str | None) -> None:
    """Have the person of a session show once more that it is them, by password or code. Raises NotAllowed,
    TooMany.
    """
    found = find(token)
    if found is None or found.needs is not None:
        raise NotAllowed("This session has ended. Sign in again.")
    person = found.person
    try:
        if person.two_factor_since is not None and two_factor.looks_like_code(proof):
            accounts.check_code(person, proof, address=address)
        else:
            accounts.check_password(email=person.email, password=proof, address=address)
    except NotAllowed:
        raise NotAllowed("This is neither your password nor a present code of your app.") from None
    throttle.note_success(person.email, address)
    with transaction():
        session = lock(StaffSession, found.id)
        session.proven_at = utcnow()
        audit.record(accounts.actor_of(person, address), "session.prove", session)


def find(token: str) -> ConsoleSession | None:
    """The live session with this token; None when it ended, ran out, or the person is no longer active staff.

    Asked on every request, so that revoking a session or a role takes effect with the next click.
    """
    rows = read(_LIVE, {"token_hash": hash_token(token)})
    if not rows:
        return None
    (found,) = rows
    person = StaffMember(found.user_id, found.email, found.name, frozenset(found.roles), found.two_factor_since)
    if not person.roles:
        return None
    if utcnow() - found.last_seen_at > _SEEN_EVERY:
        with transaction():
            db.session.execute(update(StaffSession).where(StaffSession.id == found.id).values(last_seen_at=func.now()))
    needs: Literal["code", "enrolment"] | None = (
        "code" if found.needs_code else "enrolment" if two_factor.is_missing(person) else None
    )
    return ConsoleSession(found.id, person, needs, found.proven_at)


def live(person_id: int) -> list[StaffSession]:
    """A person's sessions that are open, the one used last first."""
    return list(
        db.session.scalars(
            select(StaffSession).where(*_live(person_id)).order_by(StaffSession.last_seen_at.desc(), StaffSession.id)
        )
    )


def sign_out(token: str, *, by: Actor) -> None:
    """End the session of this token; nothing happens when it has ended already."""
    with transaction():
        session = db.session.scalar(
            select(StaffSession).where(StaffSession.token_hash == hash_token(token)).with_for_update()
        )
        if session is None or session.ended_at is not None:
            return
        keep_before(session)
        session.ended_at = utcnow()
        audit.record(by, "session.end", session)


def end(session_id: int, *, of: int, by: Actor) -> None:
    """End a session of this person: oneself, or as an admin anybody. Raises NotFound where they have none that `by` may
    know of.
    """
    with transaction():
        session = db.session.get(StaffSession, session_id, with_for_update=True, populate_existing=True)
        if session is None or session.user_id != of or (of != by.id and not by.has(("admin",))):
            raise NotFound("There is no such session.")
        if session.ended_at is None:
            keep_before(session)
            session.ended_at = utcnow()
            audit.record(by, "session.end", session)


def end_all(person_id: int, *, by: Actor, but: int | None = None) -> int:
    """End every session of a person, but the one with this id; returns how many."""
    require_transaction()
    ended = list(
        db.session.scalars(
            update(StaffSession)
            .where(*_live(person_id), StaffSession.id.is_distinct_from(but))
            .values(ended_at=func.now())
            .returning(StaffSession.id)
        )
    )
    audit.record_many(
        by, "session.end", StaffSession, ended, before={"ended_at": None}, after={"ended_at": utcnow().isoformat()}
    )
    return len(ended)


def _live(person_id: int) -> tuple[ColumnElement[bool], ...]:
    return (
        StaffSession.user_id == person_id,
        StaffSession.ended_at.is_(None),
        StaffSession.expires_at > func.now(),
    )
