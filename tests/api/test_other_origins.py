"""Pages of the origins in CORS_ORIGINS may call the API from a browser, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.api.calling import problem

SHOP, OTHER = "https://shop.example.org", "https://evil.example.org"


@pytest.fixture(autouse=True)
def shared(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: Any = app.extensions["settings"]
    origins = (SHOP, "http://localhost:5173")
    monkeypatch.setitem(app.extensions, "settings", settings.model_copy(update={"cors_origins": origins}))


def preflight(client: FlaskClient, path: str, origin: str = SHOP, method: str = "POST") -> Any:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }
    return client.options(path, headers=asked)


def leave(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name.startswith("Access-Control")}


def test_a_preflight_names_methods_and_headers(client: FlaskClient) -> None:
    answer = preflight(client, "/v1/bookings")
    assert (answer.status_code, answer.data) == (200, b"")
    allowed = leave(answer)
    assert set(allowed.pop("Access-Control-Allow-Methods").split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    assert allowed.pop("Access-Control-Expose-Headers")
    assert allowed == {
        "Access-Control-Allow-Origin": SHOP,
        "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-None-Match, X-Request-ID",
        "Access-Control-Max-Age": "7200",
    }


def test_an_answer_may_be_read_with_the_headers_a_client_needs(client: FlaskClient) -> None:
    answer = client.get("/v1/packages", headers={"Origin": SHOP})
    assert leave(answer) == {
        "Access-Control-Allow-Origin": SHOP,
        "Access-Control-Expose-Headers": (
            "ETag, Idempotent-Replayed, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
        ),
    }


def test_refusals_may_be_read_too(client: FlaskClient) -> None:
    for answer in (
        client.get("/v1/bookings", headers={"Origin": SHOP}),
        client.get("/v1/packages/999999999", headers={"Origin": SHOP}),
        client.post("/v1/auth/login", headers={"Origin": SHOP}, json={}),
        client.get("/v1/nowhere", headers={"Origin": SHOP}),
    ):
        problem(answer, answer.status_code)
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP


@pytest.mark.parametrize(
    "origin",
    [OTHER, "null", "", "*", SHOP + ".evil.org", "http://shop.example.org", SHOP + ":8443", SHOP.upper(), SHOP + "/"],
)
def test_other_origins_get_no_leave(client: FlaskClient, origin: str) -> None:
    for answer in (preflight(client, "/v1/bookings", origin), client.get("/v1/packages", headers={"Origin": origin})):
        assert leave(answer) == {}


def test_caches_keep_answers_for_each_origin_apart(client: FlaskClient) -> None:
    for headers in ({}, {"Origin": SHOP}, {"Origin": OTHER}):
        assert "Origin" in client.get("/v1/packages", headers=headers).headers["Vary"]
    tag = client.get("/v1/packages").headers["ETag"]
    unchanged = client.get("/v1/packages", headers={"Origin": SHOP, "If-None-Match": tag})
    assert (unchanged.status_code, unchanged.headers["Access-Control-Allow-Origin"]) == (304, SHOP)
    assert "Origin" in unchanged.headers["Vary"]


def test_no_credentials_are_ever_taken_along(client: FlaskClient) -> None:
    assert "Access-Control-Allow-Credentials" not in preflight(client, "/v1/bookings").headers


def test_only_the_api_is_shared(client: FlaskClient) -> None:
    for path in ("/console/login", "/health", "/health/ready"):
        assert leave(client.get(path, headers={"Origin": SHOP})) == {}
        assert leave(preflight(client, path)) == {}


def test_a_path_that_is_not_there_allows_nothing(client: FlaskClient) -> None:
    answer = preflight(client, "/v1/nowhere")
    assert answer.status_code == 404
    assert "Access-Control-Allow-Methods" not in answer.headers


def test_without_origins_nothing_is_shared(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for answer in (preflight(client, "/v1/bookings"), client.get("/v1/packages", headers={"Origin": SHOP})):
        assert leave(answer) == {}
        assert "Vary" not in answer.headers
