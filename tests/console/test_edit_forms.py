"""The pages that edit a record: what they show, save and refuse, and how they ask which of two saves to keep."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from flask import Flask

from app.catalog.models import Package
from app.extensions import db
from tests import factories
from tests.console.browser import Browser, signed_in


def page_of(row: Any) -> str:
    return f"/console/{'packages' if isinstance(row, Package) else 'providers'}/{row.id}/"


def form_of(page: str) -> dict[str, str]:
    """The fields of the form, as a browser would send them untouched."""
    form = page[page.index('<form class="edit-form"') :]
    form = form[: form.index("</form>")]
    fields = {}
    for tag in re.findall(r"<input [^>]*>", form):
        found = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if found["type"] not in ("radio", "submit"):
            fields[found["name"]] = unescape(found["value"])
    for name, text in re.findall(r'<textarea[^>]*? name="(\w+)"[^>]*>\n(.*?)</textarea>', form, re.DOTALL):
        fields[name] = unescape(text)
    for name, options in re.findall(r'<select[^>]*? name="(\w+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)" selected', options)
        fields[name] = unescape(chosen[1]) if chosen else ""
    return fields


def opened(browser: Browser, row: Any) -> dict[str, str]:
    answer = browser.get(f"{page_of(row)}edit")
    assert answer.status_code == 200
    return form_of(answer.text)


def send(browser: Browser, row: Any, form: dict[str, Any]) -> Any:
    path = f"{page_of(row)}edit"
    return browser.client.post(path, data=form)


def words_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.text)))


def test_a_package_is_edited_and_its_page_says_so(app: Flask) -> None:
    package = factories.package(
        name='Fjord "house" <b>', description="Two rooms.\n\nA view.", amenities=["Wi-Fi", "Spa"]
    )
    browser = signed_in(app, "admin")
    assert f'href="{page_of(package)}edit"' in browser.get(page_of(package)).text
    form = opened(browser, package)
    assert (form["name"], form["description"], form["amenities"]) == (
        'Fjord "house" <b>',
        "Two rooms.\n\nA view.",
        "Wi-Fi\nSpa",
    )
    assert (form["price"], form["country"], form["time_zone"]) == ("100.00", "Norway", "Europe/Oslo")
    answer = send(browser, package, {**form, "name": "Fjord house", "price": "129"})
    assert (answer.status_code, answer.location) == (302, page_of(package))
    after = factories.reread(package)
    assert (after.name, after.price_minor, after.description) == ("Fjord house", 12_900, "Two rooms.\n\nA view.")
    shown = browser.get(page_of(package)).text
    assert "Your changes are saved." in shown
    # The browser's draft goes by this, and by nothing else.
    assert f'data-saved="{page_of(package)}edit"' in shown
    told = words_of(browser.get(f"{page_of(package)}?tab=history"))
    assert "Edited" in told
    assert "$100.00" in told
    assert "$129.00" in told


def test_a_provider_is_edited_and_its_page_says_how_it_is_reached(app: Flask) -> None:
    provider = factories.provider()
    browser = signed_in(app, "admin")
    form = opened(browser, provider)
    assert send(browser, provider, {**form, "phone": "+47 22 12 34 56", "country": "Norway"}).status_code == 302
    shown = words_of(browser.get(page_of(provider)))
    assert "+47 22 12 34 56" in shown
    assert "Norway" in shown


@pytest.mark.parametrize("role", ["support", "moderator", "finance"])
def test_who_only_reads_is_neither_offered_nor_served_the_form(app: Flask, role: str) -> None:
    package = factories.package()
    browser = signed_in(app, role)
    for row in (package, package.provider):
        assert f"{page_of(row)}edit" not in browser.get(page_of(row)).text
        assert browser.get(f"{page_of(row)}edit").status_code == 403
        name = row.name
        assert browser.post(f"{page_of(row)}edit", {"seen": "0", "name": "Mine"}).status_code == 403
        assert factories.reread(row).name == name


def test_a_refused_form_comes_back_as_it_was_sent_with_each_error_at_its_field(app: Flask) -> None:
    package = factories.package(name="Old", description="Old words")
    browser = signed_in(app, "admin")
    form = opened(browser, package)
    typed = {
        **form,
        "description": 'New <words>\n"here"',
        "units": "none",
        "city": "  ",
        "cancellation_policy": "strict",
    }
    answer = send(browser, package, typed)
    assert answer.status_code == 422
    again = form_of(answer.text)
    assert {name: again[name] for name in typed if name != "csrf_token"} == {
        name: text for name, text in typed.items() if name != "csrf_token"
    }
    assert "2 fields need another look." in answer.text
    for name, words in (("units", "is not a number."), ("city", "This is missing.")):
        error = re.search(rf'id="error-{name}">.*?</p>', answer.text, re.DOTALL)
        assert error, name
        assert words in error[0]
        field = re.search(rf'<input[^>]*id="field-{name}"[^>]*>', answer.text)
        assert field, name
        assert 'aria-invalid="true"' in field[0]
        assert f"error-{name}" in re.findall(r'aria-describedby="([^"]*)"', field[0])[0].split()
    # The first wrong field, and no other, takes the focus.
    assert re.findall(r'id="field-(\w+)"[^>]*autofocus', answer.text) == ["city"]
    assert factories.reread(package).description == "Old words"


@pytest.mark.parametrize("seen", ["", "-1", "x", "9" * 30])
def test_a_version_that_no_form_carries_is_refused(app: Flask, seen: str) -> None:
    package = factories.package(name="Old")
    browser = signed_in(app, "admin")
    assert send(browser, package, {**opened(browser, package), "seen": seen, "name": "New"}).status_code == 422
    assert factories.reread(package).name == "Old"


def clashing(app: Flask) -> tuple[Package, Browser, dict[str, str], Any]:
    """Two admins with the same form: what the second one's save was answered with."""
    package = factories.package(name="Old", description="Old words", city="Oslo", place="Centre")
    first, second = signed_in(app, "admin"), signed_in(app, "admin")
    hers, his = opened(first, package), opened(second, package)
    saved = send(first, package, {**hers, "name": "Hers", "description": "Her words", "city": "Bergen"})
    assert saved.status_code == 302
    answer = send(second, package, {**his, "name": "His", "description": "His words", "place": "Harbour"})
    return package, second, his, answer


