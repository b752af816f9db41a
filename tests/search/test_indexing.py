"""Documents: written when anything changes that a package is found by, and never back to what was before."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import inf
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text

from app.advisory_locks import AdvisoryLock
from app.audit.edits import version_of
from app.catalog import edits, packages, providers
from app.catalog.models import Package, Provider
from app.db import transaction, utcnow
from app.errors import Busy
from app.extensions import db
from app.queue import connect
from app.reviews import service as reviews
from app.reviews.models import Review
from app.search import document, indexing
from app.search.models import SearchDocument, SearchWord
from tests import factories, queued
from tests.concurrency import at_once, held_up
from tests.search.documents import everything_anew

INDEX = ("jobs.search.index", ())


@pytest.fixture(autouse=True)
def nothing_waits(app: Flask) -> None:
    indexing.catch_up()
    queued.asked_for()
    app.extensions["redis"].flushdb()
    app.extensions["asked_for"].clear()


def found(package: Package) -> SearchDocument | None:
    db.session.rollback()
    return db.session.get(SearchDocument, package.id, populate_existing=True)


def indexed(package: Package) -> SearchDocument:
    document = found(package)
    assert document is not None
    return document


def waiting() -> list[int]:
    db.session.rollback()
    return list(db.session.scalars(text("SELECT package_id FROM package_changes ORDER BY id")))


def edit(package: Package, **typed: str) -> None:
    edits.edit_package(package.id, typed, seen=version_of(package), by=factories.admin())


def change(row: Package | Provider, **values: Any) -> None:
    """As nobody's verb does, for what the database notes by itself."""
    table = row.__tablename__
    with transaction():
        assignments = ", ".join(f"{name} = :{name}" for name in values)
        db.session.execute(text(f"UPDATE {table} SET {assignments} WHERE id = :id"), {"id": row.id, **values})


def settle(review: Review) -> None:
    with transaction():
        db.session.execute(text("UPDATE reviews SET undo_until = now() WHERE id = :id"), {"id": review.id})
    reviews.settle_due()


# --- What a document holds -------------------------------------------------------------------------------------------


def test_a_document_says_what_the_rows_say(app: Flask) -> None:
    made = factories.package(
        name="Grünerløkka flat/studio “L’Étoile”",
        description="<b>Quiet</b> &  bright.\nBy the river",
        place="Grünerløkka",
        city="São Paulo",
        country="Brazil",
        amenities=["wifi", "air conditioning"],
        latitude=-23.5,
        longitude=-46.6,
        capacity=3,
        provider_id=factories.provider(name="Åse & Sons").id,
    )
    indexing.index_changes()
    kept = indexed(made)
    assert (kept.listed, kept.type, kept.provider, kept.name) == (True, "hotel", "Åse & Sons", made.name)
    assert (kept.place, kept.city, kept.country) == ("Grünerløkka", "São Paulo", "Brazil")
    assert (kept.price_minor, kept.currency, kept.capacity) == (10_000, "USD", 3)
    assert (kept.latitude, kept.longitude, kept.added_at) == (-23.5, -46.6, made.created_at)
    assert (kept.amenities, kept.rating, kept.reviews) == (["wifi", "air conditioning"], None, 0)
    assert kept.place_keys == ["sao paulo", "grunerlokka", "brazil"]
    weights = {"A": [], "B": [], "C": [], "D": []}  # type: dict[str, list[str]]
    for lexeme, kinds in db.session.execute(
        text("SELECT lexeme, weights FROM search_documents, unnest(words) WHERE package_id = :id"), {"id": made.id}
    ):
        for kind in kinds:
            weights[kind].append(lexeme)
    assert {kind: sorted(words) for kind, words in weights.items()} == {
        "A": ["flat", "grunerlokka", "letoile", "studio"],
        "B": ["brazil", "grunerlokka", "paulo", "sao"],
        "C": ["air", "ase", "conditioning", "sons", "wifi"],
        "D": ["bright", "by", "quiet", "river", "the"],
    }


