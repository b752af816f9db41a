"""Stretches of days (UTC) that reports are about, the one before each, and the days, weeks or months they fall into."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

STEPS = ("day", "week", "month")
# Beyond these many days a chart by day, or by week, is a comb.
_MOST_BY_DAY, _MOST_BY_WEEK = 92, 731


@dataclass(frozen=True)
class Period:
    """From `first` to `last`, both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.last - self.first).days + 1

    @property
    def before(self) -> Period:
        """As many days, up to the day before."""
        return Period(self.first - timedelta(days=self.days), self.first - timedelta(days=1))

    @property
    def usual_step(self) -> str:
        """What it is best cut into."""
        return "day" if self.days <= _MOST_BY_DAY else "week" if self.days <= _MOST_BY_WEEK else "month"

    def in_months(self) -> tuple[list[date], list[date]]:
        """The calendar months that lie in it as a whole, by their first days, and the days beside them."""
        months: list[date] = []
        days: list[date] = []
        for piece in self.cut("month"):
            if piece.first.day == 1 and piece.last == _end(piece.first, "month"):
                months.append(piece.first)
            else:
                days += [piece.first + timedelta(days=number) for number in range(piece.days)]
        return months, days

    def cut(self, step: str) -> list[Period]:
        """Its days, its weeks from Monday or its calendar months; the first and the last may be a part of one."""
        pieces, first = [], self.first
        while first <= self.last:
            end = min(_end(first, step), self.last)
            pieces.append(Period(first, end))
            first = end + timedelta(days=1)
        return pieces


def begin_of(day: date, step: str) -> date:
    """The day, or the first day of its week or month."""
    if step == "day":
        return day
    return day - timedelta(days=day.weekday()) if step == "week" else day.replace(day=1)


def _end(day: date, step: str) -> date:
    if step == "day":
        return day
    if step == "week":
        return begin_of(day, step) + timedelta(days=6)
    return begin_of(begin_of(day, step) + timedelta(days=32), step) - timedelta(days=1)
