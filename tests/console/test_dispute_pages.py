"""/console/disputes/: the least time left on top, staged and submitted told apart, and everything asked for twice."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.accounts.models import StaffSession
from app.db import lock, transaction, utcnow
from app.disputes import chargebacks, evidence
from app.disputes.models import Dispute
from app.extensions import db
from app.payments import holds, stripe_gateway
from tests import factories, queued
from tests.api.calling import Caller, problem
from tests.console.browser import Browser, signed_in
from tests.disputes.disputing import decided, disputed
from tests.payments.refunding import ask, finance, paid, refunds_of


def page_of(dispute: Dispute) -> str:
    return f"/console/disputes/{dispute.id}/"


def reference_of(browser: Browser, dispute: Dispute) -> str:
    found = re.search(r"TD-[0-9A-Z]+-[0-9A-Z]+", browser.get(page_of(dispute)).text)
    assert found
    return found[0]


def staged() -> Dispute:
    dispute = disputed(paid())
    evidence.stage(dispute.id, {}, seen=0, by=finance())
    assert queued.work_off() == []
    return dispute


def test_the_least_time_left_stands_on_top_and_what_needs_no_answer_last(app: Flask) -> None:
    late, soon, over = disputed(paid()), disputed(paid()), disputed(paid())
    decided(over.stripe_dispute_id or "", "lost")
    for dispute, minutes in ((late, 9), (soon, 7)):
        with transaction():
            row = lock(Dispute, dispute.id)
            row.evidence_due_by = row.answer_by = utcnow() + timedelta(minutes=minutes)
    listed = signed_in(app, "finance").get("/console/disputes/").text
    places = [listed.find(page_of(dispute)) for dispute in (soon, late)]
    assert -1 not in places
    assert places == sorted(places)
    for_over = listed.find(page_of(over))
    assert for_over == -1 or for_over > places[1]


def test_draft_staged_and_submitted_are_told_apart(app: Flask) -> None:
    dispute = disputed(paid())
    browser = signed_in(app, "finance")
    page = browser.get(page_of(dispute)).text
    assert "Neither Stripe nor the bank has any of it" in page
    assert "Stage the evidence first" in page
    assert f'action="{page_of(dispute)}submit"' not in page
    reference = reference_of(browser, dispute)
    assert f"data-up>Dispute over {reference}</a>" in browser.get(f"{page_of(dispute)}evidence").text
    answer = browser.post(f"{page_of(dispute)}evidence", {"seen": "0", "product_description": "A room with a view"})
    assert answer.status_code == 302
    assert "It is being staged at the moment." in browser.get(page_of(dispute)).text
    assert queued.work_off() == []
    page = browser.get(page_of(dispute)).text
    assert "Stripe has this, the bank does not." in page
    assert "A room with a view" in page
    answer = browser.post(f"{page_of(dispute)}submit", {"typed": reference_of(browser, dispute)})
    assert answer.status_code == 302
    assert queued.work_off() == []
    page = browser.get(page_of(dispute)).text
    assert "The bank has this. Nothing can be added or changed any more." in page
    sent = page[page.index('class="evidence"') :]
    labels = ("Name of the customer", "Days of the stay", "What was sold", "Receipt, messages")
    assert sorted(labels, key=sent.index) == list(labels)
    assert f'action="{page_of(dispute)}submit"' not in page


def test_of_what_is_submitted_the_page_shows_what_the_bank_has(app: Flask) -> None:
    dispute = staged()
    evidence.submit(dispute.id, by=finance())
    assert queued.work_off() == []
    news = stripe_gateway.retrieve_dispute(dispute.stripe_dispute_id or "")
    chargebacks.changed(replace(news, evidence={**news.evidence, "product_description": "Said in the dashboard"}))
    page = signed_in(app, "finance").get(page_of(dispute)).text
    assert "The bank has this." in page
    assert "Said in the dashboard" in page


def test_a_dispute_says_what_it_has_moved_and_one_that_is_decided_offers_nothing(app: Flask) -> None:
    dispute = disputed(paid())
    browser = signed_in(app, "finance")
    money = re.sub(r"<[^>]+>", " ", browser.get(page_of(dispute)).text)
    for words in ("Withdrawn", "−$100.00", "Fee", "−$15.00", "−$115.00"):
        assert words in money, words
    decided(dispute.stripe_dispute_id or "", "won")
    page = browser.get(page_of(dispute)).text
    assert "Given back" in page
    assert "not possible now" not in page
    assert "act-accept" not in page


def test_where_a_dispute_is_at_stripe_is_said_in_words(app: Flask) -> None:
    assert set(chargebacks._STATUSES_IN_WORDS) == set(chargebacks._STATUSES)
    dispute, browser = disputed(paid()), signed_in(app, "finance")
    page = browser.get(page_of(dispute)).text
    assert "Needs a response" in page
    assert "needs_response" not in page
    decided(dispute.stripe_dispute_id or "", "lost")
    history = " ".join(browser.get(f"{page_of(dispute)}?tab=history").text.split())
    assert "Needs response" in history
    assert "needs_response" not in history


def test_only_the_dialog_without_a_reason_begins_with_the_name_to_type(app: Flask) -> None:
    page = signed_in(app, "finance").get(page_of(staged())).text
    submit, accept = (page.split(f'id="act-{name}"')[1].split("</form>")[0] for name in ("submit", "accept"))
    assert re.search(r'id="typed-submit"[^>]*autofocus', submit)
    assert not re.search(r'id="typed-accept"[^>]*autofocus', accept)
    assert "autofocus" in accept


def test_what_the_bank_never_had_is_no_draft_once_it_is_over(app: Flask) -> None:
    dispute = disputed(paid())
    decided(dispute.stripe_dispute_id or "", "lost")
    page = signed_in(app, "finance").get(page_of(dispute)).text
    assert "the bank never had it" in page
    assert "read it over, and save it" not in page
    assert "Draft" not in page


@pytest.mark.parametrize("verb", ["submit", "accept"])
def test_what_works_once_asks_for_the_password_again(app: Flask, verb: str) -> None:
    dispute = staged()
    browser = signed_in(app, "finance")
    typed = {"typed": reference_of(browser, dispute), "reason": "They are right"}
    with transaction():
        db.session.query(StaffSession).update({"proven_at": utcnow() - timedelta(hours=1)})
    asked = browser.post(f"{page_of(dispute)}{verb}", typed)
    assert asked.status_code == 403
    assert 'name="proof"' in asked.text
    assert factories.reread(db.session.get_one(Dispute, dispute.id)).asked is None
    answer = browser.post(f"{page_of(dispute)}{verb}", {**typed, "proof": factories.PASSWORD})
    assert answer.status_code == 302
    assert factories.reread(db.session.get_one(Dispute, dispute.id)).asked == verb.upper()


def test_support_reads_chargebacks_and_does_nothing(app: Flask) -> None:
    dispute = disputed(paid())
    browser = signed_in(app, "support")
    page = browser.get(page_of(dispute)).text
    assert "Receipt of booking" in page
    assert "Write evidence" not in page
    assert "Ledger entries" not in page
    assert browser.post(f"{page_of(dispute)}evidence", {"seen": "0"}).status_code == 403


@pytest.mark.parametrize("way", ["api", "console"])
def test_refunds_of_a_disputed_payment_are_refused_by_every_door(app: Flask, client: FlaskClient, way: str) -> None:
    payment = paid()
    dispute = disputed(payment)
    words = "The cardholder has charged it back (fraudulent)"
    if way == "api":
        caller = Caller(client, factories.staff("finance"))
        answer: Any = caller.post(f"/bookings/{payment.booking_id}/refunds", {"amount": 100, "reason": "fraud"})
        assert words in problem(answer, 409)["detail"]
    else:
        browser = signed_in(app, "finance")
        page = browser.get(f"/console/payments/{payment.id}/").text
        assert words in page
        assert f"/console/disputes/{dispute.id}/" in page
        assert words in browser.get(f"/console/bookings/{payment.booking_id}/").text
    assert refunds_of(payment) == []
    assert len(holds.of(payment.id)) == 1


def test_the_hold_of_an_inquiry_is_lifted_with_a_reason(app: Flask) -> None:
    payment = paid()
    dispute = disputed(payment, case_type="inquiry", reason="general")
    browser = signed_in(app, "finance")
    assert "Lift the hold" in browser.get(page_of(dispute)).text
    assert browser.post(f"{page_of(dispute)}lift-hold", {"reason": ""}).status_code == 422
    assert len(holds.of(payment.id)) == 1
    assert browser.post(f"{page_of(dispute)}lift-hold", {"reason": "They are right"}).status_code == 302
    assert holds.of(payment.id) == []


def test_who_lifts_a_hold_shows_that_it_is_them_as_money_goes_out(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 4_000)
    dispute = disputed(payment, case_type="inquiry", reason="general")
    browser = signed_in(app, "finance")
    with transaction():
        db.session.query(StaffSession).update({"proven_at": utcnow() - timedelta(hours=1)})
    form = {"reason": "They are right"}
    answer = browser.post(f"{page_of(dispute)}lift-hold", form)
    assert (answer.status_code, 'name="proof"' in answer.text) == (403, True)
    assert (len(holds.of(payment.id)), factories.reread(refund).status) == (1, "ON_HOLD")
    browser.post(f"{page_of(dispute)}lift-hold", {**form, "proof": factories.PASSWORD})
    assert (holds.of(payment.id), factories.reread(refund).status) == ([], "APPROVED")
