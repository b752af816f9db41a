"""One object of each kind that routes are about: made for its owner, or asked for although it is not there."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from sqlalchemy import func, select, text

from app.accounts import links, saved_views, sessions, staff, tokens
from app.accounts.models import User
from app.audit.actor import SYSTEM, Actor
from app.audit.models import AuditEntry
from app.bookings.models import Booking
from app.bulk import exporting, work
from app.bulk import service as bulk
from app.bulk.models import Bulk
from app.catalog import cancellation_policies, checklist, day_changes
from app.catalog.day_changes import DayChange
from app.catalog.import_mapping import ImportMapping
from app.catalog.models import Provider
from app.db import transaction
from app.disputes import evidence
from app.disputes.models import Dispute
from app.errors import Unavailable
from app.extensions import db
from app.imports import mappings
from app.notifications import service as notifications
from app.payments import inbox, refund_approval, refunds
from app.payments import service as payments
from app.payments.models import LedgerEntry, WebhookEvent
from app.queue import MAX_ATTEMPTS
from app.reports import differences
from app.reviews.models import Review
from tests import factories
from tests.accounts.codes import set_up
from tests.bulk.runs import Waiting
from tests.disputes.disputing import disputed
from tests.imports.files import COLUMNS, DEFAULTS, HEADER, Catalogue, nobody_imports
from tests.notifications.conftest import a_mail
from tests.reports import days as reconciled_days

NOT_THERE = 2**62


@dataclass(frozen=True)
class Asked:
    """What a request is about: the parts of its address, and what it sends, by GET in its query."""

    args: dict[str, Any]
    body: dict[str, Any] | None = None


# Each is made for its owner; without one, it is asked for but isn't there.


def booking(owner: Actor | None) -> Asked:
    return Asked({"booking_id": factories.booking(by=owner).id if owner else NOT_THERE})


def cancellation(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"booking_id": NOT_THERE, "on_behalf_of": "support"})
    held = factories.booking(by=owner)
    about = {"booking_id": held.id, "on_behalf_of": "support"}
    return Asked(about, {"reason": "Looks like fraud", "typed": held.reference})


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


def audit_entry(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"entry_id": NOT_THERE})
    made = factories.booking(by=owner)
    about = (AuditEntry.object_type == "bookings", AuditEntry.object_id == made.id)
    return Asked({"entry_id": db.session.scalar(select(AuditEntry.id).where(*about))})


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


def sent_mail(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"mail_id": NOT_THERE})
    mail = a_mail()
    notifications.send(mail.id)
    return Asked({"mail_id": mail.id})


def kind_of_mail(owner: Actor | None) -> Asked:
    return Asked({"kind": "hold_expired" if owner else "weather"})


def intent(owner: Actor | None) -> Asked:
    wanted = factories.intent_of(factories.booking(by=owner)).id if owner else "pi_nothing_like_this"
    return Asked({"intent_id": wanted}, {"payment_method": "pm_card_visa"})


def typed(owner: Actor | None) -> Asked:
    return Asked({}, {"q": "oslo"})


def package(owner: Actor | None) -> Asked:
    return Asked({"package_id": factories.package().id if owner else NOT_THERE})


def draft(owner: Actor | None) -> Asked:
    return Asked({"package_id": factories.package(status="DRAFT", days=1).id if owner else NOT_THERE})


def on_sale(owner: Actor | None) -> Asked:
    return Asked(package(owner).args, {"reason": "Closed for good"})


def days(owner: Actor | None) -> Asked:
    day = factories.tomorrow().isoformat()
    return Asked(package(owner).args, {"first": day, "last": day, "price": "90"})


def changed_days(owner: Actor | None) -> Asked:
    day = factories.tomorrow()
    change = DayChange(first=day, last=day, price_minor=9_000)
    about = package(owner).args
    admin = Actor("staff", None, "Anybody", frozenset({"admin"}))
    version = day_changes.preview(about["package_id"], change, by=admin).version if owner else ""
    return Asked(about, {"first": day.isoformat(), "last": day.isoformat(), "price": "90", "version": version})


def edited_package(owner: Actor | None) -> Asked:
    return Asked(package(owner).args, {"seen": "0", "name": "Another name"})


def edited_provider(owner: Actor | None) -> Asked:
    return Asked(provider(owner).args, {"seen": "0", "name": "Another name"})


def edited_person(owner: Actor | None) -> Asked:
    return Asked(person(owner).args, {"seen": "0", "name": "Another Name", "reason": "Married"})


def edited_colleague(owner: Actor | None) -> Asked:
    return Asked(colleague(owner).args, {"seen": "0", "name": "Another Name", "reason": "Married"})


def policy(owner: Actor | None) -> Asked:
    return Asked({"policy_id": factories.policy().id if owner else NOT_THERE})


def new_policy(owner: Actor | None) -> Asked:
    code = f"policy-{uuid4().hex[:10]}"
    return Asked({}, {"name": code, "code": code, "days-1": "3", "percent-1": "80"})


def edited_policy(owner: Actor | None) -> Asked:
    name = f"Policy {uuid4().hex[:10]}"
    return Asked(policy(owner).args, {"name": name, "days-1": "3", "percent-1": "80", "seen": "1"})


def retired_policy(owner: Actor | None) -> Asked:
    return Asked(policy(owner).args, {"reason": "Made by mistake"})


def policy_again(owner: Actor | None) -> Asked:
    asked = policy(owner)
    if owner:
        cancellation_policies.retire(asked.args["policy_id"], by=factories.admin(), reason="Made by mistake")
    return asked


def ledger_account(owner: Actor | None) -> Asked:
    if owner:
        factories.paid_booking()
    return Asked({"code": "provider_payable" if owner else "petty_cash"})


def paid_provider(owner: Actor | None) -> Asked:
    return Asked({"provider_id": factories.paid_booking(by=owner).provider_id if owner else NOT_THERE})


def provider(owner: Actor | None) -> Asked:
    return Asked({"provider_id": factories.provider().id if owner else NOT_THERE})


def suspension(owner: Actor | None) -> Asked:
    return Asked({**provider(owner).args, "decision": "suspend"}, {"reason": "Complaints of travellers"})


def new_provider(owner: Actor | None) -> Asked:
    return Asked({"row_id": factories.complete(factories.provider(status="PENDING")).id if owner else NOT_THERE})


def open_item(owner: Actor | None) -> Asked:
    provider_id = factories.provider(status="PENDING").id if owner else NOT_THERE
    return Asked({"provider_id": provider_id, "item": "legal_name", "decision": "accept"})


def paper(owner: Actor | None) -> Asked:
    about = {"provider_id": shown_its_name().id if owner else NOT_THERE, "item": "proof_of_registration"}
    return Asked(about, {"file": (factories.pdf(), "extract.pdf")})


def kept_paper(owner: Actor | None) -> Asked:
    document = factories.document(shown_its_name()) if owner else None
    provider_id, document_id = (document.provider_id, document.id) if document else (NOT_THERE, NOT_THERE)
    return Asked({"provider_id": provider_id, "document_id": document_id}, {"reason": "Added by mistake"})


def shown_its_name() -> Provider:
    """A provider whose next item on the checklist needs a document."""
    waiting = factories.provider(status="PENDING")
    checklist.accept(waiting.id, "legal_name", document_id=None, by=factories.admin())
    return waiting


def verified(owner: Actor | None) -> Asked:
    args = {**new_provider(owner).args, "decision": "verify"}
    return Asked(args, {"seen": "0", "reason": "Papers and bank account checked"})


def verified_many(owner: Actor | None) -> Asked:
    return Asked({}, {"decision": "verify", "id": str(new_provider(owner).args["row_id"])})


def open_review(owner: Actor | None) -> Asked:
    return Asked({"row_id": factories.review().id if owner else NOT_THERE})


def approval(owner: Actor | None) -> Asked:
    asked = open_review(owner)
    return Asked({**asked.args, "decision": "approve"}, {"seen": str(last_entry("reviews", asked.args["row_id"]))})


def approvals(owner: Actor | None) -> Asked:
    return Asked({}, {"decision": "approve", "id": str(open_review(owner).args["row_id"])})


def last_entry(table: str, row_id: int) -> int:
    """The newest entry of a row's history."""
    about = (AuditEntry.object_type == table, AuditEntry.object_id == row_id)
    return db.session.scalar(select(func.max(AuditEntry.id)).where(*about)) or 0


