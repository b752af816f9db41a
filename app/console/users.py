"""/console/users/: travellers, found by name, address or booking, each with their bookings and API sessions."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask_admin import expose
from sqlalchemy import ColumnElement, Select, func, or_, select
from werkzeug.wrappers import Response

from app.accounts import credentials, details
from app.accounts import service as accounts
from app.accounts.models import RefreshToken, StaffRole, User
from app.audit import trail
from app.bookings.models import Booking
from app.console import edit_forms, session
from app.console.base import EVERYBODY, Column, RecordView, done, find, line
from app.console.bookings import bookings_of
from app.console.edit_forms import Answer, EditForm, Input
from app.console.formatting import status_label
from app.console.happened import happened
from app.console.ordering import Sort
from app.console.record import Action, Fact, Group, Phrase, Record
from app.console.words import words_in
from app.db import utcnow
from app.errors import NotFound
from app.extensions import db

_SHOWN_SESSIONS = 10
# What happens to an account, on the page of a traveller and of a member of staff.
TITLES: dict[str, trail.Title] = {
    "user.register": ("Registered", "audit", None),
    "user.mail_verification": ("A new link to confirm the address was mailed", "mail", None),
    "user.verify_email": ("Confirmed the e-mail address", "mail", None),
    "user.change_password": ("Changed the password", "audit", None),
    "user.request_password_reset": ("A link to reset the password was mailed", "mail", None),
    "user.reset_password": ("Reset the password", "audit", None),
    "user.edit": ("Name or address changed", "audit", None),
    "user.deactivate": ("Deactivated", "state", "bad"),
    "user.reactivate": ("Reactivated", "state", None),
    "user.end_sessions": ("Signed out everywhere", "audit", None),
    "staff.create": ("Account made", "state", None),
    "staff.invite": ("Invited", "state", None),
    "staff.invite_again": ("Invited again", "mail", None),
    "staff.accept_invitation": ("Accepted the invitation", "audit", None),
    "staff.set_roles": ("Roles changed", "state", None),
    "staff.break_glass": ("Made admin from the command line", "state", "warn"),
    "two_factor.begin": ("Began to set up two-factor sign-in", "audit", None),
    "two_factor.on": ("Two-factor sign-in turned on", "audit", None),
    "two_factor.off": ("Two-factor sign-in turned off", "audit", None),
    "two_factor.new_recovery_codes": ("New recovery codes", "audit", None),
    "two_factor.recovery_code_used": ("Signed in with a recovery code", "audit", None),
}


def is_traveller() -> ColumnElement[bool]:
    """Whoever holds no role, and staff who booked something themselves."""
    holds_a_role = select(StaffRole.user_id).where(StaffRole.user_id == User.id).exists()
    has_booked = select(Booking.id).where(Booking.traveller_id == User.id).exists()
    return or_(~holds_a_role, has_booked)


class UsersView(RecordView):
    """Travellers, for everybody to read; support and admins mail them links."""

    roles = EVERYBODY
    icon = "users"
    model = User
    title = "Travellers"
    exported_as = "travellers"
    search_hint = "Name, e-mail or booking reference"
    empty_hint = "The first one shows here as soon as somebody registers."
    columns = (
        Column("name", "Traveller", "link", sort=Sort(User.name)),
        Column("email", "E-mail", sort=Sort(User.email)),
        Column("status", "Account", "chip"),
        Column("bookings", "Bookings", "number", "right"),
        Column("last_booking", "Last booking", "time", "right"),
        Column("created_at", "Registered", "time", "right", sort=Sort(User.created_at, follows_id=True)),
    )

    filters = (happened(User.id, User.created_at, {"registered": ("Registered", User.created_at, ())}),)

    def query(self) -> Select[Any]:
        """Accounts of travellers."""
        return select(User).where(is_traveller())

    def match(self, words: str) -> ColumnElement[bool]:
        """By words of name and address, or a whole booking reference."""
        by_reference = db.session.scalar(select(Booking.traveller_id).where(Booking.reference == words.upper()))
        return User.id == by_reference if by_reference else words_in(words, User.name, User.email)

    def lines(self, rows: Any) -> list[dict[str, Any]]:
        """A page's travellers with how much each has booked."""
        booked = {
            found.traveller_id: found
            for found in db.session.execute(
                select(Booking.traveller_id, func.count().label("count"), func.max(Booking.created_at).label("last"))
                .where(Booking.traveller_id.in_([row.id for row in rows]))
                .group_by(Booking.traveller_id)
            )
        }
        return [
            line(
                user_href(row.id),
                name=row.name,
                email=row.email,
                status=account_state(row),
                bookings=booked[row.id].count if row.id in booked else 0,
                last_booking=booked[row.id].last if row.id in booked else None,
                created_at=row.created_at,
            )
            for row in rows
        ]

    @expose("/<int:user_id>/")  # type: ignore[untyped-decorator]
    def show(self, user_id: int) -> str:
        """One traveller."""
        person = _find(user_id)
        counts = db.session.execute(
            select(Booking.status, func.count().label("count"))
            .where(Booking.traveller_id == person.id)
            .group_by(Booking.status)
            .order_by(Booking.status)
        ).all()
        bookings = [Fact(status_label(found.status), found.count, "number") for found in counts]
        return self.render_record(
            Record(
                title=person.name,
                about=person,
                titles=TITLES,
                status=account_state(person),
                sub=(Phrase(text=person.email), Phrase("registered", at=person.created_at)),
                actions=_actions(person),
                facts=[
                    Group("Bookings by state", bookings or [Fact("Bookings", 0, "number")]),
                    Group("Account", [_address(person)]),
                ],
                timeline=list(trail.moments({"users": [person.id]}, titles=TITLES)),
            ),
            "console/users/show.html",
            sessions=_sessions(person),
            bookings=bookings_of(Booking.traveller_id == person.id),
            bookings_href=f"/console/bookings/?traveller_id={person.id}",
        )

    @expose("/<int:user_id>/edit")  # type: ignore[untyped-decorator]
    def edit(self, user_id: int) -> Answer:
        """Their name and address."""
        return edit_forms.serve(self, person_form(_find(user_id), user_href(user_id)), details.MAY_EDIT)

    @expose("/<int:user_id>/edit", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def save(self, user_id: int) -> Answer:
        """Save them."""
        return edit_forms.serve(self, person_form(_find(user_id), user_href(user_id)), details.MAY_EDIT)

    @expose("/<int:user_id>/mail-verification", methods=["POST"])  # type: ignore[untyped-decorator]
    def mail_verification(self, user_id: int) -> Response:
        """Mail another link to confirm the address."""
        person = credentials.mail_verification(user_id, by=session.actor())
        return done(f"A new link is on its way to {person.email}.", user_href(person.id))


def user_href(user_id: int) -> str:
    """The page of a traveller."""
    return f"/console/users/{user_id}/"


def _find(user_id: int) -> User:
    person = find(User, user_id, "traveller")
    if db.session.scalar(select(User.id).where(User.id == person.id, is_traveller())) is None:
        raise NotFound("There is no traveller with this id.")
    return person


def person_form(person: User, back: str) -> EditForm:
    """The form of a traveller, or of a member of staff."""
    return EditForm(
        row=person,
        name=person.name,
        intro="A new address has to be confirmed by a link that is mailed to it; the address before is told.",
        back=back,
        fields=details.FIELDS,
        groups={
            "Who they are": (
                Input("name", "Name", most=accounts.MAX_NAME),
                Input("email", "E-mail", "email", most=254, hint="They sign in with it."),
            )
        },
        save=partial(details.edit_person, person.id),
        asks_reason=True,
    )


def edit_action(href: str) -> list[Action]:
    """The way to that form, for who may."""
    if not session.actor().has(details.MAY_EDIT):
        return []
    return [Action("edit", "Edit", f"{href}edit", "Name and e-mail address.", key="e", is_link=True)]


def account_state(person: User) -> str:
    """Whether the account can be used, as a state."""
    return "ACTIVE" if person.is_active else "DEACTIVATED"


def _address(person: User) -> Fact:
    if person.email_verified_at is None:
        return Fact("Address confirmed", "Not yet")
    return Fact("Address confirmed", person.email_verified_at, "time")


def _actions(person: User) -> list[Action]:
    """What may be done for a traveller now; the rules are the verb's."""
    is_open = person.is_active and person.email_verified_at is None
    edit = edit_action(user_href(person.id))
    if not is_open or not session.actor().has(credentials.MAY_MAIL_VERIFICATION):
        return edit
    return [
        *edit,
        Action(
            "mail-verification",
            "Mail a new confirmation link",
            f"{user_href(person.id)}mail-verification",
            "Mails a new link to confirm the address, good for 7 days; the one before stops working.",
        ),
    ]


def _sessions(person: User) -> list[dict[str, Any]]:
    """Families of refresh tokens, one per sign-in at the API, the last used first."""
    families = db.session.execute(
        select(
            RefreshToken.family,
            func.min(RefreshToken.created_at).label("opened_at"),
            func.max(RefreshToken.created_at).label("renewed_at"),
            func.max(RefreshToken.expires_at).label("expires_at"),
            func.bool_or(RefreshToken.used_at.is_(None) & RefreshToken.revoked_at.is_(None)).label("is_live"),
        )
        .where(RefreshToken.user_id == person.id)
        .group_by(RefreshToken.family)
        .order_by(func.max(RefreshToken.created_at).desc())
        .limit(_SHOWN_SESSIONS)
    )
    return [
        line(
            state="ACTIVE" if family.is_live and family.expires_at > utcnow() else "ENDED",
            opened_at=family.opened_at,
            renewed_at=family.renewed_at,
            expires_at=family.expires_at,
        )
        for family in families
    ]
