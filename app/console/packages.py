"""/console/packages/: the list, a package with its calendar, and changes to its days."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from functools import partial
from typing import Any

from flask import flash, request
from flask_admin import expose
from sqlalchemy import ColumnElement
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from app.audit import trail
from app.bookings.models import Booking
from app.catalog import cancellation_policies, day_changes, edits, packages
from app.catalog.import_fields import MAX_DESCRIPTION
from app.catalog.models import PACKAGE_TYPES, Package
from app.catalog.time_zones import all_countries, all_zones
from app.console import edit_forms, session
from app.console.base import EVERYBODY, Column, Filter, RecordView, done, find, reason_given
from app.console.bookings import bookings_of
from app.console.calendar import grid, month_of
from app.console.day_form import SALES, DayForm
from app.console.day_plan import days_in_words, plan_context, with_days
from app.console.edit_forms import Answer, EditForm, Input
from app.console.formatting import status_label
from app.console.ordering import Sort
from app.console.policies import policy_href
from app.console.record import Action, Blocked, Fact, Group, Phrase, Record
from app.console.scope import PROVIDER
from app.console.words import words_in
from app.errors import Conflict, Invalid
from app.money import Money
from app.states import may_move

UNPUBLISH_REASONS = (
    "Provider asked for it",
    "Wrong description or price",
    "Complaints are looked into",
    "Closed for good",
)
_PUBLISHED = "It is published: travellers see what is saved at once. Bookings that were made keep what they were sold."
_DRAFT = "Nobody but staff sees it before it is published."
_IMPORTED = " It came with an import; the next one that has it replaces what it gives."
_PRICE_HINT = "Days with a price of their own keep it."
_WHAT = (
    Input("name", "Name"),
    Input("description", "Description", "text", most=MAX_DESCRIPTION, is_optional=True),
    Input("amenities", "Amenities", "text", most=8_100, hint="One a line.", is_optional=True),
)
_WHERE = (
    Input("place", "Place", most=200, hint="A part of the city, an island, a landmark.", is_optional=True),
    Input("city", "City", most=200),
    Input("country", "Country", "choice", [(name, name) for name in all_countries()]),
    Input(
        "time_zone", "Time zone", "choice", [(name, name) for name in all_zones()], hint="Its days begin and end by it."
    ),
    Input("latitude", "Latitude", "decimal", most=40, hint="Degrees, south is minus.", is_optional=True),
    Input("longitude", "Longitude", "decimal", most=40, hint="Degrees, west is minus.", is_optional=True),
)
_TITLES: dict[str, trail.Title] = {
    "package.create": ("Added to the catalogue", "audit", None),
    "package.update": ("Changed by an import", "audit", None),
    "package.edit": ("Edited", "audit", None),
    "package.publish": ("Published", "state", "good"),
    "package.unpublish": ("Taken off sale", "state", "warn"),
    "package.change_days": ("Days changed", "audit", None),
}


class PackagesView(RecordView):
    """Packages, for everybody to read and admins to edit."""

    roles = EVERYBODY
    icon = "luggage"
    model = Package
    title = "Packages"
    exported_as = "packages"
    search_hint = "Name, place, city or country"
    empty_hint = "They come in with an imported catalogue."
    columns = (
        Column("name", "Package", "link", sort=Sort(Package.name)),
        Column("status", "State", "chip"),
        Column("what", "What"),
        Column("provider", "Provider"),
        Column("provider_status", "Provider's state", "chip"),
        Column("price", "Price", "money", "right", sort=Sort(Package.price_minor, is_money=True)),
        Column("units", "Units", "number", "right"),
    )
    filters = (
        Filter("type", "Type", {kind: kind.capitalize() for kind in PACKAGE_TYPES}),
        Filter("status", "State", {status: status_label(status) for status in Package.MOVES}),
        Filter("cancellation_policy", "Cancellation", kind="linked"),
        PROVIDER,
    )

    def match(self, words: str) -> ColumnElement[bool]:
        """By words of its name and of where it is."""
        return words_in(words, Package.name, Package.place, Package.city, Package.country)

    def cells(self, row: Package) -> dict[str, Any]:
        """One package's line."""
        return package_cells(row)

    def href(self, row: Package) -> str:
        """Its page."""
        return package_href(row.id)

    @expose("/<int:package_id>/")  # type: ignore[untyped-decorator]
    def show(self, package_id: int) -> str:
        """One package, with a month of its calendar."""
        package = find(Package, package_id, "package")
        month, chosen = month_of(request.args.get("month"), package), _chosen()
        may_edit = session.actor().has(packages.MAY_EDIT)
        first, last = (picked.isoformat() if picked else "" for picked in (chosen[0], chosen[1] or chosen[0]))
        return self.render_record(
            _record(package, may_edit=may_edit),
            "console/packages/show.html",
            package=package,
            calendar=grid(package, month, chosen, may_choose=may_edit),
            days_form=_form_context(package, DayForm(first=first, last=last)) if may_edit else None,
            bookings=bookings_of(Booking.package_id == package.id),
            bookings_href=f"/console/bookings/?package_id={package.id}",
        )

    @expose("/<int:package_id>/edit", methods=["GET", "POST"])  # type: ignore[untyped-decorator]
    def edit(self, package_id: int) -> Answer:
        """What it is, where, and how it is sold."""
        package = find(Package, package_id, "package")
        return edit_forms.serve(self, _edit_form(package), packages.MAY_EDIT)

    @expose("/<int:package_id>/publish", methods=["POST"])  # type: ignore[untyped-decorator]
    def publish(self, package_id: int) -> Response:
        """Put it on sale."""
        package = packages.publish(package_id, by=session.actor())
        waits = package.provider.status != "VERIFIED"
        more = f" It goes on sale once {package.provider.name} is verified." if waits else " It is on sale now."
        return done(f"{package.name} is published.{more}", package_href(package.id))

    @expose("/<int:package_id>/unpublish", methods=["POST"])  # type: ignore[untyped-decorator]
    def unpublish(self, package_id: int) -> Response:
        """Take it off sale."""
        package = packages.unpublish(package_id, by=session.actor(), reason=reason_given())
        return done(f"{package.name} is off sale. Bookings that were made stand.", package_href(package.id))

    @expose("/<int:package_id>/days")  # type: ignore[untyped-decorator]
    def days(self, package_id: int) -> str | tuple[str, int]:
        """What a change of days would do."""
        session.actor().require(*packages.MAY_EDIT)
        return self._preview(find(Package, package_id, "package"), request.args)

    @expose("/<int:package_id>/days", methods=["POST"])  # type: ignore[untyped-decorator]
    def change_days(self, package_id: int) -> Response | str | tuple[str, int]:
        """Do it; when it can't be done any more, the preview is shown again as it is now."""
        session.actor().require(*packages.MAY_EDIT)
        package = find(Package, package_id, "package")
        try:
            change = DayForm.of(request.form).change(package.currency)
            plan = day_changes.change_days(
                package_id, change, by=session.actor(), version=request.form.get("version", "")
            )
        except (Invalid, Conflict) as refusal:
            if isinstance(refusal, Conflict):
                flash(refusal.detail, "refused")
            answer = self._preview(package, request.form)
            return (answer, refusal.status) if isinstance(answer, str) else answer
        return done(
            f"{days_in_words(len(plan.changing))} changed.", f"{package_href(package.id)}?month={change.first:%Y-%m}"
        )

    def _preview(self, package: Package, sent: MultiDict[str, str]) -> str | tuple[str, int]:
        form, errors = DayForm.of(sent), {}
        plan = change = None
        try:
            change = form.change(package.currency)
            plan = day_changes.preview(package.id, change, by=session.actor())
        except Invalid as refusal:
            errors = {wrong.field: wrong.message for wrong in refusal.fields}
        page = str(
            self.render(
                "console/packages/days.html",
                package=package,
                href=package_href(package.id),
                days_form=_form_context(package, form, errors),
                plan=plan_context(package, plan, change) if plan and change else None,
            )
        )
        return (page, Invalid.status) if errors else page


