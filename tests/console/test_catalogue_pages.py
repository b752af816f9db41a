"""The console's pages of packages, providers and travellers, and what is done on them and on a booking's page."""

from __future__ import annotations

import re
from datetime import date, timedelta
from html import unescape
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from app.audit.models import AuditEntry
from app.bookings.models import Booking, BookingNote
from app.catalog.models import Package, Provider
from app.extensions import db
from tests import factories
from tests.console.browser import signed_in

ROLES = ("support", "moderator", "finance", "admin")
FIRST = factories.tomorrow()
DAY = timedelta(days=1)


def page_of(row: Any) -> str:
    kind = {Package: "packages", Provider: "providers", Booking: "bookings"}.get(type(row), "users")
    return f"/console/{kind}/{row.id}/"


def prices(package: Package) -> list[int]:
    db.session.rollback()
    rows = db.session.scalars(
        text("SELECT price_minor FROM availability WHERE package_id = :id ORDER BY day"), {"id": package.id}
    )
    return list(rows)


def notes_of(booking: Booking) -> int:
    return db.session.scalar(select(func.count()).where(BookingNote.booking_id == booking.id)) or 0


@pytest.mark.parametrize("role", ROLES)
def test_every_role_reads_packages_providers_and_travellers(app: Flask, role: str) -> None:
    booking = factories.booking()
    package = db.session.get_one(Package, booking.package_id)
    person = db.session.get_one(factories.User, booking.traveller_id)
    browser = signed_in(app, role)
    for row, words in ((package, package.name), (package.provider, package.provider.name), (person, person.email)):
        path = page_of(row)
        assert words in browser.get(f"{path.rsplit('/', 2)[0]}/?q={words}").text
        page = browser.get(path)
        assert page.status_code == 200
        assert booking.reference in page.text


@pytest.mark.parametrize("role", ["support", "moderator", "finance"])
def test_who_only_reads_is_offered_no_button_and_served_none(app: Flask, role: str) -> None:
    package = factories.package()
    browser = signed_in(app, role)
    for path in (page_of(package), page_of(package.provider)):
        page = browser.get(path).text
        main = page[page.index("<main") : page.index("</main>")]
        assert "<form" not in main
        assert "data-day" not in main
    days = {"first": FIRST.isoformat(), "last": FIRST.isoformat(), "price": "5"}
    refused = [
        browser.post(f"{page_of(package)}unpublish", {"reason": "x"}),
        browser.post(f"{page_of(package)}publish"),
        browser.post(f"{page_of(package)}days", days),
        browser.get(f"{page_of(package)}days?first={FIRST}&last={FIRST}&price=5"),
        browser.post(f"{page_of(package.provider)}suspend", {"reason": "x"}),
    ]
    assert [answer.status_code for answer in refused] == [403] * 5
    assert factories.reread(package).status == "PUBLISHED"
    assert set(prices(package)) == {10_000}
    assert factories.reread(package.provider).status == "VERIFIED"


# ------------------------------------------------------------------ lists


def test_packages_are_found_by_words_of_name_and_place_and_narrowed(app: Flask) -> None:
    wanted = factories.package(name="Blue Heron Lodge 100%", city="Tromsø", country="Norway", place="Kvaløya")
    other = factories.package(name="Grey Heron Lodge", city="Bergen", status="DRAFT")
    browser = signed_in(app, "support")
    for words in ("heron tromsø", "KVALØYA", "100%25", "lodge norway blue"):
        page = browser.get(f"/console/packages/?q={words}").text
        assert wanted.name in page, words
        assert other.name not in page, words
    assert "No packages match" in browser.get("/console/packages/?q=heron_lodge").text
    page = browser.get("/console/packages/?q=heron&status=DRAFT").text
    assert (wanted.name in page, other.name in page) == (False, True)
    page = browser.get(f"/console/packages/?provider_id={wanted.provider_id}").text
    assert (wanted.name in page, other.name in page) == (True, False)
    assert f"Provider: {wanted.provider.name}" in page
    assert f'name="provider_id" value="{wanted.provider_id}"' in page


@pytest.mark.parametrize("query", ["provider_id=x", "provider_id=-1", "provider_id=" + "9" * 30, "type=boat"])
def test_an_odd_narrowing_is_refused_in_words(app: Flask, query: str) -> None:
    assert signed_in(app, "support").get(f"/console/packages/?{query}").status_code == 422


def test_a_provider_that_is_not_there_narrows_to_nothing(app: Flask) -> None:
    page = signed_in(app, "support").get("/console/packages/?provider_id=999999999999999999").text
    assert "No packages match" in page


