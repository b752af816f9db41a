"""Why a hit ranks: the reasons add up to the score, and stand in the order that is shown."""

from __future__ import annotations

from uuid import uuid4

import pytest
from flask import Flask

from app.search import indexing, sending, service, trying
from app.search.engine import Question, Reason
from tests import factories
from tests.search import catalogue
from tests.search.meili_stand_in import StandIn


def unheard_of() -> str:
    return "".join(chr(ord("a") + int(digit, 16)) for digit in uuid4().hex)


def summed(reasons: list[Reason]) -> float:
    return sum(reason.value or 0 for reason in reasons)


@pytest.fixture
def mark(app: Flask) -> str:
    """A word of some packages, in their names, places and descriptions."""
    word = unheard_of()
    ids = catalogue.add(
        {"name": f"{word} hus ved fjorden"},
        {"name": f"Fjord og {word}"},
        {"name": "Et annet hus", "city": f"By {word}"},
        {"name": "Enda et hus", "description": f"Nær {word} og fjorden."},
        {"name": f"Hus {word}s", "amenities": ["Fjord view"]},
    )
    catalogue.rate(ids[1], {5: 40})
    return word


@pytest.mark.parametrize("words", ["{}", "{} hus", "hus {} fjord", "{}x", "the {}"])
def test_the_reasons_of_each_hit_add_up_to_its_score_in_the_order_shown(mark: str, words: str) -> None:
    question = Question(q=words.format(mark))
    found, _, why = service.search_and_explain(question)
    hits = found.answer.hits
    assert len(hits) >= 1
    assert why.are_summed
    scores = [summed(list(why.reasons[hit.id])) for hit in hits]
    assert scores == pytest.approx([hit.score for hit in hits])
    assert scores == sorted(scores, reverse=True)
    assert [hit.id for hit in hits] == [hit.id for hit in service.search(question).answer.hits]


@pytest.mark.parametrize("sort", ["price_asc", "rating", "newest"])
def test_another_order_is_explained_by_popularity(mark: str, sort: str) -> None:
    found, _, why = service.search_and_explain(Question(q=mark, sort=sort))  # type: ignore[arg-type]
    for hit in found.answer.hits:
        (reason,) = why.reasons[hit.id]
        assert (reason.about, reason.value) == ("Popularity", pytest.approx(hit.score))


def test_each_word_says_where_it_was_found_and_in_which_form(mark: str) -> None:
    found, _, why = service.search_and_explain(Question(q=f"{mark} fjord"))
    told = {hit.name: {reason.about: reason.found for reason in why.reasons[hit.id]} for hit in found.answer.hits}
    assert told[f"Fjord og {mark}"][f"“{mark}”"] == f"“{mark}” in the name"
    assert told[f"Hus {mark}s"][f"“{mark}”"] == f"“{mark}s” (singular or plural) in the name"
    assert told[f"Hus {mark}s"]["“fjord”"] == "“fjord” in provider or amenities"
    assert told["Enda et hus"]["“fjord”"] == "“fjord…” (begins so) in the description"


def test_a_slip_is_told_with_the_word_that_was_meant(mark: str) -> None:
    slip = f"{mark[:10]}{'z' if mark[10] != 'z' else 'y'}{mark[11:]}"
    found, _, why = service.search_and_explain(Question(q=slip))
    assert found.answer.did_you_mean == mark
    (word,) = why.words
    assert (word.typed, (mark, "spelling") in word.forms, word.left_out) == (slip, True, "")
    top = found.answer.hits[0]
    assert any(f"“{mark}” (spelling)" in reason.found for reason in why.reasons[top.id])


def test_what_nothing_is_like_is_explained_as_well(app: Flask) -> None:
    found, _, why = service.search_and_explain(Question(q=unheard_of() * 2))
    assert (found.answer.total, why.reasons) == (0, {})


def test_each_choice_says_how_many_there_would_be_without_it(app: Flask) -> None:
    word = unheard_of()
    catalogue.add(
        {"name": f"{word} a", "capacity": 1},
        {"name": f"{word} b", "capacity": 3, "price_minor": 5_000},
        {"name": f"{word} c", "capacity": 3},
    )
    tried = trying.try_out(Question(q=word, guests=2, max_minor=6_000, page=1, per_page=1))
    assert tried.found.answer.total == 1
    without = {effect.choice: effect.without for effect in tried.effects}
    assert (without["Guests"], without["Price"]) == (1, 2)
    assert set(without) == {"The words", "Guests", "Price"}


def test_without_the_place_there_is_no_distance_to_sort_by(app: Flask) -> None:
    word = unheard_of()
    catalogue.named(f"{word} near", latitude=59.9, longitude=10.7)
    tried = trying.try_out(Question(q=word, near=(59.9, 10.7), sort="distance"))
    assert {effect.choice: effect.without for effect in tried.effects}["Distance"] == 1


def test_meilisearch_explains_by_its_rules(meili_app: Flask, stand_in: StandIn) -> None:
    of = factories.package(days=0, name="Cabin by the sea").id
    indexing.catch_up()
    sending.send()
    meili_app.extensions.pop("meilisearch_behind", None)
    found, _, why = service.search_and_explain(Question(q="cabin"))
    assert (found.answer.engine, found.degraded, why.are_summed) == ("meilisearch", False, False)
    assert [reason.about for reason in why.reasons[of]] == ["words", "typo", "proximity"]
    assert why.reasons[of][0].found == "matching words 1, max matching words 1"


def test_with_meilisearch_away_postgres_both_answers_and_explains(meili_app: Flask, stand_in: StandIn) -> None:
    of = factories.package(days=0, name="Cabin by the sea").id
    indexing.catch_up()
    stand_in.kill()
    found, _, why = service.search_and_explain(Question(q="cabin"))
    assert (found.answer.engine, found.degraded, why.are_summed) == ("postgres", True, True)
    assert summed(list(why.reasons[of])) == pytest.approx(found.answer.hits[0].score)
