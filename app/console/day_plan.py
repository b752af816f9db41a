"""Many days of a package as its pages tell of them: what a change of them would do, and in its story what one did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from app.audit.trail import Moment
from app.catalog.day_changes import DayChange, DayPlan, DayTerms, PlannedDay
from app.catalog.models import Package
from app.console.formatting import day as day_in_words
from app.console.formatting import money

_SHOWN_DAYS = 62


def plan_context(package: Package, plan: DayPlan, change: DayChange) -> dict[str, Any]:
    """What a change would do, as the preview shows it: the first days, and how many there are of each."""
    alike = len(plan.days) - len(plan.changing) - len(plan.refused)
    left = [
        words
        for count, words in (
            (alike, f"{days_in_words(alike)} {'is' if alike == 1 else 'are'} like that already"),
            (len(plan.missing), f"{days_in_words(len(plan.missing))} not on the calendar, left off"),
        )
        if count
    ]
    return {
        "version": plan.version,
        "changing": len(plan.changing),
        "title": _plan_title(plan),
        "left": left,
        "rows": [_line(planned, package.currency) for planned in plan.changing[:_SHOWN_DAYS]],
        "more": max(0, len(plan.changing) - _SHOWN_DAYS),
        "refused": [{"day": day_in_words(planned.day), "sold": planned.sold} for planned in plan.refused[:_SHOWN_DAYS]],
        "refused_count": len(plan.refused),
        "capacity": change.capacity,
    }


def _plan_title(plan: DayPlan) -> str:
    if plan.refused:
        return "This can't be done"
    return f"{days_in_words(len(plan.changing))} will change" if plan.changing else "Nothing would change"


def _line(planned: PlannedDay, currency: str) -> dict[str, Any]:
    def written(day: DayTerms) -> dict[str, str]:
        return {
            "price": money(day.price_minor, currency),
            "capacity": f"{day.capacity:,}",
            "min_nights": str(day.min_nights or "–"),
            "sale": "Closed" if day.closed else "Open",
        }

    after = written(planned.after)
    before = written(planned.before) if planned.before else {}
    return {
        "day": planned.day,
        "is_new": planned.before is None,
        "sold": planned.sold,
        "cells": [
            {"before": before.get(name) if before.get(name) != value else None, "after": value}
            for name, value in after.items()
        ],
    }


def days_in_words(count: int) -> str:
    """Such as `1 day` or `1,200 days`."""
    return f"{count:,} {'day' if count == 1 else 'days'}"


def with_days(moment: Moment, currency: str) -> Moment:
    """A change of days is kept day by day; a reader wants to know how many, from when to when, and what."""
    fields: list[dict[str, Any]] = []
    for entry in moment.fields:
        if entry["name"] != "Days" or not isinstance(entry["after"], list):
            fields.append(entry)
            continue
        for alike in entry["after"]:
            days = sorted(alike["days"])
            span = days[0] if len(days) == 1 else f"{days_in_words(len(days))}, {days[0]} to {days[-1]}"
            before, after = (_terms(kept, currency) for kept in (alike["before"], alike["after"]))
            fields.append({"name": span, "before": before, "after": after})
    return replace(moment, fields=fields)


def _terms(kept: dict[str, Any] | None, currency: str) -> str | None:
    if kept is None:
        return None
    written: dict[str, Callable[[Any], str]] = {
        "price_minor": lambda value: money(value, currency),
        "capacity": lambda value: f"{value} units",
        "min_nights": lambda value: f"min. {value} nights" if value else "the package's minimum",
        "closed": lambda value: "closed" if value else "open",
    }
    return ", ".join(written[name](value) for name, value in kept.items())
