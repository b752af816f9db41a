"""/v1/reviews: writing one about a stay that is over, reading a package's, and deciding which are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from app.api.blueprint import api
from app.api.endpoint import endpoint
from app.audit.actor import Actor
from app.catalog import service as catalog
from app.errors import NotFound
from app.reviews import queries, ratings
from app.reviews import service as reviews
from app.reviews.models import Review
from app.schemas import Body, Id, PageQuery, PlainText, Schema, decode_cursor, page

GROUP = "Reviews"


class ReviewWish(Body):
    """What a traveller says about a stay."""

    booking_id: Id = Field(examples=[1])
    rating: int = Field(ge=1, le=5, description="Stars.")
    title: PlainText = Field(min_length=1, max_length=reviews.MAX_TITLE, examples=["Would come back"])
    content: PlainText = Field(min_length=1, max_length=reviews.MAX_CONTENT, examples=["Quiet at night."])


class ReviewOut(Schema):
    """One's own review. While it is PENDING, a moderator has still to read it."""

    id: int
    booking_id: int
    package_id: int
    rating: int
    title: str
    content: str
    status: str = Field(examples=["PENDING"])
    created_at: datetime


class Decision(Body):
    """What a moderator makes of a review."""

    decision: Literal["approve", "reject"]
    reason: PlainText | None = Field(
        None,
        max_length=500,
        description=(
            "Needed to reject: "
            + "; ".join(f"`{code}` ({words.lower()})" for code, words in reviews.REASONS.items())
            + ". Other words are kept in the notes, as `other`."
        ),
        examples=["off_topic"],
    )
    notes: PlainText | None = Field(None, max_length=1_000, description="For colleagues; nobody outside sees them.")


class DecidedReviewOut(ReviewOut):
    """A review as staff see it, after a decision."""

    moderated_at: datetime
    moderation_reason: str | None = Field(examples=["off_topic"])
    moderation_notes: str | None
    undo_until: datetime = Field(description="Until then it can be undone in the console, and nobody outside is told.")


class ShownReviewOut(Schema):
    """A review as everybody sees it."""

    id: int
    rating: int
    title: str
    content: str
    author: str = Field(description="The traveller's first name.", examples=["Ada"])
    created_at: datetime

    @classmethod
    def of(cls, row: Any) -> ShownReviewOut:
        """From a row of `reviews.queries`, whose columns the database has checked already."""
        return cls.model_construct(
            id=row.id,
            rating=row.rating,
            title=row.title,
            content=row.content,
            author=row.author.partition(" ")[0],
            created_at=row.created_at,
        )


class PackageReviewsOut(Schema):
    """What travellers say about a package: the stars of all, and a page of reviews, newest first."""

    avg_rating: float | None = Field(description="Two decimals; null while there is no review.", examples=[4.37])
    total_reviews: int
    distribution: dict[str, int] = Field(
        description="How many reviews give so many stars.", examples=[{"1": 0, "2": 1, "3": 2, "4": 9, "5": 14}]
    )
    items: list[ShownReviewOut]
    next_cursor: str | None


@endpoint(
    api,
    "POST",
    "/reviews",
    group=GROUP,
    body=ReviewWish,
    answer=ReviewOut,
    status=201,
    refuses=(404, 409, 422),
    idempotent="one transaction",
)
def create_review(body: ReviewWish, by: Actor) -> ReviewOut:
    """Review a completed stay

    Once per booking, of one's own. It is shown once a moderator has approved it.
    """
    review = reviews.submit(body.booking_id, rating=body.rating, title=body.title, content=body.content, by=by)
    return ReviewOut(**_own(review))


@endpoint(
    api,
    "GET",
    "/packages/<int:package_id>/reviews",
    group=GROUP,
    who="anyone",
    query=PageQuery,
    answer=PackageReviewsOut,
    refuses=(404, 422),
)
def list_package_reviews(package_id: int, query: PageQuery) -> PackageReviewsOut:
    """Read what travellers say about a package

    Approved reviews only, newest first.
    """
    before = decode_cursor(query.cursor)
    if package_id >= 2**63:
        raise NotFound("There is no package with this id on sale.")
    package = catalog.on_sale(package_id, None)
    stars = ratings.shown(package.id)
    rows = queries.shown(package.id, before_id=before, limit=query.limit)
    return PackageReviewsOut.model_construct(
        avg_rating=ratings.average(stars),
        total_reviews=sum(stars.values()),
        distribution={str(rating): count for rating, count in stars.items()},
        **page(rows, query.limit, ShownReviewOut.of),
    )


@endpoint(
    api,
    "PATCH",
    "/reviews/<int:review_id>/moderate",
    group=GROUP,
    body=Decision,
    answer=DecidedReviewOut,
    refuses=(403, 404, 409, 422),
)
def moderate_review(review_id: int, body: Decision, by: Actor) -> DecidedReviewOut:
    """Approve or reject a review

    For moderators and admins. Somebody else may have decided meanwhile: 409 says who and when. The public is shown an
    approved review, and its stars, once the decision can't be undone any more.
    """
    if review_id >= 2**63:
        raise NotFound(f"There is no review {review_id}.")
    reason, notes = body.reason or "", body.notes or ""
    if reason and (body.decision == "approve" or reason not in reviews.REASONS):
        reason, notes = "other", "\n".join(filter(None, (reason, notes)))
    if body.decision == "approve":
        review = reviews.approve(review_id, notes=notes, by=by)
    else:
        review = reviews.reject(review_id, reason=reason, notes=notes, by=by)
    return DecidedReviewOut(
        **_own(review),
        moderated_at=review.moderated_at,
        moderation_reason=review.moderation_reason,
        moderation_notes=review.moderation_notes,
        undo_until=review.undo_until,
    )


def _own(review: Review) -> dict[str, Any]:
    return {
        "id": review.id,
        "booking_id": review.booking_id,
        "package_id": review.package_id,
        "rating": review.rating,
        "title": review.title,
        "content": review.content,
        "status": review.status,
        "created_at": review.created_at,
    }
