"""Where mail leaves the house: an SMTP server, or a folder where none is set."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from app.config import settings
from app.errors import Conflict, Unavailable

# RFC 5321, 4.2.1: 5yz is final for this mail, 4yz may go better later.
_FINAL = 500
# Answered to a sender who has not logged in or turned encryption on: about our settings, not about this mail.
_LOG_IN_FIRST = 530


class Unanswered(Unavailable):
    """The server was given the mail and did not say whether it took it."""


class Transport(Protocol):
    """A way out for mail. `is_repeatable` when handing over the same mail twice leaves one."""

    is_repeatable: bool

    def ready(self, message: EmailMessage, *, file_name: str) -> AbstractContextManager[Callable[[], None]]:
        """Everything that can be done before the mail is handed over; gives the call that does that.

        Raises Conflict when this mail is refused for good, Unavailable when a later try may go better, and Unanswered
        when nobody knows.
        """
        ...


def transport() -> Transport:
    """The one that the settings name."""
    url = settings().mail_url.get_secret_value()
    return Smtp(url) if url else Folder(settings().tripdesk_home / "mail")


@dataclass(frozen=True)
class Folder:
    """Mail as `.eml` files, for development. A mail that is written again replaces itself."""

    path: Path
    is_repeatable = True

    @contextmanager
    def ready(self, message: EmailMessage, *, file_name: str) -> Iterator[Callable[[], None]]:
        """Gives the call that writes the file."""
        content = message.as_bytes(policy=SMTP)

        def write() -> None:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                half = self.path / f".{file_name}"
                half.write_bytes(content)
                half.replace(self.path / f"{file_name}.eml")
            except OSError as error:
                raise Unavailable(f"The mail can't be written to {self.path}: {error.strerror}.") from error

        yield write


@dataclass(frozen=True)
class Smtp:
    """A mail server, by its address `smtp://user:password@host:587` or `smtps://host:465`.

    `smtp` turns encryption on where the server offers it; a password is never sent without. Each reply is waited for
    `reply_seconds`, the one that says whether the mail was taken for `taken_seconds`.
    """

    url: str
    reply_seconds: float = 10
    taken_seconds: float = 30
    is_repeatable = False

    @contextmanager
    def ready(self, message: EmailMessage, *, file_name: str) -> Iterator[Callable[[], None]]:
        """Connects, logs in, and names sender and recipient; gives the call that hands the mail over."""
        sender, recipient = (message[name].addresses[0].addr_spec for name in ("From", "To"))
        needs_utf8 = not f"{sender}{recipient}".isascii()
        content = message.as_bytes(policy=SMTPUTF8 if needs_utf8 else SMTP)
        connection = self._connect()
        try:
            with _telling_what_was_wrong("did not answer"):
                if needs_utf8 and not connection.has_extn("smtputf8"):
                    raise Conflict(f"The mail server can't send to {recipient}: it takes no letters outside ASCII.")
                _check(connection.mail(sender, ["SMTPUTF8"] if needs_utf8 else []))
                _check(connection.rcpt(recipient))
            _wait_at_most(connection, self.taken_seconds)
            yield lambda: _hand_over(connection, content)
        finally:
            # Whether it hears our good-bye changes nothing.
            with suppress(OSError, smtplib.SMTPException):
                _wait_at_most(connection, 1)
                connection.quit()
            connection.close()

    def _connect(self) -> smtplib.SMTP:
        parts = urlsplit(self.url)
        host, ourselves = parts.hostname or "", settings().mail_sender.domain
        tls = ssl.create_default_context()
        # What goes wrong before a mail is named is about the server or our settings, never about this mail.
        with _telling_what_was_wrong("can't be used"):
            if parts.scheme == "smtps":
                connection: smtplib.SMTP = smtplib.SMTP_SSL(
                    host, parts.port or 465, ourselves, timeout=self.reply_seconds, context=tls
                )
            else:
                connection = smtplib.SMTP(host, parts.port or 587, ourselves, timeout=self.reply_seconds)
            try:
                connection.ehlo_or_helo_if_needed()
                if parts.scheme == "smtp" and connection.has_extn("starttls"):
                    connection.starttls(context=tls)
                    connection.ehlo_or_helo_if_needed()
                elif parts.scheme == "smtp" and parts.username:
                    raise Unavailable(
                        "The mail server offers no encryption, and the password is not sent without:"
                        " write smtps:// in MAIL_URL, or have the server offer STARTTLS."
                    )
                if parts.username:
                    connection.login(unquote(parts.username), unquote(parts.password or ""))
            except BaseException:
                connection.close()
                raise
        return connection


def _wait_at_most(connection: smtplib.SMTP, seconds: float) -> None:
    if connection.sock is not None:
        connection.sock.settimeout(seconds)


def _hand_over(connection: smtplib.SMTP, content: bytes) -> None:
    try:
        reply = connection.data(content)
    except smtplib.SMTPDataError as refusal:
        # It did not want to begin.
        reply = (refusal.smtp_code, _bytes(refusal.smtp_error))
    except (OSError, smtplib.SMTPException) as error:
        raise Unanswered(
            f"The mail server was given this mail and did not say whether it took it ({_words(error)})."
        ) from error
    if reply[0] < 0:
        raise Unanswered("The mail server was given this mail and answered with something that is no reply.")
    _check(reply)


def _check(reply: tuple[int, bytes]) -> None:
    code, words = reply[0], reply[1].decode(errors="replace")
    if 200 <= code < 300:
        return
    said = f"The mail server refused it: {code} {words}"
    if code >= _FINAL and code != _LOG_IN_FIRST:
        raise Conflict(said)
    raise Unavailable(said)


@contextmanager
def _telling_what_was_wrong(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, smtplib.SMTPException) as error:
        raise Unavailable(f"The mail server {what}: {_words(error)}.") from error


def _words(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_bytes(error.smtp_error).decode(errors='replace')}"
    if isinstance(error, TimeoutError):
        return "it took too long"
    return str(error) or type(error).__name__


def _bytes(words: bytes | str) -> bytes:
    return words if isinstance(words, bytes) else words.encode()
