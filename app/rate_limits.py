"""How often one caller may ask: counted in Redis, one round trip each, and in this process while Redis is away."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock, Thread
from time import monotonic, sleep

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

log = logging.getLogger(__name__)

# Nobody's request may wait for this: an answer that takes longer counts as none.
_PATIENCE_SECONDS = 0.1
_LOOK_EVERY_SECONDS = 1.0
_REMEMBERED_CALLERS = 50_000

# The generic cell rate algorithm (ITU-T I.371): of a caller is kept only when their quota will be whole again. Each
# request moves that time on by its share of the window, and is refused if that took it further off than one window.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local cost, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local used = math.max((redis.call('GET', KEYS[1]) or now) - now, 0)
if used + cost > window then return {0, used} end
redis.call('SET', KEYS[1], now + used + cost, 'PX', used + cost)
return {1, used + cost}
"""


@dataclass(frozen=True)
class Policy:
    """At most `quota` requests at once; used up, it comes back evenly over `seconds`."""

    name: str
    quota: int
    seconds: int

    @property
    def window(self) -> int:
        """Milliseconds until a quota that was used up is whole again."""
        return self.seconds * 1000

    @property
    def cost(self) -> int:
        """Milliseconds until one request has come back."""
        return self.window // self.quota


@dataclass(frozen=True)
class Verdict:
    """Whether one request may pass, and what the caller has left; `used` is in milliseconds of the policy's window."""

    policy: Policy
    allowed: bool
    used: int

    @property
    def remaining(self) -> int:
        """Requests left right now."""
        return (self.policy.window - self.used) // self.policy.cost if self.allowed else 0

    @property
    def whole_in(self) -> int:
        """Seconds until the whole quota is back."""
        return _seconds(self.used)

    @property
    def retry_after(self) -> int:
        """Seconds until a request will pass, after one that was refused."""
        return _seconds(self.used + self.policy.cost - self.policy.window)


class Limiter:
    """Counts callers' requests in Redis, so for all processes together. While Redis is away or slow each process counts
    by itself: a caller may then pass once per process, but no request fails or waits.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(
            redis_url,
            socket_connect_timeout=_PATIENCE_SECONDS,
            socket_timeout=_PATIENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),  # the pool itself opens anew what Redis closed meanwhile
        )
        self._take = self._redis.register_script(_TAKE)
        self._own = _Memory()
        self._away = False
        self._lock = Lock()

    def take(self, policy: Policy, caller: str) -> Verdict:
        """Count one request of a caller against a policy."""
        key = f"tripdesk:limit:{policy.name}:{caller}"
        if not self._away:
            try:
                allowed, used = self._take(keys=[key], args=[policy.cost, policy.window])
                return Verdict(policy, bool(allowed), used)
            except redis.RedisError as error:
                self._redis_is_away(error)
        return Verdict(policy, *self._own.take(key, policy.cost, policy.window))

    def _redis_is_away(self, error: redis.RedisError) -> None:
        with self._lock:
            if self._away:
                return
            self._away = True
        log.warning("redis can't be reached, each process limits by itself", extra={"error": str(error)})
        # On a thread of its own: connecting may hang in ways that no timeout covers, such as looking up the name.
        Thread(target=self._wait_for_redis, name="rate-limits", daemon=True).start()

    def _wait_for_redis(self) -> None:
        while self._away:
            sleep(_LOOK_EVERY_SECONDS)
            try:
                self._take(keys=["tripdesk:limit:probe"], args=[1, 1000])
            except redis.RedisError:
                continue
            self._own = _Memory()
            self._away = False
        log.info("redis is back, limits are counted there again")


class _Memory:
    """The same count in this process; of more callers than can be remembered, the longest silent is forgotten."""

    def __init__(self) -> None:
        self._whole_at: dict[str, int] = {}
        self._lock = Lock()

    def take(self, key: str, cost: int, window: int) -> tuple[bool, int]:
        now = int(monotonic() * 1000)
        with self._lock:
            used = max(self._whole_at.pop(key, now) - now, 0)
            allowed = used + cost <= window
            if allowed:
                used += cost
            self._whole_at[key] = now + used
            if len(self._whole_at) > _REMEMBERED_CALLERS:
                del self._whole_at[next(iter(self._whole_at))]
        return allowed, used


def _seconds(milliseconds: int) -> int:
    return -(-milliseconds // 1000)
