"""The OpenAPI 3.1 document, made of the operations that `endpoint` was told of and their schemas."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.api.endpoint import MAX_BODY_BYTES, OPERATIONS, Operation
from app.api.limits import READ, SIGN_IN, WRITE
from app.errors import Conflict, Invalid, NotAllowed, NotFound, NotSignedIn, TooMany, Unavailable

_PROBLEM = "application/problem+json"
_REFUSALS = (NotSignedIn, NotAllowed, NotFound, Conflict, Invalid, TooMany, Unavailable)
_TITLES = {error.status: error.title for error in _REFUSALS}
_TITLES |= {400: "The body is not valid JSON", 413: "The body is too large", 415: "The body is not application/json"}

ABOUT = """
JSON in and out, names in camelCase. Amounts are integers in minor units with their currency, days are ISO dates, times
are RFC 3339 in UTC. Lists take `limit` and `cursor` and answer `items` and `nextCursor`, which is null on the last
page; searching takes `page` and `perPage`, and answers a total.
""".strip()

ERRORS = """
Errors are `application/problem+json` (RFC 9457) with a `requestId` to quote; invalid input is 422 with one entry in
`errors` per field, and so is a field or parameter that is not documented. Every answer carries `X-Request-ID`: yours,
when you sent a sane one.

Where an operation takes an `Idempotency-Key`, a repeat with the same key and body gets the first answer again, with
`Idempotent-Replayed: true`; another body is 422; while the first is still running it is 409 with `Retry-After`.
""".strip()

LIMITS = f"""
A caller may ask for {READ.quota} reads and {WRITE.quota} writes in {READ.seconds} seconds, and register, log in and the
like {SIGN_IN.quota} times; what was used comes back evenly. A caller is a person, by a valid access token, or else an
address (of IPv6, a /64); registering and logging in are always counted by address. `RateLimit-Policy` names the limit,
its quota `q` and its window `w` in seconds; `RateLimit` says how many requests remain (`r`) and in how many seconds
the whole quota is back (`t`). One request too many is 429 with `Retry-After`.

