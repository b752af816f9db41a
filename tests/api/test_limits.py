"""How often the API may be asked: by whom it is counted, what is said, and what is never limited."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from app import create_app, rate_limits
from app.accounts.models import User
from app.api.limits import READ, SIGN_IN, WRITE, _network
from app.bookings.models import Booking
from app.extensions import db
from app.rate_limits import Limiter, Policy, Verdict
from tests import factories
from tests.api.calling import Caller, problem
from tests.conftest import FreshClient, _settings

HOME = "address:127.0.0.1"


class Slow(Limiter):
    """The same quotas, for an hour instead of a minute."""

    def take(self, policy: Policy, caller: str) -> Verdict:
        return super().take(replace(policy, seconds=3600), caller)


@pytest.fixture(autouse=True)
def limiter(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Limiter:
    """The limits, which the other tests run without; nothing comes back while a test runs, nor is Redis too slow."""
    monkeypatch.setattr(rate_limits, "_PATIENCE_SECONDS", 30)
    found = Slow(app.extensions["settings"].redis_url)
    monkeypatch.setitem(app.extensions, "rate_limits", found)
    return found


def use_up(limiter: Limiter, policy: Policy, caller: str) -> None:
    while limiter.take(policy, caller).remaining:
        pass


def person(caller: Caller) -> str:
    assert caller.person
    return f"person:{caller.person.id}"


def test_every_answer_says_what_is_left(nobody: Caller) -> None:
    first, second = nobody.get("/packages"), nobody.get("/packages/999999999")
    assert (first.status_code, second.status_code) == (200, 404)
    assert first.headers["RateLimit-Policy"] == second.headers["RateLimit-Policy"] == '"read";q=600;w=3600'
    assert (first.headers["RateLimit"], second.headers["RateLimit"]) == ('"read";r=599;t=6', '"read";r=598;t=12')


def test_the_limits_are_a_minutes(app: Flask, nobody: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.extensions, "rate_limits", Limiter(app.extensions["settings"].redis_url))
    headers = nobody.get("/packages").headers
    assert (headers["RateLimit-Policy"], headers["RateLimit"]) == ('"read";q=600;w=60', '"read";r=599;t=1')


def test_one_too_many_is_429_with_when_to_come_back(nobody: Caller, limiter: Limiter) -> None:
    use_up(limiter, READ, HOME)
    answer = nobody.get("/packages")
    assert (
        problem(answer, 429)["detail"] == "At most 600 requests in 60 seconds. Try again later; Retry-After says when."
    )
    assert 1 <= int(answer.headers["Retry-After"]) <= 6
    assert answer.headers["RateLimit"].startswith('"read";r=0;t=3')


def test_a_refused_write_changes_nothing(caller: Caller, limiter: Limiter) -> None:
    package = factories.package()
    first = factories.tomorrow()
    use_up(limiter, WRITE, person(caller))
    wish = {"packageId": package.id, "departure": first.isoformat()}
    problem(caller.post("/bookings", wish, key="k"), 429)
    assert factories.stock(package) == (0, 0)
    assert db.session.scalar(select(func.count()).where(Booking.package_id == package.id)) == 0
    assert caller.get("/bookings").headers["RateLimit"].startswith('"read";r=599')


def test_a_person_is_counted_wherever_they_are_and_alone(caller: Caller, client: FlaskClient, limiter: Limiter) -> None:
    use_up(limiter, READ, HOME)
    problem(Caller(client, None).get("/packages"), 429)
    assert caller.get("/packages").status_code == 200
    assert Caller(client, factories.traveller()).get("/bookings").status_code == 200
    use_up(limiter, READ, person(caller))
    problem(caller.get("/packages"), 429)
    elsewhere = client.get("/v1/bookings", headers=caller.headers, environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
    problem(elsewhere, 429)


def test_a_wrong_token_is_counted_by_address(client: FlaskClient, limiter: Limiter) -> None:
    def left(authorization: str) -> str:
        return client.get("/v1/packages", headers={"Authorization": authorization}).headers["RateLimit"]

    assert left("Bearer a.b.c").startswith('"read";r=599')
    assert left("Bearer " + "x" * 5_000).startswith('"read";r=598')
    assert left("Basic dXNlcjpwdw==").startswith('"read";r=597')
    use_up(limiter, READ, HOME)
    problem(client.get("/v1/bookings", headers={"Authorization": "Bearer a.b.c"}), 429)


@pytest.mark.parametrize(("is_right", "status"), [(True, 200), (False, 401)])
def test_a_token_is_read_once_a_request(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, is_right: bool, status: int
) -> None:
    read: list[str] = []
    really = jwt.decode

    def decode(token: str, *arguments: Any, **options: Any) -> Any:
        read.append(token)
        return really(token, *arguments, **options)

    monkeypatch.setattr(jwt, "decode", decode)
    sent = caller.headers["Authorization"] + ("" if is_right else "x")
    for times in (1, 2):
        assert caller.get("/bookings", Authorization=sent).status_code == status
        assert read == [sent.removeprefix("Bearer ")] * times


def test_getting_in_is_counted_by_address_whatever_token_is_sent(caller: Caller, limiter: Limiter) -> None:
    wrong = {"email": "nobody@example.org", "password": "a wrong password"}
    assert caller.post("/auth/login", wrong).headers["RateLimit-Policy"] == '"sign-in";q=60;w=3600'
    use_up(limiter, SIGN_IN, HOME)
    people = db.session.scalar(select(func.count()).select_from(User))
    problem(caller.post("/auth/login", wrong), 429)
    problem(
        caller.post("/auth/register", {"email": "new@example.org", "name": "New", "password": factories.PASSWORD}), 429
    )
    assert db.session.scalar(select(func.count()).select_from(User)) == people
    assert caller.get("/bookings").status_code == 200


def test_limits_are_told_apart_by_what_they_are_for() -> None:
    assert SIGN_IN.quota < WRITE.quota < READ.quota


def test_stripe_the_probes_and_preflights_are_never_limited(client: FlaskClient, limiter: Limiter) -> None:
    for policy in (READ, WRITE, SIGN_IN):
        use_up(limiter, policy, HOME)
    for _ in range(3):
        answers = [
            client.post(
                "/v1/webhooks/stripe", **factories.signed(factories.event("customer.created", {"id": "cus_1"}))
            ),
            client.get("/health"),
            client.get("/health/ready"),
            client.options("/v1/packages"),
        ]
        assert [answer.status_code for answer in answers] == [200] * 4
        assert all("RateLimit" not in answer.headers for answer in answers)


def test_the_documentation_is_limited_too(nobody: Caller, limiter: Limiter) -> None:
    use_up(limiter, READ, HOME)
    problem(nobody.get("/openapi.json"), 429)
    problem(nobody.get("/docs"), 429)


@pytest.fixture
def behind_proxy(app: Flask, local_stripe: str) -> Iterator[FlaskClient]:
    """A client of an app that trusts one proxy, with its limits on."""
    settings: Any = app.extensions["settings"]
    other = create_app(
        **_settings(
            settings.database_url.rpartition("/")[2],
            database_url=settings.database_url,
            stripe_api_base=local_stripe,
            trusted_proxies=1,
            rate_limits="on",
        )
    )
    other.test_client_class = FreshClient
    assert isinstance(other.extensions["rate_limits"], Limiter)
    other.extensions["rate_limits"] = Slow(settings.redis_url)
    yield other.test_client()
    with other.app_context():
        db.engine.dispose()


def left(client: FlaskClient, forwarded: str) -> str:
    return client.get("/v1/packages", headers={"X-Forwarded-For": forwarded}).headers["RateLimit"].split(";")[1]


def test_only_a_trusted_proxy_says_who_asks(client: FlaskClient, behind_proxy: FlaskClient) -> None:
    assert [left(client, "192.0.2.1"), left(client, "192.0.2.2")] == ["r=599", "r=598"]
    assert [left(behind_proxy, "192.0.2.1"), left(behind_proxy, "192.0.2.2")] == ["r=599", "r=599"]
    # What the caller wrote itself stands left of what the proxy adds.
    assert left(behind_proxy, "203.0.113.9, 192.0.2.1") == "r=598"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("x" * 5_000, "x" * 6_000, True),
    ],
)
def test_an_address_stands_for_whoever_can_choose_it(one: str, other: str, same: bool) -> None:
    assert (_network(one) == _network(other)) is same
    assert len(_network(one)) <= 64


def test_switched_off_nothing_is_counted(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert app.extensions["rate_limits"] is None
    answer = client.get("/v1/packages")
    assert "RateLimit" not in answer.headers
    assert "RateLimit-Policy" not in answer.headers
