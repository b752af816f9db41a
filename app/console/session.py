"""Signing in and out of the console. The cookie names a session row, which is asked on every request."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import unquote, urlsplit

from flask import (
    Blueprint,
    Flask,
    Request,
    abort,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_login import current_user, login_user, logout_user
from werkzeug.wrappers import Response

from app.accounts import service as accounts
from app.accounts import sessions as console_sessions
from app.accounts.models import StaffMember
from app.accounts.sessions import PROOF_LASTS, ConsoleSession
from app.audit.actor import Actor
from app.config import settings
from app.db import utcnow
from app.errors import NotAllowed, NotSignedIn, TooMany
from app.extensions import login_manager

sessions = Blueprint("sessions", __name__, url_prefix="/console")

# What the page that asks for it sends beside what it was asked about.
_OF_PROOF = ("csrf_token", "proof", "proof_back")

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

    def __init__(self, found: ConsoleSession, token: str) -> None:
        self.session = found
        self.person = found.person
        self.token = token

    def get_id(self) -> str:
        """What the cookie keeps: the session's token, not the person's id, so that one session can be ended."""
        return self.token


@login_manager.user_loader  # type: ignore[untyped-decorator]
def load(token: str) -> SignedIn | None:
    """Whose session the cookie names, if it is still live and needs nothing more."""
    found = console_sessions.find(token)
    return SignedIn(found, token) if found and found.needs is None else None


def half_open() -> ConsoleSession | None:
    """The browser's session when it still needs something before it opens the console."""
    token = session.get("_user_id")
    found = console_sessions.find(token) if token else None
    return found if found and found.needs is not None else None


def person() -> StaffMember | None:
    """Who is signed in to the console."""
    found: StaffMember | None = current_user.person if current_user.is_authenticated else None
    return found


def actor() -> Actor:
    """The same as the one who acts. Raises NotSignedIn."""
    found = person()
    if found is None:
        raise NotSignedIn("Sign in first.")
    return accounts.actor_of(found, request.remote_addr)


def confirmed(view: Callable[..., Any]) -> Callable[..., Any]:
    """Have a page's POST go through only where the person showed within the last minutes that it is them.

    Otherwise they are asked for their password or a code, and what they were about to do follows with the answer:
    nothing they typed is lost. Files are not carried over.
    """

    @wraps(view)
    def serve(*arguments: Any, **named: Any) -> Any:
        _require_proof()
        return view(*arguments, **named)

    return serve


def _require_proof() -> None:
    proven_at = current_user.session.proven_at
    if proven_at is not None and utcnow() - proven_at < PROOF_LASTS:
        return
    proof, error, headers = request.form.get("proof", ""), None, {}
    if proof:
        try:
            console_sessions.prove(current_user.token, proof, address=request.remote_addr)
        except (NotAllowed, TooMany) as refusal:
            error = refusal.detail
            headers = {"Retry-After": str(refusal.retry_after)} if isinstance(refusal, TooMany) else {}
        else:
            return
    typed = [(name, value) for name, value in request.form.items(multi=True) if name not in _OF_PROOF]
    page = render_template(
        "console/account/confirm.html",
        typed=typed,
        error=error,
        has_two_factor=current_user.person.two_factor_since is not None,
        back=inside(request.form.get("proof_back")) or sent_from(),
    )
    abort(make_response(page, 429 if headers else 403, headers))


@sessions.get("/login")
def login() -> str | Response:
    """The form."""
    if person() is not None:
        return redirect(url_for("home.index"))
    waiting = half_open()
    if waiting is not None:
        return redirect(_next_step(waiting.needs, request.args.get("next")))
    return _form({}, {})


@sessions.post("/login")
def sign_in() -> str | Response | tuple[str, int]:
    """Check what was typed and open a session."""
    email, password = request.form.get("email", ""), request.form.get("password", "")
    missing = {name: "Fill this in." for name, value in (("email", email.strip()), ("password", password)) if not value}
    if missing:
        return _form(missing, {"email": email}), 422
    try:
        _, token = console_sessions.sign_in(
            email=email, password=password, address=request.remote_addr, user_agent=request.headers.get("User-Agent")
        )
    except NotAllowed as refusal:
        return _form({"form": refusal.detail}, {"email": email}), 403
    except TooMany as refusal:
        return too_many(_form({"form": refusal.detail}, {"email": email}), refusal)
    session.clear()
    found = console_sessions.find(token)
    if found is None:
        raise NotSignedIn("This session has ended already.")
    login_user(SignedIn(found, token))
    session.permanent = True
    if found.needs is not None:
        return redirect(_next_step(found.needs, request.form.get("next")))
    return redirect(inside(request.form.get("next")) or url_for("home.index"))


@sessions.get("/login/code")
def code() -> str | Response:
    """The second factor's form."""
    waiting = half_open()
    if waiting is None or waiting.needs != "code":
        return redirect(url_for("sessions.login"))
    return _code_form(None)


@sessions.post("/login/code")
def give_code() -> str | Response | tuple[str, int]:
    """Check the second factor and open the session."""
    waiting = half_open()
    if waiting is None or waiting.needs != "code":
        return redirect(url_for("sessions.login"))
    typed = request.form.get("code", "").strip()
    if not typed:
        return _code_form("Fill this in."), 422
    try:
        console_sessions.give_code(session["_user_id"], typed, address=request.remote_addr)
    except NotAllowed as refusal:
        return _code_form(refusal.detail), 403
    except TooMany as refusal:
        return too_many(_code_form(refusal.detail), refusal)
    return redirect(inside(request.form.get("next")) or url_for("home.index"))


@sessions.post("/logout")
def sign_out() -> Response:
    """End the session, here and on the server."""
    waiting = half_open()
    leaver = waiting.person if waiting else person()
    if waiting is not None:
        console_sessions.sign_out(session["_user_id"], by=accounts.actor_of(waiting.person, request.remote_addr))
    elif current_user.is_authenticated:
        console_sessions.sign_out(current_user.token, by=actor())
        logout_user()
    session.clear()
    if leaver is not None:
        # Their drafts are not for whoever uses this browser next.
        flash(str(leaver.id), "signed_out")
    return redirect(url_for("sessions.login"))


def _next_step(needs: str | None, then: str | None) -> str:
    step = "sessions.code" if needs == "code" else "two_factor.setup"
    return url_for(step, next=inside(then))


def too_many(page: str, refusal: TooMany) -> Response:
    """A page that says how long to wait."""
    return make_response(page, 429, {"Retry-After": str(refusal.retry_after)})


def _code_form(error: str | None) -> str:
    return render_template("console/account/code.html", error=error, next=inside(request.values.get("next")))


def _form(errors: dict[str, str], values: dict[str, Any]) -> str:
    return render_template(
        "console/login.html",
        form_errors=errors,
        values=values,
        next=inside(request.values.get("next")),
        demo_logins=DEMO_LOGINS if settings().app_env == "development" else (),
    )


def sent_from() -> str | None:
    """The page of the console that a form was sent from."""
    page = urlsplit(request.referrer or "")
    return inside(page._replace(scheme="", netloc="", fragment="").geturl())


def inside(target: str | None) -> str | None:
    """A page of the console to go on to; anything that leads elsewhere is dropped."""
    if not target or not target.startswith("/console/") or "\\" in target or any(ord(letter) < 32 for letter in target):
        return None
    # A browser goes up at these, however they are written.
    steps = unquote(target.partition("?")[0].partition("#")[0]).split("/")
    return None if {".", ".."} & set(steps) else target
