"""Editing a package and a provider over what others saved meanwhile, and what is refused by field."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from app.audit import edits as audit_edits
from app.audit.actor import Actor
from app.audit.edits import SavedMeanwhile
from app.audit.models import AuditEntry
from app.catalog import edits, packages
from app.catalog.models import Availability, Package, Provider
from app.db import transaction
from app.errors import Invalid, NotAllowed, NotFound
from app.extensions import db
from tests import factories
from tests.concurrency import at_once


def admin(name: str = "Ada") -> Actor:
    return Actor("staff", factories.staff("admin").id, name, frozenset({"admin"}))


def opened(package: Package) -> tuple[int, dict[str, str]]:
    """A form of the package, as somebody opens it now."""
    return audit_edits.opened(package, edits.package_fields(package))


def save(package: Package, seen: int, by: Actor | None = None, **typed: str) -> Package:
    return edits.edit_package(package.id, typed, seen=seen, by=by or admin())


def entries(row: Any) -> list[AuditEntry]:
    about = (AuditEntry.object_type == row.__tablename__, AuditEntry.object_id == row.id)
    return list(db.session.scalars(select(AuditEntry).where(*about).order_by(AuditEntry.id)))


def days_of(package: Package) -> list[tuple[int, int]]:
    rows = db.session.execute(
        select(Availability.capacity, Availability.price_minor)
        .where(Availability.package_id == package.id)
        .order_by(Availability.day)
    )
    return [(capacity, price) for capacity, price in rows]


def values_of(row: Any) -> dict[str, Any]:
    again = factories.reread(row)
    return {column.key: getattr(again, column.key) for column in again.__table__.columns}


# ------------------------------------------------------------------ what is saved


def test_every_field_of_a_package_is_saved_and_kept_in_its_history_before_and_after(app: Flask) -> None:
    package = factories.package(description="Old words", amenities=["Wi-Fi"], place=None)
    seen, _ = opened(package)
    typed = {
        "name": "  Blue   Heron Lodge ",
        "description": "Two rooms.\r\n\r\nA view.",
        "amenities": "Wi-Fi\r\nSauna\r\nSauna",
        "place": "Kvaløya",
        "city": "Lisbon",
        "country": "Portugal",
        "time_zone": "Europe/Lisbon",
        "latitude": "38.7",
        "longitude": "-9.14",
        "price": "1,250.50",
        "units": "3",
        "capacity": "4",
        "min_nights": "2",
        "cancellation_policy": "strict",
    }
    saved = factories.reread(save(package, seen, **typed))
    kept = {
        "name": "Blue Heron Lodge",
        "description": "Two rooms.\n\nA view.",
        "amenities": ["Wi-Fi", "Sauna"],
        "place": "Kvaløya",
        "city": "Lisbon",
        "country": "Portugal",
        "time_zone": "Europe/Lisbon",
        "latitude": 38.7,
        "longitude": -9.14,
        "price_minor": 125_050,
        "units": 3,
        "capacity": 4,
        "min_nights": 2,
        "cancellation_policy": "strict",
    }
    assert {name: getattr(saved, name) for name in kept} == kept
    (entry,) = entries(package)
    assert entry.action == "package.edit"
    assert {name: (entry.after or {})[name] for name in kept} == kept
    assert (entry.before or {})["description"] == "Old words"
    assert (entry.before or {})["amenities"] == ["Wi-Fi"]


def test_what_a_form_opens_with_and_sends_back_changes_nothing(app: Flask) -> None:
    package = factories.package(
        description="One\nTwo", amenities=["a", "b"], latitude=59.123456789, longitude=10.1, price_minor=1_205
    )
    seen, texts = opened(package)
    before = values_of(package)
    save(package, seen, **{name: text.replace("\n", "\r\n") for name, text in texts.items()})
    assert values_of(package) == before
    assert entries(package) == []


def test_what_was_not_touched_is_not_checked(app: Flask) -> None:
    package = factories.package(country="Nowhere", time_zone="Asia/Calcutta")
    seen, texts = opened(package)
    save(package, seen, **{**texts, "name": "Renamed"})
    assert (factories.reread(package).name, package.country) == ("Renamed", "Nowhere")


def test_days_with_the_packages_own_price_and_units_follow_it_and_others_keep_theirs(app: Flask) -> None:
    package = factories.package(days=3, units=2)
    first = select(func.min(Availability.day)).where(Availability.package_id == package.id).scalar_subquery()
    with transaction():
        own = update(Availability).where(Availability.package_id == package.id, Availability.day == first)
        db.session.execute(own.values(price_minor=7_700))
    seen, _ = opened(package)
    save(package, seen, price="120", units="5")
    assert days_of(package) == [(5, 7_700), (5, 12_000), (5, 12_000)]


def test_a_tour_has_a_length_and_no_minimum_of_nights(app: Flask) -> None:
    tour = factories.tour()
    seen, texts = opened(tour)
    assert texts["duration_days"] == "3"
    assert "min_nights" not in texts
    save(tour, seen, duration_days="5", min_nights="9")
    assert (factories.reread(tour).duration_days, tour.min_nights) == (5, 1)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("name", "  ", "This is missing."),
        ("name", "x" * 301, "This is 301 characters long; at most 300 are allowed."),
        ("name", "a\x1bb", "This holds the control character U+001B."),
        ("description", "x" * 20_001, "at most 20,000"),
        ("amenities", "\n".join(f"a{number}" for number in range(101)), "at most 100"),
        ("city", "", "This is missing."),
        ("country", "Atlantis", "is no country's English name"),
        ("time_zone", "Europe/Atlantis", "is no time zone"),
        ("time_zone", "America/New_York", "America/New_York is not in Norway, which has Europe/Oslo."),
        ("latitude", "91", "is not between -90 and 90"),
        ("latitude", "12", "needs both"),
        ("price", "0", "Give an amount in USD"),
        ("price", "12.345", "Give an amount in USD"),
        ("price", "1e9", "Give an amount in USD"),
        ("price", "1e999", "Give an amount in USD"),
        ("price", "NaN", "Give an amount in USD"),
        ("units", "0", "is not between 1 and 10,000"),
        ("units", "1.5", "is not a whole number"),
        ("capacity", "many", "is not a number"),
        ("min_nights", "", "This is missing."),
        ("cancellation_policy", "", "This is missing."),
        ("cancellation_policy", "none", "is none of flexible"),
    ],
)
def test_a_wrong_field_of_a_package_is_named_and_nothing_is_saved(
    app: Flask, field: str, text: str, words: str
) -> None:
    package = factories.package(min_nights=2)
    seen, _ = opened(package)
    before = values_of(package)
    typed = {"name": "A good name", field: text}
    with pytest.raises(Invalid) as refusal:
        save(package, seen, **typed)
    where = "longitude" if words == "needs both" else field
    assert [wrong.field for wrong in refusal.value.fields] == [where]
    assert words in refusal.value.fields[0].message
    assert values_of(package) == before
    assert entries(package) == []


def test_all_wrong_fields_are_named_at_once(app: Flask) -> None:
    package = factories.package()
    with pytest.raises(Invalid) as refusal:
        save(package, 0, name="", units="x", price="-1")
    assert [wrong.field for wrong in refusal.value.fields] == ["name", "price", "units"]


def test_fewer_units_than_a_day_has_sold_are_refused_with_that_day(app: Flask) -> None:
    package = factories.package(units=3)
    factories.booking(of=package, units=2)
    seen, _ = opened(package)
    with pytest.raises(Invalid) as refusal:
        save(package, seen, units="1", name="Smaller")
    assert refusal.value.fields[0].field == "units"
    assert f"2 are held or booked on {factories.tomorrow().isoformat()}" in refusal.value.fields[0].message
    assert factories.reread(package).units == 3
    save(package, seen, units="2")
    assert factories.reread(package).units == 2


@pytest.mark.parametrize("role", ["support", "moderator", "finance"])
def test_only_admins_edit(app: Flask, role: str) -> None:
    package = factories.package()
    by = factories.actor(factories.staff(role))
    with pytest.raises(NotAllowed):
        save(package, 0, by, name="Mine")
    with pytest.raises(NotAllowed):
        edits.edit_provider(package.provider_id, {"name": "Mine"}, seen=0, by=by)
    assert (factories.reread(package).name, package.provider.name) != ("Mine", "Mine")


def test_what_is_not_there_is_not_edited(app: Flask) -> None:
    for edit in (edits.edit_package, edits.edit_provider):
        with pytest.raises(NotFound):
            edit(0, {"name": "Nothing"}, seen=0, by=admin())


# ------------------------------------------------------------------ over somebody else's save


def test_a_save_over_anothers_save_of_the_same_field_shows_both_and_saves_nothing(app: Flask) -> None:
    package = factories.package(name="Old", description="Old words", city="Oslo")
    seen, texts = opened(package)
    save(package, seen, admin("Ada Lovelace"), name="Hers", city="Bergen")
    before = values_of(package)
    with pytest.raises(SavedMeanwhile) as refusal:
        save(package, seen, admin("Bob"), **{**texts, "name": "His", "description": "His words"})
    (clash,) = refusal.value.clashes
    assert (clash.field, clash.opened, clash.theirs, clash.yours, clash.by) == (
        "name",
        "Old",
        "Hers",
        "His",
        "Ada Lovelace",
    )
    assert refusal.value.followed == ["city"]
    assert {name: refusal.value.texts[name] for name in ("name", "description", "city")} == {
        "name": "His",
        "description": "His words",
        "city": "Bergen",
    }
    assert values_of(package) == before
    # With what the refusal has shown, the choice of his name is a save like any other.
    save(package, refusal.value.version, admin("Bob"), **refusal.value.texts)
    after = factories.reread(package)
    assert (after.name, after.description, after.city) == ("His", "His words", "Bergen")


def test_fields_that_only_one_side_changed_are_merged_without_asking(app: Flask) -> None:
    package = factories.package(name="Old", city="Oslo", description="Old words")
    seen, texts = opened(package)
    save(package, seen, name="Hers")
    save(package, seen, **{**texts, "description": "His words"})
    after = factories.reread(package)
    assert (after.name, after.description) == ("Hers", "His words")
    assert "name" not in (entries(package)[-1].after or {})


def test_the_same_change_by_both_is_no_clash(app: Flask) -> None:
    package = factories.package(name="Old")
    seen, _ = opened(package)
    save(package, seen, name="New")
    save(package, seen, name=" New ")
    assert len(entries(package)) == 1


def test_what_was_changed_and_changed_back_is_no_clash(app: Flask) -> None:
    package = factories.package(name="Old")
    seen, _ = opened(package)
    save(package, seen, name="Other")
    save(package, opened(package)[0], name="Old")
    save(package, seen, name="New")
    assert factories.reread(package).name == "New"


def test_what_else_happens_to_a_package_meanwhile_is_no_clash(app: Flask) -> None:
    package = factories.package(name="Old")
    seen, _ = opened(package)
    packages.unpublish(package.id, by=admin(), reason="Closed for good")
    save(package, seen, name="New")
    after = factories.reread(package)
    assert (after.name, after.status) == ("New", "DRAFT")


def test_of_two_who_save_the_same_field_at_once_one_is_asked(app: Flask) -> None:
    package = factories.package(name="Old")
    seen, _ = opened(package)
    people = [admin("Ada"), admin("Bob")]
    outcomes = at_once(app, *((lambda by=by: save(package, seen, by, name=f"{by.label}'s")) for by in people))
    refused = [outcome for outcome in outcomes if isinstance(outcome, SavedMeanwhile)]
    assert len(refused) == 1
    assert len(entries(package)) == 1
    assert factories.reread(package).name == refused[0].clashes[0].theirs


# ------------------------------------------------------------------ providers


def test_a_provider_is_saved_with_how_it_is_reached(app: Flask) -> None:
    provider = factories.provider(name="Old")
    typed = {
        "name": "Fjord Hotels",
        "contact_name": "Kari Nordmann",
        "email": " kari@fjord.example ",
        "phone": "+47 (22) 12-34-56",
        "address": "Storgata 1\r\n0155 Oslo",
        "country": "NO",
    }
    edits.edit_provider(provider.id, typed, seen=0, by=admin())
    after = factories.reread(provider)
    assert (after.name, after.contact_name, after.email) == ("Fjord Hotels", "Kari Nordmann", "kari@fjord.example")
    assert (after.phone, after.address, after.country) == ("+47 (22) 12-34-56", "Storgata 1\n0155 Oslo", "Norway")
    (entry,) = entries(provider)
    assert (entry.action, (entry.before or {})["name"]) == ("provider.edit", "Old")
    seen = audit_edits.version_of(provider)
    emptied = {name: "" for name in typed if name != "name"}
    edits.edit_provider(provider.id, emptied, seen=seen, by=admin())
    assert {getattr(factories.reread(provider), name) for name in emptied} == {None}


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("name", ""),
        ("email", "kari@"),
        ("phone", "call me"),
        ("phone", "+" + "1" * 60),
        ("address", "x" * 1_001),
        ("country", "Atlantis"),
        ("contact_name", "a\nb"),
    ],
)
def test_a_wrong_field_of_a_provider_is_named_and_nothing_is_saved(app: Flask, field: str, text: str) -> None:
    provider = factories.provider()
    before = values_of(provider)
    with pytest.raises(Invalid) as refusal:
        edits.edit_provider(provider.id, {"contact_name": "Kari", field: text}, seen=0, by=admin())
    assert [wrong.field for wrong in refusal.value.fields] == [field]
    assert values_of(provider) == before
    assert entries(db.session.get_one(Provider, provider.id)) == []
