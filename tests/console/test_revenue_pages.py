"""/console/revenue/: the same numbers drawn, in the tables, in the CSV and in the ledger's list that a bar leads to."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from flask import Flask

from app.bookings.models import Booking
from app.catalog.models import Package
from app.db import utcnow
from app.extensions import db
from tests import factories
from tests.console.browser import Browser, signed_in

REVENUE = "/console/revenue/"


def paid(**values: Any) -> Booking:
    """A paid booking of a provider of its own, so that its revenue is this booking's alone."""
    return factories.paid_booking(of=factories.package(**values))


def figures(browser: Browser, query: str) -> dict[str, Any]:
    answer = browser.get(f"{REVENUE}figures?{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def table(browser: Browser, name: str, query: str) -> list[list[str]]:
    answer = browser.get(f"{REVENUE}{name}.csv?{query}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/csv")
    return list(csv.reader(io.StringIO(answer.data.decode("utf-8-sig"))))


def shown(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return re.sub(r"\s+", " ", unescape(answer.text))


def test_a_days_bar_the_table_the_csv_and_the_ledger_say_the_same(app: Flask) -> None:
    booking, browser = paid(), signed_in(app, "finance")
    paid()
    today = utcnow().date().isoformat()
    of = f"of=provider:{booking.provider_id}&from={today}&to={today}"

    drawn = figures(browser, of)
    assert [drawn[name]["data"][0]["y"] for name in ("gross", "refunds", "net", "commission")] == [
        [200.0],
        [0.0],
        [200.0],
        [30.0],
    ]
    assert table(browser, "commission", of)[1][1:] == ["30.00", "0.00", "USD"]
    page = shown(browser, f"{REVENUE}?{of}")
    assert "$200.00" in page and "$30.00" in page
    assert "nothing before" in page and "±" not in page

    (href,) = drawn["gross"]["data"][0]["customdata"]
    entries = shown(browser, href)
    assert "2 entries" in entries
    shown_entries = entries.split("data-list")[1]
    assert "Payment, provider's share" in shown_entries and "Stripe's fee of a payment" not in shown_entries
    assert booking.reference in entries

    (href,) = drawn["commission"]["data"][0]["customdata"]
    entries = shown(browser, href)
    assert "1 entry" in entries
    assert "Payment, our commission" in entries.split("data-list")[1]


@pytest.mark.parametrize("dimension", ["type", "place"])
def test_a_bar_of_a_type_or_place_leads_to_its_entries_alone(app: Flask, dimension: str) -> None:
    town = f"Town {utcnow():%H%M%S%f}"
    booking = paid(city=town)
    factories.paid_booking()
    browser = signed_in(app, "finance")
    package = db.session.get_one(Package, booking.package_id)
    key = {"type": package.type, "place": f"{town}, {package.country}"}[dimension]
    drawn = figures(browser, f"of={dimension}:{quote(key)}&from={utcnow().date()}")
    entries = shown(browser, drawn["gross"]["data"][0]["customdata"][-1])
    assert booking.reference in entries
    if dimension == "place":
        assert "2 entries" in entries
        assert f"Place: {key}" in entries


def test_what_is_told_apart_is_ranked_and_narrows_the_page(app: Flask) -> None:
    town = f"<b>Town {utcnow():%H%M%S%f}</b>"
    booking = paid(city=town, price_minor=9_000_000)
    browser = signed_in(app, "finance")
    rows = table(browser, "split", "split=place")
    assert rows[0] == ["Place", "Gross", "Refunds", "Net", "Commission", "Gross before", "Currency"]
    assert [f"{town}, Norway", "180000.00", "0.00", "180000.00", "27000.00", "0.00", "USD"] in rows
    page = browser.get(f"{REVENUE}?split=place").text
    assert town not in page and "&lt;b&gt;Town" in page
    narrowed = shown(browser, f"{REVENUE}?of={quote(f'place:{town}, Norway')}")
    assert f"Place: {town}, Norway" in narrowed and "$180,000.00" in narrowed
    assert "counted in all only" in narrowed
    assert 'data-figure="bookings"' not in narrowed
    assert "bookings" not in figures(browser, f"of={quote(f'place:{town}, Norway')}")
    assert 'data-figure="bookings"' in page
    drawn = figures(browser, "split=provider")["split"]["data"][0]
    assert any(href and href.endswith(f"of=provider%3A{booking.provider_id}") for href in drawn["customdata"])


def test_the_ways_to_tell_revenue_apart_stand_beside_its_chart(app: Flask) -> None:
    paid()
    browser = signed_in(app, "finance")
    for split in ("type", "place", "provider"):
        page = shown(browser, f"{REVENUE}?split={split}")
        tabs = re.findall(r'<a href="\?([^"]*)#split" (aria-current="true")?', page)
        assert len(tabs) == 3
        (current,) = [query for query, is_current in tabs if is_current]
        assert f"split={split}" in current


def test_bookings_are_counted_and_compared(app: Flask) -> None:
    browser, today = signed_in(app, "admin"), utcnow().date()
    before = figures(browser, f"from={today}")["bookings"]["data"][0]["y"]
    factories.booking()
    assert figures(browser, f"from={today}")["bookings"]["data"][0]["y"] == [before[0] + 1]
    tomorrow = today + timedelta(days=1)
    assert figures(browser, f"from={tomorrow}&to={tomorrow}")["bookings"]["data"][-1]["y"] == [before[0] + 1]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("from=2026-02-30", "Give a day such as"),
        ("from=1900-01-01", "Give a day such as"),
        ("to=9999-12-31", "Give a day such as"),
        ("from=2026-03-02&to=2026-03-01", "begins after it ends"),
        ("from=2001-01-01&to=2026-01-01", "at most 3,660 days"),
        ("from=2020-01-01&to=2026-01-01&step=day", "at most 740 days"),
        ("step=hour", "day, week or month"),
        ("split=colour", "type, place or provider"),
        ("of=colour:red", "provider:12"),
        ("of=provider:me", "provider:12"),
        ("of=provider:", "provider:12"),
        ("currency=XXX", "Nothing was paid in this currency"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(app: Flask, query: str, says: str) -> None:
    factories.paid_booking()
    browser = signed_in(app, "finance")
    for path in ("", "figures", "gross.csv"):
        answer = browser.get(f"{REVENUE}{path}?{query}")
        assert answer.status_code == 422
    assert says in unescape(browser.get(f"{REVENUE}?{query}").text)


def test_a_period_without_anything_says_so(app: Flask) -> None:
    page = shown(signed_in(app, "finance"), f"{REVENUE}?from=2001-01-01&to=2001-01-31")
    assert "Nothing happened in this period" in page
    assert "data-figure" not in page


def test_a_marketplace_without_money_has_its_page(empty_app: Flask) -> None:
    page = shown(signed_in(empty_app, "finance"), REVENUE)
    assert "Revenue" in page


def test_the_bar_of_a_week_or_month_leads_to_the_entries_of_all_its_days(app: Flask) -> None:
    browser = signed_in(app, "finance")
    factories.paid_booking()
    first = date(utcnow().year - 1, 2, 1)
    drawn = figures(browser, f"from={first}&to={first + timedelta(days=58)}&step=month")["gross"]["data"][0]
    asked = [parse_qs(urlsplit(href).query) for href in drawn["customdata"]]
    february = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    assert asked[0]["from"] == [str(first)]
    assert asked[0]["to"] == [str(february)]
    assert asked[1]["from"] == [str(february + timedelta(days=1))]


def test_what_is_beyond_the_twelve_is_added_up_and_providers_of_one_name_are_told_apart(app: Flask) -> None:
    browser = signed_in(app, "finance")
    for number in range(14):
        package = factories.package(price_minor=100_000 + number, provider_id=factories.provider(name="Fjord").id)
        factories.paid_booking(of=package)
    rows = table(browser, "split", f"split=provider&from={utcnow().date()}")[1:]
    gross = round(sum(figures(browser, f"from={utcnow().date()}")["gross"]["data"][0]["y"]), 2)
    assert len(rows) == 13
    assert rows[-1][0].endswith("others")
    assert round(sum(float(row[1]) for row in rows), 2) == gross
    names = [row[0] for row in rows[:-1]]
    assert len(set(names)) == len(names)
    assert not any(name.isdigit() for name in names)


def test_long_periods_are_cut_into_weeks_and_months(app: Flask) -> None:
    browser = signed_in(app, "finance")
    factories.paid_booking()
    today = utcnow().date()
    for days, bars in ((30, range(30, 31)), (365, range(53, 54)), (1_500, range(50, 52))):
        first = today - timedelta(days=days - 1)
        drawn = figures(browser, f"from={first}")["gross"]["data"][0]
        assert len(drawn["y"]) in bars
        # Where its step begins, so that a part of one at either end is no thinner than the others.
        begins = {date.fromisoformat(at) for at in drawn["x"]}
        assert {day.weekday() for day in begins} == {0} or {day.day for day in begins} == {1} or days == 30


def test_home_says_what_finance_asks_for_to_finance_alone(app: Flask) -> None:
    paid(price_minor=7_654_321)
    home = shown(signed_in(app, "finance"), "/console/")
    for label in ("Gross today", "Refunds in 7 days", "Net in 7 days", "Commission in 7 days", "Refunds to approve"):
        assert label in home
    assert "Gross today" not in shown(signed_in(app, "support", "moderator"), "/console/")
