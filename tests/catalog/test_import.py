"""`catalog import`: what goes in, what is rejected and by what name, and what a second import leaves alone."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from sqlalchemy import func, select

from app.audit.actor import SYSTEM
from app.audit.models import AuditEntry
from app.catalog import calendars
from app.catalog.import_mapping import ImportMapping
from app.catalog.importing import CatalogImport, ImportReport
from app.catalog.models import Availability, Package, Provider
from app.db import transaction
from app.errors import NotAllowed
from app.extensions import db
from tests import factories

OSLO_FILE = Path(__file__).parents[3] / "shared" / "data" / "oslo_listings.csv.gz"
OSLO_MAPPING = Path(__file__).parents[2] / "docs" / "import" / "oslo.toml"

COLUMNS = ["id", "host", "title", "text", "lat", "lon", "price", "guests", "rooms", "nights", "kind", "land"]
MAPPING = """
[columns]
external_id = "id"
provider_external_id = "host"
name = "title"
description = "text"
latitude = "lat"
longitude = "lon"
price = "price"
capacity = "guests"
units = "rooms"
min_nights = "nights"
type = "kind"
country = "land"

[defaults]
provider_name = "Host {provider_external_id}"
provider_status = "VERIFIED"
city = "Oslo"
published = true
available_days = 20
"""


class Listings:
    """A CSV file in the making, all rows of one host of its own, and what importing it printed."""

    def __init__(self, app: Flask, folder: Path) -> None:
        self.app = app
        self.file = folder / "listings.csv"
        self.mapping = folder / "mapping.toml"
        self.mapping.write_text(MAPPING)
        self.host = f"host-{uuid4().hex[:12]}"

    def row(self, external_id: str, **cells: str) -> bytes:
        """One line of the file; `cells` differ from a good row's."""
        good = {
            "id": external_id,
            "host": self.host,
            "title": f"Room {external_id}",
            "text": "",
            "lat": "59.91",
            "lon": "10.75",
            "price": "1000.0",
            "guests": "3.0",
            "rooms": "2",
            "nights": "1.0",
            "kind": "hotel",
            "land": "Norway",
        }
        line = io.StringIO(newline="")
        csv.writer(line).writerow({**good, **cells}.values())
        return line.getvalue().encode()

    def write(self, *rows: bytes, header: Sequence[str] = COLUMNS) -> None:
        self.file.write_bytes(",".join(header).encode() + b"\n" + b"".join(rows))

    def run(self, *options: str) -> tuple[int, list[str], str]:
        """Exit status, lines of stdout, stderr."""
        arguments = ["catalog", "import", str(self.file), "--mapping", str(self.mapping), *options]
        result = self.app.test_cli_runner().invoke(args=arguments)
        db.session.rollback()
        return result.exit_code, result.stdout.splitlines(), result.stderr

    def run_well(self, *options: str) -> dict[str, int]:
        status, lines, stderr = self.run(*options)
        assert status == 0, (lines, stderr)
        counts: dict[str, int] = json.loads(lines[-1])
        return counts

    def packages(self) -> dict[str, Package]:
        found = db.session.scalars(
            select(Package)
            .join(Provider)
            .where(Provider.external_id == self.host)
            .execution_options(populate_existing=True)
        )
        return {str(package.external_id): package for package in found}


@pytest.fixture
def listings(app: Flask, tmp_path: Path) -> Listings:
    return Listings(app, tmp_path)


def counts(created: int = 0, updated: int = 0, unchanged: int = 0, rejected: int = 0) -> dict[str, int]:
    return {"created": created, "updated": updated, "unchanged": unchanged, "rejected": rejected}


def days_of(package: Package) -> list[Availability]:
    return list(
        db.session.scalars(
            select(Availability)
            .where(Availability.package_id == package.id)
            .order_by(Availability.day)
            .execution_options(populate_existing=True)
        )
    )


def change_day(package: Package, number: int, **values: int) -> None:
    with transaction():
        day = days_of(package)[number]
        for name, value in values.items():
            setattr(day, name, value)


