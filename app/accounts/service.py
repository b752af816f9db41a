"""Verbs of people: registering, proving who one is, and being the one who acts."""

from __future__ import annotations

import re

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.accounts import links, throttle, two_factor
from app.accounts.models import StaffMember, User
from app.accounts.passwords import check_acceptable, hash_password, matches
from app.audit import service as audit
from app.audit.actor import Actor
from app.db import read, transaction
from app.errors import Conflict, FieldError, Invalid, NotAllowed
from app.extensions import db

MAX_NAME = 200
# Deliverability is for the mail to prove; this only catches what can't be an address.
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")
_WRONG = "The e-mail address or the password is wrong."
# Text that PostgreSQL or a reader can't take: NUL and the other control characters.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class CodeNeeded(NotAllowed):
    """The password was right; the second factor is still to come."""

    title = "Second factor needed"


def register(*, email: str, name: str, password: str, address: str | None = None) -> User:
    """Make an account for a traveller, and mail them a link that proves their address. Raises Invalid by field,
    Conflict when the address has an account.
    """
    person = new_person(email, name, password)
    with transaction():
        insert_person(person)
        links.mail(person, "verify_email")
        audit.record(actor_of(person, address), "user.register", person)
    return person


def new_person(email: str, name: str, password: str | None) -> User:
    """An account that is yet to be inserted; without a password nobody can sign in. Raises Invalid by field."""
    wrong: list[FieldError] = []
    for read_field, text in ((read_address, email), (read_name, name)):
        try:
            read_field(text)
        except Invalid as refusal:
            wrong += refusal.fields
    if wrong:
        raise Invalid("Some fields need another look.", wrong)
    email, name = read_address(email), read_name(name)
    if password is None:
        return User(email=email, name=name)
    check_acceptable(password, about=(email, name))
    return User(email=email, name=name, password_hash=hash_password(password))


def read_name(text: str) -> str:
    """A person's name as it is kept. Raises Invalid by field."""
    name = " ".join(text.split())
    if not name or len(name) > MAX_NAME or _CONTROL.search(name):
        raise Invalid.field("name", f"Give a name of 1 to {MAX_NAME} characters.")
    return name


def read_address(text: str) -> str:
    """A person's e-mail address as it is kept. Raises Invalid by field."""
    if not is_address(text):
        raise Invalid.field("email", "This is not an e-mail address.")
    return text.strip().lower()


def is_address(email: str) -> bool:
    """Whether mail could reach this at all."""
    email = email.strip()
    return bool(_EMAIL.fullmatch(email)) and len(email) <= 254 and not _CONTROL.search(email)


def insert_person(person: User) -> None:
    """Write a new account. Raises Conflict when the address has one."""
    db.session.add(person)
    try:
        db.session.flush()
    except IntegrityError as error:
        raise Conflict("There is an account with this e-mail address already.") from error


def authenticate(*, email: str, password: str, code: str | None = None, address: str | None = None) -> User:
    """The active person with this address and password, and with this code where they have a second factor.

    Raises NotAllowed, in the same words and time whatever was wrong with address or password; CodeNeeded;
    TooMany.
    """
    person = check_password(email=email, password=password, address=address)
    if two_factor.is_missing(person):
        raise NotAllowed("Your role demands two-factor sign-in. Sign in to the console once to set it up.")
    if person.two_factor_since is not None:
        if not code:
            raise CodeNeeded("This account has a second factor: send the present code of the authenticator app too.")
        check_code(person, code, address=address)
    throttle.note_success(email, address)
    return person


def check_password(*, email: str, password: str, address: str | None, staff_only: bool = False) -> User:
    """The active person with this address and password, whatever else signing in may take. Raises NotAllowed,
    TooMany.

    `staff_only` answers a traveller as it answers a wrong password.
    """
    throttle.check(email, address)
    # What can't be an address isn't looked for: PostgreSQL takes no NUL.
    known = select(User).where(User.email == email.strip().lower())
    person = db.session.scalar(known) if is_address(email) else None
    is_right = matches(person.password_hash if person else None, password)
    if not is_right or person is None or not person.is_active or (staff_only and not person.roles):
        throttle.count_failure(email, address)
        raise NotAllowed(_WRONG)
    # Others may have been wrong while this was hashed.
    throttle.check(email, address)
    return person


def check_code(person: User | StaffMember, code: str, *, address: str | None) -> None:
    """Use up a code of the person's second factor. Raises NotAllowed, TooMany."""
    throttle.check(person.email, address)
    with transaction():
        accepted = two_factor.accepts(person.id, code, by=actor_of(person, address))
    if not accepted:
        throttle.count_failure(person.email, address)
        raise NotAllowed("This code is wrong, or was used already. Wait for the next one.")


def actor_of(person: User | StaffMember, address: str | None = None) -> Actor:
    """The person as the one who acts: staff when they hold a role."""
    return Actor("staff" if person.roles else "traveller", person.id, person.name, person.roles, address)


def active_actor(person_id: int, address: str | None) -> Actor | None:
    """The person with this id as the one who acts; None when the account is closed or was never there.

    One round trip, as the API asks with every request.
    """
    rows = read(
        """
        SELECT u.name, u.two_factor_since, ARRAY(SELECT role FROM staff_roles WHERE user_id = u.id) AS roles
        FROM users u WHERE u.id = %(id)s AND u.is_active
        """,
        {"id": person_id},
    )
    if not rows:
        return None
    roles = frozenset(rows[0].roles)
    if roles and rows[0].two_factor_since is None and two_factor.is_demanded(roles):
        # Given after they logged in: it counts once they have a second factor.
        roles -= two_factor.DEMANDED_OF
    return Actor("staff" if roles else "traveller", person_id, rows[0].name, roles, address)