def person(owner: Actor | None) -> Asked:
    return Asked({"user_id": factories.traveller().id if owner else NOT_THERE})


def view_to_save(owner: Actor | None) -> Asked:
    return Asked({}, {"page": "bookings" if owner else "nothing", "name": "Held", "query": "status=PENDING_PAYMENT"})


def saved_view(owner: Actor | None) -> Asked:
    kept = saved_views.save("bookings", f"View {uuid4().hex}", "", by=owner) if owner else None
    return Asked({"view_id": kept.id if kept else NOT_THERE})


def noted(owner: Actor | None) -> Asked:
    return Asked(booking(owner).args, {"note": "Asked for a quiet room"})


def ended_stay(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"booking_id": NOT_THERE}, {"reason": "Traveller has left"})
    paid = factories.paid_booking(by=owner)
    with transaction():
        ended = "UPDATE bookings SET starts_on = current_date - 9, ends_on = current_date - 7 WHERE id = :id"
        db.session.execute(text(ended), {"id": paid.id})
    return Asked({"booking_id": paid.id}, {"reason": "Traveller has left", "typed": paid.reference})


def stay(owner: Actor | None) -> Asked:
    first = factories.tomorrow()
    return Asked(
        {},
        {
            "packageId": package(owner).args["package_id"],
            "checkIn": first.isoformat(),
            "checkOut": (first + timedelta(days=1)).isoformat(),
            "units": 1,
            "guests": 1,
        },
    )


