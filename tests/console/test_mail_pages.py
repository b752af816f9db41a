"""/console/mail/: what was mailed is read by support, sent again by admins, and shown in a frame that does nothing."""

from __future__ import annotations

from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from flask import Flask

from app.db import transaction
from app.extensions import db
from app.notifications import service as notifications
from app.notifications.kinds import KINDS
from app.notifications.models import Notification
from tests import factories
from tests.console.browser import signed_in
from tests.notifications.conftest import LINK, a_mail, kind_with_a_link, mail_to

__all__ = ["kind_with_a_link", "mail_to"]


@pytest.fixture
def folder(mail_to: Callable[[str], Path]) -> Path:
    """Where mail is written to."""
    return mail_to("")


def page_of(mail: Notification) -> str:
    return f"/console/mail/{mail.id}/"


def test_support_and_admins_find_a_mail_by_its_recipient_and_read_it(app: Flask, folder: Path) -> None:
    mail = a_mail(name="Ada <Lovelace>")
    notifications.send(mail.id)
    for role in ("support", "admin"):
        browser = signed_in(app, role)
        found = browser.get(f"/console/mail/?q={mail.recipient}").text
        assert f'href="{page_of(mail)}"' in found
        page = browser.get(page_of(mail)).text
        assert "As it was sent" in page
        assert "Hello Ada &lt;Lovelace&gt;," in page
        assert "Check-in:   Friday 18 June 2027" in page


def test_the_html_is_shown_as_it_was_sent_and_where_it_was_not_kept_the_page_says_so(app: Flask, folder: Path) -> None:
    mail = a_mail()
    notifications.send(mail.id)
    browser = signed_in(app, "support")
    for html, words in (("<p>What they were told</p>", "As it was sent."), (None, "Drawn by today's templates.")):
        with transaction():
            db.session.get_one(Notification, mail.id).html = html
        page = unescape(browser.get(page_of(mail)).text)
        assert words in page[page.index('id="html-title"') :]
        frame = browser.get(f"{page_of(mail)}html")
        assert (html or "Hello Ada Lovelace,") in frame.text
        assert "sandbox" in frame.headers["Content-Security-Policy"]


@pytest.mark.parametrize("role", ["moderator", "finance"])
def test_others_may_not_read_mail(app: Flask, folder: Path, role: str) -> None:
    mail = a_mail()
    browser = signed_in(app, role)
    paths = ["/console/mail/", page_of(mail), f"{page_of(mail)}html", "/console/mail/templates/"]
    paths += ["/console/mail/templates/hold_expired/", "/console/mail/templates/hold_expired/html"]
    assert [browser.get(path).status_code for path in paths] == [403] * len(paths)
    assert 'href="/console/mail/"' not in browser.get("/console/").text


def test_an_admin_sends_a_mail_again(app: Flask, folder: Path) -> None:
    mail = a_mail()
    notifications.send(mail.id)
    browser = signed_in(app, "admin")
    answer = browser.post(f"{page_of(mail)}send", token_from=page_of(mail))
    assert (answer.status_code, answer.location) == (302, page_of(mail))
    assert factories.reread(mail).status == "QUEUED"
    assert "is being sent again" in browser.get(page_of(mail)).text


def test_support_is_not_offered_to_send_again_and_is_refused(app: Flask, folder: Path) -> None:
    mail = a_mail()
    notifications.send(mail.id)
    browser = signed_in(app, "support")
    assert "Send again" not in browser.get(page_of(mail)).text
    assert browser.post(f"{page_of(mail)}send", token_from=page_of(mail)).status_code == 403
    assert factories.reread(mail).status == "SENT"


def test_a_mail_that_waits_shows_why_it_cannot_be_sent_again(app: Flask, folder: Path) -> None:
    mail = a_mail()
    browser = signed_in(app, "admin")
    page = browser.get(page_of(mail)).text
    assert "This mail is still being sent." in page
    assert "As it would be sent" in page
    assert browser.post(f"{page_of(mail)}send", token_from=page_of(mail)).status_code == 409
    assert factories.reread(mail).attempts == 0


@pytest.mark.usefixtures("kind_with_a_link")
def test_a_secret_is_shown_neither_before_nor_after_it_is_sent(app: Flask, folder: Path) -> None:
    mail = a_mail("with_a_link")
    browser = signed_in(app, "admin")
    before = browser.get(page_of(mail)).text + browser.get(f"{page_of(mail)}html").text
    notifications.send(mail.id)
    after = browser.get(page_of(mail)).text + browser.get(f"{page_of(mail)}html").text
    for shown in (before, after):
        assert LINK not in shown
        assert "only-for-the-reader" not in shown
        assert "Go to (not shown)" in shown
    (file,) = folder.iterdir()
    assert b"only-for-the-reader" in file.read_bytes().replace(b"=\r\n", b"")


def test_a_mail_that_its_templates_do_not_fit_says_so(app: Flask, folder: Path) -> None:
    mail = a_mail(values={"booking": {"reference": "TD-1"}})
    browser = signed_in(app, "support")
    page = browser.get(page_of(mail))
    assert page.status_code == 200
    assert "The templates of hold_expired don&#39;t fit this mail" in page.text
    assert browser.get(f"{page_of(mail)}html").status_code == 409


def test_the_frame_of_a_mail_can_do_nothing_and_only_we_may_show_it(app: Flask, folder: Path) -> None:
    mail = a_mail()
    browser = signed_in(app, "support")
    for path in (f"{page_of(mail)}html", "/console/mail/templates/hold_expired/html"):
        policy = browser.get(path).headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "frame-ancestors 'self'", "sandbox", "form-action 'none'"} <= set(policy)
        assert not any("script" in rule for rule in policy)
    outer = browser.get(page_of(mail))
    assert "frame-ancestors 'none'" in outer.headers["Content-Security-Policy"]
    assert "'unsafe-inline'" not in outer.headers["Content-Security-Policy"]
    assert f'src="{page_of(mail)}html" sandbox' in outer.text


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_template_is_previewed_with_its_example(app: Flask, kind: str) -> None:
    browser = signed_in(app, "support")
    assert KINDS[kind].title in browser.get("/console/mail/templates/").text
    page = browser.get(f"/console/mail/templates/{kind}/").text
    assert f'src="/console/mail/templates/{kind}/html" sandbox' in page
    html = browser.get(f"/console/mail/templates/{kind}/html").text
    assert "Hello Ada Lovelace," in html
    assert "Hello Ada Lovelace," in page


def test_what_is_not_there_is_not_found(app: Flask) -> None:
    browser = signed_in(app, "admin")
    for path in ("/console/mail/999999999/", f"/console/mail/{2**63}/", "/console/mail/999999999/html"):
        assert browser.get(path).status_code == 404
    assert browser.get("/console/mail/templates/weather/").status_code == 404
    assert browser.get("/console/mail/templates/weather/html").status_code == 404
