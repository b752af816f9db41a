"""/console/staff/: who works here, with which roles, signed in where."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import request, url_for
from flask_admin import expose
from sqlalchemy import Select, or_, select
from werkzeug.wrappers import Response

from app.accounts import details, sessions, staff, tokens, two_factor
from app.accounts.models import ROLES, StaffRole, User
from app.audit import trail
from app.console import confirmation, edit_forms, session
from app.console.account import session_line
from app.console.base import ADMIN, MAX_ID, Column, RecordView, done, reason_given
from app.console.edit_forms import Answer
from app.console.ordering import Sort
from app.console.record import Action, Blocked, Fact, Group, Phrase, Record
from app.console.users import TITLES, edit_action, person_form
from app.errors import Conflict, Invalid, NotFound
from app.extensions import db

ROLE_MEANS = {
    "support": "Bookings, tickets, guest disputes",
    "moderator": "Reviews",
    "finance": "Payments, refunds, the ledger",
    "admin": "Everything, and staff",
}


class StaffView(RecordView):
    """Staff, for admins."""

    roles = ADMIN
    icon = "user-shield"
    model = User
    title = "Staff"
    exported_as = "staff"
    intro = "Everybody with a role in the console."
    search_hint = "Name or e-mail"
    empty_hint = "Invite somebody, or make an account with flask staff create."
    template = "console/staff/list.html"
    noun = ("member of staff", "members of staff")
    commands = (("Invite a colleague", "/console/staff/invite", "add new staff"),)
    columns = (
        Column("name", "Name", "link", sort=Sort(User.name)),
        Column("email", "E-mail", sort=Sort(User.email)),
        Column("state", "State", "chip"),
        Column("roles", "Roles"),
        Column("two_factor", "Signs in with"),
        Column("created_at", "Since", "time", "right", sort=Sort(User.created_at, follows_id=True)),
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
            "state": staff_state(row),
            "roles": _named(row.roles),
            "two_factor": "Second factor" if row.two_factor_since else "Password only",
            "created_at": row.created_at,
        }

    def href(self, row: User) -> str:
        """Their page."""
        return staff_href(row.id)

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
        return done(f"{person.name} is invited; the mail to {person.email} is on its way.", staff_href(person.id))

    @expose("/<int:person_id>/")  # type: ignore[untyped-decorator]
    def show(self, person_id: int) -> str:
        """One person."""
        person = _find(person_id)
        return self.render_record(
            Record(
                title=person.name,
                about=person,
                titles=TITLES,
                status=staff_state(person),
                sub=(
                    Phrase(text=person.email),
                    Phrase(text=_named(person.roles)),
                    Phrase("since", at=person.created_at),
                ),
                actions=_actions(person),
                blocked=_blocked(person),
                facts=_facts(person),
                timeline=list(trail.moments({User.__tablename__: [person.id]}, titles=TITLES)),
            ),
            "console/staff/show.html",
            roles=_roles(person.roles),
            roles_href=url_for("staff.set_roles", person_id=person.id),
            sessions=[
                session_line(row, url_for("staff.end_session", person_id=person.id, session_id=row.id))
                for row in sessions.live(person.id)
            ],
        )

    @expose("/<int:person_id>/edit")  # type: ignore[untyped-decorator]
    def edit(self, person_id: int) -> Answer:
        """Their name and address."""
        return edit_forms.serve(self, person_form(_find(person_id), staff_href(person_id)), details.MAY_EDIT)

    @expose("/<int:person_id>/edit", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def save(self, person_id: int) -> Answer:
        """Save them."""
        return edit_forms.serve(self, person_form(_find(person_id), staff_href(person_id)), details.MAY_EDIT)

    @expose("/<int:person_id>/roles", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def set_roles(self, person_id: int) -> Response:
        """Give them the ticked roles."""
        person = staff.set_roles(
            _find(person_id).id,
            request.form.getlist("roles"),
            reason=reason_given(),
            by=session.actor(),
        )
        return done(
            f"{person.name} now holds: {', '.join(sorted(person.roles))}. It holds from their next click on.",
            staff_href(person_id),
        )

    @expose("/<int:person_id>/deactivate", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def deactivate(self, person_id: int) -> Response:
        """Keep them out."""
        person = staff.deactivate(_find(person_id).id, reason=reason_given(), by=session.actor())
        return done(f"{person.name} is deactivated and signed out everywhere.", staff_href(person_id))

    @expose("/<int:person_id>/reactivate", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def reactivate(self, person_id: int) -> Response:
        """Let them in again."""
        person = staff.reactivate(_find(person_id).id, reason=reason_given(), by=session.actor())
        return done(f"{person.name} can sign in again.", staff_href(person_id))

    @expose("/<int:person_id>/reset-two-factor", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    @confirmation.typed(ADMIN, lambda person_id: _find(person_id).email)
    def reset_two_factor(self, person_id: int) -> Response:
        """Take a lost second factor away."""
        person = staff.reset_two_factor(_find(person_id).id, reason=reason_given(), by=session.actor())
        return done(
            f"{person.name} signs in with the password alone now, and is signed out everywhere.", staff_href(person_id)
        )

    @expose("/<int:person_id>/invite-again", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def invite_again(self, person_id: int) -> Response:
        """Mail a new link."""
        person = staff.invite_again(_find(person_id).id, by=session.actor())
        return done(
            f"A new link is on its way to {person.email}; the one before does not work any more.", staff_href(person_id)
        )

    @expose("/<int:person_id>/end-sessions", methods=["POST"])  # type: ignore[untyped-decorator]
    def end_sessions(self, person_id: int) -> Response:
        """Sign them out everywhere."""
        staff.end_sessions(_find(person_id).id, by=session.actor())
        return done("Signed out everywhere.", staff_href(person_id))

    @expose("/<int:person_id>/sessions/<int:session_id>/end", methods=["POST"])  # type: ignore[untyped-decorator]
    def end_session(self, person_id: int, session_id: int) -> Response:
        """Sign one browser out."""
        sessions.end(session_id, of=_find(person_id).id, by=session.actor())
        return done("That browser is signed out.", staff_href(person_id))

    def _invite_page(self, errors: dict[str, str], typed: dict[str, str], roles: list[str]) -> str:
        return str(
            self.render("console/staff/invite.html", errors=errors, values=typed, roles=_roles(frozenset(roles)))
        )


def staff_href(person_id: int) -> str:
    """The page of a member of staff."""
    return f"/console/staff/{person_id}/"


def _find(person_id: int) -> User:
    wanted = select(User).where(User.id == person_id, User.id.in_(select(StaffRole.user_id)))
    person = db.session.scalar(wanted) if person_id <= MAX_ID else None
    if person is None:
        raise NotFound("There is nobody on the staff with this id.")
    return person


def staff_state(person: User) -> str:
    """Where their account stands, as a state."""
    if not person.is_active:
        return "DEACTIVATED"
    return "ACTIVE" if person.password_hash is not None else "INVITED"


def _named(roles: Iterable[str]) -> str:
    return ", ".join(role.capitalize() for role in sorted(roles))


def _roles(held: frozenset[str]) -> list[dict[str, Any]]:
    return [{"name": role, "means": ROLE_MEANS[role], "is_held": role in held} for role in ROLES]


def _actions(person: User) -> list[Action]:
    """What an admin may do to somebody now; to themselves, next to nothing."""
    href = staff_href(person.id)
    offered = edit_action(href)
    if person.is_active and person.password_hash is None:
        offered.append(
            Action(
                "invite-again",
                "Mail a new invitation",
                f"{href}invite-again",
                "Mails a new link, good for 7 days; the one before stops working.",
            )
        )
    if not person.is_active:
        offered.append(
            Action(
                "reactivate",
                "Reactivate",
                f"{href}reactivate",
                f"{person.name} can sign in again, with the password and the roles they had.",
                needs_reason=True,
            )
        )
    return offered if person.id == session.actor().id else offered + _dangers(person, href)


def _dangers(person: User, href: str) -> list[Action]:
    offered = []
    if person.is_active and person.password_hash is not None:
        offered.append(
            Action(
                "end-sessions",
                "Sign out everywhere",
                f"{href}end-sessions",
                f"Ends {_count(len(sessions.live(person.id)), 'console session')} and"
                f" {_count(tokens.live_families(person.id), 'API log-in')}. They can sign in again.",
                danger=True,
            )
        )
    if person.two_factor_since is not None:
        offered.append(
            Action(
                "reset-two-factor",
                "Reset second factor",
                f"{href}reset-two-factor",
                "For somebody who lost their authenticator app and recovery codes: they sign in with the password alone"
                " until they set up another. Signs them out everywhere.",
                danger=True,
                needs_reason=True,
                typed=person.email,
            )
        )
    if person.is_active:
        offered.append(
            Action(
                "deactivate",
                "Deactivate",
                f"{href}deactivate",
                f"{person.name} is signed out everywhere and can't sign in any more. What they did stays as it is.",
                danger=True,
                needs_reason=True,
            )
        )
    return offered


def _blocked(person: User) -> list[Blocked]:
    if person.id != session.actor().id:
        return []
    why = "This is you. Another admin can do it."
    return [Blocked("Deactivate", why), Blocked("Take the role admin away", why)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _facts(person: User) -> list[Group]:
    return [
        Group(
            "Signing in",
            (
                Fact("Address confirmed", person.email_verified_at, "time"),
                Fact("Second factor since", person.two_factor_since, "time"),
                *_recovery_codes(person),
                Fact("API log-ins", tokens.live_families(person.id), "number"),
            ),
        )
    ]


def _recovery_codes(person: User) -> list[Fact]:
    if person.two_factor_since is None:
        return []
    return [Fact("Recovery codes left", two_factor.recovery_codes_left(person.id), "number")]
