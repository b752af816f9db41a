"""Cancelling a paid booking from its page: what is shown before it is confirmed is what is done, or nothing is."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from html import unescape
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from sqlalchemy import select, text

from app.audit.actor import SYSTEM
from app.bookings.models import Booking
from app.db import transaction, utcnow
from app.extensions import db
from app.payments import holds, refunds
from app.payments import service as payments
from app.payments.models import Payment, Refund
from tests import factories, queued
from tests.console.browser import Browser, signed_in
from tests.disputes.disputing import decided, disputed
from tests.payments.refunding import ask_stripe


def paid(*, days_before: int = 3) -> Booking:
    """A paid booking of two nights at $100 under the moderate policy that starts in so many days."""
    booking = factories.paid_booking()
    first = datetime.now(ZoneInfo("Europe/Oslo")).date() + timedelta(days=days_before)
    with transaction():
        db.session.execute(
            text("UPDATE bookings SET starts_on = :first, ends_on = :first + 2 WHERE id = :id"),
            {"first": first, "id": booking.id},
        )
    made: Booking = factories.reread(booking)
    return made


def payment_of(booking: Booking) -> Payment:
    payment = payments.live_payment(booking.id)
    assert payment is not None
    return payment


def page_of(booking: Booking) -> str:
    return f"/console/bookings/{booking.id}/"


def dialog(page: str, on_behalf_of: str) -> str:
    """The dialog's own part of the page."""
    found = re.search(rf'id="act-cancel-{on_behalf_of}".*?</form>', page, re.S)
    assert found is not None
    return found[0]


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def sent(form: str, booking: Booking, **values: str) -> dict[str, str]:
    """What the browser sends of a dialog."""
    hidden = dict(re.findall(r'<input type="hidden" name="(shown-\w+)" value="(\d+)">', form))
    return {**hidden, "reason": "Booked by mistake or twice", "typed": booking.reference, **values}


def cancel(browser: Browser, booking: Booking, on_behalf_of: str = "support", **values: str) -> Any:
    page = browser.get(page_of(booking)).text
    form = sent(dialog(page, on_behalf_of), booking, **values)
    return browser.post(f"{page_of(booking)}cancel/{on_behalf_of}", form, token_from=page_of(booking))


def refunds_of(booking: Booking) -> list[tuple[str, str, int]]:
    db.session.rollback()
    found = select(Refund).where(Refund.payment_id == payment_of(booking).id).order_by(Refund.id)
    return [(refund.kind, refund.status, refund.amount_minor) for refund in db.session.scalars(found)]


def test_the_dialog_says_what_comes_back_why_and_who_keeps_the_rest(app: Flask) -> None:
    booking = paid(days_before=3)
    page = signed_in(app, "support").get(page_of(booking)).text
    said = words(dialog(page, "support"))
    today = datetime.now(ZoneInfo("Europe/Oslo"))
    for part in (
        f"It is {today.day} {today:%b %Y} in Europe/Oslo, 3 days before check-in, where the policy gives 50 % back.",
        "Gives 1 unit back for 2 days.",
        "Paid $200.00",
        "Refund $100.00",
        "Provider keeps $85.00",
        "Commission kept $15.00",
        f"The policy gives 50 % to the end of {(today + timedelta(days=2)).day} ",
        "then 0 %.",
        "What the policy gives: $100.00",
        "Everything: $200.00",
        "somebody from finance or an admin approves them",
    ):
        assert part in said, part
    said = words(dialog(page, "provider"))
    for part in (
        "all of the price is promised back",
        "Refund $200.00",
        "Provider keeps $0.00",
        "Commission kept $0.00",
    ):
        assert part in said, part
    assert "What the policy gives" not in said


def test_what_went_back_before_is_told_apart(app: Flask) -> None:
    booking, finance = paid(days_before=3), factories.actor(factories.staff("finance"))
    for kind, minor in (("goodwill", 1_500), ("standard", 2_000)):
        refunds.request(
            payment_of(booking).id, amount_minor=minor, reason="other", note="Cold", kind=kind, key=kind, by=finance
        )
    said = words(dialog(signed_in(app, "support").get(page_of(booking)).text, "support"))
    for part in ("Refunded before −$20.00", "Goodwill before −$15.00", "Refund $80.00"):
        assert part in said, part


def test_it_is_done_as_it_was_shown(app: Flask) -> None:
    booking = paid(days_before=3)
    browser = signed_in(app, "support")
    assert cancel(browser, booking).status_code == 302
    page = browser.get(page_of(booking)).text
    assert "The refund of $100.00 is on its way." in words(page)
    assert factories.reread(booking).status == "CANCELLED_BY_SUPPORT"
    assert refunds_of(booking) == [("standard", "APPROVED", 10_000)]


def test_everything_goes_back_when_a_second_person_says_so_too(app: Flask) -> None:
    booking = paid(days_before=3)
    browser = signed_in(app, "support")
    assert cancel(browser, booking, choice="everything").status_code == 302
    assert "Goodwill of $100.00 waits for a second person." in words(browser.get(page_of(booking)).text)
    assert refunds_of(booking) == [("standard", "APPROVED", 10_000), ("goodwill", "PENDING_APPROVAL", 10_000)]


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"shown-policy": "20000"}, 409),
        ({"shown-policy": "0"}, 409),
        ({"choice": "everything", "shown-everything": "10000"}, 409),
        ({"shown-policy": "-1"}, 422),
        ({"shown-policy": "9" * 30}, 422),
        ({"choice": "half"}, 422),
        ({"reason": ""}, 422),
        ({"typed": "TD"}, 422),
    ],
)
def test_what_was_not_shown_or_said_is_refused(app: Flask, values: dict[str, str], status: int) -> None:
    booking = paid(days_before=3)
    answer = cancel(signed_in(app, "support"), booking, **values)
    assert answer.status_code == status
    assert factories.reread(booking).status == "CONFIRMED"
    assert refunds_of(booking) == []


