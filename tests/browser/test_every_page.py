"""Every page, and every state that no address leads to, walked once: as axe-core judges it in light and dark, wide and
narrow, by its policy, its width, its icons and its forms.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import factories
from tests.accounts.codes import Phone, set_up
from tests.browser.conftest import DESKTOP, Console, type_in, window
from tests.browser.pages import ConsolePage

pytestmark = pytest.mark.timeout(900)  # the walk is one long way, and is counted for the first test
AXE = (Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NARROW = (390, 844)
# Of what is right, nothing is worked out but that it is.
_RUN = """async (rules) => (await axe.run(document, {runOnly: rules, resultTypes: ["violations"]})).violations.map(
    (violation) => `${violation.id}: ${violation.help}: ${violation.nodes.map((node) => node.html).join(" | ")}`)"""
_MISSING_ICONS = """async () => {
    const wanted = new Set([...document.querySelectorAll("use")].map((use) => use.getAttribute("href")));
    const sprites = {}, missing = [];
    for (const [file, name] of [...wanted].map((href) => href.split("#"))) {
        sprites[file] ??= new DOMParser().parseFromString(await (await fetch(file)).text(), "image/svg+xml");
        if (!sprites[file].getElementById(name)) missing.push(name);
    }
    return missing;
}"""
_FORMS_OPEN_TO_OTHERS = """() => [...document.forms]
    .filter((form) => form.method === "post" && !form.querySelector("input[name=csrf_token][value]"))
    .map((form) => form.action)"""
_FORMS_THAT_TELL = """() => [...document.forms]
    .filter((form) => form.method === "get" && form.querySelector("input[name=csrf_token]"))
    .map((form) => form.action)"""


class Judge:
    """What is wrong with the pages that were shown, by what it is about and by the page's name."""

    def __init__(self) -> None:
        self.wrong: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
        self.seen: set[str] = set()

    def look_at(self, page: Page, name: str) -> None:
        """Judge what the window shows now."""
        self.seen.add(name)
        resize(page, DESKTOP)
        page.emulate_media(color_scheme="light")
        page.evaluate(AXE)
        self._note("axe, light", name, page.evaluate(_RUN, RULES))
        page.emulate_media(color_scheme="dark")
        self._note("axe, dark", name, page.evaluate(_RUN, ["color-contrast"]))
        resize(page, NARROW)
        page.emulate_media(color_scheme="light")
        self._note("axe, narrow", name, page.evaluate(_RUN, RULES))
        wide = page.evaluate("document.documentElement.scrollWidth")
        self._note("width", name, [f"{wide} px"] if wide > NARROW[0] else [])
        self._note("icons", name, page.evaluate(_MISSING_ICONS))
        self._note("forms", name, page.evaluate(_FORMS_OPEN_TO_OTHERS) + page.evaluate(_FORMS_THAT_TELL))
        self._note("policy", name, page.evaluate("window.violations"))
        resize(page, DESKTOP)

    def _note(self, about: str, name: str, wrong: list[str]) -> None:
        if wrong:
            self.wrong[about][name] = wrong


def resize(page: Page, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})


@pytest.fixture(scope="module")
def judge(browser: Browser, console: Console) -> Judge:
    """Who has looked at everything."""
    judge = Judge()
    with console.stack.app():
        admin = factories.staff("admin")  # who gets a second factor, which others don't expect of theirs
    with window(browser, console) as page:
        type_in(page, admin.email)
        page.wait_for_url("**/console/")
        for inside in (shown for shown in console.pages if not shown.is_outside):
            walk(page, inside, judge)
        for name in at_work(page, console):
            judge.look_at(page, name)
    with window(browser, console) as page:
        for outside in (shown for shown in console.pages if shown.is_outside):
            walk(page, outside, judge)
        for name in at_the_door(page, console):
            judge.look_at(page, name)
    return judge


