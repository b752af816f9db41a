"""People: registering, staff, passwords, and who gets in."""

from __future__ import annotations

import runpy
from datetime import timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError
from flask import Flask
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from app.accounts import passwords, sessions, staff
from app.accounts import service as accounts
from app.accounts.models import StaffSession, User
from app.accounts.secret_tokens import hash_token
from app.audit.actor import SYSTEM
from app.audit.models import AuditEntry
from app.db import transaction
from app.errors import Conflict, Invalid, NotAllowed
from app.extensions import db
from tests import factories
from tests.concurrency import at_once


def people(email: str) -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).select_from(User).where(User.email == email)) or 0


def set_active(person: User, active: bool) -> None:
    with transaction():
        db.session.get_one(User, person.id, populate_existing=True).is_active = active


def test_an_address_is_kept_in_lower_case_and_a_name_without_stray_spaces(app: Flask) -> None:
    person = factories.traveller(email="  Mixed.Case-1@Example.ORG ", name="  Ada \n Nordmann ")
    assert (person.email, person.name, person.roles) == ("mixed.case-1@example.org", "Ada Nordmann", frozenset())


def test_a_second_account_with_an_address_is_refused(app: Flask) -> None:
    person = factories.traveller()
    with pytest.raises(Conflict, match="already"):
        factories.traveller(email=person.email.upper(), name="Somebody else")
    assert people(person.email) == 1


def test_of_two_who_register_an_address_at_once_one_gets_it(app: Flask) -> None:
    outcomes = at_once(app, *[lambda: factories.traveller(email="both@example.org")] * 3)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Conflict", "User"]
    assert people("both@example.org") == 1


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"email": "nobody"}, ["email"]),
        ({"email": "a@b"}, ["email"]),
        ({"email": "a b@example.org"}, ["email"]),
        ({"email": "a@@example.org"}, ["email"]),
        ({"email": "nul\x00@example.org"}, ["email"]),
        ({"email": "x" * 65 + "@example.org"}, ["email"]),
        ({"email": "x@" + "y" * 250 + ".org"}, ["email"]),
        ({"name": ""}, ["name"]),
        ({"name": "   "}, ["name"]),
        ({"name": "x" * 201}, ["name"]),
        ({"name": "bell\x07"}, ["name"]),
        ({"password": "too short"}, ["password"]),
        ({"password": "x" * 201}, ["password"]),
        ({"email": "nobody", "name": ""}, ["email", "name"]),
    ],
)
def test_what_cannot_be_is_refused_by_field(app: Flask, values: dict[str, str], fields: list[str]) -> None:
    before = db.session.scalar(select(func.count()).select_from(User))
    with pytest.raises(Invalid) as refusal:
        factories.traveller(**values)
    assert [wrong.field for wrong in refusal.value.fields] == fields
    assert db.session.scalar(select(func.count()).select_from(User)) == before


def test_the_database_refuses_an_address_in_mixed_case_itself(app: Flask) -> None:
    person = factories.traveller()
    with pytest.raises(IntegrityError, match="ck_users_email_lower"):
        db.session.execute(text("UPDATE users SET email = upper(email) WHERE id = :id"), {"id": person.id})


def test_passwords_are_hashed_with_argon2id_at_the_librarys_cost(real_password_hasher: PasswordHasher) -> None:
    standard = PasswordHasher()
    assert real_password_hasher.type.name == "ID"
    assert (real_password_hasher.time_cost, real_password_hasher.memory_cost) == (
        standard.time_cost,
        standard.memory_cost,
    )
    assert real_password_hasher.memory_cost >= 64 * 1024


def test_the_hash_that_stands_in_for_nobodys_costs_as_much_and_fits_no_password() -> None:
    # As the product has it: the tests hash at a lower cost.
    product = runpy.run_path(str(passwords.__file__))
    assert extract_parameters(product["_NOBODY"]) == extract_parameters(product["hash_password"]("x"))
    assert extract_parameters(product["_NOBODY"]).memory_cost == PasswordHasher().memory_cost
    with pytest.raises(VerifyMismatchError):
        product["_hasher"].verify(product["_NOBODY"], "x")


