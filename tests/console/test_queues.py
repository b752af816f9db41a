"""The console's queues: what comes first and why, who looks at it, what may be decided, and what happens meanwhile."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import text

from app.accounts import claims
from app.accounts.models import User
from app.catalog import providers
from app.catalog.models import Provider
from app.console.queue import LOOKING_AGAIN
from app.db import transaction
from app.extensions import db
from app.reviews import service as reviews
from app.reviews.models import Review
from tests import factories
from tests.console.browser import Browser, signed_in
from tests.objects.asked import last_entry
from tests.reviews.deciding import as_it_is, window_over

QUEUE = "/console/reviews/"


class Desk:
    """A moderator at their browser, on a queue of their own: the reviews with a word that no other has."""

    def __init__(self, app: Flask, word: str | None = None, role: str = "moderator") -> None:
        self.word = word or f"q{uuid4().hex[:12]}"
        self.person: User = factories.staff(role)
        self.by = factories.actor(self.person)
        self.browser = Browser(app)
        assert self.browser.sign_in(self.person).status_code == 302

    def review(self, title: str = "Fine", **values: Any) -> Review:
        return factories.review(title=f"{title} {self.word}", **values)

    def address(self, review: Review, action: str = "") -> str:
        return f"{QUEUE}{review.id}/{action}?q={self.word}"

    def queue(self) -> str:
        return unescape(self.browser.get(f"{QUEUE}?q={self.word}").text)

    def titles(self) -> list[str]:
        return re.findall(rf'aria-label="Pick ([^"]*) {self.word}"', self.queue())

    def open(self, review: Review) -> str:
        return unescape(self.browser.get(self.address(review)).text)

    def decide(self, review: Review, decision: str, seen: int | None = None, **form: Any) -> Any:
        entry = last_entry("reviews", review.id) if seen is None else seen
        return self.browser.post(self.address(review, decision), {"seen": str(entry), **form})

    def bulk(self, decision: str, *picked: Review, **form: Any) -> Any:
        ids = [str(review.id) for review in picked]
        return self.browser.post(f"{QUEUE}bulk?q={self.word}", {"decision": decision, "id": ids, **form})


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


@pytest.fixture
def colleague(app: Flask, desk: Desk) -> Desk:
    """Somebody else, at the same reviews."""
    return Desk(app, desk.word)


def written(review: Review, hours_ago: float) -> Review:
    with transaction():
        at = {"id": review.id, "time": timedelta(hours=hours_ago)}
        db.session.execute(text("UPDATE reviews SET created_at = now() - CAST(:time AS interval) WHERE id = :id"), at)
    return review


def status(review: Review) -> str:
    return str(factories.reread(review).status)


def offered(page: str) -> dict[str, str | None]:
    """The decisions on an item's page, and their keys."""
    found = re.findall(rf'action="{QUEUE}\d+/(\w+)\?', page)
    keys = dict.fromkeys(name for name in found if name != "claim")
    for name in keys:
        button = re.search(
            rf'(?:popovertarget="act-{name}"|/{name}\?q=\w+">.*?<button type="submit")([^>]*)>', page, re.S
        )
        assert button, name
        key = re.search(r'data-key="(\w)"', button[1])
        keys[name] = key[1] if key else None
    return keys


# --- The order, and why ----------------------------------------------------------------------------------------------


def test_the_most_urgent_comes_first_and_says_why_in_words(desk: Desk) -> None:
    written(desk.review("Plain", rating=4), 3)
    written(desk.review("Angry", rating=1), 2)
    written(desk.review("Linked", rating=5, content="See https://example.org/deal"), 1)
    written(desk.review("Old", rating=4), 24 * 5)
    assert desk.titles() == ["Old", "Linked", "Angry", "Plain"]
    page = desk.queue()
    for words in ("Waits for 5 days", "Has an address, a link or a number in it", "One star"):
        assert f"<li>{words}</li>" in page
    assert page.count('<ul class="reasons">') == 3


@pytest.mark.parametrize(
    ("content", "is_contact"),
    [
        ("Write to me: mia.b@example.org", True),
        ("www.example.org has it cheaper", True),
        ("Call +47 22 33 44 55", True),
        ("We paid 120 for 2 nights in 2025, room 14.", False),
        ("Great, see you @ the bar.", False),
    ],
)
def test_an_address_or_a_number_to_call_is_noticed(desk: Desk, content: str, is_contact: bool) -> None:
    desk.review(content=content)
    assert ("Has an address" in desk.queue()) is is_contact


