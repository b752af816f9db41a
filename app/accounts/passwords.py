"""Password hashing: argon2id at the library's current defaults (RFC 9106, second recommended option); and which
passwords are good enough.
"""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

from app.errors import Invalid

MIN_LENGTH = 10
MAX_LENGTH = 200
# Of zxcvbn's 0 to 4: it knows leaked passwords, words, names, keyboard runs and dates. From 2 on a password holds out
# against guessing over the network even where nothing slows that down; here `throttle` does.
_MIN_SCORE = 2
# What is beyond is taken for granted: the estimate's time grows with the square of the length.
_ESTIMATED_LENGTH = 72

_hasher = PasswordHasher()
# Verified against when there is no such person, so that the answer takes as long as for a real one: sixteen
# and 32 bytes of nothing, hashed with the same parameters.
_NOBODY = "$argon2id$v=19$m={},t={},p={}${}${}".format(
    _hasher.memory_cost, _hasher.time_cost, _hasher.parallelism, "A" * 22, "A" * 43
)


def check_acceptable(password: str, *, about: tuple[str, ...] = (), field: str = "password") -> None:
    """Raises Invalid naming the field when a new password is too short, too long or easily guessed.

    `about` is what others know of the person, such as their name and e-mail address.
    """
    check_length(password, field=field)
    known = [word for text in about for word in (text, *text.replace("@", " ").replace(".", " ").split())]
    estimate = zxcvbn(password[:_ESTIMATED_LENGTH], user_inputs=["tripdesk", *known], max_length=_ESTIMATED_LENGTH)
    if estimate["score"] < _MIN_SCORE:
        why = estimate["feedback"]["warning"] or "This is easily guessed."
        raise Invalid.field(field, f"{why.rstrip('.')}. Use a few uncommon words, or let a password manager make one.")


def check_length(password: str, *, field: str = "password") -> None:
    """Raises Invalid naming the field when a password is too short or too long."""
    if len(password) < MIN_LENGTH:
        raise Invalid.field(field, f"Use at least {MIN_LENGTH} characters.")
    if len(password) > MAX_LENGTH:
        raise Invalid.field(field, f"Use at most {MAX_LENGTH} characters.")


def hash_password(password: str) -> str:
    """The argon2id hash to store."""
    return _hasher.hash(password)


def matches(password_hash: str | None, password: str) -> bool:
    """Whether the password is the one that was hashed; takes equally long when there is no hash to compare with."""
    try:
        return _hasher.verify(password_hash or _NOBODY, password[: MAX_LENGTH + 1]) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False
