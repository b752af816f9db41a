"""What travellers are told of their bookings: each fact once, in its own transaction, on the booking's timeline."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from app.audit.actor import SYSTEM
from app.bookings import service as bookings
from app.bookings import story
from app.bookings.models import Booking
from app.catalog.models import Package
from app.db import lock, transaction, utcnow
from app.errors import Conflict
from app.extensions import db
from app.notifications.models import Notification
from app.notifications.rendering import Rendered, render
from app.payments import stripe_gateway
from app.payments.stripe_objects import Intent
from tests import factories
from tests.concurrency import at_once


def mails_of(booking: Booking) -> list[Notification]:
    db.session.rollback()
    about = select(Notification).where(Notification.object_type == "bookings", Notification.object_id == booking.id)
    return list(db.session.scalars(about.order_by(Notification.id)))


def told(booking: Booking) -> list[str]:
    return [mail.kind for mail in mails_of(booking)]


def read(mail: Notification) -> Rendered:
    """As its reader sees it."""
    return render(mail.kind, name=mail.recipient_name, values=mail.values)


def run_out(booking: Booking) -> None:
    with transaction():
        lock(Booking, booking.id).expires_at = utcnow() - timedelta(seconds=1)


def declined(booking: Booking) -> Intent:
    intent = factories.intent_of(booking)
    factories.confirm(intent.id, "pm_card_chargeDeclinedInsufficientFunds")
    return stripe_gateway.retrieve_intent(intent.id)


def test_a_paid_booking_is_confirmed_to_its_traveller(app: Flask) -> None:
    person = factories.traveller(name="Grace Hopper")
    booking = factories.paid_booking(by=factories.actor(person))
    (mail,) = mails_of(booking)
    assert (mail.kind, mail.recipient, mail.recipient_name) == ("booking_confirmed", person.email, "Grace Hopper")
    text = read(mail).text
    assert f"Reference:  {booking.reference}" in text
    assert "payment of $200.00" in text
    assert f"{booking.starts_on:%A} {booking.starts_on.day} {booking.starts_on:%B %Y}" in text
    assert "2 nights" in text
    assert "(Europe/Oslo time)" in text
    assert "until" in text.lower()


def test_a_tour_is_told_of_as_a_departure(app: Flask) -> None:
    booking = factories.paid_booking(of=factories.tour(time_zone="Asia/Tokyo", city="Tokyo", country="Japan"), units=2)
    text = read(mails_of(booking)[0]).text
    assert "Departure:  " in text
    assert "2 places" in text
    assert "(Asia/Tokyo time)" in text
    assert "night" not in text


def test_a_payment_told_of_many_times_at_once_is_confirmed_once(app: Flask) -> None:
    booking = factories.booking()
    intent = factories.intent_of(booking)
    assert factories.confirm(intent.id).ok
    paid = stripe_gateway.retrieve_intent(intent.id)
    assert at_once(app, *[lambda: bookings.payment_changed(paid)] * 4) == [None] * 4
    assert told(booking) == ["booking_confirmed"]


def test_a_declined_card_is_told_of_once_with_the_time_that_is_left(app: Flask) -> None:
    booking = factories.booking()
    refused = declined(booking)
    bookings.payment_changed(refused)
    bookings.payment_changed(replace(refused, failure_message="Your card has expired.", failure_code="expired_card"))
    (mail,) = mails_of(booking)
    text = read(mail).text
    assert mail.kind == "payment_failed"
    assert "insufficient funds" in text
    assert "until " in text
    assert "(Europe/Oslo time)" in text


def test_a_card_declined_after_the_hold_is_over_is_not_told_to_try_again(app: Flask) -> None:
    booking = factories.booking()
    refused = declined(booking)
    run_out(booking)
    bookings.payment_changed(refused)
    assert told(booking) == []


def test_a_hold_that_runs_out_is_told(app: Flask) -> None:
    booking = factories.booking()
    run_out(booking)
    assert bookings.expire(booking.id)
    assert not bookings.expire(booking.id)
    assert told(booking) == ["hold_expired"]
    assert "Nothing was charged" in read(mails_of(booking)[0]).text


def test_money_that_comes_too_late_is_told_to_be_on_its_way_back(app: Flask) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    intent = factories.intent_of(booking)
    assert factories.confirm(intent.id).ok
    run_out(booking)
    bookings.expire(booking.id)
    factories.booking(of=package)
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    assert told(booking) == ["hold_expired", "late_payment_refunded"]
    text = read(mails_of(booking)[1]).text
    assert "paying all of it back, $200.00" in text
    assert "after the time to pay was over" in text


def test_money_for_a_cancelled_booking_is_told_to_be_on_its_way_back(app: Flask) -> None:
    booking = factories.booking()
    intent = factories.intent_of(booking)
    assert factories.confirm(intent.id).ok
    bookings.cancel(booking.id, by=SYSTEM, on_behalf_of="support", reason="Looks like fraud")
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    assert told(booking) == ["booking_cancelled", "late_payment_refunded"]
    assert "after this booking was cancelled" in read(mails_of(booking)[1]).text


@pytest.mark.parametrize(
    ("on_behalf_of", "words"),
    [
        ("guest", "As you asked"),
        ("provider", "can't host you on these days"),
        ("support", "Our support team has cancelled this booking"),
    ],
)
def test_a_cancelled_booking_is_told_by_whom_and_without_the_house_reason(
    app: Flask, on_behalf_of: str, words: str
) -> None:
    person = factories.actor()
    booking = factories.booking(by=person)
    by = person if on_behalf_of == "guest" else SYSTEM
    bookings.cancel(booking.id, by=by, on_behalf_of=on_behalf_of, reason="Looks like fraud")
    (mail,) = mails_of(booking)
    rendered = read(mail)
    assert words in rendered.text
    assert "fraud" not in f"{rendered.text}{rendered.html}{mail.values}"


def test_a_refused_cancellation_tells_nobody(app: Flask) -> None:
    booking = factories.paid_booking()
    with transaction():
        row = lock(Booking, booking.id)
        row.starts_on, row.ends_on = row.starts_on - timedelta(days=9), row.ends_on - timedelta(days=9)
    with pytest.raises(Conflict):
        bookings.cancel(booking.id, by=SYSTEM, on_behalf_of="support", reason="Asked for")
    assert told(booking) == ["booking_confirmed"]
    assert factories.reread(booking).status == "CONFIRMED"


def test_a_name_with_markup_or_a_link_in_it_does_no_harm(app: Flask) -> None:
    package: Package = factories.package(name="<script>alert(1)</script> " + "Very long name " * 40)
    booking = factories.paid_booking(
        of=package, by=factories.actor(factories.traveller(name="Win at www.evil.example"))
    )
    rendered = read(mails_of(booking)[0])
    assert "<script>" not in rendered.html
    assert "&lt;script&gt;" in rendered.html
    assert rendered.text.startswith("Hello,\n")
    assert "evil.example" not in f"{rendered.text}{rendered.html}"


def test_the_timeline_shows_each_mail_and_what_became_of_it(app: Flask) -> None:
    booking = factories.paid_booking()
    (mail,) = mails_of(booking)
    with transaction():
        row = lock(Notification, mail.id)
        row.due_at = None
        row.last_error = "The mail server refused it: 550 no such person here"
    moments = [moment for moment in story.tell(factories.reread(booking)).moments if moment.icon == "mail"]
    assert [(moment.title, moment.link) for moment in moments] == [("Mail waits to be sent: Booking confirmed", None)]
    assert moments[0].detail == "The mail server refused it: 550 no such person here"
    linked = story.tell(booking, mail_href=lambda mail_id: f"/mail/{mail_id}").moments
    assert [moment.link for moment in linked if moment.icon == "mail"] == [f"/mail/{mail.id}"]
