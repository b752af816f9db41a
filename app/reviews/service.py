"""Verbs of reviews: submit, approve, reject, withdraw, undo, reverse; and the same decisions on many at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import FromClause, select

from app import undo as undoing
from app.audit import history, reasons
from app.audit import service as audit
from app.audit.actor import Actor
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.catalog import changes
from app.db import lock, read, statement, transaction, utcnow
from app.errors import Conflict, FieldError, Invalid, NotAllowed
from app.extensions import db
from app.reviews import ratings
from app.reviews.models import Review
from app.states import in_words, may_move, move, moving

MAY_MODERATE = ("moderator", "admin")
MAX_TITLE = 150
MAX_CONTENT = 5_000
MAX_NOTES = 2_000
# Why a review is not shown.
REASONS = {
    "offensive": "Insults, threats or hatred",
    "private": "Names or describes a private person",
    "off_topic": "About something else than the stay",
    "advertising": "Advertises something",
    "fake": "Not by somebody who stayed there",
    "other": "Another reason, in the notes",
}
_DECIDED = ("APPROVED", "REJECTED")
_NO_DECISION: dict[str, Any] = dict.fromkeys(
    ("moderated_by", "moderated_at", "moderation_reason", "moderation_notes", "undo_until")
)


def submit(booking_id: int, *, rating: int, title: str, content: str, by: Actor) -> Review:
    """Review one's own stay that is over, with 1 to 5 stars; once per booking. It waits for a moderator.

    Raises Invalid by field, NotFound for another person's booking, Conflict before the stay is over or a second time.
    """
    title, content = title.strip(), content.strip()
    _check(rating, title, content)
    bookings.own(booking_id, by)
    with transaction():
        booking = lock(Booking, booking_id)
        if booking.status != "COMPLETED":
            raise Conflict(f"Only a completed stay can be reviewed; this booking is {in_words(booking.status)}.")
        if db.session.scalar(select(Review.id).where(Review.booking_id == booking.id)) is not None:
            raise Conflict("This booking has a review already.")
        review = Review(
            booking_id=booking.id,
            package_id=booking.package_id,
            traveller_id=booking.traveller_id,
            rating=rating,
            title=title,
            content=content,
            created_at=utcnow(),
        )
        db.session.add(review)
        audit.record(by, "review.submit", review)
    return review


def _check(rating: int, title: str, content: str) -> None:
    wrong = []
    if rating not in ratings.STARS:
        wrong.append(FieldError("rating", "Give 1 to 5 stars."))
    for field, said, most in (("title", title, MAX_TITLE), ("content", content, MAX_CONTENT)):
        if not 1 <= len(said) <= most:
            wrong.append(FieldError(field, f"Write 1 to {most:,} characters."))
    if wrong:
        raise Invalid("Some fields need another look.", wrong)


def withdraw(review_id: int, *, reason: str | None, by: Actor) -> Review:
    """Take back, for good, a review that nobody has decided on yet, as its author asked; `reason` says how they did.

    Raises NotAllowed, NotFound, Invalid without a reason, Conflict saying what happened to it meanwhile.
    """
    by.require(*MAY_MODERATE)
    reason = reasons.given(reason)
    with transaction():
        review = lock(Review, review_id)
        if not may_move(review, "WITHDRAWN"):
            raise Conflict(_what_happened(review))
        move(review, "WITHDRAWN")
        audit.record(by, "review.withdraw", review, reason=reason)
    return review


def approve(review_id: int, *, notes: str = "", by: Actor) -> Review:
    """Let a review be shown, once this can't be undone any more. Its stars count at once, and are shown then too.

    Raises NotAllowed, NotFound, Invalid for too long notes, Conflict saying what happened to it meanwhile.
    """
    by.require(*MAY_MODERATE)
    decision = _decision(by, notes=notes)
    with transaction():
        review = _decide(review_id, "APPROVED", decision)
        db.session.execute(ratings.add(_stars_of(review)))
        audit.record(by, "review.approve", review)
    return review


def reject(review_id: int, *, reason: str, notes: str = "", by: Actor) -> Review:
    """Keep a review from being shown; `reason` is one of REASONS, and `other` needs notes.

    Raises NotAllowed, NotFound, Invalid by field, Conflict saying what happened to it meanwhile.
    """
    by.require(*MAY_MODERATE)
    decision = _decision(by, reason=_known(reason, notes), notes=notes)
    with transaction():
        review = _decide(review_id, "REJECTED", decision)
        audit.record(by, "review.reject", review, reason=REASONS[reason])
    return review


def undo(review_id: int, *, by: Actor) -> Review:
    """Take back one's own decision while it can be undone: the review waits again, and nobody outside hears of it.

    Raises NotFound, NotAllowed for somebody else's decision, Conflict when the time is over or it was taken back.
    """
    by.require(*MAY_MODERATE)
    with transaction():
        review = _decided(review_id)
        if review.moderated_by != by.id:
            raise NotAllowed(f"{_what_happened(review)} Only who decided can undo it; you can reverse it.")
        if not review.may_be_undone():
            raise Conflict(f"{_what_happened(review)} The time to undo it is over; you can reverse it.")
        _put_back(review)
        audit.record(by, "review.undo", review)
    return review


def reverse(review_id: int, *, reason: str | None, by: Actor) -> Review:
    """Take back a decision, anybody's and at any time: the review waits again, and is not shown from now on.

    Raises NotAllowed, NotFound, Invalid without a reason, Conflict when there is no decision.
    """
    by.require(*MAY_MODERATE)
    reason = reasons.given(reason)
    with transaction():
        review = _decided(review_id)
        _put_back(review)
        audit.record(by, "review.reverse", review, reason=reason)
    return review


def approve_many(ids: Iterable[int], *, by: Actor) -> list[int]:
    """Approve those of the reviews that wait, in one statement; returns their ids. The others were changed meanwhile:
    `what_happened` says how.

    Rows that the session has read before are not refreshed. Raises NotAllowed.
    """
    by.require(*MAY_MODERATE)
    with transaction():
        approving = moving(
            Review, ids, to="APPROVED", sources=("PENDING",), keep=("package_id", "rating"), **_decision(by)
        )
        return approving.run(audit.entries_of(by, "review.approve", Review, approving), ratings.add(approving.rows))


def reject_many(ids: Iterable[int], *, reason: str, notes: str = "", by: Actor) -> list[int]:
    """Reject those of the reviews that wait, in one statement; the same otherwise. Raises NotAllowed, Invalid."""
    by.require(*MAY_MODERATE)
    decision = _decision(by, reason=_known(reason, notes), notes=notes)
    with transaction():
        rejecting = moving(Review, ids, to="REJECTED", sources=("PENDING",), **decision)
        return rejecting.run(audit.entries_of(by, "review.reject", Review, rejecting, reason=REASONS[reason]))


def undo_many(ids: Iterable[int], *, by: Actor) -> list[int]:
    """Take back those of one's own decisions that still can be undone, in one statement; the same otherwise."""
    by.require(*MAY_MODERATE)
    own = (Review.moderated_by == by.id, Review.undo_until > utcnow())
    with transaction():
        undone = moving(
            Review, ids, to="PENDING", sources=_DECIDED, only=own, keep=("package_id", "rating"), **_NO_DECISION
        )
        approved = select(undone.rows).where(undone.rows.c.was_status == "APPROVED").subquery()
        return undone.run(audit.entries_of(by, "review.undo", Review, undone), ratings.subtract(approved))


