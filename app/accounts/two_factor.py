"""The second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes for when it is lost."""

from __future__ import annotations

import hmac
import logging
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256

import pyotp
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.accounts.models import RecoveryCode, StaffMember, TwoFactor, User
from app.accounts.secret_tokens import hash_token
from app.audit import service as audit
from app.audit.actor import Actor
from app.config import settings
from app.db import lock, require_transaction, transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed
from app.extensions import db

log = logging.getLogger(__name__)

# Whoever moves money or gives out roles.
DEMANDED_OF = frozenset({"finance", "admin"})
RECOVERY_CODES = 10
_ISSUER = "Tripdesk"
_STEP_SECONDS = 30
_DIGITS = 6
# RFC 6238, section 5.2: one step either way for clocks that differ and people who type slowly.
_STEPS_ACCEPTED = (0, -1, 1)
# Without the letters and digits that are taken for each other. Sixteen of 31 are 79 bits.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_CODE_LENGTH = 16


@dataclass(frozen=True)
class Enrolment:
    """What an authenticator app is set up with: the secret to type, or the same as an otpauth:// address to scan."""

    secret: str
    uri: str


def is_missing(person: User | StaffMember) -> bool:
    """Whether the person holds a role that demands a second factor, in production, and has set up none."""
    return person.two_factor_since is None and is_demanded(person.roles)


def is_demanded(roles: Collection[str]) -> bool:
    """Whether one of these roles may be used only with a second factor."""
    return settings().app_env == "production" and not DEMANDED_OF.isdisjoint(roles)


def begin(person_id: int, *, by: Actor) -> None:
    """Draw a new secret for an app that is yet to prove that it has it. Raises Conflict when there is one in use."""
    _own(person_id, by)
    with transaction():
        person = lock(User, person_id)
        if person.two_factor_since is not None:
            raise Conflict("Two-factor sign-in is on already. Turn it off before you set up another app.")
        values = {"encrypted_secret": _box().encrypt(pyotp.random_base32().encode()), "last_step": None}
        db.session.execute(
            insert(TwoFactor)
            .values(user_id=person.id, **values)
            .on_conflict_do_update(index_elements=["user_id"], set_=values)
        )
        audit.record(by, "two_factor.begin", person)


def enrolment(person: User | StaffMember) -> Enrolment | None:
    """What the app is to be set up with; None before `begin`, and once it is in use: nobody sees the secret again."""
    factor = db.session.get(TwoFactor, person.id, populate_existing=True)
    if person.two_factor_since is not None or factor is None or factor.encrypted_secret is None:
        return None
    secret = _decrypt(factor)
    return (
        Enrolment(secret, pyotp.TOTP(secret).provisioning_uri(name=person.email, issuer_name=_ISSUER))
        if secret
        else None
    )


def confirm(person_id: int, code: str, *, by: Actor) -> list[str]:
    """Turn the second factor on, with a code that proves the app has the secret; returns the recovery codes, which
    nobody sees again. Raises Invalid for a wrong code, Conflict.
    """
    _own(person_id, by)
    with transaction():
        person = lock(User, person_id)
        if person.two_factor_since is not None:
            raise Conflict("Two-factor sign-in is on already.")
        if not _accept_code(person_id, code):
            raise Invalid.field("code", "This is not the app's present code. Check the clock of your phone.")
        person.two_factor_since = utcnow()
        codes = _new_recovery_codes(person_id)
        audit.record(by, "two_factor.on", person)
    return codes


def accepts(person_id: int, code: str, *, by: Actor) -> bool:
    """Whether this is a good code of the person's app, or a recovery code; either is used up by asking."""
    require_transaction()
    if looks_like_code(code):
        return _accept_code(person_id, code)
    if not _accept_recovery_code(person_id, "".join(code.split()).replace("-", "").lower()):
        return False
    audit.record(by, "two_factor.recovery_code_used", lock(User, person_id))
    return True


def looks_like_code(text: str) -> bool:
    """Whether this is written as the app writes its codes, which may be in two halves."""
    digits = "".join(text.split())
    return digits.isascii() and digits.isdigit() and len(digits) == _DIGITS


