"""Errors as every machine-readable answer says them: application/problem+json (RFC 9457)."""

from __future__ import annotations

import orjson
from flask import Response, request
from werkzeug.exceptions import HTTPException

from app.errors import Conflict, FieldError, Invalid, NotSignedIn, TooMany, TripdeskError, Unavailable
from app.logs import request_id


def of(error: TripdeskError) -> Response:
    """One of our refusals."""
    response = problem(error.status, error.title, error.detail, error.fields if isinstance(error, Invalid) else None)
    if isinstance(error, Unavailable | Conflict | TooMany) and error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, NotSignedIn):
        response.headers["WWW-Authenticate"] = 'Bearer realm="tripdesk"'
    return response


def of_http(error: HTTPException) -> Response:
    """What the framework refuses by itself: unknown path, wrong method, body too large or not JSON."""
    response = problem(error.code or 500, error.name, error.description or error.name)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def unexpected() -> Response:
    """A bug of ours; what it was is in the log under the request id."""
    return problem(500, "Something went wrong on our side", "It was noted. Quote the request id if you ask about it.")


def problem(status: int, title: str, detail: str, fields: list[FieldError] | None = None) -> Response:
    """The document itself."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.path,
        "requestId": request_id.get(),
    }
    if status == 422:
        body["errors"] = [{"field": wrong.field, "message": wrong.message} for wrong in fields or []]
    return Response(orjson.dumps(body), status, content_type="application/problem+json")
