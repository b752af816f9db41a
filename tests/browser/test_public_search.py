"""An admin at the public's search by keys: a rebuild that is watched, and a query tried out."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import SignIn


def test_a_rebuild_is_asked_for_by_keys_and_told_when_it_is_done(sign_in: SignIn) -> None:
    page = sign_in("admin")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Hello, Staff")
    page.keyboard.press("g")
    page.keyboard.press("s")
    expect(page.get_by_role("heading", name="Public search", level=1)).to_be_visible()
    page.keyboard.press("r")
    dialog = page.get_by_role("dialog", name="Rebuild the index")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    dialog.get_by_label("Reason").select_option("To see that it works")
    dialog.get_by_role("button", name="Rebuild the index").click()
    expect(page.get_by_text("The index is being rebuilt.")).to_be_visible()
    # A worker does it, and the page says so by itself.
    expect(page.get_by_role("button", name="Rebuild the index r")).to_be_visible()
    expect(page.locator(".facts").get_by_text("Done")).to_be_visible()


def test_a_query_is_tried_out_by_keys(sign_in: SignIn) -> None:
    page = sign_in("admin")
    page.goto("/console/public-search/")
    expect(page.get_by_role("link", name=re.compile("Try a query"))).to_be_visible()
    page.keyboard.press("q")
    expect(page.get_by_role("heading", name="Try a query")).to_be_visible()
    page.wait_for_load_state()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Words")).to_be_focused()
    page.keyboard.type("package")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Answer")).to_be_visible()
    expect(page.get_by_role("searchbox", name="Words")).to_have_value("package")
    page.wait_for_load_state()
    page.keyboard.press("u")
    expect(page.get_by_role("heading", name="Public search", level=1)).to_be_visible()
