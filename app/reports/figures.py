"""Rows to figures: what Plotly draws, as plain dictionaries. Colours are the page's own, by the names of its tokens.

Coordinates are the only place where an amount is a float; what is written beside them is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.money import minor_digits, written

Figure = dict[str, Any]

_NOW, _BEFORE = "This period", "The period before"
_AXIS = {"fixedrange": True, "gridcolor": "var(--line)", "zerolinecolor": "var(--line-strong)", "automargin": True}
# Of nothing the axis would be cut into thousandths.
_NOTHING = {"range": [0, 1], "tickvals": [0]}
_LAYOUT: Figure = {
    "font": {"family": "Inter, system-ui, sans-serif", "size": 12, "color": "var(--ink-2)"},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "hoverlabel": {"bgcolor": "var(--raised)", "bordercolor": "var(--line-strong)", "font": {"color": "var(--ink)"}},
    "showlegend": False,
    "dragmode": False,
    "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
}


@dataclass(frozen=True)
class Unit:
    """What is drawn: amounts of a currency, or numbers of something."""

    currency: str | None = None

    def value(self, amount: int) -> float | int:
        """Where on the axis it stands."""
        return amount if self.currency is None else amount / 10 ** minor_digits(self.currency)

    def write(self, amount: int) -> str:
        """As people write it."""
        return f"{amount:,}".replace("-", "−") if self.currency is None else written(amount, self.currency)

    @property
    def axis(self) -> Figure:
        """How the axis is marked; whole numbers only where things are counted."""
        if self.currency is None:
            return {"rangemode": "tozero", "tickformat": ",~r", "minallowed": 0}
        return {"rangemode": "tozero", "tickformat": "~s", "tickprefix": "$" if self.currency == "USD" else ""}


@dataclass(frozen=True)
class Bar:
    """One bar: where it stands (an ISO date or a name), its amount, that of the period before, and where it leads."""

    at: str
    label: str
    now: int
    before: int
    href: str | None = None


def over_time(bars: Sequence[Bar], unit: Unit) -> Figure:
    """Bars along the calendar, with the period before as a dotted grey line over them."""
    return {
        "data": [
            _bars(bars, unit, x=[bar.at for bar in bars], y=[unit.value(bar.now) for bar in bars]),
            {
                "type": "scatter",
                "mode": "lines" if len(bars) > 1 else "markers",
                "name": _BEFORE,
                "x": [bar.at for bar in bars],
                "y": [unit.value(bar.before) for bar in bars],
                "text": [unit.write(bar.before) for bar in bars],
                "hovertemplate": "the period before: %{text}<extra></extra>",
                "line": {"color": "var(--ink-3)", "dash": "dot", "width": 1.5},
                "marker": {"color": "var(--ink-3)", "symbol": "line-ew-open", "size": 24},
            },
        ],
        "layout": {
            **_LAYOUT,
            "bargap": 0.25,
            "hovermode": "x",
            "xaxis": {**_AXIS, "type": "date", "showgrid": False, "hoverformat": "%-d %b %Y", "nticks": 8},
            "yaxis": {**_AXIS, **(unit.axis if any(bar.now or bar.before for bar in bars) else _NOTHING), "nticks": 5},
        },
    }


def ranked(bars: Sequence[Bar], unit: Unit) -> Figure:
    """Bars from the top down, each with its amount beside it and the period before hatched below."""
    names = [bar.label for bar in bars]
    most = max((unit.value(max(bar.now, bar.before)) for bar in bars), default=0)
    least = min((unit.value(min(bar.now, bar.before, 0)) for bar in bars), default=0)
    now = _bars(bars, unit, y=names, x=[unit.value(bar.now) for bar in bars])
    before = {
        "type": "bar",
        "name": _BEFORE,
        "orientation": "h",
        "y": names,
        "x": [unit.value(bar.before) for bar in bars],
        "text": [unit.write(bar.before) for bar in bars],
        "textposition": "none",
        "hovertemplate": "the period before: %{text}<extra></extra>",
        "marker": {
            "color": "rgba(0,0,0,0)",
            "line": {"width": 1, "color": "var(--ink-3)"},
            "pattern": {"shape": "/", "size": 5, "solidity": 0.25, "fgcolor": "var(--ink-3)"},
        },
    }
    return {
        "data": [
            {**now, "orientation": "h", "textposition": "outside", "cliponaxis": False},
            before,
        ],
        "layout": {
            **_LAYOUT,
            "barmode": "group",
            "bargap": 0.3,
            "hovermode": "closest",
            "height": 48 + 44 * len(bars),
            "xaxis": {
                **_AXIS,
                **(unit.axis if most or least else _NOTHING),
                "nticks": 5,
                # Room for the amount at the end of the longest.
                "range": [least * 1.3, most * 1.3 or 1],
            },
            "yaxis": {**_AXIS, "type": "category", "autorange": "reversed", "showgrid": False, "ticklabelstandoff": 8},
        },
    }


def _bars(bars: Sequence[Bar], unit: Unit, **places: list[Any]) -> Figure:
    return {
        "type": "bar",
        "name": _NOW,
        **places,
        "text": [unit.write(bar.now) for bar in bars],
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
        "customdata": [bar.href for bar in bars],
        "marker": {"color": "var(--accent)"},
    }
