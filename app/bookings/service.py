"""Verbs of bookings: hold, pay, confirm, expire, cancel, complete, note."""

from __future__ import annotations

import secrets
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import select, text

from app.audit import history, reasons
from app.audit import service as audit
from app.audit.actor import STRIPE, SYSTEM, Actor
from app.bookings import cancellation, mail
from app.bookings.cancellation import Preview
from app.bookings.models import Booking, BookingNote
from app.bookings.stay import stay_of
from app.catalog import inventory
from app.catalog import service as catalog
from app.config import settings
from app.db import insert_now, lock, transaction, utcnow
from app.errors import Busy, Conflict, Invalid, NotAllowed, NotFound
from app.extensions import db
from app.money import MAX_CHARGE_MINOR, Money
from app.payments import service as payments
from app.payments.models import Payment
from app.payments.stripe_objects import Intent
from app.states import may_move, move, move_many, no_way

# Crockford's base 32, https://www.crockford.com/base32.html: nothing that is misread on the phone.
REFERENCE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BATCH = 200

MAY_CANCEL = ("support", "admin")
MAY_COMPLETE = ("support", "admin")
MAY_NOTE = ("support", "admin")
MAX_NOTE = 4_000
CANCELLED_BY = {"guest": "CANCELLED_BY_GUEST", "provider": "CANCELLED_BY_PROVIDER", "support": "CANCELLED_BY_SUPPORT"}


def hold(
    *,
    by: Actor,
    package_id: int,
    check_in: date | None = None,
    check_out: date | None = None,
    departure: date | None = None,
    units: int = 1,
    guests: int = 1,
) -> Booking:
    """Hold stock for a traveller and sell it at today's price and policy, to be paid before `expires_at`.

    Raises Invalid by field, NotFound when the package isn't on sale, Conflict when a day is sold out or too many ask
    for it at once.
    """
    if by.id is None:
        raise NotAllowed("Only a person can book.")
    package = catalog.on_sale(package_id, check_in)
    stay = stay_of(package, check_in=check_in, check_out=check_out, departure=departure, units=units, guests=guests)
    try:
        with transaction():
            stock = inventory.hold(package.id, stay.stock_days, units)
            total = units * sum(day.price_minor for day in stock)
            if total > MAX_CHARGE_MINOR:
                raise Invalid.field(
                    "units", "This comes to more than can be charged in one payment; book fewer nights or units."
                )
            unit = "departure" if package.type == "tour" else "date"
            booking = Booking(
                reference=_new_reference(),
                status="PENDING_PAYMENT",
                traveller_id=by.id,
                package_id=package.id,
                provider_id=package.provider_id,
                package_name=package.name,
                starts_on=stay.starts_on,
                ends_on=stay.ends_on,
                time_zone=package.time_zone,
                units=units,
                guests=guests,
                nights=[{unit: day.day.isoformat(), "price": day.price_minor} for day in stock],
                total_minor=total,
                currency=package.currency,
                policy=package.terms,
                created_at=utcnow(),
                expires_at=utcnow() + timedelta(minutes=settings().hold_minutes),
            )
            insert_now(booking)
            audit.record(by, "booking.hold", booking)
            # Not at the commit, which may be somebody else's and too late to say so in our words.
            inventory.write_months()
    except Busy as error:
        raise Conflict(
            "Too many people are booking these days right now. Try again in a moment.", retry_after=1
        ) from error
    return booking


def _new_reference() -> str:
    letters = "".join(secrets.choice(REFERENCE_ALPHABET) for _ in range(10))
    return f"TD-{letters[:5]}-{letters[5:]}"


def own(booking_id: int, by: Actor) -> Booking:
    """A traveller's own booking. Raises NotFound for another person's, as for none."""
    booking = db.session.scalar(select(Booking).where(Booking.id == booking_id, Booking.traveller_id == by.id))
    if booking is None:
        raise NotFound("You have no booking with this id.")
    return booking


def start_payment(booking_id: int, *, by: Actor) -> Intent:
    """The Stripe intent to pay a held booking with; the same one while it can be paid.

    Raises NotFound, Conflict when the hold is over or it is paid, Unavailable when Stripe doesn't answer.
    """
    own(booking_id, by)
    with transaction():
        booking = lock(Booking, booking_id)
        if booking.status != "PENDING_PAYMENT":
            raise Conflict(f"This booking is {booking.status.replace('_', ' ').lower()}; there is nothing to pay.")
        if booking.expires_at <= utcnow():
            raise Conflict("The time to pay for this booking is over. Book again.")
        payment = payments.open_payment(
            booking_id=booking.id,
            provider_id=booking.provider_id,
            amount_minor=booking.total_minor,
            currency=booking.currency,
            by=by,
        )
        payment_id, reference = payment.id, booking.reference
    return payments.intent_for(payment_id, booking_reference=reference)