def test_travellers_are_found_by_part_of_name_address_and_by_reference(app: Flask) -> None:
    person = factories.traveller(name="Ragnhild Ødegård")
    other = factories.traveller(name="Somebody Else")
    booking = factories.booking(by=factories.actor(person))
    staff = factories.staff("support")
    browser = signed_in(app, "support")
    for words in ("nhild", "ØDEGÅRD ragn", person.email[3:20], booking.reference.lower()):
        page = browser.get(f"/console/users/?q={words}").text
        assert person.email in page, words
        assert other.email not in page, words
    page = browser.get(f"/console/users/?q={staff.email}").text
    assert "No travellers match" in page
    assert browser.get(page_of(staff)).status_code == 404


def test_staff_who_booked_something_are_travellers_too(app: Flask) -> None:
    staff = factories.staff("support")
    booking = factories.booking(by=factories.actor(staff))
    page = signed_in(app, "moderator").get(page_of(staff))
    assert page.status_code == 200
    assert booking.reference in page.text


def test_bookings_are_narrowed_to_a_traveller_a_package_or_a_provider(app: Flask) -> None:
    booking, other = factories.booking(), factories.booking()
    browser = signed_in(app, "finance")
    for name in ("traveller_id", "package_id", "provider_id"):
        page = browser.get(f"/console/bookings/?{name}={getattr(booking, name)}").text
        assert booking.reference in page, name
        assert other.reference not in page, name


@pytest.mark.parametrize("kind", ["packages", "providers", "users"])
@pytest.mark.parametrize("row_id", ["0", str(2**63), "9" * 400])
def test_what_is_not_there_is_404_as_a_page(app: Flask, kind: str, row_id: str) -> None:
    answer = signed_in(app, "admin").get(f"/console/{kind}/{row_id}/")
    assert (answer.status_code, answer.mimetype) == (404, "text/html")


# ------------------------------------------------------------------ the calendar


def cell(page: str, day: date) -> str:
    marked = f"{day:%a} {day.day} {day:%b} {day.year}"
    cells = [part for part in re.findall(r"<td.*?</td>", page, re.DOTALL) if f'aria-label="{marked}' in part]
    assert len(cells) == 1, marked
    return " ".join(cells[0].split())


def test_the_calendar_shows_price_stock_sold_out_closed_and_missing_days(app: Flask) -> None:
    first = FIRST.replace(day=1) + timedelta(days=70)
    first = first.replace(day=1)
    package = factories.package(units=2, starting=first, days=4)
    for day, held, booked, closed in ((0, 1, 0, False), (1, 0, 2, False), (2, 0, 1, True)):
        db.session.execute(
            text(
                "UPDATE availability SET held = :held, booked = :booked, closed = :closed"
                " WHERE package_id = :id AND day = :day"
            ),
            {"held": held, "booked": booked, "closed": closed, "id": package.id, "day": first + day * DAY},
        )
    db.session.commit()
    page = signed_in(app, "moderator").get(f"{page_of(package)}?month={first:%Y-%m}").text
    assert f"{first:%B %Y}" in page
    for day, shown in ((0, "1 of 2 left"), (1, "Sold out"), (2, "Closed"), (3, "2 of 2 left"), (4, "Not offered")):
        assert shown in cell(page, first + day * DAY), shown
    assert "1 held" in cell(page, first)
    assert "2 booked" in cell(page, first + DAY)
    assert "$100.00" in cell(page, first)


@pytest.mark.parametrize("month", ["x", "2026-13", "1999-12", "2101-01", "2026-12-01"])
def test_an_odd_month_is_refused_in_words(app: Flask, month: str) -> None:
    assert signed_in(app, "support").get(f"{page_of(factories.package())}?month={month}").status_code == 422


def test_choosing_a_first_and_a_last_day_fills_the_form(app: Flask) -> None:
    package = factories.package()
    browser = signed_in(app, "admin")
    month = f"{FIRST:%Y-%m}"
    page = browser.get(f"{page_of(package)}?month={month}").text
    href = f"?month={month}&amp;first={FIRST.isoformat()}#calendar"
    assert href in cell(page, FIRST)
    page = browser.get(f"{page_of(package)}?month={month}&first={FIRST.isoformat()}").text
    assert f'value="{FIRST.isoformat()}"' in page
    assert f"first={FIRST.isoformat()}&amp;last={FIRST.isoformat()}#calendar" in cell(page, FIRST)
    assert "data-chosen" in cell(page, FIRST)
    assert browser.get(f"{page_of(package)}?first=nonsense&last=%00").status_code == 422


