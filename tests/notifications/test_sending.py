"""Sending: at most once, whatever the mail server says or doesn't, and whoever dies on the way."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from flask import Flask
from jinja2 import ChoiceLoader, DictLoader

from app.audit import service as audit
from app.audit.actor import Actor
from app.audit.models import AuditEntry
from app.db import lock, transaction, utcnow
from app.errors import Conflict, NotAllowed
from app.extensions import db
from app.notifications import rendering
from app.notifications import service as notifications
from app.notifications.models import Notification
from app.notifications.transport import Smtp, Unanswered
from app.queue import BACKOFF_SECONDS, MAX_ATTEMPTS, sweep
from app.states import move
from tests import factories, queued
from tests.concurrency import at_once
from tests.notifications.conftest import LINK, a_mail
from tests.notifications.mail_server import PASSWORD, USER, MailServer

# The tests' server takes passwords over an open line, so that one would be seen there.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")

ADMIN = Actor("staff", None, "Admin", frozenset({"admin"}))


def now(mail: Notification) -> Notification:
    found: Notification = factories.reread(mail)
    return found


def state(mail: Notification) -> tuple[str, bool, int]:
    """Its status, whether it will be tried again, and how often it was."""
    mail = now(mail)
    return mail.status, mail.due_at is not None, mail.attempts


def make_due(mail: Notification, in_seconds: int = -1) -> None:
    with transaction():
        lock(Notification, mail.id).due_at = utcnow() + timedelta(seconds=in_seconds)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`impatient(taken_seconds=0.5)` has nobody wait longer for the server to say that it has the mail."""

    def wait_at_most(**seconds: float) -> None:
        url = notifications.settings().mail_url.get_secret_value()
        monkeypatch.setattr(notifications, "transport", lambda: Smtp(url, **seconds))

    return wait_at_most


def test_a_mail_goes_out_as_text_and_html_and_is_sent(app: Flask, mail_server: MailServer) -> None:
    mail = a_mail(name="Ada Lovelace")
    assert queued.work_off() == []

    (message,) = mail_server.mails_to(mail.recipient)
    assert mail_server.recipients.count(mail.recipient) == 1
    assert message["To"] == f"Ada Lovelace <{mail.recipient}>"
    assert message["From"] == "Tripdesk <no-reply@tripdesk.example>"
    assert message["Subject"] == "The time to pay for booking TD-7K2QX-9M4RB is over"
    assert message["Message-ID"] == f"<{mail.message_id}@tripdesk.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "Check-in:   Friday 18 June 2027" in text.get_content()
    assert "<h1>The time to pay for booking TD-7K2QX-9M4RB is over</h1>" in html.get_content()
    assert state(mail) == ("SENT", False, 0)
    assert now(mail).sent_at is not None


def test_a_doubled_job_sends_nothing_more(app: Flask, mail_server: MailServer) -> None:
    mail = a_mail()
    for _ in range(3):
        notifications.send(mail.id)
    assert len(mail_server.mails) == 1


def test_workers_at_the_same_moment_send_a_mail_once(app: Flask, mail_server: MailServer) -> None:
    mail = a_mail()
    assert at_once(app, *[partial(notifications.send, mail.id)] * 5) == [None] * 5
    assert len(mail_server.mails) == 1
    assert state(mail) == ("SENT", False, 0)