def test_a_save_over_anothers_save_shows_both_and_keeps_the_words(app: Flask) -> None:
    package, _, his, answer = clashing(app)
    assert answer.status_code == 409
    shown = words_of(answer)
    assert re.search(r"Staff \w+ saved the same fields while you were at it\. Nothing of yours is saved yet\.", shown)
    assert "Changed by others only, and kept: City." in shown
    for words in ("When you opened it Old", "Hers", "Old words", "Her words"):
        assert words in shown
    assert answer.text.count('name="clash"') == 2
    again = form_of(answer.text)
    assert {name: again[name] for name in ("name", "description", "place", "city", "seen")} == {
        "name": "His",
        "description": "His words",
        "place": "Harbour",
        "city": "Bergen",
        "seen": his["seen"],
    }
    assert int(again["against"]) > int(again["seen"])
    after = factories.reread(package)
    assert (after.name, after.description, after.place) == ("Hers", "Her words", "Centre")


def test_each_field_is_kept_as_chosen_and_the_rest_is_saved_with_it(app: Flask) -> None:
    package, browser, _, answer = clashing(app)
    chosen = {"clash": ["name", "description"], "keep-name": "theirs", "keep-description": "yours"}
    sent = {**form_of(answer.text), **chosen, "description": "His words, edited once more"}
    assert send(browser, package, sent).status_code == 302
    after = factories.reread(package)
    assert (after.name, after.description, after.place, after.city) == (
        "Hers",
        "His words, edited once more",
        "Harbour",
        "Bergen",
    )


