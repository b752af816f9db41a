"""Staff at work in the console, mostly by keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Console, SignIn

NARROW = {"width": 390, "height": 844}


def test_support_finds_a_booking_reads_its_story_and_cancels_it_without_the_mouse(
    sign_in: SignIn, console: Console
) -> None:
    booking, other = console.booking(intent=True), console.booking()
    page = sign_in("support")
    keys = page.keyboard
    expect(page.get_by_role("heading", level=1)).to_contain_text("Hello, Staff")

    keys.press("g")
    keys.press("b")
    page.wait_for_url("**/console/bookings/")
    expect(page.get_by_role("link", name=other.reference)).to_be_visible()
    keys.press("/")
    expect(page.get_by_placeholder("Reference, e-mail or payment intent")).to_be_focused()
    keys.type(booking.reference.lower())
    keys.press("Enter")
    page.wait_for_url("**q=**")
    expect(page.get_by_role("link", name=booking.reference, exact=True)).to_be_visible()
    expect(page.get_by_role("link", name=other.reference)).to_have_count(0)
    expect(page.get_by_text("1 booking", exact=True)).to_be_visible()
    page.locator("body").click(position={"x": 640, "y": 880})

    keys.press("j")
    expect(page.get_by_role("link", name=booking.reference, exact=True)).to_be_focused()
    keys.press("Enter")
    page.wait_for_url(f"**{booking.href}")
    expect(page.get_by_role("heading", name=booking.reference)).to_be_visible()
    timeline = page.get_by_role("region", name="Timeline")
    for moment in ("Booked, stock held", "Payment started"):
        expect(timeline.get_by_text(moment)).to_be_visible()

    keys.press("c")
    dialog = page.get_by_role("dialog", name="Cancel the booking", exact=True)
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("Gives 1 unit back for 2 days")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    keys.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Cancel the booking c", exact=True)).to_be_focused()
    keys.press("c")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    keys.type("Traveller asked")
    keys.press("Tab")
    keys.type("Called at noon <b>")
    keys.press("Tab")
    expect(dialog.get_by_label("to confirm")).to_be_focused()
    keys.type(booking.reference.lower())
    keys.press("Tab")
    keys.press("Tab")
    expect(dialog.get_by_role("button", name="Cancel the booking", exact=True)).to_be_focused()
    keys.press("Enter")

    expect(page.get_by_text(f"{booking.reference} is cancelled, its stock is free again.")).to_be_visible()
    expect(page.locator(".record-title")).to_contain_text("Cancelled by support")
    said = timeline.get_by_text("Traveller asked on the phone or by mail. Called at noon <b>")
    expect(said.first).to_be_visible()
    expect(timeline.get_by_text("Cancelled", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    page.wait_for_load_state()
    keys.press("u")
    expect(page.get_by_role("complementary", name="The row that is open")).to_be_hidden()
    expect(page.get_by_role("link", name=booking.reference, exact=True)).to_be_focused()


def test_a_cancellation_without_a_reason_is_not_sent(sign_in: SignIn, console: Console) -> None:
    booking = console.booking()
    page = sign_in("support")
    page.goto(booking.href)
    page.keyboard.press("c")
    page.get_by_role("dialog").get_by_role("button", name="Cancel the booking", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.reload()
    expect(page.locator(".record-title")).to_contain_text("Pending payment")


def test_rows_are_walked_with_j_and_k_and_the_filter_narrows_them(sign_in: SignIn, console: Console) -> None:
    first, second, paid = console.booking(), console.booking(), console.booking(paid=True)
    page = sign_in("finance")
    page.goto("/console/bookings/")
    for key, reference in (("j", paid), ("j", second), ("j", first), ("k", second)):
        page.keyboard.press(key)
        expect(page.get_by_role("link", name=reference.reference)).to_be_focused()
    page.get_by_role("combobox", name="State").select_option("CONFIRMED")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**status=CONFIRMED**")
    expect(page.get_by_role("link", name=paid.reference)).to_be_visible()
    expect(page.get_by_role("link", name=second.reference)).to_have_count(0)
    chips = page.locator("tbody .chip").all_inner_texts()
    assert chips
    assert set(chips) == {"Confirmed"}
    page.get_by_role("link", name="State: Confirmed").click()
    expect(page.get_by_role("link", name=second.reference)).to_be_visible()
    page.goto("/console/bookings/?q=TD-00000-00000")
    expect(page.get_by_text("No bookings match")).to_be_visible()


def test_the_help_names_the_keys_and_the_times_can_be_exact(sign_in: SignIn, console: Console) -> None:
    booking = console.booking()
    page = sign_in("support")
    page.goto(booking.href)
    page.keyboard.press("?")
    help_ = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(help_).to_be_visible()
    for line in ("Search", "Bookings", "Cancel the booking"):
        expect(help_.get_by_text(line, exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(help_).to_be_hidden()
    booked = page.locator(".record-sub time").first
    expect(booked).to_have_text("just now")
    page.keyboard.press("t")
    expect(booked).to_have_text(re.compile(r"\d{1,2} \w{3,4},? .*\d\d:\d\d"))
    page.reload()
    expect(booked).to_have_text(re.compile(r"\d\d:\d\d"))


def test_a_chosen_theme_is_kept(sign_in: SignIn) -> None:
    page = sign_in("support")
    colour = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(colour)
    switch = page.get_by_role("button", name="Switch theme")
    switch.click()
    switch.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = page.evaluate(colour)
    assert dark != light
    page.goto("/console/bookings/")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate(colour) == dark


def test_a_moderator_reads_a_booking_but_can_not_cancel_it(sign_in: SignIn, console: Console) -> None:
    booking = console.booking()
    page = sign_in("moderator")
    page.goto(booking.href)
    expect(page.get_by_role("heading", level=1)).to_have_text(booking.reference)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    page.keyboard.press("c")
    expect(page.get_by_role("dialog")).to_have_count(0)
    # Whoever sends the form all the same is refused by the verb, not by the missing button.
    token = page.locator("input[name=csrf_token]").first.input_value()
    answer = page.request.post(
        f"{booking.href}cancel/support",
        form={"csrf_token": token, "reason": "Looks like fraud"},
        headers={"Referer": page.url},
    )
    assert answer.status == 403
    page.reload()
    expect(page.locator(".record-title")).to_contain_text("Pending payment")


def test_the_development_page_declines_and_pays_and_the_booking_says_so(sign_in: SignIn, console: Console) -> None:
    booking = console.booking(intent=True)
    page = sign_in("support")
    page.get_by_role("link", name="Confirm a payment").click()
    page.get_by_label(f"Pay {booking.reference} with").select_option("pm_card_chargeDeclined")
    row = page.get_by_role("listitem").filter(has_text=booking.reference)
    row.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("alert")).to_contain_text("declined")
    page.get_by_label(f"Pay {booking.reference} with").select_option("pm_card_visa")
    row.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("status")).to_contain_text("Stripe says: succeeded.")
    page.goto(booking.href)
    for _ in range(60):
        if page.locator(".record-title .chip").inner_text() == "Confirmed":
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(page.locator(".record-title .chip")).to_have_text("Confirmed")
    expect(
        page.get_by_role("region", name="Timeline").get_by_text("Stripe: payment_intent.payment_failed")
    ).to_be_visible()
    expect(page.get_by_text("not possible now")).to_be_visible()


def test_a_wrong_password_and_an_unknown_page_are_said_in_words(page: Page, console: Console) -> None:
    page.watch.expect(403)  # type: ignore[attr-defined]
    page.watch.expect(404)  # type: ignore[attr-defined]
    page.goto("/console/bookings/")
    page.wait_for_url("**/console/login?next=**")
    page.get_by_label("E-mail").fill(console.emails["support"])
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("E-mail")).to_have_value(console.emails["support"])
    page.get_by_label("Password").fill("a long enough password")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console/bookings/")
    page.goto("/console/bookings/999999999/")
    expect(page.get_by_text("There is no booking with this id.")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/console/login")
    page.go_back()
    page.reload()
    expect(page).to_have_url(re.compile("/console/login"))


@pytest.mark.parametrize("role", ["support", "finance"])
def test_a_narrow_window_never_scrolls_sideways(sign_in: SignIn, console: Console, role: str) -> None:
    held, paid = console.booking(intent=True), console.booking(paid=True)
    page = sign_in(role)
    page.set_viewport_size(NARROW)
    for address in ("/console/", "/console/bookings/", held.href, paid.href, "/console/development/"):
        page.goto(address)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= NARROW["width"], f"{address} is {wide} px wide"
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="Bookings").click()
    page.wait_for_url("**/console/bookings/")
