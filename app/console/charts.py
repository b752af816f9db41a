"""A chart of a page: what it is called, what is drawn, and the table behind it, which the CSV has too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.bulk import spreadsheet
from app.console.page import Column, line
from app.money import Money, written
from app.reports.figures import Figure

# Of many places, providers or reasons, so many are drawn; the table behind has as many.
MOST_RANKED = 12


@dataclass(frozen=True)
class Row:
    """One line of a chart's table: its cells by the keys of the columns, and where it leads."""

    cells: dict[str, Any]
    href: str | None = None


@dataclass(frozen=True)
class Chart:
    """`headline` is what it comes to, `change` how that compares with the period before; `form` is time or rank."""

    name: str
    title: str
    headline: str
    change: str
    figure: Figure
    columns: Sequence[Column]
    rows: Sequence[Row]
    form: str = "time"
    note: str = ""
    tabs: Sequence[dict[str, Any]] = field(default=())

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The table's lines as templates write them."""
        return [
            line(
                row.href,
                **{name: cell.json() if isinstance(cell, Money) else cell for name, cell in row.cells.items()},
            )
            for row in self.rows
        ]

    def csv(self) -> bytes:
        """The table as CSV; amounts in whole units, with their currency in a column of its own."""
        amounts = [cell for row in self.rows for cell in row.cells.values() if isinstance(cell, Money)]
        currency = [amounts[0].currency] if amounts else []
        head = [column.label for column in self.columns] + ["Currency"] * len(currency)
        body = [[_plain(row.cells[column.key]) for column in self.columns] + currency for row in self.rows]
        return spreadsheet.lines([head, *body])


@dataclass(frozen=True)
class Part:
    """A part of the page: its figures in words, and its charts."""

    cards: Sequence[dict[str, Any]]
    charts: Sequence[Chart]
    is_empty: bool


def columns_of(what: str, kind: Any) -> tuple[Column, ...]:
    """Those of a table behind a chart that compares two periods."""
    return (
        Column("when", what, "link"),
        Column("now", "This period", kind, "right"),
        Column("before", "The period before", kind, "right"),
    )


def change(now: float | None, before: float | None, *, points: bool = False) -> str:
    """How much more or less that is than before, in words: `+12 %`, or `+1.3 points` between two rates."""
    if now is None or not before:
        return "" if not before and not now else "nothing before"
    difference = 100 * (now - before) if points else 100 * (now - before) / abs(before)
    digits = 1 if points or abs(difference) < 10 else 0
    amount = f"{abs(difference):,.{digits}f}"
    sign = "±" if float(amount.replace(",", "")) == 0 else "+" if difference > 0 else "−"
    return f"{sign}{amount} {'points' if points else '%'}"


def percent(rate: float | None) -> str:
    """A rate as people read it; a dash where nothing happened."""
    return "–" if rate is None else f"{100 * rate:.1f} %"


def amount(minor: int | None, currency: str) -> str:
    """An amount as people read it; a dash where there is none."""
    return "–" if minor is None else written(minor, currency)


def _plain(cell: Any) -> Any:
    return spreadsheet.amount(cell.amount_minor, cell.currency) if isinstance(cell, Money) else cell
