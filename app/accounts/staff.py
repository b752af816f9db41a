"""Verbs of staff: invited or made, given roles, kept out and let in again; there is always an admin left."""

from __future__ import annotations

import logging
from collections.abc import Collection

from sqlalchemy import select

from app.accounts import links, sessions, tokens, two_factor
from app.accounts import service as accounts
from app.accounts.models import ROLES, StaffRole, User
from app.audit import service as audit
from app.audit.actor import Actor
from app.db import lock, require_transaction, transaction
from app.errors import Conflict, Invalid, NotAllowed
from app.extensions import db

log = logging.getLogger(__name__)

_MAX_REASON = 2000


def create_staff(*, email: str, name: str, password: str, roles: Collection[str], by: Actor) -> User:
    """Make a staff account with these roles. Raises Invalid by field, Conflict when the address has an account,
    NotAllowed.
    """
    by.require("admin")
    _check_roles(roles)
    person = accounts.new_person(email, name, password)
    person.staff_roles = [StaffRole(role=role) for role in sorted(set(roles))]
    with transaction():
        accounts.insert_person(person)
        audit.record(by, "staff.create", person, after={"roles": sorted(person.roles)})
    return person


def invite(*, email: str, name: str, roles: Collection[str], by: Actor) -> User:
    """Make a staff account and mail its person a link to choose a password. Raises as `create_staff` does."""
    by.require("admin")
    _check_roles(roles)
    person = accounts.new_person(email, name, None)
    person.staff_roles = [StaffRole(role=role) for role in sorted(set(roles))]
    with transaction():
        accounts.insert_person(person)
        _mail_invitation(person, by)
        audit.record(by, "staff.invite", person, after={"roles": sorted(person.roles)})
    return person


def invite_again(person_id: int, *, by: Actor) -> User:
    """Mail a new link, after which the one before does not work. Raises Conflict once it was accepted, NotAllowed."""
    with transaction():
        person = _locked(person_id, by)
        if person.password_hash is not None:
            raise Conflict("This invitation was accepted already.")
        if not person.is_active:
            raise Conflict("This account is deactivated. Reactivate it first.")
        _mail_invitation(person, by)
        audit.record(by, "staff.invite_again", person)
    return person


def set_roles(person_id: int, roles: Collection[str], *, reason: str = "", by: Actor) -> User:
    """Give a member of staff exactly these roles, from their next click on. Raises Invalid by field, NotAllowed for
    one's own admin role, Conflict for the last admin's.
    """
    _check_roles(roles)
    _check_reason(reason, needed=False)
    with transaction():
        person = _locked(person_id, by)
        had, wanted = person.roles, frozenset(roles)
        if had == wanted:
            return person
        if "admin" in had - wanted:
            _check_not_oneself(person, by, "You can't take your own admin role away. Ask another admin.")
            _check_not_last_admin(person)
        person.staff_roles = [held for held in person.staff_roles if held.role in wanted] + [
            StaffRole(role=role) for role in sorted(wanted - had)
        ]
        audit.record(
            by,
            "staff.set_roles",
            person,
            reason=reason or None,
            before={"roles": ", ".join(sorted(had))},
            after={"roles": ", ".join(sorted(wanted))},
        )
    return person


def deactivate(person_id: int, *, reason: str, by: Actor) -> User:
    """Close an account, of staff or a traveller: nobody can sign in to it, and every session and log-in ends. Bookings
    stand. Raises Invalid by field, NotAllowed for one's own, Conflict for the last admin's.
    """
    _check_reason(reason, needed=True)
    with transaction():
        person = _locked(person_id, by)
        if not person.is_active:
            return person
        _check_not_oneself(person, by, "You can't deactivate your own account. Ask another admin.")
        if "admin" in person.roles:
            _check_not_last_admin(person)
        person.is_active = False
        links.void(person.id, *links.LIFETIMES)
        sessions.end_all(person.id, by=by)
        tokens.end_all(person.id)
        audit.record(by, "user.deactivate", person, reason=reason)
    return person


def reactivate(person_id: int, *, reason: str, by: Actor) -> User:
    """Open a closed account again, with the password and roles it had. Raises Invalid by field, NotAllowed."""
    _check_reason(reason, needed=True)
    with transaction():
        person = _locked(person_id, by)
        if not person.is_active:
            person.is_active = True
            audit.record(by, "user.reactivate", person, reason=reason)
    return person


