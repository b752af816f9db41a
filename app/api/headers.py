"""What every answer under /v1 carries beside its body: caching, limits, and which other sites' pages may read it."""

from __future__ import annotations

import hashlib

from flask import Response, request

from app.api import limits
from app.config import settings

REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-None-Match, X-Request-ID"
EXPOSED_HEADERS = "ETag, Idempotent-Replayed, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
PREFLIGHT_SECONDS = 7200  # the longest that Chromium keeps one


def revalidated(content: bytes, content_type: str, *, max_age: int = 0) -> Response:
    """An answer that is the same for everybody: caches may keep it and have to ask whether it still holds, each time or
    after `max_age` seconds.

    The tag is strong, as it is made of the very bytes.
    """
    tag = hashlib.blake2b(content, digest_size=12).hexdigest()
    use = f"max-age={max_age}" if max_age else "no-cache"
    headers = {"ETag": f'"{tag}"', "Cache-Control": f"public, {use}"}
    if "If-None-Match" in request.headers and request.if_none_match.contains_weak(tag):
        return Response(None, 304, headers)
    return Response(content, 200, headers, content_type=content_type)


def finish(response: Response) -> None:
    """Have them set on every answer, also on refusals and on paths that aren't there."""
    # Whatever isn't said to be for everybody is for this caller only.
    if "Cache-Control" not in response.headers:
        response.headers.add("Cache-Control", "no-store")
    limits.tell(response)
    if settings().cors_origins:
        _share(response)


def _share(response: Response) -> None:
    """Let pages of the origins in CORS_ORIGINS read the answer (https://fetch.spec.whatwg.org/#http-cors-protocol).

    Never with credentials: a caller is known by the token it sends, not by a cookie.
    """
    response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin not in settings().cors_origins:
        return
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
    # Flask itself answers OPTIONS with what a path allows; a path that isn't there allows nothing.
    preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    if preflight and "Allow" in response.headers:
        response.headers["Access-Control-Allow-Methods"] = response.headers["Allow"]
        response.headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS
        response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
