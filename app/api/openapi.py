"""The OpenAPI 3.1 document, made of the operations that `endpoint` was told of and their schemas."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.api.endpoint import OPERATIONS, Operation
from app.errors import Conflict, Invalid, NotAllowed, NotFound, NotSignedIn, TooMany, Unavailable

_PROBLEM = "application/problem+json"
_REFUSALS = (NotSignedIn, NotAllowed, NotFound, Conflict, Invalid, TooMany, Unavailable)
_TITLES = {error.status: error.title for error in _REFUSALS}
_TITLES |= {400: "The body is not valid JSON", 413: "The body is too large", 415: "The body is not application/json"}

ABOUT = """
JSON in and out, names in camelCase. Amounts are integers in minor units with their currency, days are ISO dates, times
are
RFC 3339 in UTC. Lists take `limit` and `cursor` and answer `items` and `nextCursor`, which is null on the last page.
""".strip()

ERRORS = """
Errors are `application/problem+json` (RFC 9457) with a `requestId` to quote; invalid input is 422 with one entry in
`errors` per
field. Every answer carries `X-Request-ID`: yours, when you sent a sane one.

Where an operation takes an `Idempotency-Key`, a repeat with the same key and body gets the first answer again, with
`Idempotent-Replayed: true`; another body is 422; while the first is still running it is 409 with `Retry-After`.
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
        "info": {"title": "Tripdesk API", "version": "1", "description": f"{ABOUT}\n\n{ERRORS}"},
        "servers": [{"url": server}],
        "tags": [
            {"name": name}
            for name in dict.fromkeys([*(operation.group for operation in OPERATIONS), "Stripe", "Health"])
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {"accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": {**definitions, "Problem": _PROBLEM_SCHEMA},
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
    described: dict[str, Any] = {
        "operationId": _camel(operation.name),
        "tags": [operation.group],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": parameters,
        "responses": _answers(operation),
        "security": [{"accessToken": []}] if operation.who == "signed in" else [],
    }
    if operation.body:
        required = any(field.is_required() for field in operation.body.model_fields.values())
        described["requestBody"] = {
            "required": required,
            "content": {"application/json": {"schema": _ref(operation.body)}},
        }
    return described


def _answers(operation: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done."}
    if operation.answer:
        good["content"] = {"application/json": {"schema": _ref(operation.answer)}}
    refusals = set(operation.refuses) | {503}
    if operation.who == "signed in":
        refusals.add(401)
    if operation.body:
        refusals |= {400, 413, 415}
    if operation.idempotent:
        refusals |= {409, 422}
    return {
        str(operation.status): good,
        **{
            str(status): {
                "description": _TITLES[status],
                "content": {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
            for status in sorted(refusals)
        },
    }


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
        "400": {
            "description": "The signature is wrong, or its stamp is more than five minutes off.",
            "content": {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
        "413": {
            "description": _TITLES[413],
            "content": {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
        "503": {
            "description": _TITLES[503],
            "content": {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
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