def package_href(package_id: int) -> str:
    """The page of a package."""
    return f"/console/packages/{package_id}/"


def _edit_form(package: Package) -> EditForm:
    is_tour = package.type == "tour"
    unit = "departure" if is_tour else "night"
    length = (
        Input("duration_days", "Days it takes", "whole", most=3)
        if is_tour
        else Input("min_nights", "Minimum nights", "whole", most=4, hint="Days may have their own.")
    )
    sale = (
        Input("price", f"Price of a {unit}", "decimal", most=12, hint=f"In {package.currency}. {_PRICE_HINT}"),
        Input("units", "Units a day", "whole", most=5, hint="Days with as many as before follow."),
        Input("capacity", "Guests a unit", "whole", most=4),
        length,
        Input(
            "cancellation_policy",
            "Cancellation",
            "choice",
            cancellation_policies.all_in_words(also=package.cancellation_policy),
        ),
    )
    return EditForm(
        row=package,
        name=package.name,
        intro=(_PUBLISHED if package.status == "PUBLISHED" else _DRAFT) + (_IMPORTED if package.external_id else ""),
        back=package_href(package.id),
        fields=edits.package_fields(package),
        groups={"What it is": _WHAT, "Where": _WHERE, "Sale": sale},
        save=partial(edits.edit_package, package.id),
    )


