"""Random tokens that open something: the caller gets the token, the database only its hash."""

from __future__ import annotations

import hashlib
import secrets


def new_token() -> str:
    """256 random bits, fit for a cookie or an address."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> bytes:
    """What is stored of a random token; without salt, as its bits can't be guessed."""
    return hashlib.sha256(token.encode()).digest()
