"""What the marketplace takes, on the revenue page: over time, and by type, place or provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from app.console import charts
from app.console.base import Column
from app.console.charts import MOST_RANKED, Chart, Part, Row, columns_of
from app.console.revenue_asked import SPLITS, Asked, names, piece_in_words
from app.money import Money
from app.reports import figures, queries
from app.reports.figures import Bar, Unit
from app.reports.periods import Period, begin_of
from app.reports.queries import EVERYTHING, Takings

# What can be drawn of takings: title, what it is, and which entries it counts, as the ledger's filter names them.
_MONEY: Mapping[str, tuple[str, Callable[[Takings], int], str]] = {
    "gross": ("Gross", lambda takings: takings.gross_minor, "Paid by travellers for bookings"),
    "refunds": ("Refunds", lambda takings: takings.returned_minor, "Given back, and lost to chargebacks"),
    "net": ("Net", lambda takings: takings.net_minor, "Gross less refunds"),
    "commission": ("Commission", lambda takings: takings.commission_minor, "Our share, less refunds of it"),
}


def money(asked: Asked) -> Part:
    """The takings of the period, with the one before."""
    both = Period(asked.period.before.first, asked.period.last)
    days = queries.takings(both, asked.currency, asked.scope)
    pieces = asked.period.cut(asked.step)
    shift = timedelta(days=asked.period.days)
    steps = [
        (piece, _sum(days, piece), _sum(days, Period(piece.first - shift, piece.last - shift))) for piece in pieces
    ]
    now = queries.total(takings for _, takings, _ in steps)
    before = queries.total(takings for _, _, takings in steps)
    drawn = [_over_time(asked, name, steps, now, before) for name in _MONEY]
    if asked.scope == EVERYTHING:
        drawn.append(_ranked(asked, now, before))
    return Part(_money_cards(asked.currency, now, before), drawn, is_empty=not any((*now, *before)))


def _sum(days: Mapping[date, Takings], period: Period) -> Takings:
    found = (days.get(period.first + timedelta(days=n)) for n in range(period.days))
    return queries.total(takings for takings in found if takings is not None)


def _money_cards(currency: str, now: Takings, before: Takings) -> list[dict[str, Any]]:
    shown = {
        **{title: (measure(now), measure(before), hint) for title, measure, hint in _MONEY.values()},
        "Stripe fees": (now.fees_minor, before.fees_minor, "Of payments and disputes"),
        "Average payment": (now.average_minor, before.average_minor, f"{now.captures:,} payments"),
    }
    return [
        {"label": label, "value": charts.amount(value, currency), "hint": hint, "change": charts.change(value, was)}
        for label, (value, was, hint) in shown.items()
    ]


def _over_time(
    asked: Asked, name: str, steps: Sequence[tuple[Period, Takings, Takings]], now: Takings, before: Takings
) -> Chart:
    title, measure, note = _MONEY[name]
    unit = Unit(asked.currency)
    bars = [
        Bar(
            begin_of(piece.first, asked.step).isoformat(),
            piece_in_words(piece, asked.step),
            measure(takings),
            measure(was),
            _entries_href(name, piece, asked),
        )
        for piece, takings, was in steps
    ]
    return Chart(
        name,
        title,
        charts.amount(measure(now), asked.currency),
        charts.change(measure(now), measure(before)),
        figures.over_time(bars, unit),
        columns_of(asked.step.capitalize(), "money"),
        [
            Row(
                {
                    "when": bar.label,
                    "now": Money(bar.now, asked.currency),
                    "before": Money(bar.before, asked.currency),
                },
                bar.href,
            )
            for bar in bars
        ],
        note=note,
    )


def _ranked(asked: Asked, now: Takings, before: Takings) -> Chart:
    found = queries.takings_by(asked.split, asked.period, asked.currency)
    order = sorted(found, key=lambda key: (-found[key][0].gross_minor, -found[key][1].gross_minor, key))
    order = [key for key in order if any(found[key][0]) or len(found) <= MOST_RANKED]
    called = names(asked.split, order[:MOST_RANKED])
    lines: list[tuple[str, str | None, Takings, Takings]] = [
        (called[key], f"?{asked.query(of=f'{asked.split}:{key}')}", *found[key]) for key in order[:MOST_RANKED]
    ]
    if rest := order[MOST_RANKED:]:
        label = f"{len(rest):,} others"
        others = [found[key] for key in rest]
        lines.append((label, None, queries.total(now for now, _ in others), queries.total(was for _, was in others)))
    bars = [Bar(label, label, takings.gross_minor, was.gross_minor, href) for label, href, takings, was in lines]
    columns = (
        Column("when", SPLITS[asked.split], "link"),
        *(Column(name, title, "money", "right") for name, (title, _, _) in _MONEY.items()),
        Column("before", "Gross before", "money", "right"),
    )
    rows = [
        Row(
            {
                "when": label,
                **{name: Money(measure(takings), asked.currency) for name, (_, measure, _) in _MONEY.items()},
                "before": Money(was.gross_minor, asked.currency),
            },
            href,
        )
        for label, href, takings, was in lines
    ]
    return Chart(
        "split",
        f"Gross by {asked.split}",
        charts.amount(now.gross_minor, asked.currency),
        charts.change(now.gross_minor, before.gross_minor),
        figures.ranked(bars, Unit(asked.currency)),
        columns,
        rows,
        form="rank",
        tabs=[
            {"label": label, "href": f"?{asked.query(split=split)}#split", "is_chosen": split == asked.split}
            for split, label in SPLITS.items()
        ],
    )


def _entries_href(name: str, piece: Period, asked: Asked) -> str:
    narrowed = {"type": "type", "place": "place", "provider": "provider_id"}
    of = {} if asked.scope == EVERYTHING else {narrowed[asked.scope.dimension]: asked.scope.key}
    currency = {"currency": asked.currency} if len(asked.currencies) > 1 else {}
    return "/console/ledger/?" + urlencode({"counts": name, "from": piece.first, "to": piece.last, **currency, **of})
