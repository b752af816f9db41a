"""The verb that changes price, stock, minimum nights or sale of many days of a package at once, and its preview."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from itertools import groupby
from typing import Any

import orjson
from sqlalchemy import Select, select, text

from app.audit import history
from app.audit import service as audit
from app.audit.actor import Actor
from app.catalog.models import Availability, Package
from app.catalog.packages import MAY_EDIT, lock_for_edit, today_at
from app.db import transaction, utcnow
from app.errors import Conflict, FieldError, Invalid, NotFound
from app.extensions import db
from app.money import MAX_CHARGE_MINOR

MAX_DAYS = 731
MAX_AHEAD = timedelta(days=10 * 365)
MAX_CAPACITY = 10_000
MAX_MIN_NIGHTS = 90
_NAMED_DAYS = 10

_OFFER = """
INSERT INTO availability (package_id, day, capacity, price_minor)
SELECT :package_id, day, :capacity, :price FROM unnest(CAST(:days AS date[])) day
"""
_CHANGE = """
UPDATE availability a
SET capacity = x.capacity, price_minor = x.price_minor, min_nights = x.min_nights, closed = x.closed
FROM jsonb_to_recordset(CAST(:rows AS jsonb))
    AS x(day date, capacity int, price_minor bigint, min_nights int, closed bool)
