"""Verbs of passwords and addresses: changing one, having one reset by mail, proving that an address is one's own."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import delete, func, select

from app.accounts import links, sessions, throttle, tokens
from app.accounts import service as accounts
from app.accounts.models import PasswordResetRequest, User
from app.accounts.passwords import check_acceptable, hash_password
from app.audit import service as audit
from app.audit.actor import SYSTEM, Actor
from app.db import keep_before, lock, transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed, TooMany
from app.extensions import db
from app.logs import request_id
from app.notifications import service as notifications

MAY_MAIL_VERIFICATION = ("support", "admin")
_HOUR = timedelta(hours=1)
_REQUESTS_PER_ADDRESS = 20
_LINKS_PER_PERSON = 3
_REQUESTS_KEPT = timedelta(days=30)


def change_password(person_id: int, *, old: str, new: str, by: Actor, session_id: int | None) -> None:
    """Give oneself another password; every other session and log-in ends. Raises Invalid by field, NotAllowed,
    TooMany.
    """
    if by.id != person_id:
        raise NotAllowed("Only you can change your password.")
    person = db.session.get_one(User, person_id)
    try:
        accounts.check_password(email=person.email, password=old, address=by.address)
    except NotAllowed:
        raise Invalid.field("old", "This is not your present password.") from None
    throttle.note_success(person.email, by.address)
    check_acceptable(new, about=(person.email, person.name), field="new")
    password_hash = hash_password(new)
    with transaction():
        person = lock(User, person_id)
        person.password_hash = password_hash
        _end_what_the_old_one_opened(person, by=by, but=session_id)
        audit.record(by, "user.change_password", person)


def sign_out_elsewhere(person_id: int, *, by: Actor, session_id: int) -> None:
    """End every other session of one's own, and every log-in of the API. Raises NotAllowed."""
    if by.id != person_id:
        raise NotAllowed("You can only sign yourself out.")
    with transaction():
        person = lock(User, person_id)
        sessions.end_all(person.id, by=by, but=session_id)
        tokens.end_all(person.id)
        audit.record(by, "user.end_sessions", person)


def request_password_reset(email: str, *, address: str | None) -> None:
    """Have a link mailed to the address if it has an account; says and does the same when it has none, as a job looks.

    Raises TooMany for an address on the network that asks too often.
    """
    recent = select(func.count()).where(
        PasswordResetRequest.address == address, PasswordResetRequest.created_at > utcnow() - _HOUR
    )
    if (db.session.scalar(recent) or 0) >= _REQUESTS_PER_ADDRESS:
        raise TooMany("Too many passwords were reset from here. Try again in an hour.", int(_HOUR.total_seconds()))
    if not accounts.is_address(email):
        return
    with transaction():
        PasswordResetRequest(email=email.strip().lower(), address=address, request_id=request_id.get()).hand_out()


def answer_password_reset_request(reset_request_id: int) -> None:
    """Mail the link that was asked for, where there is an account; nothing happens the second time."""
    with transaction():
        request = lock(PasswordResetRequest, reset_request_id)
        if request.due_at is None:
            return
        person = db.session.scalar(select(User).where(User.email == request.email, User.is_active).with_for_update())
        if person and links.count_since(person.id, "password_reset", _HOUR) < _LINKS_PER_PERSON:
            keep_before(person)
            links.mail(person, "password_reset")
            audit.record(replace(SYSTEM, address=request.address), "user.request_password_reset", person)
        request.finished()


def reset_password(token: str, password: str, *, address: str | None) -> User:
    """Give a person the password they chose behind a mailed link; every session and log-in of theirs ends. Raises
    Invalid by field.
    """
    return _set_password_by_link(token, "password_reset", password, "user.reset_password", address)


def accept_invitation(token: str, password: str, *, address: str | None) -> User:
    """Give an invited member of staff the password they chose. Raises Invalid by field."""
    return _set_password_by_link(token, "staff_invitation", password, "staff.accept_invitation", address)


def mail_verification(person_id: int, *, by: Actor) -> User:
    """Mail a person another link to confirm their address, after which the one before does not work.

    Raises NotAllowed, NotFound, Conflict when the address is confirmed or the account closed, TooMany when they got
    enough links within the hour.
    """
    by.require(*MAY_MAIL_VERIFICATION)
    with transaction():
        person = lock(User, person_id)
        if person.email_verified_at is not None:
            raise Conflict("This address is confirmed already.")
        if not person.is_active:
            raise Conflict("This account is deactivated. Reactivate it first.")
        if links.count_since(person.id, "verify_email", _HOUR) >= _LINKS_PER_PERSON:
            raise TooMany(
                f"{_LINKS_PER_PERSON} links were mailed to this address within the hour. Try again in an hour.",
                int(_HOUR.total_seconds()),
            )
        links.mail(person, "verify_email")
        audit.record(by, "user.mail_verification", person)
    return person


def verify_email(token: str, *, address: str | None) -> User:
    """Note that a person reads mail at their address. Raises Invalid."""
    with transaction():
        person = links.redeem(token, "verify_email")
        person.email_verified_at = person.email_verified_at or utcnow()
        audit.record(accounts.actor_of(person, address), "user.verify_email", person)
    return person


def forget_old_requests() -> None:
    """Delete requests that were answered long ago: they hold addresses of people who may have no account."""
    with transaction():
        db.session.execute(
            delete(PasswordResetRequest).where(
                PasswordResetRequest.created_at < utcnow() - _REQUESTS_KEPT, PasswordResetRequest.due_at.is_(None)
            )
        )


def _set_password_by_link(token: str, purpose: str, password: str, action: str, address: str | None) -> User:
    person = links.holder(token, purpose)
    check_acceptable(password, about=(person.email, person.name))
    password_hash = hash_password(password)
    with transaction():
        person = links.redeem(token, purpose)
        had_one = person.password_hash is not None
        person.password_hash = password_hash
        # Whoever has the link reads the mail.
        person.email_verified_at = person.email_verified_at or utcnow()
        by = accounts.actor_of(person, address)
        _end_what_the_old_one_opened(person, by=by, tell=had_one)
        audit.record(by, action, person)
    return person


def _end_what_the_old_one_opened(person: User, *, by: Actor, but: int | None = None, tell: bool = True) -> None:
    links.void(person.id, "password_reset", "staff_invitation")
    sessions.end_all(person.id, by=by, but=but)
    tokens.end_all(person.id)
    if tell:
        notifications.notify(
            "password_changed",
            to=person.email,
            name=person.name,
            key=f"password_changed:{person.id}:{utcnow():%Y%m%dT%H%M%S}",
            values={"address": by.address, "at": f"{utcnow():%d %b %Y, %H:%M} UTC"},
            about=person,
        )