def test_a_secret_goes_to_its_reader_and_is_forgotten(
    app: Flask, mail_server: MailServer, kind_with_a_link: str
) -> None:
    mail = a_mail(kind_with_a_link)
    assert now(mail).secrets == {"link": LINK}
    notifications.send(mail.id)
    text = mail_server.mails[0].get_body(("plain",))
    assert text is not None
    assert LINK in text.get_content()
    mail = now(mail)
    assert (mail.status, mail.secrets) == ("SENT", None)
    assert mail.subject == "A new password"
    for kept in (mail.body, mail.html):
        assert kept is not None
        assert "(not shown)" in kept
        assert "only-for-the-reader" not in kept


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
def test_a_mail_refused_for_good_fails_at_once(app: Flask, mail_server: MailServer, command: str) -> None:
    mail_server.says[command] = "550 no such person here"
    mail = a_mail()
    notifications.send(mail.id)
    assert state(mail) == ("FAILED", False, 0)
    assert now(mail).last_error == "The mail server refused it: 550 no such person here"
    assert mail_server.mails == []


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("CONNECT", "421 too busy"),
        ("CONNECT", "554 not from your address"),
        ("MAIL", "451 try again"),
        ("MAIL", "530 log in first"),
        ("RCPT", "450 greylisted"),
        ("DATA", "452 the disk is full"),
    ],
)
def test_a_mail_refused_for_now_is_tried_again_later(
    app: Flask, mail_server: MailServer, command: str, answer: str
) -> None:
    mail_server.says[command] = answer
    mail, began = a_mail(), utcnow()
    notifications.send(mail.id)
    assert state(mail) == ("QUEUED", True, 1)
    assert answer in (now(mail).last_error or "")
    assert now(mail).due_at > began + timedelta(seconds=BACKOFF_SECONDS[0])

    mail_server.says.clear()
    make_due(mail, in_seconds=600)
    notifications.send(mail.id)
    assert mail_server.mails == [], "sent before its time"
    make_due(mail)
    notifications.send(mail.id)
    assert len(mail_server.mails) == 1
    assert state(mail) == ("SENT", False, 1)


def test_a_mail_that_is_refused_again_and_again_is_given_up(app: Flask, mail_server: MailServer) -> None:
    mail_server.says["RCPT"] = "450 greylisted"
    mail = a_mail()
    for _ in range(MAX_ATTEMPTS):
        make_due(mail)
        notifications.send(mail.id)
    assert state(mail) == ("FAILED", False, MAX_ATTEMPTS)
    notifications.send_again(mail.id, by=ADMIN)
    assert state(mail) == ("QUEUED", True, 0)


def test_while_the_mail_server_is_away_mail_waits(app: Flask, mail_to: Callable[[str], Path]) -> None:
    mail_to("smtp://127.0.0.1:1")
    mail = a_mail()
    notifications.send(mail.id)
    assert state(mail) == ("QUEUED", True, 1)
    assert "can't be used" in (now(mail).last_error or "")


@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
def test_a_server_that_falls_silent_before_it_has_the_mail_is_tried_again(
    app: Flask, mail_server: MailServer, impatient: Callable[..., None], command: str
) -> None:
    impatient(reply_seconds=0.5)
    mail_server.hangs_at = command
    mail = a_mail()
    notifications.send(mail.id)
    assert state(mail) == ("QUEUED", True, 1)
    assert mail_server.mails == []


@pytest.mark.parametrize("trouble", ["hangs_at", "hangs_up_at"])
def test_a_server_that_has_the_mail_and_does_not_say_so_is_not_given_it_twice(
    app: Flask, mail_server: MailServer, impatient: Callable[..., None], trouble: str
) -> None:
    impatient(taken_seconds=0.5)
    setattr(mail_server, trouble, "DATA")
    mail = a_mail()
    notifications.send(mail.id)
    assert state(mail) == ("UNKNOWN", False, 0)
    assert "did not say whether it took it" in (now(mail).last_error or "")
    setattr(mail_server, trouble, "")
    notifications.send(mail.id)
    assert len(mail_server.mails) == 1


def left_in_the_middle(mail: Notification, *, ago: timedelta) -> None:
    """As a worker leaves it that is killed between SENDING and the answer."""
    with transaction():
        row = lock(Notification, mail.id)
        move(row, "SENDING")
        row.sending_at = utcnow() - ago


def test_a_mail_that_somebody_is_sending_is_left_to_them(app: Flask, mail_server: MailServer) -> None:
    mail = a_mail()
    left_in_the_middle(mail, ago=notifications.SENDING_AT_MOST / 2)
    notifications.send(mail.id)
    assert state(mail)[0] == "SENDING"
    assert mail_server.mails == []


