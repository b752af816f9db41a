"""/console/disputes/: what travellers' banks dispute, by the time left to answer, and what is said against it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from flask_admin import expose
from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import defer
from werkzeug.wrappers import Response

from app.audit import trail
from app.bookings.models import Booking
from app.bookings.story import TITLES as STORY_TITLES
from app.console import confirmation, edit_forms, session
from app.console.base import FINANCE, Column, Filter, RecordView, done, find, line, reason_given
from app.console.bookings import booking_href
from app.console.edit_forms import Answer, EditForm, Input
from app.console.formatting import status_label
from app.console.ordering import Order, Sort
from app.console.payments import ENTRY_COLUMNS, EVENT_COLUMNS, entry_lines, event_line, payment_href, references_of
from app.console.record import Action, Blocked, Fact, Group, Phrase, Record
from app.db import utcnow
from app.disputes import chargebacks, evidence
from app.disputes.models import NO_ANSWER, UNDECIDED, Dispute
from app.disputes.reminders import THRESHOLDS
from app.extensions import db
from app.money import Money, written
from app.payments import holds
from app.payments.models import LedgerEntry, Payment, WebhookEvent

# What an audit entry is called, its icon and tone.
TITLES: dict[str, trail.Title] = {
    **STORY_TITLES,
    "dispute.open": ("Disputed", "state", "warn"),
    "dispute.update": ("Changed at Stripe", "state", None),
    "dispute.escalate": ("Became a chargeback", "state", "bad"),
    "dispute.stage": ("Evidence written", "note", None),
    "dispute.answered": ("Stripe has taken it", "state", None),
    "dispute.refused": ("Stripe refused", "state", "bad"),
    "dispute.submit": ("Evidence to be submitted", "note", None),
    "dispute.submitted": ("Evidence submitted to the bank", "state", "good"),
    "dispute.accept": ("To be accepted", "note", "warn"),
    "dispute.won": ("Won", "state", "good"),
    "dispute.lost": ("Lost", "state", "bad"),
    "dispute.withdrawn": ("Inquiry closed", "state", "good"),
    "dispute.lift_hold": ("Hold lifted", "state", "warn"),
    "dispute.remind": ("Finance reminded", "mail", None),
    "payment.hold": ("Payment held", "payment", "warn"),
    "payment.release": ("Payment no longer held", "payment", None),
    "payment.disputed": ("Disputed amount changed", "payment", None),
}

_INPUTS = {
    "The customer and the stay": (
        Input("customer_name", "Name of the customer", is_optional=True, most=evidence.MOST["customer_name"]),
        Input(
            "customer_email_address",
            "E-mail of the customer",
            "email",
            is_optional=True,
            most=evidence.MOST["customer_email_address"],
        ),
        Input("service_date", "Days of the stay", is_optional=True, most=evidence.MOST["service_date"]),
        Input("product_description", "What was sold", "text", is_optional=True, most=15_000),
    ),
    "The terms": (
        Input(
            "cancellation_policy_disclosure",
            "How the customer was told the cancellation policy",
            "text",
            is_optional=True,
            most=15_000,
        ),
        Input("cancellation_rebuttal", "Why it was not cancelled in time", "text", is_optional=True, most=15_000),
        Input(
            "refund_policy_disclosure",
            "How the customer was told the refund policy",
            "text",
            is_optional=True,
            most=15_000,
        ),
        Input("refund_refusal_explanation", "Why no refund is due", "text", is_optional=True, most=15_000),
    ),
    "Receipt and anything else": (
        Input("uncategorized_text", "Receipt, messages, and what else helps", "text", is_optional=True, most=15_000),
    ),
}
_LABELS = {shown.name: shown.label for group in _INPUTS.values() for shown in group}
_ORDER = {name: place for place, name in enumerate(_LABELS)}


def due_soon() -> ColumnElement[bool]:
    """Which disputes have to be answered before the first reminder's time is over."""
    return Dispute.answer_by < utcnow() + timedelta(hours=max(THRESHOLDS))


def _reference_of(dispute_id: int) -> str:
    dispute = find(Dispute, dispute_id, "dispute")
    return db.session.get_one(Booking, dispute.booking_id).reference


