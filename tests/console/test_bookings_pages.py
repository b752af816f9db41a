"""The console's pages: what each role sees and may do, and that nothing on them runs inline."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from flask_admin import expose

from app import create_app
from app.bookings.models import Booking
from app.console.base import Page
from app.console.bookings import BookingsView
from app.extensions import db
from app.payments import service as payments
from tests import factories
from tests.conftest import _settings
from tests.console.browser import Browser, signed_in

ROLES = ("support", "moderator", "finance", "admin")


def page_of(booking: Booking) -> str:
    return f"/console/bookings/{booking.id}/"


@pytest.mark.parametrize("role", ROLES)
def test_every_role_reads_bookings(app: Flask, role: str) -> None:
    booking = factories.booking()
    browser = signed_in(app, role)
    assert booking.reference in browser.get(f"/console/bookings/?q={booking.reference}").text
    assert booking.reference in browser.get(page_of(booking)).text


@pytest.mark.parametrize(
    ("role", "may"), [("support", True), ("admin", True), ("moderator", False), ("finance", False)]
)
def test_only_support_and_admins_are_offered_to_cancel_and_may(app: Flask, role: str, may: bool) -> None:
    package = factories.package()
    booking = factories.booking(of=package)
    action = f"{page_of(booking)}cancel/support"
    browser = signed_in(app, role)
    assert (action in browser.get(page_of(booking)).text) is may
    form = {"reason": "Looks like fraud", "note": "Three cards in a minute", "typed": booking.reference}
    answer = browser.post(action, form, token_from=page_of(booking))
    after = factories.reread(booking)
    if may:
        assert (answer.status_code, answer.location) == (302, page_of(booking))
        assert (after.status, after.cancel_reason) == (
            "CANCELLED_BY_SUPPORT",
            "Looks like fraud. Three cards in a minute",
        )
        assert factories.stock(package) == (0, 0)
        page = browser.get(page_of(booking)).text
        assert f"{after.reference} is cancelled" in page
        assert "Three cards in a minute" in page
        assert f'action="{action}"' not in page
    else:
        assert answer.status_code == 403
        assert after.status == "PENDING_PAYMENT"
        assert factories.stock(package) == (1, 0)


def test_cancelling_for_the_provider_says_so(app: Flask) -> None:
    booking = factories.booking()
    browser = signed_in(app, "support")
    form = {"reason": "Closed", "typed": booking.reference}
    browser.post(f"{page_of(booking)}cancel/provider", form, token_from=page_of(booking))
    assert factories.reread(booking).status == "CANCELLED_BY_PROVIDER"


@pytest.mark.parametrize(
    ("form", "status"),
    [({}, 422), ({"reason": "  "}, 422), ({"reason": "Because", "note": "x" * 2001}, 422), ({"reason": "a\x00b"}, 422)],
)
def test_a_cancellation_without_a_proper_reason_is_refused(app: Flask, form: dict[str, str], status: int) -> None:
    booking = factories.booking()
    browser = signed_in(app, "support")
    form = {**form, "typed": booking.reference}
    answer = browser.post(f"{page_of(booking)}cancel/support", form, token_from=page_of(booking))
    assert answer.status_code == status
    assert factories.reread(booking).status == "PENDING_PAYMENT"


@pytest.mark.parametrize("on_behalf_of", ["guest", "nobody", "SUPPORT"])
def test_there_is_no_other_way_to_cancel(app: Flask, on_behalf_of: str) -> None:
    booking = factories.booking()
    browser = signed_in(app, "admin")
    form = {"reason": "x", "typed": booking.reference}
    answer = browser.post(f"{page_of(booking)}cancel/{on_behalf_of}", form, token_from=page_of(booking))
    assert answer.status_code == 404
    assert factories.reread(booking).status == "PENDING_PAYMENT"


def test_a_write_is_never_a_get(app: Flask) -> None:
    booking = factories.booking()
    assert signed_in(app, "admin").get(f"{page_of(booking)}cancel/support").status_code == 405
    assert factories.reread(booking).status == "PENDING_PAYMENT"


def test_the_page_tells_the_whole_story_with_its_money(app: Flask) -> None:
    booking = factories.paid_booking(of=factories.package(name="Fjord <b>house</b>"))
    payment = payments.live_payment(booking.id)
    assert payment is not None
    page = signed_in(app, "finance").get(page_of(booking)).text
    for shown in (
        "Booked, stock held",
        "Payment captured",
        "Confirmed",
        "Posted to the ledger",
        "$200.00",
        "$30.00",
        "$170.00",
        "$6.10",
    ):
        assert shown in page, shown
    assert payment.stripe_payment_intent_id in page
    assert "Fjord &lt;b&gt;house&lt;/b&gt;" in page
    assert "<b>house" not in page


@pytest.mark.parametrize("path", ["0", str(2**63), "9" * 400])
def test_a_booking_that_is_not_there_is_404_as_a_page(app: Flask, path: str) -> None:
    answer = signed_in(app, "support").get(f"/console/bookings/{path}/")
    assert (answer.status_code, answer.mimetype) == (404, "text/html")


# ------------------------------------------------------------------ the list


def test_the_list_is_searched_by_reference_address_and_intent(app: Flask) -> None:
    booking = factories.paid_booking()
    payment = payments.live_payment(booking.id)
    assert payment is not None
    email = db.session.scalar(db.text("SELECT email FROM users WHERE id = :id"), {"id": booking.traveller_id})
    browser = signed_in(app, "support")
    for words in (booking.reference.lower(), email, payment.stripe_payment_intent_id):
        page = browser.get(f"/console/bookings/?q={words}").text
        assert booking.reference in page
        assert "1 booking<" in page
    assert "No bookings match" in browser.get("/console/bookings/?q=nothing-like-this").text


def test_the_list_is_filtered_by_state(app: Flask) -> None:
    held, paid = factories.booking(), factories.paid_booking()
    browser = signed_in(app, "support")
    page = browser.get("/console/bookings/?status=CONFIRMED").text
    assert paid.reference in page
    assert held.reference not in page


def test_the_list_pages_by_key_both_ways(empty_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BookingsView, "page_size", 5)
    package = factories.package(units=120, days=1)
    by = factories.actor()
    references = [factories.booking(of=package, by=by, nights=1).reference for _ in range(13)][::-1]
    browser = signed_in(empty_app, "support")

    def shown(path: str) -> tuple[list[str], str]:
        page = browser.get(f"/console/bookings/{path}").text
        return list(dict.fromkeys(re.findall(r"TD-[0-9A-Z]{5}-[0-9A-Z]{5}", page))), page

    def link(page: str, way: str) -> str:
        (href,) = re.findall(rf'href="(\?{way}=\d+)"', page)
        return str(href)

    first, page = shown("")
    assert first == references[:5]
    assert "13 bookings" in page
    assert "?after=" not in page
    second, page = shown(link(page, "before"))
    assert second == references[5:10]
    third, page = shown(link(page, "before"))
    assert third == references[10:]
    assert "?before=" not in page
    again, page = shown(link(page, "after"))
    assert again == second
    assert shown(link(page, "after"))[0] == first


@pytest.mark.parametrize(
    "query",
    ["before=x", "before=-1", "before=²", "after=" + "9" * 30, "status=NOWHERE", "q=%00", "q=a%00b", "status=%00"],
)
def test_an_odd_address_is_refused_in_words_or_finds_nothing(app: Flask, query: str) -> None:
    answer = signed_in(app, "support").get(f"/console/bookings/?{query}")
    assert answer.status_code in (200, 422), answer.status_code
    assert answer.mimetype == "text/html"


# ------------------------------------------------------------------ every page


def pages(app: Flask, booking: Booking) -> list[str]:
    return [
        *("/console/", "/console/bookings/", "/console/bookings/?q=nothing", page_of(booking), "/console/development/"),
        *("/console/nothing-here", "/console/bookings/0/"),
    ]


def test_no_page_has_anything_inline_and_each_forbids_it(app: Flask) -> None:
    booking = factories.paid_booking()
    factories.intent_of(factories.booking())
    browser = signed_in(app, "admin")
    answers = [browser.get(path) for path in pages(app, booking)] + [Browser(app).get("/console/login")]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 200, 404, 404, 200]
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        page = answer.text
        assert not re.search(r"<script(?![^>]*\bsrc=)", page)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
        assert not re.search(r"""(?:src|href|action)="(?:https?:)?//""", page)


