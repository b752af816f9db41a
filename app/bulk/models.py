"""A bulk run, the chunks of ids it is frozen into, and what became of the rows that were not done."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, FetchedValue, ForeignKey, Identity, Index, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.models import User
from app.extensions import Model
from app.queue import Outbox
from app.states import Stateful, moves, status_check

# How long the file is kept that a run leaves.
FILE_DAYS = 7
OUTCOMES = ("SKIPPED", "FAILED", "KEPT")


class Bulk(Stateful, Outbox):
    """What somebody wants done to a frozen set of rows. PREPARED waits to be started, RUNNING and UNDOING have a job.

    The counts are written with each chunk: `done`, `skipped` and `failures` of the `total`, and of the done ones
    `undone`, or `kept` where undoing came too late.
    """

    JOB = "jobs.bulk.work"
    SWEEP = "jobs.sweeps.bulks"
    QUEUE = "bulk"
    MOVES = moves(
        {
            "PREPARED": "RUNNING CANCELLED",
            "RUNNING": "DONE CANCELLED FAILED UNDOING",
            "DONE": "UNDOING",
            "CANCELLED": "UNDOING",
            "FAILED": "UNDOING",
            "UNDOING": "UNDONE FAILED",
            "UNDONE": "",
        }
    )
    STAMPS = {
        "RUNNING": "started_at",
        **dict.fromkeys(("DONE", "CANCELLED", "FAILED", "UNDONE"), "ended_at"),
    }

    __tablename__ = "bulks"
    __table_args__ = (
        status_check(MOVES),
        CheckConstraint("done + skipped + failures <= total AND undone + kept <= done", name="counts"),
        Index("ix_bulks_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_bulks_by_id", "by_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(default="PREPARED", server_default="PREPARED")
    by_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    # Where they were when they asked, for the trail.
    address: Mapped[str | None]
    # The run whose failed and unreached rows this one takes up; each is taken up once.
    retry_of_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("bulks.id"), unique=True)
    total: Mapped[int] = mapped_column(default=0, server_default="0")
    done: Mapped[int] = mapped_column(default=0, server_default="0")
    skipped: Mapped[int] = mapped_column(default=0, server_default="0")
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    undone: Mapped[int] = mapped_column(default=0, server_default="0")
    kept: Mapped[int] = mapped_column(default=0, server_default="0")
    # Why it ended before it got to all its rows.
    ended_because: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    # Of a run that leaves a file: how long that is kept.
    file_until: Mapped[datetime | None]
    file_deleted_at: Mapped[datetime | None]
    asked_by: Mapped[User] = relationship()

    @property
    def reached(self) -> int:
        """How many rows have their result."""
        return self.done + self.skipped + self.failures

    @property
    def left(self) -> int:
        """How many rows have no result yet, or never got to have one."""
        return self.total - self.reached


class BulkChunk(Model):
    """Some of a run's ids, done in one transaction together with their results: `done` are the rows that it changed,
    `undone` those that were changed back.
    """

    __tablename__ = "bulk_chunks"
    __table_args__ = (Index("ix_bulk_chunks_bulk_id", "bulk_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    bulk_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("bulks.id"))
    # Of its first row among all of the run's.
    place: Mapped[int] = mapped_column(default=0, server_default="0")
    ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    done: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default="{}")
    settled_at: Mapped[datetime | None]
    undone: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default="{}")
    undone_at: Mapped[datetime | None]


class BulkProblem(Model):
    """Why a row of a run was not done: SKIPPED, as it was changed since, or FAILED; or why one was KEPT by undoing."""

    __tablename__ = "bulk_problems"
    __table_args__ = (
        CheckConstraint("outcome IN (" + ", ".join(f"'{outcome}'" for outcome in OUTCOMES) + ")", name="outcome"),
        Index("ix_bulk_problems_outcome", "bulk_id", "outcome", "row_id"),
    )

    bulk_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("bulks.id"), primary_key=True)
    row_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    outcome: Mapped[str]
    reason: Mapped[str]