def test_only_the_beginning_of_a_long_description_is_found(app: Flask) -> None:
    made = factories.package(days=0, description=" ".join(f"word{number}" for number in range(100)))
    indexing.index_changes()
    words = set(
        db.session.scalar(
            text("SELECT tsvector_to_array(words) FROM search_documents WHERE package_id = :id"), {"id": made.id}
        )
    )
    assert "word59" in words
    assert "word60" not in words
    assert indexed(made).description == made.description


@pytest.mark.parametrize(
    ("status", "provider"), [("DRAFT", "VERIFIED"), ("PUBLISHED", "PENDING"), ("PUBLISHED", "SUSPENDED")]
)
def test_what_was_never_on_sale_has_no_document(app: Flask, status: str, provider: str) -> None:
    made = factories.package(days=0, status=status, provider_id=factories.provider(status=provider).id)
    indexing.index_changes()
    assert waiting() == []
    assert found(made) is None


@pytest.mark.parametrize("hostile", ["'); DROP TABLE packages; --", "a & b | !c :* <-> \\", "  ", "☃ 🏡", "x" * 200])
def test_any_name_and_place_can_be_indexed(app: Flask, hostile: str) -> None:
    made = factories.package(
        days=0, name=hostile, place=hostile, city=hostile, description=hostile * 50, amenities=[hostile]
    )
    indexing.index_changes()
    assert indexed(made).name == hostile
    assert indexing.status().outdated == 0


# --- Which changes arrive --------------------------------------------------------------------------------------------


def test_an_edit_arrives(app: Flask) -> None:
    made = factories.package(days=1)
    indexing.index_changes()
    before = indexed(made).version
    edit(made, name="The Quarry House")
    assert queued.calls() == [INDEX]
    assert queued.work_off() == []
    assert (indexed(made).name, indexed(made).version > before) == ("The Quarry House", True)


def test_taken_off_sale_and_put_on_it_again_arrives(app: Flask) -> None:
    made, by = factories.package(days=3), factories.admin()
    queued.work_off()
    indexing.index_changes()
    packages.unpublish(made.id, by=by, reason="Renovation")
    assert queued.work_off() == []
    assert indexed(made).listed is False
    packages.publish(made.id, by=by)
    assert queued.work_off() == []
    assert indexed(made).listed is True


def test_what_is_decided_about_a_provider_arrives_for_all_its_packages(app: Flask) -> None:
    seller, by = factories.provider(), factories.admin()
    made = [factories.package(days=0, provider_id=seller.id) for _ in range(3)]
    another = factories.package(days=0)
    indexing.index_changes()
    for decision, listed in (("suspend", False), ("reinstate", True)):
        providers.decide(seller.id, decision, by=by, reason="Complaints")
        assert queued.work_off() == []
        assert [indexed(package).listed for package in made] == [listed] * 3
    assert indexed(another).version < indexed(made[0]).version


def test_a_verified_providers_packages_arrive(app: Flask) -> None:
    seller = factories.complete(factories.provider(status="PENDING"))
    made = factories.package(days=0, provider_id=seller.id)
    indexing.index_changes()
    assert found(made) is None
    providers.decide(seller.id, "verify", by=factories.admin(), reason="All is there")
    assert queued.work_off() == []
    assert indexed(made).listed is True


def test_a_providers_new_name_arrives(app: Flask) -> None:
    seller = factories.provider()
    made = factories.package(days=0, provider_id=seller.id)
    indexing.index_changes()
    edits.edit_provider(seller.id, {"name": "Fjord & Fell"}, seen=0, by=factories.admin())
    assert queued.work_off() == []
    assert indexed(made).provider == "Fjord & Fell"


