"""From a list to a file: what is exported is what the list shows, and the page of the run says what will be in it."""

from __future__ import annotations

import csv
import re
from io import StringIO
from pathlib import Path

import pytest
from flask import Flask

from app import storage
from app.bulk.exports import EXPORTS
from app.bulk.models import Bulk
from app.console.base import RecordView
from app.console.queue import QueueView
from app.extensions import db
from app.reviews import service as reviews
from tests import factories, queued
from tests.console.browser import Browser, signed_in
from tests.console.test_bulk_pages import words

# Lists of what somebody had done, which are short.
NOT_EXPORTED = {"bulk", "imports", "synonyms"}


@pytest.fixture(autouse=True)
def folder(app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(app.extensions, "storage", storage.Folder(tmp_path))


def lists(app: Flask) -> list[RecordView | QueueView]:
    return [
        view for admin in app.extensions["admin"] for view in admin._views if isinstance(view, RecordView | QueueView)
    ]


def asked_for(browser: Browser, path: str) -> tuple[Bulk, str]:
    """Press a list's button: the run, and its page."""
    answer = browser.post(path)
    assert answer.status_code == 302, answer.text
    page = browser.get(answer.location).text
    run = db.session.get(Bulk, int(re.search(r"/bulk/(\d+)/", answer.location)[1]))  # type: ignore[index]
    assert run is not None
    return run, page


def downloaded(browser: Browser, run: Bulk) -> tuple[dict[str, str], list[list[str]]]:
    """Start it, wait, and take its file."""
    here = f"/console/bulk/{run.id}/"
    assert browser.post(f"{here}start", token_from=here).status_code == 302
    db.session.expunge(run)  # a worker has not read it before it was started
    assert queued.work_off() == []
    assert f'action="{here}download"' in browser.get(here).text
    answer = browser.post(f"{here}download", token_from=here)
    assert answer.status_code == 200, answer.text
    return dict(answer.headers), list(csv.reader(StringIO(answer.data.decode("utf-8-sig"), newline="")))


def test_every_list_and_queue_can_be_exported_by_whom_it_opens_for(app: Flask) -> None:
    without = {page.endpoint for page in lists(app) if not page.exported_as}
    assert without == NOT_EXPORTED, "say in app/bulk/exports.py what is exported of it, and name that as exported_as"
    for page in lists(app):
        if page.endpoint in NOT_EXPORTED:
            continue
        export = EXPORTS[page.exported_as]
        assert export.roles == page.roles, page.endpoint
        assert export.model is page.model, page.endpoint
        if isinstance(page, RecordView):  # a queue is exported with all columns that its export has
            assert {column.key for column in page.columns} <= {field.key for field in export.fields}, page.endpoint


def test_a_list_is_exported_with_its_filters_order_and_columns(app: Flask) -> None:
    package = factories.package(days=20, units=9)
    booked = [factories.booking(of=package, nights=nights) for nights in (1, 3, 2)]
    factories.booking()
    browser = signed_in(app, "support")
    query = f"package_id={package.id}&status=PENDING_PAYMENT&sort=starts_on&columns=reference,total"
    listed = browser.get(f"/console/bookings/?{query}").text
    action = re.search(r'<form id="export" method="post" action="([^"]+)"', listed)
    assert action is not None
    run, page = asked_for(browser, action[1].replace("&amp;", "&"))
    said = words(page)
    assert "3 bookings will be exported" in said
    assert "Columns Id, Booking, Total, Currency" in said
    assert "State: Pending payment" in said
    assert "Masked" not in said
    headers, (header, *rows) = downloaded(browser, run)
    assert header == ["Id", "Booking", "Total", "Currency"]
    in_order = sorted(booked, key=lambda booking: (booking.starts_on, booking.id))
    assert [row[1] for row in rows] == [booking.reference for booking in in_order]
    assert [row[2] for row in rows] == [f"{booking.total_minor / 100:.2f}" for booking in in_order]
    assert headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert re.fullmatch(
        rf"attachment; filename=bookings-\d{{4}}-\d\d-\d\d-{run.id}\.csv", headers["Content-Disposition"]
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_a_search_is_exported_by_what_it_found(app: Flask) -> None:
    factories.traveller(name="Zoe of another name")
    people = [factories.traveller(name=f"Zebulon Quartermain {number}") for number in range(3)]
    browser = signed_in(app, "support")
    run, page = asked_for(browser, "/console/users/export?q=quartermain&columns=email&sort=name")
    assert "Search: quartermain" in words(page)
    _, (_, *rows) = downloaded(browser, run)
    assert [row[2] for row in rows] == [person.email for person in people]


def test_the_page_says_what_is_masked_for_the_role(app: Flask) -> None:
    factories.traveller()
    for role, said in (
        ("moderator", "Traveller, E-mail: only first letters"),
        ("finance", "E-mail: only first letters"),
        ("support", ""),
    ):
        _, page = asked_for(signed_in(app, role), "/console/users/export")
        assert (f"Masked {said}" in words(page)) if said else ("Masked" not in words(page))


def test_a_queue_is_exported_in_the_order_and_the_state_that_is_shown(app: Flask) -> None:
    package = factories.package(units=9)
    usual, poor, awful = (factories.review(of=package, rating=rating) for rating in (5, 2, 1))
    advert = factories.review(of=package, content="Better rooms at www.example.com")
    browser = signed_in(app, "moderator")
    query = f"?package_id={package.id}"
    listed = browser.get(f"/console/reviews/{query}").text
    assert f'action="/console/reviews/export{query}"' in listed
    shown = [int(row_id) for row_id in re.findall(r'type="checkbox" name="id" value="(\d+)"', listed)]
    assert shown == [advert.id, awful.id, poor.id, usual.id]
    run, page = asked_for(browser, f"/console/reviews/export{query}")
    assert "State: Waiting" in words(page)
    _, (_, *rows) = downloaded(browser, run)
    assert [int(row[0]) for row in rows] == shown

    nothing = browser.post(f"/console/reviews/export{query}&status=APPROVED")
    assert nothing.status_code == 422
    assert "No reviews are selected" in nothing.text
    by = factories.actor(factories.staff("moderator"))
    reviews.approve_many([usual.id, awful.id, poor.id], by=by)
    run, page = asked_for(browser, f"/console/reviews/export{query}&status=APPROVED")
    assert "State: Approved" in words(page)
    _, (_, *rows) = downloaded(browser, run)
    assert [int(row[0]) for row in rows] == [awful.id, poor.id, usual.id]  # newest first


def test_an_empty_list_offers_no_export(app: Flask) -> None:
    browser = signed_in(app, "support")
    assert "/export" not in browser.get("/console/users/?q=nobody-is-called-this-way").text


def test_a_file_that_is_gone_is_said_to_be_and_not_offered(app: Flask) -> None:
    factories.traveller()
    browser = signed_in(app, "support")
    run, _ = asked_for(browser, "/console/users/export?q=traveller")
    downloaded(browser, run)
    db.session.execute(
        db.text("UPDATE bulks SET file_until = now() - interval '1 hour' WHERE id = :id"), {"id": run.id}
    )
    db.session.commit()
    here = f"/console/bulk/{run.id}/"
    page = browser.get(here).text
    assert "kept for 7 days and is deleted" in words(page)
    assert f"{here}download" not in page
    assert browser.post(f"{here}download", token_from=here).status_code == 409