def audited(row: Any) -> list[tuple[str, Any, Any]]:
    entries = db.session.scalars(
        select(AuditEntry)
        .where(AuditEntry.object_type == row.__tablename__, AuditEntry.object_id == row.id)
        .order_by(AuditEntry.id)
    )
    return [(entry.action, entry.before, entry.after) for entry in entries]


# --- What goes in ----------------------------------------------------------------------------------------------------


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


# --- What is rejected ------------------------------------------------------------------------------------------------

BAD_CELLS = [
    ({"title": ""}, "title: is missing"),
    ({"title": "x" * 40_960}, "title: is 40,960 characters long; at most 300 are allowed"),
    ({"title": "bell\x07"}, "title: holds the control character U+0007"),
    ({"title": "nul\0"}, "title: holds the control character U+0000"),
    ({"title": "two\nlines"}, "title: holds a line break"),
    ({"text": "y" * 20_001}, "text: is 20,001 characters long; at most 20,000 are allowed"),
    ({"price": "free"}, 'price: "free" is not a number'),
    ({"price": "\x1b[2J"}, 'price: "\ufffd[2J" is not a number'),
    ({"price": "NaN"}, 'price: "NaN" is not a number'),
    ({"price": "1,000"}, 'price: "1,000" is not a number'),
    ({"price": "0"}, 'price: "0" is not more than 0'),
    ({"price": "-12"}, 'price: "-12" is not more than 0'),
    ({"price": "1e99"}, 'price: "1e99" at the rate 1 is not between 0.01 USD and 999,999.99 USD'),
    ({"price": "1000000"}, 'price: "1000000" at the rate 1 is not between 0.01 USD and 999,999.99 USD'),
    ({"price": "0.004"}, 'price: "0.004" at the rate 1 is not between 0.01 USD and 999,999.99 USD'),
    ({"lat": "95"}, 'lat: "95" is not between -90 and 90'),
    ({"lon": "-180.5"}, 'lon: "-180.5" is not between -180 and 180'),
    ({"lat": "inf"}, 'lat: "inf" is not a number'),
    ({"lon": ""}, "lon: is missing; a position needs both latitude and longitude"),
    ({"guests": "0"}, 'guests: "0" is not between 1 and 1,000'),
    ({"guests": "3.5"}, 'guests: "3.5" is not a whole number'),
    ({"guests": "٣"}, 'guests: "٣" is not a number'),
    ({"nights": "0"}, 'nights: "0" is not between 1 and 3,650'),
    ({"kind": "boat"}, 'kind: "boat" is none of hotel, tour'),
    ({"land": "Atlantis"}, 'land: "Atlantis" is no country\'s English name or two-letter code'),
    ({"id": " "}, "id: is missing"),
    ({"host": ""}, "host: is missing"),
]


@pytest.mark.parametrize(("cells", "said"), BAD_CELLS, ids=[said[:40] for _cells, said in BAD_CELLS])
def test_a_bad_cell_is_named_by_line_column_and_reason_and_the_other_rows_go_in(
    listings: Listings, cells: dict[str, str], said: str
) -> None:
    listings.write(listings.row("first"), listings.row("bad", **cells), listings.row("last"))

    status, lines, _stderr = listings.run()

    assert lines[:-1] == [f"line 3, column {said}"]
    assert (status, json.loads(lines[-1])) == (3, counts(created=2, rejected=1))
    assert listings.packages().keys() == {"first", "last"}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("cancellation_policy", "generous", "is none of flexible, moderate, strict"),
        ("provider_status", "TRUSTED", "is none of PENDING, REJECTED, VERIFIED, SUSPENDED"),
        ("published", "maybe", "is neither true nor false"),
        ("available_days", "9999", "is not between 0 and 730"),
        ("amenities", "a|" + "b" * 81, "is 81 characters long; at most 80 are allowed"),
    ],
)
def test_the_other_fields_are_checked_too(listings: Listings, field: str, value: str, reason: str) -> None:
    without = "\n".join(line for line in MAPPING.splitlines() if not line.startswith((field, "description")))
    listings.mapping.write_text(without.replace("[columns]", f'[columns]\n{field} = "text"'))
    listings.write(listings.row("bad", text=value))
    status, lines, _stderr = listings.run()
    assert status == 3
    assert lines[0].startswith("line 2, column text: ")
    assert lines[0].endswith(reason)