def test_a_form_of_before_it_was_paid_is_refused(app: Flask) -> None:
    booking = paid(days_before=3)
    browser = signed_in(app, "support")
    form = {"reason": "Looks like fraud", "typed": booking.reference}
    answer = browser.post(f"{page_of(booking)}cancel/support", form, token_from=page_of(booking))
    assert answer.status_code == 409
    assert "$100.00 now, not $0.00" in words(answer.text)
    assert refunds_of(booking) == []


def test_money_moves_only_for_who_shows_that_it_is_them(app: Flask) -> None:
    booking = paid(days_before=3)
    browser = signed_in(app, "support")
    with transaction():
        db.session.execute(text("UPDATE staff_sessions SET proven_at = :at"), {"at": utcnow() - timedelta(hours=2)})
    answer = cancel(browser, booking)
    assert answer.status_code == 403
    assert 'name="shown-policy"' in answer.text
    assert factories.reread(booking).status == "CONFIRMED"
    assert refunds_of(booking) == []
    form = {
        "reason": "Looks like fraud",
        "typed": booking.reference,
        "shown-policy": "10000",
        "proof": factories.PASSWORD,
    }
    assert browser.post(f"{page_of(booking)}cancel/support", form, token_from=page_of(booking)).status_code == 302
    assert refunds_of(booking) == [("standard", "APPROVED", 10_000)]


def test_while_refunds_are_held_the_dialog_says_so_and_offers_no_goodwill(app: Flask) -> None:
    booking = paid(days_before=3)
    holds.place(payment_of(booking).id, source=f"dispute:{uuid4()}", reason="A dispute", until=None, by=SYSTEM)
    browser = signed_in(app, "support")
    said = words(dialog(browser.get(page_of(booking)).text, "support"))
    held = "Refunds of this payment are on hold until the dispute is decided: A dispute."
    assert f"{held} The booking can be cancelled; its refund waits." in said
    assert "Everything" not in said
    assert cancel(browser, booking).status_code == 302
    assert "The refund of $100.00 waits until refunds are free again." in words(browser.get(page_of(booking)).text)
    assert refunds_of(booking) == [("standard", "ON_HOLD", 10_000)]


def test_what_a_dispute_kept_from_the_guest_is_still_due_once_it_is_won_and_one_click_from_its_preview(
    app: Flask,
) -> None:
    booking = paid(days_before=3)
    dispute_id = disputed(payment_of(booking)).stripe_dispute_id or ""
    browser = signed_in(app, "support", "finance")
    assert cancel(browser, booking).status_code == 302
    assert refunds_of(booking) == []
    assert "promised" not in words(browser.get(page_of(booking)).text)
    decided(dispute_id, "won")
    page = unescape(browser.get(page_of(booking)).text)
    assert "The cancellation promised $100.00 that has not gone back" in words(page)
    href = f"/console/refunds/of/{payment_of(booking).id}/?amount=100.00&kind=standard&reason=cancelled"
    assert f'href="{href}"' in page
    preview = browser.get(href).text
    assert "What it will do" in preview
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', preview.split('/request"')[1]))
    refund = {**hidden, "proof": factories.PASSWORD}
    assert browser.post(href.split("?")[0] + "request", refund, token_from=href).status_code == 302
    assert refunds_of(booking) == [("standard", "APPROVED", 10_000)]
    assert "promised" not in words(browser.get(page_of(booking)).text)
    assert queued.work_off() == []


def test_what_stripe_refused_to_pay_back_of_a_cancelled_booking_is_still_due(app: Flask) -> None:
    booking = paid(days_before=3)
    browser = signed_in(app, "support")
    assert cancel(browser, booking).status_code == 302
    assert "promised" not in words(browser.get(page_of(booking)).text)
    intent_id = payment_of(booking).stripe_payment_intent_id
    ask_stripe("POST", "/v1/refunds", data={"payment_intent": intent_id, "amount": 15_000})
    assert queued.work_off() == []
    assert refunds_of(booking) == [("standard", "FAILED", 10_000)]
    assert "The cancellation promised $100.00" in words(browser.get(page_of(booking)).text)


def test_a_stay_that_is_over_says_why_it_is_not_cancelled(app: Flask) -> None:
    booking = paid(days_before=-2)
    browser = signed_in(app, "support")
    page = browser.get(page_of(booking)).text
    assert "Refund what is due to the guest instead." in words(page)
    assert "act-cancel" not in page
    form = {"reason": "x", "typed": booking.reference, "shown-policy": "0"}
    answer = browser.post(f"{page_of(booking)}cancel/support", form, token_from=page_of(booking))
    assert answer.status_code == 409
    assert factories.reread(booking).status == "CONFIRMED"


@pytest.mark.parametrize("role", ["finance", "moderator"])
def test_others_see_no_dialog_and_are_refused(app: Flask, role: str) -> None:
    booking = paid()
    browser = signed_in(app, role)
    assert "act-cancel" not in browser.get(page_of(booking)).text
    form = {"reason": "x", "typed": booking.reference, "shown-policy": "10000"}
    answer = browser.post(f"{page_of(booking)}cancel/support", form, token_from=page_of(booking))
    assert answer.status_code == 403
    assert refunds_of(booking) == []
