"""Cancelling from a booking's page: what comes back and who keeps what, shown before it is confirmed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask import request

from app.audit.actor import Actor
from app.bookings import cancellation
from app.bookings import service as bookings
from app.bookings.cancellation import Preview
from app.bookings.models import Booking
from app.console.base import MAX_ID
from app.console.formatting import money
from app.console.record import Action, Blocked, Choice
from app.errors import Conflict, Invalid
from app.money import Money

REASONS = {
    "support": ("Traveller asked on the phone or by mail", "Booked by mistake or twice", "Looks like fraud"),
    "provider": ("Provider can't offer these days", "Provider closed or suspended"),
}
REASON_HINT = "Kept in the booking's history. The traveller does not see it."
_WAYS = (("support", "Cancel the booking", "c"), ("provider", "Cancel for the provider", None))
_POLICY, _EVERYTHING = "policy", "everything"


def cancel_actions(booking: Booking, href: str, by: Actor) -> tuple[list[Action], list[Blocked]]:
    """The ways to cancel it now, each with its dialog; or why nobody can. The rules are the verb's."""
    if booking.status not in ("PENDING_PAYMENT", "CONFIRMED"):
        return [], []
    try:
        return [
            _action(bookings.preview_cancel(booking.id, by=by, on_behalf_of=on_behalf_of), label, key, href)
            for on_behalf_of, label, key in _WAYS
        ], []
    except Conflict as refusal:
        return [], [Blocked("Cancel", refusal.detail)]


def choice_sent(currency: str) -> tuple[bool, Money]:
    """Whether everything is to come back, and how much the dialog showed for that. Raises Invalid."""
    choice = request.form.get("choice", _POLICY)
    if choice not in (_POLICY, _EVERYTHING):
        raise Invalid.field("choice", "Choose what comes back.")
    # Of what isn't paid, the dialog shows nothing.
    shown = request.form.get(f"shown-{choice}", "0")
    if not (shown.isascii() and shown.isdigit()) or len(shown) > len(str(MAX_ID)):
        raise Invalid.field("choice", "Load the page again: what it sent is not what it was given.")
    return choice == _EVERYTHING, Money(int(shown), currency)


def cancelled_in_words(booking: Booking) -> str:
    """What was done, for whoever did it: the refunds, and whether they wait."""
    said = [f"{booking.reference} is cancelled, its stock is free again."]
    waiting = {"ON_HOLD": " waits until refunds are free again", "PENDING_APPROVAL": " waits for a second person"}
    for refund in cancellation.refunds_of(booking):
        what = "Goodwill" if refund.kind == "goodwill" else "The refund"
        amount = money(refund.amount_minor, refund.currency)
        said.append(f"{what} of {amount}{waiting.get(refund.status, ' is on its way')}.")
    return " ".join(said)


def _action(preview: Preview, label: str, key: str | None, href: str) -> Action:
    booking, on_behalf_of = preview.booking, preview.on_behalf_of
    is_paid = booking.status == "CONFIRMED"
    return Action(
        name=f"cancel-{on_behalf_of}",
        label=label,
        href=f"{href}cancel/{on_behalf_of}",
        explain=_explained(preview),
        key=key,
        danger=True,
        needs_reason=True,
        reasons=REASONS[on_behalf_of],
        reason_hint=REASON_HINT,
        typed=booking.reference,
        statement=_statement(preview) if is_paid else None,
        choices_title="What comes back",
        choices=_choices(preview) if is_paid else (),
        hidden={
            f"shown-{_POLICY}": str(preview.refund.amount_minor),
            f"shown-{_EVERYTHING}": str(preview.everything.amount_minor),
        }
        if is_paid
        else {},
    )


def _explained(preview: Preview) -> str:
    booking = preview.booking
    units = f"{booking.units} {'unit' if booking.units == 1 else 'units'}"
    days = len(booking.stock_days)
    stock = f"Gives {units} back for {days} {'day' if days == 1 else 'days'}."
    if booking.status != "CONFIRMED":
        return f"{stock} Nothing was paid, so nothing is refunded."
    return f"{stock} {preview.because}"


def _statement(preview: Preview) -> dict[str, Any]:
    due, currency = preview.due, preview.booking.currency

    def amount(label: str, minor: int, kind: str, hint: str | None = None) -> dict[str, Any]:
        return {"label": label, "hint": hint, "amount": Money(minor, currency).json(), "kind": kind}

    lines = [amount("Paid", due.paid_minor, "line")]
    lines += [
        amount(label, -minor, "line")
        for label, minor in (
            ("Refunded before", due.refunded_minor),
            ("Goodwill before", due.goodwill_minor),
            ("Withdrawn by a dispute", due.disputed_minor),
        )
        if minor
    ]
    lines += [
        amount("Refund", due.refund_minor, "total"),
        amount("Provider keeps", due.provider_minor, "muted"),
        amount("Commission kept", due.commission_minor, "muted"),
    ]
    return {"lines": lines, "note": " ".join(_notes(preview)) or None}


def _notes(preview: Preview) -> list[str]:
    policy, notes = preview.policy, []
    if preview.on_behalf_of == "support" and policy.until is not None:
        last = policy.until.astimezone(ZoneInfo(preview.booking.time_zone)) - timedelta(microseconds=1)
        space = "\N{NO-BREAK SPACE}"
        notes.append(
            f"The policy gives {policy.percent}{space}% to the end of {last.day} {last:%b %Y} there,"
            f" then {policy.next_percent}{space}%."
        )
    notes += [hold.words for hold in preview.holds]
    if preview.holds and preview.due.refund_minor:
        notes.append("The booking can be cancelled; its refund waits.")
    return notes


def _choices(preview: Preview) -> tuple[Choice, ...]:
    """What can be chosen to come back, where the policy leaves something to choose."""
    beyond = preview.due.beyond_minor
    by_policy = Choice(_POLICY, f"What the policy gives: {_written(preview.refund)}")
    # Goodwill is a request of its own, which nobody can make while refunds are held.
    if not beyond or preview.holds:
        return ()
    extra = f"{_written(Money(beyond, preview.booking.currency))} more, as goodwill that Tripdesk bears."
    hint = f"{extra} {preview.second_person}" if preview.second_person else extra
    return by_policy, Choice(_EVERYTHING, f"Everything: {_written(preview.everything)}", hint)


def _written(amount: Money) -> str:
    return money(amount.amount_minor, amount.currency)
