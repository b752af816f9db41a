"""What tests of decisions on reviews share: their windows' end, what is counted and shown, and what the trail says."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, text

from app.audit.models import AuditEntry
from app.catalog.models import Package
from app.db import transaction
from app.extensions import db
from app.reviews import ratings
from app.reviews.models import RatingCount, Review
from tests import factories


def window_over(*reviews: Review) -> None:
    """Let the time to undo these be over."""
    with transaction():
        over = text("UPDATE reviews SET undo_until = now() - interval '1 second' WHERE id = ANY(:ids)")
        db.session.execute(over, {"ids": [review.id for review in reviews]})


def package_of(review: Review) -> Package:
    """What it is about."""
    return db.session.get_one(Package, review.package_id)


def counted(package: Package) -> dict[int, int]:
    """The stars counted, of whatever is approved."""
    db.session.rollback()
    found = select(RatingCount.rating, RatingCount.reviews).where(RatingCount.package_id == package.id)
    return {rating: reviews for rating, reviews in db.session.execute(found) if reviews}


def approved(package: Package) -> dict[int, int]:
    """The same from the rows."""
    rows = db.session.scalars(
        select(Review.rating).where(Review.package_id == package.id, Review.status == "APPROVED")
    ).all()
    return {rating: rows.count(rating) for rating in set(rows)}


def shown(package: Package) -> dict[int, int]:
    """The stars that the public sees."""
    return {rating: reviews for rating, reviews in ratings.shown(package.id).items() if reviews}


def trail(review: Review) -> list[AuditEntry]:
    """What was ever done to it, oldest first."""
    about = (AuditEntry.object_type == "reviews", AuditEntry.object_id == review.id)
    return list(db.session.scalars(select(AuditEntry).where(*about).order_by(AuditEntry.id)))


def as_it_is(review: Review) -> tuple[Any, ...]:
    """Everything about it that a decision changes, and how much the trail says."""
    found = factories.reread(review)
    return (
        *(found.status, found.moderated_by, found.moderated_at, found.moderation_reason, found.moderation_notes),
        *(found.undo_until, found.withdrawn_at, len(trail(review)), counted(package_of(review))),
    )
