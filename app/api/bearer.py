"""Whose access token a request carries; it is read once, however many ask."""

from __future__ import annotations

from flask import request

from app.accounts import tokens
from app.audit.actor import Actor
from app.errors import NotSignedIn

# Kept with the request itself: `g` may outlive it where a context is shared.
_KEPT = "tripdesk.bearer"


def person_id() -> int:
    """The id of the person this request's access token was issued to. Raises NotSignedIn."""
    if _KEPT not in request.environ:
        try:
            request.environ[_KEPT] = tokens.person_of_access_token(_token())
        except NotSignedIn as refusal:
            request.environ[_KEPT] = refusal
    found: int | NotSignedIn = request.environ[_KEPT]
    if isinstance(found, NotSignedIn):
        raise found
    return found


def signed_in() -> Actor:
    """Who sends this request. Raises NotSignedIn; an account closed since the token was issued is refused too."""
    return tokens.holder(person_id(), request.remote_addr)


def _token() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise NotSignedIn("Send an access token: Authorization: Bearer …")
    return token.strip()
