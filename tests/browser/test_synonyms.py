"""Synonyms by the keyboard: tried, saved, and found by."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Console, SignIn
from tests.search import catalogue
from tests.search.test_synonyms import word


def test_a_group_is_tried_and_saved_by_the_keyboard(sign_in: SignIn, console: Console) -> None:
    one, other = word(), word()
    with console.stack.app():
        catalogue.named(f"Red {one}", f"Green {other}")
    page = sign_in("admin")
    page.goto("/console/synonyms/new")
    words = page.get_by_label("Words", exact=True)
    words.focus()
    page.keyboard.type(one)
    page.keyboard.press("Enter")
    page.keyboard.type(other)
    expect(words).to_have_value(f"{one}\n{other}")
    page.keyboard.press("Tab")
    tried = page.get_by_label("Try a search")
    expect(tried).to_be_focused()
    page.keyboard.type(one)
    page.keyboard.press("Enter")  # shows, and saves nothing
    effect = page.locator("details.effect")
    expect(effect).to_contain_text("1 package now, 2 with the change; 1 new among the first 10")
    expect(effect.get_by_role("link", name=f"Green {other}")).to_be_visible()
    counted = f"SELECT count(*) FROM search_synonyms WHERE folded @> ARRAY['{one}']"
    assert console.stack.ask_database(counted)[0][0] == 0
    expect(words).to_have_value(f"{one}\n{other}")
    page.get_by_role("button", name="Save group").press("Enter")
    expect(page.get_by_role("heading", name=f"{one}, {other}")).to_be_visible()
    assert console.stack.ask_database(counted)[0][0] == 1
    expect(page.get_by_text("mean the same now.")).to_be_visible()