def test_without_a_choice_for_each_nothing_is_saved_and_what_was_chosen_stays(app: Flask) -> None:
    package, browser, _, answer = clashing(app)
    sent = {**form_of(answer.text), "clash": ["name", "description"], "keep-name": "yours"}
    again = send(browser, package, sent)
    assert again.status_code == 409
    assert again.text.count("Choose which of the two to keep.") == 1
    assert re.search(r'name="keep-name" value="yours" required checked', again.text)
    assert form_of(again.text)["description"] == "His words"
    after = factories.reread(package)
    assert (after.name, after.description) == ("Hers", "Her words")


def test_a_third_save_while_one_chooses_is_shown_again(app: Flask) -> None:
    package, browser, _, answer = clashing(app)
    third = signed_in(app, "admin")
    assert send(third, package, {**opened(third, package), "name": "Third"}).status_code == 302
    chosen = {"clash": ["name", "description"], "keep-name": "yours", "keep-description": "yours"}
    again = send(browser, package, {**form_of(answer.text), **chosen})
    assert again.status_code == 409
    assert again.text.count('name="clash"') == 1
    assert "Third" in words_of(again)
    assert factories.reread(package).name == "Third"
    db.session.rollback()


def test_what_was_written_is_shown_where_a_form_was_refused(app: Flask) -> None:
    booking = factories.booking()
    browser = signed_in(app, "support")
    note = "Asked for a <b>quiet</b> room " + "x" * 4_000
    answer = browser.post(f"/console/bookings/{booking.id}/notes", {"note": note})
    assert answer.status_code == 422
    assert "What you wrote" in answer.text
    assert note in unescape(answer.text)
    password = browser.post("/console/account/password", {"old": "secret one", "new": "secret two"})
    assert "secret" not in password.text
    assert "What you wrote" not in browser.get("/console/bookings/0/").text


def test_who_was_signed_out_meanwhile_comes_back_to_the_page_of_the_form(app: Flask) -> None:
    booking = factories.booking()
    path = f"/console/bookings/{booking.id}/"
    browser = Browser(app)
    page = browser.get("/console/login").text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token
    form = {"csrf_token": token[1], "note": "Hello"}
    for referrer, back in (
        (f"http://localhost{path}?tab=history", f"/console/login?next={path}?tab%3Dhistory"),
        ("https://elsewhere.example/bookings/", "/console/login"),
        ("", "/console/login"),
    ):
        answer = browser.client.post(f"{path}notes", data=form, headers={"Referer": referrer} if referrer else {})
        assert (answer.status_code, answer.location) == (302, back), referrer


def test_signing_out_tells_the_browser_whose_drafts_to_drop(app: Flask) -> None:
    person = factories.staff("support")
    browser = Browser(app)
    browser.sign_in(person)
    browser.post("/console/logout", token_from="/console/")
    assert f'data-signed-out="{person.id}"' in browser.get("/console/login").text
    assert "data-signed-out" not in browser.get("/console/login").text


def test_the_timeline_tells_lists_in_words_and_how_a_long_text_begins(app: Flask) -> None:
    package = factories.package(description="Old words", amenities=["Wi-Fi", "Spa"])
    browser = signed_in(app, "admin")
    long = "Begins here. " + "x" * 400
    form = {**opened(browser, package), "description": long, "amenities": "Wi-Fi\nSauna"}
    assert send(browser, package, form).status_code == 302
    shown = browser.get(page_of(package)).text
    timeline = words_of_part(shown, "timeline")
    assert "Wi-Fi, Spa → Wi-Fi, Sauna" in timeline
    assert "Begins here." in timeline
    assert "x" * 301 not in timeline
    assert long in words_of(browser.get(f"{page_of(package)}?tab=history"))


def words_of_part(page: str, name: str) -> str:
    part = page[page.index(f'class="panel {name}"') :]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", part[: part.index("</section>")])))
