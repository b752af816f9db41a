"""The one file that talks to Meilisearch: what we ask of it, answered as plain values, never inside a transaction.

Written against Meilisearch 1.12 (https://www.meilisearch.com/docs/reference/api); nothing here is newer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from time import monotonic, sleep
from typing import Any, cast
from uuid import UUID

import requests
from flask import Flask, current_app
from meilisearch import Client
from meilisearch.errors import (
    MeilisearchApiError,
    MeilisearchCommunicationError,
    MeilisearchError,
    MeilisearchTimeoutError,
)
from meilisearch.models.task import TaskInfo

from app.config import Settings
from app.db import leave_database
from app.errors import Unavailable
from app.search.breaker import Breaker

log = logging.getLogger(__name__)

INDEX = "tripdesk_packages"
_READING = ("search",)
_WRITING = (
    *("documents.add", "documents.get", "documents.delete"),
    *("indexes.create", "indexes.get", "indexes.delete"),
    *("settings.get", "settings.update", "stats.get", "tasks.get"),
)
# A swap is a task of no index: a key for some indexes may set it off and is then told that there is no such task.
# https://github.com/meilisearch/meilisearch/issues/4103
_SWAPPING = ("indexes.swap", "tasks.get")

# To connect, and between two bytes of an answer. A question that takes longer is PostgreSQL's.
_READING_SECONDS = (0.3, 1.0)
_WRITING_SECONDS = (2.0, 10.0)
# An answer that takes longer counts as a failure, though it is taken.
SLOW_SECONDS = 0.7
# To see whether anybody answers there at all, before anything is sent.
_LOOKING_SECONDS = (1.0, 3.0)
TASK_SECONDS = 25.0
_LOOK_EVERY_SECONDS = 0.05
_PAGE = 10_000
# When whoever is at it now wants to be done, as `monotonic` counts; nobody said: each task has TASK_SECONDS.
_until: ContextVar[float | None] = ContextVar("meilisearch_until", default=None)


class NotAnswering(Unavailable):
    """Meilisearch can't be reached, takes too long, or refuses; `code` is its own word for why, where it has one.

    https://www.meilisearch.com/docs/reference/errors/error_codes
    """

    def __init__(self, detail: str, *, code: str | None = None, waited: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.waited = waited


class TaskFailed(NotAnswering):
    """Meilisearch took the work, and could not do it, or not in time."""


@dataclass(frozen=True)
class State:
    """How the server stands: its documents, tasks that wait or run, and those of our index that have failed since one
    succeeded.
    """

    documents: int
    waiting: int
    failures: list[str]


def configure(app: Flask, settings: Settings) -> None:
    """Make the app's connection, if it is to have one; nothing is asked yet."""
    app.extensions["meilisearch"] = (
        Meilisearch(settings.meili_url, settings.meili_api_key.get_secret_value()) if settings.meili_url else None
    )


def server() -> Meilisearch | None:
    """The app's Meilisearch; None when search runs on PostgreSQL."""
    found: Meilisearch | None = current_app.extensions["meilisearch"]
    return found


