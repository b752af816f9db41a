"""Groups of synonyms: what they do to searches, what a change would do, who may change them, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from app.audit.edits import SavedMeanwhile
from app.audit.models import AuditEntry
from app.db import transaction
from app.errors import Conflict, Invalid, NotAllowed, TripdeskError
from app.extensions import db
from app.search import synonyms
from app.search.engine import Engine
from app.search.models import SearchSynonyms
from app.search.postgres import PostgresEngine
from tests import factories
from tests.search import catalogue


def word() -> str:
    """A word that nobody else has, of letters only."""
    return "".join(chr(ord("a") + int(digit, 16)) for digit in uuid4().hex[:14])


def groups() -> list[list[str]]:
    db.session.rollback()
    return list(db.session.scalars(select(SearchSynonyms.words).order_by(SearchSynonyms.id)))


def entries(group: int) -> list[AuditEntry]:
    about = (AuditEntry.object_type == "search_synonyms", AuditEntry.object_id == group)
    return list(db.session.scalars(select(AuditEntry).where(*about).order_by(AuditEntry.id)))


def refusal(typed: str) -> str:
    """What creating a group of this is refused with, once nothing has changed."""
    before = groups()
    with pytest.raises(Invalid) as refused:
        synonyms.create(typed, by=factories.admin())
    (wrong,) = refused.value.fields
    assert wrong.field == "words"
    assert groups() == before
    return wrong.message


# ------------------------------------------------------------------ what they do


def test_a_group_holds_from_the_next_search_on_until_it_is_deleted(app: Flask) -> None:
    engine, one, other = PostgresEngine(), word(), word()
    (house,) = catalogue.named(f"Blue {one}")
    assert catalogue.found(engine, other) == []
    group = factories.synonyms(one, other)
    assert catalogue.found(engine, other) == [house]
    synonyms.delete(group.id, seen=entries(group.id)[-1].id, by=factories.admin())
    assert catalogue.found(engine, other) == []


def test_a_word_that_no_package_has_finds_what_means_the_same(lone_engine: Engine) -> None:
    (flat,) = catalogue.named("Flat by the harbour")
    catalogue.named("Pied piper", "Hut by the harbour")
    factories.synonyms("pied a terre", "flat by the harbour", "pad")
    assert catalogue.found(lone_engine, "pad") == [flat]
    assert catalogue.found(lone_engine, "pied à terre") == [flat], "a word of it is one that says nothing"


def test_phrases_with_words_that_say_nothing_are_understood_both_ways(lone_engine: Engine) -> None:
    breakfast, short = catalogue.named("Bed and breakfast Moe", "BnB Moe")
    catalogue.named("Breakfast in the bed of a river")
    factories.synonyms("bed and breakfast", "bnb")
    assert catalogue.found(lone_engine, "bnb") == [short, breakfast]
    assert set(catalogue.found(lone_engine, "moe bed and breakfast")) == {breakfast, short}


def test_a_plain_insert_is_folded_as_well(app: Flask) -> None:
    one, other = word(), word()
    with transaction():
        db.session.execute(
            text("INSERT INTO search_synonyms (words) VALUES (:words)"), {"words": [f"É{one}", f"{other}-'A"]}
        )
        made = db.session.scalars(select(SearchSynonyms).order_by(SearchSynonyms.id.desc())).first()
        assert made is not None
        assert made.folded == [f"e{one}", f"{other} a"]
        db.session.execute(
            text("UPDATE search_synonyms SET words = :words WHERE id = :id"), {"words": ["Å", one], "id": made.id}
        )
    db.session.refresh(made)
    assert made.folded == ["a", one]


# ------------------------------------------------------------------ verbs


def test_every_change_is_in_the_trail(app: Flask) -> None:
    by, one, other, third = factories.admin(), word(), word(), word()
    group = synonyms.create(f"{one}\r\n {other} ,\r\n\r\n{one.upper()}", by=by)
    assert group.words == [one, other]
    (made,) = entries(group.id)
    synonyms.edit(group.id, f"{one}\n{third}", seen=made.id, by=by)
    edited = entries(group.id)[-1]
    synonyms.delete(group.id, seen=edited.id, by=by)
    actions = [(entry.action, entry.actor_label) for entry in entries(group.id)]
    assert actions == [(f"synonyms.{what}", by.label) for what in ("create", "edit", "delete")]
    assert (edited.before or {})["words"] == [one, other]
    assert (edited.after or {})["words"] == [one, third]
    assert (entries(group.id)[-1].before or {})["words"] == [one, third]
    assert [one, third] not in groups()


@pytest.mark.parametrize("role", ["support", "moderator", "finance"])
def test_only_admins_change_them(app: Flask, role: str) -> None:
    group, by = factories.synonyms(), factories.actor(factories.staff(role))
    before, seen = groups(), entries(group.id)[-1].id
    for attempt in (
        lambda: synonyms.create(factories.two_words(), by=by),
        lambda: synonyms.edit(group.id, factories.two_words(), seen=seen, by=by),
        lambda: synonyms.delete(group.id, seen=seen, by=by),
    ):
        with pytest.raises(NotAllowed):
            attempt()
    assert groups() == before


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "at least two different"),
        ("zzsolo!!", "at least two different"),
        ("Zzsolo\nZZSOLO\nzzsoló", "at least two different"),
        ("zzone\n...", "“...” has no letters or digits."),
        ("zzone\nthe", "“the” is left out of every search"),
        ("zzone\none two three four five", "a phrase has at most 4 words"),
        ("zzone\n" + "z" * 41, "a word has at most 40 letters"),
        ("zzone\nzz\u200btwo", "characters that can't be seen"),
        ("\n".join(f"zzword{n}" for n in range(13)), "at most 12 words or phrases; these are 13."),
        ("z" * 2001, "Use at most 2,000 characters."),
        ("zzone\nAPARTMENT", "“APARTMENT” stands in another group already: apartment, flat, apt, condo."),
        ("wi-fi\nhut", "“wi-fi” stands in another group already: wifi, wi fi, internet."),
    ],
)
def test_what_makes_no_group_is_refused_in_words(app: Flask, typed: str, said: str) -> None:
    assert said in refusal(typed)


def test_all_that_is_wrong_is_said_at_once(app: Flask) -> None:
    said = refusal("zzone\n...\nflat\nhut")
    assert "no letters" in said
    assert "“flat” stands in" in said
    assert "“hut” stands in" in said


def test_so_many_groups_and_no_more(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synonyms, "MOST_GROUPS", len(groups()))
    assert "no more are taken" in refusal(factories.two_words())


def test_a_form_that_others_were_faster_than_is_refused_and_says_who(app: Flask) -> None:
    group, first = factories.synonyms(), factories.staff("admin")
    seen = entries(group.id)[-1].id
    theirs = factories.two_words()
    synonyms.edit(group.id, theirs, seen=seen, by=factories.actor(first))
    with pytest.raises(SavedMeanwhile) as refused:
        synonyms.edit(group.id, factories.two_words(), seen=seen, by=factories.admin())
    assert first.name in refused.value.detail
    with pytest.raises(Conflict) as late:
        synonyms.delete(group.id, seen=seen, by=factories.admin())
    assert first.name in late.value.detail
    assert theirs.split("\n") in groups()
    # The same words typed again are no change, and in nobody's way.
    synonyms.edit(group.id, theirs, seen=seen, by=factories.admin())
    assert len(entries(group.id)) == 2


def test_of_two_who_want_a_word_at_once_one_gets_it(app: Flask) -> None:
    shared, by = word(), factories.admin()

    def attempt(_: int) -> bool:
        with app.app_context():
            try:
                synonyms.create(f"{shared}\n{word()}", by=by)
            except TripdeskError:
                return False
            finally:
                db.session.remove()
            return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [False, False, False, True]
    having = select(func.count()).select_from(SearchSynonyms).where(SearchSynonyms.folded.contains([shared]))
    assert db.session.scalar(having) == 1


# ------------------------------------------------------------------ what a change would do


def test_an_effect_is_what_the_search_finds_once_it_is_saved(app: Flask) -> None:
    engine, one, other = PostgresEngine(), word(), word()
    ones, others = catalogue.named(*[f"Red {one}"] * 3), catalogue.named(*[f"Green {other}"] * 4)
    before = groups()
    effects = {effect.q: effect for effect in synonyms.effects("", [one, other], of=None)}
    assert groups() == before
    assert list(effects) == [one, other]
    assert (effects[one].now.total, effects[one].then.total) == (3, 7)
    assert effects[one].coming == set(others)
    assert effects[one].going == set()
    factories.synonyms(one, other)
    for q, effect in effects.items():
        assert [hit.id for hit in effect.then.hits] == catalogue.found(engine, q, per_page=10)
    assert set(catalogue.found(engine, one)) == {*ones, *others}


def test_the_effect_of_deleting_a_group_and_of_other_words_for_it(app: Flask) -> None:
    one, other, third = word(), word(), word()
    catalogue.named(f"Red {one}", f"Green {other}", f"Blue {third}")
    group = factories.synonyms(one, other)
    (gone,) = synonyms.effects(one, [], of=group.id)
    assert (gone.now.total, gone.then.total, len(gone.going)) == (2, 1, 1)
    changed = synonyms.effects("", [one, third], of=group.id)
    assert [(effect.q, effect.now.total, effect.then.total) for effect in changed] == [
        (third, 1, 2),
        (other, 2, 1),
        (one, 2, 2),
    ]
    (same,) = synonyms.effects(word(), [one, third], of=group.id)
    assert same.is_none


def test_a_word_that_goes_from_one_group_is_found_by_others_as_before(app: Flask) -> None:
    one, other, third, fourth = word(), word(), word(), word()
    catalogue.named(f"Red {one}", f"Green {other}", f"Blue {third}", f"Grey {fourth}")
    group = factories.synonyms(one, other)
    factories.synonyms(third, fourth)
    (effect,) = synonyms.effects(third, [one, word()], of=group.id)
    assert (effect.now.total, effect.is_none) == (2, True)


def test_with_a_slip_an_effect_is_that_of_what_was_meant(app: Flask) -> None:
    one, other = f"zz{word()}", word()
    catalogue.named(f"Red {one}", f"Green {other}")
    (effect,) = synonyms.effects(one[:-1] + "zq", [one, other], of=None)
    assert (effect.now.total, effect.then.total) == (1, 2)
