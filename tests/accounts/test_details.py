"""Editing who somebody is: what a new address brings with it, and what is refused."""

from __future__ import annotations

from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import select

from app.accounts import details, links, staff
from app.accounts import service as accounts
from app.accounts.models import AccountLink, User
from app.audit.actor import SYSTEM, Actor
from app.audit.edits import SavedMeanwhile, version_of
from app.audit.models import AuditEntry
from app.db import lock, transaction, utcnow
from app.errors import Invalid, NotAllowed, NotFound
from app.extensions import db
from app.notifications.models import Notification
from tests import factories


def admin(name: str = "Ada") -> Actor:
    return Actor("staff", factories.staff("admin").id, name, frozenset({"admin"}))


def new_address() -> str:
    return f"new-{uuid4().hex[:10]}@example.org"


def edit(person: User, reason: str = "Asked by telephone", by: Actor | None = None, **typed: str) -> User:
    return details.edit_person(person.id, typed, seen=version_of(person), reason=reason, by=by or admin())


def mails_to(address: str) -> list[str]:
    kinds = select(Notification.kind).where(Notification.recipient == address).order_by(Notification.id)
    return list(db.session.scalars(kinds))


def confirmed() -> User:
    person = factories.traveller()
    with transaction():
        person = lock(User, person.id)
        person.email_verified_at = utcnow()
    return person


def is_redeemable(person: User, purpose: str) -> bool:
    live = select(AccountLink.id).where(
        AccountLink.user_id == person.id, AccountLink.purpose == purpose, AccountLink.expires_at > utcnow()
    )
    return db.session.scalar(live) is not None


def test_a_name_is_changed_with_its_reason_and_nothing_else(app: Flask) -> None:
    person = confirmed()
    before = mails_to(person.email)
    edit(person, "Married", name="  Ada   King ")
    after = factories.reread(person)
    assert (after.name, after.email_verified_at is not None) == ("Ada King", True)
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "user.edit")).all()[-1]
    assert (entry.reason, entry.object_id, set(entry.after or {})) == ("Married", person.id, {"name"})
    assert mails_to(person.email) == before


def test_a_new_address_is_to_be_confirmed_and_the_one_before_is_told(app: Flask) -> None:
    person, address = confirmed(), new_address()
    old = person.email
    with transaction():
        links.make(person, "password_reset")
    edit(person, email=f" {address.upper()} ")
    after = factories.reread(person)
    assert (after.email, after.email_verified_at) == (address, None)
    assert mails_to(address) == ["verify_email"]
    assert mails_to(old)[-1] == "address_changed"
    # What was mailed to the old address opens nothing any more.
    assert not is_redeemable(person, "password_reset")
    assert accounts.check_password(email=address, password=factories.PASSWORD, address=None).id == person.id
    with pytest.raises(NotAllowed):
        accounts.check_password(email=old, password=factories.PASSWORD, address=None)


def test_who_has_not_accepted_an_invitation_gets_no_other_link_by_itself(app: Flask) -> None:
    person = staff.invite(email=new_address(), name="New", roles=["support"], by=SYSTEM)
    address = new_address()
    edit(person, email=address)
    assert mails_to(address) == []
    assert not is_redeemable(person, "staff_invitation")
    staff.invite_again(person.id, by=admin())
    assert mails_to(address) == ["staff_invitation"]


def test_a_closed_account_gets_no_mail(app: Flask) -> None:
    person, address = factories.traveller(), new_address()
    staff.deactivate(person.id, reason="Asked for it", by=admin())
    before = mails_to(person.email)
    old = person.email
    edit(person, email=address)
    assert factories.reread(person).email == address
    assert (mails_to(address), mails_to(old)) == ([], before)


@pytest.mark.parametrize(
    ("field", "text"), [("email", "nobody"), ("email", ""), ("name", "  "), ("name", "x" * 201), ("name", "a\x00b")]
)
def test_a_wrong_field_is_named_and_nothing_is_changed(app: Flask, field: str, text: str) -> None:
    person = confirmed()
    name, email = person.name, person.email
    with pytest.raises(Invalid) as refusal:
        edit(person, **{"name": "Fine", field: text})
    assert [wrong.field for wrong in refusal.value.fields] == [field]
    after = factories.reread(person)
    assert (after.name, after.email) == (name, email)


def test_an_address_that_has_an_account_is_refused(app: Flask) -> None:
    person, other = confirmed(), factories.traveller()
    email = person.email
    with pytest.raises(Invalid) as refusal:
        edit(person, name="Fine", email=other.email)
    assert refusal.value.fields[0].message == "There is an account with this e-mail address already."
    after = factories.reread(person)
    assert (after.email, after.name == "Fine", after.email_verified_at is not None) == (email, False, True)


def test_it_takes_an_admin_a_reason_and_somebody_there(app: Flask) -> None:
    person = confirmed()
    name = person.name
    with pytest.raises(NotAllowed):
        edit(person, by=factories.actor(factories.staff("support")), name="Mine")
    with pytest.raises(Invalid) as refusal:
        edit(person, " ", name="Mine")
    assert refusal.value.fields[0].field == "reason"
    with pytest.raises(NotFound):
        details.edit_person(0, {"name": "Mine"}, seen=0, reason="Because", by=admin())
    assert factories.reread(person).name == name


def test_two_addresses_given_at_the_same_time_are_a_clash(app: Flask) -> None:
    person, hers = factories.traveller(), new_address()
    seen = version_of(person)
    edit(person, by=admin("Ada"), email=hers)
    with pytest.raises(SavedMeanwhile) as refusal:
        details.edit_person(person.id, {"email": new_address()}, seen=seen, reason="Wrote to us", by=admin("Bob"))
    assert (refusal.value.clashes[0].theirs, refusal.value.clashes[0].by) == (hers, "Ada")
    assert factories.reread(person).email == hers
