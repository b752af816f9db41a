"""The search box: what it finds, for whom, and what it keeps to itself."""

from __future__ import annotations

import random
import re
from html import unescape
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from app.accounts import recent, staff
from app.accounts.models import RecentRecord
from app.audit.actor import SYSTEM
from app.audit.models import AuditEntry
from app.catalog.models import Provider
from app.db import lock, transaction
from app.extensions import db
from app.names import NameWord, spelt_like
from app.payments import inbox
from app.payments import service as payments
from app.payments.models import WebhookEvent
from app.search.meilisearch import Meilisearch
from tests import factories
from tests.console.browser import Browser, signed_in
from tests.notifications.conftest import a_mail
from tests.search import catalogue


def search(browser: Browser, typed: str) -> str:
    """The results alone, as the box over a page shows them."""
    answer = browser.client.get("/console/search", query_string={"q": typed, "part": "1"})
    assert answer.status_code == 200
    return unescape(answer.text)


def leads(browser: Browser, typed: str) -> str | None:
    """Where something typed whole leads straight to."""
    answer = browser.client.get("/console/search", query_string={"q": typed})
    return answer.location if answer.status_code == 302 else None


def word() -> str:
    """A word that nothing else is called, of letters that all differ."""
    return "".join(random.sample("abcdefghijklmnopr", 12))


# ------------------------------------------------------------------ something typed whole


def test_a_reference_leads_straight_to_its_booking_however_it_is_typed(app: Flask) -> None:
    booking = factories.booking()
    browser = signed_in(app, "moderator")
    plain = booking.reference.replace("-", "")
    for typed in (booking.reference, booking.reference.lower(), f"  {booking.reference} ", plain, plain[2:]):
        assert leads(browser, typed) == f"/console/bookings/{booking.id}/", typed
    assert leads(browser, "TD-00000-00000") is None


def test_an_id_of_stripes_leads_to_the_payment_or_to_the_booking_of_who_may_not_see_payments(app: Flask) -> None:
    paid = factories.paid_booking()
    payment = payments.live_payment(paid.id)
    assert payment is not None
    finance, support = signed_in(app, "finance"), signed_in(app, "support")
    for typed in (payment.stripe_payment_intent_id, payment.stripe_charge_id):
        assert leads(finance, typed or "") == f"/console/payments/{payment.id}/"
    intent = payment.stripe_payment_intent_id or ""
    assert leads(support, intent) == f"/console/bookings/{paid.id}/"
    assert "/console/payments/" not in search(support, intent)
    assert "Nothing found" in search(support, payment.stripe_charge_id or "")


def test_an_event_is_found_by_finance_alone(app: Flask) -> None:
    told = factories.event("customer.created", {"id": "cus_1", "object": "customer"})
    inbox.receive(told)
    event_id = db.session.scalar(select(WebhookEvent.id).where(WebhookEvent.stripe_event_id == told["id"]))
    assert leads(signed_in(app, "finance"), told["id"]) == f"/console/webhooks/{event_id}/"
    for role in ("support", "moderator"):
        assert "Nothing found" in search(signed_in(app, role), told["id"])


def test_a_request_id_leads_an_admin_to_all_that_was_done_in_it(app: Flask) -> None:
    factories.booking()
    request_id = f"req_{uuid4().hex[:20]}"
    with transaction():
        who = {"actor_kind": "system", "actor_label": "Tripdesk", "request_id": request_id}
        db.session.add_all(AuditEntry(action="a.thing", object_type="bookings", object_id=1, **who) for _ in range(3))
    assert leads(signed_in(app, "admin"), request_id) == f"/console/audit/?request_id={request_id}"
    assert "3 entries" in search(signed_in(app, "admin"), request_id)
    for role in ("support", "moderator", "finance"):
        assert "Nothing found" in search(signed_in(app, role), request_id)


