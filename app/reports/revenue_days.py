"""What the marketplace took each day and month (UTC): gross, refunds, commission, fees, in all and by type, place,
provider.

Built from the ledger alone. What each kind of posting means for revenue is one table, MEASURES.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Model
from app.payments.ledger import CORRECTABLE, OF_NO_PAYMENT
from app.rollups import Sums

# What revenue is told apart by; "all" is the sum of everything, under the empty key.
DIMENSIONS = ("all", "type", "place", "provider")


class Measure(NamedTuple):
    """How often a posting's amount counts in each sum: 1 adds it, -1 takes it back.

    `gross` is what travellers paid for bookings, `refunds` what they get back of it, `chargebacks` what their banks
    took back for good. `commission` and `fees` are what those accounts are left with of payments.
    """

    gross: int = 0
    refunds: int = 0
    chargebacks: int = 0
    commission: int = 0
    fees: int = 0


# Every kind that the ledger has. Without a mark: it only moves money between what is held and what is owed.
MEASURES = {
    "capture.provider_share": Measure(gross=1),
    "capture.commission": Measure(gross=1, commission=1),
    # Paid for what nobody could have any more: it goes back, and was never revenue.
    "capture.owed_back": Measure(),
    "capture.stripe_fee": Measure(fees=1),
    "refund.provider_share": Measure(refunds=1),
    "refund.commission": Measure(refunds=1, commission=-1),
    "refund.goodwill": Measure(refunds=1),
    "refund.provider_share.reversed": Measure(refunds=-1),
    "refund.commission.reversed": Measure(refunds=-1, commission=1),
    "refund.goodwill.reversed": Measure(refunds=-1),
    "refund.paid": Measure(),
    "refund.failed": Measure(),
    "dispute.withdrawn": Measure(),
    "dispute.reinstated": Measure(),
    "dispute.fee": Measure(fees=1),
    "dispute.fee_returned": Measure(fees=-1),
    "dispute.lost.provider_share": Measure(chargebacks=1),
    "dispute.lost.commission": Measure(chargebacks=1, commission=-1),
    # Of what was never revenue; and what the bank took though it had been refunded, which is our loss all the same.
    "dispute.lost.owed_back": Measure(),
    "dispute.lost.excess": Measure(chargebacks=1),
    "dispute.lost.provider_share.reversed": Measure(chargebacks=-1),
    "dispute.lost.commission.reversed": Measure(chargebacks=-1, commission=1),
    "dispute.lost.owed_back.reversed": Measure(),
    "dispute.lost.excess.reversed": Measure(chargebacks=-1),
}
# A correction counts as what it corrects, or takes it back.
MEASURES |= {f"{kind}.more": MEASURES[kind] for kind in CORRECTABLE}
MEASURES |= {f"{kind}.less": Measure(*(-sign for sign in MEASURES[kind])) for kind in CORRECTABLE}
# Of no sale, so of no type, place or provider: revenue is told without them.
MEASURES |= dict.fromkeys(OF_NO_PAYMENT, Measure())

# What a chart shows, and the kinds of the entries that it is made of.
COUNTED_AS = {
    "gross": [kind for kind, measure in MEASURES.items() if measure.gross],
    "refunds": [kind for kind, measure in MEASURES.items() if measure.refunds or measure.chargebacks],
    "net": [kind for kind, measure in MEASURES.items() if any((measure.gross, measure.refunds, measure.chargebacks))],
    "commission": [kind for kind, measure in MEASURES.items() if measure.commission],
}


class TakingsColumns:
    """Sums in minor units of one currency: in all, or of one type, place or provider (its id).

    `captures` and `refunds` count payments and refunds; a refund that failed is taken off again on the day it did.
    """

    gross_minor: Mapped[int] = mapped_column(BigInteger)
    refunds_minor: Mapped[int] = mapped_column(BigInteger)
    chargebacks_minor: Mapped[int] = mapped_column(BigInteger)
    commission_minor: Mapped[int] = mapped_column(BigInteger)
    fees_minor: Mapped[int] = mapped_column(BigInteger)
    captures: Mapped[int] = mapped_column(BigInteger)
    refunds: Mapped[int] = mapped_column(BigInteger)


class RevenueDay(TakingsColumns, Model):
    """One day's sums."""

    __tablename__ = "revenue_days"
    __table_args__ = (
        CheckConstraint("dimension IN ('all', 'type', 'place', 'provider')", name="dimension"),
        # One provider's or place's days, one after the other.
        Index("ix_revenue_days_key", "dimension", "key", "day"),
    )

    dimension: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)


class RevenueMonth(TakingsColumns, Model):
    """One calendar month's sums; `month` is its first day. Read instead of its days where all of them are wanted."""

    __tablename__ = "revenue_months"
    __table_args__ = (CheckConstraint("dimension IN ('all', 'type', 'place', 'provider')", name="dimension"),)

    dimension: Mapped[str] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)


_AMOUNTS = tuple(f"{measure}_minor" for measure in Measure._fields)
_KINDS = ", ".join(f"('{kind}', {', '.join(map(str, measure))})" for kind, measure in MEASURES.items())
_SUMMED = ", ".join(f"sum(e.amount_minor * m.{measure}) AS {measure}_minor" for measure in Measure._fields)
_COUNTS = ("captures", "refunds")
_ADDED_UP = ", ".join(f"CAST(sum(f.{name}) AS bigint) AS {name}" for name in (*_AMOUNTS, *_COUNTS))


def _summed(model: type[RevenueDay | RevenueMonth], column: str, of_day: str) -> Sums:
    return Sums(
        model,
        of="ledger_entries",
        at="posted_at",
        key=("dimension", column, "key", "currency"),
        amounts=(*_AMOUNTS, *_COUNTS),
        rows=f"""
            SELECT d.dimension, {of_day} AS {column}, d.key, f.currency, {_ADDED_UP}
            FROM (SELECT CAST(e.posted_at AT TIME ZONE 'UTC' AS date) AS day, e.currency, e.provider_id, b.package_id,
                         {_SUMMED},
                         count(DISTINCT e.source_id)
                         FILTER (WHERE m.gross > 0 AND right(e.kind, 5) <> '.more') AS captures,
                         count(DISTINCT e.source_id) FILTER (WHERE m.refunds > 0)
                         - count(DISTINCT e.source_id) FILTER (WHERE m.refunds < 0) AS refunds
                  FROM ledger_entries e
                  JOIN (VALUES {_KINDS}) AS m(kind, {", ".join(Measure._fields)}) ON m.kind = e.kind
                  JOIN bookings b ON b.id = e.booking_id
                  WHERE e.posted_at >= :since AND e.posted_at < :until
                  GROUP BY 1, 2, 3, 4) AS f
            JOIN packages p ON p.id = f.package_id
            CROSS JOIN LATERAL (VALUES ('all', ''), ('type', p.type), ('place', p.city || ', ' || p.country),
                                       ('provider', CAST(f.provider_id AS text))) AS d(dimension, key)
            GROUP BY 1, 2, 3, 4
        """,  # noqa: S608  # nosec B608 - our own tables
        # A package that moves takes only what comes to its new place.
        lasting="dimension IN ('all', 'provider')",
    )


REVENUE_DAYS = _summed(RevenueDay, "day", "f.day")
REVENUE_MONTHS = _summed(RevenueMonth, "month", "CAST(date_trunc('month', f.day) AS date)")
