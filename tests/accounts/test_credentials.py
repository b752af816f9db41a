"""Passwords changed and reset, addresses proven: mailed links that work once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from itsdangerous import BadSignature
from sqlalchemy import func, select, text, update

from app.accounts import credentials, links, passwords, sessions, tokens
from app.accounts import service as accounts
from app.accounts.models import AccountLink, PasswordResetRequest, User
from app.audit.actor import Actor
from app.audit.models import AuditEntry
from app.db import lock, transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed, NotSignedIn, TooMany
from app.extensions import db
from app.notifications.models import Notification
from jobs.sweeps import sweep_all
from tests import factories
from tests.concurrency import at_once, held_up
from tests.queued import calls, work_off

NEW = "quite another passphrase"


def mails(person: User, kind: str) -> list[Notification]:
    db.session.rollback()
    return list(
        db.session.scalars(
            select(Notification)
            .where(Notification.recipient == person.email, Notification.kind == kind)
            .order_by(Notification.id)
        )
    )


def mailed_token(person: User, kind: str) -> str:
    secrets: Any = mails(person, kind)[-1].secrets
    return str(secrets["link"].rsplit("/", 1)[1])


def ask(person: User) -> str:
    """Ask for a reset as anybody could, have the job answer, and read the mail."""
    credentials.request_password_reset(person.email, address="10.0.0.1")
    answer_requests()
    return mailed_token(person, "password_reset")


def answer_requests() -> None:
    for request_id in db.session.scalars(
        select(PasswordResetRequest.id).where(PasswordResetRequest.due_at.is_not(None))
    ).all():
        credentials.answer_password_reset_request(request_id)


def can_log_in(person: User, password: str) -> bool:
    db.session.expire_all()
    try:
        return accounts.authenticate(email=person.email, password=password).id == person.id
    except NotAllowed:
        return False


def age_links(person: User, by: str) -> None:
    with transaction():
        db.session.execute(
            text("UPDATE account_links SET expires_at = expires_at - CAST(:by AS interval) WHERE user_id = :id"),
            {"by": by, "id": person.id},
        )


# ------------------------------------------------------------------ resetting


def test_a_mailed_link_sets_a_new_password_and_ends_what_the_old_one_opened(app: Flask) -> None:
    person = factories.staff("support")
    pair = tokens.issue(person)
    _, session = sessions.sign_in(email=person.email, password=factories.PASSWORD, address=None, user_agent=None)
    token = ask(person)
    assert can_log_in(person, factories.PASSWORD), "asking changes nothing"
    credentials.reset_password(token, NEW, address="10.0.0.2")
    assert (can_log_in(person, NEW), can_log_in(person, factories.PASSWORD)) == (True, False)
    assert sessions.find(session) is None
    with pytest.raises(NotSignedIn):
        tokens.rotate(pair.refresh_token)
    assert factories.reread(person).email_verified_at is not None
    assert len(mails(person, "password_changed")) == 1


def test_the_job_that_was_enqueued_answers_the_request(app: Flask) -> None:
    person = factories.traveller()
    credentials.request_password_reset(person.email.upper(), address=None)
    assert mails(person, "password_reset") == []
    request = db.session.scalars(select(PasswordResetRequest).where(PasswordResetRequest.email == person.email)).one()
    assert (PasswordResetRequest.JOB, (request.id,)) in calls()
    app.extensions["redis"].flushdb()
    db.session.execute(text("UPDATE password_reset_requests SET leased_until = NULL WHERE due_at IS NOT NULL"))
    db.session.commit()
    # Redis forgot: the sweep finds it.
    sweep_all()
    assert work_off() == []
    assert len(mails(person, "password_reset")) == 1


def test_a_request_is_answered_once(app: Flask) -> None:
    person = factories.traveller()
    credentials.request_password_reset(person.email, address=None)
    request_id = db.session.scalars(
        select(PasswordResetRequest.id).where(PasswordResetRequest.email == person.email)
    ).one()
    for _ in range(2):
        credentials.answer_password_reset_request(request_id)
    assert len(mails(person, "password_reset")) == 1


def test_asking_does_the_same_whether_or_not_there_is_an_account(app: Flask) -> None:
    known, closed = factories.traveller(), factories.traveller()
    with transaction():
        db.session.get_one(User, closed.id).is_active = False
    statements: list[list[str]] = []

    @db.event.listens_for(db.engine, "before_cursor_execute")  # type: ignore[untyped-decorator]
    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements[-1].append(statement)

    try:
        for email in (known.email, "nobody-here@example.org", closed.email):
            statements.append([])
            credentials.request_password_reset(email, address="10.0.0.3")
    finally:
        db.event.remove(db.engine, "before_cursor_execute", note)
    assert statements[0]
    assert statements[0] == statements[1] == statements[2]
    answer_requests()
    assert mails(closed, "password_reset") == []


def test_one_address_asks_twenty_times_an_hour_and_one_person_is_mailed_thrice(app: Flask) -> None:
    person = factories.traveller()
    for _ in range(20):
        credentials.request_password_reset(person.email, address="192.0.2.77")
    with pytest.raises(TooMany):
        credentials.request_password_reset("somebody-else@example.org", address="192.0.2.77")
    assert db.session.scalar(select(func.count()).where(PasswordResetRequest.address == "192.0.2.77")) == 20
    answer_requests()
    assert len(mails(person, "password_reset")) == 3


def test_who_asked_elsewhere_or_an_hour_ago_keeps_nobody_from_asking(app: Flask) -> None:
    for number in range(20):
        credentials.request_password_reset(f"nobody-{number}@example.org", address="192.0.2.78")
    credentials.request_password_reset("somebody@example.org", address="192.0.2.79")
    with transaction():
        db.session.execute(
            update(PasswordResetRequest)
            .where(PasswordResetRequest.address == "192.0.2.78")
            .values(created_at=utcnow() - timedelta(hours=1))
        )
    credentials.request_password_reset("somebody-else@example.org", address="192.0.2.78")
    assert db.session.scalar(select(func.count()).where(PasswordResetRequest.address == "192.0.2.78")) == 21


def test_requests_are_forgotten_a_month_after_they_were_answered(app: Flask) -> None:
    def asked(days_ago: int, due_at: datetime | None) -> int:
        with transaction():
            made = PasswordResetRequest(
                email="ada@example.org",
                request_id="req_test",
                created_at=utcnow() - timedelta(days=days_ago),
                due_at=due_at,
            )
            db.session.add(made)
        return made.id

    kept = [asked(29, None), asked(31, utcnow() + timedelta(days=1))]
    gone = asked(31, None)
    credentials.forget_old_requests()
    left = select(PasswordResetRequest.id).where(PasswordResetRequest.id.in_([*kept, gone]))
    assert sorted(db.session.scalars(left)) == kept


def test_a_link_works_once(app: Flask) -> None:
    person = factories.traveller()
    token = ask(person)
    credentials.reset_password(token, NEW, address=None)
    assert links.whose(token, "password_reset") is None
    with pytest.raises(Invalid, match="does not work any more"):
        credentials.reset_password(token, factories.PASSWORD, address=None)
    assert can_log_in(person, NEW)


def test_of_two_who_use_a_link_at_once_one_sets_the_password(app: Flask) -> None:
    person = factories.traveller()
    token = ask(person)
    outcomes = at_once(
        app, *[lambda n=n: credentials.reset_password(token, f"{NEW} number {n}", address=None) for n in range(3)]
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Invalid", "Invalid", "User"]


def replaced(person: User) -> None:
    ask(person)


def too_old(person: User) -> None:
    age_links(person, "1 hour 1 second")


def password_changed(person: User) -> None:
    by = factories.actor(person)
    credentials.change_password(person.id, old=factories.PASSWORD, new="changed in between", by=by, session_id=None)


def account_closed(person: User) -> None:
    with transaction():
        db.session.get_one(User, person.id, populate_existing=True).is_active = False


@pytest.mark.parametrize("what", [replaced, too_old, password_changed, account_closed])
def test_a_link_is_worth_nothing_once(app: Flask, what: Callable[[User], None]) -> None:
    person = factories.traveller()
    token = ask(person)
    what(person)
    assert links.whose(token, "password_reset") is None
    before = factories.reread(person).password_hash
    with pytest.raises(Invalid):
        credentials.reset_password(token, NEW, address=None)
    assert factories.reread(person).password_hash == before


def another_made(person: User) -> None:
    links.make(person, "password_reset")


@pytest.mark.parametrize("what", [another_made, password_changed, account_closed])
def test_a_link_that_dies_while_it_is_used_sets_nothing(app: Flask, what: Callable[[User], None]) -> None:
    person = factories.traveller()
    token = ask(person)
    with transaction():
        lock(User, person.id)
        outcome = held_up(app, lambda: credentials.reset_password(token, NEW, address=None))
        what(person)
    assert isinstance(outcome(), Invalid)
    assert not can_log_in(person, NEW)


def test_a_link_serves_its_own_purpose_alone(app: Flask) -> None:
    person = factories.traveller()
    reset, verify = ask(person), mailed_token(person, "verify_email")
    with pytest.raises(Invalid):
        credentials.reset_password(verify, NEW, address=None)
    with pytest.raises(Invalid):
        credentials.accept_invitation(reset, NEW, address=None)
    with pytest.raises(Invalid):
        credentials.verify_email(reset, address=None)
    assert can_log_in(person, factories.PASSWORD)


def test_a_new_link_replaces_no_others(app: Flask) -> None:
    person, other = factories.traveller(), factories.traveller()
    verify, theirs = mailed_token(person, "verify_email"), ask(other)
    ask(person)
    assert links.whose(verify, "verify_email") is not None
    assert links.whose(theirs, "password_reset") is not None


def test_both_the_signature_and_the_row_say_what_a_link_is_for(app: Flask) -> None:
    person = factories.traveller()
    verify = mailed_token(person, "verify_email")
    with pytest.raises(BadSignature):
        links._signature("password_reset").loads(verify)
    resigned = links._signature("password_reset").dumps(links._signature("verify_email").loads(verify))
    assert links.whose(str(resigned), "password_reset") is None


@pytest.mark.parametrize("token", ["", "x", "a.b", "é", "x" * 5000, "bnVsbA.c2ln"])
def test_what_is_no_token_is_refused(app: Flask, token: str) -> None:
    with pytest.raises(Invalid):
        credentials.reset_password(token, NEW, address=None)


def test_a_token_with_another_signature_is_refused_without_asking_the_database(app: Flask) -> None:
    person = factories.traveller()
    token = ask(person)
    assert links.whose(token[:-2] + ("AA" if token[-2:] != "AA" else "BB"), "password_reset") is None
    assert links.whose(token, "password_reset") is not None


def test_a_weak_password_does_not_use_the_link_up(app: Flask) -> None:
    person = factories.traveller()
    token = ask(person)
    with pytest.raises(Invalid) as refusal:
        credentials.reset_password(token, "password1234", address=None)
    assert [wrong.field for wrong in refusal.value.fields] == ["password"]
    credentials.reset_password(token, NEW, address=None)
    assert can_log_in(person, NEW)


def test_of_a_token_only_the_hash_is_stored(app: Flask) -> None:
    person = factories.traveller()
    token = ask(person)
    stored = db.session.scalars(select(AccountLink.token_hash).where(AccountLink.user_id == person.id)).all()
    assert stored
    assert all(token.encode() not in hashed for hashed in stored)
    audited = db.session.scalars(select(AuditEntry).where(AuditEntry.object_id == person.id)).all()
    assert token not in str([(entry.before, entry.after) for entry in audited])


def test_links_outlive_a_rotation_of_the_secret_key(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    person = factories.traveller()
    token = ask(person)
    before = app.extensions["settings"]
    rotated = before.model_copy(
        update={
            "secret_key": type(before.secret_key)("n" * 40),
            "secret_key_fallbacks": (before.secret_key.get_secret_value(),),
        }
    )
    monkeypatch.setitem(app.extensions, "settings", rotated)
    assert links.whose(token, "password_reset") is not None
    # What is made from now on outlives the old key.
    token = ask(person)
    monkeypatch.setitem(app.extensions, "settings", rotated.model_copy(update={"secret_key_fallbacks": ()}))
    credentials.reset_password(token, NEW, address=None)
    assert can_log_in(person, NEW)


# ------------------------------------------------------------------ verifying


def test_registering_mails_a_link_that_proves_the_address(app: Flask) -> None:
    person = factories.traveller()
    assert factories.reread(person).email_verified_at is None
    token = mailed_token(person, "verify_email")
    credentials.verify_email(token, address=None)
    assert factories.reread(person).email_verified_at is not None
    with pytest.raises(Invalid):
        credentials.verify_email(token, address=None)


def test_an_address_that_is_proven_already_stays_proven_since_then(app: Flask) -> None:
    person = factories.traveller()
    token = mailed_token(person, "verify_email")
    credentials.reset_password(ask(person), NEW, address=None)
    since = factories.reread(person).email_verified_at
    assert since is not None
    credentials.verify_email(token, address=None)
    assert factories.reread(person).email_verified_at == since


# ------------------------------------------------------------------ changing


def test_changing_a_password_ends_every_other_session_and_log_in(app: Flask) -> None:
    person = factories.staff("support")
    pair = tokens.issue(person)
    opened = [
        sessions.sign_in(email=person.email, password=factories.PASSWORD, address=None, user_agent=None)[1]
        for _ in range(2)
    ]
    here = sessions.find(opened[0])
    assert here is not None
    credentials.change_password(
        person.id, old=factories.PASSWORD, new=NEW, by=factories.actor(person), session_id=here.id
    )
    assert sessions.find(opened[0]) is not None
    assert sessions.find(opened[1]) is None
    with pytest.raises(NotSignedIn):
        tokens.rotate(pair.refresh_token)
    assert can_log_in(person, NEW)
    assert len(mails(person, "password_changed")) == 1


@pytest.mark.parametrize(("old", "new", "field"), [("not mine", NEW, "old"), (factories.PASSWORD, "qwertyuiop", "new")])
def test_a_change_that_is_refused_changes_nothing(app: Flask, old: str, new: str, field: str) -> None:
    person = factories.traveller()
    pair = tokens.issue(person)
    with pytest.raises(Invalid) as refusal:
        credentials.change_password(person.id, old=old, new=new, by=factories.actor(person), session_id=None)
    assert [wrong.field for wrong in refusal.value.fields] == [field]
    assert can_log_in(person, factories.PASSWORD)
    assert tokens.rotate(pair.refresh_token)


def test_nobody_changes_anothers_password(app: Flask) -> None:
    person, admin = factories.traveller(), factories.actor(factories.staff("admin"))
    with pytest.raises(NotAllowed):
        credentials.change_password(person.id, old=factories.PASSWORD, new=NEW, by=admin, session_id=None)
    assert can_log_in(person, factories.PASSWORD)


def test_guessing_the_present_password_is_counted_like_a_wrong_sign_in(app: Flask) -> None:
    person = factories.traveller()
    by = accounts.actor_of(person, "198.51.100.20")
    for _ in range(5):
        with pytest.raises(Invalid):
            credentials.change_password(person.id, old="not mine", new=NEW, by=by, session_id=None)
    with pytest.raises(TooMany):
        credentials.change_password(person.id, old=factories.PASSWORD, new=NEW, by=by, session_id=None)
    assert can_log_in(person, factories.PASSWORD)


def test_signing_out_elsewhere_leaves_only_this_session(app: Flask) -> None:
    person = factories.staff("support")
    pair = tokens.issue(person)
    here, there = (
        sessions.sign_in(email=person.email, password=factories.PASSWORD, address=None, user_agent=None)[1]
        for _ in range(2)
    )
    found = sessions.find(here)
    assert found is not None
    with pytest.raises(NotAllowed):
        credentials.sign_out_elsewhere(person.id, by=factories.actor(factories.staff("admin")), session_id=found.id)
    assert sessions.find(there) is not None
    credentials.sign_out_elsewhere(person.id, by=factories.actor(person), session_id=found.id)
    assert sessions.find(here) is not None
    assert sessions.find(there) is None
    with pytest.raises(NotSignedIn):
        tokens.rotate(pair.refresh_token)


# ------------------------------------------------------------------ good enough


@pytest.mark.parametrize(
    "password", ["password1234", "qwertyuiop123", "aaaaaaaaaaaa", "iloveyou1234", "1234567890", "tripdesktripdesk"]
)
def test_common_passwords_are_refused_everywhere(app: Flask, password: str) -> None:
    with pytest.raises(Invalid) as refusal:
        factories.traveller(password=password)
    assert [wrong.field for wrong in refusal.value.fields] == ["password"]


def test_ones_own_name_or_address_is_no_password(app: Flask) -> None:
    with pytest.raises(Invalid):
        factories.traveller(email="wilhelmina.oyelaran@example.org", name="Wim", password="wilhelmina1")
    with pytest.raises(Invalid):
        factories.traveller(name="Wilhelmina Oyelaran", password="oyelaran12")


def test_of_a_long_password_only_the_beginning_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    # Judging all of it would take seconds, which anybody could have us spend.
    judged: list[str] = []

    def judge(password: str, **_: Any) -> dict[str, int]:
        judged.append(password)
        return {"score": 4}

    monkeypatch.setattr(passwords, "zxcvbn", judge)
    passwords.check_acceptable("x" * passwords.MAX_LENGTH)
    assert [len(password) for password in judged] == [72]


def supporter() -> Actor:
    return accounts.actor_of(factories.staff("support"), "10.0.0.9")


def test_support_mails_a_new_link_and_the_one_before_stops_working(app: Flask) -> None:
    person, by = factories.traveller(), supporter()
    lost = mailed_token(person, "verify_email")
    credentials.mail_verification(person.id, by=by)
    assert len(mails(person, "verify_email")) == 2
    with pytest.raises(Invalid, match="does not work any more"):
        credentials.verify_email(lost, address=None)
    credentials.verify_email(mailed_token(person, "verify_email"), address=None)
    assert factories.reread(person).email_verified_at is not None
    actions = db.session.scalars(
        select(AuditEntry.action).where(AuditEntry.object_id == person.id, AuditEntry.actor_id == by.id)
    ).all()
    assert actions == ["user.mail_verification"]


def confirmed(person: User) -> None:
    credentials.verify_email(mailed_token(person, "verify_email"), address=None)


def closed(person: User) -> None:
    with transaction():
        db.session.get_one(User, person.id).is_active = False


def mailed_thrice(person: User) -> None:
    for _ in range(2):  # after the one of the registration
        credentials.mail_verification(person.id, by=supporter())


@pytest.mark.parametrize(
    ("make", "refusal", "words"),
    [
        (confirmed, Conflict, "confirmed already"),
        (closed, Conflict, "deactivated"),
        (mailed_thrice, TooMany, "3 links were mailed"),
    ],
)
def test_no_new_link_is_mailed_where_none_is_wanted(
    app: Flask, make: Callable[[User], None], refusal: type[Exception], words: str
) -> None:
    person = factories.traveller()
    make(person)
    before = len(mails(person, "verify_email"))
    with pytest.raises(refusal, match=words):
        credentials.mail_verification(person.id, by=supporter())
    assert len(mails(person, "verify_email")) == before
    if make is mailed_thrice:
        # The refusal left the link that was mailed last as it was.
        confirmed(person)


def test_of_many_links_asked_for_at_once_no_more_than_the_limit_are_mailed(app: Flask) -> None:
    person, by = factories.traveller(), supporter()
    outcomes = at_once(app, *[lambda: credentials.mail_verification(person.id, by=by) for _ in range(4)])
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["TooMany", "TooMany", "User", "User"]
    assert len(mails(person, "verify_email")) == 3


@pytest.mark.parametrize("role", ["moderator", "finance"])
def test_only_support_and_admins_have_a_link_mailed(app: Flask, role: str) -> None:
    person = factories.traveller()
    with pytest.raises(NotAllowed):
        credentials.mail_verification(person.id, by=accounts.actor_of(factories.staff(role)))
    assert len(mails(person, "verify_email")) == 1
