"""Telling somebody of something: written with the fact it tells of, once, and handed to a job after the commit."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import func, select

from app.db import transaction
from app.extensions import db
from app.notifications.kinds import KINDS
from app.notifications.models import Notification
from app.notifications.service import notify
from tests import queued
from tests.concurrency import at_once

VALUES = dict(KINDS["hold_expired"].values)


def tell(key: str, **values: Any) -> Notification | None:
    with transaction():
        return notify(
            "hold_expired",
            **{"to": "ada@example.org", "name": "Ada", "key": key, "values": VALUES, **values},
        )


def rows(key: str) -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).select_from(Notification).where(Notification.key == key)) or 0


def test_it_is_a_row_at_once_and_its_job_is_asked_for_after_the_commit(app: Flask) -> None:
    key = uuid4().hex
    with transaction():
        notification = notify("hold_expired", to="ada@example.org", name="Ada", key=key, values=VALUES)
        assert queued.calls() == []
    assert notification is not None
    assert (notification.status, notification.due_at is not None) == ("QUEUED", True)
    assert queued.calls() == [("jobs.sweeps.notifications", ())]


def test_a_refused_transaction_tells_nobody(app: Flask) -> None:
    key = uuid4().hex
    with pytest.raises(RuntimeError, match="refused"), transaction():
        notify("hold_expired", to="ada@example.org", name="Ada", key=key, values=VALUES)
        raise RuntimeError("refused")
    assert rows(key) == 0
    assert queued.calls() == []


def test_the_same_fact_is_told_once(app: Flask) -> None:
    key = uuid4().hex
    assert tell(key) is not None
    assert tell(key, to="somebody-else@example.org") is None
    assert rows(key) == 1


def test_the_same_fact_is_told_once_however_many_tell_it_at_the_same_moment(app: Flask) -> None:
    key = uuid4().hex
    outcomes = at_once(app, *[lambda: tell(key)] * 6)
    assert sum(isinstance(outcome, Notification) for outcome in outcomes) == 1
    assert sum(outcome is None for outcome in outcomes) == 5
    assert rows(key) == 1


def test_nobody_is_told_outside_a_transaction(app: Flask) -> None:
    key = uuid4().hex
    with pytest.raises(RuntimeError, match="inside a transaction"):
        notify("hold_expired", to="ada@example.org", name="Ada", key=key, values=VALUES)
    assert rows(key) == 0
    # Nor of what is known already, when nothing would be written.
    assert tell(key) is not None
    with pytest.raises(RuntimeError, match="inside a transaction"):
        notify("hold_expired", to="ada@example.org", name="Ada", key=key, values=VALUES)
    assert rows(key) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "weather"}, "there is no mail of the kind weather"),
        ({"values": {}}, "takes \\['booking'\\]"),
        ({"secrets": {"link": "https://example.org"}}, "secrets \\[\\]"),
    ],
)
def test_what_the_templates_could_not_be_filled_with_is_refused_where_it_is_written(
    app: Flask, wrong: dict[str, Any], words: str
) -> None:
    key = uuid4().hex
    right = {"kind": "hold_expired", "to": "ada@example.org", "name": "Ada", "key": key, "values": VALUES}
    with pytest.raises(ValueError, match=words), transaction():
        notify(**{**right, **wrong})
    assert rows(key) == 0
