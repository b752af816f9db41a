"""One decorator for every API route: it asks who, parses, keeps idempotency keys, and is what the OpenAPI document is
made of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal

import orjson
from flask import Blueprint, Response, request
from pydantic import BaseModel
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from app import bodies, idempotency, problems
from app.api.bearer import require_recent_login, signed_in
from app.api.headers import revalidated
from app.api.limits import policy_for
from app.audit.actor import Actor
from app.db import transaction
from app.errors import Conflict, Invalid, TripdeskError, Unavailable
from app.rate_limits import Policy
from app.schemas import parse

MAX_BODY_BYTES = 64 * 1024

Who = Literal["anyone", "signed in"]


@dataclass(frozen=True)
class Operation:
    """One method on one path, as the decorator was told; the OpenAPI document and the guard test read these."""

    method: str
    path: str
    name: str
    group: str
    summary: str
    description: str
    who: Who
    answer: type[BaseModel] | None
    status: int
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    refuses: tuple[int, ...] = ()
    idempotent: bool = False
    max_body: int = MAX_BODY_BYTES
    max_age: int | None = 0

    @property
    def limit(self) -> Policy:
        """How often one caller may ask for it."""
        return policy_for(self.method, signed_in=self.who == "signed in")

    @property
    def for_everybody(self) -> bool:
        """Whether its answer is the same whoever asks, so that caches may keep it."""
        return self.method == "GET" and self.who == "anyone" and self.max_age is not None


OPERATIONS: list[Operation] = []


def endpoint(
    blueprint: Blueprint,
    method: str,
    path: str,
    *,
    group: str,
    answer: type[BaseModel] | None,
    status: int = 200,
    who: Who = "signed in",
    recent_login: bool = False,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    refuses: tuple[int, ...] = (),
    idempotent: Literal["no", "one transaction", "by nature"] = "no",
    max_body: int = MAX_BODY_BYTES,
    max_age: int | None = 0,
) -> Callable[[Callable[..., BaseModel | None]], Callable[..., Response]]:
    """Serve a function under a path.

    It is called with the path's parameters and, as declared, `body`, `query` and `by` (the Actor who is signed in). The
    first line of its docstring is the summary, the rest the description. `idempotent` "one transaction" runs it and
    keeps its answer in one transaction; "by nature" is for a verb that calls out in between and is harmless to repeat.
    With `recent_login`, who sends it gave their password or a code just now; a refreshed token is not enough.
    A body may have `max_body` bytes. What anyone may read, caches may keep, and use for `max_age` seconds without
    asking; None is for what may be another thing a moment later.
    """

    def decorate(view: Callable[..., BaseModel | None]) -> Callable[..., Response]:
        summary, _, description = (view.__doc__ or "").strip().partition("\n")
        operation = Operation(
            method,
            path,
            view.__name__,
            group,
            summary,
            " ".join(description.split()),
            who,
            answer,
            status,
            body,
            query,
            refuses,
            idempotent != "no",
            max_body,
            max_age,
        )
        OPERATIONS.append(operation)
        for_everybody = operation.for_everybody

        def run(arguments: dict[str, Any]) -> Response:
            result = view(**arguments)
            content = b"" if result is None else result.__pydantic_serializer__.to_json(result, by_alias=True)
            if for_everybody:
                return revalidated(content, "application/json", max_age=max_age or 0)
            return Response(content, status, content_type="application/json" if content else None)

        @wraps(view)
        def serve(**arguments: Any) -> Response:
            if who == "signed in":
                arguments["by"] = signed_in()
            if recent_login:
                require_recent_login()
            if query is not None:
                arguments["query"] = parse(query, _query_values(query))
            raw: Any = None
            if body is not None:
                raw = _json_body(max_body)
                arguments["body"] = parse(body, raw)
            key = request.headers.get("Idempotency-Key") if idempotent != "no" else None
            if key is None:
                return run(arguments)
            return _once(
                _use(arguments["by"], key, raw), lambda: run(arguments), joined=idempotent == "one transaction"
            )

        serve.guarded_by = who  # type: ignore[attr-defined]  # read by the test that every route is guarded
        serve.limit = operation.limit  # type: ignore[attr-defined]  # read before each request
        blueprint.add_url_rule(path, endpoint=view.__name__, view_func=serve, methods=[method])
        return serve

    return decorate


def _json_body(max_body: int) -> Any:
    content = bodies.read(max_body)
    if not content:
        return {}
    if not request.is_json:
        raise UnsupportedMediaType("Send the body as application/json.")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}.") from error


def _query_values(schema: type[BaseModel]) -> dict[str, Any]:
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        raise Invalid.field(repeated[0], "Give this once.")
    return request.args.to_dict()


def _use(by: Actor, key: str, raw: Any) -> idempotency.Use:
    if not (1 <= len(key) <= 255) or not key.isascii() or not key.isprintable():
        raise Invalid.field("Idempotency-Key", "Use 1 to 255 printable ASCII characters.")
    asked = request.method.encode() + b"\n" + orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)
    assert by.id is not None  # noqa: S101  (an access token always names a person)
    return idempotency.Use(by.id, request.path, key, hashlib.sha256(asked).digest())


def _once(use: idempotency.Use, run: Callable[[], Response], *, joined: bool) -> Response:
    kept = idempotency.begin(use)
    if kept is not None:
        kind = "application/json" if kept.status < 400 else "application/problem+json"
        return Response(kept.body, kept.status, {"Idempotent-Replayed": "true"}, content_type=kind)
    try:
        with transaction() if joined else nullcontext():
            response = run()
            idempotency.keep(use, response.status_code, response.get_data())
        return response
    except TripdeskError as refusal:
        if isinstance(refusal, Unavailable) or (isinstance(refusal, Conflict) and refusal.retry_after is not None):
            idempotency.forget(use)
            raise
        response = problems.of(refusal)
        idempotency.keep(use, response.status_code, response.get_data())
        return response
    except BaseException:
        idempotency.forget(use)
        raise
