"""Reconciling a day with Stripe: its balance transactions are read page by page, then compared with the ledger."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic

from sqlalchemy import DateTime, cast, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from app.audit import history
from app.audit import service as audit
from app.audit.actor import SYSTEM, Actor
from app.db import lock, transaction, utcnow
from app.errors import Conflict, Invalid
from app.extensions import db
from app.logs import request_id
from app.payments import stripe_gateway
from app.payments.stripe_objects import BalanceTransaction
from app.queue import JOB_TIMEOUT_SECONDS, LEASE, GaveWay, one_turn
from app.reports import comparison, own_movements
from app.reports.models import Difference, Reconciliation, StripeMovement
from app.reports.movements import KINDS, OF_NO_PAYMENT, booked_as, source_of
from app.reports.stripe_balance import IN_FLIGHT

log = logging.getLogger(__name__)

MAY_RECONCILE = ("finance", "admin")
# Stripe has no balance of an earlier day.
FIRST_DAY = date(2011, 1, 1)
# Others share the worker: after so long they have their turn.
TURN_SECONDS = 10.0
# A night's reconciliation begins so long after the day is over: what happened in its last minutes is booked by then.
_NIGHT = timedelta(minutes=10)
# Days that nobody reconciled, as nothing ran: so many are made up for.
_MOST_MISSED = 31
_SOURCES_AT_ONCE = 10

_UNKNOWN_THERE = text(
    f"""
    SELECT DISTINCT e.source_id FROM ledger_entries e JOIN {KINDS} ON kinds.kind = e.kind
    WHERE e.posted_at >= :since AND e.posted_at < :until AND e.source_id > :reached
      AND NOT EXISTS (SELECT FROM stripe_movements m
                      WHERE m.source_id = e.source_id AND m.booked_as = kinds.booked_as)
    ORDER BY e.source_id LIMIT :most
    """  # noqa: S608  # nosec B608 - constants of the program
)


@dataclass(frozen=True)
class _Place:
    """Where the work on a day stands."""

    row_id: int
    begun_at: datetime
    since: datetime
    step: str
    reached: str | None

    @property
    def until(self) -> datetime:
        """The end of the day, or of what may no longer be on its way."""
        return min(self.since + timedelta(days=1), self.begun_at - IN_FLIGHT)


def id_of(day: date) -> int:
    """The id of a day's reconciliation, as 20261122."""
    return day.year * 10_000 + day.month * 100 + day.day


def reconcile(day: date, *, by: Actor) -> Reconciliation:
    """Have a day (UTC) compared with Stripe's balance, again where it was before; of today, what there is so far.

    Raises NotAllowed, Invalid for a day that has not come or has no balance, Conflict while it is being done.
    """
    by.require(*MAY_RECONCILE)
    now = utcnow()
    if not FIRST_DAY <= day <= now.date():
        raise Invalid.field("day", "Choose a day from 2011 on that has begun, in UTC.")
    with transaction():
        new = (
            insert(Reconciliation)
            .values(id=id_of(day), day=day, begun_at=now, request_id=request_id.get())
            .on_conflict_do_nothing()
            .returning(Reconciliation.id)
        )
        is_new = db.session.scalar(new) is not None
        found = lock(Reconciliation, id_of(day))
        if not is_new:
            history.move(found, "RUNNING")
        found.step, found.reached, found.begun_at = "transactions", None, now
        found.by_id, found.request_id = by.id, request_id.get()
        found.ended_because, found.attempts, found.last_error = None, 0, None
        found.hand_out()
        audit.record(by, "reconciliation.begin", found)
    return found


def reconcile_due() -> list[date]:
    """Begin with each day whose turn it is: those that are over and were not reconciled since, and, once a night, those
    that failed, have differences nobody has dealt with, or explained ones that can be booked by now. Returns the days.
    """
    now = utcnow()
    if now - _midnight(now.date()) < _NIGHT:
        return []
    begun = []
    for day in sorted(_missed(now.date()) | _to_be_looked_at_again(_midnight(now.date()) + _NIGHT)):
        try:
            reconcile(day, by=SYSTEM)
        except Conflict:  # somebody asked for it just now
            continue
        begun.append(day)
    return begun


def _missed(today: date) -> set[date]:
    """The days that nobody reconciled since there was a first one, whichever were by hand; before that, yesterday."""
    first = db.session.scalar(select(func.min(Reconciliation.day)).where(Reconciliation.day < today))
    count = min((today - first).days, _MOST_MISSED) if first else 1
    days = {today - timedelta(days=back) for back in range(1, count + 1)}
    return days - set(db.session.scalars(select(Reconciliation.day).where(Reconciliation.day.in_(days))))


