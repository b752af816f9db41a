"""Rows as CSV (RFC 4180) that a spreadsheet reads right and takes for data, never for a formula."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO
from typing import Any

from app.money import minor_digits

# Without it, Excel takes UTF-8 for the code page of the country it was bought in.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# What a spreadsheet may take for a formula, also in full width and behind blanks: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")


def lines(rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows of cells as CSV. Texts are quoted, so that no country's separator begins a new cell; numbers are not."""
    text = StringIO()
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC).writerows([cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def cell(value: Any) -> str | int | Decimal:
    """A value as it is written: times as ISO 8601 in UTC, and a text that looks like a formula behind an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, int | Decimal):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return f"'{value}" if _FORMULA.match(value) else str(value)


def amount(minor: int, currency: str) -> Decimal:
    """Minor units as a decimal number of major ones: 25900 USD is 259.00."""
    return Decimal(minor).scaleb(-minor_digits(currency))


def masked_address(email: str) -> str:
    """An e-mail address of which the first letter and the domain are left."""
    name, _, domain = email.rpartition("@")
    return f"{name[:1]}…@{domain}"


def masked_name(name: str) -> str:
    """A name of which the first letter of each word is left."""
    return " ".join(f"{word[0]}…" for word in name.split())