def walk(page: Page, to: ConsolePage, judge: Judge) -> None:
    """A page, and the first question that one of its buttons asks."""
    page.goto(to.address)
    judge.look_at(page, to.route)
    buttons = page.locator("main [popovertarget^=act-]:not([popovertargetaction])")
    if buttons.count():
        buttons.first.click()
        page.get_by_role("dialog").wait_for()
        judge.look_at(page, f"a question of {to.route}")


def at_work(page: Page, console: Console) -> Iterator[str]:
    """What an admin meets besides."""
    booking = console.booking(intent=True)
    page.goto(booking.href)
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    yield "the help"
    page.goto(f"{booking.href}?tab=history")
    page.locator("details summary").first.click()
    yield "a history"
    page.keyboard.press("Control+k")
    expect(page.get_by_role("option").first).to_be_visible()
    yield "the search box"
    page.get_by_role("combobox").fill("zzzzzzzz")
    expect(page.get_by_text("Nothing found for")).to_be_visible()
    yield "the search box without a find"
    for typed in ("book", "zzzzzzzz"):
        page.goto(f"/console/search?q={typed}")
        yield f"what is found for {typed}"
    page.goto("/console/bookings/?q=nothing&status=EXPIRED")
    yield "a list without a row"
    for status, address in ((404, "/console/bookings/999999999/"), (422, "/console/audit/?from=never")):
        page.watch.expect(status)  # type: ignore[attr-defined]
        page.goto(address)
        yield f"a {status}"
    page.goto("/console/account/")
    page.watch.expect(422)  # type: ignore[attr-defined]
    page.get_by_label("Present password").fill("not the password")
    page.get_by_label("New password").fill("password12")
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_label("Present password")).to_have_attribute("aria-invalid", "true")
    yield "a form with errors"
    page.get_by_role("link", name="Set it up").click()
    page.get_by_role("button", name="Set it up").click()
    expect(page.get_by_alt_text("QR code")).to_be_visible()
    yield "the QR code"
    page.get_by_text("Type it in instead").click()
    page.get_by_label("Code").fill(Phone(page.locator("details code").inner_text().replace(" ", "")).code())
    page.get_by_role("button", name="Turn it on").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("recovery codes")
    yield "the recovery codes"
    console.stack.ask_database("UPDATE staff_sessions SET proven_at = now() - interval '1 hour'")
    page.goto("/console/account/")
    page.watch.expect(403)  # type: ignore[attr-defined]
    page.get_by_role("button", name="Turn it off").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("you")
    yield "asked for the password once more"


def at_the_door(page: Page, console: Console) -> Iterator[str]:
    """What somebody meets who isn't signed in."""
    with console.stack.app():
        guarded = factories.staff("support")
        set_up(guarded)
    page.watch.expect(403)  # type: ignore[attr-defined]
    page.goto("/console/login")
    page.get_by_label("E-mail").fill(guarded.email)
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    yield "a wrong password"
    type_in(page, guarded.email)
    page.wait_for_url("**/console/login/code")
    yield "sessions.code"
    page.watch.expect(410)  # type: ignore[attr-defined]
    page.goto("/console/password/reset/nothing-like-this")
    yield "a link that is dead"
    page.goto("/console/password/forgot")
    page.get_by_label("E-mail").fill("nobody@example.org")
    page.get_by_role("button").last.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Look into your mail")
    yield "told to look into the mail"


@pytest.mark.parametrize("how", ["axe, light", "axe, dark", "axe, narrow"])
def test_every_page_can_be_used_by_everybody(judge: Judge, how: str) -> None:
    assert judge.wrong[how] == {}


def test_no_page_is_wider_than_a_narrow_window(judge: Judge) -> None:
    assert judge.wrong["width"] == {}


def test_no_page_breaks_its_policy(judge: Judge) -> None:
    assert judge.wrong["policy"] == {}


def test_every_icon_is_in_the_sprite(judge: Judge) -> None:
    assert judge.wrong["icons"] == {}


def test_every_form_that_writes_carries_the_browsers_token_and_no_other_does(judge: Judge) -> None:
    assert judge.wrong["forms"] == {}