# ------------------------------------------------------------------ changing days


def fields(**values: Any) -> dict[str, Any]:
    return {"first": FIRST.isoformat(), "last": (FIRST + 2 * DAY).isoformat(), "weekday": list("0123456"), **values}


def query(values: dict[str, Any]) -> str:
    pairs = [(name, item) for name, value in values.items() for item in (value if isinstance(value, list) else [value])]
    return "&".join(f"{name}={value}" for name, value in pairs)


def version_in(page: str) -> str:
    (version,) = re.findall(r'name="version" value="([^"]+)"', page)
    return str(version)


def test_days_are_previewed_and_then_changed(app: Flask) -> None:
    package = factories.package(days=5)
    browser = signed_in(app, "admin")
    page = browser.get(f"{page_of(package)}days?{query(fields(price='129.50'))}").text
    assert "3 days will change" in page
    assert "$129.50" in page
    assert set(prices(package)) == {10_000}
    answer = browser.post(f"{page_of(package)}days", fields(price="129.50", version=version_in(page)))
    assert answer.status_code == 302
    assert prices(package) == [12_950] * 3 + [10_000] * 2
    page = browser.get(page_of(package)).text
    assert "3 days changed." in page
    assert f"3 days, {FIRST} to {FIRST + 2 * DAY}" in page


def test_a_change_that_is_not_possible_names_the_days_and_offers_no_button(app: Flask) -> None:
    package = factories.package(units=3)
    factories.booking(of=package, units=2, nights=1)
    browser = signed_in(app, "admin")
    page = browser.get(f"{page_of(package)}days?{query(fields(capacity='1'))}").text
    assert "1 is fewer than what is held or booked on 1 day" in page
    assert "2 held or booked" in page
    assert 'name="version"' not in page


def test_a_change_overtaken_by_another_shows_the_preview_again_and_who_was_first(app: Flask) -> None:
    package = factories.package()
    first, second = signed_in(app, "admin"), signed_in(app, "admin")
    seen = version_in(second.get(f"{page_of(package)}days?{query(fields(price='90'))}").text)
    own = version_in(first.get(f"{page_of(package)}days?{query(fields(price='80'))}").text)
    assert first.post(f"{page_of(package)}days", fields(price="80", version=own)).status_code == 302
    answer = second.post(f"{page_of(package)}days", fields(price="90", version=seen))
    assert answer.status_code == 409
    assert "These days were changed in the meantime, last by Staff" in answer.text
    assert prices(package)[:3] == [8_000] * 3
    again = second.post(f"{page_of(package)}days", fields(price="90", version=version_in(answer.text)))
    assert again.status_code == 302
    assert prices(package)[:3] == [9_000] * 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"price": "cheap"}, "Give an amount in USD such as 129.00."),
        ({"price": "1.005"}, "Give an amount in USD such as 129.00."),
        ({"price": "NaN"}, "Give an amount in USD such as 129.00."),
        ({"price": "1e30"}, "Give an amount in USD such as 129.00."),
        ({"price": "-5"}, "Give a price above 0"),
        ({"capacity": "many"}, "Give a whole number."),
        ({"capacity": "²"}, "Give a whole number."),
        ({"first": "tomorrow"}, "Give a day such as 2026-12-24."),
        ({"last": "2020-01-01", "price": "5"}, "This must not be before the first day."),
        ({"sale": "maybe", "price": "5"}, "Choose one of the three."),
        ({}, "Say what to change"),
    ],
)
def test_what_was_typed_wrong_is_said_at_the_field_and_kept(app: Flask, values: dict[str, str], message: str) -> None:
    package = factories.package()
    browser = signed_in(app, "admin")
    answer = browser.get(f"{page_of(package)}days?{query(fields(**values))}")
    assert answer.status_code == 422
    assert message in answer.text
    for name in values.keys() - {"sale"}:
        assert f'value="{values[name]}"' in answer.text
    posted = browser.post(f"{page_of(package)}days", fields(**values, version="x"))
    assert posted.status_code == 422
    assert message in posted.text
    assert set(prices(package)) == {10_000}


# ------------------------------------------------------------------ decisions