def test_an_address_leads_to_the_traveller_and_lists_what_hangs_on_it(app: Flask) -> None:
    person = factories.traveller()
    booking = factories.booking(by=factories.actor(person))
    mail = a_mail(to=person.email)
    support, moderator = signed_in(app, "support"), signed_in(app, "moderator")
    assert leads(support, person.email.upper()) == f"/console/users/{person.id}/"
    found = search(support, person.email)
    assert booking.reference in found
    assert f"/console/mail/{mail.id}/" in found
    assert "/console/mail/" not in search(moderator, person.email)


def test_staff_are_found_by_admins_alone(app: Flask) -> None:
    colleague = factories.staff("moderator")
    assert leads(signed_in(app, "admin"), colleague.email) == f"/console/staff/{colleague.id}/"
    assert f"/console/staff/{colleague.id}/" in search(signed_in(app, "admin"), colleague.name)
    for role in ("support", "moderator", "finance"):
        browser = signed_in(app, role)
        for typed in (colleague.email, colleague.name, f"{colleague.name[:-1]}x", str(colleague.id)):
            assert f"/console/staff/{colleague.id}/" not in search(browser, typed), (role, typed)
            assert f"<bdi>{colleague.name}</bdi>" not in search(browser, typed), (role, typed)


def test_a_number_finds_what_has_it_as_its_id_on_the_pages_that_may_be_opened(app: Flask) -> None:
    paid = factories.paid_booking()
    payment = payments.live_payment(paid.id)
    assert payment is not None
    assert f"/console/bookings/{paid.id}/" in search(signed_in(app, "support"), str(paid.id))
    assert f"/console/payments/{payment.id}/" in search(signed_in(app, "finance"), str(payment.id))
    assert "/console/payments/" not in search(signed_in(app, "support"), str(payment.id))
    assert "Nothing found" in search(signed_in(app, "support"), "9" * 19)


# ------------------------------------------------------------------ names


@pytest.mark.parametrize("kind", ["users", "providers", "packages"])
def test_a_name_is_found_by_its_words_in_any_order_and_with_a_slip(app: Flask, kind: str) -> None:
    first, last = word(), word()
    name = f"{first.capitalize()} {last.capitalize()}"
    made = {"users": factories.traveller, "providers": factories.provider, "packages": factories.package}[kind]
    found = f"/console/{kind}/{made(name=name).id}/"
    browser = signed_in(app, "support")
    middle = len(last) // 2
    changed = last[: middle - 1] + last[middle] + last[middle - 1] + last[middle + 1 :]
    for typed in (name, f"{last} {first}".upper(), last[:-2], first[2:]):
        assert found in search(browser, typed), typed
        assert "Did you mean" not in search(browser, typed)
    for typed in (last[:3] + last[4:], f"{last[:4]}z{last[4:]}", f"{last[:6]}q{last[7:]}", f"{first} {changed}"):
        assert found in search(browser, typed), typed
        assert "Did you mean" in search(browser, typed)
    assert found not in search(browser, f"{last[:4]}zzqqzz{last[4:]}")


def test_who_bears_exactly_the_name_comes_first(app: Flask) -> None:
    given = word().capitalize()
    for rest in ("Ann Berg", "Anna Berg", "Ann Bergman"):
        factories.traveller(name=f"{given} {rest}")
    factories.traveller(name=f"Berg Ann {given}")
    titles = re.findall(r"<bdi>([^<@]+)</bdi>", search(signed_in(app, "support"), f"{given} ann berg".lower()))
    assert titles[0] == f"{given} Ann Berg"
    assert set(titles) == {f"{given} {rest}" for rest in ("Ann Berg", "Anna Berg", "Ann Bergman")} | {
        f"Berg Ann {given}"
    }


def test_a_common_name_shows_a_few_and_leads_to_all(app: Flask) -> None:
    common = word()
    for number in range(8):
        factories.traveller(name=f"{common.capitalize()} {number}")
    page = search(signed_in(app, "support"), common)
    assert page.count('href="/console/users/') == 6 + 1
    assert f'href="/console/users/?q={common}"' in page


def test_a_name_that_was_changed_is_found_by_its_new_words(app: Flask) -> None:
    made, new = factories.provider(), word()
    assert spelt_like(f"{new[:4]}{new[5:]}") == []
    with transaction():
        lock(Provider, made.id).name = f"The {new.capitalize()}, Ltd."
    assert spelt_like(f"{new[:4]}{new[5:]}") == [new]
    assert db.session.get(NameWord, "ltd") is not None, "the stop at its end is not part of it"


