"""Each role at work: the menu leads to its pages, and whoever types another's address is told in words."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from app.accounts.models import ROLES
from tests.browser.conftest import Console, SignIn


@pytest.mark.parametrize("role", ROLES)
def test_the_menu_leads_a_role_to_its_pages_and_every_other_page_is_refused_in_words(
    sign_in: SignIn, console: Console, role: str
) -> None:
    page = sign_in(role)
    menu = page.get_by_role("navigation", name="Console").get_by_role("link")
    shown = {link.get_attribute("href"): link.locator("span").first.inner_text() for link in menu.all()}
    assert set(shown) == {page.address for page in console.pages if page.is_in_the_menu and role in page.roles}

    for address, label in shown.items():
        menu.get_by_text(label, exact=True).click()
        page.wait_for_url(f"**{address}")
        expect(page.locator("main h1")).to_be_visible()
        expect(menu.and_(page.locator("[aria-current=page]"))).to_contain_text(label)

    page.watch.expect(403)  # type: ignore[attr-defined]
    for other in (shown for shown in console.pages if role not in shown.roles and not shown.is_outside):
        answer = page.goto(other.address)
        assert answer is not None
        assert answer.status == 403, other.address
        expect(page.get_by_role("heading", level=1)).to_have_text("Not allowed")
        expect(page.locator("main")).to_contain_text("ask an admin for the role that may do it")
