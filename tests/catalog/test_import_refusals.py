"""`catalog import`: what is rejected and by what name, and which files and mappings are of no use."""

from __future__ import annotations

import gzip
import json

import pytest

from app.catalog import cancellation_policies
from tests import factories
from tests.catalog.listings import MAPPING, Listings, counts

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
    assert reason in lines[0]


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
    (MAPPING.replace("{provider_external_id}", "{host}"), "[defaults] provider_name: {host} is neither a field"),
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


def test_a_policy_is_taken_by_its_code_while_it_can_be_chosen(listings: Listings) -> None:
    ours = factories.policy()
    without = "\n".join(line for line in MAPPING.splitlines() if not line.startswith("description"))
    listings.mapping.write_text(without.replace("[columns]", '[columns]\ncancellation_policy = "text"'))
    listings.write(listings.row("ours", text=f" {ours.code.upper()} "), listings.row("usual", text=""))
    assert listings.run_well() == counts(created=2)
    found = listings.packages()
    assert {name: package.cancellation_policy for name, package in found.items()} == {
        "ours": ours.code,
        "usual": "moderate",
    }
    cancellation_policies.retire(ours.id, by=factories.admin(), reason="Made by mistake")
    listings.write(listings.row("late", text=ours.code))
    status, lines, _stderr = listings.run()
    assert status == 3
    assert lines[0].startswith(f'line 2, column text: "{ours.code}" is none of flexible, moderate, strict')
    assert "late" not in listings.packages()
