"""The booking: what was sold, at which price and policy, and where it stands."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, FetchedValue, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.models import User
from app.catalog.models import Package
from app.extensions import Model
from app.states import Stateful, moves, status_check

_CANCELLED = "CANCELLED_BY_GUEST CANCELLED_BY_PROVIDER CANCELLED_BY_SUPPORT"


class Booking(Stateful):
    """One traveller's units of one package from `starts_on` to `ends_on` (excluded; days of the package's own time
    zone).

    `nights` (day and price of one unit), `policy` and `package_name` are kept as they were when it was sold.
    """

    MOVES = moves(
        {
            "PENDING_PAYMENT": f"CONFIRMED EXPIRED {_CANCELLED}",
            "CONFIRMED": f"COMPLETED {_CANCELLED}",
            "EXPIRED": "CONFIRMED",
            "COMPLETED": "",
            **dict.fromkeys(_CANCELLED.split(), ""),
        }
    )
    STAMPS = {
        "CONFIRMED": "confirmed_at",
        "EXPIRED": "expired_at",
        "COMPLETED": "completed_at",
        **dict.fromkeys(_CANCELLED.split(), "cancelled_at"),
    }

    __tablename__ = "bookings"
    __table_args__ = (
        status_check(MOVES),
        CheckConstraint("ends_on > starts_on", name="days"),
        CheckConstraint("units > 0 AND guests > 0", name="counts"),
        CheckConstraint("total_minor > 0", name="total"),
        Index("ix_bookings_traveller_id", "traveller_id", "id"),
        Index("ix_bookings_package_id", "package_id", "starts_on"),
        Index("ix_bookings_provider_id", "provider_id", "id"),
        Index("ix_bookings_status", "status", "id"),
        # By when they were made and when they begin, for the console's list.
        Index("ix_bookings_created_at", "created_at", "id"),
        Index("ix_bookings_starts_on", "starts_on", "id"),
        Index("ix_bookings_holds", "expires_at", postgresql_where=text("status = 'PENDING_PAYMENT'")),
        Index("ix_bookings_stays", "ends_on", postgresql_where=text("status = 'CONFIRMED'")),
        # What providers earned since a moment.
        Index("ix_bookings_confirmed_at", "confirmed_at", postgresql_where=text("confirmed_at IS NOT NULL")),
        Index("ix_bookings_expired_at", "expired_at", postgresql_where=text("expired_at IS NOT NULL")),
        Index("ix_bookings_completed_at", "completed_at", postgresql_where=text("completed_at IS NOT NULL")),
        Index("ix_bookings_cancelled_at", "cancelled_at", postgresql_where=text("cancelled_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    reference: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(default="PENDING_PAYMENT", server_default="PENDING_PAYMENT")
    traveller_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    package_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("packages.id"))
    provider_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("providers.id"))
    package_name: Mapped[str]
    starts_on: Mapped[date]
    ends_on: Mapped[date]
    time_zone: Mapped[str]
    units: Mapped[int]
    guests: Mapped[int]
    nights: Mapped[list[dict[str, Any]]]
    total_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    policy: Mapped[dict[str, Any]]
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    confirmed_at: Mapped[datetime | None]
    expired_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    cancel_reason: Mapped[str | None]
    traveller: Mapped[User] = relationship(lazy="raise")
    package: Mapped[Package] = relationship(lazy="raise")

    @property
    def is_tour(self) -> bool:
        """A departure rather than nights."""
        return "departure" in self.nights[0]

    @property
    def stock_days(self) -> list[date]:
        """The days whose stock this booking takes: every night, or the one departure."""
        return [date.fromisoformat(night.get("date") or night["departure"]) for night in self.nights]


class BookingNote(Model):
    """What staff wrote about a booking for each other; the traveller and the provider never see it."""

    __tablename__ = "booking_notes"
    __table_args__ = (
        CheckConstraint("length(body) BETWEEN 1 AND 4000", name="body"),
        Index("ix_booking_notes_booking_id", "booking_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    booking_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("bookings.id"))
    author_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    body: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    author: Mapped[User] = relationship(lazy="raise")