def test_everything_wrong_with_a_row_is_said_on_its_one_line(listings: Listings) -> None:
    listings.write(listings.row("bad", price="free", lat="95", guests="0"))
    _status, lines, _stderr = listings.run()
    assert len(lines) == 2
    assert lines[0] == (
        'line 2, column lat: "95" is not between -90 and 90; column price: "free" is not a number;'
        ' column guests: "0" is not between 1 and 1,000'
    )


def test_a_repeated_id_is_rejected_with_the_line_of_the_first(listings: Listings) -> None:
    listings.write(listings.row("a", text="of\nthree\nlines"), listings.row("b"), listings.row("a", guests="9"))
    status, lines, _stderr = listings.run()
    assert lines[0] == 'line 6, column id: "a" of this provider is on line 2 already'
    assert (status, json.loads(lines[-1])) == (3, counts(created=2, rejected=1))
    assert listings.packages()["a"].capacity == 3


def test_bytes_that_are_not_utf8_cost_only_their_row(listings: Listings) -> None:
    listings.write(
        listings.row("a"), listings.row("bad", title="Bl\u00e5").replace(b"\xc3\xa5", b"\xe5"), listings.row("b")
    )
    status, lines, _stderr = listings.run()
    assert lines[0] == "line 3, column title: is not UTF-8"
    assert (status, json.loads(lines[-1])) == (3, counts(created=2, rejected=1))


def test_too_many_and_too_few_cells_are_rejected(listings: Listings) -> None:
    many, few = listings.row("many").strip() + b",x,y\n", listings.row("few").rsplit(b",", 2)[0] + b"\n"
    listings.write(listings.row("a"), many, few, listings.row("b"))
    status, lines, _stderr = listings.run()
    assert lines[:2] == [
        "line 3, column number 13: the row has 14 cells where the header has 12",
        "line 4, column kind: the row has 10 cells where the header has 12",
    ]
    assert (status, json.loads(lines[-1])) == (3, counts(created=2, rejected=2))


@pytest.mark.parametrize(
    "behind",
    [
        {"title": "plain"},
        {"title": "quoted, with a comma"},
        {"text": "of\nseveral\nlines"},
        {"title": 'a 5" pipe'},
        # Its one quote, at a cell's end, closes the open one: only the row's shape gives it away.
        {"title": "stray"},
    ],
    ids=["plain", "quoted", "lines", "escaped", "stray"],
)
def test_a_quote_that_is_never_closed_costs_only_its_row(listings: Listings, behind: dict[str, str]) -> None:
    unclosed = listings.row("bad", title="QQ").replace(b"QQ", b'"never closed')
    last = listings.row("last", **behind).replace(b"stray", b'stray"')
    listings.write(listings.row("first"), unclosed, listings.row("second"), last, listings.row("after"))

    status, lines, _stderr = listings.run()

    assert lines[:-1] == ["line 3, column title: a quote that opens here is not closed, or has text behind its end"]
    assert status == 3
    assert listings.packages().keys() == {"first", "second", "last", "after"}


def test_a_row_of_endless_length_is_passed_over(listings: Listings) -> None:
    listings.write(listings.row("a"), listings.row("bad", text="x" * 3_000_000), listings.row("b"))
    status, lines, _stderr = listings.run()
    assert lines[0] == "line 3, column id: the row is longer than 131,072 characters"
    assert (status, json.loads(lines[-1])) == (3, counts(created=2, rejected=1))


# --- What is unusable ------------------------------------------------------------------------------------------------

