"""/console/mail/: what people were told by mail, sending one again, and how every kind of mail looks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import url_for
from flask_admin import expose
from sqlalchemy import Select, select
from sqlalchemy.orm import defer
from werkzeug.wrappers import Response

from app.audit import trail
from app.audit.trail import Moment
from app.console import session
from app.console.base import Column, Filter, RecordView, done, find
from app.console.formatting import status_label
from app.console.ordering import Sort
from app.console.record import Action, Blocked, Fact, Group, Phrase, Record
from app.errors import Conflict, NotFound
from app.logs import OUTSIDE_A_REQUEST
from app.notifications import service as notifications
from app.notifications.kinds import KINDS, NAME, title_of
from app.notifications.models import Notification
from app.notifications.rendering import Rendered, render

MAY_READ = frozenset({"support", "admin"})

# A mail brings its own styles. It runs nothing, sends nothing and loads nothing, and only our own pages frame it.
_PREVIEW_POLICY = "; ".join(
    [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
        "sandbox",
    ]
)
_TITLES: dict[str, trail.Title] = {"mail.send_again": ("Sent again", "mail", None)}


class MailView(RecordView):
    """Mail, for support to read and admins to send again."""

    roles = MAY_READ
    icon = "mail"
    model = Notification
    title = "Mail"
    exported_as = "mail"
    noun = ("mail", "mails")
    commands = (("See every kind of mail", "/console/mail/templates/", "templates"),)
    intro = "What people were told. A mail that can't be sent is tried again by itself until its tries are used up."
    search_hint = "Recipient's e-mail address"
    empty_hint = "The first one shows here when there is something to tell."
    template = "console/mail/list.html"
    columns = (
        Column("kind", "Mail", "link"),
        Column("status", "State", "chip"),
        Column("recipient", "To"),
        Column("subject", "Subject"),
        Column("created_at", "Written", "time", "right", sort=Sort(Notification.created_at, follows_id=True)),
        Column("sent_at", "Sent", "time", "right"),
    )
    filters = (
        Filter("status", "State", {status: status_label(status) for status in Notification.MOVES}),
        Filter("kind", "Mail", {name: kind.title for name, kind in KINDS.items()}),
    )

    def query(self) -> Select[Any]:
        """Mails without what stands in them, which is long."""
        return select(Notification).options(defer(Notification.body), defer(Notification.html))

    def search(self, query: Select[Any], words: str) -> Select[Any]:
        """By whole address."""
        return query.where(Notification.recipient == words.lower())

    def cells(self, row: Notification) -> dict[str, Any]:
        """One mail's line."""
        return {
            "kind": title_of(row.kind),
            "status": row.status,
            "recipient": row.recipient,
            "subject": row.subject,
            "created_at": row.created_at,
            "sent_at": row.sent_at,
        }

    def href(self, row: Notification) -> str:
        """Its page."""
        return mail_href(row.id)

    def context(self) -> dict[str, Any]:
        """Where the templates are."""
        return {"templates_href": url_for("mail.templates")}

    @expose("/<int:mail_id>/")  # type: ignore[untyped-decorator]
    def show(self, mail_id: int) -> str:
        """One mail."""
        mail = find(Notification, mail_id, "mail")
        shown, problem = _shown(mail)
        handed_over = "As it was sent" if mail.sent_at else "As it was handed to the mail server"
        return self.render_record(
            Record(
                title=title_of(mail.kind),
                about=mail,
                titles=_TITLES,
                status=mail.status,
                lead=mail.subject or (shown.subject if shown else None),
                sub=(Phrase("to", mail.recipient_name, aside=mail.recipient), Phrase("written", at=mail.created_at)),
                actions=_actions(mail),
                blocked=_blocked(mail),
                facts=_facts(mail),
                timeline=_timeline(mail),
            ),
            "console/mail/show.html",
            text=mail.body or (shown.text if shown else None),
            text_note=handed_over if mail.body else "As it would be sent",
            html_note=handed_over if mail.html else "Drawn by today's templates",
            html_href=url_for("mail.html", mail_id=mail.id) if shown else None,
            problem=problem,
            has_secrets=bool(mail.kind in KINDS and KINDS[mail.kind].secrets),
        )

    @expose("/<int:mail_id>/html")  # type: ignore[untyped-decorator]
    def html(self, mail_id: int) -> Response:
        """Its HTML alone, for the frame on its page."""
        mail = find(Notification, mail_id, "mail")
        return _preview(mail.html or render(mail.kind, name=mail.recipient_name, values=mail.values).html)

    @expose("/<int:mail_id>/send", methods=["POST"])  # type: ignore[untyped-decorator]
    def send(self, mail_id: int) -> Response:
        """Send it once more."""
        mail = notifications.send_again(mail_id, by=session.actor())
        return done(f"The mail to {mail.recipient} is being sent again.", mail_href(mail.id))

    @expose("/templates/")  # type: ignore[untyped-decorator]
    def templates(self) -> str:
        """Every kind of mail."""
        kinds = [
            {"title": kind.title, "subject": _example(name).subject, "href": url_for("mail.template_page", kind=name)}
            for name, kind in sorted(KINDS.items(), key=lambda item: item[1].title)
        ]
        return str(self.render("console/mail/templates.html", kinds=kinds, up=url_for("mail.index")))

    @expose("/templates/<kind>/")  # type: ignore[untyped-decorator]
    def template_page(self, kind: str) -> str:
        """One kind of mail with its example, as text and as HTML."""
        return str(
            self.render(
                "console/mail/template.html",
                title=title_of(kind),
                example=asdict(_example(kind)),
                html_href=url_for("mail.template_html", kind=kind),
                up=url_for("mail.templates"),
            )
        )

    @expose("/templates/<kind>/html")  # type: ignore[untyped-decorator]
    def template_html(self, kind: str) -> Response:
        """The example's HTML alone, for the frame on its page."""
        return _preview(_example(kind).html)


