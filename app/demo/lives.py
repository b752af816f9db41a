"""The life of one booking, step by step as the verbs would have taken them, with everything each step leaves behind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Literal

from app.audit.actor import STRIPE, SYSTEM, Actor
from app.bookings.cancellation import REASONS
from app.bookings.models import Booking
from app.bookings.service import CANCELLED_BY, REFERENCE_ALPHABET
from app.catalog import policies
from app.catalog.policies import POLICIES, terms
from app.demo import vocabulary
from app.demo.catalogue import Offer, Stock
from app.demo.copying import Loading, TableCopy
from app.demo.disputing import Disputing
from app.demo.events import Events
from app.demo.ids import new_stripe_id, ordered_id
from app.demo.journal import Journal, change
from app.demo.people import Person
from app.demo.places import zone
from app.demo.refunding import Refunding, commission_share
from app.demo.reviews import Stayed
from app.demo.stripe_objects import StripeLoading, intent_object
from app.money import share
from app.payments.models import Payment

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
    "cancelled_when_paid",
    "refund_failed",  # as "refunded", and the bank sent it back
    "refund_waits",  # goodwill that somebody has to approve
    "disputed",  # and nobody has answered yet
    "dispute_won",
    "dispute_lost",
]
Row = dict[str, Any]

_TERMS = {code: terms(code, tiers) for code, tiers in POLICIES.items()}
_LET_GO = ("expired", "declined", "cancelled_by_guest", "cancelled_by_support", "cancelled_by_provider", "held")
_TOO_LATE = ("refunded", "refund_failed")
_LATE_PAYMENT_GRACE = timedelta(hours=1)
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
    """What the product's settings say: the minutes a hold lasts, our share of a payment, and the days in which a refund
    is approved.
    """

    hold_minutes: int
    commission_basis_points: int
    approval_days: int


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
        # The same on every run of a day: what happens to a payment later happens before its midnight.
        self._midnight = datetime.combine(now.date(), time(), now.tzinfo)
        self._booking_ids: Iterator[int] = loading.ids(Booking)
        self._payment_ids: Iterator[int] = loading.ids(Payment)
        self._tables = TableCopy(Booking, loading), TableCopy(Payment, loading)
        self._events = Events(rng, journal)
        self._refunding = Refunding(rng, loading, journal, self._events)
        self._disputing = Disputing(rng, loading, journal, self._events, self._midnight)

    def send(self) -> None:
        """Copy the lives told so far."""
        for table in (*self._tables, self._refunding, self._disputing):
            table.send()

    def tell(self, plot: Plot, at: datetime, person: Person, stay: Stay) -> None:
        """One booking, held at that moment."""
        bookings, payments = self._tables
        for part in (self._events, self._refunding, self._disputing):
            part.of_life = []
        booking = self._hold(at, person, stay)
        payment = self._plots(plot, at, person, booking)
        taken = {"PENDING_PAYMENT": "held", "CONFIRMED": "booked", "COMPLETED": "booked"}.get(booking["status"])
        self._stock.note(stay.offer, stay.stock_days, **({taken: stay.units} if taken else {}))
        bookings.add(booking)
        if booking["status"] == "COMPLETED":
            self.over.note(booking)
        if payment is not None:
            payments.add(payment)
            refunds, disputes = self._refunding.of_life, self._disputing.of_life
            self._stripe.add(payment, booking["reference"], refunds, disputes, self._events.of_life)
        self._refunding.write()
        self._disputing.write()

    def _plots(self, plot: Plot, at: datetime, person: Person, booking: Row) -> Row | None:
        if plot in _LET_GO and plot != "declined" and self._rng.random() > _STARTED_PAYING:
            payment = None
        else:
            payment = self._open_payment(at + self._hold_time * self._rng.uniform(0.02, 0.1), person, booking)
        if payment is not None and plot in ("declined_then_paid", "declined"):
            self._decline(at + self._hold_time * self._rng.uniform(0.15, 0.35), booking, payment)

        if plot in ("paid_late", "expired", "declined", *_TOO_LATE):
            over_at = self._expire(booking, payment)
        elif plot.startswith("cancelled_by"):
            over_at = at + self._hold_time * self._rng.uniform(0.4, 0.8)
            self._cancel(over_at, plot, person, booking, payment)
        else:
            over_at = None
        if payment is not None and plot not in _LET_GO:
            if over_at is None:
                paid_at = at + self._hold_time * self._rng.uniform(0.4, 0.8)
            else:
                paid_at = over_at + timedelta(minutes=self._rng.uniform(2, 25))
            self._pay(paid_at, booking, payment, seats=plot not in _TOO_LATE)
            self._afterwards(plot, person, booking, payment)
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
            self._refunding.owed_back(processed_at, payment, request_id)

    def _afterwards(self, plot: Plot, person: Person, booking: Row, payment: Row) -> None:
        """What happened to a payment once it was captured."""
        paid_at: datetime = payment["succeeded_at"]
        if plot == "refund_failed":
            self._refunding.fails(
                paid_at + timedelta(hours=self._rng.uniform(3, 20)), payment, self._refunding.of_life[0]
            )
        elif plot == "refund_waits":
            asked_at = paid_at + timedelta(hours=self._rng.uniform(3, 20))
            amount = payment["amount_minor"] * self._rng.choice((30, 40, 50, 60)) // 100 // 100 * 100
            note = self._rng.choice(vocabulary.GOODWILL)
            self._refunding.waits(
                asked_at, payment, amount, "goodwill", note, self._support, days=self._business.approval_days
            )
        elif plot == "disputed":
            due_day = self._midnight.date() + timedelta(days=self._rng.choice((1, 3, 7)))
            due_by = datetime.combine(due_day, time(23, 59, 59), self._midnight.tzinfo)
            opened_at = paid_at + timedelta(hours=self._rng.uniform(3, 20))
            self._disputing.opens(opened_at, booking, payment, person, due_by)
        elif plot in ("dispute_won", "dispute_lost"):
            self._dispute(paid_at + timedelta(days=self._rng.uniform(2, 12)), plot, person, booking, payment)
        elif plot == "cancelled_when_paid":
            self._cancel_paid(person, booking, payment)

    def _dispute(self, at: datetime, plot: Plot, person: Person, booking: Row, payment: Row) -> None:
        # Whoever paid a few days ago has not disputed it and had an answer yet.
        if at >= self._midnight - timedelta(days=6):
            return
        self._disputing.opens(at, booking, payment, person)
        self._disputing.is_answered(payment)
        self._disputing.is_decided(payment, won=plot == "dispute_won")

    def _cancel_paid(self, person: Person, booking: Row, payment: Row) -> None:
        """Some time before it begins the guest, support or the provider cancels; what the policy gives goes back."""
        begins = datetime.combine(booking["starts_on"], time(), zone(booking["time_zone"]))
        latest = min(begins - timedelta(hours=1), self._midnight - timedelta(hours=3))
        first = booking["confirmed_at"] + timedelta(minutes=20)
        if first >= latest:
            return
        at = first + (latest - first) * self._rng.random()
        side = self._rng.choices(("guest", "support", "provider"), (75, 15, 10))[0]
        by, reason = self._who_cancels(side, person)
        quote = policies.quote(
            booking["policy"],
            booking["total_minor"],
            starts_on=booking["starts_on"],
            time_zone=booking["time_zone"],
            at=at,
        )
        minor = payment["amount_minor"] if side == "provider" else quote.refund_minor
        request_id = self._journal.new_request_id(at)
        if minor:
            self._refunding.by_policy(at, payment, minor, REASONS[side], by, request_id)
        before, after = change(Booking, booking, status=CANCELLED_BY[side], cancelled_at=at, cancel_reason=reason)
        commission = commission_share(payment, minor)
        kept = {
            "refund_minor": minor,
            "provider_keeps_minor": payment["amount_minor"] - payment["commission_minor"] - (minor - commission),
            "commission_kept_minor": payment["commission_minor"] - commission,
            "policy_percent": quote.percent,
            "days_before": quote.days_before,
        }
        self._journal.audit(
            *(at, by, "booking.cancel", _subject(Booking, booking), (before, after | kept)),
            reason=reason,
            request_id=request_id,
        )

    def _who_cancels(self, side: str, person: Person) -> tuple[Actor, str | None]:
        if side == "guest":
            return person.actor, None
        said = vocabulary.CANCELLED_BY_SUPPORT if side == "support" else vocabulary.CANCELLED_BY_PROVIDER
        return self._support, self._rng.choice(said)

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
        by, reason = self._who_cancels(plot.removeprefix("cancelled_by_"), person)
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

    def _told(self, kind: str, at: datetime, booking: Row, payment: Row) -> tuple[datetime, str]:
        return self._events.told(kind, at, payment, intent_object(payment, booking["reference"]))


def _close_later(payment: Row, at: datetime, request_id: str) -> None:
    payment.update(due_at=at + _LATE_PAYMENT_GRACE, request_id=request_id)


def _subject(model: Any, row: Row) -> tuple[str, int]:
    return model.__tablename__, row["id"]


def _stripe_fee(amount_minor: int) -> int:
    """Stripe's US price for cards, 2.9 % + 30 cents, rounded half up, as the local Stripe charges it."""
    return (amount_minor * 29 + 500) // 1000 + 30