WHERE a.package_id = :package_id AND a.day = x.day
"""


@dataclass(frozen=True)
class DayChange:
    """What to change on which days; None leaves as it is.

    `weekdays` are 0 (Monday) to 6. `price_minor` is one unit's for the day, `min_nights` 0 follows the package again,
    `offer_missing` puts days on the calendar that aren't there yet.
    """

    first: date
    last: date
    weekdays: Collection[int] = frozenset(range(7))
    price_minor: int | None = None
    capacity: int | None = None
    min_nights: int | None = None
    closed: bool | None = None
    offer_missing: bool = False

    def days(self) -> list[date]:
        """Every day it is about, in order."""
        span = [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]
        return [day for day in span if day.weekday() in self.weekdays]


@dataclass(frozen=True)
class DayTerms:
    """How one day is sold."""

    capacity: int
    price_minor: int
    min_nights: int | None = None
    closed: bool = False


@dataclass(frozen=True)
class PlannedDay:
    """One day before (None: not on the calendar) and after the change, and how many units of it are held or booked."""

    day: date
    before: DayTerms | None
    after: DayTerms
    sold: int

    @property
    def changes(self) -> bool:
        """Whether anything about the day differs."""
        return self.before != self.after

    @property
    def possible(self) -> bool:
        """Whether the day keeps room for what is held and booked."""
        return self.sold <= self.after.capacity


@dataclass(frozen=True)
class DayPlan:
    """What a change would do. `version` names the days' terms as they are; `missing` are days that stay off the
    calendar.
    """

    package: Package
    days: Sequence[PlannedDay]
    missing: Sequence[date]
    version: str

    @property
    def changing(self) -> list[PlannedDay]:
        """The days that will differ."""
        return [planned for planned in self.days if planned.changes and planned.possible]

    @property
    def refused(self) -> list[PlannedDay]:
        """The days that have sold more than they would keep."""
        return [planned for planned in self.days if not planned.possible]


def preview(package_id: int, change: DayChange, *, by: Actor) -> DayPlan:
    """What the change would do now, and on which days it can't be done; writes nothing.

    Raises NotAllowed, NotFound, Invalid by field.
    """
    by.require(*MAY_EDIT)
    package = db.session.get(Package, package_id)
    if package is None:
        raise NotFound(f"There is no package {package_id}.")
    _check(package, change)
    return _plan(package, change, _rows(package_id, change))


def change_days(package_id: int, change: DayChange, *, by: Actor, version: str) -> DayPlan:
    """Make the change of a preview, all of it or nothing; bookings that were made keep their price.

    Raises NotAllowed, NotFound, Invalid by field, Conflict when somebody changed these days since the preview of
    `version`, naming the days that have sold more than they would keep, or when there is nothing to change.
    """
    by.require(*MAY_EDIT)
    with transaction():
        package = lock_for_edit(package_id)
        _check(package, change)
        # In order, as bookings do it.
        plan = _plan(package, change, _rows(package_id, change).with_for_update())
        if plan.version != version:
            who = history.last_by(package, "package.change_days") or "somebody"
            raise Conflict(f"These days were changed in the meantime, last by {who}. Look at the preview again.")
        if plan.refused:
            raise Conflict(_oversold(plan.refused))
        if not plan.changing:
            raise Conflict("These days are like that already; nothing was changed.")
        _write(package, plan.changing)
        package.updated_at = utcnow()
        audit.record(by, "package.change_days", package, after={"days": _for_the_trail(plan.changing)})
    return plan


def _check(package: Package, change: DayChange) -> None:
    today = today_at(package)
    wrong = []
    if change.first < today:
        wrong.append(FieldError("first", "This day is in the past where the package is."))
    if change.last < change.first:
        wrong.append(FieldError("last", "This must not be before the first day."))
    elif (change.last - change.first).days >= MAX_DAYS:
        wrong.append(FieldError("last", f"Change at most {MAX_DAYS} days at once."))
    elif change.last > today + MAX_AHEAD:
        wrong.append(FieldError("last", "This day is too far ahead."))
    elif not change.days():
        wrong.append(FieldError("weekdays", "None of the days between is one of these weekdays."))
    if change.price_minor is not None and not 0 < change.price_minor <= MAX_CHARGE_MINOR:
        wrong.append(FieldError("price", "Give a price above 0 that can be charged in one payment."))
    if change.capacity is not None and not 0 <= change.capacity <= MAX_CAPACITY:
        wrong.append(FieldError("capacity", f"Give 0 to {MAX_CAPACITY:,} units."))
    if change.min_nights is not None and package.type == "tour":
        wrong.append(FieldError("min_nights", "A tour is sold by the departure, it has no minimum of nights."))
    elif change.min_nights is not None and not 0 <= change.min_nights <= MAX_MIN_NIGHTS:
        wrong.append(FieldError("min_nights", f"Give 1 to {MAX_MIN_NIGHTS} nights, or 0 for the package's own."))
    wishes = (change.price_minor, change.capacity, change.min_nights, change.closed)
    if all(wish is None for wish in wishes) and not change.offer_missing:
        wrong.append(FieldError("price", "Say what to change: price, units, minimum nights or sale."))
    if wrong:
        raise Invalid("Some fields need another look.", wrong)


def _rows(package_id: int, change: DayChange) -> Select[Any]:
    return (
        select(Availability)
        .where(Availability.package_id == package_id, Availability.day.in_(change.days()))
        .order_by(Availability.day)
        .execution_options(populate_existing=True)
    )


def _plan(package: Package, change: DayChange, rows: Select[Any]) -> DayPlan:
    found = {row.day: row for row in db.session.scalars(rows)}
    new_day = DayTerms(capacity=package.units, price_minor=package.price_minor)
    days, missing, seen = [], [], []
    for day in change.days():
        row = found.get(day)
        if row is not None:
            before = DayTerms(row.capacity, row.price_minor, row.min_nights, row.closed)
            days.append(PlannedDay(day, before, _changed(before, change), row.held + row.booked))
            seen.append((day, before))
        elif change.offer_missing:
            days.append(PlannedDay(day, None, _changed(new_day, change), 0))
        else:
            missing.append(day)
    # The calendar alone: a booking that comes in between changes nothing about the terms.
    version = hashlib.sha256(orjson.dumps(seen)).hexdigest()[:32]
    return DayPlan(package, days, missing, version)


def _changed(terms: DayTerms, change: DayChange) -> DayTerms:
    wishes: dict[str, Any] = {"price_minor": change.price_minor, "capacity": change.capacity, "closed": change.closed}
    changed = replace(terms, **{name: value for name, value in wishes.items() if value is not None})
    return changed if change.min_nights is None else replace(changed, min_nights=change.min_nights or None)


def _oversold(days: Sequence[PlannedDay]) -> str:
    named = ", ".join(f"{planned.day.isoformat()} ({planned.sold})" for planned in days[:_NAMED_DAYS])
    more = f" and {len(days) - _NAMED_DAYS} more" if len(days) > _NAMED_DAYS else ""
    return f"More than {days[0].after.capacity} units are held or booked on {named}{more}. Nothing was changed."


def _write(package: Package, days: Sequence[PlannedDay]) -> None:
    new = [planned for planned in days if planned.before is None]
    if new:
        parameters = {
            "package_id": package.id,
            "capacity": package.units,
            "price": package.price_minor,
            "days": [planned.day for planned in new],
        }
        db.session.execute(text(_OFFER), parameters)
    rows = [{"day": planned.day, **asdict(planned.after)} for planned in days]
    db.session.execute(text(_CHANGE), {"package_id": package.id, "rows": orjson.dumps(rows).decode()})


def _for_the_trail(days: Sequence[PlannedDay]) -> list[dict[str, Any]]:
    """Days that changed alike together: which, and what differs before and after."""

    def difference(planned: PlannedDay) -> bytes:
        before, after = asdict(planned.before) if planned.before else {}, asdict(planned.after)
        names = [name for name in after if before.get(name, ...) != after[name]]
        shown = {"before": {name: before.get(name) for name in names} if before else None}
        return orjson.dumps({**shown, "after": {name: after[name] for name in names}}, option=orjson.OPT_SORT_KEYS)

    ordered = sorted(days, key=lambda planned: (difference(planned), planned.day))
    return [
        {"days": [planned.day.isoformat() for planned in together], **orjson.loads(alike)}
        for alike, together in groupby(ordered, key=difference)
    ]
