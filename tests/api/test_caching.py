"""What caches may keep, and what comes back when nothing has changed."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from app.db import transaction
from app.extensions import db
from tests import factories
from tests.api.calling import Caller, problem


@pytest.fixture
def path() -> str:
    return f"/packages/{factories.package().id}"


@pytest.mark.parametrize("more", ["", "/availability"])
def test_what_hasnt_changed_is_304_without_a_body(nobody: Caller, path: str, more: str) -> None:
    first = nobody.get(path + more)
    assert (first.status_code, first.headers["Cache-Control"]) == (200, "public, no-cache")
    tag = first.headers["ETag"]
    for asked in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = nobody.get(path + more, **{"If-None-Match": asked})
        assert (again.status_code, again.data) == (304, b"")
        assert (again.headers["ETag"], again.headers["Cache-Control"]) == (tag, "public, no-cache")
        assert "Content-Type" not in again.headers
        assert again.headers["X-Request-ID"]
    for asked in ('"other"', "", tag.strip('"')[:5], "é"):
        assert nobody.get(path + more, **{"If-None-Match": asked}).status_code == 200


def test_a_new_price_is_a_new_answer(nobody: Caller) -> None:
    package = factories.package()
    tag = nobody.get(f"/packages/{package.id}").headers["ETag"]
    with transaction():
        package.price_minor = 12_300
        db.session.add(package)
    again = nobody.get(f"/packages/{package.id}", **{"If-None-Match": tag})
    assert (again.status_code, again.json["price"]["amount"]) == (200, 12_300)  # type: ignore[index]
    assert again.headers["ETag"] != tag


def test_a_booking_changes_the_availability(nobody: Caller) -> None:
    package = factories.package()
    path = f"/packages/{package.id}/availability"
    tag = nobody.get(path).headers["ETag"]
    factories.booking(of=package)
    assert nobody.get(path, **{"If-None-Match": tag}).status_code == 200


def test_the_tag_is_the_same_for_everybody_and_for_head(caller: Caller, client: FlaskClient, path: str) -> None:
    tags = {Caller(client, None).get(path).headers["ETag"], caller.get(path).headers["ETag"]}
    head = client.head(f"/v1{path}")
    assert {head.headers["ETag"]} == tags
    assert head.data == b""
    assert client.head(f"/v1{path}", headers={"If-None-Match": head.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/packages"])
def test_the_documentation_and_lists_are_asked_again_cheaply_too(nobody: Caller, path: str) -> None:
    tag = nobody.get(path).headers["ETag"]
    assert nobody.get(path, **{"If-None-Match": tag}).status_code == 304


def test_what_is_one_persons_alone_is_never_kept(caller: Caller, nobody: Caller) -> None:
    booking = factories.booking(by=factories.actor(caller.person))
    credentials = {"email": caller.person.email, "password": factories.PASSWORD}  # type: ignore[union-attr]
    for answer in (
        caller.get("/bookings"),
        caller.get(f"/bookings/{booking.id}"),
        caller.post(f"/bookings/{booking.id}/cancel"),
        nobody.post("/auth/login", credentials),
    ):
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert "ETag" not in answer.headers


def test_refusals_are_never_kept(nobody: Caller, path: str) -> None:
    refusals = (
        nobody.get("/packages/999999999"),
        nobody.get("/nowhere"),
        nobody.get("/bookings"),
        nobody.get(path + "9"),
    )
    for answer in refusals:
        problem(answer, answer.status_code)
        assert answer.headers["Cache-Control"] == "no-store"
        assert "ETag" not in answer.headers
