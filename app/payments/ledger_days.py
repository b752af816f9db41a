"""What each account was debited and credited with on each day (UTC): what balances and statements are added up from."""

from __future__ import annotations

from datetime import date

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Model
from app.rollups import Sums


class LedgerDay(Model):
    """One account's debits and credits of one day in one currency, in minor units."""

    __tablename__ = "ledger_days"

    account: Mapped[str] = mapped_column(ForeignKey("ledger_accounts.code"), primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    debit_minor: Mapped[int] = mapped_column(BigInteger)
    credit_minor: Mapped[int] = mapped_column(BigInteger)


LEDGER_DAYS = Sums(
    LedgerDay,
    of="ledger_entries",
    at="posted_at",
    key=("account", "currency", "day"),
    amounts=("debit_minor", "credit_minor"),
    rows="""
        SELECT side.account, e.currency, CAST(e.posted_at AT TIME ZONE 'UTC' AS date) AS day,
               CAST(sum(side.debit) AS bigint) AS debit_minor, CAST(sum(side.credit) AS bigint) AS credit_minor
        FROM ledger_entries e CROSS JOIN LATERAL
            (VALUES (e.debit_account, e.amount_minor, 0), (e.credit_account, 0, e.amount_minor))
            AS side(account, debit, credit)
        WHERE e.posted_at >= :since AND e.posted_at < :until
        GROUP BY 1, 2, 3
    """,
)
