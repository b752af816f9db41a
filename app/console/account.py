"""/console/account/: one's own sessions, password and second factor."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, request, url_for
from flask_admin import expose
from flask_login import current_user
from werkzeug.wrappers import Response

from app.accounts import credentials, sessions, tokens, two_factor
from app.accounts.models import StaffMember, StaffSession
from app.console import session
from app.console.base import EVERYBODY, Page
from app.console.two_factor import recovery_codes
from app.errors import Invalid, TooMany

# In this order: Edge and Opera call themselves Chrome too, and Chrome calls itself Safari.
_BROWSERS = {"Edg/": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
_SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


class AccountView(Page):
    """What everybody may do about themselves."""

    roles = EVERYBODY
    icon = "settings"
    commands = (
        ("Change your password", "/console/account/", ""),
        ("Set up two-factor sign-in", "/console/two-factor/", "second factor authenticator 2fa"),
    )

    def is_visible(self) -> bool:
        """Reached by one's name, not from the menu."""
        return False

    @expose("/")  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """Sessions, password, second factor."""
        return self._page({})

    @expose("/password", methods=["POST"])  # type: ignore[untyped-decorator]
    def change_password(self) -> Response | tuple[str, int]:
        """Take a new password."""
        person = _self()
        typed = {name: request.form.get(name, "") for name in ("old", "new")}
        missing = {name: "Fill this in." for name, value in typed.items() if not value}
        if missing:
            return self._page(missing), 422
        try:
            credentials.change_password(person.id, **typed, by=session.actor(), session_id=current_user.session.id)
        except Invalid as refusal:
            return self._page({wrong.field: wrong.message for wrong in refusal.fields}), 422
        except TooMany as refusal:
            return session.too_many(self._page({"old": refusal.detail}), refusal)
        flash("Your password is changed. Every other browser and app of yours is signed out.", "done")
        return redirect(url_for("account.index"))

    @expose("/sessions/<int:session_id>/end", methods=["POST"])  # type: ignore[untyped-decorator]
    def end_session(self, session_id: int) -> Response:
        """End one of one's own."""
        sessions.end(session_id, of=_self().id, by=session.actor())
        flash("That browser is signed out.", "done")
        return redirect(url_for("account.index"))

    @expose("/sessions/end-others", methods=["POST"])  # type: ignore[untyped-decorator]
    def end_others(self) -> Response:
        """End all but this one."""
        credentials.sign_out_elsewhere(_self().id, by=session.actor(), session_id=current_user.session.id)
        flash("Every other browser and app of yours is signed out.", "done")
        return redirect(url_for("account.index"))

    @expose("/recovery-codes", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def renew_recovery_codes(self) -> str:
        """New ones, shown this once."""
        codes = two_factor.renew_recovery_codes(_self().id, by=session.actor())
        return recovery_codes(codes, then=url_for("account.index"))

    @expose("/two-factor/off", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def turn_off_two_factor(self) -> Response:
        """Do without."""
        two_factor.turn_off(_self().id, by=session.actor())
        flash("Two-factor sign-in is off.", "done")
        return redirect(url_for("account.index"))

    def _page(self, errors: dict[str, str]) -> str:
        person = _self()
        return str(
            self.render(
                "console/account/index.html",
                account=person,
                errors=errors,
                sessions=[session_line(row, url_for("account.end_session", session_id=row.id)) for row in _sessions()],
                api_log_ins=tokens.live_families(person.id),
                codes_left=two_factor.recovery_codes_left(person.id),
                is_demanded=two_factor.is_demanded(person.roles),
            )
        )


def session_line(row: StaffSession, end_href: str) -> dict[str, Any]:
    """A session as lists of them show it."""
    return {
        "device": device(row.user_agent),
        "user_agent": row.user_agent,
        "address": row.address,
        "created_at": row.created_at,
        "last_seen_at": row.last_seen_at,
        "needs_code": row.needs_code,
        "is_this": row.id == current_user.session.id,
        "end_href": end_href,
    }


def device(user_agent: str | None) -> str:
    """What a browser says it is, in two words: "Firefox on Windows"."""
    said = user_agent or ""
    browser = next((name for mark, name in _BROWSERS.items() if mark in said), "Unknown browser")
    system = next((name for mark, name in _SYSTEMS.items() if mark in said), None)
    return f"{browser} on {system}" if system else browser


def _self() -> StaffMember:
    found: StaffMember = current_user.person
    return found


def _sessions() -> list[StaffSession]:
    return sessions.live(_self().id)
