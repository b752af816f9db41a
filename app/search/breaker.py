"""Keeps questions away from an engine that fails or is slow, and notices by itself when it is well again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock, Thread
from time import monotonic

log = logging.getLogger(__name__)

FAILURES = 3
PROBE_EVERY_SECONDS = 2.0


class Breaker:
    """One process' opinion of a service: closed, it is asked; open, it isn't, until a probe has answered.

    It opens after FAILURES in a row, or at once after one that has kept somebody waiting. While it is open, asking
    `is_closed` sets off a probe, every PROBE_EVERY_SECONDS at most, on a thread of its own: nobody waits for it.
    """

    def __init__(self, name: str, probe: Callable[[], object], *, now: Callable[[], float] = monotonic) -> None:
        self._name = name
        self._probe = probe
        self._now = now
        self._lock = Lock()
        self._failures = 0
        self._is_open = False
        self._is_probing = False
        self._probe_at = 0.0

    def is_closed(self) -> bool:
        """Whether the service may be asked now."""
        with self._lock:
            if not self._is_open:
                return True
            if self._is_probing or self._now() < self._probe_at:
                return False
            self._is_probing = True
        try:
            Thread(target=self._try_again, name=f"{self._name} probe", daemon=True).start()
        except RuntimeError as error:  # no thread to be had
            self._not_yet(error)
        return False

    @property
    def is_open(self) -> bool:
        """Whether the service isn't asked now; looking doesn't set off a probe."""
        with self._lock:
            return self._is_open

    def succeeded(self) -> None:
        """It answered, and soon enough."""
        with self._lock:
            self._failures = 0

    def failed(self, why: str, *, waited: bool) -> None:
        """It did not answer, or too late; `waited` when somebody lost time over it."""
        with self._lock:
            self._failures += 1
            if self._is_open or not (waited or self._failures >= FAILURES):
                return
            self._is_open = True
            self._probe_at = self._now() + PROBE_EVERY_SECONDS
        log.warning("%s is not asked any more until it answers again", self._name, extra={"error": why})

    def _try_again(self) -> None:
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001  (whatever it is, it must not end as a probe that never ends)
            self._not_yet(error)
            return
        with self._lock:
            self._is_probing = False
            self._is_open = False
            self._failures = 0
        log.warning("%s answers again", self._name)

    def _not_yet(self, error: Exception) -> None:
        with self._lock:
            self._is_probing = False
            self._probe_at = self._now() + PROBE_EVERY_SECONDS
        log.info("%s does not answer yet", self._name, extra={"error": str(error)})