def test_who_has_no_password_matches_none() -> None:
    assert passwords._hasher.verify(passwords._NOBODY, "nobody has this password")
    assert passwords.matches(None, "nobody has this password") is False


def test_the_same_password_is_never_hashed_alike(app: Flask) -> None:
    first, second = factories.traveller(), factories.traveller()
    assert first.password_hash != second.password_hash
    assert first.password_hash.startswith("$argon2id$")


def test_the_right_address_and_password_let_in(app: Flask) -> None:
    person = factories.traveller()
    assert accounts.authenticate(email=f" {person.email.upper()} ", password=factories.PASSWORD).id == person.id


def test_every_wrong_log_in_is_answered_alike(app: Flask) -> None:
    person, closed = factories.traveller(), factories.traveller()
    set_active(closed, False)
    wrong = [
        {"email": "unknown@example.org", "password": factories.PASSWORD},
        {"email": person.email, "password": "not the password"},
        {"email": person.email, "password": ""},
        {"email": closed.email, "password": factories.PASSWORD},
        {"email": "nul\x00@example.org", "password": factories.PASSWORD},
        {"email": "x" * 10_000, "password": "y" * 10_000},
    ]
    answers = set()
    for values in wrong:
        with pytest.raises(NotAllowed) as refusal:
            accounts.authenticate(**values)
        answers.add(refusal.value.detail)
    assert answers == {"The e-mail address or the password is wrong."}


