"""Whose access token a request carries; it is read once, however many ask."""

from __future__ import annotations

from flask import request

from app.accounts import tokens
from app.accounts.sessions import PROOF_LASTS
from app.accounts.tokens import AccessToken
from app.audit.actor import Actor
from app.db import utcnow
from app.errors import NotSignedIn

# Kept with the request itself: `g` may outlive it where a context is shared.
_KEPT = "tripdesk.bearer"


def person_id() -> int:
    """The id of the person this request's access token was issued to. Raises NotSignedIn."""
    return _access_token().person_id


def require_recent_login() -> None:
    """Raises NotSignedIn where this request's token goes back to a log-in of before: nobody gave a password since."""
    if utcnow() - _access_token().logged_in_at > PROOF_LASTS:
        minutes = int(PROOF_LASTS.total_seconds() // 60)
        raise NotSignedIn(f"Log in again: for this, the last log-in must not be more than {minutes} minutes ago.")


def _access_token() -> AccessToken:
    if _KEPT not in request.environ:
        try:
            request.environ[_KEPT] = tokens.read_access_token(_token())
        except NotSignedIn as refusal:
            request.environ[_KEPT] = refusal
    found: AccessToken | NotSignedIn = request.environ[_KEPT]
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