def test_a_mail_that_a_dead_worker_was_sending_is_not_sent_blindly(app: Flask, mail_server: MailServer) -> None:
    mail = a_mail()
    left_in_the_middle(mail, ago=notifications.SENDING_AT_MOST)
    notifications.send(mail.id)
    assert state(mail) == ("UNKNOWN", False, 0)
    assert mail_server.mails == []


def test_the_sweep_comes_back_for_a_mail_that_a_dead_worker_was_sending(app: Flask, mail_server: MailServer) -> None:
    mail = a_mail()
    left_in_the_middle(mail, ago=notifications.SENDING_AT_MOST)
    queued.work_off()
    assert state(mail)[0] == "UNKNOWN"
    assert mail_server.mails_to(mail.recipient) == []


def test_into_the_folder_a_mail_is_written_again_after_a_crash_and_is_there_once(
    app: Flask, mail_to: Callable[[str], Path]
) -> None:
    folder = mail_to("")
    mail = a_mail()
    notifications.send(mail.id)
    (file,) = folder.iterdir()
    assert file.name == f"{mail.created_at:%Y%m%d-%H%M%S}-{mail.id}-hold_expired.eml"
    assert b"TD-7K2QX-9M4RB" in file.read_bytes()

    again = a_mail()
    left_in_the_middle(again, ago=notifications.SENDING_AT_MOST)
    notifications.send(again.id)
    assert state(again) == ("SENT", False, 0)
    assert len(list(folder.iterdir())) == 2


def test_a_folder_that_cannot_be_written_to_is_said(app: Flask, mail_to: Callable[[str], Path]) -> None:
    mail_to("").write_text("in the way")
    mail = a_mail()
    notifications.send(mail.id)
    assert state(mail) == ("QUEUED", True, 1)
    assert "can't be written to" in (now(mail).last_error or "")


def test_a_mail_whose_templates_do_not_fit_fails_with_the_reason(app: Flask, mail_server: MailServer) -> None:
    mail = a_mail(values={"booking": {"reference": "TD-1"}})
    notifications.send(mail.id)
    assert state(mail) == ("FAILED", False, 0)
    assert "templates of hold_expired don't fit this mail" in (now(mail).last_error or "")
    assert mail_server.mails == []


@pytest.mark.parametrize(
    "address", ["ada\r\nBcc: everybody@example.org@example.org", "ada@" + "x" * 80 + ".org", "ada@exa..mple.org"]
)
def test_an_address_that_no_mail_can_carry_fails_and_smuggles_nothing_in(
    app: Flask, mail_server: MailServer, address: str
) -> None:
    mail = a_mail(to=address)
    notifications.send(mail.id)
    assert state(mail)[:2] == ("FAILED", False)
    assert mail_server.mails == []


