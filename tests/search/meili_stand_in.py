"""A small stand-in for Meilisearch 1.12, written from its documentation: endpoints, bodies, task life, keys, errors.

It refuses what the real one refuses (fields it doesn't know, attributes that are not filterable or sortable, keys that
may not), and does its tasks one after the other on a thread of its own. It ranks by nothing: which words are found, in
which order, is only proven on a real server. https://www.meilisearch.com/docs/reference/api
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Event, RLock, Thread
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID, uuid4

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from tests.search import meili_search
from tests.search.meili_filters import BadFilter, parse

MASTER_KEY = "the-master-key-of-the-stand-in"
# https://www.meilisearch.com/docs/reference/api/keys#actions
ACTIONS = {
    *("*", "search", "documents.*", "documents.add", "documents.get", "documents.delete", "indexes.*"),
    *("indexes.create", "indexes.get", "indexes.update", "indexes.delete", "indexes.swap", "tasks.*"),
    *("tasks.cancel", "tasks.delete", "tasks.get", "settings.*", "settings.get", "settings.update", "stats.*"),
    *("stats.get", "metrics.*", "metrics.get", "dumps.*", "dumps.create", "snapshots.*", "snapshots.create"),
    *("version", "keys.create", "keys.get", "keys.update", "keys.delete", "experimental.get", "experimental.update"),
}
# https://www.meilisearch.com/docs/reference/errors/error_codes
AUTH = {"missing_authorization_header": 401, "missing_master_key": 401, "invalid_api_key": 403}
STATUS = {
    **AUTH,
    **{"index_not_found": 404, "task_not_found": 404, "document_not_found": 404, "api_key_not_found": 404},
    **{"api_key_already_exists": 409, "missing_content_type": 415, "invalid_content_type": 415, "not_found": 404},
}
_UID = re.compile(r"[A-Za-z0-9_-]{1,400}")


class Refused(Exception):
    """An error object, as Meilisearch answers it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def body(self) -> dict[str, str]:
        """https://www.meilisearch.com/docs/reference/errors/overview"""
        return {
            "message": str(self),
            "code": self.code,
            "type": "auth" if self.code in AUTH else "internal" if self.code == "internal" else "invalid_request",
            "link": f"https://docs.meilisearch.com/errors#{self.code}",
        }


