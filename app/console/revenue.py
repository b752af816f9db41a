"""/console/revenue/: what the marketplace takes, when, by what and through whom, and how it sells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import request
from flask_admin import expose
from sqlalchemy import select
from werkzeug.wrappers import Response

from app.catalog.models import Provider
from app.console import charts
from app.console.base import FINANCE, Column, Page
from app.console.charts import Chart, Row
from app.console.formatting import day as day_in_words
from app.console.formatting import status_label
from app.db import utcnow
from app.errors import Invalid, NotFound
from app.extensions import db
from app.money import Money
from app.reports import figures, queries
from app.reports.figures import Bar, Unit
from app.reports.periods import STEPS, Period, begin_of
from app.reports.queries import EVERYTHING, Activity, Scope, Takings
from app.reports.revenue_days import DIMENSIONS

_PRESETS = {"7 days": 7, "30 days": 30, "90 days": 90, "12 months": 365}
_USUAL_DAYS = 30
_SPLITS = {"type": "Type", "place": "Place", "provider": "Provider"}
_EARLIEST = date(2000, 1, 1)
_MOST_DAYS = 3_660
# A bar for each day of more than this is no longer seen.
_MOST_BARS = 740
# Of many places or providers, so many are drawn; the table behind has as many.
_MOST_RANKED = 12
# What can be drawn of takings: title, what it is, and which entries it counts, as the ledger's filter names them.
_MONEY: Mapping[str, tuple[str, Callable[[Takings], int], str]] = {
    "gross": ("Gross", lambda takings: takings.gross_minor, "Paid by travellers for bookings"),
    "refunds": ("Refunds", lambda takings: takings.returned_minor, "Given back, and lost to chargebacks"),
    "net": ("Net", lambda takings: takings.net_minor, "Gross less refunds"),
    "commission": ("Commission", lambda takings: takings.commission_minor, "Our share of the net"),
}


@dataclass(frozen=True)
class Asked:
    """What the page is asked for."""

    period: Period
    step: str
    split: str
    scope: Scope
    currency: str
    currencies: Sequence[str]

    def query(self, **other: str) -> str:
        """The address of the same page, with something else asked for; what is empty is left out."""
        mine = {
            "from": self.period.first.isoformat(),
            "to": self.period.last.isoformat(),
            "step": self.step,
            "split": self.split,
            "of": "" if self.scope == EVERYTHING else f"{self.scope.dimension}:{self.scope.key}",
            "currency": self.currency if len(self.currencies) > 1 else "",
        }
        return urlencode({name: value for name, value in {**mine, **other}.items() if value})


class RevenueView(Page):
    """Revenue, for finance."""

    roles = FINANCE
    icon = "chart-bar"

    @expose("/")  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """The charts, each with its table."""
        asked = _asked()
        money, sales = _money(asked), _sales(asked)
        return str(
            self.render(
                "console/revenue/index.html",
                asked=asked,
                presets=_presets(asked),
                steps=[(step, step.capitalize()) for step in STEPS],
                period=_in_words(asked.period),
                before=_in_words(asked.period.before),
                scope=_scope_in_words(asked.scope) if asked.scope != EVERYTHING else None,
                everything_href="?" + asked.query(of=""),
                money=money,
                sales=sales,
                is_empty=money.is_empty and sales.is_empty,
            )
        )

    @expose("/figures")  # type: ignore[untyped-decorator]
    def figures(self) -> Response:
        """What is drawn, by the names of the charts."""
        asked = _asked()
        drawn = {chart.name: chart.figure for chart in (*_money(asked).charts, *_sales(asked).charts)}
        return Response(orjson.dumps(drawn), content_type="application/json")

    @expose("/<chart>.csv")  # type: ignore[untyped-decorator]
    def csv(self, chart: str) -> Response:
        """The table behind one chart."""
        asked = _asked()
        for found in (*_money(asked).charts, *_sales(asked).charts):
            if found.name == chart:
                file = f"{chart}-{asked.period.first}-{asked.period.last}.csv"
                answer = Response(found.csv(), content_type="text/csv; charset=utf-8; header=present")
                answer.headers["Content-Disposition"] = f'attachment; filename="{file}"'
                return answer
        raise NotFound("There is no such chart.")


@dataclass(frozen=True)
class Part:
    """A part of the page: its figures in words, and its charts."""

    cards: Sequence[dict[str, Any]]
    charts: Sequence[Chart]
    is_empty: bool


def _asked() -> Asked:
    """What the address asks for. Raises Invalid by field."""
    today = utcnow().date()
    last = _day("to", today)
    first = _day("from", last - timedelta(days=_USUAL_DAYS - 1))
    if first > last:
        raise Invalid.field("from", "The period begins after it ends.")
    period = Period(first, last)
    if period.days > _MOST_DAYS:
        raise Invalid.field("from", f"Choose at most {_MOST_DAYS:,} days.")
    step = request.args.get("step") or period.usual_step
    if step not in STEPS:
        raise Invalid.field("step", "Cut the period into day, week or month.")
    if step == "day" and period.days > _MOST_BARS:
        raise Invalid.field("step", f"By day, choose at most {_MOST_BARS} days.")
    split = request.args.get("split") or "type"
    if split not in _SPLITS:
        raise Invalid.field("split", "Tell revenue apart by type, place or provider.")
    found = queries.currencies(Period(period.before.first, period.last))
    currency = request.args.get("currency", "").upper() or (found[0] if found else "USD")
    if currency not in (*found, "USD"):
        raise Invalid.field("currency", "Nothing was paid in this currency then.")
    return Asked(period, step, split, _scope(), currency, found)


def _day(name: str, usual: date) -> date:
    typed = request.args.get(name, "").strip()
    try:
        found = date.fromisoformat(typed) if typed else usual
    except ValueError:
        found = date.max
    if not _EARLIEST <= found <= utcnow().date() + timedelta(days=366):
        raise Invalid.field(name, "Give a day such as 2026-11-22.")
    return found


def _scope() -> Scope:
    asked = request.args.get("of", "")
    if not asked:
        return EVERYTHING
    dimension, _, key = asked.partition(":")
    is_id = key.isascii() and key.isdigit() and len(key) <= 18
    if dimension not in DIMENSIONS[1:] or not key or (dimension == "provider" and not is_id):
        raise Invalid.field("of", "Name what the revenue is of, such as type:hotel or provider:12.")
    return Scope(dimension, key)


def _presets(asked: Asked) -> list[dict[str, Any]]:
    today = utcnow().date()
    return [
        {
            "label": label,
            "href": "?" + asked.query(**{"from": str(today - timedelta(days=days - 1)), "to": str(today), "step": ""}),
            "is_chosen": asked.period == Period(today - timedelta(days=days - 1), today),
        }
        for label, days in _PRESETS.items()
    ]


# --- Money


def _money(asked: Asked) -> Part:
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
        "Stripe fees": (now.fees_minor, before.fees_minor, "Kept by Stripe"),
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
            _piece_in_words(piece, asked.step),
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
        _columns(asked.step.capitalize(), "money"),
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
    order = [key for key in order if any(found[key][0]) or len(found) <= _MOST_RANKED]
    names = _names(asked.split, order[:_MOST_RANKED])
    lines: list[tuple[str, str | None, Takings, Takings]] = [
        (names[key], f"?{asked.query(of=f'{asked.split}:{key}')}", *found[key]) for key in order[:_MOST_RANKED]
    ]
    if rest := order[_MOST_RANKED:]:
        label = f"{len(rest):,} others"
        others = [found[key] for key in rest]
        lines.append((label, None, queries.total(now for now, _ in others), queries.total(was for _, was in others)))
    bars = [Bar(label, label, takings.gross_minor, was.gross_minor, href) for label, href, takings, was in lines]
    columns = (
        Column("when", _SPLITS[asked.split], "link"),
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
            for split, label in _SPLITS.items()
        ],
    )


def _names(dimension: str, keys: Sequence[str]) -> dict[str, str]:
    """What the keys are called; two providers of one name are told apart by their ids."""
    if dimension == "provider":
        ids = [int(key) for key in keys]
        found = dict(db.session.execute(select(Provider.id, Provider.name).where(Provider.id.in_(ids))).all())
        named = {key: found.get(int(key), f"Provider {key}") for key in keys}
        taken = list(named.values())
        return {key: f"{name} ({key})" if taken.count(name) > 1 else name for key, name in named.items()}
    return {key: {"hotel": "Hotels", "tour": "Tours"}.get(key, key) for key in keys}


def _entries_href(name: str, piece: Period, asked: Asked) -> str:
    narrowed = {"type": "type", "place": "place", "provider": "provider_id"}
    of = {} if asked.scope == EVERYTHING else {narrowed[asked.scope.dimension]: asked.scope.key}
    return "/console/ledger/?" + urlencode({"counts": name, "from": piece.first, "to": piece.last, **of})


# --- Bookings and payments


def _sales(asked: Asked) -> Part:
    """What is counted is counted of everything: with a type, place or provider chosen there is nothing to show."""
    if asked.scope != EVERYTHING:
        return Part((), (), is_empty=True)
    both = Period(asked.period.before.first, asked.period.last)
    days = queries.activity(both)
    now, failures = queries.all_activity(of_day for day, of_day in days.items() if day >= asked.period.first)
    before, failed_before = queries.all_activity(of_day for day, of_day in days.items() if day < asked.period.first)
    return Part(
        _sales_cards(now, before),
        [
            _counted_over_time(asked, days, "bookings", "Bookings", "booked", "Held by travellers, paid or not"),
            _counted_over_time(asked, days, "travellers", "New travellers", "travellers", "Registered"),
            _counted_rank("funnel", "What became of bookings", "Step", _funnel(now), _funnel(before)),
            _counted_rank("failures", "Payments that failed", "Reason", _reasons(failures), _reasons(failed_before)),
        ],
        is_empty=not any((*now, *before)),
    )


def _sales_cards(now: Activity, before: Activity) -> list[dict[str, Any]]:
    counted = {
        "Bookings": (now.booked, before.booked, f"{now.confirmed:,} were paid"),
        "New travellers": (now.travellers, before.travellers, "Registered"),
    }
    rates = {
        "Payments that succeed": (now.success_rate, before.success_rate, f"{now.failed:,} tries failed"),
        "Paid bookings cancelled": (
            now.cancellation_rate,
            before.cancellation_rate,
            f"{now.cancelled_paid:,} of {now.confirmed:,}",
        ),
    }
    return [
        *(
            {"label": label, "value": f"{value:,}", "hint": hint, "change": charts.change(value, was)}
            for label, (value, was, hint) in counted.items()
        ),
        *(
            {
                "label": label,
                "value": charts.percent(rate),
                "hint": hint,
                "change": charts.change(rate, was, points=True),
            }
            for label, (rate, was, hint) in rates.items()
        ),
    ]


def _funnel(counts: Activity) -> dict[str, int]:
    return {
        "Booked": counts.booked,
        "Paid and confirmed": counts.confirmed,
        "Stay completed": counts.completed,
        "Cancelled after payment": counts.cancelled_paid,
        "Cancelled unpaid": counts.cancelled_unpaid,
        "Hold ran out": counts.expired,
    }


def _reasons(failures: Mapping[str, int]) -> dict[str, int]:
    named = {status_label(code) if code else "No reason given": times for code, times in failures.items()}
    return dict(sorted(named.items(), key=lambda reason: (-reason[1], reason[0])))


def _counted_over_time(
    asked: Asked,
    days: Mapping[date, tuple[Activity, dict[str, int]]],
    name: str,
    title: str,
    counted: str,
    note: str,
) -> Chart:
    def count(period: Period) -> int:
        found = (days.get(period.first + timedelta(days=n)) for n in range(period.days))
        return sum(getattr(of_day[0], counted) for of_day in found if of_day is not None)

    shift = timedelta(days=asked.period.days)
    bars = [
        Bar(
            begin_of(piece.first, asked.step).isoformat(),
            _piece_in_words(piece, asked.step),
            count(piece),
            count(Period(piece.first - shift, piece.last - shift)),
        )
        for piece in asked.period.cut(asked.step)
    ]
    now, before = sum(bar.now for bar in bars), sum(bar.before for bar in bars)
    rows = [Row({"when": bar.label, "now": bar.now, "before": bar.before}) for bar in bars]
    figure, columns = figures.over_time(bars, Unit()), _columns(asked.step.capitalize(), "number")
    return Chart(name, title, f"{now:,}", charts.change(now, before), figure, columns, rows, note=note)


def _counted_rank(name: str, title: str, what: str, now: Mapping[str, int], before: Mapping[str, int]) -> Chart:
    labels = list(dict.fromkeys((*now, *before)))[:_MOST_RANKED]
    bars = [Bar(label, label, now.get(label, 0), before.get(label, 0)) for label in labels]
    rows = [Row({"when": bar.label, "now": bar.now, "before": bar.before}) for bar in bars]
    figure = figures.ranked(bars, Unit())
    return Chart(name, title, "", "", figure, _columns(what, "number"), rows, form="rank")


def _columns(what: str, kind: Any) -> tuple[Column, ...]:
    return (
        Column("when", what, "link"),
        Column("now", "This period", kind, "right"),
        Column("before", "The period before", kind, "right"),
    )


# --- In words


def _piece_in_words(piece: Period, step: str) -> str:
    if step == "day":
        return day_in_words(piece.first)
    if step == "week":
        return _in_words(piece)
    return f"{piece.first:%B %Y}"


def _in_words(period: Period) -> str:
    first, last = period.first, period.last
    if first == last:
        return day_in_words(first)
    year = f" {first.year}" if first.year != last.year else ""
    return f"{first.day} {first:%b}{year} – {last.day} {last:%b} {last.year}"


def _scope_in_words(scope: Scope) -> str:
    return f"{_SPLITS[scope.dimension]}: {_names(scope.dimension, [scope.key])[scope.key]}"
