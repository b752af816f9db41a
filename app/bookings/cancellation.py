"""What cancelling a booking would do, for whoever is about to confirm it; the verb `cancel` reckons it once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from app.audit.actor import Actor
from app.bookings.models import Booking
from app.catalog import policies
from app.db import utcnow
from app.errors import Conflict
from app.money import Money, written
from app.payments import cancellation as money
from app.payments import holds
from app.payments import service as payments
from app.payments.cancellation import Due
from app.payments.holds import Hold
from app.payments.models import Payment, Refund
from app.payments.refund_approval import why_second_person

# Why the refund is made, as `payments.refunds` calls it.
REASONS = {"guest": "cancelled", "provider": "provider_failed", "support": "cancelled_by_support"}


@dataclass(frozen=True)
class Preview:
    """What cancelling gives back at this moment, and in which words it is explained. `policy` is what the guest's own
    cancellation would give; when it is for the provider, everything is promised instead.

    `second_person` says why somebody else would have to approve the goodwill that makes it everything.
    """

    booking: Booking
    on_behalf_of: str
    policy: policies.Quote
    due: Due
    holds: list[Hold]
    second_person: str | None

    @property
    def refund(self) -> Money:
        """What goes back now."""
        return Money(self.due.refund_minor, self.booking.currency)

    @property
    def everything(self) -> Money:
        """What would go back with goodwill for all that the policy keeps."""
        return Money(self.due.refund_minor + self.due.beyond_minor, self.booking.currency)

    @property
    def because(self) -> str:
        """Why it is this much, as sentences."""
        if self.on_behalf_of == "provider":
            said = ["The provider cancels, so all of the price is promised back."]
        else:
            gives = f"{self.policy.percent}\N{NO-BREAK SPACE}%"
            said = [f"{when(self.booking, self.policy)}, where the policy gives {gives} back."]
        for minor, what in (
            (self.due.refunded_minor, "is refunded already or on its way, which counts."),
            (self.due.disputed_minor, "was withdrawn by a dispute."),
        ):
            if minor:
                said.append(f"{written(minor, self.booking.currency)} {what}")
        return " ".join(said)

    @property
    def facts(self) -> dict[str, Any]:
        """What the audit entry of the cancellation keeps beside the booking's own columns."""
        return {
            "refund_minor": self.due.refund_minor,
            "provider_keeps_minor": self.due.provider_minor,
            "commission_kept_minor": self.due.commission_minor,
            "policy_percent": self.policy.percent,
            "days_before": self.policy.days_before,
        }


def when(booking: Booking, policy: policies.Quote) -> str:
    """The day of the cancellation where the package is, and how far it is from the start, in words."""
    return f"It is {policy.today.day} {policy.today:%b %Y} in {booking.time_zone}, {_how_far(booking, policy)}"


def _how_far(booking: Booking, policy: policies.Quote) -> str:
    start = "the departure" if booking.is_tour else "check-in"
    days = abs(policy.days_before)
    if days == 0:
        return f"the day of {start}"
    far = f"{days} {'day' if days == 1 else 'days'}"
    return f"{far} {'before' if policy.days_before > 0 else 'after'} {start}"


def refuse_if_late(booking: Booking, on_behalf_of: str) -> None:
    """Raises Conflict for a stay that began, for its guest; for staff, once it is over where the package is."""
    if booking.status != "CONFIRMED":
        return
    today = datetime.now(ZoneInfo(booking.time_zone)).date()
    if on_behalf_of == "guest" and today > booking.starts_on:
        raise Conflict(
            f"This stay began on {booking.starts_on.isoformat()} ({booking.time_zone}), so it can't be cancelled any"
            " more. Ask our support if something is wrong with it."
        )
    if today >= booking.ends_on:
        raise Conflict(
            f"This stay ended on {booking.ends_on.isoformat()} ({booking.time_zone}), so it can't be cancelled any"
            " more. Refund what is due to the guest instead."
        )


def reckon(booking: Booking, payment: Payment | None, *, on_behalf_of: str, by: Actor) -> Preview:
    """What cancelling now gives back of the booking's payment. A verb that acts on it holds the locks of both."""
    policy = policies.quote(
        booking.policy, booking.total_minor, starts_on=booking.starts_on, time_zone=booking.time_zone, at=utcnow()
    )
    due = money.reckon(payment, booking.total_minor if on_behalf_of == "provider" else policy.refund_minor)
    beyond = due.beyond_minor if by.kind == "staff" else 0
    return Preview(
        booking=booking,
        on_behalf_of=on_behalf_of,
        policy=policy,
        due=due,
        holds=holds.of(payment.id) if payment is not None else [],
        second_person=why_second_person(payment, beyond, by=by) if payment is not None and beyond else None,
    )


def give_back(preview: Preview, payment: Payment | None, *, everything: bool, by: Actor) -> list[Refund]:
    """Start the refunds that were reckoned, inside the cancellation's transaction; see `payments.cancellation`."""
    if payment is None:
        return []
    reason = REASONS[preview.on_behalf_of]
    return money.give_back(payment, preview.due, reason=reason, everything=everything, by=by)


def still_due(booking: Booking, payment: Payment | None) -> int:
    """How much of what a cancellation promised, or of a payment that came too late, no refund gives back, in minor
    units: a dispute that was won since had taken it, or the refund failed. Nothing while the booking stands.
    """
    if payment is None or (booking.cancelled_at is None and not money.is_owed_back(payment)):
        return 0
    return entitlement(booking, payment).left_minor


@dataclass(frozen=True)
class Entitlement:
    """What goes back of a payment whoever asks, in minor units: by the policy, as of the cancellation or of one at this
    moment, or everything. `left_minor` is what of that no refund gives back yet; `because` says why it is this much.
    """

    minor: int
    left_minor: int
    because: str


def entitlement(booking: Booking, payment: Payment) -> Entitlement:
    """What the guest of a booking is entitled to. Requests that nobody has approved don't count as given."""
    policy = policies.quote(
        booking.policy,
        booking.total_minor,
        starts_on=booking.starts_on,
        time_zone=booking.time_zone,
        at=booking.cancelled_at or utcnow(),
    )
    if money.is_owed_back(payment):
        minor, because = booking.total_minor, "all of it, as the booking could not take the payment"
    elif booking.status == "CANCELLED_BY_PROVIDER":
        minor, because = booking.total_minor, "all of it, as the provider cancelled"
    else:
        said = "cancelled" if booking.cancelled_at else "cancelled now,"
        minor = policy.refund_minor
        because = f"{policy.percent}\N{NO-BREAK SPACE}%, {said} {_how_far(booking, policy)}"
    return Entitlement(minor, money.reckon(payment, minor).refund_minor, because)


def refunds_of(booking: Booking) -> Sequence[Refund]:
    """The refunds that the booking's cancellation began; none of another one."""
    payment = payment_of(booking)
    return money.started_by(payment.id) if payment is not None else ()


def payment_of(booking: Booking) -> Payment | None:
    """The payment that a cancellation gives back from, if the booking has one."""
    return payments.live_payment(booking.id)


def refuse_if_changed(preview: Preview, seen: Money | None, *, everything: bool) -> None:
    """Raises Conflict when something else would go back than was `seen` before confirming, saying what and why."""
    now = preview.everything if everything else preview.refund
    if seen is not None and seen != now:
        raise Conflict(
            f"What comes back is {_in_words(now)} now, not {_in_words(seen)} as it was shown. {preview.because}"
            " Nothing was cancelled: look at it again."
        )


def _in_words(amount: Money) -> str:
    return written(amount.amount_minor, amount.currency)