def stayed(owner: Actor | None) -> Asked:
    booking_id = factories.completed_booking(by=owner).id if owner else NOT_THERE
    return Asked({}, {"bookingId": booking_id, "rating": 4, "title": "Would come back", "content": "Quiet at night."})


def waiting_review(owner: Actor | None) -> Asked:
    return Asked({"review_id": factories.review().id if owner else NOT_THERE}, {"decision": "approve"})


def drawn(owner: Actor | None) -> Asked:
    return Asked({"chart": "gross" if owner else "nothing"})


def style(owner: Actor | None) -> Asked:
    return Asked({"filename": "console.css" if owner else "nothing.css"})


def admin_style(owner: Actor | None) -> Asked:
    return Asked({"filename": "admin/css/bootstrap4/admin.css" if owner else "nothing.css"})


def wrong_login(owner: Actor | None) -> Asked:
    return Asked({}, {"email": f"{uuid4().hex}@example.org", "password": factories.PASSWORD})


def new_person(owner: Actor | None) -> Asked:
    return Asked({}, {"email": f"{uuid4().hex}@example.org", "name": "New", "password": factories.PASSWORD})


def refresh_token(owner: Actor | None) -> Asked:
    token = tokens.issue(factories.traveller()).refresh_token if owner else "nothing-like-this"
    return Asked({}, {"refreshToken": token})


def mailed(purpose: str, owner: Actor | None) -> str:
    """The token of a link that was mailed to somebody."""
    if owner is None:
        return "nothing-like-this"
    person = staff.invite(email=f"{uuid4().hex}@example.org", name="Invited", roles=["support"], by=SYSTEM)
    with transaction():
        return links.make(person, purpose).rsplit("/", 1)[1]


