"""The life of one booking, step by step as the verbs would have taken them, with everything each step leaves behind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Literal

from app.audit.actor import STRIPE, SYSTEM, Actor
from app.bookings.models import Booking
from app.bookings.service import REFERENCE_ALPHABET
from app.catalog.policies import POLICIES, terms
from app.demo import vocabulary
from app.demo.catalogue import Offer, Stock
from app.demo.copying import Loading, TableCopy
from app.demo.ids import new_stripe_id, ordered_id
from app.demo.journal import Journal, change
from app.demo.people import Person
from app.demo.places import zone
from app.demo.reviews import Stayed
from app.demo.stripe_objects import StripeLoading, event_payload, intent_object, refund_object
from app.money import share
from app.payments.models import Payment, Refund
from app.payments.refunds import ALL_REASONS

Plot = Literal[
    "paid",  # confirmed, and completed once the stay is over
    "declined_then_paid",
    "paid_late",  # after the hold ran out, and the stock was still there
    "refunded",  # paid after the hold ran out, and the stock was gone
    "expired",
    "declined",  # and given up
    "cancelled_by_guest",
    "cancelled_by_support",
    "cancelled_by_provider",
    "held",  # right now
]
Row = dict[str, Any]

_TERMS = {code: terms(code, tiers) for code, tiers in POLICIES.items()}
_PAID = ("paid", "declined_then_paid", "paid_late", "refunded")
_LATE_PAYMENT_GRACE = timedelta(hours=1)
# What a refund has that somebody asked for.
_NOT_ASKED_FOR = {
    **dict.fromkeys(("note", "client_key", "requested_by_id", "decided_by_id", "expires_at", "held_status")),
    **dict.fromkeys(("provider_minor", "commission_minor", "goodwill_minor", "submission"), 0),
    "kind": "owed_back",
}
_COMPLETED_FROM = time(12)
# How often somebody who lets a booking go had asked for its payment intent before.
_STARTED_PAYING = 0.6


@dataclass(frozen=True)
class Stay:
    """What is booked: an offer's units from `starts_on` to `ends_on`, for so many guests."""

    offer: Offer
    starts_on: date
    ends_on: date
    stock_days: tuple[date, ...]
    units: int
    guests: int


@dataclass(frozen=True)
class Terms:
    """What the product's settings say: the minutes a hold lasts, and our share of a payment."""

    hold_minutes: int
    commission_basis_points: int