def test_every_form_carries_its_token(app: Flask) -> None:
    booking = factories.booking()
    factories.intent_of(booking)
    browser = signed_in(app, "admin")
    forms = [
        form
        for path in pages(app, booking)
        for form in re.findall(r'<form[^>]*method="post".*?</form>', browser.get(path).text, re.DOTALL)
    ]
    assert len(forms) >= 4
    for form in forms:
        assert 'name="csrf_token"' in form


def test_an_error_page_has_the_request_id_to_quote(app: Flask) -> None:
    answer = signed_in(app, "support").get("/console/nothing-here")
    assert answer.headers["X-Request-ID"] in answer.text


def test_a_page_that_names_no_role_is_open_to_nobody(app: Flask) -> None:
    assert Page.roles == frozenset()

    class Forgotten(Page):
        @expose("/")
        def index(self) -> str:
            return "open"

    with app.test_request_context("/console/"):
        assert Forgotten("Forgotten", endpoint="forgotten").is_accessible() is False


@pytest.mark.parametrize(
    ("role", "sees"), [("finance", True), ("admin", True), ("support", False), ("moderator", False)]
)
def test_webhook_queues_are_shown_to_finance_and_admins(app: Flask, role: str, sees: bool) -> None:
    assert ("Stripe events waiting" in signed_in(app, role).get("/console/").text) is sees


