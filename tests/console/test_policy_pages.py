"""The pages of cancellation policies: the list, the form with its example, retiring, and the package's form."""

from __future__ import annotations

from html import unescape

from flask import Flask
from sqlalchemy import select

from app.catalog import cancellation_policies as policies
from app.catalog.models import CancellationPolicy
from app.extensions import db
from tests import factories
from tests.console.browser import Browser, signed_in

POLICIES = "/console/policies/"


def shown(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return unescape(answer.text)


def page_of(policy: CancellationPolicy) -> str:
    return f"{POLICIES}{policy.id}/"


def made(code: str) -> CancellationPolicy | None:
    db.session.rollback()
    return db.session.scalar(select(CancellationPolicy).where(CancellationPolicy.code == code))


def test_the_list_says_what_each_gives_and_how_many_packages_have_it(app: Flask) -> None:
    policy = factories.policy()
    factories.package(cancellation_policy=policy.code, days=1)
    page = shown(signed_in(app, "support"), POLICIES)
    line = page[page.index(f'href="{page_of(policy)}"') :]
    line = line[: line.index("</tr>")]
    assert "80 % until 3 days before, 20 % until 1 day before" in line
    assert '<span class="tabular">1</span>' in line
    assert "/console/policies/new" not in page


def test_a_form_is_shown_by_an_example_and_nothing_is_kept_until_it_is_made(app: Flask) -> None:
    browser, code = signed_in(app, "admin"), "shown-first"
    typed = {"name": "Shown first", "code": code, "days-1": "7", "percent-1": "75", "days-2": "2", "percent-2": "25"}
    answer = browser.post(f"{POLICIES}new", {**typed, "preview": "yes"}, token_from=f"{POLICIES}new")
    page = unescape(answer.text)
    assert answer.status_code == 200
    for words in ("7 days before, or earlier", "$300.00", "2 to 6 days before", "Less than 2 days before", "$400.00"):
        assert words in page, words
    assert 'value="Shown first"' in page
    assert made(code) is None
    answer = browser.post(f"{POLICIES}new", typed, token_from=f"{POLICIES}new")
    found = made(code)
    assert found is not None
    assert answer.location == page_of(found)
    assert "75 % back" in shown(browser, page_of(found))


def test_what_is_wrong_stands_at_its_field_beside_what_was_typed(app: Flask) -> None:
    browser = signed_in(app, "admin")
    typed = {"name": "Wrong", "code": "wrong-one", "days-1": "7", "percent-1": "175"}
    answer = browser.post(f"{POLICIES}new", typed, token_from=f"{POLICIES}new")
    page = unescape(answer.text)
    assert answer.status_code == 422
    assert "One field needs another look." in page
    assert 'id="error-percent-1"' in page
    assert 'value="175"' in page
    assert made("wrong-one") is None


def test_somebody_elses_save_is_shown_before_it_is_replaced(app: Flask) -> None:
    policy, browser = factories.policy(), signed_in(app, "admin")
    form = f"{page_of(policy)}edit"
    assert 'name="seen" value="1"' in shown(browser, form)
    first = factories.staff("admin")
    theirs = {"name": policy.name, "days-1": "9", "percent-1": "90"}
    policies.edit(policy.id, theirs, seen=1, by=factories.actor(first))
    mine = {"name": policy.name, "days-1": "5", "percent-1": "50", "seen": "1"}
    answer = browser.post(form, mine, token_from=form)
    page = unescape(answer.text)
    assert answer.status_code == 409
    assert first.name in page
    assert "gives 90 % until 9 days before" in page
    assert 'name="seen" value="2"' in page
    assert 'value="50"' in page
    assert policies.tiers_of([factories.reread(policy)])[policy.id] == ((9, 90), (0, 0))
    assert browser.post(form, {**mine, "seen": "2"}, token_from=form).status_code == 302
    assert policies.tiers_of([factories.reread(policy)])[policy.id] == ((5, 50), (0, 0))


def test_retiring_says_who_keeps_it_and_the_packages_form_offers_it_no_more(app: Flask) -> None:
    policy, browser = factories.policy(), signed_in(app, "admin")
    has_it = factories.package(cancellation_policy=policy.code, days=1)
    other = factories.package(days=1)
    assert "1 package has it and keep" in shown(browser, page_of(policy))
    answer = browser.post(f"{page_of(policy)}retire", {"reason": "Made by mistake"}, token_from=page_of(policy))
    assert answer.status_code == 302
    assert f'value="{policy.code}"' in shown(browser, f"/console/packages/{has_it.id}/edit")
    assert f'value="{policy.code}"' not in shown(browser, f"/console/packages/{other.id}/edit")
    assert f'href="{page_of(policy)}"' in shown(browser, f"/console/packages/{has_it.id}/")
    narrowed = shown(browser, f"/console/packages/?cancellation_policy={policy.code}")
    assert has_it.name in narrowed
    assert f'href="/console/packages/{other.id}/"' not in narrowed


def test_the_history_tells_from_what_to_what(app: Flask) -> None:
    policy, browser = factories.policy(), signed_in(app, "admin")
    policies.edit(policy.id, {"name": policy.name, "days-1": "9", "percent-1": "90"}, seen=1, by=factories.admin())
    page = shown(browser, f"{page_of(policy)}?tab=history")
    assert "80 % until 3 days before, 20 % until 1 day before" in page
    assert "90 % until 9 days before" in page
