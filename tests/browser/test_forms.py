"""What is typed into forms: drafts that survive, two people at one form, errors at the field, typed confirmation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import factories
from tests.browser.conftest import Console, SignIn, type_in, window
from tests.browser.test_every_page import Judge
from tests.conftest import wait_for

# By a script of the test's own: the page's policy lets no text be run as one.
DRAFTS = "Object.entries(localStorage).filter(([key]) => key.startsWith('draft:')).map(([, draft]) => draft)"


@dataclass(frozen=True)
class Edited:
    """A package, and the address of its form."""

    id: int
    name: str

    @property
    def page(self) -> str:
        return f"/console/packages/{self.id}/"

    @property
    def form(self) -> str:
        return f"{self.page}edit"


@pytest.fixture
def package(console: Console) -> Edited:
    with console.stack.app():
        made = factories.package(description="Old words", place="Centre")
        return Edited(made.id, made.name)


@pytest.fixture
def colleague(browser: Browser, console: Console) -> Iterator[Page]:
    """Another admin in a window of their own."""
    with console.stack.app():
        email = factories.staff("admin").email
    with window(browser, console) as page:
        type_in(page, email)
        page.wait_for_url("**/console/")
        yield page


def drafts(page: Page) -> list[str]:
    found: list[str] = page.evaluate(DRAFTS)
    return found


def kept(page: Page, count: int) -> None:
    """So many drafts are in the browser, as soon as what was typed has been written down."""
    wait_for(lambda: len(drafts(page)) == count, "the draft that was typed")


def value(console: Console, package: Edited, column: str) -> str:
    return str(console.stack.ask_database(f"SELECT {column} FROM packages WHERE id = {package.id}")[0][0])


def test_a_draft_survives_a_reload_and_a_closed_tab_and_goes_when_it_is_saved(
    sign_in: SignIn, console: Console, package: Edited
) -> None:
    page = sign_in("admin")
    page.goto(package.form)
    page.get_by_label("Description").fill("New words,\nand more")
    page.get_by_label("Cancellation").select_option("strict")
    kept(page, 1)
    page.reload()
    expect(page.get_by_label("Description")).to_have_value("New words,\nand more")
    expect(page.get_by_label("Cancellation")).to_have_value("strict")
    expect(page.get_by_role("status").filter(has_text="Draft from")).to_contain_text("restored")

    tab = page.context.new_page()
    tab.goto(package.form)
    tab.get_by_label("Description").fill("Written in a tab")
    wait_for(lambda: "in a tab" in drafts(tab)[0], "the draft of the tab")
    tab.close()
    page.goto(package.form)
    expect(page.get_by_label("Description")).to_have_value("Written in a tab")
    expect(page.get_by_label("Cancellation")).to_have_value("strict")
    page.get_by_role("button", name="Save changes").click()
    page.wait_for_url(f"**{package.page}")
    expect(page.get_by_text("Your changes are saved.")).to_be_visible()
    kept(page, 0)
    page.goto(package.form)
    expect(page.get_by_text("Draft from")).to_have_count(0)
    assert value(console, package, "description") == "Written in a tab"


def test_a_draft_is_discarded_by_whoever_does_not_want_it(sign_in: SignIn, package: Edited) -> None:
    page = sign_in("admin")
    page.goto(package.form)
    page.get_by_label("Description").fill("Never mind")
    kept(page, 1)
    page.reload()
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_label("Description")).to_have_value("Old words")
    expect(page.get_by_label("Description")).to_be_focused()
    expect(page.get_by_text("Draft from")).to_have_count(0)
    kept(page, 0)


def test_a_refused_note_keeps_its_draft_and_a_kept_one_does_not(sign_in: SignIn, console: Console) -> None:
    booking = console.booking()
    page = sign_in("support")
    page.watch.expect(422)  # type: ignore[attr-defined]
    page.goto(booking.href)
    page.get_by_label("Internal note").fill("x" * 4_001)
    page.get_by_role("button", name="Add note").click()
    expect(page.get_by_role("heading", name="What you wrote")).to_be_visible()
    page.goto(booking.href)
    expect(page.get_by_label("Internal note")).to_have_value("x" * 4_001)
    page.get_by_label("Internal note").fill("Called back")
    page.get_by_role("button", name="Add note").click()
    expect(page.get_by_text("The note is kept.")).to_be_visible()
    expect(page.get_by_label("Internal note")).to_have_value("")
    kept(page, 0)


def test_who_was_signed_out_meanwhile_signs_in_again_and_finds_the_words(
    browser: Browser, console: Console, package: Edited
) -> None:
    with console.stack.app():
        person = factories.staff("admin")
    with window(browser, console) as page:
        type_in(page, person.email)
        page.wait_for_url("**/console/")
        page.goto(package.form)
        page.get_by_label("Description").fill("Long thought about")
        console.stack.ask_database(f"UPDATE staff_sessions SET ended_at = now() WHERE user_id = {person.id}")
        # As a browser sends it by itself: a page that has noticed already would keep the form and say so.
        page.evaluate("document.querySelector('.edit-form').submit()")
        page.wait_for_url("**/console/login?**")
        page.get_by_label("E-mail").fill(person.email)
        page.get_by_label("Password").fill(factories.PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"**{package.form}")
        expect(page.get_by_label("Description")).to_have_value("Long thought about")
        assert value(console, package, "description") == "Old words"
        # Their own way out takes the drafts along.
        kept(page, 1)
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/console/login")
        kept(page, 0)


def test_drafts_are_each_persons_own(sign_in: SignIn, browser: Browser, console: Console, package: Edited) -> None:
    page = sign_in("admin")
    page.goto(package.form)
    page.get_by_label("Description").fill("Mine")
    kept(page, 1)
    with console.stack.app():
        other = factories.staff("admin").email
    page.context.clear_cookies()
    type_in(page, other)
    page.wait_for_url("**/console/")
    page.goto(package.form)
    expect(page.get_by_label("Description")).to_have_value("Old words")
    expect(page.get_by_text("Draft from")).to_have_count(0)


def test_two_people_edit_one_package_and_nobodys_words_are_lost(
    sign_in: SignIn, console: Console, package: Edited, colleague: Page
) -> None:
    judge = Judge()
    page = sign_in("admin")
    for window_ in (page, colleague):
        window_.goto(package.form)
    colleague.get_by_label("Name").fill("Her name")
    colleague.get_by_label("Description").fill("Her words")
    colleague.get_by_label("City").fill("Bergen")
    colleague.get_by_role("button", name="Save changes").click()
    colleague.wait_for_url(f"**{package.page}")

    page.watch.expect(409)  # type: ignore[attr-defined]
    page.get_by_label("Name").fill("His name")
    page.get_by_label("Description").fill("His words")
    page.get_by_label("Place").fill("Harbour")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_role("alert")).to_contain_text("saved the same fields while you were at it")
    expect(page.get_by_text("Changed by others only, and kept: City.")).to_be_visible()
    name, words = page.get_by_role("group", name="Name"), page.get_by_role("group", name="Description")
    for text in ("When you opened it", package.name, "Her name"):
        expect(name.get_by_text(text, exact=True)).to_be_visible()
    expect(name.get_by_label("Name, Yours")).to_have_value("His name")
    expect(name.get_by_label("Keep theirs")).to_be_focused()
    judge.look_at(page, "both saves")
    assert dict(judge.wrong) == {}

    # Without a choice the browser sends nothing.
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_role("alert")).to_be_visible()
    name.get_by_label("Keep theirs").check()
    words.get_by_label("Keep yours").check()
    words.get_by_label("Description, Yours").fill("His words, and hers")
    page.get_by_role("button", name="Save changes").click()
    page.wait_for_url(f"**{package.page}")
    kept(page, 0)
    saved = [value(console, package, column) for column in ("name", "description", "place", "city")]
    assert saved == ["Her name", "His words, and hers", "Harbour", "Bergen"]


def test_a_draft_of_before_anothers_save_does_not_overwrite_it(
    sign_in: SignIn, console: Console, package: Edited, colleague: Page
) -> None:
    page = sign_in("admin")
    page.goto(package.form)
    page.get_by_label("Description").fill("His words")
    kept(page, 1)
    colleague.goto(package.form)
    colleague.get_by_label("Description").fill("Her words")
    colleague.get_by_role("button", name="Save changes").click()
    colleague.wait_for_url(f"**{package.page}")
    page.reload()
    expect(page.get_by_label("Description")).to_have_value("His words")
    expect(page.get_by_text("others saved something since")).to_be_visible()
    page.watch.expect(409)  # type: ignore[attr-defined]
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_role("group", name="Description").get_by_text("Her words", exact=True)).to_be_visible()
    assert value(console, package, "description") == "Her words"


def test_errors_are_at_their_fields_and_the_first_has_the_focus(
    sign_in: SignIn, console: Console, package: Edited
) -> None:
    judge = Judge()
    page = sign_in("admin")
    page.goto(package.form)
    page.watch.expect(422)  # type: ignore[attr-defined]
    page.get_by_label("Description").fill("Kept words")
    page.get_by_label("Latitude").fill("91")
    page.get_by_label("Price of a night").fill("nothing")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_role("alert")).to_have_text("2 fields need another look.")
    latitude = page.get_by_label("Latitude")
    expect(latitude).to_be_focused()
    expect(latitude).to_have_accessible_description('"91" is not between -90 and 90. Degrees, south is minus.')
    expect(page.get_by_label("Description")).to_have_value("Kept words")
    judge.look_at(page, "errors")
    assert dict(judge.wrong) == {}
    assert value(console, package, "description") == "Old words"


def test_what_is_to_be_put_right_has_the_focus_where_a_form_begins_elsewhere(sign_in: SignIn, console: Console) -> None:
    page = sign_in("admin")
    page.goto("/console/staff/invite")
    expect(page.get_by_label("Name")).to_be_focused()
    page.watch.expect(409)  # type: ignore[attr-defined]
    page.get_by_label("Name").fill("Ada Twice")
    page.get_by_label("E-mail").fill(console.emails["support"])
    page.get_by_label("Moderator").check()
    page.get_by_role("button", name="Mail the invitation").click()
    email = page.get_by_label("E-mail")
    expect(email).to_have_attribute("aria-invalid", "true")
    expect(email).to_be_focused()


def test_what_can_not_be_taken_back_asks_for_its_name(sign_in: SignIn, console: Console) -> None:
    booking = console.booking()
    page = sign_in("support")
    page.goto(booking.href)
    page.keyboard.press("c")
    dialog = page.get_by_role("dialog", name="Cancel the booking", exact=True)
    dialog.get_by_label("Reason").select_option("Looks like fraud")
    typed = dialog.get_by_label(f"Type {booking.reference} to confirm")
    for wrong in ("", "TD-00000-00000"):
        typed.fill(wrong)
        dialog.get_by_role("button", name="Cancel the booking", exact=True).click()
        expect(typed).to_be_focused()
        expect(dialog).to_be_visible()
    typed.fill(booking.reference.lower())
    dialog.get_by_role("button", name="Cancel the booking", exact=True).click()
    expect(page.locator(".record-title")).to_contain_text("Cancelled by support")


def test_a_policys_form_has_the_tiers_that_are_filled_in_and_one_more(sign_in: SignIn, console: Console) -> None:
    with console.stack.app():
        policy = factories.policy()
    page = sign_in("admin")
    page.goto(f"/console/policies/{policy.id}/edit")
    rows = page.get_by_role("textbox", name="Days before")
    filled = len([row for row in rows.all() if row.input_value()])
    expect(rows).to_have_count(filled + 1)
    rows.last.fill("30")
    expect(rows).to_have_count(filled + 2)
    # What is kept of a form is shown again, however many tiers it had.
    page.goto("/console/policies/new")
    expect(rows).to_have_count(2)
    for number in range(2, 9):
        rows.last.fill(str(60 - number))
        expect(rows).to_have_count(min(number + 1, 8))
    wait_for(lambda: any("days-8" in draft for draft in page.evaluate(DRAFTS)), "the draft to be kept")
    page.reload()
    expect(rows).to_have_count(8)