def renew_recovery_codes(person_id: int, *, by: Actor) -> list[str]:
    """New recovery codes in place of the old. Raises Conflict without a second factor."""
    _own(person_id, by)
    with transaction():
        person = lock(User, person_id)
        if person.two_factor_since is None:
            raise Conflict("Two-factor sign-in is off: there is nothing to recover.")
        codes = _new_recovery_codes(person_id)
        audit.record(by, "two_factor.new_recovery_codes", person)
    return codes


def recovery_codes_left(person_id: int) -> int:
    """How many recovery codes are not used yet."""
    return db.session.scalar(select(func.count()).where(*_unused_codes(person_id))) or 0


def turn_off(person_id: int, *, by: Actor) -> None:
    """Do without a second factor. Raises NotAllowed where a role demands one; nothing happens when it is off."""
    _own(person_id, by)
    with transaction():
        person = lock(User, person_id)
        if is_demanded(person.roles):
            raise NotAllowed("Your role demands two-factor sign-in. Ask another admin to reset it if you lost the app.")
        take_away(person, by=by)


def take_away(person: User, *, by: Actor, reason: str | None = None) -> None:
    """Take the second factor of a locked person away; they set up another when their role demands one."""
    require_transaction()
    if person.two_factor_since is None:
        return
    person.two_factor_since = None
    db.session.execute(
        update(TwoFactor).where(TwoFactor.user_id == person.id).values(encrypted_secret=None, last_step=None)
    )
    _void_recovery_codes(person.id)
    audit.record(by, "two_factor.off", person, reason=reason)


def _own(person_id: int, by: Actor) -> None:
    if by.id != person_id:
        raise NotAllowed("Only you can set up your second factor.")


def _accept_code(person_id: int, code: str) -> bool:
    factor = db.session.get(TwoFactor, person_id, with_for_update=True, populate_existing=True)
    secret = _decrypt(factor) if factor is not None else None
    if factor is None or secret is None:
        return False
    code = "".join(code.split())
    if not looks_like_code(code):
        return False
    now = int(utcnow().timestamp()) // _STEP_SECONDS
    for step in (now + offset for offset in _STEPS_ACCEPTED):
        if hmac.compare_digest(pyotp.TOTP(secret).at(step * _STEP_SECONDS), code):
            # RFC 6238, section 5.2: a code must not be accepted a second time, nor one from before it.
            if factor.last_step is not None and step <= factor.last_step:
                return False
            factor.last_step = step
            # Written anew with the present key, so that the one before can go.
            factor.encrypted_secret = _box().encrypt(secret.encode())
            return True
    return False


def _accept_recovery_code(person_id: int, code: str) -> bool:
    used = db.session.execute(
        update(RecoveryCode)
        .where(*_unused_codes(person_id), RecoveryCode.code_hash == hash_token(code))
        .values(used_at=func.now())
        .returning(RecoveryCode.id)
    ).first()
    return used is not None


def _new_recovery_codes(person_id: int) -> list[str]:
    _void_recovery_codes(person_id)
    codes = ["".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH)) for _ in range(RECOVERY_CODES)]
    db.session.add_all(RecoveryCode(user_id=person_id, code_hash=hash_token(code)) for code in codes)
    return ["-".join(code[start : start + 4] for start in range(0, _CODE_LENGTH, 4)) for code in codes]


def _void_recovery_codes(person_id: int) -> None:
    db.session.execute(update(RecoveryCode).where(*_unused_codes(person_id)).values(used_at=func.now()))


def _unused_codes(person_id: int) -> tuple[ColumnElement[bool], ...]:
    return RecoveryCode.user_id == person_id, RecoveryCode.used_at.is_(None)


def _decrypt(factor: TwoFactor) -> str | None:
    if factor.encrypted_secret is None:
        return None
    try:
        return _box().decrypt(factor.encrypted_secret).decode()
    except InvalidToken:
        # The key it was written with is neither SECRET_KEY nor a fallback; recovery codes still work.
        log.error("the second factor can't be read: its SECRET_KEY is gone", extra={"user_id": factor.user_id})
        return None


def _box() -> MultiFernet:
    """Whoever gets at the database alone can't make codes: the key is derived from SECRET_KEY; the first one writes."""
    keys = [settings().secret_key.get_secret_value(), *settings().secret_key_fallbacks]
    derived = (hmac.new(key.encode(), b"tripdesk.two_factor", sha256).digest() for key in keys)
    return MultiFernet([Fernet(urlsafe_b64encode(key)) for key in derived])
