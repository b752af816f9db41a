"""What is owed to providers, as it is read: sums by provider with what is held taken out of them, and the bookings that
each is made of. Paying out is not part of the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, not_, or_, select, text

from app.bookings.models import Booking
from app.db import read
from app.extensions import db
from app.payments.ledger import PROVIDER_PAYABLE
from app.payments.models import LedgerEntry, Payment, PaymentHold
from app.reports.provider_sums import IS_PAYABLE, OVER, PROVIDER_SUMS, SIGNED

# What a part of it is called, and what is in it.
STATES = {
    "owed": "Owed now",
    "ahead": "Not yet earned",
    "held": "Held",
}


class Payable(NamedTuple):
    """What one provider has coming in one currency, in minor units; together it is their part of provider payable.

    `owed_minor` is of bookings that are over, `ahead_minor` of stays to come, and `held_minor` of either, while a
    dispute or another hold stands.
    """

    provider_id: int
    name: str
    currency: str
    owed_minor: int
    ahead_minor: int
    held_minor: int

    @property
    def total_minor(self) -> int:
        """All of it."""
        return self.owed_minor + self.ahead_minor + self.held_minor


# Of one moment, as it is one statement. Few payments are held at a time: their entries are read.
PAYABLES = f"""
WITH sums AS (
    SELECT provider_id, currency, sum(payable_minor) AS payable, sum(earned_minor) AS earned
    FROM ({PROVIDER_SUMS.all}) AS d {{only}} GROUP BY 1, 2),
held AS (
    SELECT e.provider_id, e.currency, sum({SIGNED}) AS minor,
           coalesce(sum({SIGNED}) FILTER (WHERE {OVER} IS NOT NULL), 0) AS earned
    FROM (SELECT DISTINCT payment_id FROM payment_holds WHERE lifted_at IS NULL) AS h
    JOIN ledger_entries e ON e.payment_id = h.payment_id JOIN bookings b ON b.id = e.booking_id
    WHERE {IS_PAYABLE} GROUP BY 1, 2)
SELECT s.provider_id, p.name, s.currency, CAST(s.earned - coalesce(h.earned, 0) AS bigint) AS owed_minor,
       CAST(s.payable - s.earned - coalesce(h.minor - h.earned, 0) AS bigint) AS ahead_minor,
       CAST(coalesce(h.minor, 0) AS bigint) AS held_minor
FROM sums s JOIN providers p ON p.id = s.provider_id LEFT JOIN held h USING (provider_id, currency)
WHERE s.payable <> 0 OR s.earned <> 0 OR h.minor <> 0
ORDER BY owed_minor DESC, s.provider_id, s.currency
"""  # noqa: S608  # nosec B608 - our own names


def payables() -> list[Payable]:
    """Every provider that something is kept for, the one most is owed to first."""
    return [Payable(*row) for row in read(PAYABLES.format(only=""))]


def payable_to(provider_id: int) -> list[Payable]:
    """The same of one provider, by currency, as the session sees it; empty when nothing is kept for them."""
    of_one = text(PAYABLES.format(only="WHERE provider_id = :provider_id"))
    return [Payable(*row) for row in db.session.execute(of_one, {"provider_id": provider_id})]


# What a booking's entries leave with its provider, in minor units.
KEPT_FOR_PROVIDER: ColumnElement[int] = (
    select(
        func.coalesce(
            func.sum(
                case(
                    (LedgerEntry.credit_account == PROVIDER_PAYABLE, LedgerEntry.amount_minor),
                    else_=-LedgerEntry.amount_minor,
                )
            ),
            0,
        )
    )
    .where(
        LedgerEntry.booking_id == Booking.id,
        or_(LedgerEntry.credit_account == PROVIDER_PAYABLE, LedgerEntry.debit_account == PROVIDER_PAYABLE),
    )
    .correlate(Booking)
    .scalar_subquery()
)

_IS_HELD = exists(
    select(PaymentHold.id)
    .join(Payment, Payment.id == PaymentHold.payment_id)
    .where(Payment.booking_id == Booking.id, PaymentHold.lifted_at.is_(None))
).correlate(Booking)
_IS_OVER = or_(Booking.completed_at.is_not(None), Booking.cancelled_at.is_not(None))
_WHICH: dict[str, ColumnElement[bool]] = {
    "owed": and_(_IS_OVER, not_(_IS_HELD)),
    "ahead": and_(not_(_IS_OVER), not_(_IS_HELD)),
    "held": _IS_HELD,
}
# Which of the three a booking's part is in.
STATE: ColumnElement[str] = case((_IS_HELD, STATES["held"]), (_IS_OVER, STATES["owed"]), else_=STATES["ahead"])


def in_state(state: str) -> ColumnElement[bool]:
    """Which bookings are in one of the STATES."""
    return _WHICH[state]


def bookings_with_something_kept(provider_id: int) -> Select[Booking]:
    """The bookings of a provider that something is kept for."""
    captured = exists(
        select(Payment.id).where(Payment.booking_id == Booking.id, Payment.succeeded_at.is_not(None))
    ).correlate(Booking)
    return select(Booking).where(Booking.provider_id == provider_id, captured, KEPT_FOR_PROVIDER != 0)


def kept_for(booking_ids: Sequence[int]) -> dict[int, tuple[int, str]]:
    """What each of these bookings leaves with its provider, in minor units, and in which of the three it is."""
    rows = select(Booking.id, KEPT_FOR_PROVIDER, STATE).where(Booking.id.in_(booking_ids))
    return {row_id: (minor, state) for row_id, minor, state in db.session.execute(rows)}
