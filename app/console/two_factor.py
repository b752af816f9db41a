"""/console/two-factor/: setting up the second factor; also for who may open nothing else before they have."""

from __future__ import annotations

import segno
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from app.accounts import service as accounts
from app.accounts import two_factor
from app.accounts.models import StaffMember
from app.console import session
from app.errors import Conflict, Invalid, NotSignedIn

two_factor_setup = Blueprint("two_factor", __name__, url_prefix="/console/two-factor")


@two_factor_setup.get("/")
def setup() -> str | Response:
    """How it works, or the QR code to scan."""
    person = _person()
    return redirect(url_for("account.index")) if person.two_factor_since else _page(person)


@two_factor_setup.post("/begin")
def begin() -> Response:
    """Draw a secret to scan."""
    person = _person()
    two_factor.begin(person.id, by=accounts.actor_of(person, request.remote_addr))
    return redirect(url_for("two_factor.setup", next=_next()))


@two_factor_setup.post("/confirm")
def confirm() -> str | Response | tuple[str, int]:
    """Check the first code, turn the second factor on, and show the recovery codes, this once."""
    person = _person()
    try:
        codes = two_factor.confirm(
            person.id, request.form.get("code", ""), by=accounts.actor_of(person, request.remote_addr)
        )
    except Invalid as refusal:
        return _page(person, error=refusal.detail), 422
    except Conflict as refusal:
        flash(refusal.detail, "refused")
        return redirect(url_for("account.index"))
    return recovery_codes(codes, then=_next())


def recovery_codes(codes: list[str], *, then: str) -> str:
    """The page that shows recovery codes, which can't be opened again."""
    return render_template("console/account/recovery_codes.html", codes=codes, then=then)


def _person() -> StaffMember:
    """Whoever is signed in, or would be but for the second factor. Raises NotSignedIn."""
    waiting = session.half_open()
    if waiting is not None and waiting.needs == "enrolment":
        return waiting.person
    found = session.person()
    if found is None:
        raise NotSignedIn("Sign in first.")
    return found


def _page(person: StaffMember, error: str | None = None) -> str:
    enrolment = two_factor.enrolment(person)
    return render_template(
        "console/account/two_factor.html",
        secret=_in_fours(enrolment.secret) if enrolment else None,
        qr_code=segno.make(enrolment.uri, error="m").svg_data_uri(scale=4, border=4, light="#fff")
        if enrolment
        else None,
        error=error,
        is_demanded=not current_user.is_authenticated,
        next=_next(),
    )


def _in_fours(secret: str) -> str:
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))


def _next() -> str:
    return session.inside(request.values.get("next")) or url_for("home.index")
