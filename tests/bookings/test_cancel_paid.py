"""Cancelling what is paid: what comes back, who keeps what, the stock, and one outcome whoever else is at it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from sqlalchemy import select, text

from app.audit.actor import SYSTEM, Actor
from app.audit.models import AuditEntry
from app.bookings import cancellation
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.db import transaction
from app.errors import Conflict, Invalid, NotAllowed, NotFound, TripdeskError
from app.extensions import db
from app.money import Money
from app.notifications.models import Notification
from app.notifications.rendering import render
from app.payments import holds, ledger, refund_approval, refund_submission, refunds
from app.payments import service as payments
from app.payments.models import Payment, Refund
from tests import factories
from tests.concurrency import at_once, held_up
from tests.payments.refunding import withdrawn

ZONE = "Europe/Oslo"
PRICE = 20_000


def paid(policy: str = "moderate", *, days_before: int = 3) -> Booking:
    """A paid booking of two nights at $100 that starts in so many days, counted where it is."""
    booking = factories.paid_booking(of=factories.package(cancellation_policy=policy))
    start(booking, days_before)
    made: Booking = factories.reread(booking)
    return made


def start(booking: Booking, days_before: int) -> None:
    """Have the stay start so many days from now where it is; its stock stays that of the days it was sold for."""
    first = datetime.now(ZoneInfo(ZONE)).date() + timedelta(days=days_before)
    with transaction():
        db.session.execute(
            text("UPDATE bookings SET starts_on = :first, ends_on = :first + 2 WHERE id = :id"),
            {"first": first, "id": booking.id},
        )


def guest_of(booking: Booking) -> Actor:
    return Actor("traveller", booking.traveller_id, "The guest")


def support() -> Actor:
    return factories.actor(factories.staff("support"))


def finance() -> Actor:
    return factories.actor(factories.staff("finance"))


def payment_of(booking: Booking) -> Payment:
    payment = payments.live_payment(booking.id)
    assert payment is not None
    return payment


def refunds_of(booking: Booking) -> list[Refund]:
    db.session.rollback()
    found = select(Refund).join(Payment, Payment.id == Refund.payment_id).where(Payment.booking_id == booking.id)
    return list(db.session.scalars(found.order_by(Refund.id)))


def shown(booking: Booking) -> list[tuple[str, str, int]]:
    return [(refund.kind, refund.status, refund.amount_minor) for refund in refunds_of(booking)]


def stock_of(booking: Booking) -> set[tuple[int, int]]:
    package = db.session.get_one(Booking, booking.id).package_id
    rows = db.session.execute(
        text("SELECT held, booked FROM availability WHERE package_id = :id AND day = ANY(:days)"),
        {"id": package, "days": booking.stock_days},
    )
    return {(row.held, row.booked) for row in rows}


def mail_of(booking: Booking) -> str:
    (mail,) = db.session.scalars(
        select(Notification).where(
            Notification.object_type == "bookings",
            Notification.object_id == booking.id,
            Notification.kind == "booking_cancelled",
        )
    )
    return " ".join(render(mail.kind, name=mail.recipient_name, values=mail.values).text.split())


def unchanged(booking: Booking, before: list[tuple[str, str, int]] | None = None) -> None:
    assert factories.reread(booking).status == "CONFIRMED"
    assert shown(booking) == (before or [])
    assert stock_of(booking) == {(0, 1)}
    told = select(AuditEntry).where(AuditEntry.action == "booking.cancel", AuditEntry.object_id == booking.id)
    assert db.session.scalars(told).all() == []


# ------------------------------------------------------------------ what comes back


@pytest.mark.parametrize(
    ("policy", "days_before", "refund"),
    [("moderate", 5, 20_000), ("moderate", 3, 10_000), ("moderate", 0, 0), ("strict", 6, 0), ("flexible", 1, 20_000)],
)
def test_a_guest_gets_back_what_the_policy_gives_on_that_day(
    app: Flask, policy: str, days_before: int, refund: int
) -> None:
    booking = paid(policy, days_before=days_before)
    bookings.cancel(booking.id, by=guest_of(booking), reason="Changed my mind")
    booking = factories.reread(booking)
    assert (booking.status, booking.cancel_reason) == ("CANCELLED_BY_GUEST", "Changed my mind")
    assert shown(booking) == ([("standard", "APPROVED", refund)] if refund else [])
    assert stock_of(booking) == {(0, 0)}
    words = mail_of(booking)
    assert "You have not paid" not in words
    if refund:
        assert f"We are paying ${refund // 100}.00 back" in words
    else:
        assert "nothing of the price is paid back any more" in words


def test_the_refund_is_paid_by_both_sides_as_it_was_shown(app: Flask) -> None:
    booking = paid(days_before=3)
    preview = bookings.preview_cancel(booking.id, by=guest_of(booking))
    assert (preview.refund, preview.due.provider_minor, preview.due.commission_minor) == (
        Money(10_000, "USD"),
        8_500,
        1_500,
    )
    bookings.cancel(booking.id, by=guest_of(booking), seen=preview.refund)
    (refund,) = refunds_of(booking)
    refund_submission.submit(refund.id)
    sides = ledger.sides_of(payment_of(booking).id)
    assert (sides.provider_minor, sides.commission_minor) == (8_500, 1_500)
    assert payment_of(booking).status == "PARTIALLY_REFUNDED"
    assert factories.reread(refund).status == "SUCCEEDED"


def test_when_the_provider_cancels_everything_comes_back_whatever_the_day(app: Flask) -> None:
    booking = paid("strict", days_before=0)
    bookings.cancel(booking.id, by=support(), on_behalf_of="provider", reason="Provider closed")
    assert shown(booking) == [("standard", "APPROVED", PRICE)]
    assert factories.reread(booking).status == "CANCELLED_BY_PROVIDER"
    assert "We are paying $200.00 back" in mail_of(booking)


def test_support_cancels_by_the_policy(app: Flask) -> None:
    booking = paid(days_before=3)
    by = support()
    bookings.cancel(booking.id, by=by, on_behalf_of="support", reason="Traveller asked on the phone")
    assert shown(booking) == [("standard", "APPROVED", 10_000)]
    assert refunds_of(booking)[0].reason == "cancelled_by_support"
    entry = db.session.scalars(
        select(AuditEntry).where(AuditEntry.action == "booking.cancel", AuditEntry.object_id == booking.id)
    ).one()
    assert (entry.actor_id, entry.reason) == (by.id, "Traveller asked on the phone")
    assert {name: (entry.after or {})[name] for name in ("refund_minor", "provider_keeps_minor", "policy_percent")} == {
        "refund_minor": 10_000,
        "provider_keeps_minor": 8_500,
        "policy_percent": 50,
    }


def test_everything_beyond_the_policy_is_goodwill_that_a_second_person_approves(app: Flask) -> None:
    booking = paid(days_before=3)
    by = support()
    preview = bookings.preview_cancel(booking.id, by=by, on_behalf_of="support")
    assert preview.everything == Money(PRICE, "USD")
    assert preview.second_person is not None
    bookings.cancel(
        booking.id,
        by=by,
        on_behalf_of="support",
        reason="A death in the family",
        everything=True,
        seen=preview.everything,
    )
    assert shown(booking) == [("standard", "APPROVED", 10_000), ("goodwill", "PENDING_APPROVAL", 10_000)]
    # What somebody may still refuse is not promised.
    assert "We are paying $100.00 back" in mail_of(booking)


def test_what_was_refunded_before_counts_but_goodwill_is_a_gift(app: Flask) -> None:
    booking = paid(days_before=3)
    payment_id = payment_of(booking).id
    by = finance()
    for amount, kind, key in ((3_000, "standard", "a"), (2_000, "goodwill", "b")):
        refunds.request(payment_id, amount_minor=amount, reason="stay_problem", kind=kind, key=key, by=by)
    preview = bookings.preview_cancel(booking.id, by=guest_of(booking))
    assert (preview.refund.amount_minor, preview.due.refunded_minor) == (7_000, 3_000)
    assert preview.due.provider_minor + preview.due.commission_minor == 10_000
    bookings.cancel(booking.id, by=guest_of(booking))
    assert [amount for _, _, amount in shown(booking)] == [3_000, 2_000, 7_000]
    assert "We are paying $70.00 back" in mail_of(booking)


def test_a_request_that_nobody_approved_gives_way_to_what_the_cancellation_promises(app: Flask) -> None:
    booking = paid(days_before=3)
    asked = refunds.request(payment_of(booking).id, amount_minor=15_000, reason="stay_problem", key="a", by=support())
    assert asked.status == "PENDING_APPROVAL"
    bookings.cancel(booking.id, by=support(), on_behalf_of="provider", reason="Provider closed")
    assert shown(booking) == [("standard", "REJECTED", 15_000), ("standard", "APPROVED", PRICE)]


def test_a_request_that_is_in_nobodys_way_still_waits(app: Flask) -> None:
    booking = paid(days_before=3)
    refunds.request(payment_of(booking).id, amount_minor=10_000, reason="stay_problem", key="a", by=support())
    bookings.cancel(booking.id, by=guest_of(booking))
    assert shown(booking) == [("standard", "PENDING_APPROVAL", 10_000), ("standard", "APPROVED", 10_000)]


def test_while_refunds_are_held_it_cancels_and_the_refund_waits(app: Flask) -> None:
    booking = paid(days_before=5)
    source = f"dispute:{uuid4()}"
    holds.place(payment_of(booking).id, source=source, reason="A guest's dispute", until=None, by=SYSTEM)
    preview = bookings.preview_cancel(booking.id, by=guest_of(booking))
    assert [hold.reason for hold in preview.holds] == ["A guest's dispute"]
    bookings.cancel(booking.id, by=guest_of(booking))
    assert factories.reread(booking).status == "CANCELLED_BY_GUEST"
    assert shown(booking) == [("standard", "ON_HOLD", PRICE)]
    assert "$200.00 comes back to you. It waits" in mail_of(booking)
    holds.lift(source, by=SYSTEM, reason="Settled")
    assert shown(booking) == [("standard", "APPROVED", PRICE)]


def test_goodwill_is_refused_while_refunds_are_held_and_nothing_is_cancelled(app: Flask) -> None:
    booking = paid(days_before=3)
    source = f"dispute:{uuid4()}"
    holds.place(payment_of(booking).id, source=source, reason="A guest's dispute", until=None, by=SYSTEM)
    with pytest.raises(Conflict, match="on hold"):
        bookings.cancel(booking.id, by=support(), on_behalf_of="support", reason="Kindness", everything=True)
    unchanged(booking)


def test_what_a_dispute_withdrew_does_not_come_back_twice(app: Flask) -> None:
    booking = paid(days_before=5)
    withdrawn(payment_of(booking), 15_000)
    preview = bookings.preview_cancel(booking.id, by=guest_of(booking))
    assert "$150.00 was withdrawn by a dispute." in preview.because
    bookings.cancel(booking.id, by=guest_of(booking))
    assert shown(booking) == [("standard", "APPROVED", 5_000)]


def test_a_tour_is_cancelled_with_its_places(app: Flask) -> None:
    package = factories.tour(cancellation_policy="flexible")
    booking = factories.paid_booking(of=package, units=3)
    assert stock_of(booking) == {(0, 3)}
    bookings.cancel(booking.id, by=guest_of(booking))
    assert shown(booking) == [("standard", "APPROVED", booking.total_minor)]
    assert stock_of(booking) == {(0, 0)}


# ------------------------------------------------------------------ refusals


def test_what_changed_since_it_was_shown_is_said_and_nothing_is_cancelled(app: Flask) -> None:
    booking = paid(days_before=5)
    seen = bookings.preview_cancel(booking.id, by=guest_of(booking)).refund
    start(booking, 4)
    with pytest.raises(Conflict, match=r"\$100\.00 now, not \$200\.00 as it was shown\. .*4 days before") as refusal:
        bookings.cancel(booking.id, by=guest_of(booking), seen=seen)
    assert "Nothing was cancelled" in refusal.value.detail
    unchanged(booking)


def test_another_currency_than_was_shown_is_refused(app: Flask) -> None:
    booking = paid(days_before=5)
    with pytest.raises(Conflict, match=r"not €200\.00"):
        bookings.cancel(booking.id, by=guest_of(booking), seen=Money(PRICE, "EUR"))
    unchanged(booking)


def test_a_guest_cannot_cancel_a_stay_that_began_but_staff_can(app: Flask) -> None:
    booking = paid(days_before=-1)
    with pytest.raises(Conflict, match=r"began on .*can't be cancelled any more"):
        bookings.cancel(booking.id, by=guest_of(booking))
    with pytest.raises(Conflict, match="began on"):
        bookings.preview_cancel(booking.id, by=guest_of(booking))
    unchanged(booking)
    bookings.cancel(booking.id, by=support(), on_behalf_of="provider", reason="The house burnt down")
    assert shown(booking) == [("standard", "APPROVED", PRICE)]


@pytest.mark.parametrize("on_behalf_of", ["support", "provider"])
def test_nobody_cancels_a_stay_that_is_over(app: Flask, on_behalf_of: str) -> None:
    booking = paid(days_before=-2)
    with pytest.raises(Conflict, match=r"ended on .*can't be cancelled any more"):
        bookings.cancel(booking.id, by=support(), on_behalf_of=on_behalf_of, reason="Too late")
    unchanged(booking)


def test_a_completed_stay_is_not_cancelled(app: Flask) -> None:
    booking = paid(days_before=-2)
    bookings.complete(booking.id, by=support(), reason="Traveller has left")
    with pytest.raises(Conflict, match="This booking is completed"):
        bookings.cancel(booking.id, by=support(), on_behalf_of="support", reason="Too late")
    assert (factories.reread(booking).status, shown(booking), stock_of(booking)) == ("COMPLETED", [], {(0, 1)})


@pytest.mark.parametrize("reason", [None, " "])
def test_staff_say_why(app: Flask, reason: str | None) -> None:
    booking = paid()
    with pytest.raises(Invalid, match="Say why"):
        bookings.cancel(booking.id, by=support(), on_behalf_of="provider", reason=reason)
    unchanged(booking)


def test_finance_and_other_guests_may_neither_cancel_nor_look(app: Flask) -> None:
    booking = paid()
    for ask in (bookings.cancel, bookings.preview_cancel):
        with pytest.raises(NotAllowed):
            ask(booking.id, by=finance(), on_behalf_of="support")
        with pytest.raises(NotFound):
            ask(booking.id, by=factories.actor())
    unchanged(booking)


def test_a_booking_that_was_paid_meanwhile_is_not_cancelled_as_an_unpaid_one(app: Flask) -> None:
    booking = paid(days_before=3)
    with pytest.raises(Conflict, match=r"\$100\.00 now, not \$0\.00"):
        bookings.cancel(booking.id, by=support(), on_behalf_of="support", reason="Fraud", seen=Money(0, "USD"))
    unchanged(booking)


# ------------------------------------------------------------------ at once


def test_many_who_cancel_at_once_make_one_refund(app: Flask) -> None:
    booking = paid(days_before=3)
    booking_id, guest, staff = booking.id, guest_of(booking), support()
    calls: list[Callable[[], Any]] = [lambda: bookings.cancel(booking_id, by=guest)] * 4
    calls += [lambda: bookings.cancel(booking_id, by=staff, on_behalf_of="provider", reason="Closed")] * 4
    outcomes = at_once(app, *calls)
    assert sum(isinstance(outcome, Booking) for outcome in outcomes) == 1
    assert all(isinstance(outcome, (Booking, TripdeskError)) for outcome in outcomes)
    amount = 10_000 if factories.reread(booking).status == "CANCELLED_BY_GUEST" else PRICE
    assert shown(booking) == [("standard", "APPROVED", amount)]
    assert stock_of(booking) == {(0, 0)}


def test_a_stay_is_either_completed_or_cancelled(app: Flask) -> None:
    booking = paid(days_before=-1)
    booking_id, staff = booking.id, support()
    with transaction():
        db.session.execute(text("UPDATE bookings SET ends_on = ends_on + 1 WHERE id = :id"), {"id": booking_id})
        ended = held_up(
            app, lambda: bookings.cancel(booking_id, by=staff, on_behalf_of="provider", reason="Closed mid-stay")
        )
        over = date(2026, 1, 2)
        db.session.execute(
            text("UPDATE bookings SET starts_on = :over - 1, ends_on = :over WHERE id = :id"),
            {"over": over, "id": booking_id},
        )
        bookings.complete_due()
    assert isinstance(ended(), Conflict)
    assert (factories.reread(booking).status, shown(booking), stock_of(booking)) == ("COMPLETED", [], {(0, 1)})


def test_a_refund_asked_for_while_it_is_cancelled_never_makes_more_than_was_paid(app: Flask) -> None:
    booking = paid(days_before=5)
    booking_id, guest, clerk, payment_id = booking.id, guest_of(booking), finance(), payment_of(booking).id

    def refund() -> Refund:
        return refunds.request(payment_id, amount_minor=5_000, reason="stay_problem", key="x", by=clerk)

    outcomes = at_once(app, lambda: bookings.cancel(booking_id, by=guest), refund)
    assert factories.reread(booking).status == "CANCELLED_BY_GUEST"
    assert sum(amount for _, _, amount in shown(booking)) == PRICE
    assert all(isinstance(outcome, (Booking, Refund, Conflict)) for outcome in outcomes)


def test_a_hold_placed_while_it_is_cancelled_catches_the_refund(app: Flask) -> None:
    booking = paid(days_before=5)
    booking_id, guest, payment_id = booking.id, guest_of(booking), payment_of(booking).id
    source = f"dispute:{uuid4()}"
    at_once(
        app,
        lambda: bookings.cancel(booking_id, by=guest),
        lambda: holds.place(payment_id, source=source, reason="A dispute", until=None, by=SYSTEM),
    )
    assert shown(booking) == [("standard", "ON_HOLD", PRICE)]


def test_the_refunds_of_a_cancellation_are_told_apart_from_others(app: Flask) -> None:
    booking = paid(days_before=3)
    payment_id = payment_of(booking).id
    refunds.request(payment_id, amount_minor=1_000, reason="stay_problem", key="a", by=finance())
    bookings.cancel(booking.id, by=support(), on_behalf_of="support", reason="Kindness", everything=True)
    assert [refund.amount_minor for refund in cancellation.refunds_of(booking)] == [9_000, 10_000]
    (goodwill,) = [refund for refund in refunds_of(booking) if refund.kind == "goodwill"]
    refund_approval.approve(goodwill.id, by=finance())
    assert factories.reread(goodwill).status == "APPROVED"