def test_a_queue_longer_than_a_page_goes_on_where_the_page_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.console.queue.QueueView.page_size", 2)
    made = [written(desk.review(f"R{number}"), 10 - number) for number in range(5)]
    shown, address = [], f"{QUEUE}?q={desk.word}"
    while address:
        page = unescape(desk.browser.get(address).text)
        shown += re.findall(r'aria-label="Pick (R\d)', page)
        # Whoever decides on the last of a page goes on from its place all the same.
        if shown == ["R0", "R1"]:
            reviews.approve(made[1].id, by=desk.by)
        more = re.search(r'href="([^"]+)" rel="next"', page)
        address = more[1] if more else ""
    assert shown == ["R0", "R1", "R2", "R3", "R4"]


def test_what_was_decided_is_found_by_its_state_newest_first(desk: Desk) -> None:
    first, second = desk.review("First"), desk.review("Second")
    for review in (first, second):
        reviews.approve(review.id, by=desk.by)
    email = db.session.get_one(User, second.traveller_id).email
    page = desk.browser.get(f"{QUEUE}?status=APPROVED&q={email}").text
    assert f"Second {desk.word}" in page
    assert f"First {desk.word}" not in page
    newest = desk.browser.get(f"{QUEUE}?status=APPROVED").text
    assert newest.index(f"Second {desk.word}") < newest.index(f"First {desk.word}")


@pytest.mark.parametrize("query", ["status=NOWHERE", "after=x", "rating=9", f"after={2**70}"])
def test_an_address_that_makes_no_sense_is_refused_in_words(desk: Desk, query: str) -> None:
    answer = desk.browser.get(f"{QUEUE}?{query}")
    assert answer.status_code == 422
    assert "There is no" in answer.text or "not a place in this list" in answer.text


def test_an_empty_queue_says_what_would_be_there(empty_app: Flask) -> None:
    browser = signed_in(empty_app, "moderator")
    page = browser.get(QUEUE).text
    assert "Nothing waits" in page
    assert "as soon as travellers write them" in page
    assert "No reviews match" in browser.get(f"{QUEUE}?rating=1").text
    assert "Nothing is rejected." in browser.get(f"{QUEUE}?status=REJECTED").text


def test_home_says_how_many_wait_and_since_when(empty_app: Flask) -> None:
    browser = signed_in(empty_app, "moderator")
    review = written(factories.review(), 30)
    home = browser.get("/console/").text
    line = home[home.index(">Reviews</a>", home.index("queue-count")) - 300 :]
    assert re.search(r'<span class="queue-count">1</span>', line)
    assert review.created_at.strftime("%Y") in line


# --- Who looks at it -------------------------------------------------------------------------------------------------


def test_opening_an_item_tells_colleagues_who_looks_and_since_when(desk: Desk, colleague: Desk) -> None:
    review = desk.review()
    desk.open(review)
    assert f"{desk.person.name}, <time" in colleague.queue()
    page = colleague.open(review)
    assert f"<bdi>{desk.person.name}</bdi> opened this" in page
    assert f"{desk.person.name}</bdi> opened this" not in desk.open(review)
    assert claims.of(Review, [review.id])[review.id].user_id == desk.by.id


def test_a_page_that_only_looks_again_is_no_sign_of_life(desk: Desk) -> None:
    review = desk.review()
    for address in (f"{QUEUE}?q={desk.word}", desk.address(review)):
        answer = desk.browser.client.get(address, headers={LOOKING_AGAIN: "1"})
        assert answer.status_code == 200
        assert claims.of(Review, [review.id]) == {}
    desk.open(review)
    desk.browser.client.get(f"{QUEUE}?q={desk.word}", headers={LOOKING_AGAIN: "1"})
    assert review.id in claims.of(Review, [review.id])


def test_somebody_at_work_on_the_page_keeps_the_claim(desk: Desk) -> None:
    review = desk.review()
    answer = desk.browser.post(f"{QUEUE}{review.id}/claim")
    assert answer.status_code == 302
    assert claims.of(Review, [review.id])[review.id].user_id == desk.by.id


