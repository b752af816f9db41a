"""What words find, however they are typed: accents, slips, beginnings, synonyms; and nothing typed breaks anything."""

from __future__ import annotations

import random

import pytest
from flask import Flask
from sqlalchemy import text

from app.catalog.models import Package, Provider
from app.db import lock, transaction
from app.extensions import db
from app.search import suggestions
from app.search.engine import Engine, Question
from app.search.postgres import PostgresEngine
from app.states import move
from tests import factories
from tests.search import catalogue

FIRST = ("Amber", "Bramble", "Cinder", "Dovecote", "Ember", "Foxglove", "Gable", "Hazel", "Ivory", "Juniper", "Kestrel")
MIDDLE = ("lakeside", "mountain", "orchard", "penthouse", "riverside", "rooftop", "seafront", "vineyard", "woodland")
LAST = ("bungalow", "cottage", "farmhouse", "guesthouse", "loft", "residence", "retreat", "suite", "townhouse")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def test_accents_and_case_are_not_needed(lone_engine: Engine) -> None:
    (paulo,) = catalogue.named("Casa Azul", city="São Paulo", country="Brasil")
    (oslo,) = catalogue.named("Loft", place="Grünerløkka")
    (lodz,) = catalogue.named("Dom pod Łodzią", city="Łódź", country="Polska")
    (strasse,) = catalogue.named("Große Straße")
    for q, wanted in {
        "sao paulo": paulo,
        "SÃO PAULO": paulo,
        "sa\u0303o paulo": paulo,
        "grunerlokka": oslo,
        "GRÜNERLØKKA": oslo,
        "lodz": lodz,
        "grosse strasse": strasse,
    }.items():
        assert catalogue.found(lone_engine, q) == [wanted], q


def test_a_place_is_chosen_by_city_part_or_country(lone_engine: Engine) -> None:
    (paulo,) = catalogue.named("Casa", city="São Paulo", country="Brasil", place="Vila Madalena")
    (oslo,) = catalogue.named("Hus", city="Oslo", country="Norway")
    for location in (
        "sao paulo",
        "São Paulo",
        "BRASIL",
        "vila madalena",
        "Vila Madalena, Sao Paulo",
        "são paulo, brasil,",
    ):
        assert catalogue.found(lone_engine, location=location) == [paulo], location
    assert catalogue.found(lone_engine, location="sao") == []
    assert catalogue.found(lone_engine, location="Oslo, Brasil") == []
    assert set(catalogue.found(lone_engine, location=" , ")) == {paulo, oslo}
    for nowhere in ("%", "-, 😀", "!"):
        assert catalogue.found(lone_engine, location=nowhere) == []
    assert catalogue.found(lone_engine, location="Oslo, -") == [oslo]


def test_slips_are_forgiven_and_told(lone_engine: Engine) -> None:
    (flat,) = catalogue.named("Apartment with a river view")
    for q in ("aparment", "apartmemt", "papartment", "aaprtment", "apartmnet riverview", "aparment riverview"):
        answer = lone_engine.search(Question(q))
        assert [hit.id for hit in answer.hits] == [flat], q
        assert answer.did_you_mean is not None, q
        assert answer.did_you_mean.startswith("apartment"), q
    exact = lone_engine.search(Question("apartment"))
    assert exact.did_you_mean is None
    nothing = lone_engine.search(Question("zzyzx"))
    assert (nothing.total, list(nothing.hits), nothing.did_you_mean) == (0, [], None)


def test_a_slip_that_stands_in_some_name_finds_what_was_meant_and_what_means_the_same(lone_engine: Engine) -> None:
    apartment, flat, slip = catalogue.named("Apartment with river view", "River view flat", "Aparment near the park")
    catalogue.named("Boat with river view")
    answer = lone_engine.search(Question("aparment riverview"))
    assert [hit.id for hit in answer.hits] == [apartment, flat]
    assert answer.did_you_mean == "apartment riverview"
    assert catalogue.found(lone_engine, "aparment")[0] == slip


def test_a_slip_that_is_a_word_itself_is_forgiven_when_it_finds_nothing(lone_engine: Engine) -> None:
    (beach,) = catalogue.named("Sunny beach hut")
    (beech,) = catalogue.named("Forest of beech and oak")
    answer = lone_engine.search(Question("sunny beech"))
    assert [hit.id for hit in answer.hits] == [beach]
    assert answer.did_you_mean == "sunny beach"
    assert catalogue.found(lone_engine, "beech")[0] == beech


def test_two_hundred_slips_in_names_find_their_package(lone_engine: Engine) -> None:
    rng = random.Random(7)
    names = sorted(
        {f"{rng.choice(FIRST)} {rng.choice(MIDDLE)} {rng.choice(LAST)} {rng.choice(FIRST)}" for _ in range(400)}
    )
    ids = dict(zip(names, catalogue.named(*names), strict=True))
    missed = []
    for name in rng.sample(names, 200):
        typed = _with_a_slip(rng, name)
        if ids[name] not in catalogue.found(lone_engine, typed, per_page=10):
            missed.append((name, typed))
    assert len(missed) <= 10, missed


