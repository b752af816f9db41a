"""Rows to figures: what Plotly draws, as plain dictionaries. Colours are the page's own, by the names of its tokens.

A place on an axis is the one thing for which an amount is a float; written to the cent, it is the amount again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

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

    def values(self, amounts: Iterable[int]) -> list[float] | list[int]:
        """Where on the axis they stand."""
        if self.currency is None:
            return list(amounts)
        whole = 10 ** minor_digits(self.currency)
        return [amount / whole for amount in amounts]

    def written(self, axis: str) -> str:
        """The template that writes a point's place on that axis as people do, to the cent."""
        if self.currency is None:
            return f"%{{{axis}:,}}"
        digits = minor_digits(self.currency)
        sign, code = written(0, self.currency).split(f"{0:.{digits}f}")
        return f"{sign}%{{{axis}:,.{digits}f}}{code}"

    @property
    def axis(self) -> Figure:
        """How the axis is drawn."""
        if self.currency is None:
            return {"rangemode": "tozero", "tickformat": ",~r", "minallowed": 0}
        return {"rangemode": "tozero", "tickformat": "~s", "tickprefix": self.written("").partition("%")[0]}

    def marks(self, count: int, *amounts: Iterable[float]) -> Figure:
        """About how many marks the axis has; where things are counted, none between two whole numbers."""
        is_few = self.currency is None and max(chain(*amounts), default=0) < count
        return {"dtick": 1} if is_few else {"nticks": count}


class Bar(NamedTuple):
    """One bar: where it stands (an ISO date or a name), its amount, that of the period before, and where it leads."""

    at: str
    label: str
    now: int
    before: int
    href: str | None = None


def over_time(bars: Sequence[Bar], unit: Unit) -> Figure:
    """Bars along the calendar, with the period before as a dotted grey line over them."""
    at, _, now, before, hrefs = _columns(bars, unit)
    return {
        "data": [
            _bars(hrefs, x=at, y=now, hovertemplate=f"{unit.written('y')}<extra></extra>"),
            # Under the line, so that it is seen over the bars too.
            {
                "type": "scatter",
                "mode": "lines",
                "x": at,
                "y": before,
                "hoverinfo": "skip",
                "line": {"color": "var(--page)", "width": 5},
            },
            {
                "type": "scatter",
                "mode": "lines" if len(bars) > 1 else "markers",
                "name": _BEFORE,
                "x": at,
                "y": before,
                "hovertemplate": f"the period before: {unit.written('y')}<extra></extra>",
                "line": {"color": "var(--ink-3)", "dash": "dot", "width": 1.5},
                "marker": {"color": "var(--ink-3)", "symbol": "line-ew-open", "size": 24},
            },
        ],
        "layout": {
            **_LAYOUT,
            "bargap": 0.25,
            "hovermode": "x",
            "xaxis": {
                **_AXIS,
                "type": "date",
                "showgrid": False,
                "hoverformat": "%-d %b %Y",
                "nticks": 5,
                "tickangle": 0,
                # So that the first date stands clear of the other axis's nothing.
                "ticklabelstandoff": 8,
            },
            "yaxis": {
                **_AXIS,
                **(unit.axis if any(now) or any(before) else _NOTHING),
                **unit.marks(5, now, before),
            },
        },
    }


def ranked(bars: Sequence[Bar], unit: Unit) -> Figure:
    """Bars from the top down, each with its amount beside it and the period before hatched below."""
    _, names, now, before, hrefs = _columns(bars, unit)
    least, most = min((*now, *before, 0)), max((*now, *before, 0))
    return {
        "data": [
            {
                **_bars(hrefs, x=now, y=names, hovertemplate=f"{unit.written('x')}<extra></extra>"),
                "orientation": "h",
                "texttemplate": unit.written("x"),
                "textposition": "outside",
                "cliponaxis": False,
            },
            {
                "type": "bar",
                "name": _BEFORE,
                "orientation": "h",
                "x": before,
                "y": names,
                "hovertemplate": f"the period before: {unit.written('x')}<extra></extra>",
                "marker": {
                    "color": "rgba(0,0,0,0)",
                    "line": {"width": 1, "color": "var(--ink-3)"},
                    "pattern": {"shape": "/", "size": 5, "solidity": 0.25, "fgcolor": "var(--ink-3)"},
                },
            },
        ],
        "layout": {
            **_LAYOUT,
            "barmode": "group",
            "bargap": 0.3,
            "hovermode": "closest",
            "height": 48 + 44 * len(bars),
            # Room for the amount at the end of the longest.
            "margin": {**_LAYOUT["margin"], "r": 112 if unit.currency else 56},
            "xaxis": {
                **_AXIS,
                **({**unit.axis, "range": [least, most]} if most or least else _NOTHING),
                **unit.marks(4, now, before),
            },
            "yaxis": {**_AXIS, "type": "category", "autorange": "reversed", "showgrid": False, "ticklabelstandoff": 8},
        },
    }


def _columns(bars: Sequence[Bar], unit: Unit) -> tuple[Any, ...]:
    at, labels, now, before, hrefs = zip(*bars, strict=True) if bars else ((),) * 5
    return at, labels, unit.values(now), unit.values(before), hrefs


def _bars(hrefs: Sequence[str | None], **more: Any) -> Figure:
    return {
        "type": "bar",
        "name": _NOW,
        **more,
        "customdata": hrefs,
        "marker": {"color": "var(--accent)"},
    }
