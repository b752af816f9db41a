"""API log-in: short JWTs, and refresh tokens that rotate. A refresh token used twice ends its family (RFC 9700
§4.14.2).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID, uuid4

import jwt
from sqlalchemy import ColumnElement, func, select, update

from app.accounts import two_factor
from app.accounts.models import RefreshToken, User
from app.accounts.secret_tokens import hash_token, new_token
from app.accounts.service import active_actor, actor_of
from app.audit import service as audit
from app.audit.actor import Actor
from app.config import settings
from app.db import keep_before, require_transaction, transaction, utcnow
from app.errors import NotSignedIn
from app.extensions import db

ACCESS_LIFETIME = timedelta(minutes=15)
REFRESH_LIFETIME = timedelta(days=30)
_ALGORITHM = "HS256"
_AUDIENCE = "tripdesk-api"
_LOG_IN_AGAIN = "This refresh token is not valid any more. Log in again."


@dataclass(frozen=True)
class TokenPair:
    """What a log-in gives; `expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int
    user: User


def issue(person: User, *, address: str | None = None) -> TokenPair:
    """Start a new family of tokens for a person who has just proved who they are."""
    with transaction():
        refresh_token, row = _next_link(person.id, uuid4())
        audit.record(actor_of(person, address), "token.issue", row)
    return _pair(person, refresh_token, logged_in_at=utcnow())


def rotate(refresh_token: str, *, address: str | None = None) -> TokenPair:
    """Exchange a refresh token for a new pair. Raises NotSignedIn; a token used before also ends every token of its
    family.
    """
    with transaction():
        used = db.session.scalar(
            select(RefreshToken).where(RefreshToken.token_hash == hash_token(refresh_token)).with_for_update()
        )
        person = db.session.get(User, used.user_id, populate_existing=True) if used else None
        pair = None
        if used and person and used.used_at is not None and used.revoked_at is None:
            # A copy is in other hands. The revocation has to be committed, so the refusal is raised outside.
            _end_family(used.family)
            audit.record(actor_of(person, address), "token.reuse_detected", used)
        elif used and person and _may_go_on(used, person):
            keep_before(used)
            used.used_at = utcnow()
            new_token, _ = _next_link(person.id, used.family)
            audit.record(actor_of(person, address), "token.rotate", used)
            began = select(func.min(RefreshToken.created_at)).where(RefreshToken.family == used.family)
            pair = _pair(person, new_token, logged_in_at=db.session.scalars(began).one())
    if pair is None:
        raise NotSignedIn(_LOG_IN_AGAIN)
    return pair


def revoke(refresh_token: str, *, address: str | None = None) -> None:
    """Log out: end the family of this refresh token. Nothing happens when it is unknown or ended already."""
    with transaction():
        row = db.session.scalar(
            select(RefreshToken).where(RefreshToken.token_hash == hash_token(refresh_token)).with_for_update()
        )
        if row is None or row.revoked_at is not None:
            return
        person = db.session.get_one(User, row.user_id)
        _end_family(row.family)
        audit.record(actor_of(person, address), "token.revoke", row)


def holder(person_id: int, address: str | None) -> Actor:
    """Who acts with the access token that was issued to this person. Raises NotSignedIn for an account closed since."""
    actor = active_actor(person_id, address)
    if actor is None:
        raise NotSignedIn("This account is closed.")
    return actor


@dataclass(frozen=True)
class AccessToken:
    """What a valid, unexpired access token says: whom it was issued to, and when they gave their password last. Whether
    their account is still open it does not know.
    """

    person_id: int
    logged_in_at: datetime


def read_access_token(token: str) -> AccessToken:
    """Raises NotSignedIn for one that is none of ours, or has expired."""
    try:
        secret = settings().jwt_keys.get(_key_id(token.partition(".")[0]))
        if secret is None:
            raise NotSignedIn("This access token was signed with a key we don't know.")
        claims = jwt.decode(
            token, secret, algorithms=[_ALGORITHM], audience=_AUDIENCE, options={"require": ["exp", "iat", "sub"]}
        )
        # Refreshed or not, it says when its family began (OpenID Connect Core 1.0, section 2).
        return AccessToken(int(claims["sub"]), datetime.fromtimestamp(int(claims.get("auth_time", 0)), UTC))
    except jwt.ExpiredSignatureError:
        raise NotSignedIn("This access token has expired; use the refresh token.") from None
    except (jwt.InvalidTokenError, ValueError):
        raise NotSignedIn("This is not a valid access token.") from None


@lru_cache(maxsize=64)  # all tokens of one key begin alike
def _key_id(header: str) -> str:
    kid = jwt.get_unverified_header(f"{header}.e30.").get("kid")  # the rest is checked with the key
    return kid if isinstance(kid, str) else ""


def _next_link(user_id: int, family: UUID) -> tuple[str, RefreshToken]:
    token = new_token()
    row = RefreshToken(
        token_hash=hash_token(token), family=family, user_id=user_id, expires_at=utcnow() + REFRESH_LIFETIME
    )
    db.session.add(row)
    return token, row


def live_families(person_id: int) -> int:
    """How many log-ins of the API a person has that can still be refreshed."""
    live = select(func.count(RefreshToken.family.distinct())).where(*_live(person_id), RefreshToken.used_at.is_(None))
    return db.session.scalar(live) or 0


def end_all(person_id: int) -> None:
    """End every log-in of a person; access tokens run out by themselves, or are refused when the account is closed."""
    require_transaction()
    db.session.execute(update(RefreshToken).where(*_live(person_id)).values(revoked_at=func.now()))


def _live(person_id: int) -> tuple[ColumnElement[bool], ...]:
    return (
        RefreshToken.user_id == person_id,
        RefreshToken.revoked_at.is_(None),
        RefreshToken.expires_at > func.now(),
    )


def _may_go_on(used: RefreshToken, person: User) -> bool:
    is_live = used.revoked_at is None and used.expires_at > utcnow()
    return is_live and person.is_active and not two_factor.is_missing(person)


def _end_family(family: UUID) -> None:
    db.session.execute(
        update(RefreshToken)
        .where(RefreshToken.family == family, RefreshToken.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )


def _pair(person: User, refresh_token: str, *, logged_in_at: datetime) -> TokenPair:
    kid, secret = next(iter(settings().jwt_keys.items()))
    now = utcnow()
    claims = {
        "sub": str(person.id),
        "aud": _AUDIENCE,
        "iat": now,
        "auth_time": int(logged_in_at.timestamp()),
        "exp": now + ACCESS_LIFETIME,
        "jti": secrets.token_hex(8),
    }
    access_token = jwt.encode(claims, secret, algorithm=_ALGORITHM, headers={"kid": kid})
    return TokenPair(access_token, refresh_token, int(ACCESS_LIFETIME.total_seconds()), person)
