"""Sums that are kept up to a mark and moved on a little at a time: what reads them adds what came after the mark.

A row's time is when its transaction began, so nothing can be written any more before the oldest transaction that is
still open. The mark goes no further than that, and moves together with the sums, so that each row is counted once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from app.db import read, transaction
from app.extensions import Model, db
from app.queue import JOB_TIMEOUT_SECONDS

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
# The clocks of the web servers and of the database may be this far apart.
_MARGIN = timedelta(minutes=1)
# So much is added in one transaction: the first filling is many short ones.
_STEP = timedelta(days=31)


class Rollup(Model):
    """How far one table of sums has come: everything before `settled_until` is in it, nothing from then on."""

    __tablename__ = "rollups"

    name: Mapped[str] = mapped_column(primary_key=True)
    settled_until: Mapped[datetime]


@dataclass(frozen=True)
class Sums:
    """A table of sums over the rows of another one, `of`, whose time is in the indexed column `at`.

    `rows` is the SELECT of what the rows from :since to :until (excluded) come to, with the columns of `key` and
    `amounts`. `lasting` says of which sums the rows say the same at any time; the others are as it was when they were
    added, such as the city that a package was in.
    """

    model: type[Model]
    of: str
    at: str
    key: tuple[str, ...]
    amounts: tuple[str, ...]
    rows: str
    lasting: str = "true"

    @property
    def name(self) -> str:
        """Its table, under which its mark is kept."""
        name: str = self.model.__tablename__
        return name

    @property
    def all(self) -> str:
        """The SELECT of every sum, and of what came after the mark: of one moment, as it is one statement."""
        columns = ", ".join((*self.key, *self.amounts))
        # With an end too: of a third of the table the planner would think, if all it saw were a mark it doesn't know.
        tail = self.rows.replace(":since", self._mark).replace(":until", "CAST('infinity' AS timestamptz)")
        return f"SELECT {columns} FROM {self.name} UNION ALL SELECT {columns} FROM ({tail}) AS tail"  # noqa: S608  # nosec B608 - our own names

    @property
    def adding(self) -> str:
        """The statement that adds what the rows from :since to :until come to."""
        kept = ", ".join(f"{amount} = {self.name}.{amount} + excluded.{amount}" for amount in self.amounts)
        return (
            f"INSERT INTO {self.name} ({', '.join((*self.key, *self.amounts))}) {self.rows} "  # nosec B608 - our own names
            f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {kept}"
        )

    @property
    def contradictions(self) -> str:
        """The SELECT that gives a line for each sum that the rows before the mark don't come to."""
        rows = self.rows.replace(":since", "CAST('-infinity' AS timestamptz)").replace(":until", self._mark)
        kept = ", ".join(f"coalesce(kept.{amount}, 0)" for amount in self.amounts)
        plain = ", ".join(f"coalesce(plain.{amount}, 0)" for amount in self.amounts)
        return (
            f"SELECT concat_ws(' ', '{self.name}', {', '.join(self.key)}) || ': kept as '"  # noqa: S608  # nosec B608 - our own names
            f" || concat_ws(', ', {kept}) || ', the rows come to ' || concat_ws(', ', {plain}) "
            f"FROM {self.name} AS kept FULL JOIN ({rows}) AS plain USING ({', '.join(self.key)}) "
            f"WHERE ({self.lasting}) AND ({kept}) IS DISTINCT FROM ({plain})"
        )

    @property
    def _mark(self) -> str:
        return f"(SELECT settled_until FROM rollups WHERE name = '{self.name}')"  # noqa: S608  # nosec B608 - our own name


def advance(sums: Sums) -> None:
    """Add what is settled since the last time. Run twice, or by two at once, it adds nothing twice. Raises Busy."""
    until = _settled_by_now()
    while _step(sums, until):
        pass


def rebuild(sums: Sums) -> None:
    """Make the sums anew from all rows; who reads meanwhile sees the old ones. Raises Busy."""
    until = _settled_by_now()
    with transaction():
        _locked_mark(sums)
        forget(db.session.connection(), sums)
        while _step(sums, until):
            pass


def forget(connection: Connection, sums: Sums) -> None:
    """Begin again, in the connection's transaction: for rows that were written with times of the past."""
    connection.execute(delete(sums.model))
    connection.execute(update(Rollup).where(Rollup.name == sums.name).values(settled_until=BEGINNING))


def _settled_by_now() -> datetime:
    # In a statement of its own, before the rows are read: what was open until a moment ago shows them to the next one.
    (found,) = read(
        "SELECT least(now(), min(xact_start)) AS oldest FROM pg_stat_activity WHERE datname = current_database()"
    )
    oldest: datetime = found.oldest
    return oldest - _MARGIN


def _step(sums: Sums, until: datetime) -> bool:
    """One transaction's worth; False when nothing is left to add."""
    with transaction():
        db.session.execute(text(f"SET LOCAL statement_timeout = '{JOB_TIMEOUT_SECONDS}s'"))
        mark = since = _locked_mark(sums)
        if mark == BEGINNING:
            first = text(f"SELECT coalesce(min({sums.at}), :until) FROM {sums.of}")  # noqa: S608  # nosec B608 - our own names
            since = db.session.scalars(first, {"until": until}).one()
        upto = min(until, since + _STEP)
        if upto <= mark:
            return False
        if upto > since:
            db.session.execute(text(sums.adding), {"since": since, "until": upto})
        db.session.execute(update(Rollup).where(Rollup.name == sums.name).values(settled_until=upto))
    return upto < until


def _locked_mark(sums: Sums) -> datetime:
    return db.session.scalars(select(Rollup.settled_until).where(Rollup.name == sums.name).with_for_update()).one()
