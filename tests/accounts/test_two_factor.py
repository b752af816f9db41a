"""The second factor: setting it up, its codes, and getting in without the phone."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.accounts import service as accounts
from app.accounts import sessions, tokens, two_factor
from app.accounts.models import StaffSession, User
from app.audit.models import AuditEntry
from app.db import lock, transaction
from app.errors import Conflict, Invalid, NotAllowed, NotSignedIn, TooMany
from app.extensions import db
from tests import factories
from tests.accounts.codes import clock, set_up
from tests.concurrency import at_once, held_up

__all__ = ["clock"]
pytestmark = pytest.mark.usefixtures("clock")


def log_in(person: User, code: str | None = None) -> User:
    return accounts.authenticate(email=person.email, password=factories.PASSWORD, code=code, address="10.0.0.1")


def in_production(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        app.extensions, "settings", app.extensions["settings"].model_copy(update={"app_env": "production"})
    )


def opened(person: User) -> str:
    """The token of a session opened with the password; where there is a second factor it waits for the code."""
    return sessions.sign_in(email=person.email, password=factories.PASSWORD, address="10.0.0.1", user_agent=None)[1]


def secret_of(person: User) -> Any:
    db.session.rollback()
    return db.session.scalar(text("SELECT encrypted_secret FROM two_factors WHERE user_id = :id"), {"id": person.id})


def test_it_is_on_only_once_a_code_proved_the_phone(app: Flask) -> None:
    person = factories.staff("finance")
    by = factories.actor(person)
    two_factor.begin(person.id, by=by)
    with pytest.raises(Invalid) as refusal:
        two_factor.confirm(person.id, "000000", by=by)
    assert [wrong.field for wrong in refusal.value.fields] == ["code"]
    assert factories.reread(person).two_factor_since is None
    assert log_in(person).id == person.id
    set_up(person)
    assert factories.reread(person).two_factor_since is not None
    assert two_factor.enrolment(factories.reread(person)) is None, "the secret is shown to nobody any more"
    with pytest.raises(Conflict):
        two_factor.begin(person.id, by=by)


def test_the_password_alone_does_not_let_in_any_more(app: Flask) -> None:
    person = factories.traveller()
    phone, _ = set_up(person)
    with pytest.raises(accounts.CodeNeeded):
        log_in(person)
    with pytest.raises(NotAllowed, match="code is wrong"):
        log_in(person, phone.wrong_code())
    assert log_in(person, phone.code()).id == person.id


def test_a_code_is_accepted_once_and_none_from_before_it(app: Flask) -> None:
    person = factories.traveller()
    phone, _ = set_up(person)
    present = phone.code()
    log_in(person, present)
    for used in (present, phone.code(-1)):
        with pytest.raises(NotAllowed, match="used already"):
            log_in(person, used)
    assert log_in(person, phone.code(1)).id == person.id


def test_of_two_who_use_a_code_at_once_one_gets_in(app: Flask) -> None:
    person = factories.traveller()
    phone, codes = set_up(person)
    for code in (phone.code(), codes[0]):
        outcomes = at_once(app, *[lambda code=code: log_in(person, code)] * 3)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NotAllowed", "NotAllowed", "User"]


@pytest.mark.parametrize(("steps", "accepted"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_be_off_by_half_a_minute(app: Flask, steps: int, accepted: bool) -> None:
    person = factories.traveller()
    phone, _ = set_up(person)
    if accepted:
        assert log_in(person, phone.code(steps)).id == person.id
    else:
        with pytest.raises(NotAllowed):
            log_in(person, phone.code(steps))


def test_wrong_codes_are_throttled_and_the_password_does_not_start_the_count_anew(app: Flask) -> None:
    person = factories.traveller()
    phone, _ = set_up(person)
    for number in range(5):
        with pytest.raises(NotAllowed):
            log_in(person, phone.wrong_code())
        if number < 4:
            with pytest.raises(accounts.CodeNeeded):
                log_in(person)
    with pytest.raises(TooMany):
        log_in(person, phone.code())


def test_who_has_to_wait_uses_no_code_up(app: Flask) -> None:
    person = factories.staff("support")
    phone, _ = set_up(person)
    token = opened(person)
    for _ in range(5):
        with pytest.raises(NotAllowed):
            sessions.give_code(token, phone.wrong_code(), address="10.0.0.1")
    with pytest.raises(TooMany):
        sessions.give_code(token, phone.code(), address="10.0.0.1")
    with transaction():
        db.session.execute(text("DELETE FROM sign_in_throttles"))
    sessions.give_code(token, phone.code(), address="10.0.0.1")


def test_signing_in_again_does_not_start_the_count_of_wrong_codes_anew(app: Flask) -> None:
    person = factories.staff("support")
    phone, _ = set_up(person)
    for _ in range(5):
        token = opened(person)
        with pytest.raises(NotAllowed):
            sessions.give_code(token, phone.wrong_code(), address="10.0.0.1")
    with pytest.raises(TooMany):
        opened(person)


def test_each_recovery_code_stands_in_once(app: Flask) -> None:
    person = factories.traveller()
    _, codes = set_up(person)
    assert len(set(codes)) == 10
    assert log_in(person, codes[0].upper().replace("-", " ")).id == person.id
    with pytest.raises(NotAllowed):
        log_in(person, codes[0])
    assert two_factor.recovery_codes_left(person.id) == 9
    used = db.session.query(AuditEntry).filter_by(action="two_factor.recovery_code_used", object_id=person.id)
    assert used.count() == 1


def test_new_recovery_codes_end_the_old(app: Flask) -> None:
    person = factories.traveller()
    _, old = set_up(person)
    new = two_factor.renew_recovery_codes(person.id, by=factories.actor(person))
    with pytest.raises(NotAllowed):
        log_in(person, old[0])
    assert log_in(person, new[0]).id == person.id


def test_a_persons_recovery_code_is_nobody_elses(app: Flask) -> None:
    one, other = factories.traveller(), factories.traveller()
    _, codes = set_up(one)
    set_up(other)
    with pytest.raises(NotAllowed):
        log_in(other, codes[0])
    assert two_factor.recovery_codes_left(one.id) == 10


def test_only_oneself_sets_it_up_or_turns_it_off(app: Flask) -> None:
    person, admin = factories.traveller(), factories.actor(factories.staff("admin"))
    for verb in (two_factor.begin, two_factor.turn_off, two_factor.renew_recovery_codes):
        with pytest.raises(NotAllowed):
            verb(person.id, by=admin)
    with pytest.raises(NotAllowed):
        two_factor.confirm(person.id, "000000", by=admin)
    assert secret_of(person) is None


def test_what_is_on_is_not_turned_on_again_and_what_is_off_has_no_recovery_codes(app: Flask) -> None:
    person = factories.traveller()
    by = factories.actor(person)
    with pytest.raises(Conflict, match="off"):
        two_factor.renew_recovery_codes(person.id, by=by)
    assert two_factor.recovery_codes_left(person.id) == 0
    phone, codes = set_up(person)
    with pytest.raises(Conflict, match="on already"):
        two_factor.confirm(person.id, phone.code(), by=by)
    assert log_in(person, codes[0]).id == person.id, "the recovery codes are the same"


def test_turned_off_nothing_of_it_is_left(app: Flask) -> None:
    person = factories.traveller()
    set_up(person)
    two_factor.turn_off(person.id, by=factories.actor(person))
    assert secret_of(person) is None
    assert two_factor.recovery_codes_left(person.id) == 0
    assert log_in(person).id == person.id


def test_the_secret_is_stored_encrypted_and_codes_as_hashes_and_neither_is_audited(app: Flask) -> None:
    person = factories.traveller()
    phone, codes = set_up(person)
    stored = db.session.execute(
        text("SELECT t.*, r.* FROM two_factors t JOIN recovery_codes r USING (user_id) WHERE user_id = :id"),
        {"id": person.id},
    ).all()
    audited = db.session.execute(
        text("SELECT * FROM audit_entries WHERE object_type = 'users' AND object_id = :id"), {"id": person.id}
    ).all()
    told = str([[bytes(cell) if isinstance(cell, memoryview) else cell for cell in row] for row in stored]) + str(
        audited
    )
    assert phone.totp.secret not in told
    assert codes[0].replace("-", "") not in told
    assert codes[0] not in told


def test_secret_keys_rotate_without_anybody_setting_it_up_again(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    person = factories.traveller()
    phone, codes = set_up(person)
    before = app.extensions["settings"]
    old = before.secret_key.get_secret_value()
    new = before.model_copy(update={"secret_key": type(before.secret_key)("n" * 40), "secret_key_fallbacks": (old,)})
    monkeypatch.setitem(app.extensions, "settings", new)
    assert log_in(person, phone.code()).id == person.id
    # Used once, it is written with the new key: the old one can go.
    monkeypatch.setitem(app.extensions, "settings", new.model_copy(update={"secret_key_fallbacks": ()}))
    assert log_in(person, phone.code(1)).id == person.id
    # With both keys gone codes can't be checked any more; recovery codes can.
    lost = new.model_copy(update={"secret_key": type(before.secret_key)("x" * 40), "secret_key_fallbacks": ()})
    monkeypatch.setitem(app.extensions, "settings", lost)
    with pytest.raises(NotAllowed):
        log_in(person, phone.code(1))
    assert log_in(person, codes[0]).id == person.id


# ------------------------------------------------------------------ demanded in production


@pytest.mark.parametrize(("role", "demanded"), [("finance", True), ("admin", True), ("support", False)])
def test_in_production_who_moves_money_or_gives_roles_needs_one(
    app: Flask, monkeypatch: pytest.MonkeyPatch, role: str, demanded: bool
) -> None:
    person = factories.staff(role)
    assert log_in(person).id == person.id
    in_production(app, monkeypatch)
    _, token = sessions.sign_in(email=person.email, password=factories.PASSWORD, address=None, user_agent=None)
    found = sessions.find(token)
    assert found is not None
    assert found.needs == ("enrolment" if demanded else None)
    if demanded:
        with pytest.raises(NotAllowed, match="demands two-factor"):
            log_in(person)
        with pytest.raises(NotAllowed, match="demands"):
            two_factor.turn_off(person.id, by=factories.actor(person))


def test_a_role_that_demands_one_counts_in_the_api_once_there_is_one(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = factories.staff("support", "finance")
    pair = tokens.issue(person)
    in_production(app, monkeypatch)
    acting = factories.acting_with(pair.access_token)
    assert acting.roles == {"support"}
    with pytest.raises(NotSignedIn):
        tokens.rotate(pair.refresh_token)
    set_up(person)
    assert factories.acting_with(pair.access_token).roles == {"support", "finance"}


def test_a_session_waits_for_the_code(app: Flask) -> None:
    person = factories.staff("support")
    phone, _ = set_up(person)
    _, token = sessions.sign_in(email=person.email, password=factories.PASSWORD, address="10.0.0.1", user_agent=None)
    found = sessions.find(token)
    assert found is not None
    assert (found.needs, found.proven_at) == ("code", None)
    with pytest.raises(NotAllowed):
        sessions.give_code(token, phone.wrong_code(), address="10.0.0.1")
    sessions.give_code(token, phone.code(), address="10.0.0.1")
    found = sessions.find(token)
    assert found is not None
    assert found.needs is None
    assert found.proven_at is not None


def test_a_session_that_is_open_takes_no_code_and_one_that_waits_for_it_no_proof(app: Flask) -> None:
    person = factories.staff("support")
    phone, codes = set_up(person)
    token = opened(person)
    for proof in (factories.PASSWORD, codes[0], phone.code()):
        with pytest.raises(NotAllowed, match="has ended"):
            sessions.prove(token, proof, address="10.0.0.1")
    sessions.give_code(token, phone.code(), address="10.0.0.1")
    with pytest.raises(NotAllowed, match="too long"):
        sessions.give_code(token, phone.code(1), address="10.0.0.1")
    assert log_in(person, phone.code(1)).id == person.id, "the code was not used up"


def test_a_session_that_is_ended_while_its_code_is_checked_stays_ended(app: Flask) -> None:
    person = factories.staff("support")
    phone, _ = set_up(person)
    token = opened(person)
    found = sessions.find(token)
    assert found is not None
    with transaction():
        lock(StaffSession, found.id)
        outcome = held_up(app, lambda: sessions.give_code(token, phone.code(), address="10.0.0.1"))
        sessions.end(found.id, of=person.id, by=factories.actor(person))
    refusal = outcome()
    assert isinstance(refusal, NotAllowed), refusal
    assert "ended meanwhile" in refusal.detail
    assert sessions.find(token) is None


def test_guessing_at_the_proof_is_throttled(app: Flask) -> None:
    person = factories.staff("support")
    token = opened(person)
    for _ in range(5):
        with pytest.raises(NotAllowed):
            sessions.prove(token, "not the password", address="10.0.0.1")
    with pytest.raises(TooMany):
        sessions.prove(token, factories.PASSWORD, address="10.0.0.1")


def test_a_session_does_not_wait_for_the_code_for_ever(app: Flask) -> None:
    person = factories.staff("support")
    phone, _ = set_up(person)
    _, token = sessions.sign_in(email=person.email, password=factories.PASSWORD, address=None, user_agent=None)
    with transaction():
        db.session.execute(
            text(
                "UPDATE staff_sessions SET expires_at = expires_at - interval '10 minutes 1 second' WHERE user_id = :id"
            ),
            {"id": person.id},
        )
    with pytest.raises(NotAllowed, match="too long"):
        sessions.give_code(token, phone.code(), address=None)
    assert sessions.find(token) is None
