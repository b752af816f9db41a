"""/console/bookings/: the list, and one booking's whole story on one page."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_admin import expose
from sqlalchemy import ColumnElement, Select, select, union
from sqlalchemy.orm import joinedload
from werkzeug.wrappers import Response

from app.accounts.models import User
from app.bookings import cancellation, story
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.bulk import refunding
from app.catalog.policies import policy_in_words
from app.console import confirmation, disputed, session
from app.console.base import EVERYBODY, MAX_ID, Column, Filter, done, line, reason_given
from app.console.cancelling import REASON_HINT, REASONS, cancel_actions, cancelled_in_words, choice_sent
from app.console.for_many import ForMany, ForManyRoutes
from app.console.formatting import day as day_in_words
from app.console.formatting import status_label
from app.console.happened import happened
from app.console.mail import MAY_READ, mail_href
from app.console.ordering import Sort
from app.console.payments import money_lines
from app.console.record import Action, Blocked, Phrase, Record
from app.console.refunds import due_in_words, hold_in_words, refund_actions, refund_groups
from app.console.scope import PACKAGE, PROVIDER, TRAVELLER
from app.errors import NotFound
from app.extensions import db
from app.money import Money
from app.payments.models import Payment
from app.payments.refunds import REASONS as REFUND_REASONS

COMPLETE_REASONS = ("Traveller has left", "Provider says the stay is over", "Departure came back early")


class BookingsView(ForManyRoutes):
    """Bookings, for everybody to read."""

    roles = EVERYBODY
    icon = "calendar-event"
    model = Booking
    title = "Bookings"
    exported_as = "bookings"
    search_hint = "Reference, e-mail or payment intent"
    empty_hint = "The first one shows here as soon as a traveller books."
    columns = (
        Column("reference", "Booking", "link"),
        Column("status", "State", "chip"),
        Column("traveller", "Traveller"),
        Column("package", "Package"),
        Column("starts_on", "From", "day", sort=Sort(Booking.starts_on)),
        Column("ends_on", "To", "day"),
        Column("total", "Total", "money", "right"),
        Column("guests", "Guests", "number", "right", is_usual=False),
        Column("units", "Units", "number", "right", is_usual=False),
        Column("created_at", "Booked", "time", "right", sort=Sort(Booking.created_at, follows_id=True)),
    )
    filters = (
        Filter("status", "State", {status: status_label(status) for status in Booking.MOVES}),
        happened(
            Booking.id,
            Booking.created_at,
            {
                "booked": ("Booked", Booking.created_at, ()),
                "confirmed": ("Paid and confirmed", Booking.confirmed_at, ()),
                "completed": ("Stay completed", Booking.completed_at, ()),
                "cancelled_paid": (
                    "Cancelled after payment",
                    Booking.cancelled_at,
                    (Booking.confirmed_at.is_not(None),),
                ),
                "cancelled_unpaid": ("Cancelled unpaid", Booking.cancelled_at, (Booking.confirmed_at.is_(None),)),
                "expired": ("Hold ran out", Booking.expired_at, ()),
            },
        ),
        TRAVELLER,
        PACKAGE,
        PROVIDER,
    )
    for_many = (
        ForMany("refund", "Refund in full", "bookings.refund", REFUND_REASONS, refunding.refund_arguments, key="f"),
        ForMany(
            *("cancel", "Cancel and refund for the provider", "bookings.cancel_for_provider", REASONS["provider"]),
            arguments=lambda reason, note: {"reason": f"{reason}. {note}" if reason and note else reason},
            danger=True,
            key="c",
        ),
    )

    def query(self) -> Select[Any]:
        """Bookings with their travellers."""
        return select(Booking).options(joinedload(Booking.traveller))

    def search(self, query: Select[Any], words: str) -> Select[Any]:
        """By whole reference, e-mail address or payment intent."""
        # Each by its own index; joined by OR, they would be looked for in every row.
        found = union(
            select(Booking.id).where(Booking.reference == words.upper()),
            select(Booking.id).join(User, User.id == Booking.traveller_id).where(User.email == words.lower()),
            select(Payment.booking_id).where(Payment.stripe_payment_intent_id == words),
        )
        return query.where(Booking.id.in_(found))

    def cells(self, row: Booking) -> dict[str, Any]:
        """One booking's line."""
        return booking_cells(row)

    def href(self, row: Booking) -> str:
        """Its page."""
        return booking_href(row.id)

    @expose("/<int:booking_id>/")  # type: ignore[untyped-decorator]
    def show(self, booking_id: int) -> str:
        """One booking."""
        booking = _find(booking_id)
        told = story.tell(booking, mail_href=mail_href if session.actor().has(MAY_READ) else None)
        actions, blocked = self._actions(booking)
        captured = next((payment for payment in told.payments if payment.succeeded_at), None)
        due_minor = cancellation.still_due(booking, captured)
        refund, no_refund = refund_actions(captured, session.actor(), due_minor=due_minor)
        return self.render_record(
            Record(
                title=booking.reference,
                about=booking,
                titles=story.TITLES,
                status=booking.status,
                deadline=("hold ends", booking.expires_at) if booking.status == "PENDING_PAYMENT" else None,
                sub=(
                    Phrase(text=booking.package_name, href=f"/console/packages/{booking.package_id}/"),
                    Phrase("by", booking.package.provider.name, href=f"/console/providers/{booking.provider_id}/"),
                    Phrase(
                        "for",
                        booking.traveller.name,
                        href=f"/console/users/{booking.traveller_id}/",
                        aside=booking.traveller.email,
                    ),
                    Phrase("booked", at=booking.created_at),
                ),
                lead=hold_in_words(captured) or due_in_words(captured, due_minor),
                actions=[*refund, *actions],
                blocked=[*no_refund, *blocked],
                facts=[
                    *_facts(booking, told),
                    *refund_groups(told.refunds),
                    *disputed.groups([payment.id for payment in told.payments]),
                ],
                statement=_statement(booking, told),
                timeline=told.moments,
                note_href=f"{booking_href(booking.id)}notes" if session.actor().has(bookings.MAY_NOTE) else None,
                has_segments=True,
            )
        )

    @expose("/<int:booking_id>/cancel/<on_behalf_of>", methods=["POST"])  # type: ignore[untyped-decorator]
    @confirmation.typed(bookings.MAY_CANCEL, lambda booking_id, **_: _find(booking_id).reference)
    def cancel(self, booking_id: int, on_behalf_of: str) -> Response:
        """Cancel, for the provider or as support; a paid one with its refund, by whoever showed that it is them."""
        if on_behalf_of not in REASONS:
            raise NotFound("There is no such action.")
        booking = _find(booking_id)
        confirm = session.confirmed(_cancel) if booking.status == "CONFIRMED" else _cancel
        answer: Response = confirm(booking, on_behalf_of)
        return answer

    @expose("/<int:booking_id>/complete", methods=["POST"])  # type: ignore[untyped-decorator]
    @confirmation.typed(bookings.MAY_COMPLETE, lambda booking_id: _find(booking_id).reference)
    def complete(self, booking_id: int) -> Response:
        """Complete a stay on its last day, without waiting for the clock."""
        booking = bookings.complete(booking_id, by=session.actor(), reason=reason_given())
        return done(f"{booking.reference} is completed.", booking_href(booking.id))

    @expose("/<int:booking_id>/notes", methods=["POST"])  # type: ignore[untyped-decorator]
    def add_note(self, booking_id: int) -> Response:
        """Write a note that only staff see."""
        note = bookings.add_note(booking_id, request.form.get("note", ""), by=session.actor())
        return done("The note is kept.", booking_href(note.booking_id))

    @staticmethod
    def _actions(booking: Booking) -> tuple[list[Action], list[Blocked]]:
        """What this person may do now, and what nobody may and why. The rules are the verb's and the MOVES table's."""
        if not session.actor().has(bookings.MAY_CANCEL):
            return [], []
        actions, blocked = cancel_actions(booking, booking_href(booking.id), session.actor())
        if booking.status == "CONFIRMED":
            complete, incomplete = _completion(booking)
            return [*complete, *actions], [*blocked, *incomplete]
        return actions, blocked


