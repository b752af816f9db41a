"""The ledger read by account: every balance at a moment, and one account's entries with the balance after each.

What was before a day is read from the sums by day, and only of that day the entries: two million of them are no slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import NamedTuple

from sqlalchemy import Select, or_, select, text

from app.extensions import db
from app.payments.ledger import Balance
from app.payments.ledger_days import LEDGER_DAYS
from app.payments.models import LedgerAccount, LedgerEntry

# In these, debits add to the balance; in the others, credits.
DEBIT_KINDS = ("asset", "expense")

# Everything posted before :until, which is on the day that begins at :since.
_BEFORE = f"""
    SELECT account, currency, debit_minor, credit_minor FROM ({LEDGER_DAYS.all}) AS days
    WHERE day < CAST(:since AT TIME ZONE 'UTC' AS date)
    UNION ALL
    SELECT account, currency, debit_minor, credit_minor FROM ({LEDGER_DAYS.rows}) AS of_the_day
"""  # noqa: S608  # nosec B608 - our own tables

_BALANCES = text(
    f"""
    SELECT a.code, a.name, d.currency, CAST(sum(d.debit_minor) AS bigint), CAST(sum(d.credit_minor) AS bigint)
    FROM ({_BEFORE}) AS d JOIN ledger_accounts a ON a.code = d.account
    GROUP BY a.code, a.name, d.currency ORDER BY d.currency, a.code
    """  # noqa: S608  # nosec B608 - our own tables
)

_TOTALS = text(
    f"""
    SELECT CAST(coalesce(sum(debit_minor), 0) AS bigint), CAST(coalesce(sum(credit_minor), 0) AS bigint)
    FROM ({_BEFORE}) AS d WHERE account = :account AND currency = :currency
    """  # noqa: S608  # nosec B608 - our own tables
)

# Of one transaction all entries have the same time: those before the place have a lesser id.
_AT_THE_MOMENT = text(
    """
    SELECT CAST(coalesce(sum(amount_minor) FILTER (WHERE debit_account = :account), 0) AS bigint),
           CAST(coalesce(sum(amount_minor) FILTER (WHERE credit_account = :account), 0) AS bigint)
    FROM ledger_entries WHERE posted_at = :at AND id < :id AND currency = :currency
    """
)


class Totals(NamedTuple):
    """An account's debits and credits up to some place, in minor units."""

    debit_minor: int
    credit_minor: int


@dataclass(frozen=True)
class Account:
    """One account in one currency; `kind` is asset, liability, revenue or expense."""

    code: str
    name: str
    kind: str
    currency: str

    @property
    def is_debit(self) -> bool:
        """Whether debits make it larger, as of what we have and what we spend."""
        return self.kind in DEBIT_KINDS

    def balance(self, totals: Totals) -> int:
        """What it stands at, less than nothing where the other side is larger."""
        net = totals.debit_minor - totals.credit_minor
        return net if self.is_debit else -net

    def entries(self, since: datetime, until: datetime) -> Select[LedgerEntry]:
        """Its entries posted from `since` to `until` (excluded)."""
        return select(LedgerEntry).where(
            or_(LedgerEntry.debit_account == self.code, LedgerEntry.credit_account == self.code),
            LedgerEntry.currency == self.currency,
            LedgerEntry.posted_at >= since,
            LedgerEntry.posted_at < until,
        )

    def totals_at(self, at: datetime) -> Totals:
        """What it was debited and credited with before a moment."""
        asked = {"account": self.code, "currency": self.currency}
        return Totals(*db.session.execute(_TOTALS, {**asked, "since": _midnight(at), "until": at}).one())

    def totals_before(self, entry: LedgerEntry) -> Totals:
        """The same before one of its entries, in the order of their times and ids."""
        earlier = self.totals_at(entry.posted_at)
        asked = {"account": self.code, "currency": self.currency, "at": entry.posted_at, "id": entry.id}
        beside = Totals(*db.session.execute(_AT_THE_MOMENT, asked).one())
        return Totals(earlier.debit_minor + beside.debit_minor, earlier.credit_minor + beside.credit_minor)

    def running(self, entries: Sequence[LedgerEntry]) -> list[int]:
        """What it stands at after each of these entries, which follow each other."""
        if not entries:
            return []
        debit, credit = self.totals_before(entries[0])
        balances = []
        for entry in entries:
            debit += entry.amount_minor if entry.debit_account == self.code else 0
            credit += entry.amount_minor if entry.credit_account == self.code else 0
            balances.append(self.balance(Totals(debit, credit)))
        return balances


def balances_at(at: datetime) -> list[Balance]:
    """Every account's debits and credits before a moment; the two add up to the same in each currency."""
    rows = db.session.execute(_BALANCES, {"since": _midnight(at), "until": at})
    return [Balance(*row) for row in rows]


def kinds() -> dict[str, str]:
    """What each account is: asset, liability, revenue or expense; by code."""
    return dict(db.session.execute(select(LedgerAccount.code, LedgerAccount.kind)).all())


def currencies_of(code: str) -> list[str]:
    """The currencies that an account ever moved in."""
    rows = text(f"SELECT DISTINCT currency FROM ({LEDGER_DAYS.all}) AS d WHERE account = :account ORDER BY 1")  # noqa: S608  # nosec B608 - our own tables
    return list(db.session.scalars(rows, {"account": code}))


def _midnight(at: datetime) -> datetime:
    return datetime.combine(at.astimezone(UTC).date(), time(), UTC)