def test_an_unknown_address_costs_a_hash_too(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Counting:
        def verify(self, password_hash: str, password: str) -> bool:
            asked.append(password_hash)
            return bool(real.verify(password_hash, password))

    real = passwords._hasher
    monkeypatch.setattr(passwords, "_hasher", Counting())
    with pytest.raises(NotAllowed):
        accounts.authenticate(email="unknown@example.org", password="nobody has this password")
    assert len(asked) == 1


# ------------------------------------------------------------------ staff


def test_staff_hold_the_roles_they_were_given(app: Flask) -> None:
    person = factories.staff("finance", "support")
    assert person.roles == {"finance", "support"}
    entry = db.session.scalars(
        select(AuditEntry).where(AuditEntry.action == "staff.create", AuditEntry.object_id == person.id)
    ).one()
    assert (entry.after or {})["roles"] == ["finance", "support"]


@pytest.mark.parametrize("roles", [(), ("boss",), ("support", "boss")])
def test_roles_that_do_not_exist_are_refused(app: Flask, roles: tuple[str, ...]) -> None:
    with pytest.raises(Invalid) as refusal:
        staff.create_staff(
            email="wrong-role@example.org", name="Wrong", password=factories.PASSWORD, roles=roles, by=SYSTEM
        )
    assert [wrong.field for wrong in refusal.value.fields] == ["roles"]
    assert people("wrong-role@example.org") == 0


@pytest.mark.parametrize("role", ["support", "moderator", "finance", None])
def test_only_admins_make_staff(app: Flask, role: str | None) -> None:
    by = factories.actor(factories.staff(role) if role else None)
    with pytest.raises(NotAllowed):
        staff.create_staff(
            email="not-made@example.org", name="Not made", password=factories.PASSWORD, roles=("admin",), by=by
        )
    with pytest.raises(NotAllowed):
        staff.invite(email="not-made@example.org", name="Not made", roles=("admin",), by=by)
    assert people("not-made@example.org") == 0


def test_the_command_makes_staff_and_refuses_in_one_line(app: Flask) -> None:
    runner = app.test_cli_runner()
    options = ["--name", "Kim", "--role", "support", "--role", "finance", "--password", factories.PASSWORD]
    done = runner.invoke(args=["staff", "create", "--email", "kim@example.org", *options])
    assert (done.exit_code, done.output) == (0, "kim@example.org can sign in to the console as finance, support.\n")
    again = runner.invoke(args=["staff", "create", "--email", "kim@example.org", *options])
    assert (again.exit_code, again.output) == (1, "Error: There is an account with this e-mail address already.\n")
    short = runner.invoke(args=["staff", "create", "--email", "k2@example.org", *options[:-1], "short"])
    assert (short.exit_code, "password: Use at least 10 characters." in short.output) == (1, True)


# ------------------------------------------------------------------ console sessions


def signed_in(*roles: str) -> tuple[User, str]:
    person = factories.staff(*roles)
    return sessions.sign_in(email=person.email, password=factories.PASSWORD, address="10.0.0.1", user_agent="Test")


def test_a_session_is_found_by_its_token_of_which_only_the_hash_is_stored(app: Flask) -> None:
    person, token = signed_in("support")
    found = sessions.find(token)
    assert found is not None
    assert found.person.id == person.id
    row = db.session.scalars(select(StaffSession).where(StaffSession.user_id == person.id)).one()
    assert row.token_hash == hash_token(token)
    assert token.encode() not in row.token_hash
    assert (row.address, row.user_agent) == ("10.0.0.1", "Test")


def test_a_traveller_cannot_sign_in_to_the_console_and_is_told_nothing(app: Flask) -> None:
    person = factories.traveller()
    with pytest.raises(NotAllowed, match="address or the password is wrong"):
        sessions.sign_in(email=person.email, password=factories.PASSWORD, address=None, user_agent=None)
    assert db.session.scalar(select(func.count()).where(StaffSession.user_id == person.id)) == 0


def end(what: str, person: User, token: str) -> None:
    statements = {
        "the session was revoked": "UPDATE staff_sessions SET ended_at = now() WHERE user_id = :id",
        "its time ran out": "UPDATE staff_sessions SET expires_at = now() - interval '1 second' WHERE user_id = :id",
        "the person was deactivated": "UPDATE users SET is_active = false WHERE id = :id",
        "the last role was taken away": "DELETE FROM staff_roles WHERE user_id = :id",
    }
    if what == "they signed out":
        sessions.sign_out(token, by=factories.actor(person))
        return
    with transaction():
        db.session.execute(text(statements[what]), {"id": person.id})
    db.session.expire_all()


@pytest.mark.parametrize(
    "what",
    [
        "they signed out",
        "the session was revoked",
        "its time ran out",
        "the person was deactivated",
        "the last role was taken away",
    ],
)
def test_a_session_is_nobodys_once(app: Flask, what: str) -> None:
    person, token = signed_in("support")
    assert sessions.find(token) is not None
    end(what, person, token)
    assert sessions.find(token) is None


def test_signing_out_twice_is_written_down_once(app: Flask) -> None:
    person, token = signed_in("support")
    for _ in range(2):
        sessions.sign_out(token, by=factories.actor(person))
    ends = select(func.count()).where(AuditEntry.action == "session.end", AuditEntry.actor_id == person.id)
    assert db.session.scalar(ends) == 1


def test_a_session_remembers_when_it_was_last_seen(app: Flask) -> None:
    person, token = signed_in("support")
    with transaction():
        db.session.execute(
            text("UPDATE staff_sessions SET last_seen_at = now() - interval '1 hour' WHERE user_id = :id"),
            {"id": person.id},
        )
    sessions.find(token)
    seen: Any = select(StaffSession.last_seen_at).where(StaffSession.user_id == person.id)
    first = db.session.scalar(seen)
    assert first > factories.utcnow() - timedelta(minutes=30)
    # To the minute is enough: not every click is written down.
    sessions.find(token)
    db.session.rollback()
    assert db.session.scalar(seen) == first
