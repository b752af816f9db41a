"""What an open page shows of what happens elsewhere; and what it says, and keeps, when nobody answers any more."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from app.reviews import service as reviews
from tests import factories
from tests.browser.conftest import Console, SignIn, type_in
from tests.browser.test_queues import Queue, on

LIVE = "**/console/live?*"


def waits_in_the_menu(page: Page) -> int:
    shown = page.locator("[data-depth=reviews]").text_content() or "0"
    return int(shown)


def ask_now(page: Page) -> None:
    """As when the browser finds its network again, or its tab comes to the front: the next look is now."""
    page.evaluate("dispatchEvent(new Event('online'))")


def lose_the_line(page: Page) -> None:
    page.watch.expect(503)  # type: ignore[attr-defined]
    page.route("**/console/**", lambda route: route.fulfill(status=503, body="Not now"))
    ask_now(page)
    expect(page.locator("#connection")).to_have_text(re.compile(r"^Not connected since \d\d:\d\d; trying again\.$"))


def find_the_line(page: Page) -> None:
    page.unroute("**/console/**")
    ask_now(page)
    expect(page.locator("#connection")).to_be_hidden()


def write_a_note(page: Page, queue: Queue, note: str) -> None:
    """Up to the moment before the rejection is sent."""
    page.goto(queue.item("Typed"))
    on(page, queue, "Typed")
    page.keyboard.press("r")
    dialog = page.get_by_role("dialog", name="Reject")
    expect(dialog.get_by_label("Insults, threats or hatred")).to_be_focused()
    page.keyboard.press("1")
    dialog.get_by_role("textbox", name="Note").fill(note)


def test_how_much_waits_is_in_the_menu_and_moves_by_itself(sign_in: SignIn, console: Console) -> None:
    page = sign_in("moderator")
    before = waits_in_the_menu(page)
    queue = Queue(console, "One", "Two")
    ask_now(page)
    expect(page.locator("[data-depth=reviews]")).to_have_text(str(before + 2))
    # On the same page, home's own line follows.
    line = page.locator("#queues li").filter(has=page.get_by_role("link", name="Reviews", exact=True))
    expect(line.locator(".queue-count")).to_have_text(str(before + 2))
    page.goto(queue.item("One"))
    on(page, queue, "One")
    page.keyboard.press("a")
    on(page, queue, "Two")
    assert waits_in_the_menu(page) == before + 1


def test_a_list_shows_who_came_to_look_and_what_is_gone_and_nothing_moves(sign_in: SignIn, console: Console) -> None:
    queue = Queue(console, "Looked at", "Decided", "Left")
    page = sign_in("moderator")
    page.goto(queue.address)
    row = page.get_by_role("row").filter(has_text=queue.title("Looked at"))
    row.get_by_role("checkbox").check()
    colleague = page.context.browser.new_context(base_url=console.stack.url)  # type: ignore[union-attr]
    other = colleague.new_page()
    type_in(other, console.emails["admin"])
    other.wait_for_url("**/console/")
    other.goto(queue.item("Decided"))
    on(other, queue, "Decided")
    ask_now(page)
    gone = page.get_by_role("row").filter(has_text=queue.title("Decided"))
    expect(gone.get_by_text(re.compile(r"^Staff \w+, "))).to_be_visible()
    other.keyboard.press("a")
    on(other, queue, "Left")
    ask_now(page)
    expect(gone.get_by_text("Not on this page any more")).to_be_visible()
    expect(page.get_by_text("2 reviews", exact=True)).to_be_visible()
    expect(row.get_by_role("checkbox")).to_be_checked()
    assert [text.split()[0] for text in page.locator("tbody [data-row] a").all_inner_texts()] == [
        "Looked",
        "Decided",
        "Left",
    ]
    colleague.close()


def test_a_page_that_refused_a_form_still_sees_what_a_colleague_does(sign_in: SignIn, console: Console) -> None:
    queue = Queue(console, "Refused")
    page = sign_in("moderator")
    page.goto(queue.item("Refused"))
    on(page, queue, "Refused")
    page.keyboard.press("r")
    dialog = page.get_by_role("dialog", name="Reject")
    expect(dialog.get_by_label("Insults, threats or hatred")).to_be_focused()
    page.keyboard.press("6")
    page.watch.expect(422)  # type: ignore[attr-defined]
    page.keyboard.press("Enter")
    expect(dialog.get_by_text("Say what the reason is.")).to_be_visible()
    with console.stack.app():
        reviews.approve(queue.ids["Refused"], by=factories.moderator())
    ask_now(page)
    expect(page.locator(".record-title .chip")).to_have_text("Approved")


def test_an_empty_list_fills_by_itself(sign_in: SignIn, console: Console) -> None:
    queue = Queue(console)
    page = sign_in("moderator")
    page.goto(queue.address)
    expect(page.get_by_text("No reviews match")).to_be_visible()
    with console.stack.app():
        factories.review(title=f"New {queue.word}")
    ask_now(page)
    expect(page.get_by_role("link", name=f"New {queue.word}")).to_be_visible()


def test_a_page_nobody_sees_asks_for_nothing_until_somebody_does(sign_in: SignIn) -> None:
    page = sign_in("support")
    page.clock.install()
    page.reload()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/console/" in request.url else None)
    with page.expect_response(LIVE):
        page.clock.run_for(17_000)
    page.evaluate(_HIDE, True)
    page.clock.run_for(600_000)
    with page.expect_response(LIVE):
        page.evaluate(_HIDE, False)
    assert len(asked) == 2


_HIDE = """(isHidden) => {
    Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_lost_connection_is_said_since_when_and_goes_away_by_itself(sign_in: SignIn, console: Console) -> None:
    page = sign_in("support")
    lose_the_line(page)
    find_the_line(page)


def test_who_does_not_answer_is_asked_less_and_less_often_and_not_in_step(sign_in: SignIn) -> None:
    page = sign_in("support")
    page.watch.expect(503)  # type: ignore[attr-defined]
    page.route(LIVE, lambda route: route.fulfill(status=503, body="Not now"))
    page.add_init_script(_NO_WAITING)
    page.reload()
    written = page.locator("html")
    expect(written).to_have_attribute("data-waits", re.compile(r"(\S+ ){9}\S+"))
    usual, *waits = [float(wait) for wait in str(written.get_attribute("data-waits")).split()[:10]]
    assert 13_500 <= usual <= 16_500
    for wait, middle in zip(waits, (1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert middle * 500 <= wait <= middle * 1_500
    assert len({wait % 500 for wait in waits}) > 1


# The page's looks follow each other at once, and how long it meant to wait is written down.
_NO_WAITING = """
    const waits = [];
    const setTimer = setTimeout;
    window.setTimeout = (call, wait, ...more) => {
        if (call.name === "lookAgain") document.documentElement.dataset.waits = (waits.push(wait), waits.join(" "));
        return setTimer(call, call.name === "lookAgain" ? 10 : wait, ...more);
    };
"""


def test_without_a_connection_a_form_is_not_sent_and_keeps_what_was_typed(sign_in: SignIn, console: Console) -> None:
    queue = Queue(console, "Typed", "Next")
    page = sign_in("moderator")
    write_a_note(page, queue, "A long story.")
    lose_the_line(page)
    page.get_by_role("dialog", name="Reject").get_by_role("button", name="Reject").click()
    expect(page.locator("#connection")).to_contain_text("Not sent.")
    expect(page.locator("#connection")).to_contain_text("What you typed stays here")
    expect(page.get_by_role("textbox", name="Note")).to_have_value("A long story.")
    assert queue.status("Typed") == "PENDING"
    find_the_line(page)
    page.get_by_role("dialog", name="Reject").get_by_role("button", name="Reject").click()
    on(page, queue, "Next")
    assert queue.status("Typed") == "REJECTED"


def test_whoever_was_signed_out_is_told_and_sends_the_form_after_signing_in_again(
    sign_in: SignIn, console: Console
) -> None:
    queue = Queue(console, "Typed", "Next")
    page = sign_in("moderator")
    write_a_note(page, queue, "Written before.")
    page.context.clear_cookies()
    ask_now(page)
    banner = page.locator("#connection")
    expect(banner).to_contain_text("You are signed out. What you typed stays here.")
    reject = page.get_by_role("dialog", name="Reject").get_by_role("button", name="Reject")
    reject.click()
    expect(banner).to_contain_text("Not sent. You are signed out.")
    assert queue.status("Typed") == "PENDING"
    with page.context.expect_page() as opened:
        banner.get_by_role("link", name="Sign in, in another tab").click()
    other = opened.value
    type_in(other, console.emails["moderator"])
    other.wait_for_url("**/console/")
    ask_now(page)
    expect(banner).to_be_hidden()
    # The click beside the dialog closed it; what stands in it is still there.
    page.keyboard.press("r")
    expect(page.get_by_role("textbox", name="Note")).to_have_value("Written before.")
    reject.click()
    on(page, queue, "Next")
    assert queue.status("Typed") == "REJECTED"
