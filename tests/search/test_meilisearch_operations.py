"""How operators see Meilisearch: its commands, its part of /health/ready, its settings, and its jobs."""

from __future__ import annotations

import pytest
from click.testing import Result
from flask import Flask

from app import workers
from app.config import SettingsError, load
from app.errors import Busy
from app.search import indexing, sending
from app.search import meilisearch as gateway
from jobs import meilisearch as jobs
from jobs.schedule import SCHEDULE
from tests import factories
from tests.conftest import _settings
from tests.search.documents import change, document, sent
from tests.search.meili_stand_in import StandIn


@pytest.fixture(autouse=True)
def documents_without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether documents are what packages are is asked elsewhere."""
    monkeypatch.setattr(indexing, "status", indexing.Status)


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["search", *arguments])


def test_configure_says_what_it_did_or_why_not(meili_app: Flask, stand_in: StandIn) -> None:
    result = run(meili_app, "configure")
    assert (result.exit_code, gateway.INDEX in result.output) == (0, True)
    stand_in.fail_tasks.append(("settingsUpdate", "internal", "The disk is tired."))
    result = run(meili_app, "configure")
    assert result.exit_code == 1
    assert "The disk is tired." in result.output
    stand_in.kill()
    result = run(meili_app, "configure")
    assert result.exit_code == 1
    assert "Meilisearch can't be reached." in result.output


def test_status_shows_how_far_it_is_behind_and_what_failed(meili_app: Flask, stand_in: StandIn) -> None:
    of = document()
    stand_in.fail_tasks.append(("documentAdditionOrUpdate", "internal", "The disk is tired."))
    jobs.send()
    result = run(meili_app, "status")
    assert result.exit_code == 1
    assert "not sent           1" in result.output
    assert "The disk is tired." in result.output
    sending.send()
    result = run(meili_app, "status")
    assert result.exit_code == 0, result.output
    assert "engine             meilisearch" in result.output
    assert "in Meilisearch     1" in result.output
    assert "Packages, documents and Meilisearch agree." in result.output
    stand_in.indexes[gateway.INDEX]["documents"][str(of.package_id)]["version"] = 0
    result = run(meili_app, "status")
    assert result.exit_code == 1
    assert "outdated there     1" in result.output
    assert "search reindex" in result.output
    stand_in.kill()
    result = run(meili_app, "status")
    assert result.exit_code == 1
    assert "in Meilisearch     does not answer" in result.output


def test_status_says_when_it_lost_its_index(meili_app: Flask, stand_in: StandIn) -> None:
    document()
    sending.send()
    stand_in.indexes.clear()
    result = run(meili_app, "status")
    assert result.exit_code == 1
    assert "missing there      1" in result.output


def test_reindex_fills_a_new_index(meili_app: Flask, stand_in: StandIn) -> None:
    factories.package(days=0, name="Cabin")
    result = run(meili_app, "reindex")
    assert result.exit_code == 0, result.output
    assert "Meilisearch has them all, in a new index." in result.output
    assert "Cabin" in {one["name"] for one in stand_in.documents(gateway.INDEX).values()}


def test_health_tells_of_it_and_never_fails_for_it(
    meili_app: Flask, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = meili_app.test_client()

    def health() -> tuple[int, str, str]:
        meili_app.extensions.pop("meilisearch_answers", None)
        answer = client.get("/health/ready")
        assert answer.json is not None
        return answer.status_code, answer.json["status"], answer.json["meilisearch"]

    assert health() == (200, "ok", "ok")
    monkeypatch.setattr(sending, "BEHIND_AT_MOST", 1)
    for _ in range(2):
        document()
    assert health() == (200, "degraded", "degraded")
    sending.send()
    assert health() == (200, "ok", "ok")
    stand_in.kill()
    assert health() == (200, "degraded", "down")


def test_health_asks_it_once_in_a_while_and_not_while_the_breaker_is_open(meili_app: Flask, stand_in: StandIn) -> None:
    client = meili_app.test_client()
    meili_app.extensions.pop("meilisearch_answers", None)
    stand_in.requests.clear()
    for _ in range(3):
        assert client.get("/health/ready").json["meilisearch"] == "ok"  # type: ignore[index]
    assert [path for _, path, _ in stand_in.requests if "keys" not in path] == [f"/indexes/{gateway.INDEX}/search"]
    meili_app.extensions["meilisearch"].breaker.failed("slow", waited=True)
    meili_app.extensions.pop("meilisearch_answers", None)
    stand_in.requests.clear()
    assert client.get("/health/ready").json["meilisearch"] == "down"  # type: ignore[index]
    assert stand_in.requests == []


def test_a_job_whose_rows_are_busy_is_no_failed_job_and_rests(
    meili_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = document()

    def busy(*_: object) -> None:
        raise Busy("Somebody else is working on this right now.")

    monkeypatch.setattr(sending, "_send_batch", busy)
    jobs.send()
    kept = workers.last_check(sending.CHECK)
    assert kept is not None
    assert kept.problems == ["Somebody else is working on this right now."]
    monkeypatch.undo()
    jobs.send()
    assert not sent(of), "it is let alone for a while"


def test_a_job_that_fails_is_no_failed_job_and_rests(meili_app: Flask, stand_in: StandIn) -> None:
    of = document()
    stand_in.kill()
    jobs.send()
    kept = workers.last_check(sending.CHECK)
    assert kept is not None
    assert kept.problems == ["Meilisearch can't be reached."]
    stand_in.start()
    jobs.send()
    assert not sent(of), "it is let alone for a while"
    meili_app.extensions["redis"].flushdb()
    jobs.send()
    assert sent(of)


def test_the_jobs_comparison_mends(meili_app: Flask, stand_in: StandIn) -> None:
    of = document()
    sending.send()
    stand_in.indexes[gateway.INDEX]["documents"].clear()
    jobs.compare()
    assert not sent(of)
    jobs.send()
    assert set(stand_in.documents(gateway.INDEX)) == {str(of.package_id)}
    change(of, name="Renamed")
    stand_in.kill()
    jobs.compare()


def test_the_schedule_sends_every_few_seconds() -> None:
    every = {entry.job: entry.every_seconds for entry in SCHEDULE}
    assert every["jobs.meilisearch.send"] <= 5
    assert every["jobs.meilisearch.compare"] <= 3600


def test_without_meilisearch_the_jobs_do_nothing(app: Flask) -> None:
    jobs.send()
    jobs.compare()
    assert sending.standing() is None


@pytest.mark.parametrize("url", ["localhost:7700", "ftp://search", "http://"])
def test_an_address_that_is_none_stops_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match="MEILI_URL must look like"):
        load(**_settings("nowhere", meili_url=url))


def test_production_wants_a_key() -> None:
    with pytest.raises(SettingsError, match="MEILI_API_KEY must be set in production"):
        load(**{**_settings("nowhere"), "app_env": "production", "meili_url": "https://search.example.org"})
