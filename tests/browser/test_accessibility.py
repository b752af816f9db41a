"""Every page as axe-core judges it, in light and dark, wide and narrow; and every icon there is a picture of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize

from tests.browser.conftest import Console, SignIn

AXE = (Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WINDOWS: list[tuple[str, ViewportSize]] = [
    ("light", {"width": 1280, "height": 900}),
    ("dark", {"width": 1280, "height": 900}),
    ("light", {"width": 390, "height": 844}),
]
_RUN = """async (rules) => (await axe.run(document, {runOnly: rules})).violations.map(
    (violation) => `${violation.id}: ${violation.help}: ${violation.nodes.map((node) => node.html).join(" | ")}`)"""
_MISSING_ICONS = """async () => {
    const wanted = [...document.querySelectorAll("use")].map((use) => use.getAttribute("href").split("#"));
    const missing = new Set();
    for (const [file, name] of wanted) {
        const sprite = new DOMParser().parseFromString(await (await fetch(file)).text(), "image/svg+xml");
        if (!sprite.getElementById(name)) missing.add(name);
    }
    return [...missing];
}"""


def violations(page: Page) -> list[str]:
    page.evaluate(AXE)
    found: list[str] = page.evaluate(_RUN, RULES)
    return found


def pages(page: Page, console: Console) -> Iterator[str]:
    """Each page in turn, opened, with the name it goes by here."""
    held, paid = console.booking(intent=True), console.booking(paid=True)
    for address in (
        *("/console/", "/console/bookings/", "/console/bookings/?q=nothing&status=EXPIRED"),
        *(held.href, paid.href, "/console/development/", "/console/bookings/999999999/"),
    ):
        page.goto(address)
        yield address
    page.goto(held.href)
    page.keyboard.press("c")
    page.get_by_role("dialog").wait_for()
    yield "the cancel dialog"
    page.goto(held.href)
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    yield "the help"


@pytest.mark.parametrize(("theme", "window"), WINDOWS, ids=["light", "dark", "narrow"])
def test_every_page_can_be_used_by_everybody(
    sign_in: SignIn, console: Console, theme: str, window: ViewportSize
) -> None:
    page = sign_in("admin")
    page.watch.expect(404)  # type: ignore[attr-defined]
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    page.set_viewport_size(window)
    assert {name: found for name in pages(page, console) if (found := violations(page))} == {}


def test_the_sign_in_page_can_be_used_by_everybody(page: Page) -> None:
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        page.goto("/console/login")
        assert violations(page) == []


def test_every_icon_is_in_the_sprite(sign_in: SignIn, console: Console) -> None:
    page = sign_in("admin")
    page.watch.expect(404)  # type: ignore[attr-defined]
    assert {name: missing for name in pages(page, console) if (missing := page.evaluate(_MISSING_ICONS))} == {}
