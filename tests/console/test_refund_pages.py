"""The refund queue and the way to it: a preview first, the password again before money moves, and a second person."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import false, select, text

from app.accounts.models import User
from app.audit.actor import STRIPE
from app.bookings import service as bookings
from app.db import lock, transaction, utcnow
from app.disputes import chargebacks
from app.errors import Unavailable
from app.extensions import db
from app.payments import holds, refund_approval, refund_submission, refunds, stripe_gateway
from app.payments.cancellation import BEGUN
from app.payments.models import Payment, Refund
from app.queue import MAX_ATTEMPTS
from app.states import move
from jobs import payments as payment_jobs
from tests import factories, queued
from tests.console.browser import Browser
from tests.disputes.disputing import disputed
from tests.payments.refunding import ask, ask_stripe, at_stripe, finance, paid, refunds_of, support, withdrawn


def opened(app: Flask, *roles: str) -> tuple[Browser, User]:
    browser, person = Browser(app), factories.staff(*roles)
    assert browser.sign_in(person).status_code == 302
    return browser, person


def shown(browser: Browser, path: str, status: int = 200) -> str:
    answer = browser.get(path)
    assert answer.status_code == status, answer.text
    return unescape(answer.text)


def form_of(payment: Payment) -> str:
    return f"/console/refunds/of/{payment.id}/"


def hidden(page: str) -> dict[str, str]:
    """What the preview sends on."""
    form = page.split('/request"')[1].split("</form>")[0]
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))


def plain(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def forget_proof(person: User) -> None:
    with transaction():
        db.session.execute(text("UPDATE staff_sessions SET proven_at = NULL WHERE user_id = :id"), {"id": person.id})


def seen(browser: Browser, refund: Refund) -> dict[str, str]:
    found = re.search(r'name="seen" value="(\d+)"', shown(browser, f"/console/refunds/{refund.id}/"))
    assert found
    return {"seen": found[1]}


def test_from_the_booking_over_the_preview_to_the_refund(app: Flask) -> None:
    payment = paid()
    browser, person = opened(app, "finance")
    assert f'href="{form_of(payment)}"' in shown(browser, f"/console/bookings/{payment.booking_id}/")
    assert f'href="{form_of(payment)}"' in shown(browser, f"/console/payments/{payment.id}/")
    assert 'value="100.00"' in shown(browser, form_of(payment))
    preview = shown(browser, f"{form_of(payment)}?amount=40.00&kind=standard&reason=stay_problem&note=Cold+pool")
    for words in ("$34.00", "$6.00", "$60.00", "Provider payable → Refunds payable", "Cold pool", "Refund $40.00"):
        assert words in preview, words
    assert refunds_of(payment) == []

    forget_proof(person)
    sent = hidden(preview)
    asked = browser.post(f"{form_of(payment)}request", sent)
    assert asked.status_code == 403
    assert "Confirm it is you" in asked.text
    wrong = browser.post(f"{form_of(payment)}request", {**sent, "proof": "a guess", "proof_back": form_of(payment)})
    assert wrong.status_code == 403
    assert f'href="{form_of(payment)}"' in wrong.text
    elsewhere = browser.post(f"{form_of(payment)}request", {**sent, "proof": "a guess", "proof_back": "//evil.example"})
    assert "evil.example" not in elsewhere.text
    assert refunds_of(payment) == []
    answer = browser.post(f"{form_of(payment)}request", {**sent, "proof": factories.PASSWORD})
    (refund,) = refunds_of(payment)
    assert answer.location == f"/console/refunds/{refund.id}/"
    assert (refund.amount_minor, refund.note, refund.requested_by_id) == (4_000, "Cold pool", person.id)
    browser.post(f"{form_of(payment)}request", sent)
    assert len(refunds_of(payment)) == 1
    assert queued.work_off() == []
    assert "In the ledger" in shown(browser, f"/console/refunds/{refund.id}/")
    assert f"/console/refunds/{refund.id}/" in shown(browser, f"/console/bookings/{payment.booking_id}/")


def test_who_may_not_open_a_refund_or_dispute_reads_of_it_without_a_way_to_it(app: Flask) -> None:
    payment = paid()
    dispute = disputed(payment, case_type="inquiry")
    chargebacks.lift_hold(dispute.id, by=finance(), reason="They are right")
    refund = ask(payment, 4_000)
    page = f"/console/bookings/{payment.booking_id}/"
    ways = (f'href="/console/refunds/{refund.id}/"', f'href="/console/disputes/{dispute.id}/"')
    moderator, _ = opened(app, "moderator")
    read = shown(moderator, page)
    assert "$40.00" in read
    assert not any(way in read for way in (*ways, "Open it"))
    support, _ = opened(app, "support")
    assert all(way in shown(support, page) for way in ways)


@pytest.mark.parametrize(
    ("role", "said"), [("support", "waits for a second person"), ("finance", "is on its way to Stripe")]
)
def test_who_asked_reads_whether_somebody_else_has_to_approve_it(app: Flask, role: str, said: str) -> None:
    payment = paid()
    browser, _ = opened(app, role)
    preview = shown(browser, f"{form_of(payment)}?amount=40.00&kind=standard&reason=stay_problem")
    answer = browser.post(f"{form_of(payment)}request", hidden(preview))
    assert f"The refund of $40.00 {said}." in shown(browser, answer.location)


def test_what_runs_out_soon_says_so_in_the_queue(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 4_000, by=support())
    browser, _ = opened(app, "finance")
    for hours, is_soon in ((47, True), (49, False)):
        with transaction():
            lock(Refund, refund.id).expires_at = utcnow() + timedelta(hours=hours)
        page = shown(browser, f"/console/refunds/?q={payment.stripe_payment_intent_id}")
        assert ("Runs out within two days" in page) is is_soon


def test_a_long_note_in_any_letters_reaches_the_preview_and_what_lacks_is_said_there(app: Flask) -> None:
    payment = paid()
    browser, _ = opened(app, "finance")
    note = "Бассейн был закрыт. " * 100
    typed = {"amount": "40.00", "kind": "standard", "reason": "other", "note": note}
    preview = browser.post(form_of(payment), typed)
    assert preview.status_code == 200
    assert hidden(preview.text)["note"].strip() == note.strip()
    lacking = browser.post(form_of(payment), {**typed, "note": " ", "amount": "x"})
    for words in ("Say in 1 to 2,000 characters", "Write an amount such as 30.00"):
        assert words in lacking.text
    assert "Choose a reason.</p>" in browser.post(form_of(payment), {**typed, "reason": ""}).text
    assert '/request"' not in lacking.text
    assert refunds_of(payment) == []


def test_what_can_not_be_refunded_comes_back_to_the_form_as_it_was_typed(app: Flask) -> None:
    payment = paid()
    browser, _ = opened(app, "finance")
    for amount in ("x", "-3", "1.005", "1e99", "NaN", ""):
        page = shown(browser, f"{form_of(payment)}?amount={amount}&reason=fraud")
        assert "Write an amount such as 30.00" in page, amount
    assert "Give an amount above zero" in shown(browser, f"{form_of(payment)}?amount=0&reason=fraud")
    assert "Only $100.00 is left" in shown(browser, f"{form_of(payment)}?amount=100.01&reason=fraud")
    refused = browser.post(
        f"{form_of(payment)}request", {"amount": "5.00", "kind": "standard", "reason": "other", "note": "", "key": "k"}
    )
    assert refused.status_code == 422
    assert "Say in 1 to 2,000 characters" in refused.text
    assert refunds_of(payment) == []


def test_goodwill_is_asked_for_as_goodwill(app: Flask) -> None:
    payment = paid()
    browser, _ = opened(app, "finance")
    preview = browser.post(form_of(payment), {"amount": "40", "kind": "goodwill", "reason": "goodwill", "note": ""})
    page = unescape(preview.text)
    assert "Goodwill → Refunds payable" in page and "Provider payable" not in page
    assert browser.post(f"{form_of(payment)}request", hidden(preview.text)).status_code == 302
    (refund,) = refunds_of(payment)
    assert (refund.kind, refund.reason, refund.amount_minor) == ("goodwill", "goodwill", 4_000)


def test_whatever_key_a_form_sends_a_cancellation_afterwards_has_its_own(app: Flask) -> None:
    payment = paid()
    browser, _ = opened(app, "finance")
    form = {"amount": "40.00", "kind": "standard", "reason": "fraud", "key": BEGUN}
    assert browser.post(f"{form_of(payment)}request", form).status_code == 302
    by = factories.actor(factories.staff("support"))
    bookings.cancel(payment.booking_id, by=by, on_behalf_of="provider", reason="The roof leaks")
    assert [row.amount_minor for row in refunds_of(payment)] == [4_000, 6_000]


def test_where_nothing_is_left_the_form_says_so(app: Flask) -> None:
    payment = paid()
    browser, _ = opened(app, "finance")
    first = finance()
    ask(payment, 10_000, by=first)
    said = f"Nothing is left to refund of this payment. {first.label} started a refund of $100.00"
    page = shown(browser, form_of(payment))
    assert page.count(said) == 1
    assert "field-amount" not in page
    assert said in shown(browser, f"/console/bookings/{payment.booking_id}/")


def test_the_second_of_two_is_told_and_can_refund_again_if_that_is_meant(app: Flask) -> None:
    payment, first = paid(), finance()
    ask(payment, 4_000, by=first)
    browser, _ = opened(app, "finance")
    preview = shown(browser, f"{form_of(payment)}?amount=40.00&kind=standard&reason=fraud")
    refused = browser.post(f"{form_of(payment)}request", hidden(preview))
    assert refused.status_code == 409
    assert f"{first.label} started a refund of $40.00" in unescape(refused.text)
    assert len(refunds_of(payment)) == 1
    again = browser.post(f"{form_of(payment)}request", hidden(refused.text))
    assert again.status_code == 302
    assert len(refunds_of(payment)) == 2


def test_while_held_the_button_says_why_and_until_when(app: Flask) -> None:
    payment = paid()
    until = factories.utcnow().replace(year=2031, month=3, day=4, hour=17, minute=30)
    holds.place(payment.id, source=f"test:{uuid4()}", reason="Disputed by the bank", until=until, by=STRIPE)
    browser, _ = opened(app, "finance")
    words = "on hold, until 4 Mar 2031 at 17:30 UTC: Disputed by the bank."
    for page in (f"/console/bookings/{payment.booking_id}/", f"/console/payments/{payment.id}/", form_of(payment)):
        assert words in shown(browser, page)
    assert f'href="{form_of(payment)}"' not in shown(browser, f"/console/bookings/{payment.booking_id}/")
    refused = browser.post(f"{form_of(payment)}request", {"amount": "5", "kind": "standard", "reason": "fraud"})
    assert refused.status_code == 409
    assert refunds_of(payment) == []


def test_a_second_person_sees_everything_and_approves(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 4_000, by=support(), kind="goodwill", reason="goodwill", note="Heating was off for a night")
    browser, person = opened(app, "finance")
    queue = shown(browser, "/console/refunds/")
    assert "Goodwill: we bear it" in queue
    page = shown(browser, f"/console/refunds/{refund.id}/")
    for words in ("Heating was off for a night", "Goodwill → Refunds payable", "$40.00", "Goodwill towards the guest"):
        assert words in page, words
    assert "Left besides this one $60.00" in plain(page)
    form = seen(browser, refund)
    forget_proof(person)
    assert browser.post(f"/console/refunds/{refund.id}/approve", form).status_code == 403
    assert factories.reread(refund).status == "PENDING_APPROVAL"
    browser.post(f"/console/refunds/{refund.id}/approve", {**form, "proof": factories.PASSWORD})
    assert factories.reread(refund).status == "APPROVED"


def test_who_asked_finds_approving_disabled_with_the_reason_and_is_refused(app: Flask) -> None:
    payment = paid(nights=6)
    browser, person = opened(app, "finance")
    refund = ask(payment, 50_001, by=factories.actor(person))
    page = shown(browser, f"/console/refunds/{refund.id}/")
    assert "You asked for it yourself." in page
    answer = browser.post(f"/console/refunds/{refund.id}/approve", seen(browser, refund))
    assert answer.status_code == 403
    assert factories.reread(refund).status == "PENDING_APPROVAL"


def test_whoever_decides_second_reads_what_happened(app: Flask) -> None:
    refund = ask(paid(), 4_000, by=support())
    first, person = opened(app, "finance")
    second, _ = opened(app, "finance")
    form = seen(second, refund)
    first.post(f"/console/refunds/{refund.id}/reject", {**seen(first, refund), "reason": "Not covered"})
    second.post(f"/console/refunds/{refund.id}/approve", form)
    page = shown(second, f"/console/refunds/{refund.id}/")
    assert f"Refund rejected by {person.name}" in page
    assert factories.reread(refund).status == "REJECTED"


def test_a_failed_refund_shows_stripes_words_and_is_tried_again(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 4_000)
    ask_stripe("POST", "/v1/refunds", data={"payment_intent": payment.stripe_payment_intent_id, "amount": 7_000})
    assert queued.work_off() == []
    browser, _ = opened(app, "finance")
    assert "greater than unrefunded amount" in shown(browser, "/console/refunds/?status=FAILED")
    page = shown(browser, f"/console/refunds/{refund.id}/")
    for words in ("Try again", "greater than unrefunded amount", "Posted, and taken back", "$34.00"):
        assert words in page
    assert "Stripe balance" not in page.split("Posted, and taken back")[1].split("</section>")[0]
    browser.post(f"/console/refunds/{refund.id}/retry", seen(browser, refund))
    assert factories.reread(refund).status == "APPROVED"
    assert queued.work_off() == []
    assert (factories.reread(refund).status, factories.reread(refund).submission) == ("FAILED", 2)


def test_who_refunded_up_to_their_limit_meanwhile_finds_trying_again_disabled_with_the_reason(app: Flask) -> None:
    payment = paid(nights=10)
    browser, person = opened(app, "finance")
    by = factories.actor(person)
    refund = ask(payment, 50_000, by=by)
    ask_stripe("POST", "/v1/refunds", data={"payment_intent": payment.stripe_payment_intent_id, "amount": 60_000})
    assert queued.work_off() == []
    form = seen(browser, refund)
    ask(payment, 50_000, by=by)
    page = shown(browser, f"/console/refunds/{refund.id}/")
    assert "Try again: not yet. Your limit is $500.00, and $500.00 of this payment are refunded by you" in plain(page)
    answer = browser.post(f"/console/refunds/{refund.id}/retry", form)
    assert "somebody else has to try it again. Nothing was changed." in shown(browser, answer.headers["Location"])
    assert factories.reread(refund).status == "FAILED"


def test_what_got_no_answer_in_all_its_tries_is_on_the_home_page_and_stripe_is_asked_again(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 4_000)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stripe_gateway, "create_refund", unanswered)
        while factories.reread(refund).due_at is not None:
            payment_jobs.submit_refund(refund.id)
    assert (factories.reread(refund).status, factories.reread(refund).attempts) == ("SUBMITTED", MAX_ATTEMPTS)
    browser, _ = opened(app, "finance")
    with pytest.MonkeyPatch.context() as patched:
        # Those that failed come first, and other tests leave some.
        patched.setattr(refunds, "is_still_owed", false)
        home = shown(browser, "/console/")
    given_up = "/console/refunds/?status=SUBMITTED&open=given_up"
    assert f'href="{given_up}">Refunds to try again' in home
    assert f"/console/refunds/{refund.id}/" in shown(browser, given_up)
    page = shown(browser, f"/console/refunds/{refund.id}/")
    assert "given up after 12 tries" in plain(page)
    answer = browser.post(f"/console/refunds/{refund.id}/ask-again", seen(browser, refund))
    assert "Stripe is asked again: $40.00" in shown(browser, answer.headers["Location"])
    assert queued.work_off() == []
    assert (factories.reread(refund).status, len(at_stripe(payment))) == ("SUCCEEDED", 1)
    assert f"/console/refunds/{refund.id}/" not in shown(browser, given_up)


def test_whoever_asks_again_for_what_stripe_never_heard_of_is_not_told_that_they_approved_it(app: Flask) -> None:
    refund = ask(paid(), 4_000)
    with transaction():
        row = lock(Refund, refund.id)
        row.finished()
        row.attempts, row.last_error = MAX_ATTEMPTS, "Somebody else was at it."
    browser, _ = opened(app, "finance")
    answer = browser.post(f"/console/refunds/{refund.id}/ask-again", seen(browser, refund))
    page = shown(browser, answer.headers["Location"])
    assert "Stripe is asked again: $40.00" in page
    assert "Approved: $40.00" not in page
    assert factories.reread(refund).status == "APPROVED"
    assert queued.work_off() == []
    assert factories.reread(refund).status == "SUCCEEDED"


def unanswered(**_: Any) -> None:
    raise Unavailable("Stripe can't be reached right now. Try again in a moment.")


def test_what_failed_is_on_the_home_page_until_something_is_refunded_instead(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 4_000)
    ask_stripe("POST", "/v1/refunds", data={"payment_intent": payment.stripe_payment_intent_id, "amount": 7_000})
    assert queued.work_off() == []
    browser, _ = opened(app, "finance")
    owed = "/console/refunds/?status=FAILED&open=owed"
    assert f'href="{owed}">Refunds to try again' in shown(browser, "/console/")
    assert f"/console/refunds/{refund.id}/" in shown(browser, owed)
    ask(payment, 3_000)
    assert f"/console/refunds/{refund.id}/" not in shown(browser, owed)


def test_what_the_bank_sends_back_is_owed_again_though_more_was_refunded_meanwhile(app: Flask) -> None:
    payment = paid()
    refund = ask(payment, 5_000)
    ask(payment, 1_000, kind="goodwill")
    assert queued.work_off() == []
    made = factories.reread(refund).stripe_refund_id
    ask_stripe("POST", f"/_local/refunds/{made}/settle", data={"outcome": "failed"})
    refund_submission.told(stripe_gateway.retrieve_refund(made))
    assert [row.status for row in refunds_of(payment)] == ["FAILED", "SUCCEEDED"]
    owed = select(Refund.id).where(refunds.is_still_owed(), Refund.payment_id == payment.id)
    assert db.session.scalars(owed).all() == [refund.id]
    ask(payment, 5_000, again=True)
    assert db.session.scalars(owed).all() == []


@pytest.mark.parametrize("taken", ["by a refund of before", "by a dispute"])
def test_what_failed_as_the_traveller_has_the_money_is_not_owed(app: Flask, taken: str) -> None:
    payment = paid()
    if taken == "by a refund of before":
        ask(payment, 7_000)
        assert queued.work_off() == []
    refund = ask(payment, 3_000)
    with transaction():
        row = lock(Refund, refund.id)
        move(row, "FAILED")
        row.finished()
    owed = select(Refund.id).where(refunds.is_still_owed(), Refund.payment_id == payment.id)
    assert db.session.scalars(owed).all() == [refund.id]
    if taken == "by a dispute":
        withdrawn(payment, 10_000)
    else:
        values = {"payment_intent": payment.stripe_payment_intent_id, "amount": 1}
        made = ask_stripe("POST", "/v1/refunds", data=values)["id"]
        refund_submission.told(stripe_gateway.retrieve_refund(made))
    assert db.session.scalars(owed).all() == []


def test_one_that_was_made_in_the_dashboard_and_failed_is_not_offered_to_be_tried_again(app: Flask) -> None:
    payment = paid()
    values = {"payment_intent": payment.stripe_payment_intent_id, "amount": 4_000}
    made = ask_stripe("POST", "/_local/refunds", data=values)["id"]
    ask_stripe("POST", f"/_local/refunds/{made}/settle", data={"outcome": "failed"})
    refund_submission.told(stripe_gateway.retrieve_refund(made))
    (refund,) = refunds_of(payment)
    assert (refund.status, refund.reason) == ("FAILED", "stripe_dashboard")
    browser, _ = opened(app, "finance")
    assert "Try again" not in shown(browser, f"/console/refunds/{refund.id}/")


def test_refunds_are_found_by_booking_and_by_stripes_ids(app: Flask) -> None:
    payment, other = paid(), paid()
    refund = ask(payment, 4_000, by=support())
    ask(other, 4_000, by=support())
    browser, _ = opened(app, "support")
    reference = db.session.scalar(text("SELECT reference FROM bookings WHERE id = :id"), {"id": payment.booking_id})
    for words in (reference, payment.stripe_payment_intent_id):
        assert "1 refund<" in shown(browser, f"/console/refunds/?q={words}"), words
    assert f"/console/refunds/{refund.id}/" in shown(browser, f"/console/refunds/?q={reference}")


def test_admins_change_the_limits_with_a_reason_and_their_password(app: Flask) -> None:
    browser, admin = opened(app, "admin")
    limit = next(limit for limit in refund_approval.limits() if limit.role == "admin")
    assert 'value="2000.00"' in shown(browser, "/console/settings/")
    path = f"/console/settings/limits/{limit.id}"
    assert browser.post(path, {"amount": "twelve", "reason": "More"}).status_code == 422
    assert browser.post(path, {"amount": "2500", "reason": ""}).status_code == 422
    forget_proof(admin)
    assert browser.post(path, {"amount": "2500", "reason": "More"}).status_code == 403
    assert factories.reread(limit).amount_minor == 200_000
    browser.post(path, {"amount": "2,500.50", "reason": "Season", "proof": factories.PASSWORD})
    assert factories.reread(limit).amount_minor == 250_050
    browser.post(path, {"amount": "2000", "reason": "As it was"})
    assert factories.reread(limit).amount_minor == 200_000
