"""The console in a real browser, on a whole running product."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, expect, sync_playwright

from tests import factories
from tests.browser.pages import ConsolePage, every_page
from tests.conftest import settings_of_a_product
from tests.stack import Stack

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = [
    "--no-sandbox",  # Chromium's own doesn't start under root, as in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ROLES = ("support", "moderator", "finance", "admin")
DESKTOP = (1280, 900)
expect.set_options(timeout=20_000)  # a machine that runs other tests beside these is in no hurry
# Reported by the page to itself, wherever a policy was broken; the console's message alone may come too late.
_NOTE_VIOLATIONS = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) =>
        window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`));
"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium of this machine, or the one that Playwright installs."""
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        own = Path(playwright.chromium.executable_path)
        if found is None and not own.exists():
            words = "There is no Chromium here: install it, or run `python -m playwright install chromium`."
            if os.environ.get("CI") == "true":
                pytest.fail(words)
            pytest.skip(words)
        browser = playwright.chromium.launch(executable_path=found, args=OPTIONS)
        yield browser
        browser.close()


@dataclass(frozen=True)
class Marked:
    """What there is to look at: bookings by state, with their reference and address."""

    reference: str
    href: str


@dataclass
class Console:
    """The running product, who may sign in to it, its pages, and a few bookings."""

    stack: Stack
    emails: dict[str, str] = field(default_factory=dict)
    pages: list[ConsolePage] = field(default_factory=list)

    def booking(self, *, paid: bool = False, intent: bool = False) -> Marked:
        """A new booking: held, held with a payment started (`intent`), or paid and confirmed."""
        with self.stack.app():
            made = factories.paid_booking() if paid else factories.booking()
            if intent:
                factories.intent_of(made)
            return Marked(made.reference, f"/console/bookings/{made.id}/")


@pytest.fixture(scope="session")
def console(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """One product for all tests here; asks for the browser first, so that nothing is started in vain."""
    settings = {**settings_of_a_product(1), "app_env": "development", "undo_seconds": 600}
    with Stack(tmp_path_factory.mktemp("stack"), settings) as stack:
        stack.start_all()
        console = Console(stack)
        with stack.app() as app:
            for role in ROLES:
                console.emails[role] = factories.staff(role).email
            console.pages = every_page(app)
        yield console


class Watch:
    """Everything that went wrong on a page without anybody seeing it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.troubles: list[str] = []
        self.expected: set[int] = set()
        page.add_init_script(_NOTE_VIOLATIONS)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._response)

    def expect(self, status: int) -> None:
        """An answer of this status is what the test is about."""
        self.expected.add(status)

    def _console(self, message: ConsoleMessage) -> None:
        # A refused page is reported by the console as well; `_response` judges those.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.troubles.append(f"console: {message.text}")

    def _failed(self, request: Request) -> None:
        # Leaving a page before its icon is there aborts that load: the browser's doing, not the page's.
        if request.failure != "net::ERR_ABORTED":
            self.troubles.append(f"not loaded: {request.url} {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.troubles.append(f"{response.status}: {response.url}")
        policy = response.headers.get("content-security-policy", "")
        # A frame shows what we did not write ourselves: nothing in it may run at all.
        wanted = "; sandbox" if response.frame.parent_frame else "script-src 'self';"
        if response.request.resource_type == "document" and wanted not in policy:
            self.troubles.append(f"no policy: {response.url}")

    def violations(self) -> list[str]:
        """What the page's policy stopped, on the page that is shown now."""
        found: list[str] = self.page.evaluate("window.violations")
        return found


@contextmanager
def window(browser: Browser, console: Console) -> Iterator[Page]:
    """A fresh browser window at the console's address. Whatever its console, its policy or its network complained of
    fails the test at the end.
    """
    width, height = DESKTOP
    context = browser.new_context(
        base_url=console.stack.url, viewport={"width": width, "height": height}, reduced_motion="reduce"
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.watch = Watch(page)  # type: ignore[attr-defined]
    try:
        yield page
        troubles = [*page.watch.troubles, *page.watch.violations()]  # type: ignore[attr-defined]
    finally:
        context.close()
    assert troubles == []


@pytest.fixture
def page(browser: Browser, console: Console) -> Iterator[Page]:
    """A window of the test's own."""
    with window(browser, console) as page:
        yield page


def type_in(page: Page, email: str) -> None:
    """Type somebody's address and password into the sign-in page."""
    page.goto("/console/login")
    # The browser puts the cursor there when it first draws the page, which may be after it has loaded it.
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.keyboard.type(email)
    page.keyboard.press("Tab")
    page.keyboard.type(factories.PASSWORD)
    page.keyboard.press("Enter")


SignIn = Callable[[str], Page]


@pytest.fixture
def sign_in(page: Page, console: Console) -> SignIn:
    """Sign in as a role, by typing."""

    def as_role(role: str) -> Page:
        type_in(page, console.emails[role])
        page.wait_for_url("**/console/")
        return page

    return as_role