class DisputesView(RecordView):
    """Disputes: finance answers chargebacks, support reads them."""

    roles = FINANCE | {"support"}
    icon = "scale"
    model = Dispute
    title = "Disputes"
    exported_as = "disputes"
    intro = "What has to be answered comes first, the least time left on top."
    search_hint = "Booking reference or Stripe id"
    empty_hint = "The first one shows here when a traveller's bank disputes a payment."
    columns = (
        Column("booking", "Booking", "link"),
        Column("status", "State", "chip"),
        Column("answer_by", "Answer due", "time", sort=Sort(Dispute.answer_by)),
        Column("evidence", "Evidence", "chip"),
        Column("reason", "Reason"),
        Column("amount", "Amount", "money", "right"),
        Column("at_stripe", "Dispute", "mono"),
        Column("opened_at", "Opened", "time", "right"),
    )
    filters = (
        Filter("status", "State", {status: status_label(status) for status in Dispute.MOVES}),
        Filter("source", "From", {"CHARGEBACK": "The bank", "GUEST": "The guest"}),
        Filter("due", "Answer", {"soon": "Due within 3 days"}, where=lambda _: due_soon()),
    )

    def search(self, query: Select[Any], words: str) -> Select[Any]:
        """By whole booking reference, or the id of a dispute, intent or charge at Stripe."""
        return query.where(
            or_(
                Dispute.stripe_dispute_id == words,
                Dispute.booking_id.in_(select(Booking.id).where(Booking.reference == words.upper())),
                Dispute.payment_id.in_(
                    select(Payment.id).where(
                        or_(Payment.stripe_payment_intent_id == words, Payment.stripe_charge_id == words)
                    )
                ),
            )
        )

    def lines(self, rows: Sequence[Dispute]) -> list[dict[str, Any]]:
        """One page's disputes with the references of their bookings."""
        references = references_of(row.booking_id for row in rows)
        return [
            line(
                dispute_href(row.id),
                booking=references[row.booking_id],
                status=row.status,
                answer_by=row.answer_by if row.answer_by < NO_ANSWER else None,
                evidence=evidence_state(row) if row.submitted_at or row.status in UNDECIDED else None,
                reason=chargebacks.reason_in_words(row).capitalize(),
                amount=Money(row.amount_minor, row.currency).json(),
                at_stripe=row.stripe_dispute_id,
                opened_at=row.opened_at,
            )
            for row in rows
        ]

    def _order(self) -> tuple[Order, Column | None]:
        """The least time left first, until another order is asked for."""
        if self._sort_asked():
            return super()._order()
        by_time_left = next(column for column in self.columns if column.key == "answer_by")
        return Order(Dispute.__table__.c.id, by_time_left.sort, descending=False), by_time_left

    @expose("/<int:dispute_id>/")  # type: ignore[untyped-decorator]
    def show(self, dispute_id: int) -> str:
        """One dispute."""
        dispute = find(Dispute, dispute_id, "dispute")
        booking = db.session.get_one(Booking, dispute.booking_id)
        payment = db.session.get_one(Payment, dispute.payment_id)
        sees_money = session.actor().has(FINANCE)
        actions, blocked = _actions(dispute, booking.reference)
        # Borne anew, its number stands behind the dispute's id.
        entries = select(LedgerEntry).where(
            LedgerEntry.payment_id == payment.id,
            func.split_part(LedgerEntry.source_id, ".", 1) == dispute.stripe_dispute_id,
        )
        events = (
            select(WebhookEvent)
            .where(
                WebhookEvent.stripe_payment_intent_id == payment.stripe_payment_intent_id,
                WebhookEvent.object_id == dispute.stripe_dispute_id,
            )
            .options(defer(WebhookEvent.payload))
        )
        return self.render_record(
            Record(
                title=f"Dispute over {booking.reference}",
                about=dispute,
                titles=TITLES,
                status=dispute.status,
                deadline=("answer due", dispute.answer_by) if dispute.answer_by < NO_ANSWER else None,
                sub=(
                    Phrase("for", booking.reference, href=booking_href(booking.id)),
                    Phrase(text=booking.package_name),
                    Phrase("opened", at=dispute.opened_at),
                ),
                actions=actions,
                blocked=blocked,
                statement=_statement(dispute),
                facts=_facts(dispute, payment, sees_money=sees_money),
                timeline=list(
                    trail.moments(
                        {"disputes": [dispute.id], "payments": [payment.id]}, titles=TITLES, currency=dispute.currency
                    )
                ),
            ),
            "console/disputes/show.html",
            evidence=_evidence(dispute),
            sees_money=sees_money,
            entry_columns=ENTRY_COLUMNS,
            entries=entry_lines(db.session.scalars(entries.order_by(LedgerEntry.id)).all()) if sees_money else [],
            event_columns=EVENT_COLUMNS,
            events=[event_line(event) for event in db.session.scalars(events.order_by(WebhookEvent.id))]
            if sees_money
            else [],
        )

    @expose("/<int:dispute_id>/evidence", methods=["GET", "POST"])  # type: ignore[untyped-decorator]
    def write(self, dispute_id: int) -> Answer:
        """What is said against it; saving stages it at Stripe."""
        dispute = find(Dispute, dispute_id, "dispute")
        booking = db.session.get_one(Booking, dispute.booking_id)
        form = EditForm(
            row=dispute,
            name=f"evidence for {booking.reference}",
            intro=(
                "Filled in from the booking, its policy and its receipt. Saving stages it at Stripe; the bank sees"
                " nothing of it until somebody submits it."
            ),
            back=dispute_href(dispute.id),
            back_label=f"Dispute over {booking.reference}",
            fields=evidence.FIELDS,
            groups=_INPUTS,
            save=partial(evidence.stage, dispute.id),
        )
        return edit_forms.serve(self, form, chargebacks.MAY_ACT)

    @expose("/<int:dispute_id>/submit", methods=["POST"])  # type: ignore[untyped-decorator]
    @confirmation.typed(chargebacks.MAY_ACT, _reference_of)
    @session.confirmed
    def submit(self, dispute_id: int) -> Response:
        """Have the bank get what is staged, for good."""
        dispute = evidence.submit(find(Dispute, dispute_id, "dispute").id, by=session.actor())
        return done("The evidence is on its way to the bank.", dispute_href(dispute.id))

    @expose("/<int:dispute_id>/accept", methods=["POST"])  # type: ignore[untyped-decorator]
    @confirmation.typed(chargebacks.MAY_ACT, _reference_of)
    @session.confirmed
    def accept(self, dispute_id: int) -> Response:
        """Give it up."""
        dispute = evidence.accept(find(Dispute, dispute_id, "dispute").id, by=session.actor(), reason=reason_given())
        return done("The dispute is being accepted at Stripe; it is lost.", dispute_href(dispute.id))

    @expose("/<int:dispute_id>/lift-hold", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def lift_hold(self, dispute_id: int) -> Response:
        """Let refunds of its payment go on; those that were approved before go out at once."""
        dispute = chargebacks.lift_hold(
            find(Dispute, dispute_id, "dispute").id, by=session.actor(), reason=reason_given()
        )
        return done("The hold is lifted: refunds of this payment go on.", dispute_href(dispute.id))


def dispute_href(dispute_id: int) -> str:
    """The page of a dispute."""
    return f"/console/disputes/{dispute_id}/"


def evidence_state(dispute: Dispute) -> str:
    """Where the evidence is: with us, staged at Stripe, or with the bank."""
    if dispute.submitted_at is not None:
        return "SUBMITTED"
    return "STAGED" if evidence.is_staged(dispute) else "DRAFT"


def _actions(dispute: Dispute, reference: str) -> tuple[list[Action], list[Blocked]]:
    """What this person may do now, and what nobody may and why. The rules are the verbs'."""
    if not session.actor().has(chargebacks.MAY_ACT) or dispute.status not in UNDECIDED:
        return [], []
    href, amount = dispute_href(dispute.id), written(dispute.amount_minor, dispute.currency)
    offered = (
        (
            evidence.why_not_answer(dispute),
            Action("evidence", "Write evidence", f"{href}evidence", "Stages it at Stripe.", key="e", is_link=True),
        ),
        (
            chargebacks.why_not_lift(dispute),
            Action(
                "lift-hold",
                "Lift the hold",
                f"{href}lift-hold",
                "Refunds of this payment can be asked for again, and those put aside go on. A full refund ends an"
                " inquiry.",
                needs_reason=True,
            ),
        ),
        (
            evidence.why_not_submit(dispute),
            Action(
                "submit",
                "Submit evidence",
                f"{href}submit",
                f"Sends {_counted(dispute)} to the bank, which decides over {amount}. It works once: nothing can be"
                " added or changed afterwards.",
                danger=True,
                typed=reference,
            ),
        ),
        (
            evidence.why_not_accept(dispute),
            Action(
                "accept",
                "Accept the dispute",
                f"{href}accept",
                f"Gives up {amount} for good; the provider and we bear it by our shares. The fee stays with Stripe.",
                danger=True,
                needs_reason=True,
                typed=reference,
            ),
        ),
    )
    return (
        [action for refusal, action in offered if refusal is None],
        [Blocked(action.label, refusal) for refusal, action in offered if refusal is not None],
    )


def _counted(dispute: Dispute) -> str:
    count = len(dispute.evidence_at_stripe)
    return f"{count} {'field' if count == 1 else 'fields'} of evidence"


def _evidence(dispute: Dispute) -> dict[str, Any]:
    """What is shown of the evidence: where it is, what that means, and its fields; once submitted, those sent."""
    state, is_over = evidence_state(dispute), dispute.status not in UNDECIDED
    shown = dispute.evidence_at_stripe if state == "SUBMITTED" else evidence.written_of(dispute)
    if dispute.asked is not None and dispute.due_at is not None:
        note = f"It is being {evidence.ASKED[dispute.asked]} at the moment."
    elif state == "SUBMITTED":
        note = "The bank has this. Nothing can be added or changed any more."
    elif is_over:
        note = "The dispute was over before any of this was submitted: the bank never had it."
    elif state == "STAGED":
        note = "Stripe has this, the bank does not. Staged evidence is no answer: submit it before the time is over."
    elif dispute.evidence_at_stripe:
        note = "Changed since it was staged: Stripe has an older version. Save it again to stage it."
    else:
        note = "Filled in from the booking. Neither Stripe nor the bank has any of it: read it over, and save it."
    return {
        "state": state if state == "SUBMITTED" or not is_over else None,
        "note": note,
        "tone": {"SUBMITTED": "good", "STAGED": "warn", "DRAFT": "info"}["DRAFT" if is_over else state],
        "refusal": dispute.refusal,
        "failure": dispute.last_error,
        # In the order of the form, whatever Stripe's is.
        "fields": [
            (_LABELS.get(name, status_label(name)), shown[name])
            for name in sorted(shown, key=lambda name: _ORDER.get(name, len(_ORDER)))
        ],
    }


def _statement(dispute: Dispute) -> dict[str, Any]:
    def amount(label: str, minor: int, kind: str) -> dict[str, Any]:
        return {"label": label, "hint": None, "amount": Money(minor, dispute.currency).json(), "kind": kind}

    moved = (
        ("Withdrawn", -dispute.withdrawn_minor),
        ("Fee", -dispute.fee_minor),
        ("Given back", dispute.reinstated_minor),
        ("Fee given back", dispute.fee_returned_minor),
    )
    lines = [amount("Disputed", dispute.amount_minor, "line")]
    lines += [amount(label, minor, "line") for label, minor in moved if minor]
    if len(lines) > 1:
        lines.append(amount("On our balance", sum(minor for _, minor in moved), "total"))
    return {"lines": lines, "note": None if len(lines) > 1 else "The bank only asks so far: nothing was withdrawn."}


def _facts(dispute: Dispute, payment: Payment, *, sees_money: bool) -> list[Group]:
    held = holds.of(dispute.payment_id)
    return [
        Group(
            "Dispute",
            (
                Fact("Kind", "Inquiry" if dispute.is_inquiry else "Chargeback"),
                Fact("Reason", chargebacks.reason_in_words(dispute).capitalize()),
                Fact("Evidence due", dispute.evidence_due_by, "time"),
                Fact("Submitted", dispute.submitted_at, "time"),
                Fact("Decided", dispute.closed_at, "time"),
                Fact("Refund possible at Stripe", "Yes" if dispute.is_charge_refundable else "No"),
                Fact("At Stripe", dispute.stripe_dispute_id, "mono"),
                Fact("State at Stripe", chargebacks.stripe_status_in_words(dispute)),
            ),
        ),
        Group(
            "Payment",
            (
                Fact("State", payment.status, "chip"),
                Fact("Amount", Money(payment.amount_minor, payment.currency).json(), "money"),
                Fact("Refunded", Money(payment.refunded_minor, payment.currency).json(), "money"),
                *([Fact("Payment", "Open it", href=payment_href(payment.id))] if sees_money else []),
                *(Fact("On hold", hold.words) for hold in held),
            ),
        ),
    ]