def test_going_back_to_the_list_lets_go(desk: Desk) -> None:
    review = desk.review()
    desk.open(review)
    desk.queue()
    assert claims.of(Review, [review.id]) == {}


def test_who_may_not_decide_reads_without_claiming(app: Flask, desk: Desk) -> None:
    review = desk.review()
    reader = Desk(app, desk.word, "support")
    page = reader.open(review)
    assert "Quiet at night." in page
    assert offered(page) == {}
    assert "data-claim" not in page
    assert claims.of(Review, [review.id]) == {}


def test_a_claim_keeps_nobody_from_deciding(desk: Desk, colleague: Desk) -> None:
    review = desk.review()
    desk.open(review)
    assert colleague.decide(review, "approve").status_code == 302
    assert status(review) == "APPROVED"


# --- Deciding --------------------------------------------------------------------------------------------------------


def test_a_decision_leads_to_the_next_item_claimed_already(desk: Desk, colleague: Desk) -> None:
    first, second, third = (written(desk.review(title), hours) for title, hours in (("A", 9), ("B", 8), ("C", 7)))
    colleague.open(second)
    answer = desk.decide(first, "approve")
    assert answer.location == desk.address(third)
    assert status(first) == "APPROVED"
    assert claims.of(Review, [third.id])[third.id].user_id == desk.by.id
    reject = desk.decide(third, "reject", reason="private", note="Names the cook")
    assert reject.location == f"{QUEUE}?q={desk.word}", "the only other one is the colleague's"
    found = factories.reread(third)
    assert (found.status, found.moderation_reason, found.moderation_notes) == ("REJECTED", "private", "Names the cook")


def test_after_the_last_item_come_those_that_were_passed_over(desk: Desk) -> None:
    first, second = written(desk.review("A"), 9), written(desk.review("B"), 8)
    assert desk.decide(second, "approve").location == desk.address(first)
    assert desk.decide(first, "approve").location == f"{QUEUE}?q={desk.word}"
    assert "No reviews match" in desk.queue()


def test_items_are_walked_in_the_order_of_the_list(desk: Desk) -> None:
    first, second, third = (written(desk.review(title), hours) for title, hours in (("A", 9), ("B", 8), ("C", 7)))
    page = desk.open(second)
    assert f'href="{desk.address(third)}" rel="next" data-next' in page
    assert f'href="{desk.address(first)}" rel="prev" data-previous' in page
    assert "3 reviews waiting" in page


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_acting_on_what_a_colleague_decided_says_so_and_writes_nothing(
    desk: Desk, colleague: Desk, decision: str
) -> None:
    review = desk.review()
    seen = last_entry("reviews", review.id)
    colleague.decide(review, "approve")
    before = as_it_is(review)
    answer = desk.decide(review, decision, seen, reason="private")
    assert answer.location == desk.address(review)
    page = desk.open(review)
    said = rf"Approved by {colleague.person.name} (just now|\d+ seconds? ago)\. Nothing was changed\."
    assert re.search(said, page)
    assert as_it_is(review) == before


def test_what_was_decided_and_undone_meanwhile_is_not_decided_on_an_old_page(desk: Desk, colleague: Desk) -> None:
    review = desk.review()
    seen = last_entry("reviews", review.id)
    colleague.decide(review, "approve")
    colleague.decide(review, "undo")
    before = as_it_is(review)
    desk.decide(review, "approve", seen)
    assert f"Decision undone by {colleague.person.name}" in desk.open(review)
    assert as_it_is(review) == before
    desk.decide(review, "approve")
    assert status(review) == "APPROVED"


@pytest.mark.parametrize("seen", ["", "x", "-1", str(2**64)])
def test_a_decision_without_what_was_seen_is_refused(desk: Desk, seen: str) -> None:
    review = desk.review()
    before = as_it_is(review)
    answer = desk.browser.post(desk.address(review, "approve"), {"seen": seen})
    assert answer.status_code == 422
    assert as_it_is(review) == before


def test_a_reason_that_lacks_its_note_is_asked_for_and_nothing_typed_is_lost(desk: Desk) -> None:
    review = desk.review()
    before = as_it_is(review)
    answer = desk.decide(review, "reject", reason="other", note=" ")
    assert answer.status_code == 422
    page = unescape(answer.text)
    assert "Say what the reason is." in page
    assert re.search(r'value="other"[^>]*checked', page, re.S)
    assert "data-reopen" in page
    assert as_it_is(review) == before


