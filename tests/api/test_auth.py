"""/v1/auth over HTTP."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import text

from app.db import transaction
from app.extensions import db
from tests import factories
from tests.accounts.codes import clock, set_up
from tests.accounts.test_credentials import NEW, answer_requests, mailed_token
from tests.api.calling import Caller, problem, wrong_fields

__all__ = ["clock"]
pytestmark = pytest.mark.usefixtures("clock")


def test_registering_logs_in_at_once(nobody: Caller) -> None:
    answer = nobody.post(
        "/auth/register", {"email": "New.One@example.org", "password": factories.PASSWORD, "name": "New"}
    )
    assert answer.status_code == 201
    assert answer.json is not None
    assert set(answer.json) == {"accessToken", "refreshToken", "expiresIn", "user"}
    assert answer.json["user"] == {
        "id": answer.json["user"]["id"],
        "email": "new.one@example.org",
        "name": "New",
        "roles": [],
        "emailVerified": False,
    }
    own = nobody.client.get("/v1/bookings", headers={"Authorization": f"Bearer {answer.json['accessToken']}"})
    assert (own.status_code, own.json) == (200, {"items": [], "nextCursor": None})


def test_an_address_that_has_an_account_is_409(nobody: Caller) -> None:
    person = factories.traveller()
    body = {"email": person.email, "password": factories.PASSWORD, "name": "Second"}
    problem(nobody.post("/auth/register", body), 409)


def test_a_registration_names_every_field_that_is_wrong(nobody: Caller) -> None:
    assert wrong_fields(nobody.post("/auth/register", {"email": "x", "nmae": "typo"})) == ["password", "name", "nmae"]
    wrong = {"email": "x", "password": "x", "name": " "}
    assert wrong_fields(nobody.post("/auth/register", wrong)) == ["email", "name"]


def test_staff_log_in_here_too_and_see_their_roles(nobody: Caller) -> None:
    person = factories.staff("finance", "support")
    answer = nobody.post("/auth/login", {"email": person.email, "password": factories.PASSWORD})
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["user"]["roles"] == ["finance", "support"]


def test_unknown_address_wrong_password_and_closed_account_are_answered_alike(nobody: Caller) -> None:
    person, closed = factories.traveller(), factories.traveller()
    with transaction():
        db.session.execute(text("UPDATE users SET is_active = false WHERE id = :id"), {"id": closed.id})
    answers = [
        problem(nobody.post("/auth/login", {"email": email, "password": password}), 401)
        for email, password in (
            ("unknown@example.org", factories.PASSWORD),
            (person.email, "not the password"),
            (closed.email, factories.PASSWORD),
        )
    ]
    for answer in answers:
        del answer["requestId"]
    assert answers[0] == answers[1] == answers[2]


def test_refresh_logout_and_reuse(nobody: Caller) -> None:
    person = factories.traveller()
    login = nobody.post("/auth/login", {"email": person.email, "password": factories.PASSWORD}).json or {}
    second = nobody.post("/auth/refresh", {"refreshToken": login["refreshToken"]}).json or {}
    assert second["user"]["id"] == person.id
    problem(nobody.post("/auth/refresh", {"refreshToken": login["refreshToken"]}), 401)
    problem(nobody.post("/auth/refresh", {"refreshToken": second["refreshToken"]}), 401)

    login = nobody.post("/auth/login", {"email": person.email, "password": factories.PASSWORD}).json or {}
    answer = nobody.post("/auth/logout", {"refreshToken": login["refreshToken"]})
    assert (answer.status_code, answer.data) == (204, b"")
    problem(nobody.post("/auth/refresh", {"refreshToken": login["refreshToken"]}), 401)


def test_what_needs_somebody_says_how_to_sign_in(nobody: Caller) -> None:
    answer = nobody.get("/bookings")
    problem(answer, 401)
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="tripdesk"'


def test_other_schemes_and_broken_tokens_are_401(app: Flask, nobody: Caller) -> None:
    for header in ("Basic dXNlcjpwdw==", "Bearer", "Bearer ", "Bearer a.b.c", "bearer é", "Bearer " + "x" * 5000):
        problem(nobody.get("/bookings", Authorization=header), 401)


def test_the_scheme_is_read_whatever_its_case(caller: Caller) -> None:
    token = caller.headers["Authorization"].split()[1]
    assert caller.get("/bookings", Authorization=f"bEARER {token}").status_code == 200


def test_who_is_wrong_too_often_waits(nobody: Caller) -> None:
    person = factories.traveller()
    wrong = {"email": person.email, "password": "not the password"}
    for _ in range(5):
        problem(nobody.post("/auth/login", wrong), 401)
    answer = nobody.post("/auth/login", {"email": person.email, "password": factories.PASSWORD})
    assert "Try again in 2 seconds" in problem(answer, 429)["detail"]
    assert answer.headers["Retry-After"] == "2"


def test_a_second_factor_is_asked_for_by_name(nobody: Caller) -> None:
    person = factories.traveller()
    phone, codes = set_up(person)
    body = {"email": person.email, "password": factories.PASSWORD}
    assert problem(nobody.post("/auth/login", body), 401)["title"] == "Second factor needed"
    assert problem(nobody.post("/auth/login", {**body, "totp": phone.wrong_code()}), 401)["title"] != (
        "Second factor needed"
    )
    wrong_password = {**body, "password": "not the password", "totp": phone.code()}
    assert "password is wrong" in problem(nobody.post("/auth/login", wrong_password), 401)["detail"]
    for totp in (phone.code(), codes[0]):
        assert nobody.post("/auth/login", {**body, "totp": totp}).status_code == 200


def test_a_forgotten_password_is_reset_by_mail(nobody: Caller) -> None:
    person = factories.traveller()
    for email in (person.email, "nobody-there@example.org"):
        answer = nobody.post("/auth/password/forgot", {"email": email})
        assert (answer.status_code, answer.data) == (202, b"")
    answer_requests()
    token = mailed_token(person, "password_reset")
    assert wrong_fields(nobody.post("/auth/password/reset", {"token": token, "password": "short"})) == ["password"]
    assert nobody.post("/auth/password/reset", {"token": token, "password": NEW}).status_code == 204
    assert wrong_fields(nobody.post("/auth/password/reset", {"token": token, "password": NEW})) == ["token"]
    assert nobody.post("/auth/login", {"email": person.email, "password": NEW}).status_code == 200


def test_an_address_is_verified_by_mail(nobody: Caller) -> None:
    person = factories.traveller()
    token = mailed_token(person, "verify_email")
    assert nobody.post("/auth/verify-email", {"token": token}).status_code == 204
    assert wrong_fields(nobody.post("/auth/verify-email", {"token": token})) == ["token"]
    login = nobody.post("/auth/login", {"email": person.email, "password": factories.PASSWORD})
    assert (login.json or {})["user"]["emailVerified"] is True