def settle_due() -> int:
    """Show, or keep for good from being shown, what can't be undone any more; returns how many."""
    settled = 0
    while batch := _settle_some():
        settled += batch
    return settled


def has_undoable(by: Actor) -> bool:
    """Whether there is a decision of theirs that they could take back now. Asked on every look at the queue."""
    undoable = "SELECT id FROM reviews WHERE moderated_by = %(by)s AND undo_until > now() LIMIT 1"
    return bool(read(undoable, {"by": by.id}))


def what_happened(ids: Collection[int]) -> dict[int, str]:
    """Where each of the reviews stands, in a sentence for whoever wanted to decide on it: what happened to it, by whom
    and when. One that isn't there has none.
    """
    with transaction():
        rows = statement(
            """
            SELECT r.id, r.status, r.moderation_reason, coalesce(r.moderated_at, r.withdrawn_at, e.at) AS at,
                   coalesce(u.name, e.actor_label) AS who, e.action
            FROM reviews r LEFT JOIN users u ON u.id = r.moderated_by
            LEFT JOIN LATERAL (
                SELECT at, actor_label, action FROM audit_entries
                WHERE object_type = 'reviews' AND object_id = r.id AND r.status IN ('PENDING', 'WITHDRAWN')
                ORDER BY id DESC LIMIT 1) e ON e.action IN ('review.undo', 'review.reverse', 'review.withdraw')
            WHERE r.id = ANY(CAST(%(ids)s AS bigint[]))
            """,
            {"ids": list(ids)},
        )
    return {row.id: _sentence(row) for row in rows}