def _cancel(booking: Booking, on_behalf_of: str) -> Response:
    everything, seen = choice_sent(booking.currency)
    booking = bookings.cancel(
        booking.id,
        by=session.actor(),
        on_behalf_of=on_behalf_of,
        reason=reason_given(),
        everything=everything,
        seen=seen,
    )
    return done(cancelled_in_words(booking), booking_href(booking.id))


def _completion(booking: Booking) -> tuple[list[Action], list[Blocked]]:
    if not bookings.may_be_completed(booking):
        why = f"The stay ends on {day_in_words(booking.ends_on)}; from then on it can be."
        return [], [Blocked("Complete", why)]
    complete = Action(
        name="complete",
        label="Complete the stay",
        href=f"{booking_href(booking.id)}complete",
        explain="The stay is over: the traveller can write a review.",
        key="o",
        needs_reason=True,
        reasons=COMPLETE_REASONS,
        reason_hint=REASON_HINT,
        typed=booking.reference,
    )
    return [complete], []


def bookings_of(which: ColumnElement[bool], *, limit: int = 10) -> list[dict[str, Any]]:
    """The newest bookings among those, as lines of a table."""
    found = select(Booking).where(which).options(joinedload(Booking.traveller)).order_by(Booking.id.desc()).limit(limit)
    return [line(booking_href(row.id), **booking_cells(row)) for row in db.session.scalars(found)]