def test_a_provider_is_suspended_and_reinstated_with_reasons(app: Flask) -> None:
    package = factories.package()
    provider = package.provider
    browser = signed_in(app, "admin")
    assert "Takes 1 published package off sale at once" in browser.get(page_of(provider)).text
    form = {"reason": "Complaints of travellers", "note": "Five in a week"}
    answer = browser.post(f"{page_of(provider)}suspend", form, token_from=page_of(provider))
    assert (answer.status_code, answer.location) == (302, page_of(provider))
    page = browser.get(page_of(provider)).text
    assert "is suspended; its packages are off sale, its bookings stand." in page
    assert "Complaints of travellers. Five in a week" in page
    assert "not on sale: the provider is suspended" in browser.get(page_of(package)).text
    again = browser.post(f"{page_of(provider)}suspend", form, token_from=page_of(provider))
    assert again.status_code == 409
    assert "That was Staff" in again.text
    browser.post(f"{page_of(provider)}reinstate", {"reason": "Put right"}, token_from=page_of(provider))
    assert factories.reread(provider).status == "VERIFIED"


def test_who_reads_a_reason_is_said_as_it_fits_the_record(app: Flask) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    browser = signed_in(app, "admin")
    hidden = "Kept in the booking's history. The traveller does not see it."
    assert hidden in unescape(browser.get(page_of(booking)).text)
    for path in (page_of(package), page_of(package.provider), f"/console/staff/{factories.staff('support').id}/"):
        page = browser.get(path).text
        assert "Kept in its history, which only staff see." in page
        assert "raveller does not see" not in page


def test_there_is_no_other_decision(app: Flask) -> None:
    provider = factories.provider()
    answer = signed_in(app, "admin").post(f"{page_of(provider)}delete", {"reason": "x"}, token_from=page_of(provider))
    assert answer.status_code == 404
    assert factories.reread(provider).status == "VERIFIED"


def test_a_package_is_unpublished_and_published(app: Flask) -> None:
    package = factories.package()
    browser = signed_in(app, "admin")
    browser.post(f"{page_of(package)}unpublish", {"reason": "Closed for good"}, token_from=page_of(package))
    assert factories.reread(package).status == "DRAFT"
    browser.post(f"{page_of(package)}publish", token_from=page_of(package))
    assert factories.reread(package).status == "PUBLISHED"
    assert "It is on sale now." in browser.get(page_of(package)).text


# ------------------------------------------------------------------ on a booking's page


@pytest.mark.parametrize(
    ("role", "may"), [("support", True), ("admin", True), ("moderator", False), ("finance", False)]
)
def test_only_support_and_admins_write_notes_and_everybody_reads_them(app: Flask, role: str, may: bool) -> None:
    booking = factories.booking()
    browser = signed_in(app, role)
    action = f"{page_of(booking)}notes"
    kept = select(BookingNote.id).where(BookingNote.booking_id == booking.id)
    noted = select(func.count()).where(AuditEntry.action == "booking.note", AuditEntry.object_id.in_(kept))
    assert (action in browser.get(page_of(booking)).text) is may
    answer = browser.post(action, {"note": "Asked for a <b>quiet</b> room"}, token_from=page_of(booking))
    if may:
        assert answer.status_code == 302
        assert db.session.scalar(noted) == 1
        page = signed_in(app, "moderator").get(page_of(booking)).text
        assert "Asked for a &lt;b&gt;quiet&lt;/b&gt; room" in page
    else:
        assert answer.status_code == 403
    assert notes_of(booking) == int(may)


@pytest.mark.parametrize("note", ["", "   ", "x" * 4_001])
def test_a_note_needs_words_and_not_too_many(app: Flask, note: str) -> None:
    booking = factories.booking()
    browser = signed_in(app, "support")
    assert browser.post(f"{page_of(booking)}notes", {"note": note}).status_code == 422
    assert notes_of(booking) == 0


def test_a_note_on_a_booking_that_is_not_there_is_404(app: Flask) -> None:
    assert signed_in(app, "support").post("/console/bookings/0/notes", {"note": "Hello"}).status_code == 404


def test_a_stay_is_completed_by_hand_on_its_last_day_and_not_before(app: Flask) -> None:
    booking = factories.paid_booking()
    browser = signed_in(app, "support")
    action = f"{page_of(booking)}complete"
    page = browser.get(page_of(booking)).text
    assert action not in page
    assert "The stay ends on" in page
    form = {"reason": "Traveller has left", "typed": booking.reference}
    answer = browser.post(action, form, token_from=page_of(booking))
    assert answer.status_code == 409
    assert "complete it from then on" in answer.text
    assert factories.reread(booking).status == "CONFIRMED"
    db.session.execute(
        text(
            "UPDATE bookings SET starts_on = (now() AT TIME ZONE time_zone)::date - 2,"
            " ends_on = (now() AT TIME ZONE time_zone)::date WHERE id = :id"
        ),
        {"id": booking.id},
    )
    db.session.commit()
    assert action in browser.get(page_of(booking)).text
    assert browser.post(action, {"typed": booking.reference}, token_from=page_of(booking)).status_code == 422
    assert factories.reread(booking).status == "CONFIRMED"
    answer = browser.post(action, form, token_from=page_of(booking))
    assert answer.status_code == 302
    assert factories.reread(booking).status == "COMPLETED"
    again = browser.post(action, form, token_from=page_of(booking))
    assert again.status_code == 409
    assert "That was Staff" in again.text


