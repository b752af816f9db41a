"""Refunding and approving many from their lists: what is asked for first, and what starts only with a password."""

from __future__ import annotations

import re
from html import unescape

from flask import Flask
from sqlalchemy import text

from app.accounts.models import User
from app.db import transaction
from app.extensions import db
from tests import factories, queued
from tests.bulk.paid import PAID_MINOR, Paid
from tests.bulk.runs import asked
from tests.console.browser import Browser
from tests.payments.refunding import ask, paid, support

LIST = "/console/bookings/"


def opened(app: Flask, *roles: str) -> tuple[Browser, User]:
    browser, person = Browser(app), factories.staff(*roles)
    assert browser.sign_in(person).status_code == 302
    return browser, person


def forget_proof(person: User) -> None:
    with transaction():
        db.session.execute(text("UPDATE staff_sessions SET proven_at = NULL WHERE user_id = :id"), {"id": person.id})


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", unescape(page)).split())


def kept_run(browser: Browser, paid: Paid, **sent: object) -> str:
    """The page of a run that refunds all bookings of the provider."""
    body = {"decision": "refund", "all": "yes", "asked": "yes", "reason": "provider_failed", "note": "Flooded", **sent}
    answer = browser.post(f"{LIST}bulk?provider_id={paid.provider_id}", body, token_from=LIST)
    assert answer.status_code == 302, answer.text
    return str(answer.location)


def status(run: str) -> str:
    return str(asked("SELECT status FROM bulks WHERE id = :id", id=int(run.split("/")[-2]))[0][0])


def test_only_who_may_refund_many_is_shown_boxes_and_what_each_may(app: Flask) -> None:
    Paid(1)
    offers = {}
    for role in ("support", "moderator", "finance", "admin"):
        page = opened(app, role)[0].get(LIST).text
        offers[role] = re.findall(r'name="decision" value="(\w+)"', page)
        assert ('name="id"' in page) is bool(offers[role])
    assert offers == {"support": [], "moderator": [], "finance": ["refund"], "admin": ["refund", "cancel"]}


def test_money_of_many_moves_after_the_number_and_the_password_and_not_before(app: Flask) -> None:
    paid = Paid(11)
    browser, person = opened(app, "finance")
    asks = browser.post(
        f"{LIST}bulk?provider_id={paid.provider_id}", {"decision": "refund", "all": "yes"}, token_from=LIST
    )
    assert "All that match now: Provider:" in words(asks.text)
    assert "nothing is cancelled" in words(asks.text)
    run = kept_run(browser, paid)
    page = words(browser.get(run).text)
    for said in (
        "11 bookings will be refunded",
        "$1,100.00",
        "together above your limit of $500.00",
        "The provider could not host. Flooded",
        "Type 11 to confirm",
    ):
        assert said in page, said
    for typed in ("", "10", "x"):
        answer = browser.post(f"{run}start", {"typed": typed}, token_from=run)
        assert answer.status_code == 422
        assert "Type 11 to confirm it. Nothing was done." in unescape(answer.text)
    forget_proof(person)
    answer = browser.post(f"{run}start", {"typed": "11"}, token_from=run)
    assert answer.status_code == 403
    assert "Confirm it is you" in answer.text
    assert (status(run), paid.refunds()) == ("PREPARED", [])
    assert browser.post(f"{run}start", {"typed": "11", "proof": "wrong"}, token_from=run).status_code == 403
    assert status(run) == "PREPARED"
    answer = browser.post(f"{run}start", {"typed": "11", "proof": factories.PASSWORD}, token_from=run)
    assert (answer.status_code, status(run)) == (302, "RUNNING")
    assert browser.post(f"{run}start", {"typed": "11"}, token_from=run).status_code == 409
    assert queued.work_off() == []
    assert len(paid.refunds()) == 11
    page = words(browser.get(run).text)
    assert "11 done" in page
    assert "11 refunds , $1,100.00 USD" in page.replace("\N{NO-BREAK SPACE}", " ")


def test_what_failed_is_taken_up_by_who_shows_that_it_is_them(app: Flask) -> None:
    paid = Paid(2)
    browser, person = opened(app, "finance")
    run = kept_run(browser, paid)
    assert browser.post(f"{run}start", {}, token_from=run).status_code == 302
    assert browser.post(f"{run}cancel", {}, token_from=run).status_code == 302
    left = words(browser.get(f"{run}?show=LEFT").text)
    references = [
        reference for (reference,) in asked("SELECT reference FROM bookings WHERE id = ANY(:ids)", ids=paid.ids)
    ]
    assert len(references) == 2
    assert all(reference in left for reference in references)
    forget_proof(person)
    assert browser.post(f"{run}take-up", {}, token_from=run).status_code == 403
    assert asked("SELECT count(*) FROM bulks WHERE by_id = :id", id=person.id) == [(1,)]
    answer = browser.post(f"{run}take-up", {"proof": factories.PASSWORD}, token_from=run)
    assert answer.status_code == 302
    assert queued.work_off() == []
    assert [minor for _, _, minor in paid.refunds()] == [PAID_MINOR] * 2


def test_a_list_that_is_asked_for_nonsense_keeps_no_run(app: Flask) -> None:
    paid = Paid(1)
    browser, person = opened(app, "finance")
    picked = {"decision": "refund", "asked": "yes", "id": str(paid.ids[0])}
    for body, code in (
        ({"decision": "refund", "asked": "yes", "reason": "duplicate"}, 422),
        ({**picked, "reason": "mood"}, 422),
        ({**picked, "reason": "other"}, 422),
        ({**picked, "reason": "duplicate", "id": "x"}, 422),
        ({**picked, "reason": "duplicate", "decision": "sell"}, 404),
        ({**picked, "reason": "duplicate", "decision": "cancel"}, 403),
    ):
        assert browser.post(f"{LIST}bulk", body, token_from=LIST).status_code == code, body
    assert asked("SELECT count(*) FROM bulks WHERE by_id = :id", id=person.id) == [(0,)]


def test_picked_refunds_are_approved_by_a_run_that_asks_for_the_password(app: Flask) -> None:
    waiting = [ask(paid(), 3_000, by=support()) for _ in range(2)]
    browser, person = opened(app, "finance")
    queue = "/console/refunds/"
    body = {"decision": "approve", "id": [str(refund.id) for refund in waiting]}
    answer = browser.post(f"{queue}bulk", body, token_from=queue)
    assert answer.status_code == 302
    run = str(answer.location)
    page = words(browser.get(run).text)
    assert "2 refunds will be approved" in page
    assert "Goes back $60.00" in page.replace("\N{NO-BREAK SPACE}", " ")
    forget_proof(person)
    assert browser.post(f"{run}start", {}, token_from=run).status_code == 403
    assert {factories.reread(refund).status for refund in waiting} == {"PENDING_APPROVAL"}
    assert browser.post(f"{run}start", {"proof": factories.PASSWORD}, token_from=run).status_code == 302
    assert queued.work_off() == []
    assert {factories.reread(refund).status for refund in waiting} == {"SUCCEEDED"}
