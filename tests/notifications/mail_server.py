"""A mail server of the test's own, which keeps what it takes and can be told to misbehave."""

from __future__ import annotations

import asyncio
import email
import ssl
from email.message import EmailMessage
from email.policy import default
from types import TracebackType
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.stack import free_port

USER, PASSWORD = "apikey", "p@ss/word:1"


class _Smtp(SMTP):
    """Says what it was told to say instead of doing what it was asked for."""

    def __init__(self, mail_server: MailServer, **options: Any) -> None:
        super().__init__(mail_server, **options)
        self.mail_server = mail_server

    async def _handle_client(self) -> None:
        if "CONNECT" in self.mail_server.says:
            await self.push(self.mail_server.says["CONNECT"])
            self.transport.close()
            return
        await super()._handle_client()

    async def smtp_STARTTLS(self, arg: str) -> None:
        if "STARTTLS" in self.mail_server.says:
            await self.push(self.mail_server.says["STARTTLS"])
        else:
            await super().smtp_STARTTLS(arg)


class MailServer:
    """Context manager: listens on a free port of 127.0.0.1.

    `says` maps CONNECT, STARTTLS, MAIL, RCPT or DATA to an answer; `hangs_at` and `hangs_up_at` name the command after
    which nothing comes any more, or the line goes dead; after DATA, the mail has been taken all the same.
    """

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, smtps: bool = False, log_in: bool = False, utf8: bool = False
    ) -> None:
        self.port = free_port()
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.encrypted: list[bool] = []
        self.passwords: list[str] = []
        self.says: dict[str, str] = {}
        self.hangs_at = ""
        self.hangs_up_at = ""
        options = {
            "enable_SMTPUTF8": utf8,
            "tls_context": None if smtps else tls,
            "auth_required": log_in,
            "auth_require_tls": False,
            "authenticator": self._authenticate if log_in else None,
        }
        mail_server = self

        class Listener(Controller):
            def factory(self) -> SMTP:
                return _Smtp(mail_server, hostname="mail.example.org", **options)

        self._listener = Listener(
            self, hostname="127.0.0.1", port=self.port, ssl_context=tls if smtps else None, ready_timeout=10
        )

    def __enter__(self) -> MailServer:
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.stop()

    @property
    def url(self) -> str:
        """What MAIL_URL is set to for it."""
        return f"smtp://127.0.0.1:{self.port}"

    def mails_to(self, recipient: str) -> list[EmailMessage]:
        """What it took for one person: tests share a database, and a sweep finds other tests' mail too."""
        return [mail for mail in self.mails if recipient in str(mail["To"])]

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """A sender is named."""
        envelope.mail_from = address
        return await self._answer("MAIL", server)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """A recipient is named."""
        envelope.rcpt_tos.append(address)
        return await self._answer("RCPT", server)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """A mail is handed over."""
        if not self.says.get("DATA"):
            content = envelope.content or b""
            assert isinstance(content, bytes)
            self.mails.append(email.message_from_bytes(content, policy=default))
            self.recipients += envelope.rcpt_tos
            self.encrypted.append(session.ssl is not None)
        return await self._answer("DATA", server)

    async def _answer(self, command: str, server: SMTP) -> str:
        if self.hangs_at == command:
            await asyncio.sleep(3)
        if self.hangs_up_at == command and server.transport is not None:
            server.transport.abort()  # type: ignore[attr-defined]
        return self.says.get(command, "250 OK")

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any
    ) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.passwords.append(given.password.decode())
        return AuthResult(success=(given.login, given.password) == (USER.encode(), PASSWORD.encode()), handled=False)
