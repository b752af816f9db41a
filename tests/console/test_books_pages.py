"""The pages of the books: accounts at a moment, statements, and what is owed to providers."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from html import unescape
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import func, select

from app.audit.models import AuditEntry
from app.bookings.models import Booking
from app.bulk.models import Bulk
from app.catalog.models import Provider
from app.console import accounts as accounts_page
from app.console import payables as payables_page
from app.console.listing import Listing, Rows
from app.db import lock, transaction, utcnow
from app.extensions import db
from app.payments import holds
from app.payments import service as payments
from app.states import move
from tests import factories
from tests.concurrency import at_once
from tests.console.browser import Browser, signed_in

ACCOUNTS, PAYABLES = "/console/accounts/", "/console/payables/"


def shown(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, path
    return unescape(answer.text)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def test_accounts_are_shown_at_a_moment_in_utc_and_lead_to_their_statements(empty_app: Flask) -> None:
    browser = signed_in(empty_app, "finance")
    assert "Nothing was posted by then" in shown(browser, ACCOUNTS)
    factories.paid_booking()
    page = shown(browser, ACCOUNTS)
    for words in ("Provider payable", "Liability", "$170.00", "Balanced", "Everything posted until now"):
        assert words in page, words
    assert "Nothing was posted by then" in shown(browser, f"{ACCOUNTS}?at=2026-01-31T23:59")
    assert "31 Jan 2026, 23:59:00 UTC" in shown(browser, f"{ACCOUNTS}?at=2026-02-01T01:59%2B02:00")
    later = f"{utcnow() + timedelta(days=1):%Y-%m-%dT%H:%M}"
    assert "$170.00" in shown(browser, f"{ACCOUNTS}?at={later}")
    (found,) = (row for row in rows_of(browser.get(f"{ACCOUNTS}balances.csv").text) if row["Account"] == "Stripe fees")
    assert (found["Kind"], found["Debit"], found["Credit"], found["Currency"]) == ("Expense", "6.10", "0.00", "USD")


@pytest.mark.parametrize("at", ["yesterday", "0001-01-01T00:00", "9999-12-31T00:00", "0001-01-01T00:00+14:00", "25"])
def test_a_moment_that_is_none_is_refused(app: Flask, at: str) -> None:
    answer = signed_in(app, "finance").get(f"{ACCOUNTS}?at={at.replace('+', '%2B')}")
    assert answer.status_code == 422
    assert "2026-11-22T14:00" in answer.text


def test_a_statement_has_opening_and_closing_and_the_balance_after_each_entry(empty_app: Flask) -> None:
    first, second = factories.paid_booking(), factories.paid_booking()
    browser = signed_in(empty_app, "finance")
    page = shown(browser, f"{ACCOUNTS}provider_payable/")
    assert page.index(first.reference) < page.index(second.reference)
    for words in ("Opening balance", "$0.00", "Closing balance", "$340.00", "Stripe balance", "credits add to it"):
        assert words in page, words
    assert f'href="/console/bookings/{first.id}/"' in page
    balances = page[page.index(first.reference) :]
    assert balances.index("$170.00") < balances.index("$340.00")
    assert "debits add to it" in shown(browser, f"{ACCOUNTS}stripe_balance/")
    before = (utcnow() - timedelta(days=2)).date()
    assert "Nothing was posted in this period" in shown(
        browser, f"{ACCOUNTS}provider_payable/?from={before}&to={before}"
    )


def test_a_statement_adds_up_though_something_is_posted_while_it_is_read(
    empty_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.paid_booking()
    browser, read = signed_in(empty_app, "finance"), accounts_page._page

    def meanwhile(listing: Listing) -> Rows:
        page = read(listing)
        at_once(empty_app, factories.paid_booking)
        return page

    monkeypatch.setattr(accounts_page, "_page", meanwhile)
    page = shown(browser, f"{ACCOUNTS}provider_payable/")
    monkeypatch.undo()
    assert "$170.00" in page
    assert "$340.00" not in page
    assert "$340.00" in shown(browser, f"{ACCOUNTS}provider_payable/")


def test_a_statement_is_paged_and_exported(empty_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.console.accounts._PAGE_SIZE", 1)
    first, second = factories.paid_booking(), factories.paid_booking()
    browser = signed_in(empty_app, "finance")
    page = shown(browser, f"{ACCOUNTS}provider_payable/")
    form = page[page.index('<form id="export" method="post" action="export">') :].split("</form>")[0]
    assert re.search(r'name="from" value="[\d-]{10}".*name="to" value="[\d-]{10}"', form, re.S)
    assert (first.reference in page, second.reference in page) == (True, False)
    on = page[: page.index('rel="next"')]
    href = on[on.rindex('href="') + 6 :].split('"')[0]
    page = shown(browser, f"{ACCOUNTS}provider_payable/{href}")
    assert (first.reference in page, second.reference in page) == (False, True)
    assert "$340.00" in page
    answer = browser.post(f"{ACCOUNTS}provider_payable/export", token_from=f"{ACCOUNTS}provider_payable/")
    run = db.session.scalars(select(Bulk).order_by(Bulk.id.desc()).limit(1)).one()
    assert answer.location == f"/console/bulk/{run.id}/"
    assert (run.kind, run.total) == ("export.ledger", 2)
    assert "Account: Provider payable" in run.arguments["narrowed"]


def test_what_does_not_fit_a_statement_is_refused(app: Flask) -> None:
    factories.paid_booking()
    browser = signed_in(app, "finance")
    for query in ("from=2026-02-02&to=2026-02-01", "from=never", "currency=XXX", "after=here", "to=9999-12-31"):
        assert browser.get(f"{ACCOUNTS}provider_payable/?{query}").status_code == 422, query
    assert browser.get(f"{ACCOUNTS}petty_cash/").status_code == 404


def test_what_is_owed_is_listed_by_provider_and_leads_to_the_bookings(app: Flask) -> None:
    ahead = factories.paid_booking()
    done = factories.paid_booking(of=factories.package(provider_id=ahead.provider_id))
    with transaction():
        move(lock(Booking, done.id), "COMPLETED")
    browser, name = signed_in(app, "finance"), f"Owed {uuid4().hex}"
    with transaction():
        provider = lock(Provider, ahead.provider_id)
        provider.name = name
    page = shown(browser, f"{PAYABLES}?q={name.upper()}")
    line = page[page.index("<tbody") : page.index("</tbody>")]
    assert line.count("$170.00") == 2
    assert "$340.00" in line
    assert "pays nothing out" in page
    (row,) = (row for row in rows_of(browser.get(f"{PAYABLES}payables.csv").text) if row["Provider"] == name)
    assert (row["Owed now"], row["Not yet earned"], row["Held"], row["Together"]) == (
        "170.00",
        "170.00",
        "0.00",
        "340.00",
    )
    here = f"{PAYABLES}{ahead.provider_id}/"
    for state, expected in {"": (True, True), "owed": (False, True), "ahead": (True, False)}.items():
        page = shown(browser, f"{here}?state={state}")
        assert (ahead.reference in page, done.reference in page) == expected, state
    found = payments.live_payment(done.id)
    assert found is not None
    holds.place(found.id, source=uuid4().hex, reason="Looked into", until=None, by=factories.admin())
    held = shown(browser, f"{here}?state=held")
    assert done.reference in held
    assert 'name="state" value="held"' in held[held.index('<form id="export"') :]
    nothing = shown(browser, f"{here}?state=owed")
    assert ("No such booking" in nothing, 'form="export"' in nothing) == (True, False)
    assert browser.get(f"{here}?state=paid").status_code == 422
    answer = browser.post(f"{here}export", {"state": "held"}, token_from=here)
    run = db.session.scalars(select(Bulk).order_by(Bulk.id.desc()).limit(1)).one()
    assert answer.location == f"/console/bulk/{run.id}/"
    assert (run.kind, run.total) == ("export.payables", 1)


def test_providers_are_paged_by_place_and_none_is_left_out_or_shown_twice(
    empty_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payables_page, "_PAGE_SIZE", 2)
    stays = [factories.paid_booking() for _ in range(5)]
    of = [stay.provider_id for stay in stays]

    def complete(stay: Booking) -> None:
        with transaction():
            move(lock(Booking, stay.id), "COMPLETED")

    def page(query: str | None) -> tuple[list[int], str | None, str | None]:
        text = shown(browser, f"{PAYABLES}{query}")
        rows = text[text.index("<tbody") : text.index("</tbody>")]
        ways = {rel: href for href, rel in re.findall(r'href="(\?[^"]+)" rel="(prev|next)"', text)}
        return [int(found) for found in re.findall(r"payables/(\d+)/", rows)], ways.get("prev"), ways.get("next")

    complete(stays[3])
    complete(stays[4])
    browser = signed_in(empty_app, "finance")
    first, back, on = page("")
    assert (first, back) == ([of[3], of[4]], None)
    # Another comes to the top meanwhile: what follows doesn't move.
    complete(stays[2])
    second, back, on = page(on)
    assert (second, on) == ([of[0], of[1]], None)
    first, back, on = page(back)
    assert first == [of[3], of[4]]
    assert page(on)[0] == second
    top, back, _ = page(back)
    assert (top[0], back) == (of[2], None)
    for place in ("after=x", "after=1~2", "before=1~2~USD~", "after=1~2~usd"):
        assert browser.get(f"{PAYABLES}?{place}").status_code == 422, place


def test_a_providers_bookings_come_to_what_the_cards_say_though_more_is_paid_meanwhile(
    empty_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay = factories.paid_booking()
    other = factories.package(provider_id=stay.provider_id)
    browser, read = signed_in(empty_app, "finance"), payables_page._page

    def meanwhile(listing: Listing) -> Rows:
        page = read(listing)
        at_once(empty_app, lambda: factories.paid_booking(of=other))
        return page

    monkeypatch.setattr(payables_page, "_page", meanwhile)
    page = shown(browser, f"{PAYABLES}{stay.provider_id}/")
    monkeypatch.undo()
    assert "$170.00" in page
    assert "$340.00" not in page
    assert "$340.00" in shown(browser, f"{PAYABLES}{stay.provider_id}/")


def test_who_takes_a_file_of_sums_stands_in_their_history(app: Flask) -> None:
    browser, before = signed_in(app, "finance"), db.session.scalar(select(func.max(AuditEntry.id))) or 0
    for path in (f"{ACCOUNTS}balances.csv", f"{PAYABLES}payables.csv", "/console/revenue/gross.csv"):
        assert browser.get(path).status_code == 200, path
    db.session.rollback()
    kept = select(AuditEntry).where(AuditEntry.action == "sums.download", AuditEntry.id > before)
    entries = db.session.scalars(kept.order_by(AuditEntry.id)).all()
    assert [str((entry.after or {})["file"]).partition("-")[0] for entry in entries] == [
        "balances",
        "payables.csv",
        "gross",
    ]
    assert {entry.object_id for entry in entries} == {entry.actor_id for entry in entries}


def test_a_providers_page_has_the_same_three_numbers_for_finance_alone(app: Flask) -> None:
    booking = factories.paid_booking()
    page = f"/console/providers/{booking.provider_id}/"
    told = shown(signed_in(app, "finance"), page)
    for words in ("Owed to them", "Owed now", "Not yet earned", "Held", "$170.00"):
        assert words in told, words
    assert "Owed to them" not in shown(signed_in(app, "support", "moderator"), page)


def test_postings_and_accounts_are_called_by_their_names(app: Flask) -> None:
    booking = factories.paid_booking()
    browser = signed_in(app, "finance")
    for page in (f"/console/ledger/?booking={booking.reference}", f"{ACCOUNTS}commission_revenue/"):
        told = shown(browser, page)
        assert "Payment, our commission" in told
        assert "capture.commission<" not in told


def test_home_leads_to_what_waits_for_finance(app: Flask) -> None:
    home = shown(signed_in(app, "finance"), "/console/")
    assert 'href="/console/refunds/">Refunds to approve' in home
    assert 'href="/console/disputes/?due=soon">Disputes due within 3 days' in home


UP = ("/console/../x", "/console/%2e%2e/x", "/console/bookings/..", "/console/./x", "/console/.%2E/?a=b")


@pytest.mark.parametrize("target", UP)
def test_nobody_is_led_up_and_out_of_the_console(app: Flask, target: str) -> None:
    person = factories.staff("support")
    assert Browser(app).sign_in(person, next=target).location == "/console/"
    assert Browser(app).sign_in(person, next="/console/bookings/?q=../x").location == "/console/bookings/?q=../x"


def test_an_address_that_there_is_not_is_told_in_our_words_alone(app: Flask) -> None:
    answer = signed_in(app, "support").get("/console/nothing-here/")
    assert answer.status_code == 404
    assert "There is no page at this address." in answer.text
    assert "requested URL" not in answer.text
