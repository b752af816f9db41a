"""How often what happened each day (UTC): bookings made, paid and lost, payments that failed and why, new travellers.

Counted in the audit trail, where each thing stands once and under the time it happened.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Model
from app.rollups import Sums

# What is counted, and what it is told apart by.
COUNTED = {
    "booking.hold": "''",
    "booking.confirm": "''",
    "booking.expire": "''",
    # Whether it was paid, and who cancelled.
    "booking.cancel": "concat_ws(' ', a.before->>'status', a.after->>'status')",
    "booking.complete": "''",
    "payment.captured": "''",
    "payment.failed": "coalesce(a.after->>'failure_code', '')",
    "user.register": "''",
}


class ActivityDay(Model):
    """How many times one thing happened on one day, told apart by `detail` where COUNTED says by what."""

    __tablename__ = "activity_days"

    action: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    detail: Mapped[str] = mapped_column(primary_key=True)
    times: Mapped[int] = mapped_column(BigInteger)


_DETAILS = " ".join(f"WHEN '{action}' THEN {detail}" for action, detail in COUNTED.items() if detail != "''")
_ACTIONS = ", ".join(f"'{action}'" for action in COUNTED)

ACTIVITY_DAYS = Sums(
    ActivityDay,
    of="audit_entries",
    at="at",
    key=("action", "day", "detail"),
    amounts=("times",),
    rows=f"""
        SELECT a.action, CAST(a.at AT TIME ZONE 'UTC' AS date) AS day,
               CASE a.action {_DETAILS} ELSE '' END AS detail, count(*) AS times
        FROM audit_entries a
        WHERE a.at >= :since AND a.at < :until AND a.action IN ({_ACTIONS})
        GROUP BY 1, 2, 3
    """,  # noqa: S608  # nosec B608 - our own table and actions
)
