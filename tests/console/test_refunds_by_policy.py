"""What the policy gives as an amount, and what goes beyond it: shown before a refund is asked for and approved."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from html import unescape
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from sqlalchemy import text

from app.audit.actor import SYSTEM
from app.bookings import service as bookings
from app.db import transaction
from app.extensions import db
from app.payments.models import Payment
from tests import factories, queued
from tests.console.browser import Browser, signed_in
from tests.payments.refunding import ask, payment_of, support

BEYOND = "of this goes beyond what the policy gives, and the provider bears a share of it"


def paid(*, days_before: int = 3) -> Payment:
    """The payment of two nights at $100 under the moderate policy, which begin in so many days."""
    booking = factories.paid_booking()
    first = datetime.now(ZoneInfo("Europe/Oslo")).date() + timedelta(days=days_before)
    with transaction():
        db.session.execute(
            text("UPDATE bookings SET starts_on = :first, ends_on = :first + 2 WHERE id = :id"),
            {"first": first, "id": booking.id},
        )
    return payment_of(factories.reread(booking))


def words(html: str) -> str:
    plain = unescape(re.sub(r"<[^>]+>", " ", html)).replace("\N{NO-BREAK SPACE}", " ")
    return " ".join(plain.split())


def shown(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, path
    return words(answer.text)


def preview(browser: Browser, payment: Payment, amount: str, kind: str = "standard") -> str:
    return shown(browser, f"/console/refunds/of/{payment.id}/?amount={amount}&kind={kind}&reason=stay_problem&note=")


def test_the_form_says_what_the_policy_gives_at_this_moment(app: Flask) -> None:
    page = shown(signed_in(app, "support"), f"/console/refunds/of/{paid().id}/")
    assert "Due to the guest is $100.00: 50 %, cancelled now, 3 days before check-in (Moderate: " in page


@pytest.mark.parametrize(
    ("amount", "kind", "beyond", "warns"),
    [("100", "standard", None, False), ("150", "standard", "$50.00", True), ("150", "goodwill", "$50.00", False)],
)
def test_the_preview_says_what_part_is_beyond_the_policy(
    app: Flask, amount: str, kind: str, beyond: str | None, warns: bool
) -> None:
    page = preview(signed_in(app, "finance"), paid(), amount, kind)
    assert "Still due by the policy $100.00" in page
    assert ("Beyond the policy" in page) == (beyond is not None)
    if beyond:
        assert f"Beyond the policy {beyond}" in page
    assert (f"{beyond} {BEYOND}" in page) == warns


def test_what_was_refunded_counts_towards_what_the_policy_gives(app: Flask) -> None:
    payment = paid()
    ask(payment, 6_000)
    assert queued.work_off() == []
    page = preview(signed_in(app, "finance"), payment, "50")
    assert "Still due by the policy $40.00" in page
    assert f"$10.00 {BEYOND}" in page


def test_of_a_cancelled_booking_it_is_what_the_policy_gave_on_that_day(app: Flask) -> None:
    payment = paid(days_before=3)
    bookings.cancel(payment.booking_id, by=support(), on_behalf_of="support", reason="Asked by phone")
    assert queued.work_off() == []
    with transaction():
        db.session.execute(
            text(
                "UPDATE bookings SET cancelled_at = CAST(starts_on - 7 AS timestamptz) + interval '12 h' WHERE id = :id"
            ),
            {"id": payment.booking_id},
        )
    page = preview(signed_in(app, "finance"), payment, "20")
    assert "$200.00: 100 %, cancelled 7 days before check-in" in page
    assert "Still due by the policy $100.00" in page


def test_where_the_provider_cancelled_all_of_it_is_due(app: Flask) -> None:
    payment = paid(days_before=0)
    bookings.cancel(payment.booking_id, by=SYSTEM, on_behalf_of="provider", reason="Flooded")
    page = shown(signed_in(app, "finance"), f"/console/refunds/of/{payment.id}/")
    assert "Due to the guest is $200.00: all of it, as the provider cancelled (" in page


def test_the_approver_sees_the_policys_amount_what_is_beyond_it_the_booking_and_the_other_refunds(app: Flask) -> None:
    payment = paid()
    other = ask(payment, 3_000, reason="overcharged")
    assert queued.work_off() == []
    refund = ask(payment, 9_000, by=support())
    browser = signed_in(app, "finance")
    page = shown(browser, f"/console/refunds/{refund.id}/")
    for said in (
        "By the policy $100.00: 50 %, cancelled now, 3 days before check-in",
        "Beyond the policy $20.00",
        f"$20.00 {BEYOND}",
        "Booking Confirmed",
        "Another refund State Succeeded Amount $30.00",
        "Charged too much",
    ):
        assert said in page, said
    assert f'href="/console/refunds/{other.id}/"' in browser.get(f"/console/refunds/{refund.id}/").text
    decided = shown(browser, f"/console/refunds/{other.id}/")
    assert "Beyond the policy" not in decided
    assert BEYOND not in decided