class _Silent(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nobody reads it."""


class StandIn:
    """A server on a free port of 127.0.0.1. What it holds survives `kill` and `start`, as a disk does."""

    def __init__(self, master_key: str | None = MASTER_KEY) -> None:
        # Bound and never listened on: nobody else takes the port while it doesn't run, and who asks is refused.
        self.kept = socket.socket()
        self.kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.kept.bind(("127.0.0.1", 0))
        self.port = self.kept.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.master_key = master_key
        # Cleared, tasks begin and don't end.
        self.may_work = Event()
        self.lock = RLock()
        self.indexes: dict[str, dict[str, Any]] = {}
        self.tasks: list[dict[str, Any]] = []
        self.keys: dict[str, dict[str, Any]] = {}
        # Tasks that nobody has begun when it was killed.
        self.waiting: list[tuple[dict[str, Any], Any]] = []
        self.behave()

    def behave(self) -> None:
        """Do nothing that a test has it do, and remember no request."""
        self.answer_after = 0.0
        self.may_work.set()
        self.fail_tasks: list[tuple[str, str, str]] = []
        self.requests: list[tuple[str, str, str]] = []

    def lose_everything(self) -> None:
        """What an empty disk does; while it doesn't run."""
        self.indexes.clear()
        self.tasks.clear()
        self.keys.clear()
        self.waiting.clear()

    def start(self) -> None:
        """Listen, and go on with the tasks that wait."""
        self.stopping = Event()
        self.work: SimpleQueue[tuple[dict[str, Any], Any] | None] = SimpleQueue()
        for waiting in self.waiting:
            self.work.put(waiting)
        self.server = make_server("127.0.0.1", self.port, self, threaded=True, request_handler=_Silent)
        self.threads = [
            Thread(target=self.server.serve_forever, args=(0.02,), daemon=True),
            Thread(target=self._work, daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    def kill(self) -> None:
        """Stop listening, in the middle of whatever it does."""
        self.stopping.set()
        self.may_work.set()
        self.work.put(None)
        self.server.shutdown()
        self.server.server_close()
        for thread in self.threads:
            thread.join(5)
        self.waiting = []
        while not self.work.empty():
            left = self.work.get()
            if left is not None:
                self.waiting.append(left)

    def leave(self) -> None:
        """Give the port back, for good."""
        self.kept.close()

    def documents(self, uid: str) -> dict[str, dict[str, Any]]:
        """An index' documents by id; none where there is no index."""
        with self.lock:
            return dict(self.indexes[uid]["documents"]) if uid in self.indexes else {}

    # Requests

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        self.requests.append((request.method, request.path, request.headers.get("Authorization", "")))
        if self.answer_after:
            time.sleep(self.answer_after)
        try:
            with self.lock:
                status, body = self._answer(request)
        except Refused as refusal:
            status, body = STATUS.get(refusal.code, 400), refusal.body()
        except BadFilter as error:
            code = "invalid_document_filter" if "/documents" in request.path else "invalid_search_filter"
            status, body = 400, Refused(code, str(error)).body()
        text = b"" if body is None else json.dumps(body).encode()
        return Response(text, status, content_type="application/json")(environ, start_response)

    def _answer(self, request: Request) -> tuple[int, Any]:
        for method, pattern, action, view in self._routes():
            found = re.fullmatch(pattern, request.path)
            if found and request.method == method:
                self._allow(request, action, found.groupdict().get("uid"))
                body = _json(request) if method in ("POST", "PATCH", "PUT") else None
                return view(request, body, **found.groupdict())  # type: ignore[no-any-return]
        raise Refused("not_found", "not found")

    def _routes(self) -> Iterator[tuple[str, str, str | None, Any]]:
        index, key = "/indexes/(?P<uid>[^/]+)", "/keys/(?P<key>[^/]+)"
        yield "GET", "/health", None, lambda *_: (200, {"status": "available"})
        yield "GET", "/keys", "keys.get", self._list_keys
        yield "POST", "/keys", "keys.create", self._create_key
        yield "GET", key, "keys.get", self._get_key
        yield "DELETE", key, "keys.delete", self._delete_key
        yield "POST", "/indexes", "indexes.create", self._create_index
        yield "GET", index, "indexes.get", lambda _request, _body, uid: (200, self._shown(uid))
        yield "DELETE", index, "indexes.delete", self._delete_index
        yield "GET", f"{index}/settings", "settings.get", lambda _request, _body, uid: (200, self._of(uid)["settings"])
        yield "PATCH", f"{index}/settings", "settings.update", self._update_settings
        yield "GET", f"{index}/stats", "stats.get", self._stats
        yield "POST", f"{index}/documents", "documents.add", self._add
        yield "POST", f"{index}/documents/fetch", "documents.get", self._fetch
        yield "POST", f"{index}/documents/delete", "documents.delete", self._delete_by_filter
        yield "POST", f"{index}/search", "search", self._search
        yield "POST", f"{index}/facet-search", "search", self._facet_search
        yield "POST", "/multi-search", "search", self._multi_search
        yield "POST", "/swap-indexes", "indexes.swap", self._swap
        yield "GET", "/tasks", "tasks.get", self._list_tasks
        yield "GET", "/tasks/(?P<task>[0-9]+)", "tasks.get", self._get_task

    # Keys

    def _allow(self, request: Request, action: str | None, uid: str | None) -> None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        request.environ["may"] = lambda name: True
        if action is None:
            return
        if self.master_key is None:
            if action.startswith("keys."):
                raise Refused(
                    "missing_master_key",
                    "Meilisearch is running without a master key. To access this API endpoint, you must have set a"
                    " master key at launch.",
                )
            return
        if kind != "Bearer":
            raise Refused(
                "missing_authorization_header",
                "The Authorization header is missing. It must use the bearer authorization method.",
            )
        if token == self.master_key:
            return
        found = next((key for key in self.keys.values() if key["key"] == token), None)
        allowed = found and {"*", action, f"{action.split('.')[0]}.*"} & set(found["actions"])
        if not found or not allowed:
            raise Refused("invalid_api_key", "The provided API key is invalid.")
        patterns: list[str] = found["indexes"]

        def may(name: str | None) -> bool:
            # What is about no index, or two of them, is only for who may have all.
            # https://github.com/meilisearch/meilisearch/issues/4103
            return "*" in patterns or (
                name is not None
                and any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in patterns)
            )

        if uid is not None and not may(uid):
            listed = json.dumps(patterns)
            raise Refused(
                "invalid_api_key", f"The API key cannot acces the index `{uid}`, authorized indexes are {listed}."
            )
        request.environ["may"] = may

    def _list_keys(self, request: Request, _body: None) -> tuple[int, Any]:
        query = _query(request, {"offset", "limit"}, "invalid_api_key_limit")
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 20))
        newest = list(reversed(self.keys.values()))
        return 200, {
            "results": newest[offset : offset + limit],
            "offset": offset,
            "limit": limit,
            "total": len(newest),
        }

    def _create_key(self, _request: Request, body: Any) -> tuple[int, Any]:
        _known(body, {"description", "name", "uid", "actions", "indexes", "expiresAt"})
        for needed, code in (("actions", "actions"), ("indexes", "indexes"), ("expiresAt", "expires_at")):
            if needed not in body:
                raise Refused(f"missing_api_key_{code}", f"Missing field `{needed}`")
        for number, action in enumerate(body["actions"]):
            if action not in ACTIONS:
                raise Refused("invalid_api_key_actions", f"Unknown value `{action}` at `.actions[{number}]`")
        uid = body.get("uid") or str(uuid4())
        UUID(uid)
        if uid in self.keys:
            raise Refused("api_key_already_exists", f"`uid` field value `{uid}` is already an existing API key.")
        value = hmac.new(str(self.master_key).encode(), uid.encode(), hashlib.sha256).hexdigest()
        now = _now()
        self.keys[uid] = {
            "name": body.get("name"),
            "description": body.get("description"),
            "key": value,
            "uid": uid,
            "actions": body["actions"],
            "indexes": body["indexes"],
            "expiresAt": body["expiresAt"],
            "createdAt": now,
            "updatedAt": now,
        }
        return 201, self.keys[uid]

    def _key(self, name: str) -> dict[str, Any]:
        for key in self.keys.values():
            if name in (key["uid"], key["key"]):
                return key
        raise Refused("api_key_not_found", f"API key `{name}` not found.")

    def _get_key(self, _request: Request, _body: None, key: str) -> tuple[int, Any]:
        return 200, self._key(key)

    def _delete_key(self, _request: Request, _body: None, key: str) -> tuple[int, Any]:
        del self.keys[self._key(key)["uid"]]
        return 204, None

    # Indexes and documents

    def _of(self, uid: str) -> dict[str, Any]:
        if uid not in self.indexes:
            raise Refused("index_not_found", f"Index `{uid}` not found.")
        return self.indexes[uid]

    def _shown(self, uid: str) -> dict[str, Any]:
        index = self._of(uid)
        return {"uid": uid, **{name: index[name] for name in ("createdAt", "updatedAt", "primaryKey")}}

    def _create_index(self, request: Request, body: Any) -> tuple[int, Any]:
        _known(body, {"uid", "primaryKey"})
        if not _UID.fullmatch(str(body.get("uid", ""))):
            raise Refused(
                "invalid_index_uid", f"Invalid value at `.uid`: `{body.get('uid')}` is not a valid index uid."
            )
        if not request.environ["may"](body["uid"]):
            raise Refused("invalid_api_key", "The provided API key is invalid.")

        def create() -> None:
            if body["uid"] in self.indexes:
                raise Refused("index_already_exists", f"Index `{body['uid']}` already exists.")
            self._make(body["uid"], body.get("primaryKey"))

        return self._enqueue("indexCreation", body["uid"], {"primaryKey": body.get("primaryKey")}, create)

    def _make(self, uid: str, primary_key: str | None) -> dict[str, Any]:
        now = _now()
        self.indexes[uid] = {
            "createdAt": now,
            "updatedAt": now,
            "primaryKey": primary_key,
            "documents": {},
            "settings": meili_search.default_settings(),
        }
        return self.indexes[uid]

    def _delete_index(self, _request: Request, _body: None, uid: str) -> tuple[int, Any]:
        def delete() -> None:
            self._of(uid)
            del self.indexes[uid]

        return self._enqueue("indexDeletion", uid, {"deletedDocuments": None}, delete)

    def _update_settings(self, _request: Request, body: Any, uid: str) -> tuple[int, Any]:
        meili_search.check_settings(body, _known, Refused)

        def update() -> None:
            index = self.indexes.get(uid) or self._make(uid, None)
            index["settings"] = meili_search.merged(index["settings"], body)

        return self._enqueue("settingsUpdate", uid, dict(body), update)

    def _add(self, request: Request, body: Any, uid: str) -> tuple[int, Any]:
        query = _query(request, {"primaryKey", "csvDelimiter"}, "bad_request")
        documents = body if isinstance(body, list) else [body]
        if not all(isinstance(document, dict) for document in documents):
            raise Refused("malformed_payload", "The `json` payload provided is malformed. Each document is an object.")
        details = {"receivedDocuments": len(documents), "indexedDocuments": None}

        def add() -> None:
            index = self.indexes.get(uid) or self._make(uid, None)
            primary = index["primaryKey"] = index["primaryKey"] or query.get("primaryKey") or "id"
            for document in documents:
                if primary not in document:
                    shown = json.dumps(document)
                    raise Refused(
                        "missing_document_id",
                        f"Index `{uid}`: Document doesn't have a `{primary}` attribute: `{shown}`.",
                    )
                if not re.fullmatch(r"[A-Za-z0-9_-]{1,511}", str(document[primary])):
                    raise Refused("invalid_document_id", f"Index `{uid}`: Document identifier is invalid.")
                meili_search.check_geo(document, uid, Refused)
            index["documents"] |= {str(document[primary]): document for document in documents}
            details["indexedDocuments"] = len(documents)

        return self._enqueue("documentAdditionOrUpdate", uid, details, add)

    def _delete_by_filter(self, _request: Request, body: Any, uid: str) -> tuple[int, Any]:
        _known(body, {"filter"})
        if "filter" not in body:
            raise Refused("missing_document_filter", "Missing field `filter`")
        self._of(uid)
        details = {"providedIds": 0, "originalFilter": json.dumps(body["filter"]), "deletedDocuments": None}

        def delete() -> None:
            index = self._of(uid)
            try:
                test = parse(body["filter"], index["settings"]["filterableAttributes"])
            except BadFilter as error:
                raise Refused("invalid_document_filter", f"Index `{uid}`: {error}") from error
            gone = [number for number, document in index["documents"].items() if test(document)]
            for number in gone:
                del index["documents"][number]
            details["deletedDocuments"] = len(gone)

        return self._enqueue("documentDeletion", uid, details, delete)

    def _fetch(self, _request: Request, body: Any, uid: str) -> tuple[int, Any]:
        _known(body, {"offset", "limit", "fields", "retrieveVectors", "filter"})
        index = self._of(uid)
        test = parse(body.get("filter"), index["settings"]["filterableAttributes"])
        found = [document for document in index["documents"].values() if test(document)]
        offset, limit, fields = body.get("offset", 0), body.get("limit", 20), body.get("fields")
        shown = [
            {name: value for name, value in document.items() if fields is None or name in fields}
            for document in found[offset : offset + limit]
        ]
        return 200, {"results": shown, "offset": offset, "limit": limit, "total": len(found)}

    def _stats(self, _request: Request, _body: None, uid: str) -> tuple[int, Any]:
        documents = self._of(uid)["documents"].values()
        indexing = any(task["indexUid"] == uid and task["status"] == "processing" for task in self.tasks)
        return 200, {
            "numberOfDocuments": len(documents),
            "isIndexing": indexing,
            "fieldDistribution": Counter(name for document in documents for name in document),
        }

    def _swap(self, request: Request, body: Any) -> tuple[int, Any]:
        pairs = []
        for swap in body:
            _known(swap, {"indexes"})
            pair = swap.get("indexes")
            if not isinstance(pair, list) or len(pair) != 2:
                raise Refused("invalid_swap_indexes", "Two indexes must be given for each swap.")
            if not all(request.environ["may"](uid) for uid in pair):
                raise Refused("invalid_api_key", "The provided API key is invalid.")
            pairs.append(pair)
        names = [uid for pair in pairs for uid in pair]
        if len(set(names)) < len(names):
            raise Refused("invalid_swap_duplicate_index_found", "Indexes must be declared only once during a swap.")

        def swap_all() -> None:
            for uid in names:
                self._of(uid)
            for one, other in pairs:
                self.indexes[one], self.indexes[other] = self.indexes[other], self.indexes[one]

        return self._enqueue("indexSwap", None, {"swaps": body}, swap_all)

    # Searching

    def _search(self, _request: Request, body: Any, uid: str) -> tuple[int, Any]:
        return 200, meili_search.search(self._of(uid), uid, body or {}, Refused)

    def _multi_search(self, request: Request, body: Any) -> tuple[int, Any]:
        _known(body, {"queries", "federation"})
        if body.get("federation") is not None:
            raise AssertionError("the stand-in does no federated search")
        results = []
        for number, query in enumerate(body["queries"]):
            if "indexUid" not in query:
                raise Refused("missing_index_uid", f"Missing field `indexUid` inside `.queries[{number}]`")
            uid = query["indexUid"]
            if not request.environ["may"](uid):
                raise Refused("invalid_api_key", "The provided API key is invalid.")
            asked = {name: value for name, value in query.items() if name != "indexUid"}
            try:
                results.append({"indexUid": uid, **meili_search.search(self._of(uid), uid, asked, Refused)})
            except Refused as refusal:
                raise Refused(refusal.code, f"Inside `.queries[{number}]`: {refusal}") from refusal
            except BadFilter as error:
                raise BadFilter(f"Inside `.queries[{number}]`: Index `{uid}`: {error}") from error
        return 200, {"results": results}

    def _facet_search(self, _request: Request, body: Any, uid: str) -> tuple[int, Any]:
        return 200, meili_search.facet_search(self._of(uid), body, _known, Refused)

    # Tasks

    def _enqueue(self, kind: str, uid: str | None, details: dict[str, Any], work: Any) -> tuple[int, Any]:
        task = {
            "uid": len(self.tasks),
            "batchUid": None,
            "indexUid": uid,
            "status": "enqueued",
            "type": kind,
            "canceledBy": None,
            "details": details,
            "error": None,
            "duration": None,
            "enqueuedAt": _now(),
            "startedAt": None,
            "finishedAt": None,
        }
        self.tasks.append(task)
        self.work.put((task, work))
        return 202, {
            "taskUid": task["uid"],
            **{name: task[name] for name in ("indexUid", "status", "type", "enqueuedAt")},
        }

    def _work(self) -> None:
        while not self.stopping.is_set():
            got = self.work.get()
            if got is None:
                continue
            task, work = got
            with self.lock:
                task |= {"status": "processing", "startedAt": _now(), "batchUid": task["uid"]}
            self.may_work.wait()
            with self.lock:
                error = None
                try:
                    if self.fail_tasks and self.fail_tasks[0][0] == task["type"]:
                        _, code, message = self.fail_tasks.pop(0)
                        raise Refused(code, message)
                    work()
                except Refused as refusal:
                    error = refusal.body()
                status = "failed" if error else "succeeded"
                task |= {"status": status, "error": error, "finishedAt": _now(), "duration": "PT0.001192S"}

    def _list_tasks(self, request: Request, _body: None) -> tuple[int, Any]:
        known = {"limit", "from", "reverse", "uids", "batchUids", "statuses", "types", "indexUids", "canceledBy"}
        query = _query(request, known, "bad_request")
        statuses = query.get("statuses", "enqueued,processing,succeeded,failed,canceled").split(",")
        for status in statuses:
            if status not in ("enqueued", "processing", "succeeded", "failed", "canceled"):
                raise Refused("invalid_task_statuses", f"Invalid value in parameter `statuses`: `{status}`.")
        uids = query["indexUids"].split(",") if "indexUids" in query else None
        found = [
            task
            for task in reversed(self.tasks)
            if task["status"] in statuses
            and (uids is None or task["indexUid"] in uids)
            and request.environ["may"](task["indexUid"])
        ]
        limit = int(query.get("limit", 20))
        following = found[limit]["uid"] if len(found) > limit else None
        first = found[0]["uid"] if found else None
        return 200, {"results": found[:limit], "total": len(found), "limit": limit, "from": first, "next": following}

    def _get_task(self, request: Request, _body: None, task: str) -> tuple[int, Any]:
        if int(task) >= len(self.tasks) or not request.environ["may"](self.tasks[int(task)]["indexUid"]):
            raise Refused("task_not_found", f"Task `{task}` not found.")
        return 200, self.tasks[int(task)]


def _json(request: Request) -> Any:
    if request.headers.get("Content-Type") != "application/json":
        raise Refused(
            "missing_content_type",
            "A Content-Type header is missing. Accepted values for the Content-Type header are: `application/json`",
        )
    if not request.data:
        raise Refused("missing_payload", "A json payload is missing.")
    try:
        return json.loads(request.data)
    except ValueError as error:
        raise Refused("malformed_payload", f"The json payload provided is malformed. `{error}`.") from error


def _known(body: Any, names: set[str]) -> None:
    if not isinstance(body, dict):
        raise Refused("bad_request", "Invalid value type: expected an object")
    for name in body:
        if name not in names:
            listed = ", ".join(f"`{one}`" for one in sorted(names))
            raise Refused("bad_request", f"Unknown field `{name}`: expected one of {listed}")


def _query(request: Request, names: set[str], code: str) -> dict[str, str]:
    query = dict(parse_qsl(request.query_string.decode()))
    for name in query:
        if name not in names:
            listed = ", ".join(f"`{one}`" for one in sorted(names))
            raise Refused(code, f"Unknown parameter `{name}`: expected one of {listed}")
    return query


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
