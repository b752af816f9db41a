"""The verb that edits who somebody is: their name, and the e-mail address that they sign in with."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.exc import IntegrityError

from app.accounts import links
from app.accounts import service as accounts
from app.accounts.models import User
from app.audit import edits, reasons
from app.audit import service as audit
from app.audit.actor import Actor
from app.audit.edits import Editable
from app.db import lock, transaction, utcnow
from app.errors import Invalid
from app.extensions import db
from app.notifications import service as notifications

MAY_EDIT = ("admin",)
FIELDS = {"name": Editable("name", accounts.read_name), "email": Editable("email", accounts.read_address)}


def edit_person(person_id: int, typed: Mapping[str, str], *, seen: int, reason: str, by: Actor) -> User:
    """Save a form of a person that was opened at the version `seen`, over what others saved since.

    A new address has yet to be confirmed: a link is mailed to it, the links mailed before stop working, and the address
    before is told. Raises NotAllowed, NotFound, Invalid by field or without a reason, SavedMeanwhile.
    """
    by.require(*MAY_EDIT)
    reason = reasons.given(reason)
    with transaction():
        person = lock(User, person_id)
        wanted = edits.merge(person, FIELDS, typed, seen=seen)
        if not wanted:
            return person
        before = person.email
        for column, value in wanted.items():
            setattr(person, column, value)
        if person.email != before:
            _move_to(person, before)
        audit.record(by, "user.edit", person, reason=reason)
    return person


def _move_to(person: User, before: str) -> None:
    """What a new address brings with it."""
    person.email_verified_at = None
    try:
        db.session.flush()
    except IntegrityError as error:
        raise Invalid.field("email", "There is an account with this e-mail address already.") from error
    links.void(person.id, *links.LIFETIMES)
    if not person.is_active:
        return
    # Who never accepted their invitation gets another one, by the button on their page, and proves the address by it.
    if person.password_hash is not None:
        links.mail(person, "verify_email")
    at = utcnow()
    notifications.notify(
        "address_changed",
        to=before,
        name=person.name,
        key=f"address_changed:{person.id}:{at:%Y%m%dT%H%M%S%f}",
        values={"at": f"{at.day} {at:%b %Y, %H:%M} UTC"},
        about=person,
    )
