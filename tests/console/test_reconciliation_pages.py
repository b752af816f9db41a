from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from html import unescape
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from app.console.formatting import day as day_in_words
from app.db import lock, transaction, utcnow
from app.extensions import db
from app.payments.models import LedgerEntry
from app.reports import differences as verbs
from app.reports import reconciliation
from app.reports.models import Difference, Reconciliation
from tests import factories, queued
from tests.conftest import tampering
from tests.console.browser import Browser, signed_in
from tests.reports.days import a_day, differences, finance, load, noon, paid, reconciled, reread


@pytest.fixture
def browser(app: Flask) -> Browser:
    return signed_in(app, "finance")


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, answer.text[:500]
    return " ".join(answer.text.split())


def test_a_day_is_asked_for_compared_and_shown_as_a_record(browser: Browser) -> None:
    day = a_day()
    paid(day).told()
    answer = browser.post("/console/reconciliation/reconcile", {"day": str(day)})
    assert answer.status_code == 302
    assert 'data-watch="' in text_of(browser.get(answer.location))
    assert queued.work_off() == []
    page = text_of(browser.get(answer.location))
    assert "Stripe and the ledger agree on 1 movement." in page
    assert "Reconciled" in page
    assert 'data-watch="' not in page


def test_a_difference_leads_to_its_booking_is_proposed_to_be_fixed_and_fixed(browser: Browser) -> None:
    day = a_day()
    one = paid(day)
    row = reconciled(day)
    (found,) = differences(day)
    page = text_of(browser.get(f"/console/reconciliation/{row.id}/"))
    assert "1 difference in 1 movement, 1 open." in page
    assert "Differs</span>" in page
    assert "Reconciled</span>" not in page
    assert one.charge_id in page
    href = f"/console/reconciliation/differences/{found.id}/"
    assert href in page
    page = text_of(browser.get(href))
    assert f"/console/bookings/{one.booking.id}/" in page
    assert "Stripe is asked about it again" in page
    assert 'Amount</dt> <dd> <span class="absent"' in page  # the ledger has none of it
    answer = browser.post(f"{href}fix", {"reason": "Its event never came"})
    assert answer.location == href
    assert "the ledger agrees with Stripe" in text_of(browser.get(href))
    assert "1 difference in 1 movement, 1 fixed." in text_of(browser.get(f"/console/reconciliation/{row.id}/"))


def test_the_entries_of_a_proposal_are_shown_before_they_are_posted(empty_app: Flask) -> None:
    browser, day = signed_in(empty_app, "finance"), a_day()
    one = paid(day).told()
    with tampering(empty_app) as cursor:
        cursor.execute(
            "UPDATE ledger_entries SET amount_minor = amount_minor - 1234 WHERE source_id = %s AND kind = %s",
            (one.charge_id, "capture.provider_share"),
        )
    reconciled(day)
    (found,) = differences(day)
    page = text_of(browser.get(f"/console/reconciliation/differences/{found.id}/"))
    for said in ("s share: corrected, more", "Provider payable", "$12.34"):
        assert said in page


def test_what_can_only_be_explained_says_why_and_is_explained(browser: Browser) -> None:
    day = a_day()
    load(day, payment_intent=f"pi_{day}", charge=f"ch_{day}", balance_transaction=f"txn_{day}", amount=5000)
    reconciled(day)
    (found,) = differences(day)
    href = f"/console/reconciliation/differences/{found.id}/"
    assert "No payment here belongs to it" in text_of(browser.get(href))
    assert browser.post(f"{href}fix", {"reason": "Try"}).status_code == 409
    assert browser.post(f"{href}explain", {"reason": ""}).status_code == 422
    assert differences(day)[0].status == "OPEN"
    browser.post(f"{href}explain", {"reason": "A test payment of the shop next door."})
    assert "A test payment of the shop next door." in text_of(browser.get(href))
    assert "Explained" in text_of(browser.get(f"/console/reconciliation/?month={day:%Y-%m}"))


def test_a_fix_asks_again_who_it_is(browser: Browser) -> None:
    day = a_day()
    paid(day)
    reconciled(day)
    (found,) = differences(day)
    with transaction():
        db.session.execute(db.text("UPDATE staff_sessions SET proven_at = now() - interval '1 hour'"))
    answer = browser.post(f"/console/reconciliation/differences/{found.id}/fix", {"reason": "Missed"})
    assert answer.status_code == 403
    assert differences(day)[0].status == "OPEN"