def test_letters_that_changed_places_are_one_slip(app: Flask) -> None:
    short = word()[:7]
    factories.provider(name=short)
    assert short in spelt_like(f"{short[:3]}{short[4]}{short[3]}{short[5:]}")
    assert short not in spelt_like(f"{short[0]}zz{short[3:]}")


def test_each_word_is_kept_once_however_many_bear_it(app: Flask) -> None:
    common = word()
    for _ in range(3):
        factories.traveller(name=f"{common.upper()} {common}")
    count = select(func.count()).select_from(NameWord).where(NameWord.word == common)
    assert db.session.scalar(count) == 1


@pytest.mark.parametrize(
    "typed", ["%", "_", "\\", "a", "' OR 1=1 --", "<script>", "🙂", "%%%%", "  ", "TD-", "@", "pi_"]
)
def test_whatever_is_typed_is_only_looked_for(app: Flask, typed: str) -> None:
    browser = signed_in(app, "admin")
    assert "<script>" not in browser.client.get("/console/search", query_string={"q": typed, "part": "1"}).text
    assert browser.client.get("/console/search", query_string={"q": typed}).status_code == 200


def test_what_is_too_long_is_refused_in_words(app: Flask) -> None:
    browser = signed_in(app, "support")
    assert browser.get(f"/console/search?q={'a' * 200}").status_code == 200
    answer = browser.get(f"/console/search?q={'a' * 201}")
    assert answer.status_code == 422
    assert "at most 200 characters" in answer.text


# ------------------------------------------------------------------ actions and pages


def test_pages_and_actions_are_found_by_name_by_who_may_use_them(app: Flask) -> None:
    admin, support = signed_in(app, "admin"), signed_in(app, "support")
    for typed, href in (("invite", "/console/staff/invite"), ("new staff", "/console/staff/invite")):
        assert f'href="{href}"' in search(admin, typed)
        assert href not in search(support, typed)
    assert 'href="/console/bookings/"' in search(support, "book")
    assert 'href="/console/audit/"' not in search(support, "audit")
    assert 'href="/console/account/"' in search(support, "password change")


def test_an_empty_box_shows_what_one_may_open_and_nothing_else(app: Flask) -> None:
    for role, closed in (("support", ("payments", "staff", "audit")), ("finance", ("mail", "staff", "audit"))):
        page = search(signed_in(app, role), "")
        assert 'href="/console/bookings/"' in page
        assert not [name for name in closed if f"/console/{name}/" in page]


def test_pages_stand_in_the_order_of_the_menu(app: Flask) -> None:
    browser = signed_in(app, "admin")
    menu = browser.get("/console/").text.split('aria-label="Console"')[1].split("</nav>")[0]
    in_the_menu = re.findall(r'href="(/console/[^"]*)"', menu)
    found = re.findall(r'href="(/console/[^"]*)"', search(browser, ""))
    assert [href for href in found if href in in_the_menu] == in_the_menu


# ------------------------------------------------------------------ recent things


def test_what_one_opened_comes_first_and_is_nobody_elses(app: Flask) -> None:
    first, second = factories.booking(), factories.booking()
    browser, other = signed_in(app, "support"), signed_in(app, "support")
    for booking in (first, second, first):
        browser.get(f"/console/bookings/{booking.id}/")
    browser.get(f"/console/users/{first.traveller_id}/")
    page = search(browser, "")
    opened = re.findall(r'href="(/console/\w+/\d+/)"', page)
    assert opened == [
        f"/console/users/{first.traveller_id}/",
        f"/console/bookings/{first.id}/",
        f"/console/bookings/{second.id}/",
    ]
    assert first.reference not in search(other, "")


