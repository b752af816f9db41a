"""What Meilisearch is told: keys, settings, documents in batches and in order, a rebuild beside the searching, and
what becomes of all that when it fails. On the stand-in, which is written from its documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from threading import Thread
from time import monotonic
from typing import Any

import pytest
import requests
from flask import Flask
from sqlalchemy import select

from app import queue, workers
from app.advisory_locks import AdvisoryLock
from app.audit import edits
from app.db import transaction
from app.errors import Busy, Conflict
from app.extensions import db
from app.search import meilisearch as gateway
from app.search import sending, synonyms
from app.search.index_settings import are_set, settings_of
from app.search.meilisearch import Meilisearch, NotAnswering, TaskFailed
from app.search.models import SearchSynonyms
from jobs import meilisearch as jobs
from tests import factories
from tests.queued import calls
from tests.search.documents import change, document, rebuild, sent
from tests.search.meili_stand_in import MASTER_KEY, StandIn

NEXT = f"{gateway.INDEX}_next"


def theirs(stand_in: StandIn) -> dict[str, dict[str, Any]]:
    return stand_in.documents(gateway.INDEX)


def asked_of(stand_in: StandIn, method: str, path: str) -> list[str]:
    """The keys that such requests came with."""
    return [key for how, where, key in stand_in.requests if how == method and re.fullmatch(path, where)]


def test_configure_makes_the_index_with_our_settings(meili_app: Flask, stand_in: StandIn) -> None:
    index = stand_in.indexes[gateway.INDEX]
    assert index["primaryKey"] == "id"
    for name, value in settings_of(db.session.scalars(select(SearchSynonyms.words)).all()).items():
        there = index["settings"][name]
        assert (there | value if isinstance(value, dict) else there) == (
            there | value if isinstance(value, dict) else value
        ), name
    assert "bicycle" in index["settings"]["synonyms"]["bike"]
    assert "bike" in index["settings"]["synonyms"]["bicycle"]


def test_configure_twice_changes_nothing_and_new_synonyms_arrive(meili_app: Flask, stand_in: StandIn) -> None:
    keys = dict(stand_in.keys)
    with transaction():
        db.session.add(SearchSynonyms(words=["hytte", "cabin"]))
    sending.configure()
    assert stand_in.keys == keys
    assert "cabin" in stand_in.indexes[gateway.INDEX]["settings"]["synonyms"]["hytte"]


def test_settings_that_are_refused_fail_loudly(
    meili_app: Flask, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stand_in.indexes[gateway.INDEX]["settings"]
    monkeypatch.setattr(sending, "settings_of", lambda groups: {"rankingRules": ["best first"]})
    with pytest.raises(NotAnswering, match="ranking rule is invalid"):
        sending.configure()
    stand_in.fail_tasks.append(("settingsUpdate", "internal", "The disk is tired."))
    monkeypatch.setattr(sending, "settings_of", settings_of)
    with pytest.raises(TaskFailed, match="The disk is tired"):
        sending.configure()
    assert stand_in.indexes[gateway.INDEX]["settings"] == before


def test_configure_without_meilisearch_says_so(app: Flask) -> None:
    with pytest.raises(Conflict, match="MEILI_URL is not set"):
        sending.configure()


def test_questions_come_with_a_key_that_can_only_search(
    meili_app: Flask, meilisearch: Meilisearch, stand_in: StandIn
) -> None:
    document()
    sending.send()
    meilisearch.search([{"q": ""}])
    reading = set(asked_of(stand_in, "POST", "/multi-search"))
    writing = set(asked_of(stand_in, "POST", "/indexes/.*/documents"))
    assert len(reading) == len(writing) == 1
    assert not reading & writing
    assert f"Bearer {MASTER_KEY}" not in reading | writing
    may = {tuple(key["actions"]): key for key in stand_in.keys.values()}
    assert may.pop(("indexes.swap", "tasks.get"))["indexes"] == ["*"]
    assert ("search",) in may
    for key in may.values():
        assert key["indexes"] == [f"{gateway.INDEX}*"]
        assert not {"*", "keys.create", "keys.get", "indexes.swap"} & set(key["actions"])
    answer = requests.delete(
        f"{stand_in.url}/indexes/{gateway.INDEX}", headers={"Authorization": reading.pop()}, timeout=5
    )
    assert answer.status_code == 403
    assert theirs(stand_in)


def test_a_key_that_is_forgotten_while_it_is_fetched_is_used(
    meili_app: Flask, meilisearch: Meilisearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgotten(dict[str, str]):
        def __setitem__(self, name: str, key: str) -> None:
            """Another thread has cleared it by now."""

    monkeypatch.setattr(meilisearch, "_keys", Forgotten())
    assert meilisearch.search([{"q": ""}])[0]["hits"] == []


def test_a_server_without_master_key_is_used_without(meili_app: Flask, stand_in: StandIn) -> None:
    stand_in.kill()
    stand_in.lose_everything()
    stand_in.master_key = None
    stand_in.start()
    engine = Meilisearch(stand_in.url, "")
    engine.prepare(settings_of([]))
    engine.put([{"id": 1, "version": 1}])
    assert engine.versions() == {1: 1}
    assert stand_in.keys == {}


def test_a_wrong_key_is_said(meili_app: Flask, stand_in: StandIn) -> None:
    with pytest.raises(NotAnswering, match="API key is invalid"):
        Meilisearch(stand_in.url, "wrong").prepare({})


def test_documents_arrive_and_are_marked(meili_app: Flask, stand_in: StandIn) -> None:
    of = factories.package(days=0, name="Fjord view", latitude=59.9, longitude=10.7, amenities=["wifi", "sauna"])
    listed = document(of=of, rating=4.6, reviews=12)
    nowhere = document(name="Łódź loft")
    assert sending.behind(10) == 2
    assert sending.send() == 2
    found = theirs(stand_in)[str(listed.package_id)]
    assert (found["name"], found["version"], found["amenities"]) == ("Fjord view", listed.version, ["wifi", "sauna"])
    assert found["_geo"] == {"lat": 59.9, "lng": 10.7}
    assert (found["rating_bucket"], found["price_bucket"]) == (5, 5)
    assert "_geo" not in theirs(stand_in)[str(nowhere.package_id)]
    assert theirs(stand_in)[str(nowhere.package_id)]["folded"].startswith("lodz loft")
    assert sent(listed)
    assert sending.behind(10) == 0
    assert sending.send() == 0


def test_what_is_off_sale_is_removed(meili_app: Flask, stand_in: StandIn) -> None:
    stays, goes = document(), document()
    sending.send()
    change(goes, listed=False)
    assert sending.send() == 1
    assert set(theirs(stand_in)) == {str(stays.package_id)}
    assert sent(goes)
    # One that never was there.
    never = document(listed=False)
    sending.send()
    assert sent(never)


def test_many_go_in_batches(meili_app: Flask, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "BATCH", 3)
    made = [document() for _ in range(8)]
    change(made[0], name="Changed, so that it comes last")
    assert sending.send() == 8
    assert len(theirs(stand_in)) == 8
    batches = [
        task["details"]["receivedDocuments"] for task in stand_in.tasks if task["type"] == "documentAdditionOrUpdate"
    ]
    assert batches == [3, 3, 2]
    assert list(theirs(stand_in))[-1] == str(made[0].package_id)


def test_a_failed_task_is_kept_and_shown_and_tried_again(
    meili_app: Flask, meilisearch: Meilisearch, stand_in: StandIn
) -> None:
    of = document()
    stand_in.fail_tasks.append(("documentAdditionOrUpdate", "no_space_left_on_device", "There is no more space left."))
    with pytest.raises(TaskFailed, match="no_space_left_on_device"):
        sending.send()
    assert not sent(of)
    kept = workers.last_check(sending.CHECK)
    assert kept is not None
    assert "There is no more space left." in kept.problems[0]
    assert "There is no more space left." in meilisearch.state().failures[0]
    assert sending.send() == 1
    assert sent(of)
    assert meilisearch.state().failures == [], "what succeeded since tells that it is over"
    kept = workers.last_check(sending.CHECK)
    assert kept is not None
    assert kept.problems == []


def test_a_task_that_takes_too_long_is_not_sent_again_before_it_is_done(
    meili_app: Flask, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = document()
    monkeypatch.setattr(gateway, "TASK_SECONDS", 0.1)
    stand_in.may_work.clear()
    for _ in range(2):
        with pytest.raises(TaskFailed, match="has not done its task"):
            sending.send()
    assert [task["type"] for task in stand_in.tasks].count("documentAdditionOrUpdate") == 1
    assert not sent(of)
    stand_in.may_work.set()
    monkeypatch.setattr(gateway, "TASK_SECONDS", 20)
    sending.send()
    assert sent(of)


def test_a_turn_waits_for_no_task_when_its_time_is_over(
    meili_app: Flask, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = document()
    monkeypatch.setattr(sending, "_ALL_SECONDS", 0.0)
    with pytest.raises(TaskFailed, match="has not done its task"):
        sending.send()
    assert not sent(of)
    monkeypatch.undo()
    sending.send()
    assert sent(of)


def test_an_index_with_other_settings_is_given_ours(meili_app: Flask, stand_in: StandIn) -> None:
    def asked_for_settings() -> int:
        return len(asked_of(stand_in, "PATCH", ".*/settings"))

    gone = document()
    sending.send()
    before = asked_for_settings()
    change(gone, name="Renamed")
    sending.send()
    assert asked_for_settings() == before, "those that are there are not sent again"
    for mend in (sending.send, lambda: sending.compare(mend=True)):
        # As where documents have made it, or an older version.
        settings = stand_in.indexes[gateway.INDEX]["settings"]
        settings |= {"filterableAttributes": [], "rankingRules": list(reversed(settings["rankingRules"]))}
        settings["typoTolerance"]["minWordSizeForTypos"] = {"oneTypo": 5, "twoTypos": 9}
        change(gone, listed=False)
        mend()
        assert are_set(settings_of([]), stand_in.indexes[gateway.INDEX]["settings"])
    sending.send()
    assert theirs(stand_in) == {}
    assert sent(gone)


def test_settings_are_the_same_in_whatever_order_where_it_says_nothing() -> None:
    ours = settings_of([("bike", "bicycle")])
    backwards = ours["sortableAttributes"][::-1]
    others = {**ours, "synonyms": {}, "sortableAttributes": backwards, "proximityPrecision": "byWord"}
    assert are_set(ours, {**others, "faceting": {**ours["faceting"], "more": 1}})
    assert not are_set(ours, {**others, "searchableAttributes": ours["searchableAttributes"][::-1]})
    assert not are_set(ours, {**others, "stopWords": ["the"]})
    assert not are_set(ours, {**others, "pagination": {"maxTotalHits": 1_000}})
    assert not are_set(ours, {})


def test_a_command_waits_for_a_task_as_long_as_it_takes(
    meili_app: Flask, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "TASK_SECONDS", 0.0)
    with pytest.raises(TaskFailed, match="has not done its task"):
        sending.configure()
    with sending.patiently():
        sending.configure()
        sending.send_synonyms()
    document()
    assert meili_app.test_cli_runner().invoke(args=["search", "configure"]).exit_code == 0
    assert meili_app.test_cli_runner().invoke(args=["search", "reindex"]).exit_code == 0
    with pytest.raises(TaskFailed, match="has not done its task"):
        sending.configure()


def test_a_command_outwaits_a_turn_of_the_sender_and_a_job_does_not(
    meili_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sending._PATIENT_SECONDS > 3 * (sending._TURN_SECONDS + sending._ALL_SECONDS)
    assert sending._WAIT_SECONDS + sending._ALL_SECONDS < queue.JOB_TIMEOUT_SECONDS
    monkeypatch.setattr(sending, "_WAIT_SECONDS", 0.05)
    with sending._alone(AdvisoryLock.SENDING_TO_MEILISEARCH):
        with pytest.raises(Busy):
            sending.compare(mend=False)
        standing = sending.standing()
        assert standing is not None
        assert standing.differences is None
        assert not standing.equal, "who waits for it goes on waiting"
        assert standing.state is not None
        monkeypatch.setattr(sending, "_PATIENT_SECONDS", 0.05)
        with sending.patiently(), pytest.raises(Busy):
            sending.compare(mend=False)
    monkeypatch.setattr(sending, "_WAIT_SECONDS", 20.0)
    assert not sending.compare(mend=False)


def test_what_a_turn_leaves_is_another_turn_behind_others_jobs(
    meili_app: Flask, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "BATCH", 2)
    for _ in range(3):
        document()
    meili_app.extensions["redis"].flushdb()
    meili_app.extensions["asked_for"].clear()
    put = Meilisearch.put

    def put_slowly(self: Meilisearch, *arguments: Any, **named: Any) -> None:
        put(self, *arguments, **named)
        # The turn is over.
        monkeypatch.setattr(sending, "monotonic", lambda: monotonic() + 1_000.0)

    monkeypatch.setattr(Meilisearch, "put", put_slowly)
    jobs.send()
    assert len(theirs(stand_in)) == 2
    assert [job for job, _ in calls()] == [sending.JOB]
    monkeypatch.setattr(sending, "monotonic", monotonic)
    meili_app.extensions["redis"].flushdb()
    jobs.send()
    assert len(theirs(stand_in)) == 3
    assert calls() == []


def test_a_turn_leaves_an_engine_that_is_busy_to_what_it_is_at(
    meili_app: Flask, meilisearch: Meilisearch, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = document()
    stand_in.may_work.clear()
    with meilisearch.done_by(0.001), pytest.raises(TaskFailed):
        meilisearch.set_synonyms({})
    monkeypatch.setattr(sending, "_IDLE_SECONDS", 0.0)
    with pytest.raises(TaskFailed, match="has not done its task"):
        sending.send()
    assert asked_of(stand_in, "POST", ".*/documents") == []
    stand_in.may_work.set()
    monkeypatch.undo()
    sending.send()
    assert sent(of)


def test_an_older_document_never_overwrites_a_newer_one(
    meili_app: Flask, meilisearch: Meilisearch, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = document(name="Old")
    put = meilisearch.put

    def slowly(documents: Any, *, anew: bool = False) -> None:
        # Between being read and being sent, it changes, and another sender comes by.
        monkeypatch.setattr(meilisearch, "put", put)
        change(of, name="New")
        others: list[int] = []
        thread = Thread(target=lambda: others.append(_in(meili_app, sending.send)))
        thread.start()
        thread.join()
        assert others == [0]
        put(documents)

    monkeypatch.setattr(meilisearch, "put", slowly)
    assert sending.send() == 2
    assert theirs(stand_in)[str(of.package_id)]["name"] == "New"
    assert sent(of)


def test_what_changes_while_it_is_sent_stays_unsent(
    meili_app: Flask, meilisearch: Meilisearch, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = document(name="Old")
    later = [0.0]
    monkeypatch.setattr(sending, "monotonic", lambda: monotonic() + later[0])
    put = meilisearch.put

    def put_and_change(*arguments: Any, **named: Any) -> None:
        put(*arguments, **named)
        change(of, name="New")
        later[0] = 1_000.0  # the turn is over

    monkeypatch.setattr(meilisearch, "put", put_and_change)
    assert sending.send() == 1
    assert not sent(of)
    monkeypatch.undo()
    sending.send()
    assert theirs(stand_in)[str(of.package_id)]["name"] == "New"


def test_a_rebuild_swaps_a_full_index_for_the_old_one(
    meili_app: Flask, meilisearch: Meilisearch, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "BATCH", 2)
    made = [document() for _ in range(5)]
    document(listed=False)
    sending.send()
    stand_in.indexes[gateway.INDEX]["documents"]["999"] = {"id": 999, "version": 1}
    told: list[tuple[int, int]] = []
    seen: list[int] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        seen.append(len(theirs(stand_in)))
        if done == 2:
            # Whatever changes meanwhile is in the old one at once, and in the new one in the end.
            change(made[0], name="Changed meanwhile")
            change(made[1], listed=False)
            sending.send()
            assert theirs(stand_in)[str(made[0].package_id)]["name"] == "Changed meanwhile"

    rebuild(progress)
    assert told == [(2, 5), (4, 5), (5, 5)]
    assert min(seen) >= 5, "search was empty meanwhile"
    assert set(theirs(stand_in)) == {str(one.package_id) for one in made if one is not made[1]}
    assert theirs(stand_in)[str(made[0].package_id)]["name"] == "Changed meanwhile"
    assert NEXT not in stand_in.indexes
    assert sending.behind(10) == 0
    assert stand_in.indexes[gateway.INDEX]["settings"]["filterableAttributes"]
    assert not sending.compare(mend=False)


def test_a_rebuild_that_dies_leaves_the_old_index_and_the_next_one_succeeds(
    meili_app: Flask, stand_in: StandIn
) -> None:
    of = document()
    sending.send()

    def die(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(die)
    assert set(theirs(stand_in)) == {str(of.package_id)}
    assert NEXT in stand_in.indexes
    rebuild()
    assert set(theirs(stand_in)) == {str(of.package_id)}
    assert NEXT not in stand_in.indexes


def test_differences_are_found_and_mended(meili_app: Flask, stand_in: StandIn) -> None:
    lost, old, same = document(), document(name="As it is"), document()
    sending.send()
    waits = document()
    there = stand_in.indexes[gateway.INDEX]["documents"]
    del there[str(lost.package_id)]
    there[str(old.package_id)] = {**there[str(old.package_id)], "version": 1, "name": "As it was"}
    there["999999"] = {"id": 999_999, "version": 1}
    found = sending.compare(mend=False)
    assert (found.missing, found.outdated, found.left_over) == ([lost.package_id], [old.package_id], [999_999])
    assert sent(lost)
    assert sending.compare(mend=True) == found
    sending.send()
    assert not sending.compare(mend=False)
    assert set(theirs(stand_in)) == {str(one.package_id) for one in (lost, old, same, waits)}
    assert theirs(stand_in)[str(old.package_id)]["name"] == "As it is"


def test_an_engine_that_lost_everything_is_filled_again(
    meili_app: Flask, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "BATCH", 2)
    made = [document() for _ in range(3)]
    sending.send()
    stand_in.kill()
    stand_in.lose_everything()
    stand_in.start()
    assert sending.compare(mend=True).missing == [one.package_id for one in made]
    assert sending.send() == 3
    assert len(theirs(stand_in)) == 3
    assert stand_in.indexes[gateway.INDEX]["settings"]["filterableAttributes"]
    assert not sending.compare(mend=False)


def test_a_dead_engine_fails_no_write_and_is_caught_up_with(meili_app: Flask, stand_in: StandIn) -> None:
    of = document()
    stand_in.kill()
    with pytest.raises(NotAnswering, match="can't be reached"):
        sending.send()
    change(of, name="Written meanwhile")
    stand_in.start()
    assert sending.send() == 1
    assert theirs(stand_in)[str(of.package_id)]["name"] == "Written meanwhile"


def _in(app: Flask, call: Callable[[], Any]) -> Any:
    """What the call gives in a thread's own context."""
    with app.app_context():
        try:
            return call()
        finally:
            db.session.remove()


