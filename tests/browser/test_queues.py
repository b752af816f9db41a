"""Moderators at the review queue, by keyboard alone: clearing it, two of them on one item, undoing, many at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import factories
from tests.browser.conftest import Console, SignIn, type_in, window


class Queue:
    """A few reviews that wait, found by a word that no other has."""

    def __init__(self, console: Console, *titles: str) -> None:
        self.console = console
        self.word = f"q{uuid4().hex[:12]}"
        self.address = f"/console/reviews/?q={self.word}"
        with console.stack.app():
            self.ids = {title: factories.review(title=f"{title} {self.word}").id for title in titles}

    def title(self, title: str) -> str:
        return f"{title} {self.word}"

    def item(self, title: str) -> str:
        return f"/console/reviews/{self.ids[title]}/?q={self.word}"

    def status(self, title: str) -> str:
        rows = self.console.stack.ask_database(f"SELECT status FROM reviews WHERE id = {self.ids[title]}")
        return str(rows[0][0])


def on(page: Page, queue: Queue, title: str) -> None:
    """The item is open, and its page listens to keys."""
    expect(page.get_by_role("heading", level=1)).to_have_text(queue.title(title))
    page.wait_for_load_state("load")


@pytest.fixture
def colleague(browser: Browser, console: Console) -> Iterator[Page]:
    """An admin in a window of their own."""
    with window(browser, console) as page:
        type_in(page, console.emails["admin"])
        page.wait_for_url("**/console/")
        yield page


def test_a_queue_is_cleared_by_keyboard_alone(sign_in: SignIn, console: Console) -> None:
    queue = Queue(console, "First", "Second", "Third")
    page = sign_in("moderator")
    keys = page.keyboard
    keys.press("g")
    keys.press("r")
    page.wait_for_url("**/console/reviews/")
    keys.press("/")
    expect(page.get_by_placeholder("Words, a booking or an e-mail")).to_be_focused()
    keys.type(queue.word)
    keys.press("Enter")
    page.wait_for_url(f"**q={queue.word}**")
    expect(page.get_by_text("3 reviews", exact=True)).to_be_visible()
    page.locator("main").focus()
    keys.press("j")
    expect(page.get_by_role("link", name=queue.title("First"))).to_be_focused()
    keys.press("Enter")
    on(page, queue, "First")

    keys.press("a")
    on(page, queue, "Second")
    expect(page.get_by_text(f"Approved: {queue.title('First')}")).to_be_visible()
    keys.press("r")
    dialog = page.get_by_role("dialog", name="Reject")
    expect(dialog.get_by_label("Insults, threats or hatred")).to_be_focused()
    keys.press("3")
    expect(dialog.get_by_label("About something else than the stay")).to_be_checked()
    keys.press("Enter")
    on(page, queue, "Third")
    keys.press("a")
    expect(page.get_by_text("No reviews match")).to_be_visible()
    assert [queue.status(title) for title in queue.ids] == ["APPROVED", "REJECTED", "APPROVED"]


def test_two_people_on_one_item_see_each_other_and_the_second_is_told(
    sign_in: SignIn, console: Console, colleague: Page
) -> None:
    queue = Queue(console, "Wanted", "Other")
    colleague.goto(queue.item("Wanted"))
    on(colleague, queue, "Wanted")
    page = sign_in("moderator")
    page.goto(queue.address)
    row = page.get_by_role("row").filter(has_text=queue.title("Wanted"))
    expect(row.get_by_text(re.compile(r"^Staff \w+, "))).to_be_visible()
    page.goto(queue.item("Wanted"))
    on(page, queue, "Wanted")
    expect(page.get_by_text(re.compile(r"Staff \w+ opened this just now and is looking at it"))).to_be_visible()

    colleague.keyboard.press("a")
    on(colleague, queue, "Other")
    page.keyboard.press("r")
    expect(page.get_by_role("dialog").get_by_label("Insults")).to_be_focused()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text(
        re.compile(r"Approved by Staff \w+ (just now|\d+ \w+ ago)\. Nothing was changed\.")
    )
    expect(page.locator(".record-title .chip")).to_have_text("Approved")
    expect(page.get_by_role("button", name="Reject")).to_have_count(0)
    assert queue.status("Wanted") == "APPROVED"


def test_a_decision_is_undone_by_u_from_the_next_item(sign_in: SignIn, console: Console) -> None:
    queue = Queue(console, "Hasty", "Next")
    page = sign_in("moderator")
    page.goto(queue.item("Hasty"))
    on(page, queue, "Hasty")
    page.keyboard.press("a")
    on(page, queue, "Next")
    expect(page.get_by_role("button", name="Undo u")).to_be_visible()
    page.keyboard.press("u")
    on(page, queue, "Hasty")
    expect(page.locator(".record-title .chip")).to_have_text("Pending")
    assert queue.status("Hasty") == "PENDING"


def test_lines_are_picked_in_a_range_rejected_together_and_put_back_by_u(sign_in: SignIn, console: Console) -> None:
    queue = Queue(console, "R1", "R2", "R3", "R4")
    page = sign_in("moderator")
    page.goto(queue.address)
    keys = page.keyboard
    bar = page.locator("[data-bulk-bar]")
    expect(bar).to_be_hidden()
    for key in ("j", "j", "x", "j", "j", "X"):
        keys.press(key)
    expect(page.get_by_text("3 picked")).to_be_visible()
    expect(page.get_by_role("checkbox", name=queue.title("R1"))).not_to_be_checked()
    keys.press("r")
    expect(page.get_by_role("heading", level=1)).to_have_text("Reject 3 reviews")
    expect(page.get_by_label("Insults, threats or hatred")).to_be_focused()
    page.wait_for_load_state()
    keys.press("5")
    expect(page.get_by_label("Not by somebody who stayed there")).to_be_checked()
    keys.press("Enter")
    expect(page.get_by_text("Rejected: 3 reviews")).to_be_visible()
    expect(page.get_by_role("link", name=queue.title("R1"))).to_be_focused()
    assert [queue.status(title) for title in queue.ids] == ["PENDING", "REJECTED", "REJECTED", "REJECTED"]
    keys.press("u")
    expect(page.get_by_text("4 reviews", exact=True)).to_be_visible()
    assert {queue.status(title) for title in queue.ids} == {"PENDING"}


def test_a_key_on_a_line_decides_on_it_and_goes_on_to_the_next(sign_in: SignIn, console: Console) -> None:
    queue = Queue(console, "R1", "R2", "R3")
    page = sign_in("moderator")
    page.goto(queue.address)
    page.keyboard.press("a")  # nothing is picked, and one is on no line
    for key in ("j", "j"):
        page.keyboard.press(key)
    expect(page.get_by_role("link", name=queue.title("R2"))).to_be_focused()
    page.keyboard.press("a")
    expect(page.get_by_text(f"Approved: {queue.title('R2')}")).to_be_visible()
    expect(page.get_by_role("link", name=queue.title("R3"))).to_be_focused()
    assert [queue.status(title) for title in queue.ids] == ["PENDING", "APPROVED", "PENDING"]


def test_what_a_colleague_does_shows_without_loading_the_page_again(
    sign_in: SignIn, console: Console, colleague: Page
) -> None:
    queue = Queue(console, "Watched")
    page = sign_in("moderator")
    page.clock.install()
    page.goto(queue.item("Watched"))
    on(page, queue, "Watched")
    colleague.goto(queue.item("Watched"))
    on(colleague, queue, "Watched")
    colleague.keyboard.press("a")
    expect(colleague.get_by_text("No reviews match")).to_be_visible()
    page.clock.run_for(20_000)
    expect(page.locator(".record-title .chip")).to_have_text("Approved")
    expect(page.get_by_text(re.compile(r"^Approved by Staff \w+"))).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)


def test_without_scripts_a_decision_leads_to_the_next_item_as_well(browser: Browser, console: Console) -> None:
    queue = Queue(console, "First", "Second")
    context = browser.new_context(base_url=console.stack.url, java_script_enabled=False)
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto("/console/login")
    page.get_by_label("E-mail").fill(console.emails["moderator"])
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console/")
    page.goto(queue.item("First"))
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(queue.title("Second"))
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(queue.title("First"))
    page.goto(queue.address)
    page.get_by_role("checkbox", name=queue.title("Second")).check()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text(f"Approved: {queue.title('Second')}")).to_be_visible()
    assert [queue.status(title) for title in queue.ids] == ["PENDING", "APPROVED"]
    context.close()
