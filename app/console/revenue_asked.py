"""What the revenue page is asked for, read from its address, and said in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from flask import request
from sqlalchemy import select

from app.catalog.models import Provider
from app.console.formatting import day as day_in_words
from app.console.page import asked_day
from app.db import utcnow
from app.errors import Invalid
from app.extensions import db
from app.reports import queries
from app.reports.periods import STEPS, Period
from app.reports.queries import EVERYTHING, Scope
from app.reports.revenue_days import DIMENSIONS

SPLITS = {"type": "Type", "place": "Place", "provider": "Provider"}
PRESETS = {"7 days": 7, "30 days": 30, "90 days": 90, "12 months": 365}
_USUAL_DAYS = 30
_MOST_DAYS = 3_660
# A bar for each day of more than this is no longer seen.
_MOST_BARS = 740


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


def read() -> Asked:
    """What the address asks for. Raises Invalid by field."""
    today = utcnow().date()
    last = asked_day("to", today)
    first = asked_day("from", last - timedelta(days=_USUAL_DAYS - 1))
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
    if split not in SPLITS:
        raise Invalid.field("split", "Tell revenue apart by type, place or provider.")
    found = queries.currencies(Period(period.before.first, period.last))
    currency = request.args.get("currency", "").upper() or (found[0] if found else "USD")
    if currency not in (*found, "USD"):
        raise Invalid.field("currency", "Nothing was paid in this currency then.")
    return Asked(period, step, split, _scope(), currency, found)


def _scope() -> Scope:
    asked = request.args.get("of", "")
    if not asked:
        return EVERYTHING
    dimension, _, key = asked.partition(":")
    is_id = key.isascii() and key.isdigit() and len(key) <= 18
    if dimension not in DIMENSIONS[1:] or not key or (dimension == "provider" and not is_id):
        raise Invalid.field("of", "Name what the revenue is of, such as type:hotel or provider:12.")
    return Scope(dimension, key)


def piece_in_words(piece: Period, step: str) -> str:
    """A bar's stretch of days."""
    if step == "day":
        return day_in_words(piece.first)
    if step == "week":
        return in_words(piece)
    return f"{piece.first:%B %Y}"


def in_words(period: Period) -> str:
    """A stretch of days."""
    first, last = period.first, period.last
    if first == last:
        return day_in_words(first)
    year = f" {first.year}" if first.year != last.year else ""
    return f"{first.day} {first:%b}{year} – {last.day} {last:%b} {last.year}"


def scope_in_words(scope: Scope) -> str:
    """What revenue is of."""
    return f"{SPLITS[scope.dimension]}: {names(scope.dimension, [scope.key])[scope.key]}"


def names(dimension: str, keys: Sequence[str]) -> dict[str, str]:
    """What the keys are called; two providers of one name are told apart by their ids."""
    if dimension == "provider":
        ids = [int(key) for key in keys]
        found = dict(db.session.execute(select(Provider.id, Provider.name).where(Provider.id.in_(ids))).all())
        named = {key: found.get(int(key), f"Provider {key}") for key in keys}
        taken = list(named.values())
        return {key: f"{name} ({key})" if taken.count(name) > 1 else name for key, name in named.items()}
    return {key: {"hotel": "Hotels", "tour": "Tours"}.get(key, key) for key in keys}