def mail_href(mail_id: int) -> str:
    """The page of a mail."""
    return f"/console/mail/{mail_id}/"


def _example(kind: str) -> Rendered:
    if kind not in KINDS:
        raise NotFound("There is no such kind of mail.")
    return render(kind, name=NAME, values=KINDS[kind].values, secrets=KINDS[kind].secrets)


def _shown(mail: Notification) -> tuple[Rendered | None, str | None]:
    """The mail as it was handed over; where that wasn't kept, as today's templates write it, or why they can't."""
    handed_over = notifications.kept(mail)
    if handed_over is not None:
        return handed_over, None
    try:
        return render(mail.kind, name=mail.recipient_name, values=mail.values), None
    except Conflict as refusal:
        return None, refusal.detail


def _preview(html: str) -> Response:
    return Response(html, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _PREVIEW_POLICY})


def _facts(mail: Notification) -> list[Group]:
    booking = mail.values.get("booking", {}).get("reference") if mail.object_type == "bookings" else None
    return [
        Group(
            "Mail",
            (
                Fact("To", mail.recipient),
                Fact("Sent", mail.sent_at, "time"),
                Fact("Booking", booking, href=url_for("bookings.show", booking_id=mail.object_id) if booking else None),
                Fact("Tells of", mail.key, "mono"),
                Fact("Message id", mail.message_id, "mono"),
                Fact("Came with request", _request_of(mail), "mono"),
            ),
        ),
        Group(
            "Sending",
            (
                Fact("Last begun", mail.sending_at, "time"),
                Fact("Next try", mail.due_at, "time"),
                Fact("Failed tries", mail.attempts, "number"),
                Fact("Error", mail.last_error),
            ),
        ),
    ]


def _request_of(mail: Notification) -> str | None:
    return mail.request_id if mail.request_id != OUTSIDE_A_REQUEST else None


def _timeline(mail: Notification) -> list[Moment]:
    moments = [
        Moment(at=mail.created_at, icon="mail", title="Written", request_id=_request_of(mail)),
        *trail.moments({"notifications": [mail.id]}, titles=_TITLES),
    ]
    if mail.status == "UNKNOWN" and mail.sending_at is not None:
        moments.append(Moment(at=mail.sending_at, icon="mail", title="Handed over, without an answer", tone="warn"))
    if mail.sent_at is not None:
        moments.append(Moment(at=mail.sent_at, icon="mail", title="Taken by the mail server", tone="good"))
    return sorted(moments, key=lambda moment: moment.at)


# What sending once more means, by what became of the mail.
_EXPLAIN = {
    "SENT": "It was sent already. The same mail goes out a second time, word for word.",
    "UNKNOWN": "Nobody knows whether it arrived: its reader may get it twice.",
    "FAILED": "It goes out as if for the first time. Look at the error first: an address that is wrong stays wrong.",
}


def _actions(mail: Notification) -> list[Action]:
    if not session.actor().has(notifications.MAY_SEND) or notifications.why_not_again(mail) is not None:
        return []
    href = url_for("mail.send", mail_id=mail.id)
    return [Action("send", "Send again", href, _EXPLAIN[mail.status], key="s", danger=True)]


def _blocked(mail: Notification) -> list[Blocked]:
    why = notifications.why_not_again(mail)
    return [Blocked("Send again", why)] if why is not None and session.actor().has(notifications.MAY_SEND) else []
