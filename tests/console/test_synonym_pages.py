"""The pages of synonyms: the list, the form with the effect beside it, deleting, and what Meilisearch made of it."""

from __future__ import annotations

from html import unescape

from flask import Flask
from sqlalchemy import select

from app import workers
from app.extensions import db
from app.search import sending, synonyms
from app.search.meilisearch import Meilisearch
from app.search.models import SearchSynonyms
from tests import factories
from tests.console.browser import Browser, signed_in
from tests.search import catalogue
from tests.search.test_synonyms import entries, word

PAGE = "/console/synonyms/"


def shown(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return unescape(answer.text)


def with_word(one: str) -> SearchSynonyms | None:
    db.session.rollback()
    return db.session.scalar(select(SearchSynonyms).where(SearchSynonyms.folded.contains([one])))


def test_the_list_is_searched_however_a_word_is_written(app: Flask) -> None:
    one, other = word(), word()
    group = factories.synonyms(f"É{one}", other)
    browser = signed_in(app, "admin")
    for typed in (one, f"é{one}".upper(), other[3:]):
        page = shown(browser, f"{PAGE}?q={typed}")
        assert f'href="{PAGE}{group.id}/"' in page, typed
        assert "1 group" in page
    assert "No groups match" in shown(browser, f"{PAGE}?q={word()}")


def test_the_effect_is_shown_side_by_side_and_nothing_is_saved_until_it_is(app: Flask) -> None:
    browser, one, other = signed_in(app, "admin"), word(), word()
    catalogue.named(f"Red {one}", f"Green {other}")
    typed = {"words": f"{one}\r\n{other}", "q": ""}
    answer = browser.post(f"{PAGE}new", {**typed, "preview": "yes"}, token_from=f"{PAGE}new")
    page = unescape(answer.text)
    assert answer.status_code == 200
    assert page.count("1 package now, 2 with the change; 1 new among the first 10") == 2
    assert f"Green {other}" in page
    assert f"{one}\r\n{other}</textarea>" in page
    assert with_word(one) is None
    answer = browser.post(f"{PAGE}new", {**typed, "q": f"red {one}", "preview": "yes"}, token_from=f"{PAGE}new")
    assert unescape(answer.text).count("<details") == 1
    answer = browser.post(f"{PAGE}new", typed, token_from=f"{PAGE}new")
    made = with_word(one)
    assert made is not None
    assert answer.location == f"{PAGE}{made.id}/"
    assert "mean the same now" in shown(browser, answer.location)


def test_what_is_wrong_stands_at_its_field_beside_what_was_typed(app: Flask) -> None:
    browser, one = signed_in(app, "admin"), word()
    for more in ({}, {"preview": "yes"}):
        answer = browser.post(f"{PAGE}new", {"words": f"{one}\nflat", **more}, token_from=f"{PAGE}new")
        page = unescape(answer.text)
        assert answer.status_code == 422
        assert "One field needs another look." in page
        assert 'id="error-words"' in page
        assert "stands in another group already: apartment, flat" in page
        assert f"{one}\nflat</textarea>" in page
    answer = browser.post(
        f"{PAGE}new", {"words": f"{one}\n{word()}", "q": "q" * 201, "preview": "yes"}, token_from=f"{PAGE}new"
    )
    assert answer.status_code == 422
    assert 'id="error-q"' in answer.text
    assert with_word(one) is None


def test_somebody_elses_save_is_shown_before_it_is_replaced(app: Flask) -> None:
    group, browser = factories.synonyms(), signed_in(app, "admin")
    form, seen, one, first = f"{PAGE}{group.id}/edit", entries(group.id)[-1].id, word(), factories.staff("admin")
    assert f'name="seen" value="{seen}"' in shown(browser, form)
    theirs = factories.two_words()
    synonyms.edit(group.id, theirs, seen=seen, by=factories.actor(first))
    mine = {"words": f"{one}\r\n{word()}", "seen": str(seen)}
    answer = browser.post(form, mine, token_from=form)
    page, now = unescape(answer.text), entries(group.id)[-1].id
    assert answer.status_code == 409
    assert first.name in page
    assert theirs.replace("\n", ", ") in page
    assert f"{one}\r\n" in page
    assert with_word(one) is None
    assert f'name="seen" value="{now}"' in page
    assert browser.post(form, {**mine, "seen": str(now)}, token_from=form).status_code == 302
    assert with_word(one) is not None


def test_deleting_shows_first_what_is_lost(app: Flask) -> None:
    browser, one, other = signed_in(app, "admin"), word(), word()
    catalogue.named(f"Red {one}", f"Green {other}")
    group = factories.synonyms(one, other)
    href, seen = f"{PAGE}{group.id}/", entries(group.id)[-1].id
    page = f"{href}delete"
    assert "2 packages now, 1 with the change; 1 gone from the first 10" in shown(browser, page)
    assert with_word(one) is not None
    answer = browser.post(page, {"seen": str(seen - 1)}, token_from=page)
    assert answer.status_code == 409
    assert with_word(one) is not None
    assert browser.post(page, {"seen": str(seen)}, token_from=page).location == PAGE
    assert with_word(one) is None
    assert browser.get(href).status_code == 404


def test_the_pages_say_how_meilisearch_stands_to_the_last_change(app: Flask) -> None:
    browser, group = signed_in(app, "admin"), factories.synonyms()
    assert "Meilisearch" not in shown(browser, PAGE)
    app.extensions["meilisearch"] = Meilisearch("http://127.0.0.1:1", "")
    try:
        assert "Meilisearch is being told of the last change." in shown(browser, PAGE)
        workers.note_check(sending.SYNONYMS_CHECK, [])
        assert "Meilisearch" not in shown(browser, f"{PAGE}{group.id}/")
        workers.note_check(sending.SYNONYMS_CHECK, ["The disk is tired."])
        for path in (PAGE, f"{PAGE}{group.id}/"):
            page = shown(browser, path)
            assert "has not taken the synonyms as they are" in page
            assert "The disk is tired." in page
    finally:
        app.extensions["meilisearch"] = None
