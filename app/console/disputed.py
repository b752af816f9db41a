"""What the pages of a booking and of a payment say of disputes: each one, and what holds the payment."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from app.console import session
from app.console.record import Fact, Group
from app.disputes.models import Dispute
from app.extensions import db
from app.money import Money
from app.payments import holds

_MAY_READ = ("support", "finance", "admin")


def groups(payment_ids: Sequence[int]) -> list[Group]:
    """The disputes over these payments and their holds, as facts; none where there are none."""
    may_read = session.actor().has(_MAY_READ)
    found = db.session.scalars(select(Dispute).where(Dispute.payment_id.in_(payment_ids)).order_by(Dispute.id))
    disputes = [
        Group(
            "Dispute",
            (
                Fact("State", dispute.status, "chip"),
                Fact("Amount", Money(dispute.amount_minor, dispute.currency).json(), "money"),
                Fact("Answer due", dispute.evidence_due_by if dispute.needs_response else None, "time"),
                *([Fact("Dispute", "Open it", href=f"/console/disputes/{dispute.id}/")] if may_read else []),
            ),
        )
        for dispute in found
    ]
    held = [Fact("Refunds", hold.words) for payment_id in payment_ids for hold in holds.of(payment_id)]
    return [*disputes, *([Group("On hold", held)] if held else [])]
