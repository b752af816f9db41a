"""What tests of mail share: where it goes, and a kind of mail with a secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from jinja2 import ChoiceLoader, DictLoader
from pydantic import SecretStr

from app.db import transaction
from app.notifications import rendering
from app.notifications.kinds import KINDS, Kind
from app.notifications.models import Notification
from app.notifications.service import notify
from tests.notifications.mail_server import MailServer

LINK = "https://desk.example.org/reset?token=only-for-the-reader"


@pytest.fixture
def mail_to(app: Flask, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`mail_to(url)` has mail sent there; with an empty one it goes to the folder that is returned."""
    before = app.extensions["settings"]

    def go(url: str) -> Path:
        app.extensions["settings"] = before.model_copy(update={"mail_url": SecretStr(url), "tripdesk_home": tmp_path})
        return tmp_path / "mail"

    yield go
    app.extensions["settings"] = before


@pytest.fixture
def mail_server(mail_to: Callable[[str], Path]) -> Iterator[MailServer]:
    """A mail server that mail goes to."""
    with MailServer() as server:
        mail_to(server.url)
        yield server


@pytest.fixture
def kind_with_a_link(monkeypatch: pytest.MonkeyPatch) -> str:
    """A kind of mail that carries a secret link; its name."""
    monkeypatch.setitem(KINDS, "with_a_link", Kind("With a link", {"what": "password"}, {"link": LINK}))
    templates = {
        "mail/with_a_link.txt": "{% extends 'mail/layout.txt' %}{% block subject %}A new {{ what }}{% endblock %}"
        "{% block body %}Go to {{ link }}{% endblock %}",
        "mail/with_a_link.html": "{% extends 'mail/layout.html' %}{% from 'mail/_parts.html' import button %}"
        "{% block body %}{{ button(link, 'Go') }}{% endblock %}",
    }
    loader = rendering._TEMPLATES.loader
    assert loader is not None
    monkeypatch.setattr(rendering._TEMPLATES, "loader", ChoiceLoader([DictLoader(templates), loader]))
    return "with_a_link"


def a_mail(kind: str = "hold_expired", **values: Any) -> Notification:
    """A notification that waits to be sent, to a person of its own."""
    number = uuid4().hex
    with transaction():
        notification = notify(
            kind,
            **{
                "to": f"{number}@example.org",
                "name": "Ada Lovelace",
                "key": number,
                "values": dict(KINDS[kind].values),
                "secrets": dict(KINDS[kind].secrets) or None,
                **values,
            },
        )
    assert notification is not None
    return notification