def payment_changed(intent: Intent) -> None:
    """Stripe tells of a payment: a captured one confirms its booking, re-seats an expired one, or is refunded in full;
    others are followed.

    Raises NotFound when the intent isn't ours. Told again, or in another order, it does nothing more.
    """
    with transaction():
        payment = payments.payment_of(intent)
        if payment is None:
            raise NotFound(f"No payment here belongs to {intent.id}.")
        booking = lock(Booking, payment.booking_id)
        # Read again under the booking's lock: somebody else may have just been told the same.
        payment = lock(Payment, payment.id)
        if intent.status != "succeeded":
            payment = payments.follow(payment.id, intent)
            if payment.status == "FAILED" and booking.status == "PENDING_PAYMENT" and booking.expires_at > utcnow():
                mail.payment_failed(booking, payment)
        elif may_move(payment, "SUCCEEDED") and payment.succeeded_at is None:
            placed = _place(booking)
            payment = payments.capture(payment.id, intent, placed=placed)
            if placed:
                mail.confirmed(booking)
            else:
                mail.late_payment_refunded(booking, payment)


def _place(booking: Booking) -> bool:
    if booking.status == "PENDING_PAYMENT":
        inventory.book(booking.package_id, booking.stock_days, booking.units)
        move(booking, "CONFIRMED")
        audit.record(STRIPE, "booking.confirm", booking)
        return True
    if booking.status == "EXPIRED" and inventory.book_again(booking.package_id, booking.stock_days, booking.units):
        move(booking, "CONFIRMED")
        audit.record(
            STRIPE, "booking.confirm", booking, reason="Paid after the hold ran out; the stock was still there."
        )
        return True
    return False


def cancel(
    booking_id: int,
    *,
    by: Actor,
    on_behalf_of: str = "guest",
    reason: str | None = None,
    everything: bool = False,
    seen: Money | None = None,
) -> Booking:
    """Cancel a booking and give its stock back; `on_behalf_of` is guest, provider or support. Of a paid one the guest
    gets back what the policy gives, or all of it when the provider cancels.

    With `everything`, staff ask for the rest as goodwill, which a second person may have to approve. `seen` is what was
    shown to come back. Raises NotFound, NotAllowed, Invalid without a reason from staff, Conflict when it is over, when
    something else would come back than was seen, or for goodwill while refunds are held.
    """
    to = _may_cancel(booking_id, on_behalf_of, by=by)
    if on_behalf_of != "guest":
        reason = reasons.given(reason)
    with transaction():
        booking = lock(Booking, booking_id)
        is_paid = booking.status == "CONFIRMED"
        cancellation.refuse_if_late(booking, on_behalf_of)
        if by.kind == "staff":
            history.move(booking, to)  # a guest isn't told who was first
        else:
            move(booking, to)
        payment = cancellation.payment_of(booking)
        if payment is not None:
            payment = lock(Payment, payment.id)
        preview = cancellation.reckon(booking, payment, on_behalf_of=on_behalf_of, by=by)
        cancellation.refuse_if_changed(preview, seen, everything=everything)
        booking.cancel_reason = reason
        if is_paid:
            refunds = cancellation.give_back(preview, payment, everything=everything, by=by)
            inventory.release_booked(booking.package_id, booking.stock_days, booking.units)
            audit.record(by, "booking.cancel", booking, reason=reason, after=preview.facts)
            mail.cancelled_after_payment(booking, preview.due, refunds, on_behalf_of=on_behalf_of)
        else:
            payments.close_later(booking.id)
            inventory.release_held(booking.package_id, booking.stock_days, booking.units)
            audit.record(by, "booking.cancel", booking, reason=reason)
            mail.cancelled(booking, on_behalf_of=on_behalf_of)
    return booking