def test_what_one_may_not_open_any_more_is_not_among_the_recent(app: Flask) -> None:
    person, paid = factories.staff("finance"), factories.paid_booking()
    payment = payments.live_payment(paid.id)
    assert payment is not None
    browser = Browser(app)
    browser.sign_in(person)
    browser.get(f"/console/payments/{payment.id}/")
    assert f"/console/payments/{payment.id}/" in search(browser, "")
    staff.set_roles(person.id, ["support"], reason="Changed desks", by=SYSTEM)
    assert paid.reference not in search(browser, "")


def test_only_the_last_few_are_kept(app: Flask) -> None:
    person = factories.staff()
    for number in range(recent.KEPT + 10):
        recent.note(person.id, "bookings", number)
    kept = select(func.count()).select_from(RecentRecord).where(RecentRecord.person_id == person.id)
    assert db.session.scalar(kept) == recent.KEPT
    assert recent.of(person.id)[0] == ("bookings", recent.KEPT + 9)


# ------------------------------------------------------------------ names, as travellers find them


def accented(name: str) -> str:
    return name.replace("a", "å").replace("o", "ø").replace("e", "é")


def test_accents_joined_words_and_places_are_found_as_travellers_find_them(app: Flask) -> None:
    one, other = word(), word()
    placed, named = catalogue.add(
        {"name": f"Loft {one}", "place": accented(f"Grunerlokka{other}")}, {"name": f"{one} with a river{other} view"}
    )
    browser = signed_in(app, "support")
    page = search(browser, f"grunerlokka{other}")
    assert f"/console/packages/{placed}/" in page
    assert "Did you mean" not in page
    assert f"/console/packages/{placed}/" in search(browser, f"grunerlokka{other[:6]}")
    slip = f"{one[:5]}{one[6]}{one[5]}{one[7:]}"
    page = search(browser, f"{slip} river{other}view")
    assert f"/console/packages/{named}/" in page
    assert "Did you mean" in page


def test_what_is_not_on_sale_is_found_by_staff_as_before(app: Flask) -> None:
    one, other = word(), word()
    suspended = factories.provider(name=f"Quay {other}")
    draft, hidden = catalogue.add(
        {"name": f"Draft {one}", "status": "DRAFT"}, {"name": f"Hidden {one}", "provider_id": suspended.id}
    )
    (listed,) = catalogue.named(f"Listed {one}")
    with transaction():
        db.session.execute(update(Provider).where(Provider.id == suspended.id).values(status="SUSPENDED"))
    catalogue.index()
    for role in ("support", "moderator", "finance", "admin"):
        page = search(signed_in(app, role), one)
        assert all(f"/console/packages/{found}/" in page for found in (draft, hidden, listed)), role
        assert f"/console/providers/{suspended.id}/" in search(signed_in(app, role), other)


def test_a_provider_is_found_without_the_accents_of_its_name_and_with_a_slip(app: Flask) -> None:
    one = word()
    provider = factories.provider(name=f"{accented('Hotelleo')} {one}")
    catalogue.add({"name": "Some room"}, provider_id=provider.id)
    browser, found = signed_in(app, "support"), f"/console/providers/{provider.id}/"
    page = search(browser, f"hotelleo {one}")
    assert found in page
    assert "Did you mean" not in page
    page = search(browser, f"hotelleo {one[:4]}{one[5:]}")
    assert found in page
    assert "Did you mean" in page


def test_a_package_is_no_guess_where_a_word_had_to_be_left_out(app: Flask) -> None:
    one = word()
    catalogue.named(f"Loft {one}")
    assert "Nothing found" in search(signed_in(app, "support"), f"{one} {word()}")


def test_what_is_found_both_ways_is_shown_once(app: Flask) -> None:
    one = word()
    (found,) = catalogue.named(f"Loft {one}")
    assert search(signed_in(app, "support"), one).count(f'href="/console/packages/{found}/"') == 1


def test_with_meilisearch_away_the_box_finds_all_the_same(app: Flask) -> None:
    one = word()
    (found,) = catalogue.add({"name": "Some room", "place": accented(one)})
    app.extensions["meilisearch"] = Meilisearch("http://127.0.0.1:1", "")
    try:
        page = search(signed_in(app, "support"), one)
    finally:
        app.extensions["meilisearch"] = None
    assert f"/console/packages/{found}/" in page
