"""Reminders: finance is mailed when the time to answer a chargeback runs out, once at each threshold."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import or_, select

from app.accounts.models import StaffRole, User
from app.audit import service as audit
from app.audit.actor import SYSTEM
from app.bookings.models import Booking
from app.config import settings
from app.db import transaction, utcnow
from app.disputes.chargebacks import lock_with_payment, reason_in_words
from app.disputes.models import Dispute
from app.errors import Busy
from app.extensions import db
from app.notifications.service import notify

# Hours before the deadline.
THRESHOLDS = (72, 24, 4)
_BATCH = 200


def remind_due() -> int:
    """Mail finance of every dispute that has passed another threshold; returns of how many. One that somebody is at
    waits for the next time.
    """
    now, reminded = utcnow(), 0
    for hours in sorted(THRESHOLDS):
        due = select(Dispute.id).where(
            Dispute.answer_by > now,
            Dispute.answer_by <= now + timedelta(hours=hours),
            or_(Dispute.reminded_hours.is_(None), Dispute.reminded_hours > hours),
        )
        for dispute_id in db.session.scalars(due.order_by(Dispute.answer_by, Dispute.id).limit(_BATCH)).all():
            try:
                reminded += _remind(dispute_id)
            except Busy:
                continue
    return reminded


def _remind(dispute_id: int) -> bool:
    with transaction():
        dispute = lock_with_payment(dispute_id)
        left = dispute.answer_by - utcnow()
        hours = min((one for one in THRESHOLDS if left <= timedelta(hours=one)), default=None)
        is_told = dispute.reminded_hours is not None and hours is not None and dispute.reminded_hours <= hours
        if hours is None or is_told or left <= timedelta(0) or dispute.evidence_due_by is None:
            return False
        dispute.reminded_hours = hours
        reference = db.session.scalars(select(Booking.reference).where(Booking.id == dispute.booking_id)).one()
        for person in _finance():
            notify(
                "dispute_deadline",
                to=person.email,
                name=person.name,
                key=f"dispute_deadline:{dispute.id}:{dispute.evidence_due_by.isoformat()}:{hours}:{person.id}",
                values={
                    "reference": reference,
                    "reason": reason_in_words(dispute),
                    "amount": {"amount": dispute.amount_minor, "currency": dispute.currency},
                    "due_by": dispute.evidence_due_by.isoformat(),
                    "hours": hours,
                    "link": f"{settings().public_url.rstrip('/')}/console/disputes/{dispute.id}/",
                },
                about=dispute,
            )
        audit.record(SYSTEM, "dispute.remind", dispute, reason=f"{hours} hours left")
    return True


def _finance() -> list[User]:
    """Who is told: finance, and where there is nobody, the admins."""
    for role in ("finance", "admin"):
        holders = (
            select(User)
            .join(StaffRole, StaffRole.user_id == User.id)
            .where(StaffRole.role == role, User.is_active)
            .order_by(User.id)
        )
        if found := list(db.session.scalars(holders)):
            return found
    return []
