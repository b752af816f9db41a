"""`catalog import`: what goes in, and what a second import leaves alone."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from sqlalchemy import func, select

from app.audit.actor import SYSTEM
from app.catalog import calendars, checklist
from app.catalog.import_mapping import ImportMapping
from app.catalog.importing import CatalogImport, ImportReport
from app.catalog.models import Availability, Package, Provider
from app.db import transaction
from app.errors import NotAllowed
from app.extensions import db
from tests import factories
from tests.catalog import oslo
from tests.catalog.listings import MAPPING, Listings, audited, change_day, counts, days_of


def test_a_new_package_goes_in_with_its_provider_its_days_and_its_audit_entry(listings: Listings) -> None:
    listings.write(listings.row("a", title=" Hytte  «ved sjøen» 🏡 ", text="First\nsecond", nights="2"))

    assert listings.run_well("--rate", "0.09405") == counts(created=1)

    package = listings.packages()["a"]
    assert (package.name, package.description) == ("Hytte «ved sjøen» 🏡", "First\nsecond")
    assert (package.status, package.type, package.city, package.country) == ("PUBLISHED", "hotel", "Oslo", "Norway")
    assert (package.time_zone, package.latitude, package.longitude) == ("Europe/Oslo", 59.91, 10.75)
    assert (package.price_minor, package.currency) == (9405, "USD")
    assert (package.capacity, package.units, package.min_nights) == (3, 2, 2)
    assert (package.provider.name, package.provider.status) == (f"Host {listings.host}", "VERIFIED")
    days = days_of(package)
    today = datetime.now(ZoneInfo("Europe/Oslo")).date()
    assert [day.day for day in days] == [today + timedelta(days=n) for n in range(20)]
    assert {(day.capacity, day.held, day.booked, day.price_minor) for day in days} == {(2, 0, 0, 9405)}
    assert [(action, before) for action, before, _after in audited(package)] == [("package.create", None)]
    assert [action for action, _before, _after in audited(package.provider)] == ["provider.create"]


def test_a_mapping_is_read_back_as_it_was_written() -> None:
    given = ImportMapping.from_toml(oslo.MAPPING.read_bytes())
    odd = ImportMapping({**given.columns, "name": 'a "name"\\ \x7f\n\té'}, given.defaults)
    for mapping in (given, odd):
        assert ImportMapping.from_toml(mapping.to_toml().encode()) == mapping


def test_prices_are_rounded_half_up(listings: Listings) -> None:
    listings.write(listings.row("up", price="0.125"), listings.row("down", price="0.1249"))
    listings.run_well("--rate", "1")
    assert {name: package.price_minor for name, package in listings.packages().items()} == {"up": 13, "down": 12}


def test_a_second_import_on_the_same_day_writes_nothing(listings: Listings) -> None:
    listings.write(*(listings.row(str(number)) for number in range(250)))
    assert listings.run_well() == counts(created=250)
    before = {name: (row.updated_at, len(days_of(row))) for name, row in listings.packages().items()}

    assert listings.run_well() == counts(unchanged=250)

    assert {name: (row.updated_at, len(days_of(row))) for name, row in listings.packages().items()} == before
    assert all(len(audited(row)) == 1 for row in listings.packages().values())


def test_a_dry_run_counts_the_same_and_writes_nothing(listings: Listings) -> None:
    listings.write(listings.row("old"))
    listings.run_well()
    listings.write(listings.row("old", guests="4"), listings.row("new"), listings.row("bad", price="free"))

    status, lines, _stderr = listings.run("--dry-run")

    assert (status, json.loads(lines[-1])) == (3, counts(created=1, updated=1, rejected=1))
    assert {name: row.capacity for name, row in listings.packages().items()} == {"old": 3}
    status, lines, _stderr = listings.run()
    assert (status, json.loads(lines[-1])) == (3, counts(created=1, updated=1, rejected=1))


def test_a_changed_row_updates_its_package_and_says_what_changed(listings: Listings) -> None:
    listings.write(listings.row("a"), listings.row("b"))
    listings.run_well()
    listings.write(listings.row("a", title="Another name", nights="3"), listings.row("b"))

    assert listings.run_well() == counts(updated=1, unchanged=1)

    package = listings.packages()["a"]
    assert (package.name, package.min_nights) == ("Another name", 3)
    action, before, after = audited(package)[-1]
    assert (action, before["name"], after["name"]) == ("package.update", "Room a", "Another name")
    assert before.keys() == {"name", "min_nights", "updated_at"}
    assert len(audited(listings.packages()["b"])) == 1


def test_fields_the_mapping_says_nothing_about_stay_as_staff_left_them(listings: Listings) -> None:
    listings.write(listings.row("a"))
    listings.run_well()
    with transaction():
        package = listings.packages()["a"]
        package.amenities, package.place, package.cancellation_policy = ["sauna"], "Frogner", "strict"
        package.time_zone = "Europe/Berlin"

    assert listings.run_well() == counts(unchanged=1)

    package = listings.packages()["a"]
    assert (package.amenities, package.place, package.cancellation_policy) == (["sauna"], "Frogner", "strict")
    assert package.time_zone == "Europe/Berlin"


def test_a_known_provider_takes_the_files_name_but_keeps_its_status(listings: Listings) -> None:
    listings.write(listings.row("a"))
    listings.run_well()
    listings.mapping.write_text(MAPPING.replace("Host {", "Hostess {").replace("VERIFIED", "SUSPENDED"))

    assert listings.run_well() == counts(unchanged=1)

    provider = listings.packages()["a"].provider
    assert (provider.name, provider.status) == (f"Hostess {listings.host}", "VERIFIED")
    assert [action for action, _before, _after in audited(provider)] == ["provider.create", "provider.update"]


@pytest.mark.parametrize(("status", "is_trusted"), [("VERIFIED", True), ("SUSPENDED", True), ("PENDING", False)])
def test_what_is_asked_of_a_provider_who_was_verified_elsewhere_counts_as_accepted_and_says_why(
    listings: Listings, status: str, is_trusted: bool
) -> None:
    listings.mapping.write_text(MAPPING.replace("VERIFIED", status))
    listings.write(listings.row("a"))
    listings.run_well()
    provider = listings.packages()["a"].provider
    assert provider.status == status
    asked = [standing for standing in checklist.of(provider.id) if standing.item.is_required]
    assert bool(checklist.lacking(asked)) != is_trusted
    said = {standing.check.reason for standing in asked if standing.check}
    assert said == ({"Verified elsewhere: came in so with an imported catalogue."} if is_trusted else set())


def test_rows_that_disagree_about_their_provider_leave_it_at_the_first_ones_name(listings: Listings) -> None:
    listings.mapping.write_text(MAPPING.replace("Host {provider_external_id}", "Host {name}"))
    listings.write(*(listings.row(str(number)) for number in range(150)))
    listings.run_well()
    listings.run_well()
    provider = listings.packages()["0"].provider
    assert provider.name == "Host Room 0"
    assert len(audited(provider)) == 1


def test_published_turns_a_package_on_and_off(listings: Listings) -> None:
    listings.write(listings.row("a"))
    listings.run_well()
    listings.mapping.write_text(MAPPING.replace("published = true", "published = false"))
    assert listings.run_well() == counts(updated=1)
    assert listings.packages()["a"].status == "DRAFT"


def test_the_calendar_is_topped_up_without_calling_the_package_updated(
    listings: Listings, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings.write(listings.row("a"))
    listings.run_well()
    package = listings.packages()["a"]
    change_day(package, 5, booked=1, price_minor=7_700)

    class InThreeDays(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(days=3)

    monkeypatch.setattr(calendars, "datetime", InThreeDays)
    assert listings.run_well() == counts(unchanged=1)

    days = days_of(package)
    assert len(days) == 23
    assert (days[5].booked, days[5].price_minor, days[22].price_minor) == (1, 7_700, 100_000)


def test_days_follow_a_new_price_and_new_units_but_not_those_with_their_own(listings: Listings) -> None:
    listings.write(listings.row("a"))
    listings.run_well()
    package = listings.packages()["a"]
    change_day(package, 1, price_minor=123_400)
    change_day(package, 2, capacity=0)
    change_day(package, 3, held=1, booked=1)

    listings.write(listings.row("a", price="1100", rooms="5"))
    assert listings.run_well() == counts(updated=1)

    days = [(day.capacity, day.held, day.booked, day.price_minor) for day in days_of(package)]
    assert days[:5] == [
        (5, 0, 0, 110_000),
        (5, 0, 0, 123_400),
        (0, 0, 0, 110_000),
        (5, 1, 1, 110_000),
        (5, 0, 0, 110_000),
    ]


def test_fewer_units_than_a_day_has_sold_are_rejected_and_nothing_of_the_row_goes_in(listings: Listings) -> None:
    listings.write(listings.row("a", rooms="3"), listings.row("b", rooms="3"))
    listings.run_well()
    package = listings.packages()["a"]
    change_day(package, 4, held=1, booked=1)
    sold_out_on = days_of(package)[4].day

    listings.write(listings.row("a", rooms="1", title="Changed"), listings.row("b", rooms="1"))
    for options in (("--dry-run",), ()):
        status, lines, _stderr = listings.run(*options)
        assert lines[:-1] == [f"line 2, column rooms: 1 is fewer than the 2 held or booked on {sold_out_on}"]
        assert (status, json.loads(lines[-1])) == (3, counts(updated=1, rejected=1))

    unchanged = listings.packages()["a"]
    assert (unchanged.units, unchanged.name) == (3, "Room a")
    assert {day.capacity for day in days_of(unchanged)} == {3}
    assert {day.capacity for day in days_of(listings.packages()["b"])} == {1}

    listings.write(listings.row("a", rooms="2"))
    assert listings.run_well() == counts(updated=1)


def test_an_import_that_was_stopped_is_finished_by_the_next(listings: Listings) -> None:
    listings.write(*(listings.row(str(number)) for number in range(250)))
    mapping = ImportMapping.from_toml(MAPPING.encode())
    with listings.file.open("rb") as stream:
        steps = CatalogImport(stream, mapping, rate=Decimal(1), by=SYSTEM).run()
        first = next(steps)
        steps.close()
    assert 0 < first.report.created < 250
    assert 0 < first.share < 1
    assert all(len(days_of(package)) == 20 for package in listings.packages().values())

    assert listings.run_well() == counts(created=250 - first.report.created, unchanged=first.report.created)


def test_the_same_external_id_at_two_providers_is_two_packages(listings: Listings) -> None:
    other = f"{listings.host}-2"
    listings.write(listings.row("a"), listings.row("a", host=other))
    assert listings.run_well() == counts(created=2)


def test_only_an_admin_or_the_operator_may_import(listings: Listings) -> None:
    listings.write(listings.row("a"))
    mapping = ImportMapping.from_toml(MAPPING.encode())
    support, admin = (factories.actor(factories.staff(role)) for role in ("support", "admin"))
    with listings.file.open("rb") as stream:
        with pytest.raises(NotAllowed):
            CatalogImport(stream, mapping, rate=Decimal(1), by=support)
        work = CatalogImport(stream, mapping, rate=Decimal(1), by=admin)
        assert [step.report for step in work.run()] == [ImportReport(created=1)]


@pytest.mark.parametrize("packing", [lambda content: b"\xef\xbb\xbf" + content, gzip.compress], ids=["BOM", "gzip"])
def test_a_byte_order_mark_and_gzip_are_fine(listings: Listings, packing: Callable[[bytes], bytes]) -> None:
    listings.write(listings.row("a").replace(b"\r\n", b"\n"), b"\n", listings.row("b"))
    listings.file.write_bytes(packing(listings.file.read_bytes()))
    assert listings.run_well() == counts(created=2)


def test_a_mapped_cell_that_is_empty_takes_the_default(listings: Listings) -> None:
    listings.mapping.write_text(MAPPING + 'country = "NO"\nunits = 7\namenities = ["wifi", "sauna"]\n')
    listings.write(listings.row("a", land="", rooms=" "), listings.row("b", land="Sweden"))
    listings.run_well()
    packages = listings.packages()
    assert [(p.country, p.units, p.amenities) for p in packages.values()] == [
        ("Norway", 7, ["wifi", "sauna"]),
        ("Sweden", 2, ["wifi", "sauna"]),
    ]


@oslo.needs_the_file
def test_the_oslo_file_goes_in_with_its_mapping(empty_app: Flask) -> None:
    assert oslo.import_it() == ImportReport(created=10_099)
    assert oslo.import_it() == ImportReport(unchanged=10_099)
    assert db.session.scalar(select(func.count()).select_from(Availability)) == 10_099
    assert set(db.session.scalars(select(Package.time_zone).distinct())) == {"Europe/Oslo"}
    assert set(db.session.scalars(select(Provider.status).distinct())) == {"VERIFIED"}
