"""Where mailed links lead, for staff and travellers alike: a new password, an invitation, a proven address."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from werkzeug.wrappers import Response

from app.accounts import credentials, links
from app.accounts.models import User
from app.console import session
from app.errors import Invalid, TooMany

mailed_links = Blueprint("mailed_links", __name__, url_prefix="/console")

_CHOOSE = {
    "password_reset": ("Choose a new password", "Every session and log-in of this account ends."),
    "staff_invitation": ("Welcome to Tripdesk", "Choose a password, then sign in."),
}


@mailed_links.get("/password/forgot")
def forgot() -> str:
    """The form that asks for a link."""
    return render_template("console/account/forgot.html", error=None, email="")


@mailed_links.post("/password/forgot")
def send() -> str | Response | tuple[str, int]:
    """Have a link mailed, and say so whether or not there is an account."""
    email = request.form.get("email", "").strip()
    if not email:
        return render_template("console/account/forgot.html", error="Fill this in.", email=""), 422
    try:
        credentials.request_password_reset(email, address=request.remote_addr)
    except TooMany as refusal:
        return session.too_many(
            render_template("console/account/forgot.html", error=refusal.detail, email=email), refusal
        )
    return _said(
        "Look into your mail",
        "If this address has an account, a link to choose a new password is on its way. It works once, for an hour.",
    )


@mailed_links.get("/password/reset/<token>")
def reset_form(token: str) -> str | tuple[str, int]:
    """A new password."""
    return _choose(token, "password_reset")


@mailed_links.post("/password/reset/<token>")
def reset(token: str) -> str | tuple[str, int]:
    """Take it."""
    return _chosen(token, "password_reset")


@mailed_links.get("/invitation/<token>")
def invitation_form(token: str) -> str | tuple[str, int]:
    """The first password."""
    return _choose(token, "staff_invitation")


@mailed_links.post("/invitation/<token>")
def accept_invitation(token: str) -> str | tuple[str, int]:
    """Take it."""
    return _chosen(token, "staff_invitation")


@mailed_links.get("/email/verify/<token>")
def verify_form(token: str) -> str | tuple[str, int]:
    """A button: programs that read mail open links, and must not use them up."""
    person = links.whose(token, "verify_email")
    return render_template("console/account/verify_email.html", email=person.email) if person else _dead_verification()


@mailed_links.post("/email/verify/<token>")
def verify(token: str) -> str | tuple[str, int]:
    """Note that the address is right."""
    try:
        person = credentials.verify_email(token, address=request.remote_addr)
    except Invalid:
        return _dead_verification()
    return _said("Thank you", f"{person.email} is confirmed.", staff=bool(person.roles))


def _choose(token: str, purpose: str, error: str | None = None) -> str | tuple[str, int]:
    person = links.whose(token, purpose)
    return _form(person, purpose, error) if person else _dead()


def _chosen(token: str, purpose: str) -> str | tuple[str, int]:
    take = credentials.reset_password if purpose == "password_reset" else credentials.accept_invitation
    try:
        person = take(token, request.form.get("password", ""), address=request.remote_addr)
    except Invalid as refusal:
        person_now = links.whose(token, purpose)
        return (_form(person_now, purpose, refusal.detail), 422) if person_now else _dead()
    then = "Sign in with it." if person.roles else "You can log in with it where you book."
    return _said("Your password is set", then, staff=bool(person.roles))


def _form(person: User, purpose: str, error: str | None) -> str:
    title, intro = _CHOOSE[purpose]
    return render_template(
        "console/account/choose_password.html", title=title, intro=intro, email=person.email, error=error
    )


def _said(title: str, text: str, *, staff: bool = False) -> str:
    return render_template("console/account/said.html", title=title, text=text, staff=staff, may_renew=False)


def _dead() -> tuple[str, int]:
    return _gone("You can have a new one sent.", may_renew=True)


def _dead_verification() -> tuple[str, int]:
    # Whether the address has been confirmed since, or has an account at all, is nobody's to read here.
    return _gone("If your address is not confirmed yet, ask our support to mail you a new one.", may_renew=False)


def _gone(then: str, *, may_renew: bool) -> tuple[str, int]:
    page = render_template(
        "console/account/said.html",
        title="This link does not work any more",
        text=f"It was used, replaced by a newer one, or is too old. {then}",
        staff=False,
        may_renew=may_renew,
    )
    return page, 410
