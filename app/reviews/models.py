"""The review: what a traveller says about one completed booking, and where its moderation stands; and how often each
star was given.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    FetchedValue,
    ForeignKey,
    Identity,
    Index,
    literal_column,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.models import User
from app.bookings.models import Booking
from app.catalog.models import Package
from app.extensions import Model, words_index
from app.states import Stateful, moves, status_check
from app.undo import Undoable

# An address, a link or a telephone number in a text.
CONTACT = r"https?://|www\.|[[:alnum:]._-]+@[[:alnum:]-]+\.|\+?\d[\d ()/-]{7,}\d"

# As the database writes it down, with which it is compared.
_SOONER = "\nCASE\n    WHEN {} THEN {}\n    ELSE 0\nEND"
_HOURS = " +".join(
    _SOONER.format(*sooner) for sooner in ((f"content ~ '{CONTACT}'", 48), ("rating = 1", 24), ("rating = 2", 12))
)
_URGENT_AT = f"(timezone('UTC', created_at) - make_interval(0, 0, 0, 0,{_HOURS}))"


class Review(Stateful, Undoable):
    """A rating from 1 to 5 and its words; the public is shown the approved ones that can't be undone any more.

    `package_id` and `traveller_id` are the booking's, so that a package's reviews are found without it. What begins
    with `moderat` is about the decision that stands, and empty while there is none; `moderated_by` is empty too where
    nobody in particular decided, `moderation_reason` is a code of `service.REASONS`.
    """

    MOVES = moves(
        {"PENDING": "APPROVED REJECTED WITHDRAWN", "APPROVED": "PENDING", "REJECTED": "PENDING", "WITHDRAWN": ""}
    )
    STAMPS = {"APPROVED": "moderated_at", "REJECTED": "moderated_at", "WITHDRAWN": "withdrawn_at"}

    __tablename__ = "reviews"
    __table_args__ = (
        status_check(MOVES),
        CheckConstraint("rating BETWEEN 1 AND 5", name="rating"),
        # A package's page: newest first, and its ratings counted from the index alone.
        Index(
            "ix_reviews_package_id",
            "package_id",
            "id",
            postgresql_include=["rating"],
            postgresql_where=text("status = 'APPROVED'"),
        ),
        # Counted, but not shown yet.
        Index(
            "ix_reviews_not_shown",
            "package_id",
            "rating",
            postgresql_where=text("status = 'APPROVED' AND undo_until IS NOT NULL"),
        ),
        # Windows to close.
        Index("ix_reviews_undo_until", "undo_until", postgresql_where=text("undo_until IS NOT NULL")),
        # The moderation queue, oldest first, and each of the other states.
        Index("ix_reviews_status", "status", "id"),
        # The same in the queue's order, the most urgent first; as the queue writes it.
        Index(
            "ix_reviews_urgent",
            literal_column(_URGENT_AT),
            "id",
            postgresql_where=text("status = 'PENDING'"),
        ),
        # Most reviews: the planner takes the primary key for them, and walks through all that waits to find the newest.
        Index("ix_reviews_approved", "id", postgresql_where=text("status = 'APPROVED'")),
        Index("ix_reviews_traveller_id", "traveller_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    booking_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("bookings.id"), unique=True)
    package_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("packages.id"))
    traveller_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    status: Mapped[str] = mapped_column(default="PENDING", server_default="PENDING")
    rating: Mapped[int]
    title: Mapped[str]
    content: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    moderated_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]
    moderated_by: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    moderation_reason: Mapped[str | None]
    moderation_notes: Mapped[str | None]
    booking: Mapped[Booking] = relationship(lazy="raise")
    package: Mapped[Package] = relationship(lazy="raise")
    traveller: Mapped[User] = relationship(lazy="raise", foreign_keys=traveller_id)


class ReviewText(Model):
    """The words that a review is found by, kept by the database as they are written.

    Beside the review and not in it: each decision writes a review anew, with an entry in every index of its table, and
    the index of words has hundreds for each.
    """

    __tablename__ = "review_texts"
    __table_args__ = (words_index("review_texts", "words"),)

    review_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("reviews.id"), primary_key=True, autoincrement=False)
    words: Mapped[str]


class RatingCount(Model):
    """How many approved reviews give a package this rating: moved on with each decision, never counted anew."""

    __tablename__ = "rating_counts"
    __table_args__ = (
        CheckConstraint("rating BETWEEN 1 AND 5", name="rating"),
        CheckConstraint("reviews >= 0", name="reviews"),
    )

    package_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("packages.id"), primary_key=True)
    rating: Mapped[int] = mapped_column(primary_key=True)
    reviews: Mapped[int]
