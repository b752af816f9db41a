"""/console/: what waits, and what came in last."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Response
from flask_admin import AdminIndexView, expose
from sqlalchemy import Select, func, select
from sqlalchemy.orm import joinedload

from app.bookings.models import Booking
from app.console import live, session
from app.console.base import EVERYBODY, FINANCE, Page, line
from app.console.bookings import booking_cells, booking_href
from app.console.disputes import due_soon
from app.console.queue import QueueView
from app.db import utcnow
from app.disputes.models import Dispute
from app.extensions import db
from app.money import Money
from app.payments import refunds
from app.payments.models import Refund, WebhookEvent
from app.reports import queries
from app.reports.periods import Period
from app.reports.queries import Takings

_RECENT = 8


class HomeView(Page, AdminIndexView):  # type: ignore[misc]
    """The page everybody starts on."""

    roles = EVERYBODY
    icon = "home"

    @expose("/")  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """Counts, queues, recent bookings."""
        person = session.person()
        recent = select(Booking).options(joinedload(Booking.traveller)).order_by(Booking.id.desc()).limit(_RECENT)
        return str(
            self.render(
                "console/home.html",
                greeting=f"Hello, {person.name}" if person else "Hello",
                cards=[*(_money() if session.actor().has(FINANCE) else ()), *_cards()],
                queues=[*self._depths(), *_queues(session.actor().has(("finance", "admin")))],
                recent=[line(booking_href(row.id), **booking_cells(row)) for row in db.session.scalars(recent)],
            )
        )

    @expose("/live")  # type: ignore[untyped-decorator]
    def live(self) -> Response:
        """What an open page asks for again and again."""
        return live.answer(self.open_pages())

    def _depths(self) -> list[dict[str, Any]]:
        """Of the queues whose pages whoever is signed in may open."""
        queues = [page for page in self.open_pages() if isinstance(page, QueueView)]
        waiting = live.depths(queues)
        return [
            {
                "label": queue.title,
                "count": waiting[queue.endpoint] or 0,
                "oldest_at": queue.waits_since(),
                "href": f"{queue.url}/",
                "hint": queue.intro or None,
            }
            for queue in queues
        ]


def _money() -> list[dict[str, Any]]:
    """What finance asks for first; of several currencies, the most common."""
    today = utcnow().date()
    week = Period(today - timedelta(days=6), today)
    currency = (queries.currencies(week) or ["USD"])[0]
    days = queries.takings(week, currency)
    now, all_week = days.get(today, Takings()), queries.total(days.values())
    waiting = _count(select(Refund.id).where(Refund.status == "PENDING_APPROVAL"))
    failed = _count(select(Refund.id).where(refunds.is_still_owed()))
    given_up = _count(select(Refund.id).where(refunds.has_no_answer()))
    shown = (
        ("Gross today", now.gross_minor, "gross", "Since midnight UTC"),
        ("Refunds in 7 days", all_week.returned_minor, "refunds", "With chargebacks"),
        ("Net in 7 days", all_week.net_minor, "net", "Gross less refunds"),
        ("Commission in 7 days", all_week.commission_minor, "commission", "Our share, less refunds of it"),
    )
    return [
        *(
            {
                "label": label,
                "value": Money(minor, currency).json(),
                "href": f"/console/revenue/?from={week.first}&to={today}#{chart}",
                "hint": hint,
            }
            for label, minor, chart, hint in shown
        ),
        {
            "label": "Refunds to approve",
            "value": waiting,
            "href": "/console/refunds/",
            "hint": "Asked for, not decided on",
        },
        {
            "label": "Refunds to try again",
            "value": failed + given_up,
            "href": f"/console/refunds/?{'status=FAILED&open=owed' if failed else 'status=SUBMITTED&open=given_up'}",
            "hint": "Failed, or Stripe gave no answer",
        },
        {
            "label": "Disputes due within 3 days",
            "value": _count(select(Dispute.id).where(due_soon())),
            "href": "/console/disputes/?due=soon",
            "hint": "Evidence has to be submitted by then",
        },
    ]


def _cards() -> list[dict[str, Any]]:
    today = utcnow().date()
    day_ago = utcnow() - timedelta(hours=24)
    starting = select(Booking.id).where(
        Booking.status == "CONFIRMED", Booking.starts_on.between(today, today + timedelta(days=7))
    )
    return [
        {
            "label": "Held, not paid yet",
            "value": _count(select(Booking.id).where(Booking.status == "PENDING_PAYMENT")),
            "href": "/console/bookings/?status=PENDING_PAYMENT",
            "hint": "Freed when their time runs out",
        },
        {
            "label": "Booked in 24 hours",
            "value": _count(select(Booking.id).where(Booking.created_at > day_ago)),
            "href": None,
            "hint": "All states",
        },
        {
            "label": "Confirmed in 24 hours",
            "value": _count(select(Booking.id).where(Booking.confirmed_at > day_ago)),
            "href": "/console/bookings/?status=CONFIRMED",
            "hint": "Paid and booked",
        },
        {
            "label": "Starting within a week",
            "value": _count(starting),
            "href": None,
            "hint": "Confirmed stays and departures",
        },
    ]


def _queues(sees_webhooks: bool) -> list[dict[str, Any]]:
    if not sees_webhooks:
        return []
    failed = select(WebhookEvent.id).where(WebhookEvent.status == "FAILED")
    waiting = select(WebhookEvent.id).where(WebhookEvent.due_at.is_not(None))
    return [
        {
            "label": "Stripe events waiting",
            "count": _count(waiting),
            "oldest_at": db.session.scalar(
                select(func.min(WebhookEvent.received_at)).where(WebhookEvent.due_at.is_not(None))
            ),
            "href": None,
            "hint": "Worked through within seconds",
        },
        {
            "label": "Stripe events failed",
            "count": _count(failed),
            "oldest_at": db.session.scalar(
                select(func.min(WebhookEvent.received_at)).where(WebhookEvent.status == "FAILED")
            ),
            "href": None,
            "hint": "Tries used up, somebody has to look",
        },
    ]


def _count(ids: Select[Any]) -> int:
    return db.session.scalar(select(func.count()).select_from(ids.subquery())) or 0