def _to_be_looked_at_again(tonight: datetime) -> set[date]:
    ended = func.timezone("UTC", cast(Reconciliation.day + 1, DateTime)) + _NIGHT
    mine = select(Difference.id).where(Difference.reconciliation_id == Reconciliation.id)
    has_open = mine.where(Difference.status == "OPEN").exists()
    # Under Stripe's own names for them, these are of when they had no posting, and could only be explained.
    has_unbooked = mine.where(Difference.status == "EXPLAINED", Difference.booked_as.in_(OF_NO_PAYMENT)).exists()
    wanted = select(Reconciliation.day).where(
        Reconciliation.status != "RUNNING",
        Reconciliation.day < tonight.date(),
        or_(
            Reconciliation.begun_at < ended,
            (Reconciliation.begun_at < tonight) & (has_open | has_unbooked | (Reconciliation.status == "FAILED")),
        ),
    )
    return set(db.session.scalars(wanted))


def go_on(row_id: int) -> None:
    """Go on with a day until it is compared or others have their turn.

    May be called twice at once, and be killed at any moment: how far it is, is committed with each page. Raises
    Unavailable.
    """
    ends_at = monotonic() + TURN_SECONDS
    with one_turn(row_id, give_up=fail):
        while (place := _place(row_id)) is not None:
            if monotonic() >= ends_at:
                _hand_on(place)
                return
            _STEPS[place.step](place)


def fail(row_id: int, because: str) -> None:
    """End what is under way without a comparison; nothing where it is over already."""
    with transaction():
        found = lock(Reconciliation, row_id)
        if found.status != "RUNNING":
            return
        history.move(found, "FAILED")
        found.finished()
        found.ended_because = because
        audit.record(SYSTEM, "reconciliation.fail", found, reason=because)


def _place(row_id: int) -> _Place | None:
    """Where the work on a day stands; None when nothing is to be done for it."""
    found = db.session.get(Reconciliation, row_id, populate_existing=True)
    if found is None or found.due_at is None:
        return None
    return _Place(found.id, found.begun_at, _midnight(found.day), found.step, found.reached)


def _still(place: _Place) -> Reconciliation:
    """The day, locked, if it still stands there. Raises GaveWay."""
    found = lock(Reconciliation, place.row_id)
    if found.due_at is None or (found.begun_at, found.step, found.reached) != (
        place.begun_at,
        place.step,
        place.reached,
    ):
        raise GaveWay
    return found


def _advance(found: Reconciliation, step: str, reached: str | None) -> None:
    found.step, found.reached = step, reached
    found.attempts, found.last_error = 0, None
    found.leased_until = utcnow() + LEASE


def _hand_on(place: _Place) -> None:
    with transaction():
        _still(place).hand_out()


def _read_transactions(place: _Place) -> None:
    """A page of what moved Stripe's balance on that day."""
    end = place.since + timedelta(days=1)
    page, more = stripe_gateway.balance_transactions_after(place.reached, since=place.since, until=end)
    with transaction():
        found = _still(place)
        _keep(page)
        if more:
            _advance(found, "transactions", page[-1].id)
        else:
            _advance(found, "postings", "")


def _read_postings(place: _Place) -> None:
    """What was posted on that day and is not in Stripe's balance of it: was it in that of another day?"""
    asked = {"since": place.since, "until": place.until, "reached": place.reached or "", "most": _SOURCES_AT_ONCE}
    sources = list(db.session.scalars(_UNKNOWN_THERE, asked))
    rows = [row for source in sources for row in stripe_gateway.balance_transactions_of(source)]
    with transaction():
        found = _still(place)
        _keep(rows)
        if sources:
            _advance(found, "postings", sources[-1])
        else:
            _advance(found, "comparison", None)


def _compare(place: _Place) -> None:
    with transaction():
        # A busy day takes longer than a person's request may.
        db.session.execute(text(f"SET LOCAL statement_timeout = '{JOB_TIMEOUT_SECONDS}s'"))
        found = _still(place)
        own_movements.book(place.since, place.until)
        compared = comparison.compare(place.since, place.until)
        comparison.keep(found, compared.differing)
        found.sums = compared.sums
        found.differing = len(compared.differing)
        found.matched = sum(line["movements"] for line in compared.sums) - found.differing
        found.finished()
        history.move(found, "DONE")
        audit.record(SYSTEM, "reconciliation.finish", found)


_STEPS = {"transactions": _read_transactions, "postings": _read_postings, "comparison": _compare}


def _keep(rows: Sequence[BalanceTransaction]) -> None:
    """Keep what Stripe's balance had, over what it had when it was read before."""
    if not rows:
        return
    new = insert(StripeMovement).values(
        [
            {
                "id": row.id,
                "booked_as": booked_as(row) or row.type,
                "source_id": source_of(row),
                "stripe_payment_intent_id": row.intent_id,
                "amount_minor": row.amount_minor,
                "fee_minor": row.fee_minor,
                "currency": row.currency,
                "created_at": row.created_at,
            }
            for row in rows
        ]
    )
    columns = [column.name for column in StripeMovement.__table__.columns if column.name != "id"]
    db.session.execute(
        new.on_conflict_do_update(index_elements=["id"], set_={name: new.excluded[name] for name in columns})
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