@pytest.mark.parametrize("role", ["moderator", "finance"])
def test_others_complete_nothing(app: Flask, role: str) -> None:
    booking = factories.paid_booking()
    answer = signed_in(app, role).post(f"{page_of(booking)}complete", {"reason": "x"})
    assert answer.status_code == 403
    assert factories.reread(booking).status == "CONFIRMED"


def test_who_cancels_second_reads_who_was_first(app: Flask) -> None:
    booking = factories.booking()
    first, second = signed_in(app, "support"), signed_in(app, "support")
    action = f"{page_of(booking)}cancel/support"
    assert first.post(action, {"reason": "Booked twice", "typed": booking.reference}).status_code == 302
    answer = second.post(f"{page_of(booking)}cancel/provider", {"reason": "Closed", "typed": booking.reference.lower()})
    assert answer.status_code == 409
    assert "This booking is cancelled by support" in answer.text
    assert "That was Staff" in answer.text
    assert factories.reread(booking).status == "CANCELLED_BY_SUPPORT"


def test_nothing_on_these_pages_is_inline_and_every_form_has_its_token(app: Flask) -> None:
    booking = factories.booking(of=factories.package(name="Fjord <b>house</b>"))
    package = db.session.get_one(Package, booking.package_id)
    person = db.session.get_one(factories.User, booking.traveller_id)
    browser = signed_in(app, "admin")
    paths = [
        *("/console/packages/", "/console/providers/", "/console/users/"),
        *(page_of(package), page_of(package.provider), page_of(person), page_of(booking)),
        f"{page_of(package)}days?{query(fields(price='90'))}",
    ]
    for path in paths:
        page = browser.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", page), path
        assert "<b>house" not in page
        for form in re.findall(r'<form[^>]*method="post".*?</form>', page, re.DOTALL):
            assert 'name="csrf_token"' in form, path


def test_a_short_word_has_to_begin_a_word(app: Flask) -> None:
    person = factories.traveller(name="Quirin Oz")
    browser = signed_in(app, "support")
    assert person.email in browser.get("/console/users/?q=quirin oz").text
    assert person.email in browser.get("/console/users/?q=qu oz").text
    assert person.email in browser.get("/console/users/?q=q oz").text
    assert person.email not in browser.get("/console/users/?q=ri oz").text
    assert person.email not in browser.get("/console/users/?q=quirin z").text


@pytest.mark.parametrize("path", ["users", "packages", "providers"])
def test_a_search_without_letters_finds_nothing_and_says_so(app: Flask, path: str) -> None:
    """The index knows letters and digits alone; signs would be looked for in every row."""
    factories.traveller(name="Dash --- Traveller")
    factories.package(name="Dash --- House", provider_id=factories.provider(name="Dash --- Provider").id)
    browser = signed_in(app, "support")
    page = browser.get(f"/console/{path}/?q=---")
    assert page.status_code == 200
    assert "There is nothing to search for: type letters or digits." in page.text
    assert "Dash ---" not in page.text
    found = browser.get(f"/console/{path}/?q=--- dash")
    assert "Dash ---" in found.text


def test_people_and_packages_are_searched_through_an_index(app: Flask) -> None:
    plans = []
    # So few rows are quicker read from end to end, also of the index that sorts them.
    for way in ("seqscan", "indexscan", "indexonlyscan"):
        db.session.execute(text(f"SET LOCAL enable_{way} = off"))
    for table, columns in (("users", ("name", "email")), ("packages", ("name", "place", "city", "country"))):
        for column in columns:
            for pattern in ("%heron%", "% he%", "h%", "a--%", "% ab-%", "%ab-c%"):
                plan = db.session.scalars(
                    text(f"EXPLAIN SELECT id FROM {table} WHERE {column} ILIKE :pattern"), {"pattern": pattern}
                )
                plans.append((column, f"ix_{table}_{column}_words" in " ".join(plan)))
    db.session.rollback()
    assert [column for column, indexed in plans if not indexed] == []