def _sentence(row: Any) -> str:
    if row.status == "PENDING":
        did = {"review.undo": "Undone", "review.reverse": "Reversed", None: "Waits for a decision"}[row.action]
    else:
        did = in_words(row.status).capitalize()
    said = " ".join([did, *([f"by {row.who}"] if row.who else []), *([history.ago(row.at)] if row.at else [])])
    why = REASONS.get(row.moderation_reason)
    return f"{said}: {why.lower()}." if why else f"{said}."


def _what_happened(review: Review) -> str:
    return what_happened([review.id])[review.id]


def _known(reason: str, notes: str) -> str:
    if reason not in REASONS:
        raise Invalid.field("reason", f"Choose one of {', '.join(REASONS)}.")
    if reason == "other" and not notes.strip():
        raise Invalid.field("notes", "Say what the reason is.")
    return reason


def _decision(by: Actor, *, reason: str | None = None, notes: str = "") -> dict[str, Any]:
    notes = notes.strip()
    if len(notes) > MAX_NOTES:
        raise Invalid.field("notes", f"Use at most {MAX_NOTES:,} characters.")
    now = utcnow()
    said = {"moderation_reason": reason, "moderation_notes": notes, "moderated_by": by.id}
    # What waits has none of these, so nothing has to be emptied.
    return {
        "moderated_at": now,
        "undo_until": now + undoing.window(),
        **{name: value for name, value in said.items() if value},
    }


def _decide(review_id: int, to: str, decision: dict[str, Any]) -> Review:
    review = lock(Review, review_id)
    if not may_move(review, to):
        raise Conflict(_what_happened(review))
    move(review, to)
    _set(review, decision)
    return review


def _decided(review_id: int) -> Review:
    review = lock(Review, review_id)
    if review.status not in _DECIDED:
        raise Conflict(f"{_what_happened(review)} There is nothing to take back.")
    return review


def _put_back(review: Review) -> None:
    if review.status == "APPROVED":
        db.session.execute(ratings.subtract(_stars_of(review)))
        changes.announce()
    move(review, "PENDING")
    _set(review, _NO_DECISION)


def _set(review: Review, decision: dict[str, Any]) -> None:
    for name, value in decision.items():
        setattr(review, name, value)


def _stars_of(review: Review) -> FromClause:
    return select(Review.package_id, Review.rating).where(Review.id == review.id).subquery()


def _settle_some() -> int:
    with transaction():
        settled = undoing.settle(Review)
        if settled:
            changes.announce()
        return len(settled)
