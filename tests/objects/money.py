"""Payments, refunds, disputes, the books, and what Stripe tells of them."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import uuid4

from sqlalchemy import select

from app.audit.actor import Actor
from app.bookings.models import Booking
from app.db import transaction
from app.disputes import evidence
from app.disputes.models import Dispute
from app.errors import Unavailable
from app.extensions import db
from app.payments import inbox, refund_approval, refunds
from app.payments import service as payments
from app.payments.models import LedgerEntry, WebhookEvent
from app.queue import MAX_ATTEMPTS
from app.reports import differences
from tests import factories
from tests.disputes.disputing import disputed
from tests.objects.asked import NOT_THERE, Asked, last_entry
from tests.objects.bookings import booking
from tests.reports import days as reconciled_days


def payment(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"payment_id": NOT_THERE})
    found = payments.live_payment(factories.paid_booking(by=owner).id)
    assert found is not None
    return Asked({"payment_id": found.id})


def dispute(owner: Actor | None) -> Asked:
    return Asked({"dispute_id": _disputed(owner).id if owner else NOT_THERE})


def inquiry(owner: Actor | None) -> Asked:
    found = _disputed(owner, case_type="inquiry").id if owner else NOT_THERE
    return Asked({"dispute_id": found}, {"reason": "The guest is right"})


def evidence_of_it(owner: Actor | None) -> Asked:
    found = _disputed(owner).id if owner else NOT_THERE
    return Asked({"dispute_id": found}, {"seen": "0", "product_description": "A room with a view"})


def staged_dispute(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"dispute_id": NOT_THERE})
    found = _disputed(owner)
    evidence.stage(found.id, {}, seen=0, by=_finance())
    evidence.send(found.id)
    return Asked({"dispute_id": found.id}, {"typed": factories.reread(_booking_of(found)).reference})


def accepted_dispute(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"dispute_id": NOT_THERE})
    found = _disputed(owner)
    return Asked({"dispute_id": found.id}, {"reason": "They are right", "typed": _booking_of(found).reference})


def _disputed(owner: Actor, **values: Any) -> Dispute:
    found = payments.live_payment(factories.paid_booking(by=owner).id)
    assert found is not None
    return disputed(found, **values)


def _booking_of(found: Dispute) -> Booking:
    return db.session.get_one(Booking, found.booking_id)


def _finance() -> Actor:
    return factories.actor(factories.staff("finance"))


def open_refund(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"row_id": NOT_THERE})
    by = factories.actor(factories.staff("support"))
    paid = payment(owner).args["payment_id"]
    return Asked({"row_id": refunds.request(paid, amount_minor=100, reason="fraud", key=uuid4().hex, by=by).id})


def approved_refund(owner: Actor | None) -> Asked:
    asked = open_refund(owner)
    return Asked({**asked.args, "decision": "approve"}, {"seen": str(last_entry("refunds", asked.args["row_id"]))})


def approved_refunds(owner: Actor | None) -> Asked:
    return Asked({}, {"decision": "approve", "id": str(open_refund(owner).args["row_id"])})


def many_bookings(owner: Actor | None) -> Asked:
    picked = booking(owner).args["booking_id"]
    return Asked({}, {"decision": "refund", "id": str(picked), "asked": "yes", "reason": "provider_failed"})


def refund_limit(owner: Actor | None) -> Asked:
    limit = refund_approval.limits()[0]
    return Asked(
        {"limit_id": limit.id if owner else NOT_THERE}, {"amount": limit.amount_minor // 100, "reason": "Same"}
    )


def wanted_refund(owner: Actor | None) -> Asked:
    return Asked(payment(owner).args, {"amount": "1.00", "kind": "standard", "reason": "fraud", "key": uuid4().hex})


def paid_stay(owner: Actor | None) -> Asked:
    booking_id = factories.paid_booking(by=owner).id if owner else NOT_THERE
    return Asked({"booking_id": booking_id}, {"amount": 100, "reason": "stay_problem"})


def ledger_entry(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"entry_id": NOT_THERE})
    paid = factories.paid_booking(by=owner)
    return Asked({"entry_id": db.session.scalar(select(LedgerEntry.id).where(LedgerEntry.booking_id == paid.id))})


def ledger_account(owner: Actor | None) -> Asked:
    if owner:
        factories.paid_booking()
    return Asked({"code": "provider_payable" if owner else "petty_cash"})


def paid_provider(owner: Actor | None) -> Asked:
    return Asked({"provider_id": factories.paid_booking(by=owner).provider_id if owner else NOT_THERE})


def done_event(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"event_id": NOT_THERE})
    told = factories.event("customer.created", {"id": "cus_1", "object": "customer"})
    assert inbox.receive(told)
    event_id = db.session.scalar(select(WebhookEvent.id).where(WebhookEvent.stripe_event_id == told["id"]))
    assert event_id is not None
    inbox.apply(event_id, None)
    return Asked({"event_id": event_id})


def failed_event(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"row_id": NOT_THERE})
    told = factories.event("customer.created", {"id": "cus_1", "object": "customer"})
    assert inbox.receive(told)
    with transaction():
        event = db.session.scalars(select(WebhookEvent).where(WebhookEvent.stripe_event_id == told["id"])).one()
        event.attempts = MAX_ATTEMPTS - 1
    inbox.note_failure(event.id, Unavailable("Stripe can't be reached."))
    return Asked({"row_id": event.id})


def replayed(owner: Actor | None) -> Asked:
    asked = failed_event(owner)
    seen = last_entry("webhook_events", asked.args["row_id"])
    return Asked({**asked.args, "decision": "replay"}, {"seen": str(seen)})


def replayed_many(owner: Actor | None) -> Asked:
    return Asked({}, {"decision": "replay", "id": str(failed_event(owner).args["row_id"])})


def past_day(owner: Actor | None) -> Asked:
    return Asked({}, {"day": str(reconciled_days.a_day()) if owner else "1999-12-31"})


_MONTHS = count()


def past_month(owner: Actor | None) -> Asked:
    # Another one each time: the days of the last are being compared.
    number = next(_MONTHS)
    return Asked({}, {"month": f"{2011 + number // 12}-{number % 12 + 1:02}" if owner else "1999-12"})


def reconciled_day(owner: Actor | None) -> Asked:
    return Asked({"day_id": reconciled_days.reconciled(reconciled_days.a_day()).id if owner else NOT_THERE})


def open_difference(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"difference_id": NOT_THERE})
    day = reconciled_days.a_day()
    reconciled_days.paid(day)
    reconciled_days.reconciled(day)
    return Asked({"difference_id": reconciled_days.differences(day)[0].id}, {"reason": "Its event never came"})


def explained_difference(owner: Actor | None) -> Asked:
    asked = open_difference(owner)
    if owner:
        differences.explain(asked.args["difference_id"], "Known", by=reconciled_days.finance())
    return asked


def drawn(owner: Actor | None) -> Asked:
    return Asked({"chart": "gross" if owner else "nothing"})


MONEY = (
    payment,
    dispute,
    inquiry,
    evidence_of_it,
    staged_dispute,
    accepted_dispute,
    open_refund,
    approved_refund,
    approved_refunds,
    many_bookings,
    refund_limit,
    wanted_refund,
    paid_stay,
    ledger_entry,
    ledger_account,
    paid_provider,
    done_event,
    failed_event,
    replayed,
    replayed_many,
    past_day,
    past_month,
    reconciled_day,
    open_difference,
    explained_difference,
    drawn,
)
