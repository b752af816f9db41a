"""The fields of an imported package: how a cell's text is read, what it may hold, and what an empty one means."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from app.catalog import cancellation_policies
from app.catalog.models import PACKAGE_TYPES, Provider
from app.catalog.policies import USUAL
from app.catalog.time_zones import Country, find_country

MAX_DESCRIPTION = 20_000
MAX_AMENITIES = 100
MAX_AVAILABLE_DAYS = 730

REQUIRED = object()

_TRUE = frozenset({"true", "t", "yes", "y", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "0"})
# As programs write one: `12`, `12.5`, `-3`, `1e+05`. No thousands separators: what 1,234 means would be a guess.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_LONGEST_NUMBER = 40
# A tab is white space; a line break is a sign of a quote gone astray where one line is expected.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_CONTROL_OR_BREAK = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


class Wrong(ValueError):
    """A cell that can't be read; the message completes "column such-and-such: …"."""


@dataclass(frozen=True)
class Field:
    """How a field's text becomes its value, and the value of an empty cell (`REQUIRED`: there must be one)."""

    read: Callable[[str], Any]
    empty: Any = REQUIRED

    def value(self, text: str) -> Any:
        """What this text says. Raises Wrong."""
        if text.strip():
            return self.read(text)
        if self.empty is REQUIRED:
            raise Wrong("is missing")
        return self.empty


def number(text: str) -> Decimal:
    """A finite number of sane length. Raises Wrong."""
    stripped = text.strip()
    if len(stripped) > _LONGEST_NUMBER or not _NUMBER.fullmatch(stripped):
        raise Wrong(f"{shown(text)} is not a number")
    return Decimal(stripped)


def shown(text: str) -> str:
    """A cell as a message quotes it: short, on one line, with nothing in it that a terminal would obey."""
    short = text if len(text) <= 60 else text[:57] + "…"
    return '"' + "".join(sign if sign.isprintable() else "\ufffd" for sign in short) + '"'


def _line(text: str, *, longest: int) -> str:
    """One line of text, its white space tidied."""
    _refuse_controls(_CONTROL_OR_BREAK.search(text))
    tidy = " ".join(text.split())
    if len(tidy) > longest:
        raise Wrong(f"is {len(tidy):,} characters long; at most {longest:,} are allowed")
    return tidy


def _paragraphs(text: str) -> str:
    _refuse_controls(_CONTROL.search(text))
    tidy = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if len(tidy) > MAX_DESCRIPTION:
        raise Wrong(f"is {len(tidy):,} characters long; at most {MAX_DESCRIPTION:,} are allowed")
    return tidy


def _refuse_controls(found: re.Match[str] | None) -> None:
    if found:
        sign = found[0]
        name = "a line break" if sign in "\r\n" else f"the control character U+{ord(sign):04X}"
        raise Wrong(f"holds {name}")


def _choice(text: str, *, options: Collection[str]) -> str:
    wanted = text.strip().casefold()
    for option in options:
        if option.casefold() == wanted:
            return option
    raise Wrong(f"{shown(text)} is none of {', '.join(options)}")


def _yes_or_no(text: str) -> bool:
    wanted = text.strip().casefold()
    if wanted in _TRUE or wanted in _FALSE:
        return wanted in _TRUE
    raise Wrong(f"{shown(text)} is neither true nor false")


def _count(text: str, *, least: int = 1, most: int) -> int:
    value = number(text)
    if value != value.to_integral_value():
        raise Wrong(f"{shown(text)} is not a whole number")
    if not least <= value <= most:
        raise Wrong(f"{shown(text)} is not between {least} and {most:,}")
    return int(value)


def _price(text: str) -> Decimal:
    value = number(text)
    if value <= 0:
        raise Wrong(f"{shown(text)} is not more than 0")
    return value


def _degrees(text: str, *, most: int) -> float:
    value = number(text)
    if abs(value) > most:
        raise Wrong(f"{shown(text)} is not between -{most} and {most}")
    return float(value)


def _country(text: str) -> Country:
    found = find_country(text)
    if found is None:
        raise Wrong(f"{shown(text)} is no country's English name or two-letter code")
    return found


def _amenities(text: str) -> list[str]:
    found = list(dict.fromkeys(_line(part, longest=80) for part in re.split(r"[|;]", text) if part.strip()))
    if len(found) > MAX_AMENITIES:
        raise Wrong(f"lists {len(found)} amenities; at most {MAX_AMENITIES} are allowed")
    return found


def policy_field() -> Field:
    """The cancellation policy by its code, of those that there are now: whoever reads many rows asks for it once."""
    return Field(partial(_choice, options=cancellation_policies.on_offer()), USUAL)


# A package's price stays a Decimal here, in the file's currency; its country a Country.
FIELDS: dict[str, Field] = {
    "external_id": Field(partial(_line, longest=200)),
    "provider_external_id": Field(partial(_line, longest=200)),
    "provider_name": Field(partial(_line, longest=300)),
    "type": Field(partial(_choice, options=PACKAGE_TYPES)),
    "name": Field(partial(_line, longest=300)),
    "description": Field(_paragraphs, ""),
    "place": Field(partial(_line, longest=200), None),
    "city": Field(partial(_line, longest=200)),
    "country": Field(_country),
    "latitude": Field(partial(_degrees, most=90), None),
    "longitude": Field(partial(_degrees, most=180), None),
    "price": Field(_price),
    "capacity": Field(partial(_count, most=1_000)),
    "units": Field(partial(_count, most=10_000), 1),
    "min_nights": Field(partial(_count, most=3_650), 1),
    "amenities": Field(_amenities, []),
    "cancellation_policy": Field(lambda text: policy_field().read(text), USUAL),
    "provider_status": Field(partial(_choice, options=tuple(Provider.MOVES)), "PENDING"),
    "published": Field(_yes_or_no, False),
    "available_days": Field(partial(_count, least=0, most=MAX_AVAILABLE_DAYS), 365),
}