def booking_href(booking_id: int) -> str:
    """The page of a booking."""
    return f"/console/bookings/{booking_id}/"


def booking_cells(booking: Booking) -> dict[str, Any]:
    """One booking's line in a list; its traveller has to be loaded."""
    return {
        "reference": booking.reference,
        "status": booking.status,
        "traveller": booking.traveller.name,
        "package": booking.package_name,
        "starts_on": booking.starts_on,
        "ends_on": booking.ends_on,
        "total": Money(booking.total_minor, booking.currency).json(),
        "guests": booking.guests,
        "units": booking.units,
        "created_at": booking.created_at,
    }


def _find(booking_id: int) -> Booking:
    wanted = (
        select(Booking)
        .where(Booking.id == booking_id)
        .options(joinedload(Booking.traveller), joinedload(Booking.package))
    )
    booking = db.session.scalar(wanted) if booking_id <= MAX_ID else None
    if booking is None:
        raise NotFound("There is no booking with this id.")
    return booking


def _facts(booking: Booking, told: story.Story) -> list[dict[str, Any]]:
    stay = [
        {"label": "Departure" if booking.is_tour else "Check-in", "value": booking.starts_on, "kind": "day"},
        {"label": "Back on" if booking.is_tour else "Check-out", "value": booking.ends_on, "kind": "day"},
        {"label": "Time zone", "value": booking.time_zone, "kind": "text"},
        {"label": "Units", "value": booking.units, "kind": "number"},
        {"label": "Guests", "value": booking.guests, "kind": "number"},
        {"label": "Policy", "value": policy_in_words(booking.policy), "kind": "text"},
    ]
    groups = [{"title": "Stay", "items": stay}]
    for payment in told.payments:
        groups.append(
            {
                "title": "Payment",
                "items": [
                    {"label": "State", "value": payment.status, "kind": "chip"},
                    {"label": "Intent", "value": payment.stripe_payment_intent_id, "kind": "mono"},
                    {"label": "Charge", "value": payment.stripe_charge_id, "kind": "mono"},
                    {"label": "Last refusal", "value": payment.failure_message, "kind": "text"},
                ],
            }
        )
    return groups


def _statement(booking: Booking, told: story.Story) -> dict[str, Any]:
    def amount(label: str, minor: int, kind: str, hint: str | None = None) -> dict[str, Any]:
        return {"label": label, "hint": hint, "amount": Money(minor, booking.currency).json(), "kind": kind}

    days = len(booking.nights)
    unit = "departure" if booking.is_tour else "night" if days == 1 else "nights"
    lines = [
        amount(f"{days} {unit} × {booking.units}", booking.total_minor, "line"),
        amount("Price", booking.total_minor, "total"),
    ]
    for payment in told.payments:
        lines += money_lines(payment)
    return {
        "lines": lines,
        "note": None if any(payment.succeeded_at for payment in told.payments) else "Nothing is paid yet.",
    }
