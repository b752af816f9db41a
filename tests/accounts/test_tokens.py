"""API tokens: short access tokens under rotating keys, refresh tokens that work once."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from flask import Flask
from sqlalchemy import func, select, text

from app.accounts import tokens
from app.accounts.models import RefreshToken, User
from app.audit.models import AuditEntry
from app.db import transaction, utcnow
from app.errors import NotSignedIn
from app.extensions import db
from tests import factories
from tests.concurrency import at_once, held_up

OLD, NEW = "o" * 40, "n" * 40


def with_keys(app: Flask, monkeypatch: pytest.MonkeyPatch, *entries: str) -> None:
    monkeypatch.setitem(
        app.extensions, "settings", app.extensions["settings"].model_copy(update={"jwt_secret": entries})
    )


def first_key(app: Flask) -> tuple[str, str]:
    kid, secret = next(iter(app.extensions["settings"].jwt_keys.items()))
    return str(kid), str(secret)


def forged(
    app: Flask, person: User, *, kid: Any = None, secret: str | None = None, algorithm: str = "HS256", **claims: Any
) -> str:
    """A token as ours, but for what is said otherwise; a claim None is left out."""
    own_kid, own_secret = first_key(app)
    now = utcnow()
    all_claims = {"sub": str(person.id), "aud": "tripdesk-api", "iat": now, "exp": now + timedelta(minutes=5), **claims}
    return jwt.encode(
        {name: value for name, value in all_claims.items() if value is not None},
        own_secret if secret is None else secret,
        algorithm=algorithm,
        headers={"kid": own_kid if kid is None else kid},
    )


def test_an_access_token_names_its_person_and_lasts_a_quarter_of_an_hour(app: Flask) -> None:
    person = factories.traveller()
    pair = tokens.issue(person)
    assert factories.acting_with(pair.access_token).id == person.id
    assert pair.expires_in == 900
    claims = jwt.decode(pair.access_token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 900


def test_a_forgery_like_our_own_in_everything_is_taken(app: Flask) -> None:
    person = factories.traveller()
    assert factories.acting_with(forged(app, person)).id == person.id


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": "x" * 40},
        {"kid": "unknown"},
        {"aud": "another-api"},
        {"aud": None},
        {"exp": None},
        {"iat": None},
        {"sub": None},
        {"sub": "admin"},
        {"algorithm": "HS384"},
        {"exp": 1_700_000_000},
        {"iat": 4_000_000_000},
        {"sub": "0"},
    ],
    ids=str,
)
def test_a_forged_or_expired_token_is_refused(app: Flask, wrong: dict[str, Any]) -> None:
    token = forged(app, factories.traveller(), **wrong)
    with pytest.raises(NotSignedIn):
        factories.acting_with(token)


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims))
    return ".".join([*parts, ""])


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_a_token_signed_with_nothing_is_refused(app: Flask, algorithm: str) -> None:
    person = factories.traveller()
    claims = {"sub": str(person.id), "aud": "tripdesk-api", "iat": 0, "exp": 4_000_000_000}
    with pytest.raises(NotSignedIn):
        factories.acting_with(unsigned({"alg": algorithm, "kid": first_key(app)[0]}, claims))


@pytest.mark.parametrize("kid", [7, ["development"], None, {}])
def test_a_token_with_an_odd_key_id_is_refused(app: Flask, kid: Any) -> None:
    with pytest.raises(NotSignedIn):
        factories.acting_with(unsigned({"alg": "HS256", "kid": kid}, {"sub": "1"}))


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é", "\x00", "x" * 100_000])
def test_what_is_no_token_at_all_is_refused(app: Flask, token: str) -> None:
    with pytest.raises(NotSignedIn):
        factories.acting_with(token)


def test_the_first_key_signs_and_all_verify(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    person = factories.traveller()
    with_keys(app, monkeypatch, f"old:{OLD}")
    before = tokens.issue(person).access_token
    with_keys(app, monkeypatch, f"new:{NEW}", f"old:{OLD}")
    after = tokens.issue(person).access_token
    assert jwt.get_unverified_header(after)["kid"] == "new"
    assert factories.acting_with(before).id == factories.acting_with(after).id == person.id
    with_keys(app, monkeypatch, f"new:{NEW}")
    with pytest.raises(NotSignedIn, match="key we don't know"):
        factories.acting_with(before)
    assert factories.acting_with(after).id == person.id


def test_a_closed_account_is_refused_at_once(app: Flask) -> None:
    person = factories.traveller()
    pair = tokens.issue(person)
    with transaction():
        db.session.get_one(User, person.id).is_active = False
    with pytest.raises(NotSignedIn, match="closed"):
        factories.acting_with(pair.access_token)
    with pytest.raises(NotSignedIn):
        tokens.rotate(pair.refresh_token)


def test_a_refresh_token_gives_the_next_pair(app: Flask) -> None:
    person = factories.traveller()
    first = tokens.issue(person)
    second = tokens.rotate(first.refresh_token)
    third = tokens.rotate(second.refresh_token)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert factories.acting_with(third.access_token).id == person.id
    actions = select(AuditEntry.action).where(AuditEntry.actor_id == person.id).order_by(AuditEntry.id)
    assert list(db.session.scalars(actions)) == ["user.register", "token.issue", "token.rotate", "token.rotate"]


def test_using_a_refresh_token_twice_ends_its_whole_family_and_no_other(app: Flask) -> None:
    person = factories.traveller()
    first, other = tokens.issue(person), tokens.issue(person)
    second = tokens.rotate(first.refresh_token)
    with pytest.raises(NotSignedIn):
        tokens.rotate(first.refresh_token)
    with pytest.raises(NotSignedIn):
        tokens.rotate(second.refresh_token)
    assert tokens.rotate(other.refresh_token).user.id == person.id
    reuse = select(func.count()).where(AuditEntry.action == "token.reuse_detected", AuditEntry.actor_id == person.id)
    assert db.session.scalar(reuse) == 1


def test_of_two_who_use_a_refresh_token_at_once_one_at_most_gets_a_pair(app: Flask) -> None:
    first = tokens.issue(factories.traveller())
    outcomes = at_once(app, *[lambda: tokens.rotate(first.refresh_token)] * 3)
    pairs = [outcome for outcome in outcomes if isinstance(outcome, tokens.TokenPair)]
    assert len(pairs) == 1
    with pytest.raises(NotSignedIn):
        tokens.rotate(pairs[0].refresh_token)


def test_a_refresh_token_that_is_being_used_is_used(app: Flask) -> None:
    pair = tokens.issue(factories.traveller())
    with transaction():
        tokens.rotate(pair.refresh_token)
        second = held_up(app, lambda: tokens.rotate(pair.refresh_token))
    assert isinstance(second(), NotSignedIn)


def test_logging_out_ends_the_family(app: Flask) -> None:
    first = tokens.issue(factories.traveller())
    second = tokens.rotate(first.refresh_token)
    tokens.revoke(second.refresh_token)
    tokens.revoke(second.refresh_token)
    with pytest.raises(NotSignedIn):
        tokens.rotate(second.refresh_token)


def test_an_expired_refresh_token_is_refused(app: Flask) -> None:
    person = factories.traveller()
    pair = tokens.issue(person)
    with transaction():
        db.session.execute(
            text("UPDATE refresh_tokens SET expires_at = now() - interval '1 second' WHERE user_id = :id"),
            {"id": person.id},
        )
    with pytest.raises(NotSignedIn):
        tokens.rotate(pair.refresh_token)


def test_an_unknown_refresh_token_is_refused_and_logging_it_out_does_nothing(app: Flask) -> None:
    tokens.revoke("never issued")
    with pytest.raises(NotSignedIn):
        tokens.rotate("never issued")


def test_refresh_tokens_are_stored_as_hashes_only(app: Flask) -> None:
    person = factories.traveller()
    pair = tokens.issue(person)
    row = db.session.scalars(select(RefreshToken).where(RefreshToken.user_id == person.id)).one()
    assert len(row.token_hash) == 32
    assert pair.refresh_token.encode() not in row.token_hash
