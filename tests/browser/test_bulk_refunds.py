"""A provider failed: finance goes from its page to its bookings, refunds them all in one run, and reads what became of
each; many refunds are approved the same way.
"""

from __future__ import annotations

from uuid import uuid4

from playwright.sync_api import Page, expect
from sqlalchemy import select

from app.audit.actor import SYSTEM
from app.bulk import service as bulk
from app.payments import holds, refunds
from app.payments.models import Refund
from tests import factories
from tests.browser.conftest import Console, SignIn
from tests.bulk.paid import PAID_MINOR, Paid, finance
from tests.bulk.runs import asked
from tests.conftest import wait_for


def end_of_run(page: Page, words: str) -> None:
    expect(page.locator("#run .record-title .chip")).to_have_text("Done")
    expect(page.locator(".run-progress")).to_contain_text(words)


def test_a_providers_bookings_are_refunded_by_keys_and_mouse_from_its_page(sign_in: SignIn, console: Console) -> None:
    with console.stack.app():
        paid = Paid(55)
        _, somebody = finance()
        for booking_id in paid.ids[:2]:
            payment_id = paid.payments[booking_id]
            refunds.request(payment_id, amount_minor=PAID_MINOR, reason="duplicate", key=uuid4().hex, by=somebody)
        source, held = f"test:{uuid4().hex}", paid.payments[paid.ids[2]]
        holds.place(held, source=source, reason="The bank asks.", until=None, by=SYSTEM)
    page = sign_in("finance")
    page.goto(f"/console/providers/{paid.provider_id}/")
    page.locator(f'a[href="/console/bookings/?provider_id={paid.provider_id}"]').first.click()
    expect(page.get_by_role("heading", name="Bookings", exact=True)).to_be_visible()
    assert page.get_by_role("button", name="Cancel and refund").count() == 0
    page.wait_for_load_state()
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("[data-picked]")).to_have_text("1 picked")
    page.get_by_label("All 55 bookings that match").check()
    page.get_by_role("button", name="Refund in full").click()
    expect(page.get_by_role("heading", name="Refund in full: 55 bookings")).to_be_visible()
    expect(page.get_by_text("The bookings stay as they are")).to_be_visible()
    page.get_by_label("The provider could not host").check()
    page.get_by_label("Note").fill("Flooded.")
    page.get_by_role("button", name="Refund in full").click()
    expect(page.get_by_role("heading", name="52 bookings will be refunded")).to_be_visible()
    plan = page.locator(".plan")
    for words in (
        "together above your limit of $500.00",
        "2: Refunded already, or on its way",
        "1: Refunds of the payment are on hold",
        "Flooded.",
    ):
        expect(plan).to_contain_text(words)
    page.get_by_label("Type 52 to confirm").fill("52")
    page.get_by_role("button", name="Refund 52 bookings").click()
    end_of_run(page, "52 done, 2 skipped, 1 failed")
    expect(page.get_by_text("Refunds of this payment are on hold")).to_be_visible()
    expect(page.get_by_role("link", name="52 refunds")).to_be_visible()
    expect(page.locator("section:has(#became-title) .chip")).to_have_text("Pending approval")
    with console.stack.app():
        _, second = finance()
        waiting = select(Refund.id).where(
            Refund.payment_id.in_(paid.payments.values()), Refund.status == "PENDING_APPROVAL"
        )
        bulk.start(bulk.freeze("refunds.approve", waiting, by=second).id, by=second)
        wait_for(lambda: "PENDING_APPROVAL" not in {state for _, state, _ in paid.refunds()}, "all to be approved", 120)
    page.reload()
    # It looks again by itself until Stripe has paid them, not while it waits for a person.
    expect(page.locator("section:has(#became-title) .chip")).to_have_text(["Succeeded"], timeout=120_000)
    with console.stack.app():
        assert sorted(paid.refunds()) == sorted(
            (booking_id, "SUCCEEDED", PAID_MINOR) for booking_id in paid.ids if booking_id != paid.ids[2]
        )
        holds.lift(source, by=SYSTEM, reason="Over.")


def test_an_admin_cancels_a_few_for_their_provider_and_approves_many(sign_in: SignIn, console: Console) -> None:
    with console.stack.app():
        paid = Paid(5)
        asker = factories.actor(factories.staff("support"))
        for booking_id in paid.ids[:2]:
            payment_id = paid.payments[booking_id]
            refunds.request(payment_id, amount_minor=1_500, reason="overcharged", key=uuid4().hex, by=asker)
    page = sign_in("admin")
    page.goto("/console/refunds/?reason=overcharged")
    for _ in range(2):
        page.keyboard.press("j")
        page.keyboard.press("x")
    page.keyboard.press("a")
    expect(page.get_by_role("heading", name="2 refunds will be approved")).to_be_visible()
    page.wait_for_load_state()
    page.keyboard.press("a")
    end_of_run(page, "2 done")
    page.goto(f"/console/bookings/?provider_id={paid.provider_id}")
    page.get_by_label("Pick all on this page").check()
    page.get_by_role("button", name="Cancel and refund").click()
    expect(page.get_by_text("its days are free again")).to_be_visible()
    page.wait_for_load_state()
    page.keyboard.press("1")
    page.get_by_role("button", name="Cancel and refund").click()
    expect(page.get_by_role("heading", name="5 bookings will be cancelled")).to_be_visible()
    expect(page.locator(".plan")).to_contain_text("5 refunds, $470.00")
    page.wait_for_load_state()
    page.keyboard.press("a")
    end_of_run(page, "5 done")
    with console.stack.app():
        assert paid.states() == {"CANCELLED_BY_PROVIDER": 5}
        by_reason = "SELECT count(*) FROM bookings WHERE provider_id = :id AND cancel_reason LIKE 'Provider can%'"
        assert asked(by_reason, id=paid.provider_id) == [(5,)]


def test_money_of_many_is_not_moved_without_typing_to_how_many(sign_in: SignIn, console: Console) -> None:
    with console.stack.app():
        paid = Paid(11)
    page = sign_in("finance")
    page.watch.expect(422)  # type: ignore[attr-defined]
    page.goto(f"/console/bookings/?provider_id={paid.provider_id}")
    page.get_by_label("Pick all on this page").check()
    expect(page.locator("[data-picked]")).to_have_text("11 picked")
    page.keyboard.press("f")
    page.get_by_label("Something else").check()
    page.get_by_role("button", name="Refund in full").click()
    expect(page.get_by_role("alert")).to_contain_text("what it is for")
    page.get_by_label("Note").fill("Storm.")
    page.get_by_role("button", name="Refund in full").click()
    expect(page.get_by_role("heading", name="11 bookings will be refunded")).to_be_visible()
    page.wait_for_load_state()
    page.keyboard.press("a")
    expect(page.get_by_label("Type 11 to confirm")).to_be_focused()
    page.get_by_role("button", name="Keep as it is").click()
    expect(page.get_by_text("Dropped. Nothing was done.")).to_be_visible()
    with console.stack.app():
        assert paid.refunds() == []
