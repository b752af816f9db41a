"""How the marketplace sells, on the revenue page: bookings, what became of them, failed payments, travellers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from app.console import charts
from app.console.charts import MOST_RANKED, Chart, Part, Row, columns_of
from app.console.formatting import status_label
from app.console.happened import address
from app.console.revenue_asked import Asked, piece_in_words
from app.reports import figures, queries
from app.reports.figures import Bar, Unit
from app.reports.periods import Period, begin_of
from app.reports.queries import EVERYTHING, Activity


def sales(asked: Asked) -> Part:
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
            _counted_rank(
                *("funnel", "What became of bookings", "Step", _funnel(now), _funnel(before)),
                {_FUNNEL[step]: _bookings_href(step, asked.period) for step in _FUNNEL},
            ),
            _counted_rank(
                *("failures", "Payments that failed", "Reason", _reasons(failures), _reasons(failed_before)),
                {_reason(code): _failed_href(code, asked.period) for code in failures},
            ),
        ],
        is_empty=not any((*now, *before)),
    )


def _sales_cards(now: Activity, before: Activity) -> list[dict[str, Any]]:
    counted = {
        "Bookings": (now.booked, before.booked, f"{now.confirmed:,} were paid"),
        "New travellers": (now.travellers, before.travellers, "Registered"),
    }
    rates = {
        "Payments that succeed": (
            now.success_rate,
            before.success_rate,
            f"{now.failed:,} declined; the same again counts once",
        ),
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


# What is counted of a booking, as the bookings' list calls it too.
_FUNNEL = {
    "booked": "Booked",
    "confirmed": "Paid and confirmed",
    "completed": "Stay completed",
    "cancelled_paid": "Cancelled after payment",
    "cancelled_unpaid": "Cancelled unpaid",
    "expired": "Hold ran out",
}


def _funnel(counts: Activity) -> dict[str, int]:
    return {label: getattr(counts, step) for step, label in _FUNNEL.items()}


def _reason(code: str) -> str:
    return status_label(code) if code else "No reason given"


def _reasons(failures: Mapping[str, int]) -> dict[str, int]:
    named = {_reason(code): times for code, times in failures.items()}
    return dict(sorted(named.items(), key=lambda reason: (-reason[1], reason[0])))


def _bookings_href(step: str, period: Period) -> str:
    return "/console/bookings/?" + urlencode({"happened": address(step, period)})


def _travellers_href(_: str, period: Period) -> str:
    return "/console/users/?" + urlencode({"happened": address("registered", period)})


def _failed_href(code: str, period: Period) -> str:
    return "/console/payments/?" + urlencode({"failed": address(code, period)})


# Where a bar of what is counted by day leads.
_HREFS = {"booked": _bookings_href, "travellers": _travellers_href}


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
            piece_in_words(piece, asked.step),
            count(piece),
            count(Period(piece.first - shift, piece.last - shift)),
            _HREFS[counted](counted, piece),
        )
        for piece in asked.period.cut(asked.step)
    ]
    now, before = sum(bar.now for bar in bars), sum(bar.before for bar in bars)
    rows = [Row({"when": bar.label, "now": bar.now, "before": bar.before}, bar.href) for bar in bars]
    figure, columns = figures.over_time(bars, Unit()), columns_of(asked.step.capitalize(), "number")
    return Chart(name, title, f"{now:,}", charts.change(now, before), figure, columns, rows, note=note)


def _counted_rank(
    name: str, title: str, what: str, now: Mapping[str, int], before: Mapping[str, int], hrefs: Mapping[str, str]
) -> Chart:
    labels = list(dict.fromkeys((*now, *before)))[:MOST_RANKED]
    bars = [Bar(label, label, now.get(label, 0), before.get(label, 0), hrefs.get(label)) for label in labels]
    rows = [Row({"when": bar.label, "now": bar.now, "before": bar.before}, bar.href) for bar in bars]
    figure = figures.ranked(bars, Unit())
    return Chart(name, title, "", "", figure, columns_of(what, "number"), rows, form="rank")
