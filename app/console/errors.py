"""Errors as the console says them: a page that says what happened and what to do next."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Response, g, make_response, redirect, render_template, request, url_for
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, NotFound

from app.console.session import inside
from app.errors import Conflict, NotSignedIn, TooMany, TripdeskError, Unavailable
from app.logs import request_id

# What people write at length; anything else that a form carries is chosen again quickly, or is nobody's to show.
_WRITTEN = {"note": "Note", "reason": "Reason", "description": "Description", "address": "Address"}
# The token of a form goes with the cookie of the sign-in that it was drawn for.
_OUT_OF_DATE = (
    "It was drawn for another sign-in of this browser, or the browser keeps no cookies. Nothing was done. "
    "Go back, load the page again and send it once more."
)


def of(error: TripdeskError) -> Response:
    """One of our refusals; somebody who isn't signed in is sent to do so, and brought back."""
    if isinstance(error, NotSignedIn):
        back = request.full_path.rstrip("?") if request.method == "GET" else _form_page()
        return make_response(redirect(url_for("sessions.login", next=back)))
    response = _page(error.status, error.title, error.detail)
    if isinstance(error, Unavailable | Conflict | TooMany) and error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def of_http(error: HTTPException) -> Response:
    """What the framework refuses by itself: unknown address, wrong method, missing form token, or a redirect."""
    if error.response is not None:
        return make_response(error.get_response())
    if isinstance(error, CSRFError):
        return _page(error.code or 400, "This form is out of date", _OUT_OF_DATE)
    if isinstance(error, NotFound):
        return _page(HTTPStatus.NOT_FOUND, "Not found", "There is no page at this address.")
    return _page(error.code or 500, error.name, error.description or "")


def unexpected() -> Response:
    """A bug of ours; what it was is in the log under the request id."""
    return _page(500, "Something went wrong on our side", "It was noted.")


def _page(status: int, title: str, detail: str) -> Response:
    # With the database gone, asking it who is signed in would only fail again.
    g.without_person = status >= 500
    page = render_template(
        "console/error.html",
        status=status,
        title=title,
        detail=detail,
        written=_written(status),
        request_id=request_id.get(),
    )
    return make_response(page, status)


def _written(status: int) -> list[tuple[str, str]]:
    """What somebody wrote into a form that was refused: shown, so that it isn't lost with the form."""
    if request.method != "POST" or status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return []
    return [(label, text) for name, label in _WRITTEN.items() if (text := request.form.get(name, "").strip())]


def _form_page() -> str | None:
    """The page that a form was sent from, where its draft waits."""
    sent_from = urlsplit(request.referrer or "")
    return inside(sent_from._replace(scheme="", netloc="", fragment="").geturl())
