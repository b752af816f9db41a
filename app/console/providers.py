"""/console/providers/: the list, and a provider with its packages, bookings and the decisions about it."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask_admin import expose
from sqlalchemy import ColumnElement, Select, func, select
from werkzeug.wrappers import Response

from app.audit import trail
from app.bookings.models import Booking
from app.catalog import checklist, documents, edits, providers
from app.catalog.models import Package, Provider
from app.catalog.time_zones import all_countries
from app.console import checklist as checklist_page
from app.console import edit_forms, session
from app.console.base import EVERYBODY, FINANCE, Column, Filter, RecordView, done, find, line, reason_given
from app.console.bookings import bookings_of
from app.console.edit_forms import Answer, EditForm, Input
from app.console.formatting import status_label
from app.console.ordering import Sort
from app.console.packages import package_cells, package_href
from app.console.payables import payable_groups
from app.console.record import Action, Blocked, Fact, Group, Phrase, Record
from app.console.words import words_in
from app.errors import NotFound
from app.extensions import db
from app.imports.mappings import MAY_IMPORT

_SHOWN = 10
_WHO = (Input("name", "Name"),)
_CONTACT = (
    Input("contact_name", "Contact person", most=200, is_optional=True),
    Input("email", "E-mail", "email", most=254, is_optional=True),
    Input("phone", "Telephone", "tel", most=40, is_optional=True),
    Input("address", "Address", "text", most=edits.MAX_ADDRESS, is_optional=True),
    Input(
        *("country", "Country", "choice", [("", "Not given"), *((name, name) for name in all_countries())]),
        is_optional=True,
    ),
)
TITLES: dict[str, trail.Title] = {
    "provider.create": ("Added to the catalogue", "audit", None),
    "provider.update": ("Changed by an import", "audit", None),
    "provider.edit": ("Edited", "audit", None),
    "provider.verify": ("Verified", "state", "good"),
    "provider.reject": ("Rejected", "state", "bad"),
    "provider.reconsider": ("Taken up again", "state", None),
    "provider.suspend": ("Suspended", "state", "bad"),
    "provider.reinstate": ("Reinstated", "state", "good"),
    **checklist_page.TITLES,
}
_LABELS = {
    "verify": "Verify",
    "reject": "Reject",
    "reconsider": "Take up again",
    "suspend": "Suspend",
    "reinstate": "Reinstate",
}
_PAPERS = {"expired": "Expired", "month": "Expired, or expire within 30 days"}
_WITHIN_DAYS = {"expired": 0, "month": 30}
_KEYS = {"verify": "v", "reject": "r"}
REASONS = {
    "verify": ("Papers and bank account checked", "Known from another marketplace"),
    "reject": ("Papers missing or not right", "Doesn't exist at this address", "Sells what we don't list"),
    "reconsider": ("New papers came in", "Rejected by mistake"),
    "suspend": ("Complaints of travellers", "Papers ran out", "Asked for it themselves", "Suspected fraud"),
    "reinstate": ("What was wrong is put right", "Suspended by mistake"),
}
_DONE = {
    "verify": "is verified; its published packages are on sale.",
    "reject": "is rejected.",
    "reconsider": "waits to be verified again.",
    "suspend": "is suspended; its packages are off sale, its bookings stand.",
    "reinstate": "is reinstated; its published packages are on sale again.",
}


class ProvidersView(checklist_page.ChecklistRoutes, RecordView):
    """Providers, for everybody to read and admins to decide about."""

    roles = EVERYBODY
    icon = "building-store"
    model = Provider
    title = "Providers"
    exported_as = "providers"
    search_hint = "Name or external id"
    empty_hint = "They come in with an imported catalogue."
    columns = (
        Column("name", "Provider", "link", sort=Sort(Provider.name)),
        Column("status", "State", "chip"),
        Column("packages", "Packages", "number", "right"),
        Column("published", "Published", "number", "right"),
        Column("external_id", "External id", "mono"),
        Column("created_at", "Added", "time", "right", sort=Sort(Provider.created_at)),
    )
    filters = (
        Filter("status", "State", {status: status_label(status) for status in Provider.MOVES}),
        Filter(
            "papers", "Documents", _PAPERS, where=lambda papers: checklist.has_expired(within_days=_WITHIN_DAYS[papers])
        ),
    )

    def match(self, words: str) -> ColumnElement[bool]:
        """By words of the name, or the whole external id."""
        return words_in(words, Provider.name) | (Provider.external_id == words)

    def lines(self, rows: Any) -> list[dict[str, Any]]:
        """A page's providers with how many packages each has."""
        counted = {
            counts.provider_id: counts
            for counts in db.session.execute(
                _counts().where(Package.provider_id.in_([row.id for row in rows])).group_by(Package.provider_id)
            )
        }
        return [
            line(
                provider_href(row.id),
                name=row.name,
                status=row.status,
                packages=counted[row.id].packages if row.id in counted else 0,
                published=counted[row.id].published if row.id in counted else 0,
                external_id=row.external_id,
                created_at=row.created_at,
            )
            for row in rows
        ]

    @expose("/<int:provider_id>/")  # type: ignore[untyped-decorator]
    def show(self, provider_id: int) -> str:
        """One provider."""
        provider = find(Provider, provider_id, "provider")
        counts = db.session.execute(
            _counts().where(Package.provider_id == provider.id).group_by(Package.provider_id)
        ).first()
        shown = select(Package).where(Package.provider_id == provider.id).order_by(Package.id.desc()).limit(_SHOWN)
        to_come = _to_come(provider)
        actions, blocked = _actions(provider, counts.published if counts else 0, to_come)
        facts = [
            Fact("Packages", counts.packages if counts else 0, "number"),
            Fact("Published", counts.published if counts else 0, "number"),
            Fact("Stays to come", to_come, "number"),
            Fact("External id", provider.external_id, "mono"),
            Fact("Added", provider.created_at, "time"),
        ]
        return self.render_record(
            Record(
                title=provider.name,
                about=provider,
                titles=TITLES,
                status=provider.status,
                sub=(Phrase("added", at=provider.created_at),),
                actions=actions,
                blocked=blocked,
                facts=[
                    Group("Facts", facts),
                    *(payable_groups(provider.id) if session.actor().has(FINANCE) else ()),
                    Group("How to reach it", contact_of(provider)),
                ],
                timeline=list(
                    trail.moments(
                        {"providers": [provider.id], "provider_documents": documents.ids_of(provider.id)}, titles=TITLES
                    )
                ),
            ),
            "console/providers/show.html",
            checklist=checklist_page.panel(provider),
            packages=[
                line(package_href(package.id), **package_cells(package)) for package in db.session.scalars(shown)
            ],
            packages_href=f"/console/packages/?provider_id={provider.id}",
            may_import=provider.external_id is not None and session.actor().has(MAY_IMPORT),
            bookings=bookings_of(Booking.provider_id == provider.id),
            bookings_href=f"/console/bookings/?provider_id={provider.id}",
        )

    @expose("/<int:provider_id>/edit", methods=["GET", "POST"])  # type: ignore[untyped-decorator]
    def edit(self, provider_id: int) -> Answer:
        """Its name, and how it is reached."""
        provider = find(Provider, provider_id, "provider")
        return edit_forms.serve(self, _edit_form(provider), providers.MAY_DECIDE)

    @expose("/<int:provider_id>/<decision>", methods=["POST"])  # type: ignore[untyped-decorator]
    def decide(self, provider_id: int, decision: str) -> Response:
        """Verify, reject, take up again, suspend or reinstate."""
        if decision not in providers.DECISIONS:
            raise NotFound("There is no such action.")
        provider = providers.decide(provider_id, decision, by=session.actor(), reason=reason_given())
        return done(f"{provider.name} {_DONE[decision]}", provider_href(provider.id))