class Meilisearch:
    """One index on a Meilisearch server, and a second one beside it while that is filled anew.

    It is asked with a key that can only search, written to with one that can only do what is done here, and the two
    are swapped with a third; all are made with the key of the settings. Every method raises NotAnswering.
    """

    def __init__(self, url: str, key: str, *, index: str = INDEX) -> None:
        self.url = url.rstrip("/")
        self.index = index
        self.next_index = f"{index}_next"
        self.breaker = Breaker("Meilisearch", self._probe)
        self._key = key
        # Keys are named by UUIDs, the same in every process.
        self._reading_key, self._writing_key, self._swapping_key = (
            str(UUID(bytes=sha256(f"{index} {what}".encode()).digest()[:16], version=4))
            for what in ("read", "write", "swap")
        )
        self._keys: dict[str, str] = {}

    # Asking

    def search(self, queries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The answers to these questions, asked at once, each with what it asked for."""
        asked = [{"indexUid": self.index, **query} for query in queries]
        found: list[dict[str, Any]] = self._ask(
            lambda client: [
                _understood(query, answer)
                for query, answer in zip(asked, client.multi_search(asked)["results"], strict=True)
            ]
        )
        return found

    def facet_values(self, facet: str, begun: str) -> list[dict[str, Any]]:
        """The values of a facet with a word that begins like this, and how many documents have each."""
        found: list[dict[str, Any]] = self._ask(
            lambda client: [
                {"value": str(hit["value"]), "count": int(hit["count"])}
                for hit in client.index(self.index).facet_search(facet, begun)["facetHits"]
            ]
        )
        return found

    def _ask(self, call: Callable[[Client], Any]) -> Any:
        if not self.breaker.is_closed():
            raise NotAnswering("Meilisearch did not answer a moment ago.")
        leave_database()
        began = monotonic()
        try:
            with _in_our_words():
                answer = call(self._reader())
        except NotAnswering as error:
            if error.code == "invalid_api_key":
                self._keys.clear()
            self.breaker.failed(error.detail, waited=error.waited)
            raise
        took = monotonic() - began
        if took > SLOW_SECONDS:
            self.breaker.failed(f"an answer took {took:.1f} s", waited=False)
        else:
            self.breaker.succeeded()
        return answer

    def _probe(self) -> None:
        with _in_our_words():
            _look(self._reader(), self.index)

    def answers(self) -> bool:
        """Whether it answers a question; while the breaker is open it doesn't, and nobody waits for that."""
        try:
            self._ask(lambda client: _look(client, self.index))
        except NotAnswering:
            return False
        return True

    # Writing

    def prepare(self, settings: Mapping[str, Any]) -> None:
        """Have keys and index there, with these settings; whoever searches meanwhile is answered as before."""
        leave_database()
        with _in_our_words():
            ours = f"{self.index}*"
            self._make_key(self._reading_key, "Tripdesk, searching", _READING, ours)
            self._make_key(self._writing_key, "Tripdesk, indexing", _WRITING, ours)
            self._make_key(self._swapping_key, "Tripdesk, swapping indexes", _SWAPPING, "*")
            self._keys.clear()
        if not self._has(self.index):
            self._create(self.index)
        self._set(self.index, settings)

    def synonyms(self) -> dict[str, list[str]]:
        """Those that the index has."""
        found: dict[str, list[str]] = self.settings()["synonyms"]
        return found

    def set_synonyms(self, synonyms: Mapping[str, Sequence[str]]) -> None:
        """Have the index search with these instead, and wait for it."""
        self._set(self.index, {"synonyms": dict(synonyms)})

    def is_prepared(self) -> bool:
        """Whether keys and index are there at all: a server with an empty disk has none."""
        self._keys.clear()
        return self._has(self.index, _LOOKING_SECONDS)

    def settings(self) -> dict[str, Any]:
        """Those that the index has."""
        with self._writing() as client:
            found: dict[str, Any] = client.index(self.index).get_settings()
        return found

    def is_begun(self) -> bool:
        """Whether there is a second index."""
        return self._has(self.next_index)

    def put(self, documents: Sequence[Mapping[str, Any]], *, anew: bool = False) -> None:
        """Have these documents in the index, or in the second one (`anew`), as they are now, and wait for it."""
        uid = self.next_index if anew else self.index
        self._follow(lambda client: client.index(uid).add_documents(documents))

    def remove(self, ids: Sequence[int], *, anew: bool = False) -> None:
        """Have these out of the index, or out of the second one, and wait for it."""
        uid = self.next_index if anew else self.index
        among = f"id IN [{', '.join(map(str, ids))}]"
        self._follow(lambda client: client.index(uid).delete_documents(filter=among))

    def begin_anew(self, settings: Mapping[str, Any]) -> None:
        """Have an empty second index with these settings; what was left of an earlier one is dropped."""
        if self._has(self.next_index):
            self._follow(lambda client: client.delete_index(self.next_index))
        self._create(self.next_index)
        self._set(self.next_index, settings)

    def take_over(self) -> None:
        """Let the second index take the first one's place, at once for everybody, and drop the old one."""
        swap: list[Mapping[str, list[str] | bool]] = [{"indexes": [self.index, self.next_index]}]
        self._follow(lambda client: client.swap_indexes(swap), key=self._swapping_key)
        self._follow(lambda client: client.delete_index(self.next_index))

    def wait_until_idle(self) -> None:
        """Wait until what was sent to the index before is done. Raises TaskFailed when a task takes too long."""
        with self._writing() as client:
            while waiting := _tasks(client, "enqueued,processing", self.index, limit=1).results:
                try:
                    self._wait(client, waiting[0].uid)
                except TaskFailed as error:
                    if error.waited:
                        raise

    @contextmanager
    def done_by(self, until: float) -> Iterator[None]:
        """Wait for no task inside any longer than until then (as `monotonic` counts): TaskFailed. Who has more time
        outside keeps it.
        """
        before = _until.set(max(until, _until.get() or until))
        try:
            yield
        finally:
            _until.reset(before)

    # Looking after it

    def versions(self) -> dict[int, int]:
        """Every document's version, by id."""
        found: dict[int, int] = {}
        with self._writing() as client:
            index = client.index(self.index)
            while True:
                page = index.get_documents({"fields": ["id", "version"], "offset": len(found), "limit": _PAGE})
                found |= {int(document.id): int(document.version) for document in page.results}
                if len(page.results) < _PAGE:
                    return found

    def state(self) -> State:
        """How it stands now."""
        with self._writing() as client:
            documents = client.index(self.index).get_stats().number_of_documents
            both = f"{self.index},{self.next_index}"
            waiting = _tasks(client, "enqueued,processing", both, limit=1).total
            failed = _tasks(client, "failed,canceled", both, limit=5).results
            succeeded = max((task.uid for task in _tasks(client, "succeeded", both, limit=1).results), default=-1)
        return State(documents, waiting, [_told(task) for task in failed if task.uid > succeeded])

    def _create(self, uid: str) -> None:
        self._follow(lambda client: client.create_index(uid, {"primaryKey": "id"}))

    def _set(self, uid: str, settings: Mapping[str, Any]) -> None:
        self._follow(lambda client: client.index(uid).update_settings(dict(settings)))

    def _has(self, uid: str, seconds: tuple[float, float] | None = None) -> bool:
        try:
            with self._writing(seconds=seconds) as client:
                client.get_raw_index(uid)
        except NotAnswering as error:
            if error.code not in ("index_not_found", "api_key_not_found"):
                raise
            return False
        return True

    def _follow(self, send: Callable[[Client], TaskInfo], *, key: str = "") -> None:
        """Send a task and wait until it is done. Raises TaskFailed."""
        with self._writing(key) as client:
            self._wait(client, send(client).task_uid)

    def _wait(self, client: Client, uid: int) -> None:
        began, limit = monotonic(), _until.get()
        until = inf if limit == inf else min(limit or inf, began + TASK_SECONDS)
        while True:
            if monotonic() >= until:
                words = f"Meilisearch has not done its task {uid} within {max(0.0, until - began):.0f} s."
                raise TaskFailed(words, waited=True)
            task = client.get_task(uid)
            if task.status not in ("enqueued", "processing"):
                break
            sleep(_LOOK_EVERY_SECONDS)
        if task.status != "succeeded":
            raise TaskFailed(_told(task), code=(task.error or {}).get("code"))

    # Keys

    def _reader(self) -> Client:
        return _client(self.url, self._key_of(self._reading_key), _READING_SECONDS)

    @contextmanager
    def _writing(self, key: str = "", seconds: tuple[float, float] | None = None) -> Iterator[Client]:
        leave_database()
        with _in_our_words():
            yield _client(self.url, self._key_of(key or self._writing_key), seconds or _WRITING_SECONDS)

    def _key_of(self, uid: str) -> str:
        # Other threads forget them meanwhile.
        found = self._keys.get(uid)
        if found is None:
            found = self._keys[uid] = self._made_key(uid)
        return found

    def _made_key(self, uid: str) -> str:
        """The scoped key of this name; our own where it may not make others, or where there are none at all."""
        try:
            return str(_client(self.url, self._key, _READING_SECONDS).get_key(uid).key)
        except MeilisearchApiError as error:
            if error.code in ("missing_master_key", "invalid_api_key"):
                log.info("MEILI_API_KEY is used as it is, no narrower keys are made", extra={"code": error.code})
                return self._key
            raise

    def _make_key(self, uid: str, name: str, actions: Sequence[str], indexes: str) -> None:
        client = _client(self.url, self._key, _WRITING_SECONDS)
        wanted = {
            "uid": uid,
            "name": name,
            "description": "Made by `flask search configure`.",
            "actions": list(actions),
            "indexes": [indexes],
            "expiresAt": None,
        }
        try:
            found = client.get_key(uid)
            if set(found.actions) == set(actions) and found.indexes == wanted["indexes"]:
                return
            # What a key may do can't be changed: https://www.meilisearch.com/docs/reference/api/keys#update-a-key
            client.delete_key(uid)
        except MeilisearchApiError as error:
            if error.code in ("missing_master_key", "invalid_api_key"):
                return
            if error.code != "api_key_not_found":
                raise
        client.create_key(wanted)


def _client(url: str, key: str, seconds: tuple[float, float]) -> Client:
    # A new one for each call: it keeps the headers of its last request, which threads must not share. Its timeout goes
    # to `requests` as it is, which takes two.
    return Client(url, key or None, timeout=cast(int, seconds))


def _look(client: Client, uid: str) -> None:
    client.index(uid).search("", {"limit": 1})


def _understood(query: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """What the query asked for of its answer, looked at before anybody relies on it. Raises KeyError, TypeError,
    ValueError, AttributeError for an answer to something else.
    """
    total = "totalHits" if "page" in query else "estimatedTotalHits"
    found = {"hits": [_understood_hit(query, hit) for hit in answer["hits"]], total: int(answer[total])}
    if "facets" in query:
        counts = answer["facetDistribution"]
        found["facetDistribution"] = {
            facet: {str(value): int(count) for value, count in counts.get(facet, {}).items()}
            for facet in query["facets"]
        }
    return found


def _understood_hit(query: Mapping[str, Any], hit: Mapping[str, Any]) -> dict[str, Any]:
    found = {**hit, "id": int(hit["id"])}
    if "showRankingScore" in query:
        found["_rankingScore"] = float(hit["_rankingScore"])
    if "attributesToHighlight" in query:
        found["_formatted"] = dict(hit["_formatted"])
    return found


def _tasks(client: Client, statuses: str, uids: str, *, limit: int) -> Any:
    return client.get_tasks({"statuses": statuses, "indexUids": uids, "limit": str(limit)})


def _told(task: Any) -> str:
    error = task.error or {}
    why = f"{error.get('message')} ({error.get('code')}, {error.get('link')})" if error else "nobody said why"
    when = task.finished_at.isoformat(timespec="seconds") if task.finished_at else "now"
    return f"task {task.uid}, {task.type}, {task.status} {when}: {why}"


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except MeilisearchTimeoutError as error:
        raise NotAnswering("Meilisearch takes too long to answer.", waited=True) from error
    except MeilisearchCommunicationError as error:
        raise NotAnswering("Meilisearch can't be reached.") from error
    except MeilisearchApiError as error:
        raise NotAnswering(f"Meilisearch refuses: {error.message}", code=error.code) from error
    except (MeilisearchError, requests.RequestException, ValueError, TypeError, KeyError, AttributeError) as error:
        # Something answers there, and it isn't Meilisearch, or it died in the middle of a sentence.
        raise NotAnswering(f"What answers at MEILI_URL is not understood: {error}") from error