@pytest.mark.parametrize("decision", ["applaud", "retract"])
def test_there_is_no_decision_but_those_named(desk: Desk, decision: str) -> None:
    review = desk.review()
    before = as_it_is(review)
    assert desk.decide(review, decision).status_code == 404
    assert desk.bulk(decision, review).status_code == 404
    assert as_it_is(review) == before


def test_buttons_keys_and_the_bulk_bar_offer_what_the_state_and_the_role_allow(
    app: Flask, desk: Desk, colleague: Desk
) -> None:
    review = desk.review()
    waiting = {"approve": "a", "reject": "r", "withdraw": None}
    assert offered(desk.open(review)) == waiting
    assert set(re.search(r'data-offers="([^"]*)"', desk.queue())[1].split()) == set(waiting)  # type: ignore[index]
    in_the_bar = re.findall(r'name="decision" value="(\w+)" data-bulk-key="(\w)"', desk.queue())
    assert dict(in_the_bar) == {"approve": "a", "reject": "r"}
    reviews.approve(review.id, by=desk.by)
    assert offered(desk.open(review)) == {"undo": "u"}
    assert offered(colleague.open(review)) == {"reverse": None}
    window_over(review)
    assert offered(desk.open(review)) == {"reverse": None}
    reader = Desk(app, desk.word, "support")
    assert offered(reader.open(review)) == {}
    assert "data-bulk" not in reader.queue()


def test_a_review_is_withdrawn_for_good_with_how_its_author_asked(desk: Desk) -> None:
    review = desk.review()
    before = as_it_is(review)
    assert "Say why." in desk.decide(review, "withdraw").text
    assert as_it_is(review) == before
    assert desk.decide(review, "withdraw", reason="Wrote to us from their address").status_code == 302
    assert status(review) == "WITHDRAWN"
    page = desk.open(review)
    assert offered(page) == {}
    assert f"Withdrawn by {desk.person.name} just now." in page
    assert "Withdrawn at its author's request" in page
    assert "Wrote to us from their address" in page


def test_reversing_later_needs_a_reason_and_puts_it_back(desk: Desk) -> None:
    review = desk.review()
    reviews.approve(review.id, by=factories.moderator())
    window_over(review)
    before = as_it_is(review)
    assert desk.decide(review, "reverse", reason=" ").status_code == 422
    assert as_it_is(review) == before
    assert desk.decide(review, "reverse", reason="The guest was the owner").location == desk.address(review)
    assert status(review) == "PENDING"


def test_what_a_colleague_looks_at_is_walked_past(desk: Desk, colleague: Desk) -> None:
    first, second, third = (written(desk.review(title), hours) for title, hours in (("A", 9), ("B", 8), ("C", 7)))
    colleague.open(second)
    assert f'href="{desk.address(third)}" rel="next"' in desk.open(first)
    assert f'href="{desk.address(first)}" rel="prev"' in desk.open(third)


# --- Undo ------------------------------------------------------------------------------------------------------------


def undo_form(page: str) -> tuple[str, dict[str, Any]] | None:
    """Where the undo of the last decision is sent, and what with."""
    found = re.search(r'<form class="notice undo".*?</form>', page, re.S)
    if not found:
        return None
    fields = re.findall(r'name="(decision|seen|id)" value="(\w+)"', found[0])
    sent = {name: [value for key, value in fields if key == name] for name, _ in fields}
    return re.search(r'action="([^"]+)"', found[0])[1], sent  # type: ignore[index]


def test_the_next_page_offers_to_undo_and_it_waits_again(desk: Desk) -> None:
    first, second = written(desk.review("A"), 9), written(desk.review("B"), 8)
    desk.decide(first, "approve")
    page = desk.open(second)
    assert f"Approved: A {desk.word}" in page
    form = undo_form(page)
    assert form
    assert desk.browser.post(*form).location == desk.address(first)
    assert status(first) == "PENDING"
    assert undo_form(desk.open(second)) is None


def test_nobody_is_offered_to_undo_what_a_colleague_decided_or_what_is_too_old(desk: Desk, colleague: Desk) -> None:
    first, second = desk.review("A"), desk.review("B")
    desk.decide(first, "approve")
    assert undo_form(colleague.open(second)) is None
    form = undo_form(desk.open(second))
    window_over(first)
    assert undo_form(desk.open(second)) is None
    before = as_it_is(first)
    assert form
    desk.browser.post(*form)
    assert "The time to undo it is over" in desk.open(second)
    assert as_it_is(first) == before