def reset_link(owner: Actor | None) -> Asked:
    return Asked({"token": mailed("password_reset", owner)}, {"password": factories.PASSWORD})


def invitation(owner: Actor | None) -> Asked:
    return Asked({"token": mailed("staff_invitation", owner)}, {"password": factories.PASSWORD})


def verify_link(owner: Actor | None) -> Asked:
    return Asked({"token": mailed("verify_email", owner)})


def forgotten(owner: Actor | None) -> Asked:
    return Asked({}, {"email": f"{uuid4().hex}@example.org"})


def reset_token(owner: Actor | None) -> Asked:
    return Asked({}, {"token": mailed("password_reset", owner), "password": factories.PASSWORD})


def verify_token(owner: Actor | None) -> Asked:
    return Asked({}, {"token": mailed("verify_email", owner)})


def session(owner: Actor | None) -> Asked:
    if owner is None or owner.id is None:
        return Asked({"session_id": NOT_THERE})
    person = db.session.get_one(User, owner.id)
    who = person if person.roles else factories.staff()
    return Asked({"session_id": opened(who)})


def opened(person: User) -> int:
    _, token = sessions.sign_in(email=person.email, password=factories.PASSWORD, address=None, user_agent=None)
    found = sessions.find(token)
    assert found is not None
    return found.id


def their_session(owner: Actor | None) -> Asked:
    person = factories.staff()
    return Asked({"person_id": person.id, "session_id": opened(person) if owner else NOT_THERE})


def colleague(owner: Actor | None) -> Asked:
    return Asked(
        {"person_id": factories.staff().id if owner else NOT_THERE}, {"reason": "Because", "roles": ["moderator"]}
    )


def former(owner: Actor | None) -> Asked:
    asked = colleague(owner)
    if owner:
        staff.deactivate(asked.args["person_id"], reason="Left", by=SYSTEM)
    return asked


def guarded_one(owner: Actor | None) -> Asked:
    asked = colleague(owner)
    if owner is None:
        return asked
    person = db.session.get_one(User, asked.args["person_id"])
    set_up(person)
    return Asked(asked.args, {"reason": "Lost it", "typed": person.email})


def invited_one(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"person_id": NOT_THERE})
    person = staff.invite(email=f"{uuid4().hex}@example.org", name="Invited", roles=["support"], by=SYSTEM)
    return Asked({"person_id": person.id})


def new_colleague(owner: Actor | None) -> Asked:
    return Asked({}, {"email": f"{uuid4().hex}@example.org", "name": "New", "roles": ["support"]})


def bulk_run(owner: Actor | None) -> Asked:
    return Asked({"bulk_id": prepared(owner).id if owner else NOT_THERE})


def prepared(owner: Actor) -> Bulk:
    """Asked for by somebody who was a moderator then."""
    return bulk.freeze("reviews.approve", Waiting(2).ids, by=_moderator(owner.id))


def running_run(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"bulk_id": NOT_THERE})
    run = prepared(owner)
    bulk.start(run.id, by=_moderator(owner.id))
    return Asked({"bulk_id": run.id})


def done_run(owner: Actor | None) -> Asked:
    asked = running_run(owner)
    if owner:
        # Whoever may not do it any more, and the traveller, have somebody's help.
        with patch.object(work, "_who_works", lambda run: (_moderator(run.by_id), "")):
            work.go_on(asked.args["bulk_id"])
    return asked


def done_export(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"bulk_id": NOT_THERE})
    place = func.row_number().over(order_by=Review.id).label("place")
    listed = select(Review.id.label("id"), place).where(Review.id.in_(Waiting(2).ids))
    run = exporting.ask("reviews", listed, by=_moderator(owner.id))
    bulk.start(run.id, by=_moderator(owner.id))
    with patch.object(work, "_who_works", lambda run: (_moderator(run.by_id), "")):
        work.go_on(run.id)
    return Asked({"bulk_id": run.id})