def _with_a_slip(rng: random.Random, name: str) -> str:
    """The name with one letter too many, missing, wrong, or changed with its neighbour."""
    n = rng.choice([n for n, letter in enumerate(name[:-1]) if letter != " " and name[n + 1] != " "])
    kind = rng.randrange(4)
    letter = rng.choice(LETTERS)
    middle = (letter + name[n], "", letter, name[n + 1] + name[n])[kind]
    return name[:n] + middle + name[n + (2 if kind == 3 else 1) :]


def test_words_are_joined_and_split(lone_engine: Engine) -> None:
    (split,) = catalogue.named("House with a river view")
    (joined,) = catalogue.named("The Riverview residence")
    assert set(catalogue.found(lone_engine, "riverview")) == {split, joined}
    assert set(catalogue.found(lone_engine, "river view")) == {split, joined}
    assert catalogue.found(lone_engine, "river view")[0] == split
    assert catalogue.found(lone_engine, "riverview")[0] == joined


def test_the_last_word_may_be_a_beginning_while_it_is_typed(lone_engine: Engine) -> None:
    (house,) = catalogue.named("Lighthouse keeper")
    assert catalogue.found(lone_engine, "keeper lighth") == [house]
    assert catalogue.found(lone_engine, "lighth ") == []
    assert catalogue.found(lone_engine, "keep lighthouse ") == [house]  # a word dropped, as nothing has both


def test_what_means_the_same_is_found_after_what_was_typed(lone_engine: Engine) -> None:
    with transaction():
        db.session.execute(text("INSERT INTO search_synonyms (words) VALUES ('{kip,den,\"snug room\"}')"))
    kip, den, snug = catalogue.named("Blue kip", "Blue den", "Blue snug room")
    assert catalogue.found(lone_engine, "den")[0] == den
    for q in ("kip", "den", "snug room"):
        assert set(catalogue.found(lone_engine, q)) == {kip, den, snug}, q
    assert set(catalogue.found(lone_engine, "blue kipp")) == {kip, den, snug}  # and of what was meant


def test_synonyms_are_folded_as_they_are_read(lone_engine: Engine) -> None:
    with transaction():
        db.session.execute(text("INSERT INTO search_synonyms (words) VALUES (ARRAY['O''Clock', 'Été-Uhr', '...'])"))
    oclock, uhr = catalogue.named("Oclock tower", "Ete uhr tower")
    for q in ("o'clock", "été uhr"):
        assert set(catalogue.found(lone_engine, q)) == {oclock, uhr}, q


def test_words_that_stand_everywhere_say_nothing(lone_engine: Engine) -> None:
    (garden,) = catalogue.named("Garden")
    (the,) = catalogue.named("The The")
    assert catalogue.found(lone_engine, "the garden") == [garden]
    assert catalogue.found(lone_engine, "The") == [the]


def test_when_all_words_find_nothing_the_least_telling_are_left_out(lone_engine: Engine) -> None:
    catalogue.named(*(f"Common number{n}" for n in range(6)))
    (rare,) = catalogue.named("Unicorn stable")
    assert catalogue.found(lone_engine, "common unicorn") == [rare]
    assert catalogue.found(lone_engine, "common unicorn zzzzz stable") == [rare]


def test_a_name_counts_more_than_a_place_and_that_more_than_a_description(lone_engine: Engine) -> None:
    (described,) = catalogue.named("One", description="Close to Harbourside")
    (placed,) = catalogue.named("Two", place="Harbourside")
    (named,) = catalogue.named("Harbourside three")
    assert catalogue.found(lone_engine, "harbourside") == [named, placed, described]


def test_provider_and_amenities_are_words_too(lone_engine: Engine) -> None:
    provider = factories.provider(name="Quokka Lodges")
    (house,) = catalogue.add({"name": "One", "amenities": ["steam bath"]}, provider_id=provider.id)
    assert catalogue.found(lone_engine, "quokka") == [house]
    assert catalogue.found(lone_engine, "steam bath") == [house]


@pytest.mark.parametrize(
    "q",
    [
        "'",
        "''';--",
        '"quoted" words',
        "a:b:* & !c | (d <-> e)",
        "\\",
        "%_%",
        ":*",
        "!",
        "()",
        "x" * 10_000,
        "slip " * 2_000,
        "\u202e\u200d\ufeff",
        "𝕬𝖕𝖆𝖗𝖙𝖒𝖊𝖓𝖙 🏠",
        "東京 アパート",
        "1e999 -5 0x1f 3.14.15 a/b/c http://x.y?z=1 me@example.org",
        "{q} :query %(query)s %s",
    ],
)
def test_nothing_typed_breaks_anything(engine: Engine, q: str) -> None:
    answer = engine.search(Question(q, per_page=1))
    assert answer.total >= len(answer.hits)
    engine.suggest(q, 5)