def test_a_month_says_whether_it_is_closed(empty_app: Flask) -> None:
    browser = signed_in(empty_app, "finance")
    first = (utcnow().date().replace(day=1) - timedelta(days=1)).replace(day=1)
    asked = f"/console/reconciliation/?month={first:%Y-%m}"
    day, days = first, 0
    while day.month == first.month:
        if day.day != 3:
            compared(day)
        day, days = day + timedelta(days=1), days + 1
    page = text_of(browser.get(asked))
    assert f"{first:%B %Y} is not closed: 1 day was not compared." in page
    assert f"Compare what is left of {first:%B}" in page
    compared(first + timedelta(days=2))
    on = day_in_words(utcnow().date())
    page = text_of(browser.get(asked))
    assert f"{first:%B %Y} is closed with no differences: all {days} days were compared, the last on {on}." in page
    assert "Compare what is left" not in page
    with transaction():
        db.session.add(a_difference(first))
    assert f"{first:%B %Y} is not closed: 1 difference is open." in text_of(browser.get(asked))
    (found,) = differences(first)
    verbs.explain(found.id, "Known", by=finance())
    assert f"{first:%B %Y} is closed with 1 explained" in text_of(browser.get(asked))
    this = utcnow().date()
    assert "it is not over" in text_of(browser.get(f"/console/reconciliation/?month={this:%Y-%m}"))


def test_what_is_left_of_a_month_is_compared_at_once(empty_app: Flask) -> None:
    browser = signed_in(empty_app, "finance")
    one = paid(date(2013, 2, 14)).told()
    answer = browser.post("/console/reconciliation/reconcile-month", {"month": "2013-02"})
    assert answer.location == "/console/reconciliation/?month=2013-02"
    page = text_of(browser.get(answer.location))
    assert "28 days are being compared." in page
    assert "February 2013 is not closed: 28 days are being compared." in page
    assert queued.work_off() == []
    assert "February 2013 is closed with no differences: all 28 days" in text_of(browser.get(answer.location))
    assert one.charge_id not in page
    again = browser.post("/console/reconciliation/reconcile-month", {"month": "2013-02"})
    assert again.status_code == 409
    assert "No day of February 2013 is left to compare." in again.text


def compared(day: date) -> None:
    with transaction():
        db.session.add(
            Reconciliation(
                id=reconciliation.id_of(day),
                day=day,
                status="DONE",
                begun_at=utcnow(),
                compared_at=utcnow(),
                request_id="-",
            )
        )


def test_a_difference_has_a_history_of_its_own(browser: Browser) -> None:
    day = a_day()
    paid(day)
    reconciled(day)
    (found,) = differences(day)
    href = f"/console/reconciliation/differences/{found.id}/"
    browser.post(f"{href}explain", {"reason": "Agreed by phone."})
    assert "?tab=history" in browser.get(href).text
    page = text_of(browser.get(f"{href}?tab=history"))
    for said in ("Found", "Explained", "Agreed by phone.", "Explanation"):
        assert said in page


def a_difference(day: date) -> Difference:
    zeroes = dict.fromkeys(("there_minor", "there_fee_minor", "here_minor", "here_fee_minor"), 0)
    about = {"kind": "fee", "booked_as": "capture", "source_id": "ch_1", "currency": "USD"}
    return Difference(reconciliation_id=reconciliation.id_of(day), **about, **zeroes)


def test_the_list_is_narrowed_by_what_a_day_came_to(browser: Browser) -> None:
    agrees, differs, failed, explained, in_part = (a_day() for _ in range(5))
    reconciled(agrees)
    row = reconciled(in_part)
    with transaction():
        lock(Reconciliation, row.id).begun_at = noon(in_part)
    paid(differs)
    reconciled(differs)
    row = reconciliation.reconcile(failed, by=finance())
    reconciliation.fail(row.id, "Stripe refused: no such key.")
    paid(explained)
    reconciled(explained)
    verbs.explain(differences(explained)[0].id, "Known", by=finance())
    shown = {
        **{"RECONCILED": agrees, "DIFFERS": differs, "FAILED": failed, "EXPLAINED": explained},
        "COMPARED_IN_PART": in_part,
    }
    for state in shown:
        listed = {day for day in shown.values() if f"/{reconciliation.id_of(day)}/" in list_of(browser, state, day)}
        assert listed == {shown[state]}
    assert "Stripe refused: no such key." in list_of(browser, "FAILED", failed)
    assert "Stripe refused: no such key." in text_of(browser.get(f"/console/reconciliation/{row.id}/"))