UNUSABLE_MAPPINGS = [
    ("[columns", "is not valid TOML"),
    (MAPPING.replace("[columns]", "[column]"), 'but no "column"'),
    (MAPPING + '[more]\na = "b"', 'but no "more"'),
    (MAPPING.replace('name = "title"', 'named = "title"'), '[columns] has "named", which is no field'),
    (MAPPING + 'colour = "red"', '[defaults] has "colour", which is no field'),
    (MAPPING.replace('"lat"', "7"), "[columns] latitude: give the name of the file's column"),
    (MAPPING.replace('"lat"', '"latitude"'), 'The file has no column "latitude" (for latitude)'),
    (MAPPING.replace('latitude = "lat"', ""), "only one of latitude and longitude"),
    (MAPPING.replace('price = "price"', ""), "does not say where price comes from"),
    (MAPPING.replace('city = "Oslo"', 'city = ""'), "[defaults] city: is missing"),
    (MAPPING.replace("published = true", "published = 2"), '[defaults] published: "2" is neither true nor false'),
    (MAPPING.replace("20", "[20]"), "[defaults] available_days: give a text, a number"),
    (MAPPING.replace("{provider_external_id}", "{host}"), "[defaults] provider_name: {host} is neither in"),
]


@pytest.mark.parametrize(("mapping", "said"), UNUSABLE_MAPPINGS, ids=[said[:40] for _text, said in UNUSABLE_MAPPINGS])
def test_an_unusable_mapping_is_said_in_one_line_and_nothing_goes_in(
    listings: Listings, mapping: str, said: str
) -> None:
    listings.mapping.write_text(mapping)
    listings.write(listings.row("a"))
    _refused(listings, said)


UNUSABLE_FILES = [
    (b"", "The file is empty."),
    (b"\n\n", "The file has no header"),
    (b"id,host,id\n", 'two columns named "id"'),
    (b"1,2,3\n", 'The file has no column "id"'),
    (b"id,t\xeftle\n", "not UTF-8"),
    ("id,host\n".encode("utf-16"), "not UTF-8"),
    (b'id,"host\n', "no usable header"),
    (gzip.compress(b"id,host\n" * 99)[:-9], "can't be unpacked"),
]


@pytest.mark.parametrize(("content", "said"), UNUSABLE_FILES, ids=[said[:40] for _content, said in UNUSABLE_FILES])
def test_an_unusable_file_is_said_in_one_line(listings: Listings, content: bytes, said: str) -> None:
    listings.file.write_bytes(content)
    _refused(listings, said)


@pytest.mark.parametrize("rate", ["0", "-1", "NaN", "inf", "a lot", ""])
def test_a_rate_must_be_a_number_above_zero(listings: Listings, rate: str) -> None:
    listings.write(listings.row("a"))
    _refused(listings, "The rate ", "--rate", rate)


def test_a_missing_file_or_mapping_is_named(listings: Listings) -> None:
    _refused(listings, f"{listings.file}: No such file")
    listings.write(listings.row("a"))
    listings.mapping.unlink()
    _refused(listings, f"{listings.mapping}: No such file")


def _refused(listings: Listings, said: str, *options: str) -> None:
    status, lines, stderr = listings.run(*options)
    assert (status, lines) == (2, [])
    assert said in stderr
    assert stderr.count("\n") == 1
    assert listings.packages() == {}


# --- The real thing --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not OSLO_FILE.exists(), reason=f"the Oslo file is not at {OSLO_FILE}")
def test_the_oslo_file_goes_in_with_its_mapping(empty_app: Flask) -> None:
    mapping = ImportMapping.from_toml(OSLO_MAPPING.read_bytes().replace(b"available_days = 365", b"available_days = 1"))
    for expected in (ImportReport(created=10_099), ImportReport(unchanged=10_099)):
        with OSLO_FILE.open("rb") as stream:
            work = CatalogImport(stream, mapping, rate=Decimal("0.094"), by=SYSTEM)
            assert [rejection for step in work.run() for rejection in step.rejections] == []
        assert work.report == expected
    assert db.session.scalar(select(func.count()).select_from(Availability)) == 10_099
    assert set(db.session.scalars(select(Package.time_zone).distinct())) == {"Europe/Oslo"}
    assert set(db.session.scalars(select(Provider.status).distinct())) == {"VERIFIED"}
