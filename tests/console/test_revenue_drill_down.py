"""From a bar of what is counted to the rows that it counts: bookings, travellers, and payments that failed."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import text

from app.bookings import service as bookings
from app.bookings.models import Booking
from app.console import revenue_sales
from app.console.bookings import BookingsView
from app.db import lock, transaction, utcnow
from app.extensions import db
from app.payments import stripe_gateway
from tests import factories
from tests.console.browser import Browser, signed_in
from tests.console.test_review_lists import plan_without_sorting, statements
from tests.payments.refunding import support

REVENUE = "/console/revenue/"


def bars(browser: Browser, chart: str) -> dict[str, str]:
    """Where today's bars of a chart lead, by their labels."""
    answer = browser.get(f"{REVENUE}figures?from={utcnow().date()}")
    assert answer.status_code == 200, answer.text
    drawn: dict[str, Any] = answer.json[chart]["data"][0]  # type: ignore[index]
    labels = drawn["y"] if chart in ("funnel", "failures") else drawn["x"]
    return dict(zip(labels, drawn["customdata"], strict=True))


def shown(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, path
    return re.sub(r"\s+", " ", unescape(answer.text))


def became(step: str) -> Booking:
    """A booking that this has just happened to."""
    if step == "booked":
        return factories.booking()
    if step in ("expired", "cancelled_unpaid"):
        booking = factories.booking()
        if step == "cancelled_unpaid":
            bookings.cancel(booking.id, by=support(), on_behalf_of="support", reason="Asked by phone")
        else:
            with transaction():
                lock(Booking, booking.id).expires_at = utcnow() - timedelta(seconds=1)
            assert bookings.expire(booking.id)
        return booking
    if step == "completed":
        return factories.completed_booking()
    booking = factories.paid_booking()
    if step == "cancelled_paid":
        bookings.cancel(booking.id, by=support(), on_behalf_of="support", reason="Asked by phone")
    return booking


@pytest.mark.parametrize("step", revenue_sales._FUNNEL)
def test_a_step_of_the_funnel_leads_to_the_bookings_that_took_it(app: Flask, step: str) -> None:
    browser = signed_in(app, "finance")
    booking, other = became(step), became("booked" if step == "cancelled_unpaid" else "cancelled_unpaid")
    label = revenue_sales._FUNNEL[step]
    page = shown(browser, bars(browser, "funnel")[label])
    assert booking.reference in page
    assert (other.reference in page) == (step == "booked")
    assert f"What happened: {label}, " in page


def test_every_step_of_the_funnel_is_called_the_same_in_the_list() -> None:
    (filter_,) = [choice for choice in BookingsView.filters if choice.name == "happened"]
    assert dict(filter_.options) == revenue_sales._FUNNEL


def test_a_days_bar_leads_to_the_bookings_made_and_the_travellers_registered_on_it(app: Flask) -> None:
    browser = signed_in(app, "finance")
    booking, traveller = factories.booking(), factories.traveller(name=f"Ann {uuid4().hex}")
    (href,) = bars(browser, "bookings").values()
    assert booking.reference in shown(browser, href)
    (href,) = bars(browser, "travellers").values()
    assert traveller.name in shown(browser, href)
    yesterday = utcnow().date() - timedelta(days=1)
    for path, name in (
        (f"/console/bookings/?happened=booked:{yesterday}:{yesterday}", booking.reference),
        (f"/console/users/?happened=registered:{yesterday}:{yesterday}", traveller.name),
    ):
        assert name not in shown(browser, path)


@pytest.mark.parametrize(
    "path",
    ["bookings/?happened=confirmed:{0}:{0}", "bookings/?happened=booked:{0}:{0}", "users/?happened=registered:{0}:{0}"],
)
def test_a_bar_of_last_year_is_not_read_from_today_on(app: Flask, path: str) -> None:
    browser, table = signed_in(app, "finance"), path.partition("/")[0]
    with statements() as sent:
        shown(browser, f"/console/{path.format(utcnow().date() - timedelta(days=365))}")
    (page,) = (sql for sql in sent if sql.startswith(f"SELECT {table}.id") and f"ORDER BY {table}.id DESC" in sql)
    plan = plan_without_sorting(page)
    assert re.search(rf"Index Scan Backward using pk_{table} on {table}.*\n +Index Cond: \(id < ", plan), plan


def test_a_reason_of_failures_leads_to_the_payments_that_it_befell_also_once_they_are_paid(app: Flask) -> None:
    browser, booking = signed_in(app, "finance"), factories.booking()
    intent = factories.intent_of(booking)
    factories.confirm(intent.id, "pm_card_chargeDeclinedInsufficientFunds")
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    href = bars(browser, "failures")["Insufficient funds"]
    assert booking.reference in shown(browser, href)
    assert factories.confirm(intent.id).ok
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    page = shown(browser, href)
    assert booking.reference in page
    assert "Failed: Insufficient funds, " in page
    assert booking.reference not in shown(browser, href.replace("insufficient_funds", "expired_card"))


@pytest.mark.parametrize(
    "path",
    [
        "bookings/?happened=booked",
        "bookings/?happened=lost:2026-01-01:2026-01-02",
        "bookings/?happened=booked:2026-01-02:2026-02-30",
        "bookings/?happened=booked:2026-01-02:0001-01-01",
        "bookings/?happened=booked:9999-12-31:9999-12-31",
        "payments/?failed=x:y:z",
        "users/?happened=:2026-01-01:2026-01-02",
    ],
)
def test_what_happened_in_no_days_is_refused(app: Flask, path: str) -> None:
    assert signed_in(app, "finance").get(f"/console/{path}").status_code == 422


def test_with_two_currencies_a_bar_leads_to_the_entries_of_its_own(empty_app: Flask) -> None:
    browser, today = signed_in(empty_app, "finance"), utcnow().date()
    booking, dollars = factories.paid_booking(), factories.paid_booking()
    with transaction():
        db.session.execute(
            text(
                "INSERT INTO ledger_entries (kind, debit_account, credit_account, amount_minor, currency, source_id,"
                " payment_id, booking_id, provider_id) SELECT kind, debit_account, credit_account, 700, 'EUR',"
                " 'ch_eur', payment_id, booking_id, provider_id FROM ledger_entries"
                " WHERE booking_id = :id AND kind = 'capture.commission'"
            ),
            {"id": booking.id},
        )
    drawn = browser.get(f"{REVENUE}figures?from={today}&currency=EUR").json
    page = shown(browser, drawn["gross"]["data"][0]["customdata"][0])  # type: ignore[index]
    assert "1 entry<" in page
    assert booking.reference in page
    assert dollars.reference not in page
