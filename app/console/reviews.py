"""/console/reviews/: what travellers wrote, to be approved or rejected before the public is shown it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import joinedload

from app.accounts.models import User
from app.audit import trail
from app.audit.actor import Actor
from app.bookings.models import Booking
from app.catalog.models import Package
from app.console.base import Column, Filter
from app.console.bookings import booking_href
from app.console.packages import package_href
from app.console.providers import provider_href
from app.console.queue import Decision, QueueView, Urgency
from app.console.record import Fact, Group, Phrase
from app.console.scope import PACKAGE, TRAVELLER
from app.console.users import user_href
from app.console.words import words_in
from app.db import utcnow
from app.extensions import db
from app.reviews import service as reviews
from app.reviews.models import CONTACT, Review, ReviewText

_TITLES: dict[str, trail.Title] = {
    "review.submit": ("Written", "note", None),
    "review.approve": ("Approved", "state", "good"),
    "review.reject": ("Rejected", "state", "bad"),
    "review.undo": ("Decision undone", "state", None),
    "review.reverse": ("Decision reversed", "state", "warn"),
    "review.withdraw": ("Withdrawn at its author's request", "state", None),
}
_STARS = {str(stars): f"{stars} {'star' if stars == 1 else 'stars'}" for stars in (1, 2, 3, 4, 5)}


def _may_be_undone(review: Review, by: Actor) -> bool:
    return review.undo_until is not None and review.undo_until > utcnow() and review.moderated_by == by.id


def _is_settled(review: Review, by: Actor) -> bool:
    return not _may_be_undone(review, by)


class ReviewsView(QueueView):
    """The review queue, for support to read and moderators to decide on."""

    roles = frozenset({"support", "moderator", "admin"})
    icon = "star"
    model = Review
    title = "Reviews"
    exported_as = "reviews"
    intro = "Approved ones are shown to the public and count in a package's rating."
    search_hint = "Words, a booking or an e-mail"
    empty_hint = "New reviews show here as soon as travellers write them."
    columns = (
        Column("title", "Review", "link"),
        Column("content", "Text"),
        Column("rating", "Stars", "number", "right"),
        Column("package", "Package"),
        Column("created_at", "Written", "time", "right"),
    )
    filters = (
        Filter("rating", "Stars", _STARS, where=lambda stars: Review.rating == int(stars)),
        PACKAGE,
        TRAVELLER,
    )
    titles = _TITLES
    urgency = (
        Urgency("Has an address, a link or a number in it", Review.content.regexp_match(CONTACT), hours=48),
        Urgency("One star", Review.rating == 1, hours=24),
        Urgency("Two stars", Review.rating == 2, hours=12),
    )
    decisions = (
        Decision(
            *("approve", "Approve", "APPROVED", reviews.approve, reviews.MAY_MODERATE),
            explain="Shown to the public once it can't be undone any more.",
            key="a",
            many=reviews.approve_many,
            run="reviews.approve",
        ),
        Decision(
            *("reject", "Reject", "REJECTED", reviews.reject, reviews.MAY_MODERATE),
            explain="It is not shown to the public. The reason is kept.",
            key="r",
            many=reviews.reject_many,
            run="reviews.reject",
            reasons=reviews.REASONS,
            danger=True,
        ),
        Decision(
            *("withdraw", "Withdraw", "WITHDRAWN", reviews.withdraw, reviews.MAY_MODERATE),
            explain="At its author's request; say how they asked. It can't be taken back: a stay is reviewed once.",
            needs_reason=True,
            danger=True,
        ),
        Decision(
            *("undo", "Undo", "PENDING", reviews.undo, reviews.MAY_MODERATE),
            explain="It waits again, as if nothing had been decided.",
            key="u",
            many=reviews.undo_many,
            sources=("APPROVED", "REJECTED"),
            when=_may_be_undone,
        ),
        Decision(
            *("reverse", "Reverse", "PENDING", reviews.reverse, reviews.MAY_MODERATE),
            explain="It waits to be decided anew, and is not shown to the public meanwhile.",
            sources=("APPROVED", "REJECTED"),
            needs_reason=True,
            danger=True,
            when=_is_settled,
        ),
    )

    def query(self) -> Select[Any]:
        """Reviews with the name of what they are about."""
        return select(Review).options(
            joinedload(Review.package, innerjoin=True).load_only(Package.name).raiseload(Package.provider)
        )

    def item_query(self) -> Select[Any]:
        """Reviews with what they are about and who wrote them."""
        return select(Review).options(
            joinedload(Review.package), joinedload(Review.traveller), joinedload(Review.booking)
        )

    def search(self, query: Select[Any], words: str) -> Select[Any]:
        """By a whole booking reference or address, or by words."""
        if booking_id := db.session.scalar(select(Booking.id).where(Booking.reference == words.upper())):
            return query.where(Review.booking_id == booking_id)
        if traveller_id := db.session.scalar(select(User.id).where(User.email == words.lower())):
            return query.where(Review.traveller_id == traveller_id)
        return query.where(Review.id.in_(select(ReviewText.review_id).where(words_in(words, ReviewText.words))))

    def cells(self, row: Review) -> dict[str, Any]:
        """One review's line."""
        return {
            "title": row.title,
            "content": row.content,
            "rating": row.rating,
            "package": row.package.name,
            "created_at": row.created_at,
        }

    def text(self, row: Review) -> str:
        """What the traveller wrote."""
        return row.content

    def sub(self, row: Review) -> Sequence[Phrase]:
        """Of what, by whom, when."""
        return (
            Phrase(text=_STARS[str(row.rating)]),
            Phrase("for", row.package.name, href=package_href(row.package_id)),
            Phrase("by", row.traveller.name, href=user_href(row.traveller_id), aside=row.traveller.email),
            Phrase("written", at=row.created_at),
        )

    def facts(self, row: Review) -> Sequence[Group]:
        """The stay, and what the traveller wrote before."""
        provider = row.package.provider
        stay = [
            Fact("Booking", row.booking.reference, href=booking_href(row.booking_id)),
            Fact("From", row.booking.starts_on, "day"),
            Fact("To", row.booking.ends_on, "day"),
            Fact("Provider", provider.name, href=provider_href(provider.id)),
        ]
        counted = (
            select(Review.status, func.count().label("count"))
            .where(Review.traveller_id == row.traveller_id, Review.id != row.id)
            .group_by(Review.status)
        )
        written = {found.status: found.count for found in db.session.execute(counted)}
        others = [
            Fact("Approved", written.get("APPROVED", 0), "number"),
            Fact("Rejected", written.get("REJECTED", 0), "number"),
            Fact("Waiting", written.get("PENDING", 0), "number"),
        ]
        groups = [Group("Stay", stay), Group("Their other reviews", others)]
        if row.moderation_reason:
            said = [Fact("Reason", reviews.REASONS.get(row.moderation_reason, row.moderation_reason))]
            groups.insert(0, Group("Decision", [*said, Fact("Notes", row.moderation_notes)]))
        return groups

    def _what_happened(self, ids: Collection[int]) -> Mapping[int, str]:
        return reviews.what_happened(ids)

    def just_decided(self, by: Actor) -> Sequence[Review]:
        """What can still be undone of the last decision; a bulk too large for a page is undone on its own."""
        if not reviews.has_undoable(by):
            return ()
        mine = (
            self.query()
            .where(Review.moderated_by == by.id, Review.undo_until > func.now())
            .order_by(Review.moderated_at.desc(), Review.id)
            .limit(self.page_size + 1)
        )
        rows = db.session.scalars(mine.execution_options(populate_existing=True)).all()
        together = [row for row in rows if row.moderated_at == rows[0].moderated_at]
        return together if len(together) <= self.page_size else ()
