"""One's own account, the second factor at the door, and mailed links, as a browser meets them."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlalchemy import text

from app.accounts import credentials, sessions, staff
from app.accounts.models import User
from app.audit.actor import SYSTEM
from app.db import transaction
from app.extensions import db
from tests import factories
from tests.accounts.codes import Phone, clock, set_up
from tests.accounts.test_credentials import NEW, ask, can_log_in, mailed_token, mails
from tests.accounts.test_two_factor import in_production
from tests.console.browser import Browser, signed_in

__all__ = ["clock"]
pytestmark = pytest.mark.usefixtures("clock")

CODE_PAGE, ACCOUNT = "/console/login/code", "/console/account/"


def browser_of(app: Flask, person: User) -> Browser:
    browser = Browser(app)
    assert browser.sign_in(person).status_code == 302
    return browser


# ------------------------------------------------------------------ signing in


def test_who_is_wrong_too_often_is_told_how_long_to_wait(app: Flask) -> None:
    browser, person = Browser(app), factories.staff("support")
    for _ in range(5):
        assert browser.post("/console/login", {"email": person.email, "password": "wrong wrong"}).status_code == 403
    answer = browser.sign_in(person)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    assert "There were too many wrong attempts. Try again in 2 seconds." in answer.text
    assert f'value="{person.email}"' in answer.text
    # The API counts with it.
    body = {"email": person.email, "password": factories.PASSWORD}
    assert app.test_client().post("/v1/auth/login", json=body).status_code == 429


def test_with_a_second_factor_nothing_opens_before_the_code(app: Flask) -> None:
    person, browser = factories.staff("support"), Browser(app)
    phone, _ = set_up(person)
    back = "/console/bookings/?status=CONFIRMED"
    answer = browser.sign_in(person, next=back)
    assert answer.location == f"{CODE_PAGE}?next=/console/bookings/?status%3DCONFIRMED"
    for page in ("/console/", "/console/bookings/", ACCOUNT, "/console/two-factor/"):
        assert browser.get(page).location.startswith("/console/login"), page
    assert browser.get("/console/login").location.startswith(CODE_PAGE)
    wrong = browser.post(CODE_PAGE, {"code": phone.wrong_code()}, token_from=CODE_PAGE)
    assert (wrong.status_code, "This code is wrong" in wrong.text) == (403, True)
    assert browser.post(CODE_PAGE, {"code": ""}, token_from=CODE_PAGE).status_code == 422
    right = browser.post(CODE_PAGE, {"code": phone.code(), "next": back}, token_from=CODE_PAGE)
    assert right.location == back
    assert browser.get("/console/").status_code == 200


def test_half_signed_in_one_can_start_again(app: Flask) -> None:
    person, browser = factories.staff("support"), Browser(app)
    set_up(person)
    browser.sign_in(person)
    browser.post("/console/logout", token_from=CODE_PAGE)
    assert sessions.live(person.id) == []
    assert browser.get("/console/login").status_code == 200


def test_the_code_page_is_nobodys_without_a_password(app: Flask) -> None:
    assert Browser(app).get(CODE_PAGE).location == "/console/login"
    assert signed_in(app, "support").get(CODE_PAGE).location == "/console/login"


def test_in_production_finance_sets_up_a_second_factor_before_anything_else(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = factories.staff("finance")
    in_production(app, monkeypatch)
    browser = Browser(app)
    assert browser.sign_in(person).location == "/console/two-factor/"
    for page in ("/console/", "/console/payments/", ACCOUNT):
        assert browser.get(page).location.startswith("/console/login"), page
    assert "Your role needs a second factor" in browser.get("/console/two-factor/").text
    browser.post("/console/two-factor/begin", token_from="/console/two-factor/")
    page = browser.get("/console/two-factor/").text
    assert 'src="data:image/svg+xml' in page
    secret = re.search(r"<p><code>([A-Z2-7 ]+)</code></p>", page)
    assert secret
    phone = Phone(secret[1].replace(" ", ""))
    confirm = "/console/two-factor/confirm"
    assert browser.post(confirm, {"code": phone.wrong_code()}, token_from="/console/two-factor/").status_code == 422
    done = browser.post(confirm, {"code": phone.code()}, token_from="/console/two-factor/")
    assert len(re.findall(r"<li><code>[a-z2-9-]{19}</code>", done.text)) == 10
    assert browser.get("/console/payments/").status_code == 200
    # Signed in somewhere before the role was given: the next click leads to the set-up as well.
    promoted = factories.staff("support")
    elsewhere = browser_of(app, promoted)
    assert elsewhere.get("/console/bookings/").status_code == 200
    staff.set_roles(promoted.id, ["support", "admin"], by=SYSTEM)
    assert elsewhere.get("/console/bookings/").location.startswith("/console/login")
    assert elsewhere.get("/console/login").location == "/console/two-factor/"


# ------------------------------------------------------------------ one's account


def test_one_sees_and_ends_ones_sessions(app: Flask) -> None:
    person = factories.staff("support")
    here, elsewhere, third = (browser_of(app, person) for _ in range(3))
    page = here.get(ACCOUNT).text
    assert page.count("This browser") == 1
    ends = re.findall(r'action="(/console/account/sessions/\d+/end)"', page)
    assert len(ends) == 2
    here.post(ends[0], token_from=ACCOUNT)
    assert sorted(browser.get(ACCOUNT).status_code for browser in (here, elsewhere, third)) == [200, 200, 302]
    here.post("/console/account/sessions/end-others", token_from=ACCOUNT)
    assert [browser.get(ACCOUNT).status_code for browser in (here, elsewhere, third)] == [200, 302, 302]


def test_another_persons_session_is_404_and_stays(app: Flask) -> None:
    person, other = factories.staff("support"), factories.staff("support")
    browser = browser_of(app, person)
    browser_of(app, other)
    session_id = sessions.live(other.id)[0].id
    for path in (f"/console/account/sessions/{session_id}/end", "/console/account/sessions/999999999/end"):
        assert browser.post(path, token_from=ACCOUNT).status_code == 404
    assert len(sessions.live(other.id)) == 1


def test_changing_the_password_keeps_this_browser_alone(app: Flask) -> None:
    person = factories.staff("moderator")
    here, elsewhere = browser_of(app, person), browser_of(app, person)
    wrong = here.post("/console/account/password", {"old": "not mine", "new": NEW}, token_from=ACCOUNT)
    assert (wrong.status_code, "not your present password" in wrong.text) == (422, True)
    weak = here.post("/console/account/password", {"old": factories.PASSWORD, "new": "qwertyuiop"}, token_from=ACCOUNT)
    assert (weak.status_code, "common password" in weak.text) == (422, True)
    done = here.post("/console/account/password", {"old": factories.PASSWORD, "new": NEW}, token_from=ACCOUNT)
    assert done.location == ACCOUNT
    assert (here.get(ACCOUNT).status_code, elsewhere.get(ACCOUNT).status_code) == (200, 302)
    assert can_log_in(person, NEW)


def age_proof(person: User) -> None:
    with transaction():
        db.session.execute(
            text("UPDATE staff_sessions SET proven_at = proven_at - interval '15 minutes' WHERE user_id = :id"),
            {"id": person.id},
        )


def test_something_dangerous_asks_again_and_then_goes_on_with_what_was_typed(app: Flask) -> None:
    admin, person = factories.staff("admin"), factories.staff("support")
    browser = browser_of(app, admin)
    path = f"/console/staff/{person.id}/roles"
    form = {"roles": ["moderator", "finance"], "reason": 'She said "yes" & <left>'}
    age_proof(admin)
    asked = browser.post(path, form, token_from=ACCOUNT)
    assert (asked.status_code, "Confirm it is you" in asked.text) == (403, True)
    assert factories.reread(person).roles == {"support"}
    hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked.text)
    assert [value for name, value in hidden if name == "roles"] == ["moderator", "finance"]
    assert ("reason", "She said &#34;yes&#34; &amp; &lt;left&gt;") in hidden
    wrong = browser.post(path, {**form, "proof": "not the password"}, token_from=ACCOUNT)
    assert (wrong.status_code, "neither your password" in wrong.text) == (403, True)
    assert "not the password" not in wrong.text
    assert factories.reread(person).roles == {"support"}
    right = browser.post(path, {**form, "proof": factories.PASSWORD}, token_from=ACCOUNT)
    assert right.location == f"/console/staff/{person.id}/"
    assert factories.reread(person).roles == {"moderator", "finance"}
    # For a while it isn't asked again.
    assert browser.post(path, {"roles": ["support"]}, token_from=ACCOUNT).status_code == 302


DANGEROUS = (
    "/console/staff/invite",
    "/console/staff/{id}/roles",
    "/console/staff/{id}/deactivate",
    "/console/staff/{id}/reactivate",
    "/console/staff/{id}/reset-two-factor",
    "/console/staff/{id}/invite-again",
    "/console/account/recovery-codes",
    "/console/account/two-factor/off",
)


@pytest.mark.parametrize("path", DANGEROUS)
def test_everything_dangerous_asks_again(app: Flask, path: str) -> None:
    admin, person = factories.staff("admin"), factories.staff("support")
    browser = browser_of(app, admin)
    age_proof(admin)
    asked = browser.post(path.format(id=person.id), {"reason": "Because"}, token_from=ACCOUNT)
    assert (asked.status_code, "Confirm it is you" in asked.text) == (403, True)


def test_a_code_proves_it_as_well_and_guessing_is_throttled(app: Flask) -> None:
    person, browser = factories.staff("support"), Browser(app)
    phone, _ = set_up(person)
    browser.sign_in(person)
    browser.post(CODE_PAGE, {"code": phone.code(-1)}, token_from=CODE_PAGE)
    age_proof(person)
    off = "/console/account/two-factor/off"
    for _ in range(5):
        assert browser.post(off, {"proof": phone.wrong_code()}, token_from=ACCOUNT).status_code == 403
    stopped = browser.post(off, {"proof": factories.PASSWORD}, token_from=ACCOUNT)
    assert (stopped.status_code, "Retry-After" in stopped.headers) == (429, True)
    assert factories.reread(person).two_factor_since is not None
    with transaction():
        db.session.execute(text("DELETE FROM sign_in_throttles"))
    assert browser.post(off, {"proof": phone.code()}, token_from=ACCOUNT).location == ACCOUNT
    assert factories.reread(person).two_factor_since is None


def test_new_recovery_codes_are_shown_once(app: Flask) -> None:
    person, browser = factories.staff("support"), Browser(app)
    phone, old = set_up(person)
    browser.sign_in(person)
    browser.post(CODE_PAGE, {"code": phone.code()}, token_from=CODE_PAGE)
    page = browser.post("/console/account/recovery-codes", token_from=ACCOUNT).text
    shown = re.findall(r"<li><code>([a-z2-9-]{19})</code>", page)
    assert len(shown) == 10
    assert not set(shown) & set(old)
    assert shown[0] not in browser.get(ACCOUNT).text


# ------------------------------------------------------------------ mailed links


def test_who_forgot_the_password_is_answered_alike(app: Flask) -> None:
    browser, person = Browser(app), factories.staff("support")
    answers = [
        browser.post("/console/password/forgot", {"email": email}, token_from="/console/password/forgot")
        for email in (person.email, "nobody-there@example.org", "not an address")
    ]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1


def test_the_mailed_link_leads_to_a_new_password(app: Flask) -> None:
    browser, person = Browser(app), factories.staff("support")
    path = f"/console/password/reset/{ask(person)}"
    for _ in range(2):
        assert person.email in browser.get(path).text, "looking uses nothing up"
    weak = browser.post(path, {"password": "password1234"}, token_from=path)
    assert (weak.status_code, "Set password" in weak.text) == (422, True)
    assert "Your password is set" in browser.post(path, {"password": NEW}, token_from=path).text
    assert can_log_in(person, NEW)
    for answer in (browser.get(path), browser.post(path, {"password": "another long one"})):
        assert (answer.status_code, "does not work any more" in answer.text) == (410, True)
    assert can_log_in(person, NEW)


def test_an_address_is_confirmed_by_a_button_not_by_opening_the_link(app: Flask) -> None:
    browser, person = Browser(app), factories.traveller()
    path = f"/console/email/verify/{mailed_token(person, 'verify_email')}"
    assert browser.get(path).status_code == 200
    assert factories.reread(person).email_verified_at is None
    assert "is confirmed" in browser.post(path, token_from=path).text
    assert factories.reread(person).email_verified_at is not None
    assert browser.get(path).status_code == 410


def test_support_has_a_new_link_mailed_until_the_address_is_confirmed(app: Flask) -> None:
    browser, person = signed_in(app, "support"), factories.traveller()
    page, lost = f"/console/users/{person.id}/", mailed_token(person, "verify_email")
    assert "Not yet" in browser.get(page).text
    assert browser.post(f"{page}mail-verification", token_from=page).location == page
    shown = browser.get(page).text
    assert f"A new link is on its way to {person.email}." in shown
    assert "A new link to confirm the address was mailed" in shown
    dead = browser.get(f"/console/email/verify/{lost}")
    assert (dead.status_code, "ask our support" in dead.text) == (410, True)
    browser.post(f"{page}mail-verification", token_from=page)
    refused = browser.post(f"{page}mail-verification", token_from=page)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "3600")
    path = f"/console/email/verify/{mailed_token(person, 'verify_email')}"
    browser.post(path, token_from=path)
    shown = browser.get(page).text
    assert "mail-verification" not in shown
    assert "Confirmed the e-mail address" in shown


# ------------------------------------------------------------------ staff


def test_an_admin_invites_a_colleague_who_gets_in(app: Flask) -> None:
    browser, invite = signed_in(app, "admin"), "/console/staff/invite"
    bad = browser.post(invite, {"email": "x", "name": "", "roles": []}, token_from=invite)
    assert bad.status_code == 422
    taken = browser.post(
        invite, {"email": factories.traveller().email, "name": "Kim", "roles": ["support"]}, token_from=invite
    )
    assert (taken.status_code, 'value="Kim"' in taken.text) == (409, True)
    answer = browser.post(
        invite, {"email": "colleague@example.org", "name": "Kim", "roles": ["support"]}, token_from=invite
    )
    person = db.session.query(User).filter_by(email="colleague@example.org").one()
    assert answer.location == f"/console/staff/{person.id}/"
    assert "Invited" in browser.get(answer.location).text
    browser.post(f"/console/staff/{person.id}/invite-again", token_from=invite)
    assert len(mails(person, "staff_invitation")) == 2
    newcomer, path = Browser(app), f"/console/invitation/{mailed_token(person, 'staff_invitation')}"
    newcomer.post(path, {"password": NEW}, token_from=path)
    assert newcomer.post("/console/login", {"email": person.email, "password": NEW}).location == "/console/"


def test_what_an_admin_does_to_somebody_shows_on_their_page(app: Flask) -> None:
    browser, person = signed_in(app, "admin"), factories.staff("finance")
    set_up(person)
    elsewhere = Browser(app)
    elsewhere.sign_in(person)
    page = f"/console/staff/{person.id}/"
    session_id = sessions.live(person.id)[0].id
    browser.post(f"{page}sessions/{session_id}/end", token_from=page)
    assert sessions.live(person.id) == []
    for action, form in (
        ("reset-two-factor", {"reason": "Phone stolen", "typed": person.email}),
        ("end-sessions", {}),
        ("deactivate", {"reason": "Left the company"}),
        ("reactivate", {"reason": "Came back"}),
    ):
        assert browser.post(f"{page}{action}", form, token_from=page).location == page, action
    told = browser.get(page).text
    for words in ("Phone stolen", "Left the company", "Came back", "Deactivated", "Reactivated"):
        assert words in told


def test_a_deactivation_without_reason_is_refused(app: Flask) -> None:
    browser, person = signed_in(app, "admin"), factories.staff("support")
    page = f"/console/staff/{person.id}/"
    assert browser.post(f"{page}deactivate", {"reason": " "}, token_from=page).status_code == 422
    assert factories.reread(person).is_active


def test_on_ones_own_page_nothing_dangerous_is_offered(app: Flask) -> None:
    person = factories.staff("admin")
    browser = browser_of(app, person)
    page = browser.get(f"/console/staff/{person.id}/").text
    assert "act-deactivate" not in page
    assert "This is you. Another admin can do it." in page


POSTS = (
    "invite",
    "{id}/roles",
    "{id}/deactivate",
    "{id}/reactivate",
    "{id}/reset-two-factor",
    "{id}/invite-again",
    "{id}/end-sessions",
    "{id}/sessions/1/end",
)


@pytest.mark.parametrize("role", ["support", "moderator", "finance"])
def test_staff_pages_are_the_admins_alone(app: Flask, role: str) -> None:
    browser, person = signed_in(app, role), factories.staff("support")
    assert "/console/staff/" not in browser.get("/console/").text
    for path in ("", "invite", f"{person.id}/"):
        assert browser.get(f"/console/staff/{path}").status_code == 403
    for path in POSTS:
        form = {"reason": "Because", "roles": ["admin"]}
        assert browser.post(f"/console/staff/{path.format(id=person.id)}", form, token_from=ACCOUNT).status_code == 403
    now = factories.reread(person)
    assert (now.roles, now.is_active) == ({"support"}, True)


@pytest.mark.parametrize("path", POSTS[1:])
def test_who_is_not_on_the_staff_is_404(app: Flask, path: str) -> None:
    browser, traveller = signed_in(app, "admin"), factories.traveller()
    for person_id in (traveller.id, 2**62, 2**70):
        answer = browser.post(
            f"/console/staff/{path.format(id=person_id)}", {"reason": "x", "roles": ["support"]}, token_from=ACCOUNT
        )
        assert answer.status_code == 404
    assert factories.reread(traveller).roles == frozenset()


def test_the_list_finds_by_a_part_of_name_or_address(app: Flask) -> None:
    browser, person = signed_in(app, "admin"), factories.staff("support")
    assert person.email in browser.get(f"/console/staff/?q={person.email[:12]}").text
    assert person.email not in browser.get("/console/staff/?q=%25").text


def test_a_demoted_persons_next_click_is_refused(app: Flask) -> None:
    person = factories.staff("admin")
    browser = browser_of(app, person)
    assert browser.get("/console/staff/").status_code == 200
    staff.set_roles(person.id, ["support"], by=SYSTEM)
    assert browser.get("/console/staff/").status_code == 403
    staff.deactivate(person.id, reason="Left", by=SYSTEM)
    assert browser.get("/console/bookings/").status_code == 302


def test_links_name_the_public_address(app: Flask) -> None:
    person = factories.traveller()
    credentials.request_password_reset(person.email, address=None)
    token = ask(person)
    secrets = mails(person, "password_reset")[-1].secrets or {}
    assert secrets["link"] == f"{app.extensions['settings'].public_url}/console/password/reset/{token}"
