"""What every refusal of the API has in common."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient

from tests import factories
from tests.api.calling import Caller, problem, wrong_fields

JSON = "application/json"


@pytest.mark.parametrize("body", [b"{", b"not json", b'{"a": NaN}', b"\xff\xfe", b'"\xc3\x28"', b'{"a":"\\ud800"}'])
def test_a_body_that_is_no_json_is_400(nobody: Caller, body: bytes) -> None:
    problem(nobody.post("/auth/login", data=body, content_type=JSON), 400)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_of_another_type_is_415(nobody: Caller, content_type: str) -> None:
    problem(nobody.post("/auth/login", data=b'{"email": "x"}', content_type=content_type), 415)


@pytest.mark.parametrize("body", ["[]", "7", "null", '"text"'])
def test_json_that_is_no_object_is_422(nobody: Caller, body: str) -> None:
    assert wrong_fields(nobody.post("/auth/login", data=body, content_type=JSON)) == ["body"]


def test_a_body_that_is_too_large_is_413_and_says_how_much_is_taken(nobody: Caller) -> None:
    person = factories.traveller()
    login = orjson.dumps({"email": person.email, "password": factories.PASSWORD})
    assert nobody.post("/auth/login", data=login.ljust(65_536), content_type=JSON).status_code == 200
    answer = nobody.post("/auth/login", data=login.ljust(65_537), content_type=JSON)
    assert problem(answer, 413)["detail"] == "Send at most 64 KB here."


def test_a_chunked_body_is_counted_while_it_is_read(nobody: Caller) -> None:
    body = io.BytesIO(b"x" * 2_000_000)
    answer = nobody.client.post(
        "/v1/auth/login",
        input_stream=body,
        content_type=JSON,
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    problem(answer, 413)
    assert body.tell() < 200_000


def test_json_nested_without_end_is_refused_not_a_crash(nobody: Caller) -> None:
    problem(nobody.post("/auth/login", data="[" * 60_000, content_type=JSON), 400)
    deep = '{"email":' + "[" * 1_000 + "]" * 1_000 + "}"
    assert "email" in wrong_fields(nobody.post("/auth/login", data=deep, content_type=JSON))


def test_thousands_of_wrong_fields_are_refused_in_a_few_lines(nobody: Caller) -> None:
    answer = nobody.post("/auth/login", {f"f{number}": number for number in range(4_000)})
    assert len(wrong_fields(answer)) == 50
    assert max(len(name) for name in wrong_fields(nobody.post("/auth/login", {"x" * 60_000: 1}))) == 100


def test_huge_numbers_are_refused(nobody: Caller) -> None:
    for number in ("9" * 60_000, "1e999", "-1e-999999"):
        answer = nobody.post("/auth/login", data=f'{{"email": {number}}}', content_type=JSON)
        assert answer.status_code in (400, 422)


def test_an_unknown_path_is_404(nobody: Caller) -> None:
    assert problem(nobody.get("/nothing/here"), 404)["instance"] == "/v1/nothing/here"


def test_another_method_is_405_and_says_which_are_served(nobody: Caller) -> None:
    answer = nobody.client.delete("/v1/packages")
    problem(answer, 405)
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize("text", ["a\x00b", "bell\x07", "del\x7f"])
def test_control_characters_are_422(nobody: Caller, text: str) -> None:
    assert wrong_fields(nobody.post("/auth/login", {"email": text, "password": factories.PASSWORD})) == ["email"]
    assert wrong_fields(nobody.post("/auth/refresh", {"refreshToken": text})) == ["refreshToken"]
    body = {"email": "a@example.org", "name": text, "password": factories.PASSWORD}
    assert wrong_fields(nobody.post("/auth/register", body)) == ["name"]


def test_a_nul_in_a_password_is_only_a_wrong_password(nobody: Caller) -> None:
    person = factories.traveller()
    problem(nobody.post("/auth/login", {"email": person.email, "password": "a\x00b"}), 401)


@pytest.mark.parametrize("asked", ["7", "my-request.id:7", "x" * 128])
def test_a_sane_request_id_is_echoed(client: FlaskClient, asked: str) -> None:
    for path in ("/health", "/v1/nothing", "/v1/bookings", "/console/login"):
        assert client.get(path, headers={"X-Request-ID": asked}).headers["X-Request-ID"] == asked


@pytest.mark.parametrize("asked", ["x" * 129, "has space in", "<script>alert(1)</script>", "é" * 10])
def test_any_other_request_id_is_replaced(client: FlaskClient, asked: str) -> None:
    answer = client.get("/v1/nothing", headers={"X-Request-ID": asked})
    assert answer.headers["X-Request-ID"].startswith("req_")
    assert problem(answer, 404)["requestId"] == answer.headers["X-Request-ID"]


def test_no_answer_may_be_sniffed_into_another_type(client: FlaskClient) -> None:
    for path in ("/health", "/v1/nothing", "/v1/packages", "/console/login"):
        assert client.get(path).headers["X-Content-Type-Options"] == "nosniff"


def test_a_wrong_token_is_told_before_a_wrong_body(nobody: Caller) -> None:
    problem(nobody.post("/bookings", data=b"{", content_type=JSON), 401)


def test_every_field_that_is_wrong_is_named_at_once(nobody: Caller) -> None:
    body: dict[str, Any] = {"email": 7, "password": None, "totp": {}, "extra": 1}
    assert sorted(wrong_fields(nobody.post("/auth/login", body))) == ["email", "extra", "password", "totp"]


def test_a_parameter_that_does_not_exist_is_refused_in_words(nobody: Caller) -> None:
    answer = problem(nobody.get("/packages?colour=blue"), 422)
    assert answer["errors"] == [{"field": "colour", "message": "There is nothing of this name here: leave it out."}]


def test_a_field_has_one_name(nobody: Caller) -> None:
    answer = nobody.post("/auth/refresh", {"refresh_token": "x"})
    assert sorted(wrong_fields(answer)) == ["refreshToken", "refresh_token"]
