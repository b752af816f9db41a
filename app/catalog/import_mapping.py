"""Which of a file's columns says what: from a mapping and a row of the file to a package as we know them."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from app.catalog.import_fields import FIELDS, REQUIRED, Wrong, policy_field, shown
from app.catalog.import_file import Row, Unusable
from app.catalog.time_zones import zone_of
from app.errors import FieldError
from app.money import MAX_CHARGE_MINOR, Money, to_minor

CURRENCY = "USD"
_TABLES = ("columns", "defaults")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Fault:
    """What is wrong in one cell; `column` is the file's own name for it, or a default's."""

    column: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """One good row. `package` holds values by the package's column names; `line` is where the row begins."""

    line: int
    external_id: str
    provider_external_id: str
    provider_name: str
    provider_status: str
    published: bool
    available_days: int
    package: dict[str, Any]


@dataclass(frozen=True)
class ImportMapping:
    """`columns` maps our fields to a file's columns; `defaults` fills fields without a column, and empty cells.

    A default may speak of other fields of the row: `Host {provider_external_id}`.
    """

    columns: Mapping[str, str]
    defaults: Mapping[str, str]

    @property
    def given(self) -> frozenset[str]:
        """The fields this mapping says anything about; an import leaves the others of an existing package alone."""
        return frozenset(self.columns) | frozenset(self.defaults)

    @classmethod
    def from_toml(cls, content: bytes) -> ImportMapping:
        """A mapping as operators write it. Raises Unusable, which says what is wrong with it."""
        try:
            tables = tomllib.loads(content.decode())
        except UnicodeDecodeError:
            raise Unusable("The mapping is not UTF-8 text.") from None
        except tomllib.TOMLDecodeError as error:
            raise Unusable(f"The mapping is not valid TOML: {error}.") from error
        for name, table in tables.items():
            if name not in _TABLES or not isinstance(table, dict):
                raise Unusable(f'The mapping may hold the tables [columns] and [defaults], but no "{name}".')
        return cls.checked(tables.get("columns", {}), tables.get("defaults", {}))

    @classmethod
    def checked(cls, columns: Mapping[str, Any], defaults: Mapping[str, Any]) -> ImportMapping:
        """A mapping from anywhere. Raises Unusable: an unknown field, a needed one missing, an impossible default; its
        `fields` are named such as `columns.price` and `defaults.city`.
        """
        for table, entries in zip(_TABLES, (columns, defaults), strict=True):
            for field in entries:
                if field not in FIELDS:
                    raise Unusable(f'[{table}] has "{field}", which is no field; the fields are {", ".join(FIELDS)}.')
        for field, column in columns.items():
            if not isinstance(column, str) or not column.strip():
                raise Unusable(f"[columns] {field}: give the name of the file's column, in quotes.")
        mapping = cls(
            {field: column.strip() for field, column in columns.items()},
            {field: _text_of(field, value) for field, value in defaults.items()},
        )
        faults = list(mapping._faults())
        if faults:
            raise Unusable(" ".join(said for said, _fault in faults), [fault for _said, fault in faults])
        return mapping

    def to_toml(self) -> str:
        """The mapping as operators write it; `from_toml` reads it back."""
        tables = ((name, getattr(self, name)) for name in _TABLES)
        return "\n\n".join(
            "\n".join([f"[{name}]", *(f"{field} = {_toml_text(value)}" for field, value in entries.items())])
            for name, entries in tables
        )

    def _faults(self) -> Iterator[tuple[str, FieldError]]:
        """What is wrong, each as a sentence and by its field."""
        for field in FIELDS:
            if FIELDS[field].empty is REQUIRED and field not in self.given:
                needs = "needs a column or a default"
                said = f"The mapping does not say where {field} comes from: it {needs}."
                yield said, FieldError(f"columns.{field}", needs)
        missing = {"latitude", "longitude"} - self.given
        if len(missing) == 1:
            said = "The mapping gives only one of latitude and longitude; a position needs both."
            yield said, FieldError(f"columns.{missing.pop()}", "a position needs both latitude and longitude")
        for field in self.defaults:
            wrong = self._wrong_default(field)
            if wrong is not None:
                yield f"[defaults] {field}: {wrong}.", FieldError(f"defaults.{field}", wrong)

    def _wrong_default(self, field: str) -> str | None:
        text = self.defaults[field]
        spoken_of = _PLACEHOLDER.findall(text)
        for other in spoken_of:
            if other not in self.given or (other not in self.columns and _PLACEHOLDER.search(self.defaults[other])):
                return f"{{{other}}} is neither a field with a column nor one with a plain default"
        if not spoken_of:
            try:
                FIELDS[field].value(text)
            except Wrong as wrong:
                return str(wrong)
        return None