def test_changed_synonyms_arrive_by_their_job_and_a_failure_is_kept(meili_app: Flask, stand_in: StandIn) -> None:
    def there() -> dict[str, list[str]]:
        found: dict[str, list[str]] = stand_in.indexes[gateway.INDEX]["settings"]["synonyms"]
        return found

    group = factories.synonyms("zzhytte", "zzkoie")
    assert (sending.SYNONYMS_JOB, ()) in calls()
    assert "zzhytte" not in there()
    stand_in.fail_tasks.append(("settingsUpdate", "internal", "The disk is tired."))
    jobs.send_synonyms()
    check = workers.last_check(sending.SYNONYMS_CHECK)
    assert check is not None
    assert "The disk is tired." in " ".join(check.problems)
    assert "zzhytte" not in there()
    jobs.send_synonyms()
    check = workers.last_check(sending.SYNONYMS_CHECK)
    assert check is not None
    assert check.problems == []
    assert there()["zzhytte"] == ["zzkoie"]
    assert there()["zzkoie"] == ["zzhytte"]
    tasks = len(stand_in.tasks)
    jobs.send_synonyms()
    assert len(stand_in.tasks) == tasks, "what is there already is not sent again"
    synonyms.delete(group.id, seen=edits.version_of(group), by=factories.admin())
    jobs.send_synonyms()
    assert "zzhytte" not in there()
    assert "flat" in there()


def test_synonyms_that_change_during_a_rebuild_are_in_the_new_index(meili_app: Flask, stand_in: StandIn) -> None:
    document()

    def change(_done: int, _total: int) -> None:
        factories.synonyms("zzlate", "zzchange")
        sending.send_synonyms()

    rebuild(change)
    assert stand_in.indexes[gateway.INDEX]["settings"]["synonyms"]["zzlate"] == ["zzchange"]


def test_a_server_that_has_nothing_gets_the_synonyms_with_its_settings(meili_app: Flask, stand_in: StandIn) -> None:
    stand_in.kill()
    stand_in.lose_everything()
    jobs.send_synonyms()
    check = workers.last_check(sending.SYNONYMS_CHECK)
    assert check is not None
    assert "can't be reached" in " ".join(check.problems)
    stand_in.start()
    jobs.send_synonyms()
    assert "flat" in stand_in.indexes[gateway.INDEX]["settings"]["synonyms"]