def preview_cancel(booking_id: int, *, by: Actor, on_behalf_of: str = "guest") -> Preview:
    """What `cancel` would do now. Changes nothing. Raises NotFound, NotAllowed, and Conflict as `cancel` does."""
    to = _may_cancel(booking_id, on_behalf_of, by=by)
    booking = db.session.get(Booking, booking_id)
    if booking is None:
        raise NotFound(f"There is no booking {booking_id}.")
    cancellation.refuse_if_late(booking, on_behalf_of)
    if not may_move(booking, to):
        raise Conflict(no_way(booking, to))
    return cancellation.reckon(booking, cancellation.payment_of(booking), on_behalf_of=on_behalf_of, by=by)


def _may_cancel(booking_id: int, on_behalf_of: str, *, by: Actor) -> str:
    if on_behalf_of == "guest":
        own(booking_id, by)
    else:
        by.require(*MAY_CANCEL)
    return CANCELLED_BY[on_behalf_of]


def expire_due() -> int:
    """Free the holds whose time is over; returns how many. One that somebody is working on waits for the next time."""
    expired, after = 0, 0
    while batch := _overdue(after):
        for booking_id in batch:
            try:
                expired += expire(booking_id)
            except Busy:
                continue
        after = batch[-1]
    return expired


def _overdue(after: int) -> list[int]:
    due = select(Booking.id).where(
        Booking.status == "PENDING_PAYMENT", Booking.expires_at <= utcnow(), Booking.id > after
    )
    return list(db.session.scalars(due.order_by(Booking.id).limit(_BATCH)))


def expire(booking_id: int) -> bool:
    """Free one hold, if it is still waiting and its time is over; says whether. A payment that comes later is re-seated
    or refunded.
    """
    with transaction():
        booking = lock(Booking, booking_id)
        if booking.status != "PENDING_PAYMENT" or booking.expires_at > utcnow():
            return False
        move(booking, "EXPIRED")
        inventory.release_held(booking.package_id, booking.stock_days, booking.units)
        payments.close_later(booking.id)
        audit.record(SYSTEM, "booking.expire", booking)
        mail.expired(booking)
    return True


def complete_due() -> int:
    """Complete the stays that are over: from noon of the last day, in the package's own time zone. Returns how many."""
    completed = 0
    while batch := _complete_some():
        completed += batch
    return completed


def complete(booking_id: int, *, by: Actor, reason: str | None) -> Booking:
    """Complete a stay by hand on its last day or later, where the package is, before `complete_due` comes to it.

    Raises NotAllowed, NotFound, Invalid without a reason, Conflict before the last day, or naming who was first.
    """
    by.require(*MAY_COMPLETE)
    reason = reasons.given(reason)
    with transaction():
        booking = lock(Booking, booking_id)
        if booking.status == "CONFIRMED" and not may_be_completed(booking):
            raise Conflict(
                f"This stay ends on {booking.ends_on.isoformat()} ({booking.time_zone}); complete it from then on."
            )
        history.move(booking, "COMPLETED")
        audit.record(by, "booking.complete", booking, reason=reason)
    return booking


def may_be_completed(booking: Booking) -> bool:
    """Whether it is confirmed and its last day has come, where the package is."""
    return booking.status == "CONFIRMED" and datetime.now(ZoneInfo(booking.time_zone)).date() >= booking.ends_on


def add_note(booking_id: int, body: str, *, by: Actor) -> BookingNote:
    """Write something about a booking that only staff see.

    Raises NotAllowed, NotFound, Invalid when there is nothing to keep or too much.
    """
    by.require(*MAY_NOTE)
    body = body.strip()
    if not 1 <= len(body) <= MAX_NOTE or by.id is None:
        raise Invalid.field("note", f"Write 1 to {MAX_NOTE:,} characters.")
    with transaction():
        if db.session.get(Booking, booking_id) is None:
            raise NotFound(f"There is no booking {booking_id}.")
        note = BookingNote(booking_id=booking_id, author_id=by.id, body=body)
        db.session.add(note)
        audit.record(by, "booking.note", note)
    return note


def _complete_some() -> int:
    over = text("(ends_on + time '12:00') AT TIME ZONE time_zone <= now()")
    due = select(Booking.id).where(Booking.status == "CONFIRMED", over).order_by(Booking.ends_on).limit(_BATCH)
    with transaction():
        moved = move_many(Booking, db.session.scalars(due), to="COMPLETED", sources=("CONFIRMED",))
        audit.record_many(
            SYSTEM, "booking.complete", Booking, moved, before={"status": "CONFIRMED"}, after={"status": "COMPLETED"}
        )
    return len(moved)
