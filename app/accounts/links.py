"""Links that are mailed to a person: signed, for one purpose, good once and for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import func, select, update

from app.accounts.models import AccountLink, User
from app.accounts.secret_tokens import hash_token, new_token
from app.config import settings
from app.db import lock, require_transaction, utcnow
from app.errors import Invalid
from app.extensions import db
from app.notifications import service as notifications

LIFETIMES = {
    "password_reset": timedelta(hours=1),
    "staff_invitation": timedelta(days=7),
    "verify_email": timedelta(days=7),
}
_DEAD = "This link does not work any more: it was used, replaced, or is too old."
# Where the console takes them; the API takes the token alone.
_PATHS = {
    "password_reset": "/console/password/reset",
    "staff_invitation": "/console/invitation",
    "verify_email": "/console/email/verify",
}


def mail(person: User, purpose: str, **values: Any) -> None:
    """Mail a person a new link; the mail is of the kind that the purpose names, and is told `values` besides."""
    link, url = _make(person, purpose)
    notifications.notify(
        purpose,
        to=person.email,
        name=person.name,
        key=f"{purpose}:{link.id}",
        values={"good_for": _in_words(LIFETIMES[purpose]), **values},
        secrets={"link": url},
        about=person,
    )


def make(person: User, purpose: str) -> str:
    """A new link for a person, to be handed over otherwise than by mail."""
    return _make(person, purpose)[1]


def _make(person: User, purpose: str) -> tuple[AccountLink, str]:
    """Earlier links for the purpose stop working."""
    require_transaction()
    void(person.id, purpose)
    token = new_token()
    link = AccountLink(
        purpose=purpose, user_id=person.id, token_hash=hash_token(token), expires_at=utcnow() + LIFETIMES[purpose]
    )
    db.session.add(link)
    db.session.flush()
    return link, f"{settings().public_url.rstrip('/')}{_PATHS[purpose]}/{_signature(purpose).dumps(token)}"


def _in_words(lifetime: timedelta) -> str:
    return f"{lifetime.days} days" if lifetime.days > 1 else "an hour"


def void(person_id: int, *purposes: str) -> None:
    """Links of these purposes, mailed to the person so far, stop working."""
    require_transaction()
    db.session.execute(
        update(AccountLink)
        .where(
            AccountLink.user_id == person_id,
            AccountLink.purpose.in_(purposes),
            AccountLink.used_at.is_(None),
            AccountLink.expires_at > func.now(),
        )
        .values(expires_at=func.now())
    )


def whose(token: str, purpose: str) -> User | None:
    """Whose link this is, while it works; looking uses nothing up."""
    try:
        secret = str(_signature(purpose).loads(token))
    except BadSignature:
        return None
    return db.session.scalar(
        select(User)
        .join(AccountLink, AccountLink.user_id == User.id)
        .where(
            AccountLink.token_hash == hash_token(secret),
            AccountLink.purpose == purpose,
            AccountLink.used_at.is_(None),
            AccountLink.expires_at > func.now(),
            User.is_active,
        )
    )


def holder(token: str, purpose: str) -> User:
    """The same, for who needs somebody. Raises Invalid."""
    person = whose(token, purpose)
    if person is None:
        raise Invalid.field("token", _DEAD)
    return person


def redeem(token: str, purpose: str) -> User:
    """Use a link up, and lock the person it was mailed to. Raises Invalid for a link that doesn't work, or no more."""
    require_transaction()
    person = lock(User, holder(token, purpose).id)
    # Of several who hold the link, the first has the person's row; the others find it used, or replaced meanwhile: by
    # the clock, as the row may have been waited for since this transaction's now().
    used = db.session.execute(
        update(AccountLink)
        .where(
            AccountLink.token_hash == hash_token(str(_signature(purpose).loads(token))),
            AccountLink.used_at.is_(None),
            AccountLink.expires_at > func.clock_timestamp(),
        )
        .values(used_at=func.now())
        .returning(AccountLink.id)
    ).first()
    if used is None or not person.is_active:
        raise Invalid.field("token", _DEAD)
    return person


def count_since(person_id: int, purpose: str, since: timedelta) -> int:
    """How many links of a purpose the person got lately."""
    wanted = select(func.count()).where(
        AccountLink.user_id == person_id, AccountLink.purpose == purpose, AccountLink.created_at > utcnow() - since
    )
    return db.session.scalar(wanted) or 0


def _signature(purpose: str) -> URLSafeSerializer:
    # The last key signs, all verify.
    keys = [*reversed(settings().secret_key_fallbacks), settings().secret_key.get_secret_value()]
    return URLSafeSerializer(keys, salt=f"tripdesk.link.{purpose}")