def end_sessions(person_id: int, *, by: Actor) -> int:
    """Sign a person out everywhere; returns from how many console sessions. Raises NotAllowed."""
    with transaction():
        person = _locked(person_id, by)
        ended = sessions.end_all(person.id, by=by)
        tokens.end_all(person.id)
        audit.record(by, "user.end_sessions", person)
    return ended


def reset_two_factor(person_id: int, *, reason: str, by: Actor) -> User:
    """Take away the second factor of somebody who lost it, and sign them out. Raises Invalid by field, NotAllowed for
    one's own, Conflict when there is none.
    """
    _check_reason(reason, needed=True)
    with transaction():
        person = _locked(person_id, by)
        _check_not_oneself(person, by, "Turn your own second factor off on your account page.")
        if person.two_factor_since is None:
            raise Conflict(f"{person.name} has no second factor.")
        two_factor.take_away(person, by=by, reason=reason)
        sessions.end_all(person.id, by=by)
        tokens.end_all(person.id)
    return person


def break_glass(*, email: str, name: str, reason: str, by: Actor) -> str:
    """Make an admin when nobody can get in any more; returns the link behind which they choose a password.

    The account is made, or taken as it is: let in again, without its second factor, everywhere signed out. For
    operators on the command line. Raises Invalid by field, NotAllowed for anybody else.
    """
    if by.kind != "system":
        raise NotAllowed("This is for operators on the command line.")
    _check_reason(reason, needed=True)
    with transaction():
        person = db.session.scalar(select(User).where(User.email == email.strip().lower()))
        if person is None:
            person = accounts.new_person(email, name, None)
            accounts.insert_person(person)
        else:
            person = lock(User, person.id)
        person.is_active = True
        if "admin" not in person.roles:
            person.staff_roles.append(StaffRole(role="admin"))
        two_factor.take_away(person, by=by, reason=reason)
        sessions.end_all(person.id, by=by)
        tokens.end_all(person.id)
        url = links.make(person, "password_reset")
        audit.record(by, "staff.break_glass", person, reason=reason, after={"roles": sorted(person.roles)})
    log.warning("an admin was made by break-glass", extra={"user_id": person.id, "operator": by.label})
    return url


def _mail_invitation(person: User, by: Actor) -> None:
    links.mail(person, "staff_invitation", invited_by=by.label, roles=sorted(person.roles))


def _locked(person_id: int, by: Actor) -> User:
    """The person, locked behind all admins, so that two of them can't do away with each other at once."""
    require_transaction()
    by.require("admin")
    admins = _lock_admins()
    if by.kind == "staff" and by.id not in admins:
        raise NotAllowed("You are no longer an admin.")
    return lock(User, person_id)


def _lock_admins() -> list[int]:
    holders = select(StaffRole.user_id).where(StaffRole.role == "admin")
    wanted = select(User.id).where(User.id.in_(holders), User.is_active).order_by(User.id).with_for_update()
    locked = list(db.session.scalars(wanted))
    # Who waited for the lock decided on what was there before: look again.
    return list(
        db.session.scalars(
            select(User.id)
            .join(StaffRole, StaffRole.user_id == User.id)
            .where(StaffRole.role == "admin", User.is_active, User.id.in_(locked))
        )
    )


def _check_not_last_admin(person: User) -> None:
    others = (
        select(User.id)
        .join(StaffRole, StaffRole.user_id == User.id)
        .where(StaffRole.role == "admin", User.is_active, User.password_hash.is_not(None), User.id != person.id)
        .limit(1)
    )
    if db.session.scalar(others) is None:
        raise Conflict(f"{person.name} is the last admin. Make somebody else admin first.")


def _check_not_oneself(person: User, by: Actor, detail: str) -> None:
    if person.id == by.id:
        raise NotAllowed(detail)


def _check_roles(roles: Collection[str]) -> None:
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        raise Invalid.field(
            "roles",
            f"Roles are {', '.join(ROLES)}" + (f"; there is no {unknown[0]}." if unknown else "; give at least one."),
        )


def _check_reason(reason: str, *, needed: bool) -> None:
    if needed and not reason.strip():
        raise Invalid.field("reason", "Give a reason.")
    if len(reason) > _MAX_REASON:
        raise Invalid.field("reason", f"Use at most {_MAX_REASON:,} characters.")