def test_a_review_counts_once_it_is_shown_and_no_more_when_it_is_taken_back(app: Flask) -> None:
    made, by = factories.package(), factories.moderator()
    first, second = factories.review(of=made, rating=5), factories.review(of=factories.package(), rating=1)
    reviews.approve(first.id, by=by)
    reviews.reject(second.id, reason="fake", by=by)
    indexing.index_changes()
    assert (indexed(made).reviews, indexed(made).rating) == (0, None)
    settle(first)
    assert INDEX in queued.calls()
    assert queued.work_off() == []
    assert (indexed(made).reviews, indexed(made).rating) == (1, 5)
    reviews.reverse(first.id, reason="It was about another stay", by=by)
    assert queued.work_off() == []
    assert (indexed(made).reviews, indexed(made).rating) == (0, None)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("name", "Another"), ("description", "Another"), ("place", "Another"), ("city", "Another")),
        *(("country", "Sweden"), ("price_minor", 5), ("capacity", 9), ("currency", "EUR")),
        *(("amenities", ["sauna"]), ("latitude", 1.5), ("longitude", 1.5), ("type", "tour"), ("status", "DRAFT")),
        *(("provider_id", "another"),),
    ],
)
def test_the_database_notes_by_itself_what_a_document_is_made_of(app: Flask, column: str, value: Any) -> None:
    if column == "provider_id":
        value = factories.provider().id
    made = factories.package(days=0)
    indexing.index_changes()
    change(made, **{column: value})
    assert waiting() == [made.id]
    change(made, **{column: value})
    assert waiting() == [made.id]
    indexing.index_changes()
    assert indexing.status().equal


def test_the_columns_that_are_noted_are_all_that_a_document_reads(app: Flask) -> None:
    """A column that is added to the document, and to no trigger, would be found outdated here."""
    body = str(db.session.scalar(text("SELECT prosrc FROM pg_proc WHERE proname = 'note_changed_packages'")))
    read = set(re.findall(r"\bp\.(\w+)", document.FRESH))
    assert set(re.findall(r"written\.(\w+)", body)) - {"id"} == read - {"id", "created_at"}


def test_what_no_document_holds_is_not_noted(app: Flask) -> None:
    made = factories.package(days=1)
    indexing.index_changes()
    change(made, units=7)
    change(db.session.get_one(Provider, made.provider_id), email="desk@example.org")
    with transaction():
        db.session.execute(text("UPDATE availability SET held = 1 WHERE package_id = :id"), {"id": made.id})
    assert waiting() == []


def test_what_is_taken_back_is_not_noted(app: Flask) -> None:
    made = factories.package(days=0)
    indexing.index_changes()
    with pytest.raises(ZeroDivisionError), transaction():
        db.session.execute(text("UPDATE packages SET name = 'Another' WHERE id = :id"), {"id": made.id})
        raise ZeroDivisionError
    assert waiting() == []


# --- How they are taken up -------------------------------------------------------------------------------------------


def test_many_changes_ask_once_and_are_written_once(app: Flask) -> None:
    made = factories.package(days=0)
    indexing.index_changes()
    before = indexed(made).version
    for number in range(5):
        change(made, name=f"Name {number}")
    edit(made, name="The last")
    edit(made, name="The very last")
    assert len(waiting()) == 7
    assert queued.calls() == [INDEX]
    assert queued.work_off() == []
    assert waiting() == []
    assert indexed(made).name == "The very last"
    assert indexed(made).version > before


def test_what_did_not_change_is_not_written(app: Flask) -> None:
    made = factories.package(days=0)
    indexing.index_changes()
    before = indexed(made).version
    with transaction():
        db.session.execute(text("INSERT INTO package_changes (package_id) VALUES (:id)"), {"id": made.id})
    indexing.index_changes()
    assert everything_anew() == 0
    assert (waiting(), indexed(made).version) == ([], before)


def test_what_is_off_sale_and_changes_keeps_its_version(app: Flask) -> None:
    made = factories.package(days=0)
    indexing.index_changes()
    change(made, status="DRAFT")
    indexing.index_changes()
    before = indexed(made).version
    change(made, name="Another")
    indexing.index_changes()
    assert (indexed(made).listed, indexed(made).version) == (False, before)
    assert indexing.status().equal


