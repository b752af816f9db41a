"""PostgreSQL and Valkey together, for tests: thrown away afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.postgres import Postgres
from dev.valkey import Valkey


@contextmanager
def throwaway() -> Iterator[tuple[Postgres, Valkey]]:
    """A running PostgreSQL and Valkey for tests, removed at the end together with everything in them."""
    folder = Path(tempfile.mkdtemp(prefix="tripdesk-test-"))
    if os.geteuid() == 0:
        folder.chmod(0o711)  # PostgreSQL's account has to pass
    postgres = Postgres(folder / "postgres", durable=False)
    valkey = Valkey(folder / "valkey", durable=False)
    try:
        with postgres, valkey:
            yield postgres, valkey
    finally:
        shutil.rmtree(folder)
