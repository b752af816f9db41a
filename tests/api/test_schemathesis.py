"""Schemathesis asks every operation of the OpenAPI document for what it allows and what it doesn't: whatever comes
back has to be in the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
import pytest
import schemathesis
from flask import Flask, Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import GenerationConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

from app import problems
from app.api import openapi
from app.rate_limits import Policy, Verdict
from tests import factories
from tests.search import catalogue

load_all_checks()
OPERATIONS = [
    f"{method.upper()} {path}"
    for path, methods in openapi.document("http://localhost")["paths"].items()
    for method in methods
]
# What no schema can say (a day is in the past, a code is wrong, a signature is missing) may well be refused.
NOT_ASKED = CHECKS.get_by_names(["positive_data_acceptance"])
EXAMPLES = 15


class Asker:
    """Sends one person's requests to one operation; each answer is checked against the document."""

    def __init__(self, app: Flask, label: str) -> None:
        self.schema = schemathesis.openapi.from_wsgi("/v1/openapi.json", app)
        # A client is told of every field there is, though it has to bear with new ones.
        for definition in self.schema.raw_schema["components"]["schemas"].values():
            if "properties" in definition:
                definition.setdefault("additionalProperties", False)
        (self.operation,) = [
            found for result in self.schema.get_all_operations() if (found := result.ok()).label == label
        ]
        role = {"moderate": "moderator", "refunds": "finance"}.get(label.rpartition("/")[2])
        person = factories.staff(role) if role else factories.traveller()
        self.headers = factories.bearer(person)
        self.by = factories.actor(person)
        self.package = factories.package(
            units=50,
            place="Grünerløkka",
            latitude=59.92,
            longitude=10.76,
            amenities=["wifi"],
            description="By the river.",
        )
        catalogue.rate(self.package.id, {4: 3})  # which has it indexed as well
        book = factories.paid_booking if role == "finance" else factories.booking
        self.booking = book(of=self.package, by=self.by)
        self.review = factories.review(of=self.package)

    def ask(self, case: Any) -> int:
        """Send it; the status. Fails with what the document doesn't say."""
        answer = case.call(headers=self.headers)
        case.validate_response(answer, headers=self.headers, excluded_checks=NOT_ASKED)
        status: int = answer.status_code
        return status

    def boundaries(self) -> Iterator[Any]:
        """Each parameter and field at, within and beyond the edges of its schema, missing, doubled, of another type."""
        return self.schema.iter_coverage_cases(
            self.operation, generation_modes=list(GenerationMode), generation_config=GenerationConfig()
        )

    def about_what_is_there(self, case: Any) -> Any:
        """The same about a package and a booking that are there, as nothing is done about others."""
        known = {"bookingId": self.booking.id, "packageId": self.package.id, "reviewId": self.review.id}
        case.path_parameters = {**case.path_parameters, **{k: known[k] for k in known if k in case.path_parameters}}
        if isinstance(case.body, dict) and "packageId" in case.body:
            first = factories.tomorrow()
            stay = {"checkIn": first.isoformat(), "checkOut": (first + timedelta(days=1)).isoformat()}
            case.body = {**case.body, "packageId": self.package.id, **stay}
        if isinstance(case.body, dict) and "bookingId" in case.body:
            stayed = factories.completed_booking(of=self.package, by=self.by)
            case.body = {**case.body, "bookingId": stayed.id}
        return case


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_in_the_document(app: Flask, label: str) -> None:
    asker = Asker(app, label)
    for case in asker.boundaries():
        asker.ask(case)

    strategies = [asker.operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

    @settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=HealthCheck)
    @given(case=st.one_of(strategies), there=st.booleans())
    def anything(case: Any, there: bool) -> None:
        asker.ask(asker.about_what_is_there(case) if there else case)

    anything()


class Refusing:
    """A limiter at which everybody has used up everything."""

    def take(self, policy: Policy, caller: str) -> Verdict:
        return Verdict(policy, allowed=False, used=policy.window)


@pytest.mark.parametrize("label", [label for label in OPERATIONS if "health" not in label and "webhooks" not in label])
def test_one_request_too_many_is_in_the_document(app: Flask, label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asker = Asker(app, label)
    monkeypatch.setitem(app.extensions, "rate_limits", Refusing())
    assert asker.ask(next(asker.boundaries())) == 429


def _unknown_status() -> Response:
    return problems.problem(418, "A teapot", "Short and stout.")


def _crash() -> Response:
    raise RuntimeError("planted")


def _answer(body: Any, kind: str = "application/json", **headers: str) -> Response:
    return Response(orjson.dumps(body), 200, headers, content_type=kind)


@pytest.mark.parametrize(
    ("hole", "failure"),
    [
        (_unknown_status, "Undocumented status code"),
        (_crash, "Server error"),
        (partial(_answer, {"items": []}, ETag='"a"'), "Response violates schema"),
        (partial(_answer, {"items": [], "nextCursor": None, "total": 7}, ETag='"a"'), "Response violates schema"),
        (partial(_answer, {"items": [], "nextCursor": None}, ETag="a"), "Response header does not conform"),
        (partial(_answer, {"items": [], "nextCursor": None}, "text/plain", ETag='"a"'), "Undocumented Content-Type"),
    ],
)
def test_the_check_sees_what_it_must_refuse(
    app: Flask, monkeypatch: pytest.MonkeyPatch, hole: Callable[[], Response], failure: str
) -> None:
    asker = Asker(app, "GET /v1/packages")
    asker.ask(next(asker.boundaries()))
    monkeypatch.setitem(app.view_functions, "api.list_packages", hole)
    with pytest.raises(FailureGroup) as failed:
        asker.ask(next(asker.boundaries()))
    assert failure in "\n".join(found.title for found in failed.value.exceptions)