def test_a_verb_works_without_redis_and_the_schedule_finds_its_change(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = factories.package(days=0)
    indexing.index_changes()
    with monkeypatch.context() as dead:
        dead.setitem(app.extensions, "redis", connect("redis://127.0.0.1:1"))
        edit(made, name="While Redis was gone")
    assert queued.calls() == []
    assert waiting() == [made.id]
    # What the schedule's poke runs.
    indexing.index_changes()
    assert indexed(made).name == "While Redis was gone"


def test_when_a_batch_fails_its_changes_stay(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    made = factories.package(days=0)
    monkeypatch.setattr(indexing, "_WRITE", text("SELECT 1 / 0, :ids"))
    with pytest.raises(Exception, match="division by zero"):
        indexing.index_changes()
    assert waiting() == [made.id]
    monkeypatch.undo()
    indexing.index_changes()
    assert indexed(made).listed


def test_killed_in_the_middle_nothing_is_lost(app: Flask, owner: Any) -> None:
    made = factories.package(days=0)

    def die() -> None:
        with transaction():
            indexing._take_turn()
            indexing._write(db.session.scalars(indexing._TAKE, {"most": 10}).all())
            process = db.session.scalar(text("SELECT pg_backend_pid()"))
            with owner.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s)", (process,))

    assert isinstance(at_once(app, die)[0], Exception)
    assert waiting() == [made.id]
    assert found(made) is None
    indexing.index_changes()
    assert indexed(made).listed


def test_more_than_a_turns_worth_is_done_in_turns(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "BATCH", 2)
    made = [factories.package(days=0) for _ in range(5)]
    assert indexing.index_changes(seconds=0) is True
    assert len(waiting()) == 3
    assert indexing.index_changes(seconds=inf) is False
    assert waiting() == []
    assert all(indexed(package).listed for package in made)


def test_an_older_reading_never_overwrites_a_newer_one(app: Flask) -> None:
    """Making all anew has read two packages and waits before it writes; the second is changed, and indexed again."""
    first, second = factories.package(days=0), factories.package(days=0)
    second_id = second.id
    indexing.index_changes()
    change(first, name="Holds it up")
    change(second, name="The older")
    with transaction():
        db.session.execute(text("DELETE FROM package_changes"))

    def newer() -> None:
        with transaction():
            db.session.execute(text("UPDATE packages SET name = 'The newer' WHERE id = :id"), {"id": second_id})

    with transaction():
        db.session.execute(text("SELECT FROM search_documents WHERE package_id = :id FOR UPDATE"), {"id": first.id})
        slow = held_up(app, everything_anew)
        assert at_once(app, newer) == [None]
        fast = held_up(app, indexing.index_changes, by=2)
    assert (slow(), fast()) == (2, False)
    assert (indexed(first).name, indexed(second).name) == ("Holds it up", "The newer")
    assert waiting() == []


def test_what_changes_while_it_is_read_is_read_again(app: Flask) -> None:
    made = factories.package(days=0)
    package_id = made.id
    indexing.index_changes()

    def write() -> None:
        for number in range(40):
            with transaction():
                db.session.execute(
                    text("UPDATE packages SET name = :name WHERE id = :id"), {"name": f"{number}", "id": package_id}
                )

    def read(times: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                indexing.index_changes()

        return run

    assert at_once(app, write, read(20), read(20), everything_anew)[:3] == [None] * 3
    indexing.index_changes()
    assert indexed(made).name == "39"
    assert indexing.status().equal


def test_a_document_that_somebody_holds_for_long_fails_the_turn_loudly(app: Flask) -> None:
    made = factories.package(days=0)
    indexing.index_changes()
    change(made, name="Another")
    with transaction():
        db.session.execute(text("SELECT FROM search_documents WHERE package_id = :id FOR UPDATE"), {"id": made.id})
        (outcome,) = at_once(app, indexing.index_changes)
    assert isinstance(outcome, Busy)
    assert waiting() == [made.id]
    indexing.index_changes()
    assert indexed(made).name == "Another"


def test_who_finds_another_one_at_it_for_long_leaves_it_to_them(app: Flask, owner: Any) -> None:
    made = factories.package(days=0)
    with owner.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (AdvisoryLock.INDEXING,))
        assert indexing.index_changes() is False
        assert waiting() == [made.id]
        cursor.execute("SELECT pg_advisory_unlock(%s)", (AdvisoryLock.INDEXING,))
    indexing.index_changes()
    assert waiting() == []


# --- Words -----------------------------------------------------------------------------------------------------------


def known(word: str) -> int | None:
    db.session.rollback()
    return db.session.scalar(select(SearchWord.documents).where(SearchWord.word == word))


def test_words_are_known_as_soon_as_a_document_has_them(app: Flask) -> None:
    word = f"brekkestø{utcnow():%H%M%S%f}"
    folded = word.replace("ø", "o")
    first = factories.package(days=0, name=f"Cabin {word.upper()}")
    indexing.index_changes()
    assert known(folded) == 1
    factories.package(days=0, name=f"{word} {word}")
    indexing.index_changes()
    assert known(folded) == 2
    change(first, name="Something else")
    indexing.index_changes()
    assert known(folded) == 2
    indexing.count_words()
    assert known(folded) == 1


def test_words_that_no_document_has_any_more_are_forgotten_when_they_are_counted(app: Flask) -> None:
    made = factories.package(days=0, name="Nattergalen")
    indexing.index_changes()
    change(made, status="DRAFT")
    indexing.index_changes()
    assert known("nattergalen") == 1
    indexing.count_words()
    assert known("nattergalen") is None


# --- Compared --------------------------------------------------------------------------------------------------------


def test_differences_are_seen_and_put_right(app: Flask, owner: Any) -> None:
    missing, outdated, left_over = (factories.package(days=0) for _ in range(3))
    off_sale = factories.package(days=0, status="DRAFT")
    indexing.index_changes()
    assert indexing.status().equal
    with owner.cursor() as cursor:
        cursor.execute("ALTER TABLE packages DISABLE TRIGGER packages_update_changes")
        cursor.execute("DELETE FROM search_documents WHERE package_id = %s", (missing.id,))
        cursor.execute("UPDATE packages SET capacity = 9 WHERE id = %s", (outdated.id,))
        cursor.execute("UPDATE packages SET status = 'DRAFT' WHERE id = %s", (left_over.id,))
        cursor.execute("ALTER TABLE packages ENABLE TRIGGER packages_update_changes")
    wrong = indexing.status()
    assert (wrong.missing, wrong.outdated, wrong.left_over, wrong.waiting) == (1, 1, 1, 0)
    assert wrong.on_sale == wrong.listed
    assert not wrong.equal
    assert everything_anew() == 3
    assert indexing.status().equal
    assert [indexed(made).listed for made in (missing, outdated, left_over)] == [True, True, False]
    assert found(off_sale) is None


def test_what_no_change_was_noted_of_is_found_some_packages_at_a_time(
    empty_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "BATCH", 2)
    made = [factories.package(days=0, name="Before") for _ in range(3)]
    while indexing.index_changes():
        pass

    def missed(package: Package) -> None:
        change(package, name="After")
        with transaction():
            db.session.execute(text("DELETE FROM package_changes"))

    def names() -> list[str]:
        return [indexed(one).name for one in made]

    missed(made[0])
    missed(made[2])
    assert not indexing.index_changes()
    assert names() == ["Before", "Before", "Before"]
    indexing.compare_some()
    assert names() == ["After", "Before", "Before"]
    missed(made[1])
    indexing.compare_some()
    assert names() == ["After", "Before", "After"]
    indexing.compare_some()
    assert names() == ["After", "After", "After"]
    assert indexing.status().equal
