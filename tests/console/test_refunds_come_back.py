"""A refund that failed comes back to whoever works on refunds: the menu, the queue's tabs, the booking's page."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

from flask import Flask

from app.bookings import service as bookings
from app.bookings.models import Booking
from app.db import lock, transaction, utcnow
from app.payments import stripe_gateway
from app.payments.models import Refund
from tests import factories, queued
from tests.console.browser import Browser, signed_in
from tests.payments.refunding import ask, ask_stripe, paid, payment_of, refunds_of


def words(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, path
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def depth(browser: Browser) -> int:
    """How much the menu says waits in the queue of refunds."""
    depths = browser.get("/console/live").json
    assert depths is not None
    return int(depths["depths"]["refunds"] or 0)


def back(browser: Browser, state: str) -> int:
    """What is counted beside a state in the queue's tabs."""
    html = browser.get("/console/refunds/").text
    tabs = re.sub(r"<[^>]+>", " ", html[html.index('<nav class="tabs"') :].split("</nav>")[0])
    found = re.search(rf"{state}(?:\s+([\d,]+))?", tabs)
    assert found is not None, tabs
    return int(found[1] or 0)


def test_a_refund_that_failed_counts_in_the_menu_and_beside_its_state_until_it_is_made_up_for(app: Flask) -> None:
    browser, payment = signed_in(app, "finance"), paid()
    before = depth(browser), back(browser, "Failed")
    refund = ask(payment, 4_000)
    ask_stripe("POST", "/v1/refunds", data={"payment_intent": payment.stripe_payment_intent_id, "amount": 7_000})
    assert queued.work_off() == []
    assert factories.reread(refund).status == "FAILED"
    assert (depth(browser), back(browser, "Failed")) == (before[0] + 1, before[1] + 1)
    ask(payment, 3_000)
    assert (depth(browser), back(browser, "Failed")) == before


def test_a_refund_without_an_answer_counts_beside_its_state(app: Flask) -> None:
    browser = signed_in(app, "finance")
    before = depth(browser), back(browser, "Approved")
    refund = ask(paid(), 4_000)
    with transaction():
        row = lock(Refund, refund.id)
        row.due_at, row.last_error, row.attempts = None, "Stripe can't be reached right now.", 12
    assert (depth(browser), back(browser, "Approved")) == (before[0] + 1, before[1] + 1)
    with transaction():
        row = lock(Refund, refund.id)
        row.attempts, row.last_error = 0, None
        row.hand_out()


def came_too_late() -> Booking:
    """A booking whose payment came when somebody else had its stock; the refund of it is on its way."""
    package = factories.package()
    booking = factories.booking(of=package)
    intent = factories.intent_of(booking)
    assert factories.confirm(intent.id).ok
    with transaction():
        lock(Booking, booking.id).expires_at = utcnow() - timedelta(seconds=1)
    assert bookings.expire(booking.id)
    factories.booking(of=package)
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    found: Booking = factories.reread(booking)
    assert found.status == "EXPIRED"
    return found


def test_what_is_owed_of_a_late_payment_heads_its_booking_while_it_has_not_gone_back(app: Flask) -> None:
    booking = came_too_late()
    browser, page = signed_in(app, "support"), f"/console/bookings/{booking.id}/"
    assert "has not gone back" not in words(browser, page)
    payment = payment_of(booking)
    ask_stripe("POST", "/v1/refunds", data={"payment_intent": payment.stripe_payment_intent_id, "amount": 5_000})
    assert queued.work_off() == []
    assert [(refund.status, refund.amount_minor) for refund in refunds_of(payment)] == [("FAILED", 20_000)]
    assert "paid when the booking could not take it any more, and $200.00 of it has not gone back" in words(
        browser, page
    )
    html = unescape(browser.get(page).text)
    href = re.search(rf'href="(/console/refunds/of/{payment.id}/\?amount=200.00[^"]*)"', html)
    assert href is not None
    assert "What it will do" in words(browser, href[1])
