"""A person's API client, and what a refusal has to look like."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.accounts.models import User
from tests import factories


class Caller:
    """One person's API client."""

    def __init__(self, client: FlaskClient, person: User | None) -> None:
        self.client = client
        self.person = person
        self.headers = factories.bearer(person) if person else {}

    def get(self, path: str, **headers: str) -> TestResponse:
        """GET under /v1."""
        return self.client.get(f"/v1{path}", headers={**self.headers, **headers})

    def post(self, path: str, body: Any = None, *, key: str | None = None, **options: Any) -> TestResponse:
        """POST JSON under /v1, with an idempotency key if one is given."""
        headers = {**self.headers, **({"Idempotency-Key": key} if key is not None else {})}
        given = {"json": body} if body is not None else {}
        return self.client.post(f"/v1{path}", headers=headers, **given, **options)


def problem(answer: TestResponse, status: int) -> dict[str, Any]:
    """The problem document of a refusal, whose shape is checked on the way."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    body: dict[str, Any] = answer.json or {}
    assert set(body) == {
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "requestId",
        *(["errors"] if status == 422 else []),
    }
    assert (body["status"], body["requestId"]) == (status, answer.headers["X-Request-ID"])
    assert body["title"]
    assert body["detail"]
    return body


def wrong_fields(answer: TestResponse) -> list[str]:
    """The fields a 422 names."""
    return [wrong["field"] for wrong in problem(answer, 422)["errors"]]