def package_cells(package: Package) -> dict[str, Any]:
    """One package's line in a list."""
    return {
        "name": package.name,
        "status": package.status,
        "what": f"{package.type.capitalize()} in {package.city}, {package.country}",
        "provider": package.provider.name,
        "provider_status": package.provider.status,
        "price": Money(package.price_minor, package.currency).json(),
        "units": package.units,
    }


def _chosen() -> tuple[date | None, date | None]:
    picked: list[date | None] = []
    for name in ("first", "last"):
        try:
            picked.append(date.fromisoformat(request.args.get(name, "")))
        except ValueError:
            picked.append(None)
    first, last = picked
    return first, last if first and last and last >= first else None


def _record(package: Package, *, may_edit: bool) -> Record:
    actions, blocked = _actions(package) if may_edit else ([], [])
    titled = trail.moments({"packages": [package.id]}, titles=_TITLES, currency=package.currency)
    return Record(
        title=package.name,
        about=package,
        titles=_TITLES,
        status=package.status,
        sub=(
            Phrase(package.type.capitalize()),
            Phrase("in", ", ".join(filter(None, (package.place, package.city, package.country)))),
            Phrase("by", package.provider.name, href=f"/console/providers/{package.provider_id}/"),
            *_not_on_sale(package),
        ),
        actions=actions,
        blocked=blocked,
        facts=_facts(package),
        timeline=[with_days(moment, package.currency) for moment in titled],
    )


def _not_on_sale(package: Package) -> list[Phrase]:
    if package.status == "PUBLISHED" and package.provider.status != "VERIFIED":
        return [Phrase(f"not on sale: the provider is {status_label(package.provider.status).lower()}")]
    return []


def _actions(package: Package) -> tuple[list[Action], list[Blocked]]:
    href = package_href(package.id)
    edit = Action("edit", "Edit", f"{href}edit", "Name, description, place, price and terms.", key="e", is_link=True)
    if may_move(package, "PUBLISHED"):
        explain = "Travellers find and book it, while its provider is verified."
        return [edit, Action("publish", "Publish", f"{href}publish", explain, key="p")], []
    explain = (
        "Travellers no longer find it and can't book it. Bookings that were made stand, and holds can still be paid."
    )
    return [
        edit,
        Action(
            "unpublish",
            "Take off sale",
            f"{href}unpublish",
            explain,
            danger=True,
            needs_reason=True,
            reasons=UNPUBLISH_REASONS,
        ),
    ], []


def _facts(package: Package) -> list[Group]:
    is_tour = package.type == "tour"
    price = Money(package.price_minor, package.currency).json()
    policy = cancellation_policies.find(package.cancellation_policy)
    sale = [
        Fact("Price of a departure" if is_tour else "Price of a night", price, "money"),
        Fact("Units a day", package.units, "number"),
        Fact("Guests a unit", package.capacity, "number"),
        Fact("Takes", days_in_words(package.duration_days))
        if is_tour
        else Fact("Minimum nights", package.min_nights, "number"),
        Fact(
            "Cancellation",
            dict(cancellation_policies.all_in_words(also=policy.code))[policy.code],
            href=policy_href(policy),
        ),
    ]
    about = [
        Fact("Description", package.description),
        Fact("Amenities", ", ".join(package.amenities)),
        Fact("Time zone", package.time_zone),
        Fact("Position", _position(package), "mono"),
        Fact("Provider's own id", package.external_id, "mono"),
        Fact("Added", package.created_at, "time"),
        Fact("Changed", package.updated_at, "time"),
    ]
    return [Group("Sale", sale), Group("About", about)]


def _position(package: Package) -> str | None:
    if package.latitude is None or package.longitude is None:
        return None
    return f"{package.latitude:.5f}, {package.longitude:.5f}"


def _form_context(package: Package, form: DayForm, errors: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        **asdict(form),
        "href": f"{package_href(package.id)}days",
        "weekday_choices": form.weekday_choices(),
        "sales": SALES,
        "errors": errors or {},
        "currency": package.currency,
        "is_tour": package.type == "tour",
        "today": packages.today_at(package).isoformat(),
    }
