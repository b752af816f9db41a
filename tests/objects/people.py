"""Travellers and staff, how they sign in, and the links that are mailed to them."""

from __future__ import annotations

from uuid import uuid4

from app.accounts import links, sessions, staff, tokens
from app.accounts.models import User
from app.audit.actor import SYSTEM, Actor
from app.db import transaction
from app.extensions import db
from tests import factories
from tests.accounts.codes import set_up
from tests.objects.asked import NOT_THERE, Asked


def person(owner: Actor | None) -> Asked:
    return Asked({"user_id": factories.traveller().id if owner else NOT_THERE})


def edited_person(owner: Actor | None) -> Asked:
    return Asked(person(owner).args, {"seen": "0", "name": "Another Name", "reason": "Married"})


def edited_colleague(owner: Actor | None) -> Asked:
    return Asked(colleague(owner).args, {"seen": "0", "name": "Another Name", "reason": "Married"})


def wrong_login(owner: Actor | None) -> Asked:
    return Asked({}, {"email": f"{uuid4().hex}@example.org", "password": factories.PASSWORD})


def new_person(owner: Actor | None) -> Asked:
    return Asked({}, {"email": f"{uuid4().hex}@example.org", "name": "New", "password": factories.PASSWORD})


def refresh_token(owner: Actor | None) -> Asked:
    token = tokens.issue(factories.traveller()).refresh_token if owner else "nothing-like-this"
    return Asked({}, {"refreshToken": token})


def mailed(purpose: str, owner: Actor | None) -> str:
    """The token of a link that was mailed to somebody."""
    if owner is None:
        return "nothing-like-this"
    person = staff.invite(email=f"{uuid4().hex}@example.org", name="Invited", roles=["support"], by=SYSTEM)
    with transaction():
        return links.make(person, purpose).rsplit("/", 1)[1]


def reset_link(owner: Actor | None) -> Asked:
    return Asked({"token": mailed("password_reset", owner)}, {"password": factories.PASSWORD})


def invitation(owner: Actor | None) -> Asked:
    return Asked({"token": mailed("staff_invitation", owner)}, {"password": factories.PASSWORD})


def verify_link(owner: Actor | None) -> Asked:
    return Asked({"token": mailed("verify_email", owner)})


def forgotten(owner: Actor | None) -> Asked:
    return Asked({}, {"email": f"{uuid4().hex}@example.org"})


def reset_token(owner: Actor | None) -> Asked:
    return Asked({}, {"token": mailed("password_reset", owner), "password": factories.PASSWORD})


def verify_token(owner: Actor | None) -> Asked:
    return Asked({}, {"token": mailed("verify_email", owner)})


def session(owner: Actor | None) -> Asked:
    if owner is None or owner.id is None:
        return Asked({"session_id": NOT_THERE})
    person = db.session.get_one(User, owner.id)
    who = person if person.roles else factories.staff()
    return Asked({"session_id": opened(who)})


def opened(person: User) -> int:
    _, token = sessions.sign_in(email=person.email, password=factories.PASSWORD, address=None, user_agent=None)
    found = sessions.find(token)
    assert found is not None
    return found.id


def their_session(owner: Actor | None) -> Asked:
    person = factories.staff()
    return Asked({"person_id": person.id, "session_id": opened(person) if owner else NOT_THERE})


def colleague(owner: Actor | None) -> Asked:
    return Asked(
        {"person_id": factories.staff().id if owner else NOT_THERE}, {"reason": "Because", "roles": ["moderator"]}
    )


def former(owner: Actor | None) -> Asked:
    asked = colleague(owner)
    if owner:
        staff.deactivate(asked.args["person_id"], reason="Left", by=SYSTEM)
    return asked


def guarded_one(owner: Actor | None) -> Asked:
    asked = colleague(owner)
    if owner is None:
        return asked
    person = db.session.get_one(User, asked.args["person_id"])
    set_up(person)
    return Asked(asked.args, {"reason": "Lost it", "typed": person.email})


def invited_one(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"person_id": NOT_THERE})
    person = staff.invite(email=f"{uuid4().hex}@example.org", name="Invited", roles=["support"], by=SYSTEM)
    return Asked({"person_id": person.id})


def new_colleague(owner: Actor | None) -> Asked:
    return Asked({}, {"email": f"{uuid4().hex}@example.org", "name": "New", "roles": ["support"]})


PEOPLE = (
    person,
    edited_person,
    edited_colleague,
    wrong_login,
    new_person,
    refresh_token,
    reset_link,
    invitation,
    verify_link,
    forgotten,
    reset_token,
    verify_token,
    session,
    their_session,
    colleague,
    former,
    guarded_one,
    invited_one,
    new_colleague,
)