def test_letters_outside_ascii_need_a_server_that_takes_them(
    app: Flask, mail_server: MailServer, mail_to: Callable[[str], Path]
) -> None:
    domain_only = a_mail(to="ada@bücher.example.org", name="Ådä 李")
    notifications.send(domain_only.id)
    assert mail_server.recipients == ["ada@xn--bcher-kva.example.org"]
    assert str(mail_server.mails[0]["To"]).startswith("Ådä 李 <")

    refused = a_mail(to="ådä@example.org")
    notifications.send(refused.id)
    assert state(refused)[:2] == ("FAILED", False)
    with MailServer(utf8=True) as modern:
        mail_to(modern.url)
        taken = a_mail(to="ådä@example.org")
        notifications.send(taken.id)
        assert modern.recipients == ["ådä@example.org"]
    assert state(taken)[0] == "SENT"


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> trustme.CA:
    """A certificate authority that is trusted here."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return ca


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def logging_in(server: MailServer, scheme: str = "smtp", password: str = PASSWORD) -> str:
    return f"{scheme}://{USER}:{quote(password, safe='')}@127.0.0.1:{server.port}"


def test_encryption_is_turned_on_where_it_is_offered(
    app: Flask, mail_to: Callable[[str], Path], authority: trustme.CA
) -> None:
    with MailServer(tls=server_context(authority)) as server:
        mail_to(server.url)
        mail = a_mail()
        notifications.send(mail.id)
        assert server.encrypted == [True]
    assert state(mail)[0] == "SENT"


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_it_logs_in_over_an_encrypted_line(
    app: Flask, mail_to: Callable[[str], Path], authority: trustme.CA, scheme: str
) -> None:
    with MailServer(tls=server_context(authority), smtps=scheme == "smtps", log_in=True) as server:
        mail_to(logging_in(server, scheme))
        mail = a_mail()
        notifications.send(mail.id)
        assert state(mail)[0] == "SENT"
        assert (server.passwords, len(server.mails)) == ([PASSWORD], 1)


def test_a_wrong_password_is_about_our_settings_and_fails_no_mail(
    app: Flask, mail_to: Callable[[str], Path], authority: trustme.CA
) -> None:
    with MailServer(tls=server_context(authority), log_in=True) as server:
        mail_to(logging_in(server, password="wrong"))
        mail = a_mail()
        notifications.send(mail.id)
        assert server.mails == []
    assert state(mail) == ("QUEUED", True, 1)
    assert "535" in (now(mail).last_error or "")


def test_a_password_is_never_sent_over_an_open_line(app: Flask, mail_to: Callable[[str], Path]) -> None:
    with MailServer(log_in=True) as server:
        mail_to(logging_in(server))
        mail = a_mail()
        notifications.send(mail.id)
        assert (server.passwords, server.mails) == ([], [])
    assert state(mail) == ("QUEUED", True, 1)
    assert "offers no encryption" in (now(mail).last_error or "")


def test_a_server_that_refuses_encryption_gets_nothing(
    app: Flask, mail_to: Callable[[str], Path], authority: trustme.CA
) -> None:
    with MailServer(tls=server_context(authority), log_in=True) as server:
        server.says["STARTTLS"] = "454 not now"
        mail_to(logging_in(server))
        mail = a_mail()
        notifications.send(mail.id)
        assert (server.passwords, server.mails) == ([], [])
    assert state(mail) == ("QUEUED", True, 1)


@pytest.mark.parametrize("name", ["somebody-else.example.org", None])
def test_a_server_that_cannot_prove_its_name_gets_nothing(
    app: Flask, mail_to: Callable[[str], Path], authority: trustme.CA, name: str | None
) -> None:
    context = server_context(authority, name) if name else server_context(trustme.CA())
    with MailServer(tls=context, log_in=True) as server:
        mail_to(logging_in(server))
        mail = a_mail()
        notifications.send(mail.id)
        assert (server.passwords, server.mails) == ([], [])
    assert state(mail) == ("QUEUED", True, 1)
    assert "certificate" in (now(mail).last_error or "").lower()


def test_a_mail_whose_fate_nobody_knows_is_sent_again_by_a_person_under_the_same_message_id(
    app: Flask, mail_server: MailServer
) -> None:
    mail = a_mail()
    message_id = mail.message_id
    left_in_the_middle(mail, ago=notifications.SENDING_AT_MOST)
    notifications.send(mail.id)
    notifications.send_again(mail.id, by=ADMIN)
    assert queued.work_off() == []
    assert state(mail)[0] == "SENT"
    sent = mail_server.mails_to(mail.recipient)
    assert [message["Message-ID"] for message in sent] == [f"<{message_id}@tripdesk.example>"]
    entry = db.session.scalar(
        db.select(AuditEntry).where(AuditEntry.object_type == "notifications", AuditEntry.object_id == mail.id)
    )
    assert entry is not None
    assert (entry.action, entry.actor_label) == ("mail.send_again", "Admin")


def test_a_mail_that_its_reader_has_lost_is_sent_again_as_another_one(app: Flask, mail_server: MailServer) -> None:
    mail = a_mail()
    notifications.send(mail.id)
    notifications.send_again(mail.id, by=ADMIN)
    queued.work_off()
    assert len({message["Message-ID"] for message in mail_server.mails_to(mail.recipient)}) == 2


@pytest.fixture
def other_templates(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Has the templates of an expired hold say something else from when it is called."""

    def change() -> None:
        templates = {
            "mail/hold_expired.txt": "{% block subject %}Other words{% endblock %}Other words",
            "mail/hold_expired.html": "<p>Other words</p>",
        }
        loader = rendering._TEMPLATES.loader
        assert loader is not None
        monkeypatch.setattr(rendering._TEMPLATES, "loader", ChoiceLoader([DictLoader(templates), loader]))

    return change


