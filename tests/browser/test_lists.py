"""Lists in a browser: a row beside its list, headers that sort, columns and views, with the mouse and without."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Console, SignIn

PANEL = "The row that is open"
LIST = "/console/bookings/?status=CONFIRMED"


def panel(page: Page) -> Locator:
    return page.get_by_role("complementary", name=PANEL)


def row(page: Page, reference: str) -> Locator:
    return page.locator("[data-list]").get_by_role("link", name=reference, exact=True)


def opened(page: Page, reference: str) -> None:
    expect(panel(page).get_by_role("heading", name=reference)).to_be_visible()
    expect(row(page, reference)).to_have_attribute("aria-current", "true")


def test_a_row_opens_beside_the_list_and_the_list_stays(sign_in: SignIn, console: Console) -> None:
    first, second = console.booking(paid=True), console.booking(paid=True)
    page = sign_in("support")
    page.goto(LIST)
    row(page, second.reference).click()
    opened(page, second.reference)
    expect(panel(page).get_by_text("Booked, stock held")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Bookings")
    expect(page).to_have_url(re.compile(rf"status=CONFIRMED#open={second.href}$"))
    # A walk through the rows shows each where it rests.
    expect(row(page, second.reference)).to_be_focused()
    page.keyboard.press("j")
    expect(row(page, first.reference)).to_be_focused()
    opened(page, first.reference)
    # The address is the list with the row, for a colleague or after a reload.
    page.reload()
    opened(page, first.reference)
    page.keyboard.press("Escape")
    expect(panel(page)).to_be_hidden()
    expect(row(page, first.reference)).to_be_focused()
    expect(page).to_have_url(re.compile(r"status=CONFIRMED$"))


def test_back_closes_the_row_and_forward_opens_it(sign_in: SignIn, console: Console) -> None:
    booking = console.booking(paid=True)
    page = sign_in("support")
    page.goto(LIST)
    row(page, booking.reference).click()
    opened(page, booking.reference)
    page.go_back()
    expect(panel(page)).to_be_hidden()
    expect(row(page, booking.reference)).to_be_visible()
    page.go_forward()
    opened(page, booking.reference)


def test_what_is_done_beside_the_list_shows_in_its_row(sign_in: SignIn, console: Console) -> None:
    booking = console.booking()
    page = sign_in("support")
    page.goto("/console/bookings/")
    line = page.locator("[data-list] tr", has=page.get_by_role("link", name=booking.reference, exact=True))
    expect(line).to_contain_text("Pending payment")
    row(page, booking.reference).click()
    opened(page, booking.reference)
    page.keyboard.press("c")
    dialog = page.get_by_role("dialog", name="Cancel the booking", exact=True)
    dialog.get_by_label("Reason").select_option("Looks like fraud")
    dialog.get_by_label("to confirm").fill(booking.reference)
    dialog.get_by_role("button", name="Cancel the booking", exact=True).click()
    expect(panel(page).get_by_text(f"{booking.reference} is cancelled, its stock is free again.")).to_be_visible()
    expect(dialog).to_be_hidden()
    expect(line).to_contain_text("Cancelled by support")
    opened(page, booking.reference)
    expect(page).to_have_url(re.compile(rf"/console/bookings/#open={booking.href}$"))


def test_a_refusal_beside_the_list_is_read_there(sign_in: SignIn, console: Console) -> None:
    booking = console.booking(paid=True)
    page = sign_in("support")
    page.goto(LIST)
    row(page, booking.reference).click()
    opened(page, booking.reference)
    page.watch.expect(422)  # type: ignore[attr-defined]
    note = panel(page).get_by_label("Internal note")
    note.fill("x" * 4001)
    panel(page).get_by_role("button", name="Add note").click()
    expect(panel(page).get_by_role("alert")).to_contain_text("4,000")
    expect(note).to_have_value("x" * 4001)
    note.fill("Called back")
    panel(page).get_by_role("button", name="Add note").click()
    expect(panel(page).get_by_text("The note is kept.")).to_be_visible()
    expect(panel(page).get_by_role("alert")).to_have_count(0)
    opened(page, booking.reference)


def test_links_in_the_row_lead_where_they_would_from_its_page(sign_in: SignIn, console: Console) -> None:
    page = sign_in("admin")
    console.booking()
    page.goto("/console/audit/?action=booking.hold")
    page.locator("[data-list] tbody a").first.click()
    history = panel(page).get_by_role("link", name="All entries about it")
    expect(history).to_have_attribute(
        "href", re.compile(r"//[^/]+/console/audit/\?object_type=bookings&object_id=\d+$")
    )
    panel(page).get_by_role("link", name="Open as a page").click()
    page.wait_for_url(re.compile(r"/console/audit/\d+/$"))


def test_without_room_a_row_is_a_link(sign_in: SignIn, console: Console) -> None:
    booking = console.booking(paid=True)
    page = sign_in("support")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(LIST)
    row(page, booking.reference).click()
    page.wait_for_url(re.compile(rf"{booking.href}$"))
    expect(page.get_by_role("heading", level=1)).to_have_text(booking.reference)


def test_headers_sort_and_the_order_stays_with_the_filter(sign_in: SignIn, console: Console) -> None:
    console.booking(paid=True)
    page = sign_in("support")
    page.goto("/console/bookings/")
    page.get_by_role("columnheader", name="From").get_by_role("link").click()
    page.wait_for_url("**sort=-starts_on**")
    expect(page.get_by_role("columnheader", name="From")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("combobox", name="State").select_option("CONFIRMED")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**status=CONFIRMED**")
    expect(page.get_by_role("columnheader", name="From")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("columnheader", name="From").get_by_role("link").click()
    expect(page.get_by_role("columnheader", name="From")).to_have_attribute("aria-sort", "ascending")


def test_columns_are_chosen_and_the_list_is_saved_as_a_view(sign_in: SignIn, console: Console) -> None:
    console.booking(paid=True)
    page = sign_in("finance")
    page.goto(LIST)
    page.get_by_role("button", name="Columns").click()
    dialog = page.get_by_role("dialog", name="Columns")
    dialog.get_by_label("Guests").check()
    dialog.get_by_label("Traveller").uncheck()
    dialog.get_by_role("button", name="Show these columns").click()
    expect(page.get_by_role("columnheader", name="Guests")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Traveller")).to_have_count(0)
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Save what is shown as").fill("Paid, with guests")
    page.get_by_role("button", name="Save view").click()
    expect(page.get_by_text("The view “Paid, with guests” is saved.")).to_be_visible()
    page.goto("/console/bookings/")
    expect(page.get_by_role("columnheader", name="Guests")).to_have_count(0)
    page.get_by_role("button", name="Views").click()
    page.get_by_role("link", name="Paid, with guests").click()
    expect(page.get_by_role("columnheader", name="Guests")).to_be_visible()
    expect(page.get_by_role("button", name="Views: Paid, with guests")).to_be_visible()
    expect(page.get_by_role("combobox", name="State")).to_have_value("CONFIRMED")