def test_what_is_shown_of_a_hit_is_escaped_and_marked(lone_engine: Engine) -> None:
    words = "Far away. " * 20
    (house,) = catalogue.named("<b>Blåbær</b> & co", description=f"{words} The blåbær's <i> garden </i>. {words * 2}")
    (cafe,) = catalogue.named("Café <b> & co")
    (hit,) = lone_engine.search(Question("cafe")).hits
    assert hit.id == cafe
    assert hit.highlights["name"] == "<mark>Café</mark> &lt;b&gt; &amp; co"
    (hit,) = lone_engine.search(Question("blabaer")).hits
    assert hit.id == house
    # Meilisearch finds it in what we have folded, and marks only what it folds, and divides, itself.
    if isinstance(lone_engine, PostgresEngine):
        assert hit.highlights["name"] == "&lt;b&gt;<mark>Blåbær</mark>&lt;/b&gt; &amp; co"
    (garden,) = lone_engine.search(Question("garden")).hits
    shown = garden.highlights["description"]
    assert "&lt;i&gt; <mark>garden</mark> &lt;/i&gt;" in shown
    assert shown.startswith("… ")
    assert shown.endswith(" …")
    assert len(shown) < 320


def test_suggestions_are_places_then_packages_popular_ones_first(lone_engine: Engine) -> None:
    few, many, other = catalogue.named("Tromsø lights", "Old Tromsø inn", "Oslo inn")
    catalogue.add({"name": "Nothing alike", "city": "Tromsø"})
    catalogue.rate(many, {5: 9})
    catalogue.rate(few, {5: 1})
    for q in ("tro", "Trom", "TROMSO", "tromsø"):
        shown = [(one.kind, one.text, one.package_id) for one in lone_engine.suggest(q, 8)]
        assert shown == [
            ("place", "Tromsø", None),
            ("package", "Old Tromsø inn", many),
            ("package", "Tromsø lights", few),
        ], q
    assert [one.package_id for one in lone_engine.suggest("oslo in", 8)] == [other]
    assert len(lone_engine.suggest("tro", 2)) == 2
    assert lone_engine.suggest("  ", 8) == []
    assert [one.package_id for one in lone_engine.suggest("tromso lihgts", 8)] == [few]


@pytest.mark.parametrize("many", [2, suggestions._MANY])
def test_suggestions_bear_with_slips_in_words_that_many_have_and_in_places(
    empty_app: Flask, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(suggestions, "_MANY", many)
    houses = catalogue.named(*(f"Zebrahaus {number}" for number in range(6)), city="Zwolle")
    catalogue.named("Quiet house", "Quiet flat", "Old garden", "Blue garden", city="Łódź")
    (both,) = catalogue.named("Quiet garden", city="Łódź")
    monkeypatch.setattr(suggestions, "_POPULAR", 8)  # which it is none of
    engine = PostgresEngine()
    assert {one.package_id for one in engine.suggest("zebrahuas", 8)} == set(houses)
    assert [one.package_id for one in engine.suggest("quiet garden", 8)] == [both]
    for q, places in (("Zwole", ["Zwolle"]), ("lodz", ["Łódź"]), ("ldoz", ["Łódź"]), ("zwolle x", []), ("zwxxe", [])):
        assert [one.text for one in engine.suggest(q, 8) if one.kind == "place"] == places, q


def test_of_packages_with_one_name_the_most_popular_is_suggested_where_it_stands(app: Flask) -> None:
    first, other, namesake = catalogue.named("Sommarøy hotel", "Sommarøy inn", "Sommarøy hotel", city="Bodø")
    for package_id, stars in ((first, 9), (other, 5), (namesake, 1)):
        catalogue.rate(package_id, {5: stars})
    shown = PostgresEngine().suggest("sommar", 8)
    assert [(one.text, one.package_id) for one in shown] == [("Sommarøy hotel", first), ("Sommarøy inn", other)]


@pytest.mark.parametrize("many", [0, suggestions._MANY])
def test_who_may_not_sell_any_more_is_suggested_no_more(app: Flask, monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    monkeypatch.setattr(suggestions, "_MANY", many)
    word, seller = f"senja{many}", factories.provider()
    stays = factories.package(days=0, name=f"{word} lodge")
    factories.package(days=0, name=f"{word} cabin", city=f"{word}hopen", provider_id=seller.id)
    goes = factories.package(days=0, name=f"{word} barn")
    catalogue.index()
    app.extensions.pop("search_places", None)
    assert len(PostgresEngine().suggest(word, 8)) == 4
    with transaction():
        move(lock(Provider, seller.id), "SUSPENDED")
        move(lock(Package, goes.id), "DRAFT")
    assert [one.package_id for one in PostgresEngine().suggest(word, 8)] == [stays.id]
