"""Between a notification and its mail: the templates, how amounts, days and times are written in them, the message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, select_autoescape

from app.db import utcnow
from app.errors import Conflict
from app.money import written
from app.notifications.kinds import KINDS

NOT_SHOWN = "(not shown)"
# A name that a mail program would make a link of: strangers choose names, and could advertise through our mail.
_LINK = re.compile(r"\w\.\w|[/@]")
_EMPTY_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True)
class Rendered:
    """A mail as its reader sees it."""

    subject: str
    text: str
    html: str


def render(kind: str, *, name: str, values: Mapping[str, Any], secrets: Mapping[str, Any] | None = None) -> Rendered:
    """Fill a kind's templates; without `secrets`, where they go stands that they aren't shown.

    Raises Conflict when there is no such kind any more or its templates want values that aren't there.
    """
    if kind not in KINDS:
        raise Conflict(f"There are no templates for mail of the kind {kind}.")
    hidden = dict.fromkeys(KINDS[kind].secrets, NOT_SHOWN)
    filled = {**values, **(hidden if secrets is None else secrets)}
    context = {**filled, "greeting": "Hello," if _LINK.search(name) else f"Hello {name},"}
    try:
        text = _TEMPLATES.get_template(f"mail/{kind}.txt")
        subject = " ".join("".join(text.blocks["subject"](text.new_context(context))).split())
        context["subject"] = subject
        html = _TEMPLATES.get_template(f"mail/{kind}.html")
        return Rendered(subject, _EMPTY_LINES.sub("\n\n", text.render(context)).strip() + "\n", html.render(context))
    except (TemplateError, KeyError, TypeError, ValueError) as error:
        raise Conflict(f"The templates of {kind} don't fit this mail: {error}") from error


def compose(rendered: Rendered, *, sender: Address, to: str, name: str, message_id: str) -> EmailMessage:
    """The mail as it goes over the wire, its text and HTML side by side. Raises Conflict when it can't be addressed."""
    message = EmailMessage(policy=SMTP)
    try:
        local, _, domain = to.rpartition("@")
        message["To"] = Address(name, local, domain.encode("idna").decode())
        message["From"] = sender
        message["Subject"] = rendered.subject
    except (ValueError, HeaderParseError) as error:
        raise Conflict(f"No mail can be addressed to {to}: {error}") from error
    message["Date"] = format_datetime(utcnow())
    message["Message-ID"] = f"<{message_id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday notice answers it
    message.set_content(rendered.text, cte="quoted-printable")
    message.add_alternative(rendered.html, subtype="html", cte="quoted-printable")
    return message


def _money(value: Mapping[str, Any]) -> str:
    return written(value["amount"], value["currency"])


def _day(iso: str) -> str:
    """A calendar day: `Friday 18 June 2027`."""
    day = date.fromisoformat(iso)
    return f"{day:%A} {day.day} {day:%B %Y}"


def _at(iso: str, time_zone: str) -> str:
    """A time where it matters, with its zone: `14:35 on Friday 18 June 2027 (Europe/Oslo time)`."""
    at = datetime.fromisoformat(iso).astimezone(ZoneInfo(time_zone))
    return f"{at:%H:%M} on {_day(at.date().isoformat())} ({time_zone} time)"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parents[2] / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(money=_money, day=_day, at=_at, count=_count)
