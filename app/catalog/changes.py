"""Telling search of what changed: the database has noted which packages (`PackageChange`), this only says «look»."""

from __future__ import annotations

from app.db import after_commit
from app.queue import ask_for

INDEX = "jobs.search.index"
QUEUE = "default"


def announce() -> None:
    """Have what the surrounding transaction changes found by search after its commit, usually within a second.

    Should this be lost, or not be called, the schedule looks every three seconds.
    """
    after_commit(ask)


def ask() -> None:
    """Have search look for changes that are committed."""
    ask_for(INDEX, queue=QUEUE)