class RowReader:
    """Reads the rows of one file, with these columns, by one mapping. `rate` is USD per unit of the file's prices."""

    def __init__(self, columns: Sequence[str], mapping: ImportMapping, rate: Decimal) -> None:
        """Raises Unusable when the file lacks a column of the mapping."""
        self._mapping = mapping
        self._rate = rate
        self._fields = {**FIELDS, "cancellation_policy": policy_field()}
        self._positions: dict[str, int] = {}
        for field, column in mapping.columns.items():
            if column not in columns:
                has = ", ".join(map(shown, columns))
                raise Unusable(f"The file has no column {shown(column)} (for {field}); it has {has}.")
            self._positions[field] = columns.index(column)

    def read(self, row: Row) -> Listing | list[Fault]:
        """The package that a row describes, or everything that is wrong with it."""
        texts = self._texts(row.cells)
        values: dict[str, Any] = {}
        faults: list[Fault] = []
        for name, field in self._fields.items():
            try:
                values[name] = field.value(texts.get(name, ""))
            except Wrong as wrong:
                faults.append(self._fault(name, str(wrong)))
        if "price" in values:
            values["price_minor"] = round_to_minor(values.pop("price"), self._rate)
            if not 1 <= values["price_minor"] <= MAX_CHARGE_MINOR:
                faults.append(self._fault("price", self._out_of_range(texts["price"])))
        if not faults and (values["latitude"] is None) != (values["longitude"] is None):
            missing = "latitude" if values["latitude"] is None else "longitude"
            faults.append(self._fault(missing, "is missing; a position needs both latitude and longitude"))
        return faults or _listing(row.line, values)

    def column_of(self, field: str) -> str:
        """Where a field's value comes from, as a rejected row names it."""
        return self._mapping.columns.get(field) or f"[defaults] {field}"

    def _texts(self, cells: Sequence[str]) -> dict[str, str]:
        """Each field's text: its cell, or its default where that is empty."""
        texts = {field: cells[position] for field, position in self._positions.items()}
        empty = [field for field in self._mapping.defaults if not texts.get(field, "").strip()]
        # Plain defaults before those that speak of them.
        for field in sorted(empty, key=lambda field: "{" in self._mapping.defaults[field]):
            texts[field] = _PLACEHOLDER.sub(lambda found: texts.get(found[1], ""), self._mapping.defaults[field])
        return texts

    def _fault(self, field: str, reason: str) -> Fault:
        return Fault(self.column_of(field), reason)

    def _out_of_range(self, text: str) -> str:
        least, most = Money(1, CURRENCY), Money(MAX_CHARGE_MINOR, CURRENCY)
        return f"{shown(text)} at the rate {self._rate} is not between {least} and {most}"


def round_to_minor(price: Decimal, rate: Decimal) -> int:
    """A price of the file in US cents, rounded half up; one beyond all sense comes out as more than may be charged."""
    converted = price * rate
    return MAX_CHARGE_MINOR + 1 if converted.adjusted() > len(str(MAX_CHARGE_MINOR)) else to_minor(converted, CURRENCY)


def _listing(line: int, values: dict[str, Any]) -> Listing:
    country = values.pop("country")
    position = None if values["latitude"] is None else (values["latitude"], values["longitude"])
    own = {
        name: values.pop(name)
        for name in (
            "external_id",
            "provider_external_id",
            "provider_name",
            "provider_status",
            "published",
            "available_days",
        )
    }
    package = {**values, "country": country.name, "time_zone": zone_of(country, values["city"], position)}
    return Listing(line=line, package=package, **own)


def _text_of(field: str, value: Any) -> str:
    """A default of TOML's types as a cell of the file would say it. Raises Unusable."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if field == "amenities" and isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "|".join(value)
    raise Unusable(f"[defaults] {field}: give a text, a number, or true or false.")


def _toml_text(text: str) -> str:
    """A basic string of TOML, which is JSON's apart from DEL: https://toml.io/en/v1.0.0#string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
