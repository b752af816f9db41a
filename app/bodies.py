"""Reading a request's body, and no more of it than a route takes."""

from __future__ import annotations

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge


def read(most: int) -> bytes:
    """The body of the current request. Raises RequestEntityTooLarge beyond `most` bytes, whether it says its size or
    comes in chunks; nothing further is read then.
    """
    # Of a chunked body Werkzeug gives what fits and says nothing, so it is asked for one byte more than that.
    request.max_content_length = most + 1
    try:
        body = request.get_data()
    except RequestEntityTooLarge:
        body = None
    if body is None or len(body) > most:
        raise RequestEntityTooLarge(f"Send at most {most // 1024} KB here.")
    return body