def test_what_was_sent_is_kept_and_sent_again_word_for_word_when_the_templates_have_changed(
    app: Flask, mail_server: MailServer, other_templates: Callable[[], None]
) -> None:
    mail = a_mail()
    notifications.send(mail.id)
    first = notifications.kept(now(mail))
    assert first is not None
    other_templates()
    notifications.send_again(mail.id, by=ADMIN)
    queued.work_off()
    assert notifications.kept(now(mail)) == first
    for message in mail_server.mails_to(mail.recipient):
        parts = [message.get_body((kind,)) for kind in ("plain", "html")]
        got = [part.get_content().replace("\r\n", "\n").rstrip() for part in parts if part is not None]
        assert (message["Subject"], got) == (first.subject, [first.text.rstrip(), first.html.rstrip()])
    assert len(mail_server.mails_to(mail.recipient)) == 2


def test_a_mail_that_reached_nobody_is_written_by_the_templates_of_the_day_it_is_sent(
    app: Flask, mail_server: MailServer, other_templates: Callable[[], None]
) -> None:
    mail_server.says["DATA"] = "550 no such mail here"
    mail = a_mail()
    notifications.send(mail.id)
    assert (now(mail).status, notifications.kept(now(mail))) == ("FAILED", None)
    mail_server.says.clear()
    other_templates()
    notifications.send_again(mail.id, by=ADMIN)
    queued.work_off()
    assert now(mail).html == "<p>Other words</p>"


def test_a_failed_mail_is_tried_from_the_start_again(app: Flask, mail_server: MailServer) -> None:
    mail_server.says["RCPT"] = "550 no such person here"
    mail = a_mail()
    notifications.send(mail.id)
    mail_server.says.clear()
    notifications.send_again(mail.id, by=ADMIN)
    queued.work_off()
    assert state(mail) == ("SENT", False, 0)


def test_what_carried_a_link_for_its_reader_cannot_be_sent_again(
    app: Flask, mail_server: MailServer, kind_with_a_link: str
) -> None:
    mail = a_mail(kind_with_a_link)
    notifications.send(mail.id)
    with pytest.raises(Conflict, match="not kept once sent"):
        notifications.send_again(mail.id, by=ADMIN)
    assert state(mail) == ("SENT", False, 0)


def test_a_mail_on_its_way_cannot_be_sent_again(app: Flask, mail_server: MailServer) -> None:
    mail = a_mail()
    with pytest.raises(Conflict, match="still being sent"):
        notifications.send_again(mail.id, by=ADMIN)
    left_in_the_middle(mail, ago=timedelta(0))
    with pytest.raises(Conflict, match="still being sent"):
        notifications.send_again(mail.id, by=ADMIN)
    assert mail_server.mails == []


@pytest.mark.parametrize("role", ["support", "moderator", "finance"])
def test_only_an_admin_sends_again(app: Flask, mail_server: MailServer, role: str) -> None:
    mail = a_mail()
    notifications.send(mail.id)
    with pytest.raises(NotAllowed):
        notifications.send_again(mail.id, by=Actor("staff", None, "S", frozenset({role})))
    assert state(mail)[0] == "SENT"
    assert len(mail_server.mails) == 1


