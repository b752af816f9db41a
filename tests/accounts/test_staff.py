"""Staff: invited, given roles, kept out, let in again; and that an admin is always left."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import func, select

from app.accounts import credentials, sessions, staff, tokens
from app.accounts import service as accounts
from app.accounts.models import User
from app.audit.actor import SYSTEM, Actor
from app.audit.models import AuditEntry
from app.db import transaction
from app.errors import Conflict, Invalid, NotAllowed, NotFound, NotSignedIn
from app.extensions import db
from tests import factories
from tests.accounts.codes import set_up
from tests.accounts.test_credentials import NEW, ask, can_log_in, mailed_token, mails
from tests.concurrency import at_once, held_up


def admin() -> Actor:
    return factories.actor(factories.staff("admin"))


def signed_in(person: User) -> str:
    return sessions.sign_in(email=person.email, password=factories.PASSWORD, address=None, user_agent=None)[1]


def entries(action: str, person: User) -> int:
    db.session.rollback()
    wanted = select(func.count()).where(AuditEntry.action == action, AuditEntry.object_id == person.id)
    return db.session.scalar(wanted) or 0


def invited(**values: object) -> User:
    number = uuid4().hex[:8]
    return staff.invite(
        **{"email": f"new-{number}@example.org", "name": "Kim Newman", "roles": ["support"], "by": SYSTEM, **values}  # type: ignore[arg-type]
    )


# ------------------------------------------------------------------ inviting


def test_who_is_invited_chooses_a_password_and_gets_in(app: Flask) -> None:
    person = invited(roles=["finance", "support"])
    assert not can_log_in(person, "")
    assert mails(person, "staff_invitation")[0].values["roles"] == ["finance", "support"]
    credentials.accept_invitation(mailed_token(person, "staff_invitation"), NEW, address=None)
    person = factories.reread(person)
    assert person.email_verified_at is not None
    assert sessions.sign_in(email=person.email, password=NEW, address=None, user_agent=None)[0].roles == {
        "finance",
        "support",
    }
    assert mails(person, "password_changed") == []


def test_a_second_invitation_replaces_the_first(app: Flask) -> None:
    person = invited()
    first = mailed_token(person, "staff_invitation")
    staff.invite_again(person.id, by=SYSTEM)
    with pytest.raises(Invalid):
        credentials.accept_invitation(first, NEW, address=None)
    credentials.accept_invitation(mailed_token(person, "staff_invitation"), NEW, address=None)
    with pytest.raises(Conflict, match="accepted already"):
        staff.invite_again(person.id, by=SYSTEM)


def test_who_was_deactivated_before_accepting_is_not_invited_again(app: Flask) -> None:
    person = invited()
    staff.deactivate(person.id, reason="By mistake", by=SYSTEM)
    with pytest.raises(Conflict, match="deactivated"):
        staff.invite_again(person.id, by=SYSTEM)
    assert len(mails(person, "staff_invitation")) == 1


def test_an_address_with_an_account_cannot_be_invited(app: Flask) -> None:
    person = factories.traveller()
    with pytest.raises(Conflict):
        invited(email=person.email)
    assert factories.reread(person).roles == frozenset()


# ------------------------------------------------------------------ roles


def test_roles_change_with_the_next_click_and_the_next_request(app: Flask) -> None:
    person = factories.staff("support")
    token, pair = signed_in(person), tokens.issue(person)
    staff.set_roles(person.id, ["moderator"], by=admin())
    found = sessions.find(token)
    assert found is not None
    assert found.person.roles == {"moderator"}
    assert factories.acting_with(pair.access_token).roles == {"moderator"}
    entry = db.session.scalars(
        select(AuditEntry).where(AuditEntry.action == "staff.set_roles", AuditEntry.object_id == person.id)
    ).one()
    assert ((entry.before or {})["roles"], (entry.after or {})["roles"]) == ("support", "moderator")


def test_the_same_roles_again_are_no_change(app: Flask) -> None:
    person = factories.staff("support")
    staff.set_roles(person.id, ["support"], by=admin())
    assert entries("staff.set_roles", person) == 0


@pytest.mark.parametrize("roles", [[], ["boss"], ["support", "boss"]])
def test_roles_that_make_no_sense_are_refused(app: Flask, roles: list[str]) -> None:
    person = factories.staff("support")
    with pytest.raises(Invalid):
        staff.set_roles(person.id, roles, by=admin())
    assert factories.reread(person).roles == {"support"}


VERBS: dict[str, Callable[[User, Actor], object]] = {
    "set roles": lambda person, by: staff.set_roles(person.id, ["support"], by=by),
    "deactivate": lambda person, by: staff.deactivate(person.id, reason="Left", by=by),
    "reactivate": lambda person, by: staff.reactivate(person.id, reason="Back", by=by),
    "end sessions": lambda person, by: staff.end_sessions(person.id, by=by),
    "reset second factor": lambda person, by: staff.reset_two_factor(person.id, reason="Lost", by=by),
    "invite again": lambda person, by: staff.invite_again(person.id, by=by),
}


@pytest.mark.parametrize("role", ["support", "moderator", "finance", None])
@pytest.mark.parametrize("verb", VERBS)
def test_only_admins_act_on_staff(app: Flask, verb: str, role: str | None) -> None:
    person = factories.staff("finance")
    set_up(person)
    token = signed_in(person)
    by = factories.actor(factories.staff(role) if role else factories.traveller())
    with pytest.raises(NotAllowed):
        VERBS[verb](person, by)
    now = factories.reread(person)
    assert (now.roles, now.is_active, now.two_factor_since is not None) == ({"finance"}, True, True)
    assert sessions.find(token) is not None


@pytest.mark.parametrize("verb", ["set roles", "deactivate", "reset second factor"])
def test_nobody_does_it_to_themselves(app: Flask, verb: str) -> None:
    factories.staff("admin")
    person = factories.staff("admin")
    set_up(person)
    with pytest.raises(NotAllowed):
        VERBS[verb](person, factories.actor(person))
    now = factories.reread(person)
    assert (now.roles, now.is_active, now.two_factor_since is not None) == ({"admin"}, True, True)


@pytest.mark.parametrize("verb", ["set roles", "deactivate"])
def test_the_last_admin_stays(empty_app: Flask, verb: str) -> None:
    person = factories.staff("admin")
    invited(roles=["admin"])  # not accepted yet: nobody could get in
    staff.deactivate(factories.staff("admin").id, reason="Left", by=SYSTEM)
    with pytest.raises(Conflict, match="last admin"):
        VERBS[verb](person, SYSTEM)
    now = factories.reread(person)
    assert (now.roles, now.is_active) == ({"admin"}, True)
    factories.staff("admin")
    VERBS[verb](person, SYSTEM)


def test_of_two_admins_who_remove_each_other_at_once_one_stays(empty_app: Flask) -> None:
    one, other = factories.staff("admin"), factories.staff("admin")
    outcomes = at_once(
        empty_app,
        lambda: staff.set_roles(one.id, ["support"], by=factories.actor(other)),
        lambda: staff.set_roles(other.id, ["support"], by=factories.actor(one)),
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) in (["Conflict", "User"], ["NotAllowed", "User"])
    assert sum("admin" in factories.reread(person).roles for person in (one, other)) == 1


def test_who_is_demoted_while_they_act_did_not_act(app: Flask) -> None:
    first, demoted, person = factories.staff("admin"), factories.staff("admin"), factories.staff("support")
    by = factories.actor(demoted)
    with transaction():
        staff.set_roles(demoted.id, ["support"], by=factories.actor(first))
        outcome = held_up(app, lambda: staff.set_roles(person.id, ["finance"], by=by))
    assert isinstance(outcome(), NotAllowed)
    assert factories.reread(person).roles == {"support"}


def test_who_was_demoted_meanwhile_can_no_longer_act(app: Flask) -> None:
    demoted, person = factories.staff("admin"), factories.staff("support")
    by = factories.actor(demoted)
    staff.set_roles(demoted.id, ["support"], by=admin())
    with pytest.raises(NotAllowed, match="no longer"):
        staff.set_roles(person.id, ["finance"], by=by)
    assert factories.reread(person).roles == {"support"}


# ------------------------------------------------------------------ out and in again


def test_a_deactivated_person_is_out_everywhere_at_once_and_can_be_let_in_again(app: Flask) -> None:
    person = factories.staff("support")
    token, pair, link = signed_in(person), tokens.issue(person), ask(person)
    staff.deactivate(person.id, reason="Left the company", by=admin())
    assert sessions.find(token) is None
    with pytest.raises(NotSignedIn):
        factories.acting_with(pair.access_token)
    with pytest.raises(NotSignedIn):
        tokens.rotate(pair.refresh_token)
    assert not can_log_in(person, factories.PASSWORD)
    staff.reactivate(person.id, reason="Came back", by=admin())
    assert can_log_in(person, factories.PASSWORD)
    assert sessions.find(token) is None, "what was ended stays ended"
    with pytest.raises(NotSignedIn):
        tokens.rotate(pair.refresh_token)
    with pytest.raises(Invalid):
        credentials.reset_password(link, NEW, address=None)


def test_a_traveller_can_be_deactivated_too(app: Flask) -> None:
    person = factories.traveller()
    staff.deactivate(person.id, reason="Fraud", by=admin())
    assert not can_log_in(person, factories.PASSWORD)
    assert entries("user.deactivate", person) == 1


@pytest.mark.parametrize("reason", ["", "  ", "x" * 2001])
def test_a_reason_is_needed(app: Flask, reason: str) -> None:
    person, former = factories.staff("support"), factories.staff("support")
    set_up(person)
    staff.deactivate(former.id, reason="Left", by=SYSTEM)
    with pytest.raises(Invalid):
        staff.deactivate(person.id, reason=reason, by=admin())
    with pytest.raises(Invalid):
        staff.reset_two_factor(person.id, reason=reason, by=admin())
    with pytest.raises(Invalid):
        staff.reactivate(former.id, reason=reason, by=admin())
    with pytest.raises(Invalid):
        staff.break_glass(email=person.email, name="", reason=reason, by=SYSTEM)
    now = factories.reread(person)
    assert (now.roles, now.is_active, now.two_factor_since is not None) == ({"support"}, True, True)
    assert not factories.reread(former).is_active


def test_signing_somebody_out_everywhere_lets_them_sign_in_again(app: Flask) -> None:
    person = factories.staff("support")
    token, pair = signed_in(person), tokens.issue(person)
    assert staff.end_sessions(person.id, by=admin()) == 1
    assert sessions.find(token) is None
    with pytest.raises(NotSignedIn):
        tokens.rotate(pair.refresh_token)
    assert can_log_in(person, factories.PASSWORD)


def test_a_lost_second_factor_is_taken_away(app: Flask) -> None:
    person = factories.staff("finance")
    token, pair = signed_in(person), tokens.issue(person)
    set_up(person)
    staff.reset_two_factor(person.id, reason="Phone stolen", by=admin())
    assert sessions.find(token) is None
    with pytest.raises(NotSignedIn):
        tokens.rotate(pair.refresh_token)
    assert can_log_in(person, factories.PASSWORD)
    with pytest.raises(Conflict, match="no second factor"):
        staff.reset_two_factor(person.id, reason="Again", by=admin())


def test_one_ends_ones_own_sessions_and_an_admin_anybodys(app: Flask) -> None:
    person, other = factories.staff("support"), factories.staff("support")
    tokens_of = [signed_in(person) for _ in range(2)]
    ids = [found.id for token in tokens_of if (found := sessions.find(token))]
    with pytest.raises(NotFound):
        sessions.end(ids[0], of=person.id, by=factories.actor(other))
    with pytest.raises(NotFound):
        sessions.end(ids[0], of=other.id, by=admin())
    assert sessions.find(tokens_of[0]) is not None
    sessions.end(ids[0], of=person.id, by=factories.actor(person))
    sessions.end(ids[1], of=person.id, by=admin())
    assert [sessions.find(token) for token in tokens_of] == [None, None]


# ------------------------------------------------------------------ break-glass


def test_break_glass_makes_an_admin_on_the_command_line(app: Flask) -> None:
    options = ["--email", "rescue@example.org", "--reason", "Everybody is out"]
    done = app.test_cli_runner().invoke(args=["staff", "break-glass", *options])
    assert done.exit_code == 0, done.output
    person = db.session.scalars(select(User).where(User.email == "rescue@example.org")).one()
    assert person.roles == {"admin"}
    credentials.reset_password(done.output.strip().rsplit("/", 1)[1], NEW, address=None)
    assert accounts.authenticate(email=person.email, password=NEW).id == person.id
    entry = db.session.scalars(
        select(AuditEntry).where(AuditEntry.action == "staff.break_glass", AuditEntry.object_id == person.id)
    ).one()
    assert (entry.actor_kind, entry.reason) == ("system", "Everybody is out")
    assert "(command line)" in entry.actor_label


def test_break_glass_lets_an_admin_in_who_lost_everything(app: Flask) -> None:
    person = factories.staff("admin")
    set_up(person)
    token = signed_in(person)
    staff.deactivate(person.id, reason="By mistake", by=SYSTEM)
    url = staff.break_glass(email=person.email, name="", reason="Locked out", by=SYSTEM)
    credentials.reset_password(url.rsplit("/", 1)[1], NEW, address=None)
    assert can_log_in(person, NEW)
    assert sessions.find(token) is None


def test_break_glass_signs_out_whoever_has_the_account_now(app: Flask) -> None:
    person = factories.staff("admin")
    token, pair = signed_in(person), tokens.issue(person)
    staff.break_glass(email=person.email, name="", reason="Taken over", by=SYSTEM)
    assert sessions.find(token) is None
    with pytest.raises(NotSignedIn):
        tokens.rotate(pair.refresh_token)


def test_break_glass_is_not_for_the_console(app: Flask) -> None:
    with pytest.raises(NotAllowed):
        staff.break_glass(email="rescue2@example.org", name="R", reason="Because", by=admin())
    assert db.session.scalar(select(func.count()).where(User.email == "rescue2@example.org")) == 0


def test_the_command_invites(app: Flask) -> None:
    options = ["--email", "invited@example.org", "--name", "Ines", "--role", "support"]
    done = app.test_cli_runner().invoke(args=["staff", "invite", *options])
    assert (done.exit_code, done.output) == (
        0,
        "invited@example.org is invited as support; the mail is on its way.\n",
    )
