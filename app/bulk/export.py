"""What an export of a list is: columns as the database has them, who gets which in clear, and its rows as CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BigInteger, Select, any_, case, cast, select
from sqlalchemy.dialects.postgresql import ARRAY

from app.audit.actor import Actor
from app.bulk import spreadsheet
from app.errors import Invalid
from app.extensions import Model, db

GONE = "It is not there any more."


@dataclass(frozen=True)
class Mask:
    """Who sees a column in clear, and what the others get."""

    clear_to: frozenset[str]
    masked: Callable[[str], str]


@dataclass(frozen=True)
class Field:
    """A column of an export; `key` is that of the list's column. Money is in minor units of the export's currency."""

    key: str
    heading: str
    value: Any
    is_money: bool = False
    mask: Mask | None = None

    def is_clear_to(self, by: Actor) -> bool:
        """Whether `by` sees it unmasked."""
        return self.mask is None or by.has(self.mask.clear_to)


@dataclass(frozen=True)
class Export:
    """The rows of one list as CSV: an id, the columns that were chosen, and with money its currency."""

    name: str
    nouns: tuple[str, str]
    roles: frozenset[str]
    model: type[Model]
    fields: Sequence[Field]
    currency: Any = None
    joined: Callable[[Select[Any]], Select[Any]] = field(default=lambda query: query)

    def chosen(self, arguments: Mapping[str, Any]) -> list[Field]:
        """The columns that were asked for, in the order of the list. Raises Invalid for one that there isn't."""
        wanted = set(arguments["columns"])
        if unknown := wanted - {field.key for field in self.fields}:
            raise Invalid.field("columns", f"{self.nouns[1].capitalize()} have no column {min(unknown)}.")
        return [field for field in self.fields if field.key in wanted]

    def headings(self, arguments: Mapping[str, Any]) -> list[str]:
        """The first line of the file."""
        found = ["Id"]
        for chosen in self.chosen(arguments):
            is_masked = chosen.mask is not None and chosen.key not in arguments["clear"]
            found.append(f"{chosen.heading} (masked)" if is_masked else chosen.heading)
            if chosen.is_money and "Currency" not in found:
                found.append("Currency")
        return found

    def part(self, ids: list[int], arguments: Mapping[str, Any], by: Actor) -> tuple[bytes, list[int]]:
        """These rows as lines of CSV, in the order of the ids, and which of them there are.

        What was masked when it was asked for stays so; what `by` may not see any more is masked as well.
        """
        chosen = self.chosen(arguments)
        row_id = self.model.__table__.c.id
        values = [row_id, *(field.value for field in chosen)]
        if self.currency is not None:
            values.append(self.currency)
        query = self.joined(select(*values).select_from(self.model))
        rows = db.session.execute(query.where(row_id == any_(cast(ids, ARRAY(BigInteger)))))
        found = {row[0]: row for row in rows}
        clear = [field.key in arguments["clear"] and field.is_clear_to(by) for field in chosen]
        there = [row_id for row_id in ids if row_id in found]
        return spreadsheet.lines(_cells(found[row_id], chosen, clear) for row_id in there), there


def _cells(row: Sequence[Any], chosen: Sequence[Field], clear: Sequence[bool]) -> list[Any]:
    cells, has_currency = [row[0]], False
    for field_, value, is_clear in zip(chosen, row[1:], clear, strict=False):
        if field_.is_money:
            currency = row[-1]
            cells.append(None if value is None else spreadsheet.amount(value, currency))
            if not has_currency:
                cells.append(currency)
                has_currency = True
        elif field_.mask is None or is_clear or value is None:
            cells.append(value)
        else:
            cells.append(field_.mask.masked(value))
    return cells


def in_words(column: Any, names: Mapping[str, str]) -> Any:
    """A column of codes as what people call them; a code without a name, as it is."""
    return case(dict(names), value=column, else_=column)