def on_a_list(make: Callable[[Actor | None], Asked]) -> Callable[[Actor | None], Asked]:
    """A list with one of these on it, which is there whoever asks."""

    def listed(owner: Actor | None) -> Asked:
        make(owner or factories.actor())
        return Asked({})

    listed.__name__ = f"list_of_{make.__name__}"
    return listed


def _moderator(person_id: int | None) -> Actor:
    return Actor("staff", person_id, "Somebody", frozenset({"moderator"}))


def stopped_run(owner: Actor | None) -> Asked:
    asked = running_run(owner)
    if owner:
        bulk.cancel(asked.args["bulk_id"], by=owner)
    return asked


def catalogue(owner: Actor | None) -> Asked:
    return Asked({}, {"file": (io.BytesIO(Catalogue().content), "oslo.csv")} if owner else {})


def new_import(owner: Actor | None) -> Asked:
    return Asked({"import_id": Catalogue().upload(_admin()).id if owner else NOT_THERE})


def chosen_columns(owner: Actor | None) -> Asked:
    columns = {f"column-{field}": str(HEADER.split(",").index(heading)) for field, heading in COLUMNS.items()}
    defaults = {f"default-{field}": value for field, value in DEFAULTS.items()}
    return Asked(new_import(owner).args, {**columns, **defaults, "currency": "NOK", "rate": "0.1"})


def checked_import(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"import_id": NOT_THERE})
    nobody_imports()
    return Asked({"import_id": Catalogue(good=2, bad=1).checked(_admin()).id})


def kept_columns(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"mapping_id": NOT_THERE})
    mapping = ImportMapping.checked(COLUMNS, DEFAULTS)
    kept = mappings.keep(f"Oslo {uuid4().hex}", mapping, currency="NOK", rate=Decimal("0.1"), by=_admin())
    return Asked({"mapping_id": kept.id})


def _admin() -> Actor:
    return factories.actor(factories.staff("admin"))


OBJECTS: dict[str, Callable[[Actor | None], Asked]] = {
    make.__name__: make
    for make in (
        *(booking, cancellation, payment, ledger_entry, audit_entry, done_event, sent_mail, kind_of_mail),
        *(
            intent,
            typed,
            package,
            stay,
            draft,
            on_sale,
            days,
            changed_days,
            provider,
            suspension,
            person,
            noted,
            ended_stay,
        ),
        *(open_item, paper, kept_paper, drawn),
        *(dispute, inquiry, evidence_of_it, staged_dispute, accepted_dispute),
        *(open_refund, approved_refund, approved_refunds, many_bookings, wanted_refund, refund_limit, paid_stay),
        *(failed_event, replayed, replayed_many),
        *(policy, new_policy, edited_policy, retired_policy, policy_again, ledger_account, paid_provider),
        *(past_day, past_month, reconciled_day, open_difference, explained_difference),
        *(edited_package, edited_provider, edited_person, edited_colleague),
        *(stayed, waiting_review, open_review, approval, approvals, new_provider, verified, verified_many),
        *(view_to_save, saved_view),
        *(style, admin_style, wrong_login, new_person, refresh_token),
        *(reset_link, invitation, verify_link, forgotten, reset_token, verify_token, session, their_session),
        *(colleague, former, guarded_one, invited_one, new_colleague),
        *(bulk_run, running_run, done_run, stopped_run, done_export),
        *map(on_a_list, (booking, open_review, new_provider, provider, package, person, colleague, payment)),
        *map(on_a_list, (dispute, open_refund, ledger_entry, done_event, audit_entry, sent_mail)),
        *map(on_a_list, (reconciled_day, failed_event, policy)),
        *(catalogue, new_import, chosen_columns, checked_import, kept_columns),
    )
}