# ------------------------------------------------------------------ paying by hand, in development


def test_a_payment_is_confirmed_by_hand(app: Flask) -> None:
    booking = factories.booking()
    intent = factories.intent_of(booking)
    browser = signed_in(app, "support")
    assert intent.id in browser.get("/console/development/").text
    confirm = f"/console/development/confirm/{intent.id}"
    declined = browser.post(confirm, {"payment_method": "pm_card_chargeDeclined"}, token_from="/console/development/")
    assert declined.status_code == 302
    assert "declined" in browser.get("/console/development/").text
    browser.post(confirm, {"payment_method": "pm_card_visa"}, token_from="/console/development/")
    assert "Stripe says: succeeded." in browser.get("/console/development/").text
    odd = browser.post(confirm, {"payment_method": "pm_of_my_own"}, token_from="/console/development/")
    assert odd.status_code == 422


def test_in_production_there_is_no_such_page(database: str, app: Flask) -> None:
    values: dict[str, Any] = {
        **_settings(database),
        "app_env": "production",
        "rate_limits": "on",
        "secret_key": "s" * 40,
        "jwt_secret": "a:" + "j" * 40,
        "stripe_secret_key": "sk_test_of_production",
        "stripe_webhook_secret": "whsec_of_production",
        "mail_url": "smtp://smtp.example.org",
        "mail_from": "Desk <no-reply@desk.example.org>",
        "public_url": "https://desk.example.org",
    }
    production = create_app(**values)
    person = factories.staff("support")  # who needs no second factor
    client = production.test_client()
    secure = {"base_url": "https://desk.example.org"}
    page = client.get("/console/login", **secure).text
    token = page.split('name="csrf_token" value="')[1].split('"')[0]
    form = {"csrf_token": token, "email": person.email, "password": factories.PASSWORD}
    headers = {"Referer": "https://desk.example.org/console/login"}
    assert client.post("/console/login", data=form, headers=headers, **secure).status_code == 302
    assert client.get("/console/development/", **secure).status_code == 403
    home = client.get("/console/", **secure)
    assert (home.status_code, "/console/development/" in home.text) == (200, False)
    with production.app_context():
        db.engine.dispose()
