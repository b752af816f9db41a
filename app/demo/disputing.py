"""The disputes of a life, as Stripe would have told them: opened, answered, and decided by the bank."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

from app.audit.actor import STRIPE
from app.demo.copying import Loading, TableCopy
from app.demo.events import Events
from app.demo.ids import new_stripe_id
from app.demo.journal import Journal, change
from app.demo.people import Person
from app.demo.refunding import commission_share
from app.demo.stripe_objects import dispute_object
from app.disputes import prefill
from app.disputes.chargebacks import REASONS
from app.disputes.models import NO_ANSWER, Dispute
from app.payments.models import Payment, PaymentHold

Row = dict[str, Any]

# What Stripe takes for a dispute, in minor units: https://stripe.com/pricing
_FEE_MINOR = 1_500
_REASONS = ("fraudulent", "product_not_received", "product_unacceptable", "duplicate", "credit_not_processed")
# How long we and the banks take.
_ANSWERED_AFTER, _DECIDED_AFTER = timedelta(days=4), timedelta(days=24)
_DAYS_TO_ANSWER = 8


class Disputing:
    """Makes the disputes of one life after the other; `of_life` are those of the one that is being told."""

    def __init__(
        self, rng: random.Random, loading: Loading, journal: Journal, events: Events, midnight: datetime
    ) -> None:
        self.of_life: list[Row] = []
        self._rng = rng
        self._journal = journal
        self._events = events
        self._midnight = midnight
        self._ids: Iterator[int] = loading.ids(Dispute)
        self._disputes = TableCopy(Dispute, loading)
        self._holds = TableCopy(PaymentHold, loading, left_out=("id",))
        self._hold: Row = {}

    def send(self) -> None:
        """Copy the disputes told so far."""
        self._disputes.send()
        self._holds.send()

    def write(self) -> None:
        """Take the rows of the life that was told."""
        for dispute in self.of_life:
            self._disputes.add(dispute)
            self._holds.add(self._hold)

    def opens(self, at: datetime, booking: Row, payment: Row, person: Person, due_by: datetime | None = None) -> None:
        """The cardholder charges the payment back; it has to be answered by then."""
        opened_at = at.replace(microsecond=0)
        due_by = due_by or datetime.combine((at + timedelta(days=_DAYS_TO_ANSWER)).date(), time(23, 59, 59), UTC)
        dispute = self._row(opened_at, booking, payment, person, due_by)
        processed_at, request_id = self._told("charge.dispute.created", opened_at, payment, dispute)
        dispute |= {"created_at": processed_at, "request_id": request_id}
        subject = _subject(dispute)
        self._journal.audit(
            *(processed_at, STRIPE, "dispute.open", subject, (None, dict(dispute))), request_id=request_id
        )
        self._post(
            processed_at, payment, dispute, {"dispute.withdrawn": dispute["amount_minor"], "dispute.fee": _FEE_MINOR}
        )
        self._disputed(processed_at, payment, dispute["amount_minor"], request_id)
        self._hold = {
            "payment_id": payment["id"],
            "source": f"dispute:{dispute['id']}",
            "reason": self._why_held(dispute),
            "until": due_by,
            "placed_at": processed_at,
            "placed_by": STRIPE.label,
            **dict.fromkeys(("lifted_at", "lifted_by", "lifted_because")),
        }
        self._held(processed_at, payment, request_id)
        self._told("charge.dispute.funds_withdrawn", opened_at, payment, dispute)
        self.of_life.append(dispute)

    def is_answered(self, payment: Row) -> datetime:
        """Our evidence went to the bank; returns when."""
        dispute = self.of_life[-1]
        at = (dispute["opened_at"] + _ANSWERED_AFTER).replace(microsecond=0)
        evidence = {name: dispute[name] for name in _EVIDENCE if dispute[name]}
        told = {**dispute, "stripe_status": "under_review", "evidence_at_stripe": evidence}
        processed_at, request_id = self._told("charge.dispute.updated", at, payment, told)
        changed = change(
            Dispute,
            dispute,
            status="EVIDENCE_SUBMITTED",
            stripe_status="under_review",
            evidence_at_stripe=evidence,
            answer_by=NO_ANSWER,
            submitted_at=processed_at,
        )
        self._journal.audit(
            *(processed_at, STRIPE, "dispute.submitted", _subject(dispute), changed), request_id=request_id
        )
        self._hold |= {"reason": f"{self._why_held(dispute)}; our evidence is with the bank", "until": None}
        self._held(processed_at, payment, request_id)
        return processed_at

    def is_decided(self, payment: Row, *, won: bool) -> None:
        """The bank decides, if it has by the last midnight: for us, and the money comes back, or against us, and both
        sides bear it.
        """
        dispute = self.of_life[-1]
        at = dispute["opened_at"] + _DECIDED_AFTER * self._rng.uniform(0.7, 1.3)
        if at >= self._midnight - timedelta(hours=1):
            return
        at = at.replace(microsecond=0)
        status = "won" if won else "lost"
        told = {**dispute, "stripe_status": status}
        processed_at, request_id = self._told("charge.dispute.closed", at, payment, told)
        amount: int = dispute["amount_minor"]
        changed = change(
            Dispute,
            dispute,
            status=status.upper(),
            stripe_status=status,
            is_charge_refundable=won,
            reinstated_minor=amount if won else 0,
            closed_at=processed_at,
        )
        self._journal.audit(
            *(processed_at, STRIPE, f"dispute.{status}", _subject(dispute), changed), request_id=request_id
        )
        if won:
            self._post(processed_at, payment, dispute, {"dispute.reinstated": amount})
            self._disputed(processed_at, payment, 0, request_id)
        else:
            commission = commission_share(payment, amount)
            shares = {"dispute.lost.provider_share": amount - commission, "dispute.lost.commission": commission}
            self._post(processed_at, payment, dispute, shares)
        because = f"The dispute was {status}"
        self._hold |= {"lifted_at": processed_at, "lifted_by": STRIPE.label, "lifted_because": because}
        self._journal.audit(
            *(processed_at, STRIPE, "payment.release", (Payment.__tablename__, payment["id"])),
            (None, {"source": self._hold["source"]}),
            request_id=request_id,
            reason=because,
        )

    def _row(self, at: datetime, booking: Row, payment: Row, person: Person, due_by: datetime) -> Row:
        terms = prefill.terms_in_words(booking["policy"])
        days = prefill.days_in_words(booking["starts_on"], booking["ends_on"])
        return {
            **dict.fromkeys(("asked", "asked_by_id", "idempotency_key", "refusal", "hold_lifted_at", "reminded_hours")),
            **dict.fromkeys(("submitted_at", "closed_at", "due_at", "leased_until", "last_error")),
            **dict.fromkeys(("reinstated_minor", "fee_returned_minor", "attempts"), 0),
            "id": next(self._ids),
            "source": "CHARGEBACK",
            "status": "OPEN",
            "payment_id": payment["id"],
            "booking_id": booking["id"],
            "amount_minor": payment["amount_minor"],
            "currency": payment["currency"],
            "reason": self._rng.choice(_REASONS),
            "stripe_dispute_id": new_stripe_id(self._rng, "du", at),
            "stripe_status": "needs_response",
            "is_charge_refundable": False,
            "evidence_due_by": due_by,
            "answer_by": due_by,
            "withdrawn_minor": payment["amount_minor"],
            "fee_minor": _FEE_MINOR,
            "customer_name": person.name,
            "customer_email_address": person.email,
            "service_date": days,
            "product_description": f"{booking['package_name']}, from {days}.",
            "cancellation_policy_disclosure": terms,
            "cancellation_rebuttal": "The booking was never cancelled.",
            "refund_policy_disclosure": terms,
            "refund_refusal_explanation": "",
            "uncategorized_text": f"Receipt of booking {booking['reference']}\nBooked by {person.name}.",
            "evidence_at_stripe": {},
            "opened_at": at,
            "created_at": at,
            "request_id": None,
        }

    def _told(self, kind: str, at: datetime, payment: Row, dispute: Row) -> tuple[datetime, str]:
        return self._events.told(kind, at, payment, dispute_object(dispute, payment))

    def _post(self, at: datetime, payment: Row, dispute: Row, amounts: dict[str, int]) -> None:
        self._journal.post(at, payment, amounts, source_id=dispute["stripe_dispute_id"])

    def _disputed(self, at: datetime, payment: Row, minor: int, request_id: str) -> None:
        changed = change(Payment, payment, disputed_minor=minor)
        subject = (Payment.__tablename__, payment["id"])
        self._journal.audit(at, STRIPE, "payment.disputed", subject, changed, request_id=request_id)

    def _held(self, at: datetime, payment: Row, request_id: str) -> None:
        after = {"source": self._hold["source"], "until": self._hold["until"]}
        self._journal.audit(
            *(at, STRIPE, "payment.hold", (Payment.__tablename__, payment["id"]), (None, after)),
            request_id=request_id,
            reason=self._hold["reason"],
        )

    @staticmethod
    def _why_held(dispute: Row) -> str:
        return f"The cardholder has charged it back ({REASONS[dispute['reason']]})"


_EVIDENCE = (
    *("customer_name", "customer_email_address", "service_date", "product_description", "uncategorized_text"),
    *("cancellation_policy_disclosure", "cancellation_rebuttal", "refund_policy_disclosure"),
)


def _subject(dispute: Row) -> tuple[str, int]:
    return Dispute.__tablename__, dispute["id"]