def provider_href(provider_id: int) -> str:
    """The page of a provider."""
    return f"/console/providers/{provider_id}/"


def _edit_form(provider: Provider) -> EditForm:
    return EditForm(
        row=provider,
        name=provider.name,
        intro="Travellers see the name with each of its packages. The rest is for staff.",
        back=provider_href(provider.id),
        fields=edits.provider_fields(),
        groups={"Provider": _WHO, "How staff reach it": _CONTACT},
        save=partial(edits.edit_provider, provider.id),
    )


def _counts() -> Select[int, int, int]:
    published = func.count().filter(Package.status == "PUBLISHED")
    return select(Package.provider_id, func.count().label("packages"), published.label("published"))


def _to_come(provider: Provider) -> int:
    confirmed = select(func.count()).where(Booking.provider_id == provider.id, Booking.status == "CONFIRMED")
    return db.session.scalar(confirmed) or 0


def contact_of(provider: Provider) -> list[Fact]:
    """How staff reach a provider."""
    return [
        Fact("Contact", provider.contact_name),
        Fact("E-mail", provider.email),
        Fact("Telephone", provider.phone),
        Fact("Address", provider.address),
        Fact("Country", provider.country),
    ]


def _actions(provider: Provider, published: int, to_come: int) -> tuple[list[Action], list[Blocked]]:
    """What may be decided now, and what the checklist stands against; the rules are the verb's."""
    if not session.actor().has(providers.MAY_DECIDE):
        return [], []
    possible = [name for name, (source, _to) in providers.DECISIONS.items() if provider.status == source]
    why_not = checklist_page.why_not_verified(provider)
    stopped = [name for name in possible if why_not and providers.DECISIONS[name][1] == "VERIFIED"]
    packages = f"{published:,} published {'package' if published == 1 else 'packages'}"
    stays = f"{to_come:,} confirmed {'booking stands' if to_come == 1 else 'bookings stand'}"
    explain = {
        "verify": f"Puts {packages} on sale; others follow when they are published.",
        "reject": "Nothing of theirs goes on sale. They can be taken up again later.",
        "reconsider": "They wait to be verified again; nothing goes on sale yet.",
        "suspend": f"Takes {packages} off sale at once. {stays}.",
        "reinstate": f"Puts {packages} back on sale.",
    }
    edit = Action(
        "edit", "Edit", f"{provider_href(provider.id)}edit", "Its name, and how it is reached.", key="e", is_link=True
    )
    decisions = [
        Action(
            name=decision,
            label=_LABELS[decision],
            href=f"{provider_href(provider.id)}{decision}",
            explain=explain[decision],
            key=_KEYS.get(decision),
            danger=decision in ("reject", "suspend"),
            needs_reason=True,
            reasons=REASONS[decision],
        )
        for decision in possible
        if decision not in stopped
    ]
    return [edit, *decisions], [Blocked(_LABELS[decision], why_not or "") for decision in stopped]