class Lives:
    """Tells lives one after the other, in the order they begin."""

    def __init__(
        self,
        rng: random.Random,
        loading: Loading,
        journal: Journal,
        stripe: StripeLoading,
        stock: Stock,
        support: Actor,
        business: Terms,
        now: datetime,
    ) -> None:
        self.over = Stayed()
        self._rng = rng
        self._journal = journal
        self._stripe = stripe
        self._stock = stock
        self._support = support
        self._business = business
        self._hold_time = timedelta(minutes=business.hold_minutes)
        self._now = now
        self._booking_ids: Iterator[int] = loading.ids(Booking)
        self._payment_ids: Iterator[int] = loading.ids(Payment)
        self._refund_ids: Iterator[int] = loading.ids(Refund)
        self._tables = TableCopy(Booking, loading), TableCopy(Payment, loading), TableCopy(Refund, loading)
        # Of the life that is being told.
        self._refunds: list[Row] = []
        self._events: list[Row] = []

    def send(self) -> None:
        """Copy the lives told so far."""
        for table in self._tables:
            table.send()

    def tell(self, plot: Plot, at: datetime, person: Person, stay: Stay) -> None:
        """One booking, held at that moment."""
        bookings, payments, refunds = self._tables
        self._refunds, self._events = [], []
        booking = self._hold(at, person, stay)
        payment = self._plots(plot, at, person, booking)
        taken = {"PENDING_PAYMENT": "held", "CONFIRMED": "booked", "COMPLETED": "booked"}.get(booking["status"])
        self._stock.note(stay.offer, stay.stock_days, **({taken: stay.units} if taken else {}))
        bookings.add(booking)
        if booking["status"] == "COMPLETED":
            self.over.note(booking)
        if payment is not None:
            payments.add(payment)
            self._stripe.add(payment, booking["reference"], self._refunds, self._events)
        for refund in self._refunds:
            refunds.add(refund)

    def _plots(self, plot: Plot, at: datetime, person: Person, booking: Row) -> Row | None:
        if plot not in _PAID and plot != "declined" and self._rng.random() > _STARTED_PAYING:
            payment = None
        else:
            payment = self._open_payment(at + self._hold_time * self._rng.uniform(0.02, 0.1), person, booking)
        if payment is not None and plot in ("declined_then_paid", "declined"):
            self._decline(at + self._hold_time * self._rng.uniform(0.15, 0.35), booking, payment)

        if plot in ("paid_late", "refunded", "expired", "declined"):
            over_at = self._expire(booking, payment)
        elif plot.startswith("cancelled"):
            over_at = at + self._hold_time * self._rng.uniform(0.4, 0.8)
            self._cancel(over_at, plot, person, booking, payment)
        else:
            over_at = None
        if payment is not None and plot in _PAID:
            if over_at is None:
                paid_at = at + self._hold_time * self._rng.uniform(0.4, 0.8)
            else:
                paid_at = over_at + timedelta(minutes=self._rng.uniform(2, 25))
            self._pay(paid_at, booking, payment, seats=plot != "refunded")
        if payment is not None and payment["due_at"] is not None:
            self._close_intent(booking, payment)
        if booking["status"] == "CONFIRMED":
            self._complete(booking)
        return payment

    def _hold(self, at: datetime, person: Person, stay: Stay) -> Row:
        offer = stay.offer
        letters = "".join(self._rng.choices(REFERENCE_ALPHABET, k=10))
        prices = [offer.price_on(day) for day in stay.stock_days]
        unit = "departure" if offer.is_tour else "date"
        booking = {
            "id": next(self._booking_ids),
            "reference": f"TD-{letters[:5]}-{letters[5:]}",
            "status": "PENDING_PAYMENT",
            "traveller_id": person.id,
            "package_id": offer.id,
            "provider_id": offer.provider_id,
            "package_name": offer.name,
            "starts_on": stay.starts_on,
            "ends_on": stay.ends_on,
            "time_zone": offer.time_zone,
            "units": stay.units,
            "guests": stay.guests,
            "nights": [
                {unit: day.isoformat(), "price": price} for day, price in zip(stay.stock_days, prices, strict=True)
            ],
            "total_minor": stay.units * sum(prices),
            "currency": "USD",
            "policy": _TERMS[offer.policy],
            "expires_at": at + self._hold_time,
            "created_at": at,
            "confirmed_at": None,
            "expired_at": None,
            "cancelled_at": None,
            "completed_at": None,
            "cancel_reason": None,
        }
        self._journal.audit(at, person.actor, "booking.hold", _subject(Booking, booking), (None, dict(booking)))
        return booking

    def _open_payment(self, at: datetime, person: Person, booking: Row) -> Row:
        total: int = booking["total_minor"]
        request_id = self._journal.new_request_id(at)
        payment = {
            "id": next(self._payment_ids),
            "booking_id": booking["id"],
            "provider_id": booking["provider_id"],
            "status": "REQUIRES_PAYMENT",
            "amount_minor": total,
            "commission_minor": share(total, self._business.commission_basis_points),
            "fee_minor": None,
            "refunded_minor": 0,
            "disputed_minor": 0,
            "currency": booking["currency"],
            "idempotency_key": f"pay_{ordered_id(self._rng, at, 32)}",
            "stripe_payment_intent_id": None,
            "stripe_charge_id": None,
            "failure_code": None,
            "failure_message": None,
            "created_at": at,
            "succeeded_at": None,
            "cancelled_at": None,
            "due_at": None,
            "leased_until": None,
            "attempts": 0,
            "last_error": None,
            "request_id": request_id,
        }
        self._journal.audit(
            at,
            person.actor,
            "payment.open",
            _subject(Payment, payment),
            (None, dict(payment)),
            request_id=request_id,
        )
        # Noted once Stripe has answered; that is no step of its own in the audit trail.
        payment["stripe_payment_intent_id"] = new_stripe_id(self._rng, "pi", at)
        return payment

    def _decline(self, at: datetime, booking: Row, payment: Row) -> None:
        refusal = self._rng.choice(vocabulary.REFUSALS)
        changed = change(
            Payment, payment, status="FAILED", failure_code=refusal.code, failure_message=refusal.message
        )  # fmt: skip
        processed_at, request_id = self._told("payment_intent.payment_failed", at, booking, payment)
        self._journal.audit(
            processed_at, STRIPE, "payment.failed", _subject(Payment, payment), changed, request_id=request_id
        )

    def _pay(self, at: datetime, booking: Row, payment: Row, *, seats: bool) -> None:
        """Stripe takes the money at that moment and tells of it; `seats` says whether the booking can take it."""
        charged_at = at.replace(microsecond=0)
        charge_id, fee_minor = new_stripe_id(self._rng, "ch", charged_at), _stripe_fee(payment["amount_minor"])
        captured = change(
            Payment,
            payment,
            status="SUCCEEDED",
            fee_minor=fee_minor,
            stripe_charge_id=charge_id,
            failure_code=None,
            failure_message=None,
            succeeded_at=charged_at,
            due_at=None,
        )
        processed_at, request_id = self._told("payment_intent.succeeded", charged_at, booking, payment)
        if seats:
            late = booking["status"] == "EXPIRED"
            self._journal.audit(
                processed_at,
                STRIPE,
                "booking.confirm",
                _subject(Booking, booking),
                change(Booking, booking, status="CONFIRMED", confirmed_at=processed_at),
                request_id=request_id,
                reason="Paid after the hold ran out; the stock was still there." if late else None,
            )
            commission: int = payment["commission_minor"]
            amounts = {
                "capture.provider_share": payment["amount_minor"] - commission,
                "capture.commission": commission,
                "capture.stripe_fee": fee_minor,
            }
        else:
            amounts = {"capture.owed_back": payment["amount_minor"], "capture.stripe_fee": fee_minor}
        self._journal.post(processed_at, payment, amounts, source_id=charge_id)
        self._journal.audit(
            processed_at, STRIPE, "payment.captured", _subject(Payment, payment), captured, request_id=request_id
        )
        if not seats:
            self._refund(processed_at, booking, payment, request_id)

    def _refund(self, at: datetime, booking: Row, payment: Row, request_id: str) -> None:
        """All of a payment goes back at once."""
        submitted_at = at + timedelta(seconds=self._rng.uniform(0.1, 0.8))
        paid_at = submitted_at + timedelta(seconds=self._rng.uniform(0.3, 1.5))
        refund: Row = {
            "id": next(self._refund_ids),
            "payment_id": payment["id"],
            "status": "APPROVED",
            "amount_minor": payment["amount_minor"],
            "currency": payment["currency"],
            "reason": "late_payment",
            **_NOT_ASKED_FOR,
            "decided_at": at,
            "idempotency_key": f"refund_{ordered_id(self._rng, at, 32)}",
            "stripe_refund_id": None,
            "failure_reason": None,
            "created_at": at,
            "submitted_at": None,
            "succeeded_at": None,
            "failed_at": None,
            "due_at": at,
            "leased_until": at + timedelta(seconds=30),
            "attempts": 0,
            "last_error": None,
            "request_id": request_id,
        }
        subject = _subject(Refund, refund)
        self._journal.audit(
            at,
            SYSTEM,
            "refund.approve",
            subject,
            (None, dict(refund)),
            request_id=request_id,
            reason=ALL_REASONS["late_payment"],
        )
        submitted = change(Refund, refund, status="SUBMITTED", submission=1, submitted_at=submitted_at)
        self._journal.audit(submitted_at, SYSTEM, "refund.submit", subject, submitted, request_id=request_id)
        succeeded = change(
            Refund,
            refund,
            status="SUCCEEDED",
            stripe_refund_id=new_stripe_id(self._rng, "re", submitted_at),
            succeeded_at=paid_at,
            due_at=None,
            leased_until=None,
        )
        amounts = {"refund.paid": refund["amount_minor"]}
        self._journal.post(paid_at, payment, amounts, source_id=refund["stripe_refund_id"])
        returned = change(Payment, payment, status="REFUNDED", refunded_minor=refund["amount_minor"])
        self._journal.audit(
            paid_at, STRIPE, "payment.refunded", _subject(Payment, payment), returned, request_id=request_id
        )
        self._journal.audit(paid_at, STRIPE, "refund.succeeded", subject, succeeded, request_id=request_id)
        self._told("refund.created", submitted_at.replace(microsecond=0), booking, payment, refund)
        self._refunds.append(refund)

    def _expire(self, booking: Row, payment: Row | None) -> datetime:
        expired_at: datetime = booking["expires_at"] + timedelta(seconds=self._rng.uniform(0.5, 12))
        changed = change(Booking, booking, status="EXPIRED", expired_at=expired_at)
        request_id = self._journal.new_request_id(expired_at)
        self._journal.audit(
            expired_at, SYSTEM, "booking.expire", _subject(Booking, booking), changed, request_id=request_id
        )
        if payment is not None:
            _close_later(payment, expired_at, request_id)
        return expired_at

    def _cancel(self, at: datetime, plot: Plot, person: Person, booking: Row, payment: Row | None) -> None:
        by, reason = self._support, None
        if plot == "cancelled_by_guest":
            by = person.actor
        elif plot == "cancelled_by_support":
            reason = self._rng.choice(vocabulary.CANCELLED_BY_SUPPORT)
        else:
            reason = self._rng.choice(vocabulary.CANCELLED_BY_PROVIDER)
        changed = change(Booking, booking, status=plot.upper(), cancelled_at=at, cancel_reason=reason)
        request_id = self._journal.new_request_id(at)
        self._journal.audit(
            at, by, "booking.cancel", _subject(Booking, booking), changed, reason=reason, request_id=request_id
        )
        if payment is not None:
            _close_later(payment, at, request_id)

    def _close_intent(self, booking: Row, payment: Row) -> None:
        """A while after a booking was let go, nobody may pay for it any more."""
        asked_at: datetime = payment["due_at"] + timedelta(seconds=self._rng.uniform(0.5, 5))
        closed_at = asked_at + timedelta(seconds=self._rng.uniform(0.2, 0.6))
        payment["leased_until"] = asked_at + timedelta(seconds=30)
        before, after = change(
            Payment, payment, status="CANCELLED", cancelled_at=closed_at, due_at=None, leased_until=None
        )
        self._journal.audit(
            closed_at,
            SYSTEM,
            "payment.cancelled",
            _subject(Payment, payment),
            (before, {**after, "intent": "canceled"}),
            request_id=payment["request_id"],
        )
        self._told("payment_intent.canceled", asked_at.replace(microsecond=0), booking, payment)

    def _complete(self, booking: Row) -> None:
        over = datetime.combine(booking["ends_on"], _COMPLETED_FROM, zone(booking["time_zone"]))
        completed_at = over.astimezone(self._now.tzinfo) + timedelta(seconds=self._rng.uniform(1, 290))
        if completed_at < self._now:
            change(Booking, booking, status="COMPLETED", completed_at=completed_at)
            changed = {"status": "CONFIRMED"}, {"status": "COMPLETED"}
            self._journal.audit(completed_at, SYSTEM, "booking.complete", _subject(Booking, booking), changed)

    def _told(
        self, kind: str, at: datetime, booking: Row, payment: Row, refund: Row | None = None
    ) -> tuple[datetime, str]:
        """Stripe's event of a payment arrives and is worked through; returns when, and under which request id."""
        request_id = self._journal.new_request_id(at)
        received_at = at + timedelta(seconds=self._rng.uniform(1, 2.5))
        processed_at = received_at + timedelta(seconds=self._rng.uniform(0.05, 0.6))
        subject = refund_object(refund, payment) if refund else intent_object(payment, booking["reference"])
        event = event_payload(new_stripe_id(self._rng, "evt", at), kind, at, subject)
        self._events.append(event)
        self._journal.event(
            event,
            happened_at=at,
            received_at=received_at,
            processed_at=processed_at,
            intent_id=payment["stripe_payment_intent_id"],
            request_id=request_id,
        )
        return processed_at, request_id


def _close_later(payment: Row, at: datetime, request_id: str) -> None:
    payment.update(due_at=at + _LATE_PAYMENT_GRACE, request_id=request_id)


def _subject(model: Any, row: Row) -> tuple[str, int]:
    return model.__tablename__, row["id"]


def _stripe_fee(amount_minor: int) -> int:
    """Stripe's US price for cards, 2.9 % + 30 cents, rounded half up, as the local Stripe charges it."""
    return (amount_minor * 29 + 500) // 1000 + 30
