"""/console/revenue/: what the marketplace takes, when, by what and through whom, and how it sells."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
from flask_admin import expose
from werkzeug.wrappers import Response

from app.console import revenue_asked
from app.console.base import FINANCE, Page
from app.console.exports import sums_file
from app.console.revenue_asked import PRESETS, Asked, in_words, scope_in_words
from app.console.revenue_money import money
from app.console.revenue_sales import sales
from app.db import utcnow
from app.errors import NotFound
from app.reports.periods import STEPS, Period
from app.reports.queries import EVERYTHING


class RevenueView(Page):
    """Revenue, for finance."""

    roles = FINANCE
    icon = "chart-bar"

    @expose("/")  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """The charts, each with its table."""
        asked = revenue_asked.read()
        takings, sold = money(asked), sales(asked)
        return str(
            self.render(
                "console/revenue/index.html",
                asked=asked,
                presets=_presets(asked),
                steps=[(step, step.capitalize()) for step in STEPS],
                period=in_words(asked.period),
                before=in_words(asked.period.before),
                scope=scope_in_words(asked.scope) if asked.scope != EVERYTHING else None,
                everything_href="?" + asked.query(of=""),
                money=takings,
                sales=sold,
                is_empty=takings.is_empty and sold.is_empty,
            )
        )

    @expose("/figures")  # type: ignore[untyped-decorator]
    def figures(self) -> Response:
        """What is drawn, by the names of the charts."""
        asked = revenue_asked.read()
        drawn = {chart.name: chart.figure for chart in (*money(asked).charts, *sales(asked).charts)}
        return Response(orjson.dumps(drawn), content_type="application/json")

    @expose("/<chart>.csv")  # type: ignore[untyped-decorator]
    def csv(self, chart: str) -> Response:
        """The table behind one chart."""
        asked = revenue_asked.read()
        for found in (*money(asked).charts, *sales(asked).charts):
            if found.name == chart:
                return sums_file(f"{chart}-{asked.period.first}-{asked.period.last}.csv", found.csv())
        raise NotFound("There is no such chart.")


def _presets(asked: Asked) -> list[dict[str, Any]]:
    today = utcnow().date()
    return [
        {
            "label": label,
            "href": "?" + asked.query(**{"from": str(today - timedelta(days=days - 1)), "to": str(today), "step": ""}),
            "is_chosen": asked.period == Period(today - timedelta(days=days - 1), today),
        }
        for label, days in PRESETS.items()
    ]
