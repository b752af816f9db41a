"""Verbs of people: registering, staff and their roles, signing in to the console."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from app.accounts.models import ROLES, StaffRole, StaffSession, User
from app.accounts.passwords import check_acceptable, hash_password, matches
from app.audit import service as audit
from app.audit.actor import Actor
from app.db import keep_before, read, transaction, utcnow
from app.errors import Conflict, FieldError, Invalid, NotAllowed
from app.extensions import db

SESSION_LIFETIME = timedelta(hours=12)
_SEEN_EVERY = timedelta(minutes=1)
# Deliverability is for the mail to prove; this only catches what can't be an address.
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")
_WRONG = "The e-mail address or the password is wrong."
# Text that PostgreSQL or a reader can't take: NUL and the other control characters.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def register(*, email: str, name: str, password: str, address: str | None = None) -> User:
    """Make an account for a traveller. Raises Invalid by field, Conflict when the address has one."""
    person = _new_user(email, name, password)
    with transaction():
        _insert(person)
        audit.record(actor_of(person, address), "user.register", person)
    return person


def create_staff(*, email: str, name: str, password: str, roles: Collection[str], by: Actor) -> User:
    """Make a staff account with these roles. Raises Invalid by field, Conflict when the address has an account,
    NotAllowed.
    """
    by.require("admin")
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        raise Invalid.field(
            "roles",
            f"Roles are {', '.join(ROLES)}" + (f"; there is no {unknown[0]}." if unknown else "; give at least one."),
        )
    person = _new_user(email, name, password)
    person.staff_roles = [StaffRole(role=role) for role in sorted(set(roles))]
    with transaction():
        _insert(person)
        audit.record(by, "staff.create", person, after={"roles": sorted(roles)})
    return person


def _new_user(email: str, name: str, password: str) -> User:
    wrong = []
    email = email.strip().lower()
    name = " ".join(name.split())
    if not _is_address(email):
        wrong.append(FieldError("email", "This is not an e-mail address."))
    if not name or len(name) > 200 or _CONTROL.search(name):
        wrong.append(FieldError("name", "Give a name of 1 to 200 characters."))
    if wrong:
        raise Invalid("Some fields need another look.", wrong)
    check_acceptable(password)
    return User(email=email, name=name, password_hash=hash_password(password))


def _is_address(email: str) -> bool:
    email = email.strip()
    return bool(_EMAIL.fullmatch(email)) and len(email) <= 254 and not _CONTROL.search(email)


def _insert(person: User) -> None:
    db.session.add(person)
    try:
        db.session.flush()
    except IntegrityError as error:
        raise Conflict("There is an account with this e-mail address already.") from error


def authenticate(*, email: str, password: str) -> User:
    """The active person with this address and password. Raises NotAllowed, in the same words and time whatever was
    wrong.
    """
    # What can't be an address isn't looked for: PostgreSQL takes no NUL.
    known = select(User).where(User.email == email.strip().lower())
    person = db.session.scalar(known) if _is_address(email) else None
    if not matches(person.password_hash if person else None, password) or person is None or not person.is_active:
        raise NotAllowed(_WRONG)
    return person


def sign_in(*, email: str, password: str, address: str | None, user_agent: str | None) -> tuple[User, str]:
    """Open a console session for a member of staff; returns them and the token for their cookie. Raises NotAllowed."""
    person = authenticate(email=email, password=password)
    if not person.roles:
        raise NotAllowed(_WRONG)
    token = secrets.token_urlsafe(32)
    with transaction():
        session = StaffSession(
            token_hash=hash_token(token),
            user_id=person.id,
            expires_at=utcnow() + SESSION_LIFETIME,
            address=address,
            user_agent=(user_agent or "")[:400] or None,
        )
        db.session.add(session)
        audit.record(actor_of(person, address), "session.open", session)
    return person, token


def sign_out(token: str, *, by: Actor) -> None:
    """End the console session of this token; nothing happens when it has ended already."""
    with transaction():
        session = db.session.scalar(
            select(StaffSession).where(StaffSession.token_hash == hash_token(token)).with_for_update()
        )
        if session is None or session.ended_at is not None:
            return
        keep_before(session)
        session.ended_at = utcnow()
        audit.record(by, "session.end", session)


def person_of_session(token: str) -> User | None:
    """Whose live console session this is; None when it ended, ran out, or the person is no longer active staff.

    Asked on every request, so that revoking a session or a role takes effect with the next click.
    """
    found = db.session.execute(
        select(User, StaffSession.id, StaffSession.last_seen_at)
        .join(StaffSession, StaffSession.user_id == User.id)
        .where(
            StaffSession.token_hash == hash_token(token),
            StaffSession.ended_at.is_(None),
            StaffSession.expires_at > func.now(),
            User.is_active,
        )
    ).first()
    if found is None or not found.User.roles:
        return None
    if utcnow() - found.last_seen_at > _SEEN_EVERY:
        with transaction():
            db.session.execute(update(StaffSession).where(StaffSession.id == found.id).values(last_seen_at=func.now()))
    person: User = found.User
    return person


def actor_of(person: User, address: str | None = None) -> Actor:
    """The person as the one who acts: staff when they hold a role."""
    return Actor("staff" if person.roles else "traveller", person.id, person.name, person.roles, address)


def active_actor(person_id: int, address: str | None) -> Actor | None:
    """The person with this id as the one who acts; None when the account is closed or was never there.

    One round trip, as the API asks with every request.
    """
    rows = read(
        """
        SELECT u.name, ARRAY(SELECT role FROM staff_roles WHERE user_id = u.id) AS roles
        FROM users u WHERE u.id = %(id)s AND u.is_active
        """,
        {"id": person_id},
    )
    if not rows:
        return None
    return Actor("staff" if rows[0].roles else "traveller", person_id, rows[0].name, frozenset(rows[0].roles), address)


def hash_token(token: str) -> bytes:
    """What is stored of a random token; without salt, as its 256 bits can't be guessed."""
    return hashlib.sha256(token.encode()).digest()
