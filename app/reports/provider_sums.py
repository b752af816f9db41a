"""What each provider's bookings left with them, and how much of it is earned: what is owed to them is read from it."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Model
from app.rollups import Sums


class ProviderSum(Model):
    """One provider's sums in minor units of one currency.

    `payable_minor` is the balance of the account provider payable, `earned_minor` the part of it whose bookings are
    over: stays that were completed, and what cancellations left with the provider.
    """

    __tablename__ = "provider_sums"

    provider_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("providers.id"), primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    payable_minor: Mapped[int] = mapped_column(BigInteger)
    earned_minor: Mapped[int] = mapped_column(BigInteger)


# What an entry `e` adds to the account.
SIGNED = "CASE e.credit_account WHEN 'provider_payable' THEN e.amount_minor ELSE -e.amount_minor END"
IS_PAYABLE = "'provider_payable' IN (e.debit_account, e.credit_account)"
# When a booking `b` was over; NULL while it is ahead.
OVER = "coalesce(b.completed_at, b.cancelled_at)"

# What was posted counts as earned from when its booking is over, or when it is posted, whichever comes later. Both are
# times of a transaction's, so that the mark of the sums is never beyond one that is still being written.
_EARNED_THEN = f"""
    SELECT e.provider_id, e.currency, 0 AS payable, {SIGNED} AS earned
    FROM bookings b JOIN ledger_entries e ON e.booking_id = b.id
    WHERE b.%s >= :since AND b.%s < :until AND e.posted_at < {OVER} AND {IS_PAYABLE}
"""  # noqa: S608  # nosec B608 - our own names

PROVIDER_SUMS = Sums(
    ProviderSum,
    of="ledger_entries",
    at="posted_at",
    key=("provider_id", "currency"),
    amounts=("payable_minor", "earned_minor"),
    rows=f"""
        SELECT f.provider_id, f.currency, CAST(sum(f.payable) AS bigint) AS payable_minor,
               CAST(sum(f.earned) AS bigint) AS earned_minor
        FROM (SELECT e.provider_id, e.currency, {SIGNED} AS payable,
                     CASE WHEN {OVER} <= e.posted_at THEN {SIGNED} ELSE 0 END AS earned
              FROM ledger_entries e JOIN bookings b ON b.id = e.booking_id
              WHERE e.posted_at >= :since AND e.posted_at < :until AND {IS_PAYABLE}
              UNION ALL {_EARNED_THEN.replace("%s", "completed_at")}
              UNION ALL {_EARNED_THEN.replace("%s", "cancelled_at")}) AS f
        GROUP BY 1, 2
    """,  # noqa: S608  # nosec B608 - our own names
)
