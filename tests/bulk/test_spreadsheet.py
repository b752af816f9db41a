"""What a spreadsheet is given: data, never a formula; and the same data when it is read back."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from io import StringIO

import pytest

from app.bulk import spreadsheet


def read(written: bytes) -> list[list[str]]:
    return list(csv.reader(StringIO(written.decode(), newline="")))


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://evil.example", "Click")',
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
        "\tplain",
        "   =1+1",
        "\u00a0=1+1",
        "\u3000@SUM(A1)",
        "＝1+1",
        "＋1",
        "－1",
        "＠SUM(A1)",
        "=",
    ],
)
def test_a_text_that_a_spreadsheet_would_run_stands_behind_an_apostrophe(text: str) -> None:
    assert spreadsheet.cell(text) == f"'{text}"
    assert read(spreadsheet.lines([["before", text]])) == [["before", f"'{text}"]]


@pytest.mark.parametrize("text", ["", "Ünïcode 東京", "a=b", "1-2", "x@example.org", "'quoted'", " two  blanks ", "…"])
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert read(spreadsheet.lines([[text]])) == [[text]]


def test_texts_are_quoted_and_numbers_are_not() -> None:
    row = ["a;=1", 'say "hi"', "two\r\nlines", 7, -3, Decimal("-12.50"), None]
    written = spreadsheet.lines([row])
    assert written == b'"a;=1","say ""hi""","two\r\nlines",7,-3,-12.50,""\r\n'
    assert read(written) == [["a;=1", 'say "hi"', "two\r\nlines", "7", "-3", "-12.50", ""]]


def test_times_are_written_in_utc_and_days_as_they_are() -> None:
    in_tokyo = datetime(2026, 3, 1, 8, 30, 15, 999_999, timezone(timedelta(hours=9)))
    assert spreadsheet.cell(in_tokyo) == "2026-02-28T23:30:15Z"
    assert spreadsheet.cell(datetime(2026, 3, 1, tzinfo=UTC)) == "2026-03-01T00:00:00Z"
    assert spreadsheet.cell(date(2026, 3, 1)) == "2026-03-01"


@pytest.mark.parametrize(
    ("minor", "currency", "written"),
    [
        (25_900, "USD", b"259.00\r\n"),
        (0, "USD", b"0.00\r\n"),
        (-5, "EUR", b"-0.05\r\n"),
        (1_200, "JPY", b"1200\r\n"),
        (1_234_567, "KWD", b"1234.567\r\n"),
        (99_999_999_999, "USD", b"999999999.99\r\n"),
    ],
)
def test_amounts_are_decimal_numbers_of_whole_units(minor: int, currency: str, written: bytes) -> None:
    assert spreadsheet.lines([[spreadsheet.amount(minor, currency)]]) == written


def test_what_is_masked_tells_neither_name_nor_address() -> None:
    assert spreadsheet.masked_address("ada.lovelace@example.org") == "a…@example.org"
    assert spreadsheet.masked_name("Ada  King of Lovelace") == "A… K… o… L…"
    assert spreadsheet.masked_name("") == ""
