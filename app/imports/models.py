"""An import of a catalogue with how far it is, the rows of its file that were rejected, and choices of columns that are
kept for the next file.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    FetchedValue,
    ForeignKey,
    Identity,
    Index,
    Numeric,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.models import User
from app.catalog.import_mapping import ImportMapping
from app.catalog.importing import ImportReport
from app.catalog.models import Provider
from app.extensions import Model
from app.queue import Outbox
from app.states import Stateful, moves, status_check

UNDER_WAY = ("CHECKING", "RUNNING")
FILE_KEPT = timedelta(days=30)


class Import(Stateful, Outbox):
    """A file of packages on its way into the catalogue. CHECKING, a dry run, and RUNNING have a job.

    The counts are those of the check (`dry_run`) or the import that came last, and written with each batch of rows.
    `by_id` is who asked last, `begun_at` when. With a provider, all packages are theirs; without one, the file says
    whose each is. `rate` is USD per unit of the file's prices, which are in `currency`. The file is forgotten some time
    after it was uploaded; then `file_key` is empty.
    """

    JOB = "jobs.imports.work"
    SWEEP = "jobs.sweeps.imports"
    QUEUE = "slow"
    MOVES = moves(
        {
            "UPLOADING": "UPLOADED FAILED",
            "UPLOADED": "CHECKING CANCELLED",
            "CHECKING": "CHECKED CANCELLED FAILED",
            "CHECKED": "CHECKING RUNNING CANCELLED",
            "RUNNING": "DONE CANCELLED FAILED",
            "DONE": "",
            "CANCELLED": "CHECKING",
            "FAILED": "CHECKING",
        }
    )
    STAMPS = dict.fromkeys(("DONE", "CANCELLED", "FAILED"), "ended_at")

    __tablename__ = "imports"
    __table_args__ = (
        status_check(MOVES),
        CheckConstraint(
            "created >= 0 AND updated >= 0 AND unchanged >= 0 AND rejected >= 0"
            " AND created + updated + unchanged + rejected <= file_rows",
            name="counts",
        ),
        CheckConstraint("rate > 0", name="rate"),
        Index("ix_imports_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_imports_file_key", "created_at", postgresql_where=text("file_key IS NOT NULL")),
        # One at a time for each provider, and one whose file says whose the packages are.
        Index(
            "uq_imports_running",
            text("coalesce(provider_id, 0)"),
            unique=True,
            postgresql_where=text("status = 'RUNNING'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    status: Mapped[str] = mapped_column(default="UPLOADING", server_default="UPLOADING")
    by_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    # Where they were when they asked, for the trail.
    address: Mapped[str | None]
    provider_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("providers.id"))
    file_name: Mapped[str]
    file_key: Mapped[str | None]
    file_bytes: Mapped[int] = mapped_column(BigInteger)
    file_rows: Mapped[int]
    # The file's columns in order, and the cells of its first rows, shortened.
    headings: Mapped[list[str]] = mapped_column(ARRAY(Text))
    samples: Mapped[list[list[str]]] = mapped_column(JSONB)
    columns: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    defaults: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    currency: Mapped[str] = mapped_column(default="USD", server_default="USD")
    rate: Mapped[Decimal] = mapped_column(Numeric, default=Decimal(1), server_default="1")
    created: Mapped[int] = mapped_column(default=0, server_default="0")
    updated: Mapped[int] = mapped_column(default=0, server_default="0")
    unchanged: Mapped[int] = mapped_column(default=0, server_default="0")
    rejected: Mapped[int] = mapped_column(default=0, server_default="0")
    dry_run: Mapped[bool] = mapped_column(default=True, server_default="true")
    # Why it ended before it got to all its rows.
    ended_because: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    begun_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    asked_by: Mapped[User] = relationship()
    provider: Mapped[Provider | None] = relationship()

    @property
    def report(self) -> ImportReport:
        """What became of the rows so far."""
        return ImportReport(self.created, self.updated, self.unchanged, self.rejected)

    @report.setter
    def report(self, now: ImportReport) -> None:
        for name, count in now.json().items():
            setattr(self, name, count)

    @property
    def counts(self) -> dict[str, int]:
        """The same by the words for it, which are `to create` of a check where they are `created` of an import."""
        names = ("to create", "to update") if self.dry_run else ("created", "updated")
        return dict(zip((*names, "unchanged", "rejected"), self.report.json().values(), strict=True))

    @property
    def counts_in_words(self) -> str:
        """As a sentence's part: `12 created, 1 rejected`."""
        return ", ".join(f"{count:,} {name}" for name, count in self.counts.items() if count) or "no rows"

    def mapping(self) -> ImportMapping:
        """What was chosen, with what the import's own provider says. Raises Unusable."""
        defaults = dict(self.defaults)
        if self.provider is not None:
            defaults |= {
                "provider_external_id": str(self.provider.external_id),
                "provider_name": self.provider.name,
            }
        return ImportMapping.checked(self.columns, defaults)

    def why_no_file(self) -> str | None:
        """Why it can't be worked on any more, in words; None while its file is kept."""
        if self.file_key is None:
            return f"Its file is not kept any more: that is for {FILE_KEPT.days} days from the upload. Upload it again."
        return None


class ImportRejection(Model):
    """A row of an import's file that can't go in: the line it begins on, and `column` and `reason` of each thing that
    is wrong with it.
    """

    __tablename__ = "import_rejections"

    import_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("imports.id"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    faults: Mapped[list[dict[str, Any]]]


class SavedMapping(Model):
    """A choice of columns under a name, for the next file of the same sort."""

    __tablename__ = "import_mappings"
    __table_args__ = (CheckConstraint("length(name) BETWEEN 1 AND 60", name="name"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    columns: Mapped[dict[str, Any]]
    defaults: Mapped[dict[str, Any]]
    currency: Mapped[str]
    rate: Mapped[Decimal] = mapped_column(Numeric)
    saved_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    saved_by_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    saved_by: Mapped[User] = relationship()
