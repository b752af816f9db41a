"""Signing in and out of the console. The cookie names a session row, which is asked on every request."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Request, redirect, render_template, request, session, url_for
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_login import current_user, login_user, logout_user
from werkzeug.wrappers import Response

from app.accounts import service as accounts
from app.accounts.models import User
from app.audit.actor import Actor
from app.config import settings
from app.errors import NotAllowed, NotSignedIn
from app.extensions import login_manager

sessions = Blueprint("sessions", __name__, url_prefix="/console")

DEMO_LOGINS = tuple(
    f"{name}@demo.tripdesk.example" for name in ("support", "moderator", "finance", "finance2", "admin")
)


class ConsoleCookie(SecureCookieSessionInterface):
    """Flask's signed cookie, for the console alone: nothing else may lean on a session, or pays for opening one."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """The browser's session; None, which nobody can write to, outside the console."""
        return super().open_session(app, request) if request.path.startswith("/console") else None


class SignedIn:
    """The person behind a live console session, as Flask-Login wants to see them."""

    is_authenticated = True
    is_active = True
    is_anonymous = False

    def __init__(self, person: User, token: str) -> None:
        self.person = person
        self.token = token

    def get_id(self) -> str:
        """What the cookie keeps: the session's token, not the person's id, so that one session can be ended."""
        return self.token


@login_manager.user_loader  # type: ignore[untyped-decorator]
def load(token: str) -> SignedIn | None:
    """Whose session the cookie names, if it is still live."""
    person = accounts.person_of_session(token)
    return SignedIn(person, token) if person else None


def person() -> User | None:
    """Who is signed in to the console."""
    found: User | None = current_user.person if current_user.is_authenticated else None
    return found


def actor() -> Actor:
    """The same as the one who acts. Raises NotSignedIn."""
    found = person()
    if found is None:
        raise NotSignedIn("Sign in first.")
    return accounts.actor_of(found, request.remote_addr)


@sessions.get("/login")
def login() -> str | Response:
    """The form."""
    if person() is not None:
        return redirect(url_for("home.index"))
    return _form({}, {})


@sessions.post("/login")
def sign_in() -> str | Response | tuple[str, int]:
    """Check what was typed and open a session."""
    email, password = request.form.get("email", ""), request.form.get("password", "")
    missing = {name: "Fill this in." for name, value in (("email", email.strip()), ("password", password)) if not value}
    if missing:
        return _form(missing, {"email": email}), 422
    try:
        found, token = accounts.sign_in(
            email=email, password=password, address=request.remote_addr, user_agent=request.headers.get("User-Agent")
        )
    except NotAllowed as refusal:
        return _form({"form": refusal.detail}, {"email": email}), 403
    session.clear()
    login_user(SignedIn(found, token))
    session.permanent = True
    return redirect(_inside(request.form.get("next")) or url_for("home.index"))


@sessions.post("/logout")
def sign_out() -> Response:
    """End the session, here and on the server."""
    if current_user.is_authenticated:
        accounts.sign_out(current_user.token, by=actor())
        logout_user()
    session.clear()
    return redirect(url_for("sessions.login"))


def _form(errors: dict[str, str], values: dict[str, Any]) -> str:
    return render_template(
        "console/login.html",
        form_errors=errors,
        values=values,
        next=_inside(request.values.get("next")),
        demo_logins=DEMO_LOGINS if settings().app_env == "development" else (),
    )


def _inside(target: str | None) -> str | None:
    """A page of the console to go on to; anything that leads elsewhere is dropped."""
    if not target or not target.startswith("/console/") or "\\" in target or any(ord(letter) < 32 for letter in target):
        return None
    parts = urlsplit(target)
    return target if not parts.scheme and not parts.netloc else None