A body may have {MAX_BODY_BYTES // 1024} KB, unless an operation says otherwise; a larger one is 413.
""".strip()

CACHING = """
What anyone may read comes with an `ETag`. Send it back as `If-None-Match`, and while nothing has changed the answer is
304 without a body. Caches may keep such answers, but have to ask each time; `Cache-Control` says where they need not
for some seconds. Everything else is `no-store`, and so is what is found by searching: prices and stock hold for now.

Pages of origins that this server was told of may call the API from the browser (CORS), with an access token; cookies
are neither sent nor read.
""".strip()


def document(server: str) -> dict[str, Any]:
    """The document, for an API reached at `server`."""
    definitions = _definitions()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: "{" + _camel(match[1]) + "}", operation.path)
        paths.setdefault("/v1" + path, {})[operation.method.lower()] = _operation(operation)
    paths["/v1/webhooks/stripe"] = {"post": _WEBHOOK}
    paths["/health"] = {"get": _probe("health", "The process answers", {200: "It does."})}
    paths["/health/ready"] = {
        "get": _probe(
            "healthReady",
            "Requests can be served",
            {
                200: "They can; `degraded` says what is missing.",
                503: "The database is down or its schema is another one.",
            },
        )
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tripdesk API", "version": "1", "description": "\n\n".join((ABOUT, ERRORS, LIMITS, CACHING))},
        "servers": [{"url": server}],
        "tags": [
            {"name": name}
            for name in dict.fromkeys([*(operation.group for operation in OPERATIONS), "Stripe", "Health"])
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {"accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": {**definitions, "Problem": _PROBLEM_SCHEMA},
            "headers": _HEADERS,
        },
    }


def _definitions() -> dict[str, Any]:
    used: list[tuple[type[BaseModel], Any]] = []
    for operation in OPERATIONS:
        used += [(model, "validation") for model in (operation.body, operation.query) if model]
        used += [(operation.answer, "serialization")] if operation.answer else []
    _, schema = models_json_schema(used, ref_template="#/components/schemas/{model}")
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


def _operation(operation: Operation) -> dict[str, Any]:
    parameters = [
        {"name": _camel(name), "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}
        for name in re.findall(r"<(?:\w+:)?(\w+)>", operation.path)
    ]
    if operation.query:
        parameters += _query_parameters(operation.query)
    if operation.idempotent:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Makes a repeat of this request harmless.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        )
    if operation.for_everybody:
        parameters.append(
            {
                "name": "If-None-Match",
                "in": "header",
                "required": False,
                "description": "The `ETag` of the answer one has: 304 when it still holds.",
                "schema": {"type": "string"},
            }
        )
    described: dict[str, Any] = {
        "operationId": _camel(operation.name),
        "tags": [operation.group],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": parameters,
        "responses": _answers(operation),
        "security": [{"accessToken": []}] if operation.who == "signed in" else [],
        "x-rate-limit": {
            "policy": operation.limit.name,
            "quota": operation.limit.quota,
            "seconds": operation.limit.seconds,
        },
    }
    if operation.body:
        required = any(field.is_required() for field in operation.body.model_fields.values())
        described["x-max-body-bytes"] = operation.max_body
        described["requestBody"] = {
            "required": required,
            "content": {"application/json": {"schema": _ref(operation.body)}},
        }
    return described


def _answers(operation: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done.", "headers": _headers("X-Request-ID", *_LIMIT_HEADERS)}
    if operation.answer:
        good["content"] = {"application/json": {"schema": _ref(operation.answer)}}
    if operation.for_everybody:
        good["headers"] |= _headers("ETag", "Cache-Control")
    if operation.idempotent:
        good["headers"] |= _headers("Idempotent-Replayed")
    refusals = set(operation.refuses) | {429, 503}
    if operation.who == "signed in":
        refusals.add(401)
    if operation.body:
        refusals |= {400, 413, 415}
    if operation.idempotent:
        refusals |= {409, 422}
    unchanged = {
        "description": "Nothing has changed since the answer with this `ETag`.",
        "headers": _headers("X-Request-ID", *_LIMIT_HEADERS, "ETag", "Cache-Control"),
    }
    return {
        str(operation.status): good,
        **({"304": unchanged} if operation.for_everybody else {}),
        **{str(status): _refusal(status, *_LIMIT_HEADERS) for status in sorted(refusals)},
    }


def _refusal(status: int, *more_headers: str, description: str | None = None) -> dict[str, Any]:
    return {
        "description": description or _TITLES[status],
        "headers": _headers("X-Request-ID", *more_headers, *_OWN_HEADERS.get(status, ())),
        "content": {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": details.get("description", ""),
            "schema": {key: value for key, value in details.items() if key not in ("description", "title")},
        }
        for name, details in schema["properties"].items()
    ]


def _probe(name: str, summary: str, answers: dict[int, str]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object", "properties": {"status": {"type": "string"}}}}}
    return {
        "operationId": name,
        "tags": ["Health"],
        "summary": summary,
        "security": [],
        "responses": {str(status): {"description": words, "content": content} for status, words in answers.items()},
    }


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


_LIMIT_HEADERS = ("RateLimit-Policy", "RateLimit")
# What some refusals say beside the problem itself.
_OWN_HEADERS = {
    401: ("WWW-Authenticate",),
    409: ("Retry-After", "Idempotent-Replayed"),
    422: ("Idempotent-Replayed",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
_HEADERS = {
    "X-Request-ID": {
        "description": "Yours, when you sent a sane one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
    },
    "RateLimit-Policy": {
        "description": "The limit, its quota `q` and its window `w` in seconds; absent where limits are off.",
        "schema": {"type": "string", "examples": [f'"{READ.name}";q={READ.quota};w={READ.seconds}']},
    },
    "RateLimit": {
        "description": "How many requests remain, and in how many seconds the whole quota is back.",
        "schema": {"type": "string", "examples": [f'"{READ.name}";r={READ.quota - 1};t=1']},
    },
    "Retry-After": {
        "description": "Seconds to wait before the next try.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "ETag": {
        "description": "Stands for this very answer; send it back as `If-None-Match`.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9a-f]+"$'},
    },
    "Cache-Control": {
        "description": "Caches may keep the answer, and have to ask if it still holds: each time, or after `max-age`.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Idempotent-Replayed": {
        "description": "The answer is the first one to this `Idempotency-Key`, again.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "WWW-Authenticate": {"description": "How to sign in.", "required": True, "schema": {"type": "string"}},
}

_WEBHOOK = {
    "operationId": "receiveStripeEvent",
    "tags": ["Stripe"],
    "summary": "Where Stripe sends its events",
    "description": "Signed by Stripe. Stored and answered at once; a worker gives each event its effect exactly once.",
    "security": [],
    "parameters": [{"name": "Stripe-Signature", "in": "header", "required": True, "schema": {"type": "string"}}],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
    "responses": {
        "200": {
            "description": "Stored, now or before.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        "400": _refusal(400, description="The signature is wrong, or its stamp is more than five minutes off."),
        "413": _refusal(413),
        "503": _refusal(503),
    },
}

_PROBLEM_SCHEMA = {
    "title": "Problem",
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance", "requestId"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence a person can read."},
        "instance": {"type": "string"},
        "requestId": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "With status 422: what is wrong with which field.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
