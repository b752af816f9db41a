"""The search box over any page, by keyboard."""

from __future__ import annotations

import random
import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import factories
from tests.browser.conftest import Console, SignIn


def open_box(page: Page) -> None:
    """With its key; the cursor stands in it."""
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog", name="Search everything")).to_be_visible()
    expect(page.get_by_role("combobox", name="Search everything")).to_be_focused()


def chosen(page: Page) -> str:
    """What Enter would open, as a selector: the option that the field says is active."""
    active = page.get_by_role("combobox", name="Search everything").get_attribute("aria-activedescendant")
    return f"#{active}"


def test_a_reference_is_typed_and_opened_from_any_page(sign_in: SignIn, console: Console) -> None:
    booking = console.booking()
    page = sign_in("support")
    page.goto("/console/packages/")
    open_box(page)
    page.keyboard.type(booking.reference.lower())
    option = page.get_by_role("option", name=re.compile(booking.reference))
    expect(option).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{booking.href}")


def test_enter_before_the_answer_is_there_opens_what_was_typed_and_nothing_else(
    sign_in: SignIn, console: Console
) -> None:
    booking = console.booking()
    page = sign_in("support")
    open_box(page)
    page.keyboard.type("bookings")
    expect(page.get_by_role("option", name="Bookings", exact=True)).to_be_visible()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(booking.reference)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{booking.href}")


def test_a_misspelt_name_is_found_and_the_arrows_choose_among_the_finds(sign_in: SignIn, console: Console) -> None:
    last = "".join(random.sample("abcdefghijklmnopr", 12))
    with console.stack.app():
        first, second = (factories.traveller(name=f"{given} {last.capitalize()}") for given in ("Ada", "Bea"))
        ids = {first.name: first.id, second.name: second.id}
    page = sign_in("moderator")
    open_box(page)
    page.keyboard.type(last[:4] + last[5:])
    expect(page.get_by_text("Did you mean one of these?")).to_be_visible()
    options = page.get_by_role("option")
    expect(options).to_have_count(2)
    expect(options.first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    expect(options.last).to_have_attribute("aria-selected", "true")
    expect(options.first).to_have_attribute("aria-selected", "false")
    page.keyboard.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowUp")
    expect(options.last).to_have_attribute("aria-selected", "true")
    name = page.locator(chosen(page)).locator(".hit-title").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/console/users/{ids[name]}/")


def test_it_closes_with_escape_and_the_focus_is_where_it_was(sign_in: SignIn, console: Console) -> None:
    booking = console.booking()
    page = sign_in("support")
    page.goto("/console/bookings/")
    page.keyboard.press("j")
    row = page.get_by_role("link", name=booking.reference, exact=True)
    expect(row).to_be_focused()
    open_box(page)
    page.keyboard.type("j")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Search everything")).to_be_hidden()
    expect(row).to_be_focused()


def test_what_the_page_can_do_is_there_by_name_and_asks_first(sign_in: SignIn, console: Console) -> None:
    booking = console.booking()
    page = sign_in("support")
    page.goto(booking.href)
    open_box(page)
    page.keyboard.type("canc book")
    expect(page.get_by_role("option", name="Cancel the booking")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    question = page.get_by_role("dialog", name="Cancel the booking", exact=True)
    expect(question).to_be_visible()
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    expect(page.locator(".record-title")).to_contain_text("Pending payment")


def test_what_acts_without_asking_is_only_gone_to(sign_in: SignIn, console: Console) -> None:
    with console.stack.app():
        person = factories.traveller()
        address = f"/console/users/{person.id}/"
    page = sign_in("support")
    page.goto(address)
    open_box(page)
    page.keyboard.type("confirmation link")
    expect(page.get_by_role("option", name="Mail a new confirmation link")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Mail a new confirmation link")).to_be_focused()
    page.reload()
    expect(page.get_by_text("A new link to confirm the address was mailed")).to_have_count(0)


def test_an_action_is_found_by_an_admin_and_by_nobody_else(sign_in: SignIn) -> None:
    page = sign_in("admin")
    open_box(page)
    page.keyboard.type("invite")
    expect(page.get_by_role("option", name="Invite a colleague")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    page.wait_for_url("**/console/staff/invite")


def test_support_is_told_of_nothing_that_only_admins_may_open(sign_in: SignIn) -> None:
    page = sign_in("support")
    open_box(page)
    page.keyboard.type("invite")
    expect(page.get_by_text("Nothing found for “invite”")).to_be_visible()
    expect(page.get_by_role("option")).to_have_count(0)


def test_what_was_opened_lately_is_there_before_anything_is_typed(sign_in: SignIn, console: Console) -> None:
    booking = console.booking()
    page = sign_in("support")
    page.goto(booking.href)
    page.goto("/console/")
    open_box(page)
    expect(page.get_by_role("group", name="Recent").get_by_role("option").first).to_contain_text(booking.reference)


def test_whoever_was_signed_out_meanwhile_is_brought_to_the_door(sign_in: SignIn) -> None:
    page = sign_in("support")
    page.context.clear_cookies()
    page.keyboard.press("Control+k")
    page.wait_for_url("**/console/login?next=**")


def test_with_the_line_down_it_says_so(sign_in: SignIn) -> None:
    page = sign_in("support")
    page.watch.expect(503)  # type: ignore[attr-defined]
    page.route("**/console/search?**", lambda route: route.fulfill(status=503, body=""))
    open_box(page)
    page.keyboard.type("anything")
    expect(page.get_by_text("This can't be looked up right now.")).to_be_visible()


@pytest.mark.parametrize("typed_whole", [True, False])
def test_without_scripts_the_field_leads_to_the_same(browser: Browser, console: Console, typed_whole: bool) -> None:
    booking = console.booking()
    context = browser.new_context(base_url=console.stack.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/console/login")
    page.get_by_label("E-mail").fill(console.emails["support"])
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    field = page.get_by_role("banner").get_by_role("searchbox", name="Search everything")
    field.fill(booking.reference if typed_whole else "bookings")
    field.press("Enter")
    if typed_whole:
        page.wait_for_url(f"**{booking.href}")
    else:
        page.wait_for_url("**/console/search?q=bookings")
        page.get_by_role("main").get_by_role("link", name="Bookings", exact=True).click()
        page.wait_for_url("**/console/bookings/")
    context.close()
