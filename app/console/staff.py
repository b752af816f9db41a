"""/console/staff/: who works here, with which roles, signed in where."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, request, url_for
from flask_admin import expose
from sqlalchemy import Select, or_, select
from werkzeug.wrappers import Response

from app.accounts import sessions, staff, tokens, two_factor
from app.accounts.models import ROLES, StaffRole, User
from app.audit.models import AuditEntry
from app.console import session
from app.console.account import session_line
from app.console.base import ADMIN, Column, RecordView
from app.errors import Conflict, Invalid, NotFound
from app.extensions import db

_HISTORY = 100

ROLE_MEANS = {
    "support": "Bookings, tickets, guest disputes",
    "moderator": "Reviews",
    "finance": "Payments, refunds, the ledger",
    "admin": "Everything, and staff",
}
_TITLES = {
    "user.register": "Registered",
    "user.verify_email": "Confirmed the e-mail address",
    "user.change_password": "Changed the password",
    "user.request_password_reset": "A link to reset the password was mailed",
    "user.reset_password": "Reset the password",
    "user.deactivate": "Deactivated",
    "user.reactivate": "Reactivated",
    "user.end_sessions": "Signed out everywhere",
    "staff.create": "Account made",
    "staff.invite": "Invited",
    "staff.invite_again": "Invited again",
    "staff.accept_invitation": "Accepted the invitation",
    "staff.set_roles": "Roles changed",
    "staff.break_glass": "Made admin from the command line",
    "two_factor.begin": "Began to set up two-factor sign-in",
    "two_factor.on": "Two-factor sign-in turned on",
    "two_factor.off": "Two-factor sign-in turned off",
    "two_factor.new_recovery_codes": "New recovery codes",
    "two_factor.recovery_code_used": "Signed in with a recovery code",
}


class StaffView(RecordView):
    """Staff, for admins."""

    roles = ADMIN
    icon = "user-shield"
    model = User
    title = "Staff"
    intro = "Everybody with a role. Travellers have pages of their own."
    search_hint = "Name or e-mail"
    empty_hint = "Invite somebody, or make an account with flask staff create."
    list_template = "console/staff/list.html"
    columns = (
        Column("name", "Name", "link"),
        Column("email", "E-mail"),
        Column("state", "State", "chip"),
        Column("roles", "Roles"),
        Column("two_factor", "Second factor"),
        Column("created_at", "Since", "time", "right"),
    )

    def query(self) -> Select[Any]:
        """Whoever holds a role."""
        return select(User).where(User.id.in_(select(StaffRole.user_id)))

    def search(self, query: Select[Any], words: str) -> Select[Any]:
        """By a part of the name or the address; staff are few."""
        return query.where(
            or_(User.name.icontains(words, autoescape=True), User.email.icontains(words, autoescape=True))
        )

    def cells(self, row: User) -> dict[str, Any]:
        """One person's line."""
        return {
            "name": row.name,
            "email": row.email,
            "state": _state(row),
            "roles": ", ".join(sorted(row.roles)),
            "two_factor": "on" if row.two_factor_since else "off",
            "created_at": row.created_at,
        }

    def href(self, row: User) -> str:
        """Their page."""
        return _href(row.id)

    @expose("/invite")  # type: ignore[untyped-decorator]
    def invite_form(self) -> str:
        """The form for a new colleague."""
        return self._invite_page({}, {}, [])

    @expose("/invite", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def invite(self) -> Response | tuple[str, int]:
        """Invite them."""
        typed = {name: request.form.get(name, "") for name in ("email", "name")}
        roles = request.form.getlist("roles")
        try:
            person = staff.invite(**typed, roles=roles, by=session.actor())
        except Invalid as refusal:
            return self._invite_page({wrong.field: wrong.message for wrong in refusal.fields}, typed, roles), 422
        except Conflict as refusal:
            return self._invite_page({"email": refusal.detail}, typed, roles), 409
        flash(f"{person.name} is invited; the mail to {person.email} is on its way.", "done")
        return redirect(_href(person.id))

    @expose("/<int:person_id>/")  # type: ignore[untyped-decorator]
    def show(self, person_id: int) -> str:
        """One person."""
        person = _find(person_id)
        return str(
            self.render(
                "console/staff/show.html",
                account=person,
                state=_state(person),
                is_oneself=person.id == session.actor().id,
                roles=_roles(person.roles),
                facts=_facts(person),
                sessions=[
                    session_line(row, url_for("staff.end_session", person_id=person.id, session_id=row.id))
                    for row in sessions.live(person.id)
                ],
                timeline=_history(person.id),
            )
        )

    @expose("/<int:person_id>/roles", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def set_roles(self, person_id: int) -> Response:
        """Give them the ticked roles."""
        person = staff.set_roles(
            _find(person_id).id,
            request.form.getlist("roles"),
            reason=request.form.get("reason", "").strip(),
            by=session.actor(),
        )
        flash(f"{person.name} now holds: {', '.join(sorted(person.roles))}. It holds from their next click on.", "done")
        return redirect(_href(person_id))

    @expose("/<int:person_id>/deactivate", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def deactivate(self, person_id: int) -> Response:
        """Keep them out."""
        person = staff.deactivate(_find(person_id).id, reason=_reason(), by=session.actor())
        flash(f"{person.name} is deactivated and signed out everywhere.", "done")
        return redirect(_href(person_id))

    @expose("/<int:person_id>/reactivate", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def reactivate(self, person_id: int) -> Response:
        """Let them in again."""
        person = staff.reactivate(_find(person_id).id, reason=_reason(), by=session.actor())
        flash(f"{person.name} can sign in again.", "done")
        return redirect(_href(person_id))

    @expose("/<int:person_id>/reset-two-factor", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def reset_two_factor(self, person_id: int) -> Response:
        """Take a lost second factor away."""
        person = staff.reset_two_factor(_find(person_id).id, reason=_reason(), by=session.actor())
        flash(f"{person.name} signs in with the password alone now, and is signed out everywhere.", "done")
        return redirect(_href(person_id))

    @expose("/<int:person_id>/invite-again", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def invite_again(self, person_id: int) -> Response:
        """Mail a new link."""
        person = staff.invite_again(_find(person_id).id, by=session.actor())
        flash(f"A new link is on its way to {person.email}; the one before does not work any more.", "done")
        return redirect(_href(person_id))

    @expose("/<int:person_id>/end-sessions", methods=["POST"])  # type: ignore[untyped-decorator]
    def end_sessions(self, person_id: int) -> Response:
        """Sign them out everywhere."""
        staff.end_sessions(_find(person_id).id, by=session.actor())
        flash("Signed out everywhere.", "done")
        return redirect(_href(person_id))

    @expose("/<int:person_id>/sessions/<int:session_id>/end", methods=["POST"])  # type: ignore[untyped-decorator]
    def end_session(self, person_id: int, session_id: int) -> Response:
        """Sign one browser out."""
        sessions.end(session_id, by=session.actor())
        flash("That browser is signed out.", "done")
        return redirect(_href(person_id))

    def _invite_page(self, errors: dict[str, str], typed: dict[str, str], roles: list[str]) -> str:
        return str(
            self.render("console/staff/invite.html", errors=errors, values=typed, roles=_roles(frozenset(roles)))
        )


def _href(person_id: int) -> str:
    return f"/console/staff/{person_id}/"


def _find(person_id: int) -> User:
    wanted = select(User).where(User.id == person_id, User.id.in_(select(StaffRole.user_id)))
    person = db.session.scalar(wanted) if person_id < 2**63 else None
    if person is None:
        raise NotFound("There is nobody on the staff with this id.")
    return person


def _state(person: User) -> str:
    if not person.is_active:
        return "DEACTIVATED"
    return "ACTIVE" if person.password_hash is not None else "INVITED"


def _roles(held: frozenset[str]) -> list[dict[str, Any]]:
    return [{"name": role, "means": ROLE_MEANS[role], "is_held": role in held} for role in ROLES]


def _facts(person: User) -> list[dict[str, Any]]:
    return [
        {
            "title": "Account",
            "items": [
                {"label": "E-mail", "value": person.email, "kind": "text"},
                {"label": "Address confirmed", "value": person.email_verified_at, "kind": "time"},
                {"label": "Account made", "value": person.created_at, "kind": "time"},
            ],
        },
        {
            "title": "Signing in",
            "items": [
                {"label": "Second factor since", "value": person.two_factor_since, "kind": "time"},
                {"label": "Recovery codes left", "value": two_factor.recovery_codes_left(person.id), "kind": "number"},
                {"label": "API log-ins", "value": tokens.live_families(person.id), "kind": "number"},
            ],
        },
    ]


def _history(person_id: int) -> list[dict[str, Any]]:
    entries = db.session.scalars(
        select(AuditEntry)
        .where(AuditEntry.object_type == User.__tablename__, AuditEntry.object_id == person_id)
        .order_by(AuditEntry.id.desc())
        .limit(_HISTORY)
    )
    return [
        {
            "at": entry.at,
            "title": _TITLES.get(entry.action, entry.action),
            "detail": _detail(entry),
            "actor": entry.actor_label,
            "request_id": entry.request_id,
        }
        for entry in entries
    ]


def _detail(entry: AuditEntry) -> str | None:
    after = entry.after or {}
    roles = ", ".join(after.get("roles", ()))
    if "roles_before" in after:
        roles = f"{', '.join(after['roles_before'])} → {roles}"
    return ". ".join(part for part in (roles, entry.reason) if part) or None


def _reason() -> str:
    return request.form.get("reason", "").strip()
