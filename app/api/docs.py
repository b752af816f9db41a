"""GET /v1/openapi.json for machines and /v1/docs for people: the same document."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import orjson
from flask import Response, render_template

from app.api import openapi
from app.api.blueprint import api
from app.api.headers import revalidated
from app.api.limits import READ, SIGN_IN, WRITE
from app.config import DEMO_STRIPE_KEY, settings

_EXAMPLES_BY_TYPE = {"integer": 1, "number": 1.5, "boolean": True, "string": "text", "array": [], "object": {}}
_EXAMPLES_BY_FORMAT = {"date": "2027-03-12", "date-time": "2027-03-12T09:30:00Z"}
_COUNTED = {READ.name: "reads", WRITE.name: "writes", SIGN_IN.name: "requests by address"}
_ON_EVERY_ANSWER = {"X-Request-ID", "RateLimit-Policy", "RateLimit"}
_CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; font-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; frame-ancestors 'none'"
)


@api.get("/openapi.json")
def openapi_json() -> Response:
    """The OpenAPI 3.1 document."""
    return revalidated(_openapi_json(settings().public_url), "application/json")


@lru_cache(maxsize=4)  # it changes with the code only
def _openapi_json(server: str) -> bytes:
    return orjson.dumps(openapi.document(server))


@api.get("/docs")
def docs() -> Response:
    """The same, to read."""
    spec = openapi.document(settings().public_url)
    page = render_template(
        "api/docs.html",
        spec=spec,
        groups=_groups(spec),
        about=openapi.ABOUT + _local_stripe(),
        errors_note=openapi.ERRORS,
        limits_note=openapi.LIMITS,
        caching_note=openapi.CACHING,
        base_url=settings().public_url,
    )
    response = revalidated(page.encode(), "text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _CSP
    return response


def _local_stripe() -> str:
    """How to pay where there is no Stripe.js; nothing where Stripe is the real one."""
    if settings().stripe_secret_key.get_secret_value() != DEMO_STRIPE_KEY:
        return ""
    return (
        f"\n\nThis server's Stripe is a local one. Pay an intent as Stripe.js would:"
        f" `curl {settings().stripe_api_base}/v1/payment_intents/$paymentIntentId/confirm"
        f" -u {DEMO_STRIPE_KEY}: -d payment_method=pm_card_visa`;"
        " `pm_card_chargeDeclined` is declined. No money moves."
    )


def _groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in spec["tags"]}
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            groups[operation["tags"][0]].append(_operation(spec, path, method.upper(), operation))
    return [{"name": name, "operations": operations} for name, operations in groups.items()]


def _operation(spec: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    body = _resolve(spec, body) if body else None
    request_example = json.dumps(_example(spec, body), indent=2) if body and body.get("properties") else None
    signed_in = bool(operation["security"])
    return {
        "method": method,
        "path": path,
        "id": operation["operationId"],
        "summary": operation["summary"],
        "description": operation.get("description", ""),
        "who": "signed in" if signed_in else "anyone",
        "limits": _limits(operation),
        "parameters": [
            {**parameter, "schema_text": _type(spec, parameter["schema"])}
            for parameter in operation.get("parameters", ())
        ],
        "request_example": request_example,
        "request_schema": _fields(spec, body) if body else [],
        "answers": [_answer(spec, status, answer) for status, answer in operation["responses"].items()],
        "curl": _curl(spec["servers"][0]["url"], path, method, request_example, signed_in),
    }


def _answer(spec: dict[str, Any], status: str, answer: dict[str, Any]) -> dict[str, Any]:
    example = None
    schema = answer.get("content", {}).get("application/json", {}).get("schema")
    if schema and (value := _example(spec, schema)):
        example = json.dumps(value, indent=2)
    return {
        "status": status,
        "description": answer["description"],
        "headers": [name for name in answer.get("headers", ()) if name not in _ON_EVERY_ANSWER],
        "example": example,
    }


def _limits(operation: dict[str, Any]) -> list[str]:
    """How often it may be asked and how much may be sent, in words."""
    words = []
    if limit := operation.get("x-rate-limit"):
        words.append(f"{limit['quota']} {_COUNTED[limit['policy']]} in {limit['seconds']} seconds")
    if largest := operation.get("x-max-body-bytes"):
        words.append(f"body up to {largest // 1024} KB")
    return words


def _curl(server: str, path: str, method: str, body: str | None, signed_in: bool) -> str:
    lines = [f"curl {server}{path.replace('{', '$').replace('}', '')}"]
    if method != "GET":
        lines[0] = lines[0].replace("curl ", f"curl -X {method} ", 1)
    if signed_in:
        lines.append('-H "Authorization: Bearer $accessToken"')
    if body:
        lines += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(json.loads(body))}'"]
    return " \\\n  ".join(lines)


def _fields(spec: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "type": _type(spec, field),
            "required": name in required,
            "description": field.get("description", ""),
        }
        for name, field in schema.get("properties", {}).items()
    ]


def _type(spec: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return (
            _type(spec, _resolve(spec, schema))
            if "enum" in _resolve(spec, schema)
            else str(schema["$ref"].rsplit("/", 1)[1])
        )
    if "anyOf" in schema:
        return " or ".join(_type(spec, option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(spec, schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type", "any"))


def _example(spec: dict[str, Any], schema: dict[str, Any]) -> Any:
    schema = _resolve(spec, schema)
    if "examples" in schema:
        return schema["examples"][0]
    if "anyOf" in schema:
        return _example(spec, schema["anyOf"][0])
    if "enum" in schema:
        return schema["enum"][0]
    if "properties" in schema:
        return {
            name: _example(spec, field)
            for name, field in schema["properties"].items()
            if "default" not in field or "examples" in field
        }
    if schema.get("type") == "array":
        return [_example(spec, schema["items"])]
    return schema.get(
        "default", _EXAMPLES_BY_FORMAT.get(schema.get("format", ""), _EXAMPLES_BY_TYPE.get(schema.get("type", "")))
    )


def _resolve(spec: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        found: dict[str, Any] = spec["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        schema = {**found, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema
