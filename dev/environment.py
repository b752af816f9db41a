"""The running demo's environment: its home, the file the app and `make shell` read, what a caller may set."""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).resolve().parents[1]

# The demo sets these itself, or would reach into the outside world with them.
OWN = (
    *("APP_ENV", "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "PUBLIC_URL", "SECRET_KEY", "SECRET_KEY_FALLBACKS"),
    *("JWT_SECRET", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "STRIPE_API_BASE", "MAIL_URL", "MAIL_FROM"),
    *("STORAGE_URL", "SENTRY_DSN", "LOG_DIR"),
)
# They change how libpq, Flask or a web server behaves.
OWN_PREFIXES = ("PG", "FLASK_", "GUNICORN_", "GRANIAN_", "RQ_")
# Left behind by the make that started us; a make inside would take them for its own.
MAKE = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "MAKE_TERMOUT", "MAKE_TERMERR", "CMD")
# Taken over on purpose, and worth saying so.
SHARED = ("MEILI_URL", "MEILI_API_KEY", "TRUSTED_PROXIES", "CORS_ORIGINS", "METRICS_TOKEN")


class DemoError(Exception):
    """The demo can't go on; the message says why and what to do."""


def home_folder(caller: Mapping[str, str]) -> Path:
    """TRIPDESK_HOME of the caller, or `.tripdesk` in the checkout."""
    named = caller.get("TRIPDESK_HOME")
    return Path(named).expanduser().absolute() if named else CHECKOUT / ".tripdesk"


def ignored(caller: Mapping[str, str]) -> list[str]:
    """The caller's settings that the demo does not use."""
    return sorted(name for name, value in caller.items() if value and (name in OWN or name.startswith(OWN_PREFIXES)))


def inherited(caller: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what the demo decides itself."""
    return {
        name: value
        for name, value in caller.items()
        if name not in OWN and name not in MAKE and not name.startswith(OWN_PREFIXES)
    }


def unwritable(value: str) -> bool:
    """Whether a value can't be put into the file in a way that a shell and a dotenv reader both read alike."""
    return not value.isprintable() or any(sign in value for sign in "'\\$")


def write(file: Path, settings: Mapping[str, str]) -> None:
    """Write `KEY='value'` lines that only the owner can read."""
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))
    fresh.rename(file)


def read(file: Path) -> dict[str, str]:
    """What write() wrote."""
    return dict(line.split("=", 1) for line in shlex.split(file.read_text()))


@contextmanager
def claim(home: Path) -> Iterator[IO[str]]:
    """Hold the home for one demo; the kernel lets go of it however the holder ends.

    Raises DemoError while another demo holds it.
    """
    with (home / "run" / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise DemoError(
                f"Another demo (process {lock.read().strip()}) is running in {home}: stop it, or give this one a home "
                f"of its own, as in `make demo TRIPDESK_HOME=.tripdesk2 PORT=8100`."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock


def running(home: Path) -> dict[str, str] | None:
    """The settings of the demo that runs in `home`, or None when none does (a killed one leaves its file behind)."""
    try:
        with (home / "run" / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        file = home / "run" / "env"
        return read(file) if file.exists() else None
    return None
