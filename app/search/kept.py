"""What a process keeps for some seconds rather than ask the database again."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

from flask import current_app

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by key, each for `seconds`, and no more than `most`; every app has its own."""

    def __init__(self, name: str, *, seconds: float, most: int) -> None:
        self._name = name
        self._seconds = seconds
        self._most = most

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value that is kept, or else a new one."""
        kept: dict[K, tuple[float, V]] = current_app.extensions.setdefault(self._name, {})
        found = kept.get(key)
        now = monotonic()
        if found is not None and now - found[0] < self._seconds:
            return found[1]
        value = make()
        if len(kept) >= self._most:
            kept.clear()
        kept[key] = (now, value)
        return value