class Late:
    """A way out that takes or hears nothing for so long that others have gone on without it."""

    is_repeatable = False

    def __init__(
        self, meanwhile: Callable[[], object], *, before: Callable[[], object] = lambda: None, answers: bool = False
    ) -> None:
        self.meanwhile = meanwhile
        self.before = before
        self.answers = answers

    @contextmanager
    def ready(self, message: EmailMessage, *, file_name: str) -> Iterator[Callable[[], None]]:
        self.before()
        yield self.hand_over

    def hand_over(self) -> None:
        self.meanwhile()
        if not self.answers:
            raise Unanswered("The mail server did not say whether it took it.")


def test_who_comes_back_late_says_nothing_about_the_sending_after_theirs(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = a_mail()

    def given_up_and_begun_anew() -> None:
        with transaction():
            row = lock(Notification, mail.id)
            move(row, "UNKNOWN")
            row.finished()
        notifications.send_again(mail.id, by=ADMIN)
        left_in_the_middle(mail, ago=timedelta(0))

    monkeypatch.setattr(notifications, "transport", lambda: Late(given_up_and_begun_anew))
    notifications.send(mail.id)
    assert state(mail) == ("SENDING", True, 0)


def test_a_mail_that_others_put_off_while_the_server_was_slow_waits_its_time(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = a_mail()
    handed_over: list[str] = []

    def put_off() -> None:
        with transaction():
            lock(Notification, mail.id).failed("The mail server did not answer.")

    late = Late(lambda: handed_over.append("the mail"), before=put_off)
    monkeypatch.setattr(notifications, "transport", lambda: late)
    notifications.send(mail.id)
    assert handed_over == []
    assert state(mail) == ("QUEUED", True, 1)


def test_who_fails_in_the_middle_of_handing_a_mail_over_does_not_hand_it_over_again(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = a_mail()

    def fail() -> None:
        raise KeyError("socket")

    monkeypatch.setattr(notifications, "transport", lambda: Late(fail))
    with pytest.raises(KeyError):
        notifications.send(mail.id)
    assert state(mail) == ("UNKNOWN", False, 0)
    assert now(mail).last_error == "KeyError: 'socket'"


def test_no_sweep_hands_out_a_mail_that_is_being_sent(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    mail = a_mail()
    with transaction():
        db.session.execute(db.update(Notification).where(Notification.id != mail.id).values(due_at=None))
    handed_out: list[int] = []
    monkeypatch.setattr(notifications, "transport", lambda: Late(lambda: handed_out.append(sweep(Notification))))
    notifications.send(mail.id)
    assert handed_out == [0]


def test_a_mail_that_was_given_up_and_arrived_after_all_is_sent(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    mail = a_mail()

    def given_up() -> None:
        with transaction():
            row = lock(Notification, mail.id)
            move(row, "UNKNOWN")
            row.finished()

    monkeypatch.setattr(notifications, "transport", lambda: Late(given_up, answers=True))
    notifications.send(mail.id)
    assert state(mail) == ("SENT", False, 0)


def test_no_secret_of_a_mail_is_ever_written_to_the_trail(app: Flask, kind_with_a_link: str) -> None:
    mail = a_mail(kind_with_a_link)
    with transaction():
        row = lock(Notification, mail.id)
        row.secrets = {"link": f"{LINK}&another"}
        audit.record(ADMIN, "mail.change", row)
    entry = db.session.scalars(
        db.select(AuditEntry).where(AuditEntry.object_type == "notifications", AuditEntry.object_id == mail.id)
    ).one()
    assert "only-for-the-reader" not in f"{entry.before} {entry.after}"


def test_the_secret_of_a_mail_stays_out_of_the_audit_trail(
    app: Flask, mail_server: MailServer, kind_with_a_link: str
) -> None:
    mail_server.says["RCPT"] = "550 no such person here"
    mail = a_mail(kind_with_a_link)
    notifications.send(mail.id)
    notifications.send_again(mail.id, by=ADMIN)
    entries = db.session.scalars(
        db.select(AuditEntry).where(AuditEntry.object_type == "notifications", AuditEntry.object_id == mail.id)
    ).all()
    assert len(entries) == 1
    assert "only-for-the-reader" not in f"{entries[0].before} {entries[0].after}"