def test_a_day_that_was_begun_before_it_was_over_is_not_green(browser: Browser) -> None:
    day = a_day()
    row = reconciled(day)
    midnight = datetime.combine(day + timedelta(days=1), time(), UTC)
    for begun_at, words, chip in (
        (midnight + timedelta(seconds=119), "any movement so far.", "Compared in part"),
        (midnight + timedelta(seconds=120), "any movement.", "Reconciled"),
    ):
        with transaction():
            lock(Reconciliation, row.id).begun_at = begun_at
        page = text_of(browser.get(f"/console/reconciliation/{row.id}/"))
        assert words in page
        assert f">{chip}</span>" in page
    # Another day's differences are not its own.
    paid(day)
    reconciled(day)
    with transaction():
        lock(Reconciliation, row.id).begun_at = noon(day)
    assert ">Differs</span>" in text_of(browser.get(f"/console/reconciliation/{row.id}/"))


def list_of(browser: Browser, state: str, day: date) -> str:
    # From that day on: other tests have days, too.
    pages = [browser.get(f"/console/reconciliation/?state={state}&goto={shown}") for shown in (day,)]
    return " ".join(map(text_of, pages))


@pytest.mark.parametrize("query", ["month=2026-13", "month=1999-01", "month=x", "state=GREEN", "goto=x"])
def test_what_makes_no_sense_is_refused_in_words(browser: Browser, query: str) -> None:
    assert browser.get(f"/console/reconciliation/?{query}").status_code == 422


@pytest.mark.parametrize("query", ["kind=other", "after=x", "after=7", "after=0~x"])
def test_a_place_that_is_none_is_refused(browser: Browser, query: str) -> None:
    row = reconciled(a_day())
    assert browser.get(f"/console/reconciliation/{row.id}/?{query}").status_code == 422


@pytest.mark.parametrize("day", ["", "x", "2026-02-30", "2999-01-01", "1999-01-01"])
def test_a_day_that_is_none_is_refused(browser: Browser, day: str) -> None:
    before = db.session.scalars(select(Reconciliation.id)).all()
    assert browser.post("/console/reconciliation/reconcile", {"day": day}).status_code == 422
    db.session.rollback()
    assert db.session.scalars(select(Reconciliation.id)).all() == before


def test_many_differences_are_paged(browser: Browser) -> None:
    day = a_day()
    load(day, lines=120, amount=5000)
    row = reconciled(day)
    page = text_of(browser.get(f"/console/reconciliation/{row.id}/"))
    assert page.count("/console/reconciliation/differences/") == 100
    (more,) = re.findall(r'href="(\?kind=missing_here&amp;after=[^"]+)"', page)
    rest = text_of(browser.get(f"/console/reconciliation/{row.id}/{unescape(more)}"))
    assert rest.count("/console/reconciliation/differences/") == 20


def test_what_is_open_stands_before_what_is_dealt_with(browser: Browser) -> None:
    day = a_day()
    load(day, lines=120, amount=5000)
    row = reconciled(day)
    first = sorted(found.id for found in differences(day))[:60]
    for difference_id in first:
        verbs.explain(difference_id, "Known of", by=finance())
    page = text_of(browser.get(f"/console/reconciliation/{row.id}/"))
    found = [int(shown) for shown in re.findall(r'/console/reconciliation/differences/(\d+)/"', page)]
    assert len(found) == 100
    assert set(found[:60]).isdisjoint(first)
    assert found[60:] == first[:40]
    (more,) = re.findall(r'href="(\?kind=missing_here&amp;after=[^"]+)"', page)
    rest = text_of(browser.get(f"/console/reconciliation/{row.id}/{unescape(more)}"))
    assert [int(shown) for shown in re.findall(r'/console/reconciliation/differences/(\d+)/"', rest)] == first[40:]


def test_a_difference_is_assigned_on_its_page(browser: Browser) -> None:
    day = a_day()
    paid(day)
    reconciled(day)
    (found,) = differences(day)
    colleague = factories.staff("finance")
    href = f"/console/reconciliation/differences/{found.id}/"
    answer = browser.post(f"{href}assign", {"person": str(colleague.id)})
    assert answer.status_code == 302, answer.text
    assert differences(day)[0].assigned_to_id == colleague.id
    assert browser.post(f"{href}assign", {"person": "x"}).status_code == 422
    browser.post(f"{href}assign", {"person": ""})
    assert differences(day)[0].assigned_to_id is None


def test_the_list_can_be_exported(browser: Browser) -> None:
    day = a_day()
    reconciled(day)
    answer = browser.post("/console/reconciliation/export")
    assert answer.status_code == 302
    assert answer.location.startswith("/console/bulk/")


def test_no_entry_is_posted_by_looking(browser: Browser) -> None:
    day = a_day()
    one = paid(day)
    reconciled(day)
    (found,) = differences(day)
    browser.get(f"/console/reconciliation/differences/{found.id}/")
    assert db.session.scalars(select(LedgerEntry.id).where(LedgerEntry.source_id == one.charge_id)).all() == []
    assert reread(day).differing == 1
