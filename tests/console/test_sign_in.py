"""Signing in to the console, and who is kept out."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from app import create_app
from app.db import transaction
from app.extensions import db
from tests import factories
from tests.conftest import _settings
from tests.console.browser import Browser, signed_in


def test_signing_in_leads_home_and_signing_out_ends_it(app: Flask) -> None:
    browser, person = Browser(app), factories.staff("support")
    answer = browser.sign_in(person)
    assert (answer.status_code, answer.location) == (302, "/console/")
    assert person.name in browser.get("/console/").text
    copied = browser.client.get_cookie("tripdesk")
    answer = browser.post("/console/logout", token_from="/console/")
    assert (answer.status_code, answer.location) == (302, "/console/login")
    assert browser.get("/console/").location.startswith("/console/login")
    # The cookie itself, kept by a thief, is worth nothing any more.
    assert copied is not None
    browser.client.set_cookie("tripdesk", copied.value)
    assert browser.get("/console/").location.startswith("/console/login")


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(app: Flask) -> None:
    header = Browser(app).sign_in(factories.staff("support")).headers["Set-Cookie"]
    assert "HttpOnly" in header
    assert "SameSite=Lax" in header


def test_over_https_the_cookie_is_never_sent_in_the_clear(app: Flask, database: str) -> None:
    secure = create_app(**_settings(database, public_url="https://desk.example.org"))
    assert secure.config["SESSION_COOKIE_SECURE"] is True
    assert app.config["SESSION_COOKIE_SECURE"] is False


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"email": "unknown@example.org", "password": factories.PASSWORD}, 403),
        ({"email": "not an address", "password": factories.PASSWORD}, 403),
        ({"email": "", "password": "x"}, 422),
        ({"email": "a@example.org", "password": ""}, 422),
        ({}, 422),
    ],
)
def test_a_wrong_sign_in_keeps_the_form_and_signs_nobody_in(app: Flask, form: dict[str, str], status: int) -> None:
    browser = Browser(app)
    answer = browser.post("/console/login", form)
    assert answer.status_code == status
    assert "Sign in to the console" in answer.text
    assert browser.get("/console/").location.startswith("/console/login")


def test_what_was_typed_is_shown_again_but_not_the_password(app: Flask) -> None:
    answer = Browser(app).post("/console/login", {"email": "ada@example.org", "password": "hunter2hunter2"})
    assert 'value="ada@example.org"' in answer.text
    assert "hunter2" not in answer.text


def test_a_traveller_is_answered_like_a_wrong_password(app: Flask) -> None:
    answer = Browser(app).sign_in(factories.traveller())
    assert answer.status_code == 403
    assert "The e-mail address or the password is wrong." in answer.text


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE staff_sessions SET ended_at = now() WHERE user_id = :id",
        "UPDATE staff_sessions SET expires_at = now() WHERE user_id = :id",
        "UPDATE users SET is_active = false WHERE id = :id",
        "DELETE FROM staff_roles WHERE user_id = :id",
    ],
)
def test_once_taken_away_the_next_click_is_refused(app: Flask, statement: str) -> None:
    browser, person = Browser(app), factories.staff("admin")
    browser.sign_in(person)
    assert browser.get("/console/bookings/").status_code == 200
    with transaction():
        db.session.execute(text(statement), {"id": person.id})
    db.session.remove()
    answer = browser.get("/console/bookings/")
    assert (answer.status_code, answer.location) == (302, "/console/login?next=/console/bookings/")


def test_after_signing_in_one_is_brought_back(app: Flask) -> None:
    browser = Browser(app)
    answer = browser.get("/console/bookings/?status=CONFIRMED")
    assert answer.location == "/console/login?next=/console/bookings/?status%3DCONFIRMED"
    back = "/console/bookings/?status=CONFIRMED"
    assert browser.sign_in(factories.staff("support"), next=back).location == back


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "/console/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/v1/docs",
        "/console",
        "http:/console/",
        "/console/\r\nSet-Cookie: a=b",
        "",
    ],
)
def test_nobody_is_sent_elsewhere(app: Flask, elsewhere: str) -> None:
    assert Browser(app).sign_in(factories.staff("support"), next=elsewhere).location == "/console/"


@pytest.mark.parametrize("path", ["/console/login", "/console/logout", "/console/bookings/1/cancel/support"])
def test_a_form_without_its_token_is_refused(app: Flask, path: str) -> None:
    browser = signed_in(app, "admin")
    for form in ({}, {"csrf_token": "forged"}):
        answer = browser.client.post(path, data={"reason": "Because", **form})
        assert answer.status_code == 400
        assert "This form is out of date" in answer.text
        assert "Nothing was done." in answer.text
    assert browser.get("/console/").status_code == 200


def test_signing_in_begins_a_new_session_in_the_browser_too(app: Flask) -> None:
    browser = Browser(app)
    before = browser.get("/console/login").text.split('name="csrf_token" value="')[1].split('"')[0]
    browser.sign_in(factories.staff("support"))
    assert browser.client.post("/console/logout", data={"csrf_token": before}).status_code == 400
    assert browser.get("/console/").status_code == 200


def test_another_browsers_form_token_is_refused(app: Flask) -> None:
    one, other = signed_in(app, "support"), signed_in(app, "support")
    stolen = one.get("/console/").text.split('name="csrf_token" value="')[1].split('"')[0]
    assert other.client.post("/console/logout", data={"csrf_token": stolen}).status_code == 400
    assert other.get("/console/").status_code == 200


@pytest.mark.parametrize("path", ["/console/", "/console/bookings/", "/console/bookings/1/", "/console/development/"])
def test_nobody_sees_a_page_without_signing_in(app: Flask, path: str) -> None:
    answer = Browser(app).get(path)
    assert (answer.status_code, answer.location) == (302, f"/console/login?next={path}")


def test_session_secrets_are_rotated_without_signing_anybody_out(app: Flask, database: str) -> None:
    browser = signed_in(app, "support")
    cookie = browser.client.get_cookie("tripdesk")
    assert cookie is not None
    old = app.config["SECRET_KEY"]
    for fallbacks, status in (((old,), 200), ((), 302)):
        rotated = create_app(**_settings(database, secret_key="n" * 40, secret_key_fallbacks=fallbacks))
        client = rotated.test_client()
        client.set_cookie("tripdesk", cookie.value)
        assert client.get("/console/").status_code == status
        with rotated.app_context():
            db.engine.dispose()


def test_demo_logins_are_shown_in_development_only(app: Flask) -> None:
    assert "demo.tripdesk.example" not in Browser(app).get("/console/login").text


def test_a_form_that_is_refused_before_its_page_is_asked_has_a_request_id_all_the_same(client: FlaskClient) -> None:
    answer = client.post(
        "/console/login", data={"email": "ada@example.org"}, headers={"X-Request-ID": "seen-by-the-proxy"}
    )
    assert answer.status_code == 400
    assert answer.headers.getlist("X-Request-ID") == ["seen-by-the-proxy"]
