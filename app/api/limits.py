"""How often the API may be asked: which limit an operation has, who it is counted by, and how callers are told."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from flask import Flask, Response, current_app, g, request

from app.api import bearer
from app.api.blueprint import api
from app.errors import NotSignedIn, TooMany
from app.rate_limits import Limiter, Policy, Verdict

READ = Policy("read", quota=600, seconds=60)
WRITE = Policy("write", quota=120, seconds=60)
SIGN_IN = Policy("sign-in", quota=60, seconds=60)


def policy_for(method: str, *, signed_in: bool) -> Policy:
    """The limit of an operation. What anyone may write is how one gets in, where guessing pays most."""
    if method == "GET":
        return READ
    return WRITE if signed_in else SIGN_IN


def register(app: Flask) -> None:
    """Switch the limits on, unless the settings say off."""
    settings = app.extensions["settings"]
    app.extensions["rate_limits"] = Limiter(settings.redis_url) if settings.rate_limits == "on" else None


@api.before_request
def count() -> None:
    """Count this request before any work is done for it. Raises TooMany.

    Stripe's events and the probes are doors of their own, so nothing ever limits them.
    """
    limiter: Limiter | None = current_app.extensions["rate_limits"]
    if limiter is None or request.method == "OPTIONS":
        return
    policy: Policy = getattr(current_app.view_functions[request.endpoint or ""], "limit", READ)
    verdict = g.rate_limit = limiter.take(policy, _caller(policy))
    if not verdict.allowed:
        raise TooMany(
            f"At most {policy.quota} requests in {policy.seconds} seconds. Try again later; Retry-After says when.",
            retry_after=verdict.retry_after,
        )


def tell(response: Response) -> None:
    """Say in an answer's headers what the limit is and what is left of it (draft-ietf-httpapi-ratelimit-headers-10)."""
    verdict: Verdict | None = g.get("rate_limit")
    if verdict is not None:
        policy = verdict.policy
        response.headers["RateLimit-Policy"] = f'"{policy.name}";q={policy.quota};w={policy.seconds}'
        response.headers["RateLimit"] = f'"{policy.name}";r={verdict.remaining};t={verdict.whole_in}'


def _caller(policy: Policy) -> str:
    # Getting in is counted by address alone: with accounts of one's own one would have as many tries more.
    if policy is not SIGN_IN:
        try:
            return f"person:{bearer.person_id()}"
        except NotSignedIn:
            pass  # whoever sends a wrong token is counted like anyone without one
    return f"address:{_network(request.remote_addr or '')}"


def _network(address: str) -> str:
    """What one household or machine is given: an IPv4 address, or a /64 of IPv6, within which it can choose freely."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
    return address