# --- Many at once ----------------------------------------------------------------------------------------------------


def test_what_is_picked_is_decided_at_once_and_undone_at_once(desk: Desk) -> None:
    made = [desk.review(f"R{number}") for number in range(3)]
    answer = desk.bulk("approve", *made[:2], line="1")
    assert answer.location == f"{QUEUE}?q={desk.word}#line-1"
    assert [status(review) for review in made] == ["APPROVED", "APPROVED", "PENDING"]
    page = desk.queue()
    assert "Approved: 2 reviews" in page
    form = undo_form(page)
    assert form
    desk.browser.post(*form)
    assert [status(review) for review in made] == ["PENDING"] * 3


def test_of_many_those_that_changed_meanwhile_are_told_and_left_alone(desk: Desk, colleague: Desk) -> None:
    mine, theirs = desk.review("Mine"), desk.review("Theirs")
    colleague.decide(theirs, "reject", reason="fake")
    before = as_it_is(theirs)
    desk.bulk("approve", mine, theirs)
    page = desk.queue()
    assert "Not changed, as something else happened meanwhile: 1 review." in page
    assert f"Theirs {desk.word}: Rejected by {colleague.person.name}" in page
    assert as_it_is(theirs) == before
    assert status(mine) == "APPROVED"


def test_many_are_rejected_after_a_page_that_asks_why(desk: Desk) -> None:
    made = [desk.review(f"R{number}") for number in range(2)]
    before = [as_it_is(review) for review in made]
    asked = desk.bulk("reject", *made)
    assert asked.status_code == 200
    assert "Reject 2 reviews" in asked.text
    assert f"R0 {desk.word}" in asked.text
    refused = desk.bulk("reject", *made, asked="yes", reason="other", note="")
    assert refused.status_code == 422
    assert "Say what the reason is." in refused.text
    assert [as_it_is(review) for review in made] == before
    assert desk.bulk("reject", *made, asked="yes", reason="fake", note="One writer").status_code == 302
    assert {factories.reread(review).moderation_reason for review in made} == {"fake"}


def test_picking_nothing_or_nonsense_decides_nothing(desk: Desk) -> None:
    review = desk.review()
    before = as_it_is(review)
    nothing = desk.bulk("approve")
    assert nothing.status_code == 422
    assert "Pick 1 to 50 lines first." in nothing.text
    nonsense = desk.browser.post(f"{QUEUE}bulk", {"decision": "approve", "id": [str(review.id), "1 or 1"]})
    assert nonsense.status_code == 422
    assert as_it_is(review) == before


# --- Another queue ---------------------------------------------------------------------------------------------------


def test_providers_are_verified_from_their_queue_with_a_reason(app: Flask) -> None:
    first, second = (factories.complete(factories.provider(status="PENDING")) for _ in range(2))
    with transaction():
        order = "UPDATE providers SET created_at = :at WHERE id = :id"
        for provider, day in ((first, "2001-01-01"), (second, "2001-01-02")):
            db.session.execute(text(order), {"at": day, "id": provider.id})
    browser = signed_in(app, "admin")
    queue = browser.get("/console/verification/").text
    assert queue.index(first.name) < queue.index(second.name)
    here = f"/console/verification/{first.id}/"
    assert browser.post(f"{here}verify", {"seen": "0"}).status_code == 422
    assert factories.reread(first).status == "PENDING"
    answer = browser.post(f"{here}verify", {"seen": "0", "reason": "Known from another marketplace"})
    assert answer.location == f"/console/verification/{second.id}/"
    assert factories.reread(first).status == "VERIFIED"
    assert f"Verified: {first.name}" in unescape(browser.get(answer.location).text)
    providers.decide(second.id, "reject", by=factories.actor(factories.staff("admin")), reason="Papers missing")
    browser.post(f"/console/verification/{second.id}/verify", {"seen": "0", "reason": "Known"})
    assert re.search(r"Rejected by Staff \w+ (just now|\d+ seconds? ago)\.", browser.get(f"{QUEUE}").text)
    assert factories.reread(db.session.get_one(Provider, second.id)).status == "REJECTED"
