"""The OpenAPI document and its page say exactly what is served."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

METHODS = {"get", "post", "patch", "put", "delete"}
# What describes the API isn't part of it.
ABOUT_ITSELF = {("get", "/v1/openapi.json"), ("get", "/v1/docs")}


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    answer = client.get("/v1/openapi.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    found: dict[str, Any] = answer.json or {}
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def every(value: Any, name: str) -> Iterator[Any]:
    """Every value under `name`, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == name:
                yield inner
            yield from every(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from every(inner, name)


def test_every_route_under_v1_is_described_and_nothing_else(app: Flask, document: dict[str, Any]) -> None:
    def camel(match: re.Match[str]) -> str:
        head, *rest = match[1].split("_")
        return "{" + head + "".join(part.capitalize() for part in rest) + "}"

    served = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", camel, rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(("/v1", "/health"))
        for method in rule.methods or ()
        if method.lower() in METHODS
    }
    described = {(method, path) for method, path, _ in operations(document)}
    assert described == served - ABOUT_ITSELF


def test_it_has_the_shape_of_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert {"title", "version"} <= set(document["info"])
    assert document["servers"][0]["url"].startswith("http")
    tags = {tag["name"] for tag in document["tags"]}
    for method, path, operation in operations(document):
        assert method in METHODS
        assert set(operation["tags"]) <= tags, path
        assert operation["summary"], path
        assert operation["responses"], path
        for status, answer in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", status)
            assert answer["description"]
        named = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))
        for parameter in operation.get("parameters", ()):
            assert parameter["in"] in ("path", "query", "header")
            assert parameter["schema"]
            assert parameter["in"] != "path" or parameter["required"] is True


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = set(every(document, "$ref"))
    parts = {f"#/components/{kind}/{name}" for kind in ("schemas", "headers") for name in document["components"][kind]}
    assert len(references) > 10
    assert references <= parts


def test_names_are_camel_case(document: dict[str, Any]) -> None:
    for properties in every(document["components"]["schemas"], "properties"):
        for name in properties:
            assert re.fullmatch(r"[a-z][A-Za-z0-9]*", name), name


def test_what_needs_a_token_says_so_and_asks_for_one(client: FlaskClient, document: dict[str, Any]) -> None:
    guarded = 0
    for method, path, operation in operations(document):
        answer = client.open(re.sub(r"{\w+}", "1", path), method=method.upper())
        if operation["security"]:
            assert "401" in operation["responses"], path
            assert answer.status_code == 401, path
            guarded += 1
        else:
            assert answer.status_code != 401, path
    assert guarded >= 5


def test_refusals_are_described_as_problems(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status.startswith("4"):
                assert list(answer["content"]) == ["application/problem+json"], (path, status)


def test_the_page_shows_every_operation_without_anything_inline(client: FlaskClient, document: dict[str, Any]) -> None:
    answer = client.get("/v1/docs")
    page = answer.text
    assert answer.status_code == 200
    for method, path, operation in operations(document):
        assert f'id="{operation["operationId"]}"' in page, path
        assert operation["summary"].replace("'", "&#39;") in page, path
        assert f"<code>{path}</code>" in page, path
        assert method.upper() in page
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)
    assert not re.search(r"""(?:src|href)="(?:https?:)?//""", page)


def test_the_link_to_the_document_works(client: FlaskClient) -> None:
    (href,) = re.findall(r'href="([^"]*openapi\.json)"', client.get("/v1/docs").text)
    path = href.removeprefix("http://127.0.0.1:8000")
    assert client.get(path).status_code == 200
