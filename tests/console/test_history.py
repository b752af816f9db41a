"""The History tab of a record's page."""

from __future__ import annotations

import re
from html import unescape

import pytest
from flask import Flask
from sqlalchemy import select

from app.accounts import service as accounts
from app.audit.models import AuditEntry
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.db import transaction
from app.extensions import db
from app.logs import OUTSIDE_A_REQUEST
from tests import factories
from tests.accounts.codes import set_up
from tests.console.browser import Browser, signed_in
from tests.one_of_each import OBJECTS

RECORDS = {
    "bookings": ("booking", "booking_id"),
    "payments": ("payment", "payment_id"),
    "webhooks": ("done_event", "event_id"),
    "packages": ("package", "package_id"),
    "providers": ("provider", "provider_id"),
    "users": ("person", "user_id"),
    "staff": ("colleague", "person_id"),
    "mail": ("sent_mail", "mail_id"),
}


def shown(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text[:1000]
    return re.sub(r"\s+", " ", unescape(answer.text))


@pytest.mark.parametrize("page", RECORDS)
def test_every_record_has_its_history(app: Flask, page: str) -> None:
    kind, name = RECORDS[page]
    address = f"/console/{page}/{OBJECTS[kind](factories.actor()).args[name]}/"
    browser = signed_in(app, "admin")
    assert 'href="?tab=history"' in shown(browser, address)
    assert '<a href="?tab=history" aria-current="page">' in shown(browser, f"{address}?tab=history")


def test_an_entry_says_who_when_from_where_what_and_why(app: Flask) -> None:
    booking = factories.booking()
    person = factories.staff("support")
    by = accounts.actor_of(person, "203.0.113.7")
    bookings.cancel(booking.id, by=by, on_behalf_of="support", reason="Looks like <b>fraud</b>")
    entry = db.session.scalars(
        select(AuditEntry)
        .where(AuditEntry.object_type == "bookings", AuditEntry.object_id == booking.id)
        .order_by(AuditEntry.id.desc())
    ).first()
    assert entry is not None
    address = f"/console/bookings/{booking.id}/?tab=history"
    raw = signed_in(app, "support").get(address).text
    assert "Looks like &lt;b&gt;fraud&lt;/b&gt;" in raw
    page = shown(signed_in(app, "support"), address)
    first = page[: page.index("Booked, stock held")]
    for words in (person.name, "203.0.113.7", "Pending payment", "Cancelled by support", "Status"):
        assert words in first, words
    assert page.index("Cancelled") < page.index("Booked, stock held"), "the newest first"
    # What admins alone may open is not linked to for others.
    assert "/console/audit/" not in page
    assert "/console/staff/" not in page
    admin = shown(signed_in(app, "admin"), address)
    assert f'href="/console/audit/{entry.id}/"' in admin
    assert f'href="/console/staff/{person.id}/"' in admin


def test_a_long_history_is_paged_both_ways_and_says_nothing_of_others(app: Flask) -> None:
    booking, other = factories.booking(), factories.booking()
    with transaction():
        who = {"actor_kind": "system", "actor_label": "Tripdesk", "request_id": "req_1", "object_type": "bookings"}
        for number in range(60):
            of = {"object_id": booking.id, "action": f"step.{number}", "before": {}, "after": {}}
            db.session.add(AuditEntry(**of, **who))
            db.session.add(AuditEntry(**{**of, "object_id": other.id, "action": "not.this"}, **who))
            # The row of that id in another table.
            db.session.add(AuditEntry(**{**of, "action": "not.this"}, **{**who, "object_type": "packages"}))
            db.session.flush()
    browser, path = signed_in(app, "support"), f"/console/bookings/{booking.id}/"

    def steps(page: str) -> list[int]:
        assert "Not this" not in page
        return [int(number) for number in re.findall(r"Step (\d+)", page)]

    def follow(page: str, rel: str) -> str:
        found = re.search(rf'href="(\?tab=history&(?:before|after)=\d+)" rel="{rel}"', page)
        assert found, rel
        return shown(browser, path + found[1])

    first = shown(browser, f"{path}?tab=history")
    assert steps(first) == list(range(59, 34, -1))
    assert 'rel="prev"' not in first
    second = follow(first, "next")
    third = follow(second, "next")
    assert steps(second) == list(range(34, 9, -1))
    assert steps(third) == list(range(9, -1, -1))
    assert "Booked, stock held" in third
    assert 'rel="next"' not in third
    assert steps(follow(third, "prev")) == steps(second)
    assert steps(follow(follow(third, "prev"), "prev")) == steps(first)
    assert browser.get(f"{path}?tab=history&before=x").status_code == 422


def test_the_history_of_what_one_may_not_open_is_refused(app: Flask) -> None:
    paid = factories.paid_booking()
    payment_id = OBJECTS["payment"](factories.actor()).args["payment_id"]
    for role in ("support", "moderator"):
        browser = signed_in(app, role)
        assert browser.get(f"/console/payments/{payment_id}/?tab=history").status_code == 403
        page = shown(browser, f"/console/bookings/{paid.id}/?tab=history")
        assert "payment_intent" not in page


def test_looking_at_it_changes_nothing(app: Flask) -> None:
    booking = factories.booking()
    browser = signed_in(app, "support")
    before = db.session.scalars(select(AuditEntry.id).order_by(AuditEntry.id.desc())).first()
    shown(browser, f"/console/bookings/{booking.id}/?tab=history")
    db.session.rollback()
    assert db.session.scalars(select(AuditEntry.id).order_by(AuditEntry.id.desc())).first() == before
    assert db.session.get_one(Booking, booking.id).status == "PENDING_PAYMENT"


def test_roles_read_as_words_and_a_second_factor_as_a_time(app: Flask) -> None:
    colleague = factories.staff("support", "finance")
    set_up(colleague)
    browser = signed_in(app, "admin")
    page = shown(browser, f"/console/staff/{colleague.id}/?tab=history")
    assert "finance, support" in page
    assert '["' not in page
    assert re.search(r"Two factor since</th> <td[^>]*>.{,80}</td> <td[^>]*><time", page)
    assert "Two factor since" not in shown(browser, f"/console/staff/{colleague.id}/").split("Timeline")[1]


def test_what_was_done_outside_a_request_names_none(app: Flask) -> None:
    factories.booking()
    entry = db.session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert entry is not None
    assert entry.request_id == OUTSIDE_A_REQUEST
    browser = signed_in(app, "admin")
    assert f'request_id={OUTSIDE_A_REQUEST}"' not in shown(browser, f"/console/audit/{entry.id}/")
    assert f"<code>{OUTSIDE_A_REQUEST}</code>" not in shown(browser, "/console/audit/")
