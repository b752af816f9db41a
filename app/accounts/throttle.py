"""How often one may be wrong when signing in: counted in the database by person, by address, and by both together.

The waits grow with every failure. A person's usual address answers only for what happened from there, so that strangers
who guess at an account lock out nobody but themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from math import ceil

from sqlalchemy import delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from app.accounts.models import SignInThrottle
from app.db import transaction, utcnow
from app.errors import TooMany
from app.extensions import db


@dataclass(frozen=True)
class Limit:
    """How many failures are free before each further one doubles the wait, up to `longest`; `forgotten_after` so long
    without a failure the count starts anew.
    """

    free: int
    longest: timedelta
    forgotten_after: timedelta

    def wait_after(self, failures: int) -> timedelta:
        """How long nobody may try after so many failures."""
        beyond = failures - self.free
        if beyond < 0:
            return timedelta()
        return min(timedelta(seconds=2 ** min(beyond + 1, 20)), self.longest)


# Many people share an office's address, and a botnet shares none: these two only stop what can't be a person.
LIMITS = {
    "pair": Limit(5, timedelta(minutes=15), timedelta(days=1)),
    "address": Limit(100, timedelta(minutes=5), timedelta(hours=1)),
    "email": Limit(100, timedelta(minutes=15), timedelta(days=1)),
}
_USUAL_FOR = timedelta(days=90)

Key = tuple[str, bytes]


def check(email: str, address: str | None) -> None:
    """Raises TooMany while this person, from this address, has to wait."""
    keys = _keys(email, address)
    found = _read(keys)
    _refuse_if_blocked(found, keys[0], utcnow())


def count_failure(email: str, address: str | None) -> None:
    """Note a wrong attempt. Raises TooMany where others failed meanwhile: what was tried at once counts as
    tried in a row, and its outcome is nobody's to know.
    """
    keys = _keys(email, address)
    with transaction():
        now = utcnow()
        _make_sure_of(keys, now)
        # The keys are in one order everywhere, so that two attempts can't wait for each other.
        rows = _read(keys, for_update=True)
        _refuse_if_blocked(rows, keys[0], now)
        for row in rows.values():
            limit = LIMITS[row.scope]
            is_old = row.failed_at is None or row.failed_at < now - limit.forgotten_after
            row.failures = 1 if is_old else row.failures + 1
            row.failed_at = row.changed_at = now
            wait = limit.wait_after(row.failures)
            row.blocked_until = now + wait if wait else None


def note_success(email: str, address: str | None) -> None:
    """Note that the person got in: from here on this is a usual address of theirs. Raises TooMany as `check`
    does.

    The counts of the address and of the e-mail address alone stay, or one good account would buy guesses at others.
    """
    keys = _keys(email, address)
    check(email, address)
    with transaction():
        now = utcnow()
        _make_sure_of(keys[:1], now)
        row = _read(keys[:1], for_update=True)[keys[0]]
        row.failures, row.failed_at, row.blocked_until = 0, None, None
        row.succeeded_at = row.changed_at = now


def forget_old() -> None:
    """Delete what no longer makes a difference."""
    with transaction():
        db.session.execute(delete(SignInThrottle).where(SignInThrottle.changed_at < utcnow() - _USUAL_FOR))


def _keys(email: str, address: str | None) -> list[Key]:
    """The pair's first. Hashed, because people type other things into the field, passwords among them."""
    who, where = email.strip().lower(), _network(address)
    wanted = {"pair": f"{who}\n{where}", "address": where, "email": who}
    return [(scope, hashlib.sha256(value.encode(errors="replace")).digest()) for scope, value in wanted.items()]


def _network(address: str | None) -> str:
    """One subscriber holds a whole /64 of IPv6 addresses."""
    try:
        known = ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(known, IPv6Address):
        return str(known.ipv4_mapped or int(known) >> 64)
    return str(known)


def _make_sure_of(keys: Iterable[Key], now: datetime) -> None:
    rows = [{"scope": scope, "key": key, "changed_at": now} for scope, key in sorted(keys)]
    db.session.execute(insert(SignInThrottle).values(rows).on_conflict_do_nothing())


def _read(keys: list[Key], *, for_update: bool = False) -> dict[Key, SignInThrottle]:
    wanted = (
        select(SignInThrottle)
        .where(tuple_(SignInThrottle.scope, SignInThrottle.key).in_(keys))
        .order_by(SignInThrottle.scope, SignInThrottle.key)
        .execution_options(populate_existing=True)
    )
    rows = db.session.scalars(wanted.with_for_update() if for_update else wanted)
    return {(row.scope, row.key): row for row in rows}


def _refuse_if_blocked(found: dict[Key, SignInThrottle], pair: Key, now: datetime) -> None:
    at_home = pair in found and found[pair].succeeded_at is not None
    answering = [found[pair]] if at_home else found.values()
    until = max((row.blocked_until for row in answering if row.blocked_until is not None), default=now)
    if until > now:
        seconds = ceil((until - now).total_seconds())
        raise TooMany(f"There were too many wrong attempts. Try again in {_in_words(seconds)}.", seconds)


def _in_words(seconds: int) -> str:
    if seconds <= 90:
        return f"{seconds} {'second' if seconds == 1 else 'seconds'}"
    return f"{ceil(seconds / 60)} minutes"
