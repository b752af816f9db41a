"""A browser on the console: it signs in, keeps cookies, and sends a page's own form token back."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from app.accounts.models import User
from tests import factories

# Has a form whoever asks for it, and nothing to count: the home page, where the signed in are sent, has much.
WITH_A_TOKEN = "/console/password/forgot"


class Browser:
    """One browser window."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    def get(self, path: str) -> TestResponse:
        """Open a page, not following redirects."""
        return self.client.get(path)

    def post(self, path: str, form: dict[str, Any] | None = None, *, token_from: str = WITH_A_TOKEN) -> TestResponse:
        """Send a form with the token of the page it stands on."""
        page = self.client.get(token_from, follow_redirects=True).text
        found = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert found, f"{token_from} has no form token"
        return self.client.post(path, data={"csrf_token": found[1], **(form or {})})

    def sign_in(self, person: User, **more: str) -> TestResponse:
        """With the factories' password."""
        return self.post("/console/login", {"email": person.email, "password": factories.PASSWORD, **more})


def signed_in(app: Flask, *roles: str) -> Browser:
    """A browser with a new person of these roles signed in."""
    browser = Browser(app)
    assert browser.sign_in(factories.staff(*roles)).status_code == 302
    return browser
