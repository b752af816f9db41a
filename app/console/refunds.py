"""/console/refunds/: refunds that wait for a second person, and asking for one with a preview of what it will do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from flask import flash, g, request
from flask_admin import expose
from sqlalchemy import Select, func, select, union
from sqlalchemy.orm import aliased
from werkzeug.wrappers import Response

from app.accounts.models import User
from app.audit.actor import Actor
from app.bookings import cancellation as booking_cancellation
from app.bookings import story
from app.bookings.cancellation import Entitlement
from app.bookings.models import Booking
from app.catalog.policies import policy_in_words
from app.console import session
from app.console.amounts import amount_typed, as_typed
from app.console.base import Column, Filter, done, find
from app.console.queue import Decision, QueueView, Urgency
from app.console.record import Action, Blocked, Fact, Group, Phrase
from app.errors import Conflict, Invalid
from app.extensions import Model, db
from app.money import Money, written
from app.payments import cancellation, holds, refund_approval, refundable, refunds
from app.payments.ledger_names import kind_in_words
from app.payments.models import Payment, Refund
from app.payments.refunds import Line, TwinRefund

_LARGE_MINOR = 100_000
_OTHERS_SHOWN = 10
_STILL_OPEN = {"owed": "Failed, and nothing refunded since", "given_up": "Given up without an answer"}
_IS_STILL_OPEN = {"owed": refunds.is_still_owed, "given_up": refunds.has_no_answer}


def _asked_yourself(refund: Refund) -> str | None:
    if refund.status == "PENDING_APPROVAL" and refund.requested_by_id == session.actor().id:
        return "You asked for it yourself. Somebody else from finance or an admin approves it."
    return None


def _not_again(refund: Refund) -> str | None:
    payment = db.session.get_one(Payment, refund.payment_id)
    return refunds.why_not_again(payment, refund, by=session.actor())


def _failed_here(refund: Refund, _by: Actor) -> bool:
    return refund.reason != "stripe_dashboard"


def _gave_up(refund: Refund) -> bool:
    return refund.due_at is None and refund.last_error is not None


def _was_given_up(refund: Refund, _by: Actor) -> bool:
    return _gave_up(refund)


class RefundsView(QueueView):
    """Refunds, for support to ask for and finance to approve."""

    roles = frozenset(refunds.MAY_REQUEST)
    icon = "receipt-refund"
    model = Refund
    title = "Refunds"
    exported_as = "refunds"
    waiting = "PENDING_APPROVAL"
    come_back = {
        "FAILED": refunds.is_still_owed,
        "APPROVED": refunds.has_no_answer,
        "SUBMITTED": refunds.has_no_answer,
    }
    intro = (
        "These wait for a second person. Once approved, Stripe is asked to pay them at once."
        " What failed or got no answer is counted beside its state."
    )
    search_hint = "Booking reference or Stripe id"
    empty_hint = "What support asks for, and what is above the asker's limit, shows here."
    columns = (
        Column("booking", "Refund of", "link"),
        Column("amount", "Amount", "money", "right"),
        Column("kind", "Kind"),
        Column("reason", "Reason"),
        Column("asked_by", "Asked by"),
        Column("failure", "Stripe's words"),
        Column("created_at", "Asked", "time", "right"),
    )
    filters = (
        Filter("kind", "Kind", {**refunds.KINDS, "owed_back": "Owed back"}),
        Filter("reason", "Reason", refunds.ALL_REASONS),
        Filter("open", "Still open", _STILL_OPEN, where=lambda chosen: _IS_STILL_OPEN[chosen]()),
    )
    titles = story.TITLES
    item_template = "console/refunds/item.html"
    urgency = (
        Urgency("Runs out within two days", Refund.expires_at < func.now() + timedelta(days=2), hours=96),
        Urgency("Large", Refund.amount_minor >= _LARGE_MINOR, hours=24),
        Urgency("Goodwill: we bear it", Refund.kind == "goodwill", hours=12),
    )
    decisions = (
        Decision(
            *("approve", "Approve", "APPROVED", refund_approval.approve, refund_approval.MAY_APPROVE),
            explain="Stripe is asked to pay it at once. It can't be taken back.",
            key="a",
            why_not=_asked_yourself,
            run="refunds.approve",
        ),
        Decision(
            *("reject", "Reject", "REJECTED", refund_approval.reject, refund_approval.MAY_APPROVE),
            explain="Nothing is paid. The reason is kept for whoever asked.",
            key="r",
            needs_reason=True,
            danger=True,
        ),
        Decision(
            *("retry", "Try again", "APPROVED", refunds.retry, refund_approval.MAY_APPROVE),
            explain="Stripe is asked once more, as a new submission.",
            sources=("FAILED",),
            when=_failed_here,
            why_not=_not_again,
        ),
        Decision(
            *("ask-again", "Ask Stripe again", "SUBMITTED", refunds.retry, refund_approval.MAY_APPROVE),
            explain="All tries were without an answer. It is looked up at Stripe first, and asked for once more only"
            " where Stripe has not made it.",
            said="Stripe is asked again",
            sources=("APPROVED", "SUBMITTED"),
            when=_was_given_up,
        ),
    )

    # ---- the queue ----

    def search(self, query: Select[Any], words: str) -> Select[Any]:
        """By whole booking reference, or the id of a refund or intent at Stripe."""
        found = union(
            select(Refund.id)
            .join(Payment, Payment.id == Refund.payment_id)
            .join(Booking, Booking.id == Payment.booking_id)
            .where(Booking.reference == words.upper()),
            select(Refund.id).where(Refund.stripe_refund_id == words),
            select(Refund.id)
            .join(Payment, Payment.id == Refund.payment_id)
            .where(Payment.stripe_payment_intent_id == words),
        )
        return query.where(Refund.id.in_(found))

    def prepare(self, rows: Sequence[Refund]) -> None:
        """The bookings of a page's refunds, and who asked and decided."""
        g.around_refunds = _around([row.id for row in rows])

    def cells(self, row: Refund) -> dict[str, Any]:
        """One refund's line."""
        around = g.around_refunds[row.id]
        return {
            "booking": around.reference,
            "amount": Money(row.amount_minor, row.currency).json(),
            "kind": _KINDS[row.kind],
            "reason": refunds.ALL_REASONS.get(row.reason, row.reason),
            "asked_by": around.asked_by or "Tripdesk",
            "failure": _stripes_words(row),
            "created_at": row.created_at,
        }

    def heading(self, row: Refund) -> str:
        """How much of what."""
        reference = _around([row.id])[row.id].reference
        return f"{written(row.amount_minor, row.currency)} of {reference}"

    def text(self, row: Refund) -> str | None:
        """What whoever asked wrote."""
        return row.note

    def sub(self, row: Refund) -> Sequence[Phrase]:
        """Of which booking, by whom, when, and until when."""
        around = g.around_refunds[row.id]
        until = (Phrase("runs out", at=row.expires_at),) if row.status == self.waiting else ()
        gave_up = (Phrase("given up after", f"{row.attempts} tries"),) if _gave_up(row) else ()
        return (
            Phrase("of", around.reference, href=f"/console/bookings/{around.booking_id}/"),
            Phrase("asked by", around.asked_by or "Tripdesk"),
            Phrase("asked", at=row.created_at),
            *until,
            *gave_up,
        )

    def facts(self, row: Refund) -> Sequence[Group]:
        """The refund, and the payment that it is of."""
        around, payment = g.around_refunds[row.id], db.session.get_one(Payment, row.payment_id)

        def money(label: str, minor: int) -> Fact:
            return Fact(label, Money(minor, row.currency).json(), "money")

        refund = [
            Fact("Kind", _KINDS[row.kind]),
            Fact("Reason", refunds.ALL_REASONS.get(row.reason, row.reason)),
            Fact("Decided by", around.decided_by),
            Fact("Decided", row.decided_at, "time"),
            Fact("Stripe's words", _stripes_words(row)),
            Fact("At Stripe", row.stripe_refund_id, "mono"),
            Fact("Sent to Stripe", row.submitted_at, "time"),
            Fact("Paid", row.succeeded_at, "time"),
            Fact("Failed tries", row.attempts, "number"),
            Fact("Error", row.last_error),
        ]
        href = f"/console/payments/{payment.id}/" if session.actor().has(refund_approval.MAY_APPROVE) else None
        booking = db.session.get_one(Booking, around.booking_id)
        entitled = booking_cancellation.entitlement(booking, payment)
        beyond_minor = _beyond(row, entitled)
        of = [
            Fact("Booking", booking.status, "chip"),
            Fact("Charge", payment.stripe_charge_id or "none", "mono", href),
            money("Paid", payment.amount_minor),
            money("Refunded so far", payment.refunded_minor),
            money("Left besides this one", max(refundable.left_of(payment), 0)),
            Fact("Policy", policy_in_words(around.policy)),
            Fact("By the policy", _entitled_in_words(entitled, row.currency)),
            *([money("Beyond the policy", beyond_minor)] if beyond_minor else []),
            Fact("Stay begins", around.starts_on, "day"),
        ]
        held = [Fact(hold.source, hold.words) for hold in holds.of(payment.id)]
        known = Group("Refund", [fact for fact in refund if fact.value])
        return [
            known,
            Group("Payment", of),
            *([Group("On hold", held)] if held else []),
            *(Group(f"Another {group.title.lower()}", group.items) for group in refund_groups(_others(row))),
        ]

    def context(self, row: Refund) -> dict[str, Any]:
        """What it posts to the ledger; of one that failed, what was taken back."""
        lines = refunds.lines_of(row)
        if row.status == "FAILED" and row.succeeded_at is None:
            lines = [line for line in lines if line.kind != "refund.paid"]
        around, payment = g.around_refunds[row.id], db.session.get_one(Payment, row.payment_id)
        entitled = booking_cancellation.entitlement(db.session.get_one(Booking, around.booking_id), payment)
        return {
            "postings": posting_lines(lines, row.currency),
            "beyond": _beyond_in_words(_beyond(row, entitled), row.kind, row.currency),
        }

    def locked_first(self, row: Refund) -> tuple[type[Model], int]:
        """Its payment."""
        return Payment, row.payment_id

    @expose("/<int:row_id>/<decision>", methods=["POST"])  # type: ignore[untyped-decorator]
    def decide(self, row_id: int, decision: str) -> Any:
        """Decide; before money moves, who does it shows that it is them."""
        self._decision(decision)
        serve = QueueView.decide if decision == "reject" else session.confirmed(QueueView.decide)
        return serve(self, row_id, decision)

    # ---- asking for one ----

    @expose("/of/<int:payment_id>/", methods=["GET", "POST"])  # type: ignore[untyped-decorator]
    def ask(self, payment_id: int) -> str:
        """The form; with an amount, what that would do, to be confirmed."""
        return self._form(payment_id, request.values)

    @expose("/of/<int:payment_id>/request", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def request_refund(self, payment_id: int) -> Response | tuple[str, int]:
        """Ask for what the preview showed."""
        typed, by = request.form, session.actor()
        payment = find(Payment, payment_id, "payment")
        try:
            refund = refunds.request(
                payment.id,
                amount_minor=amount_typed(typed.get("amount", ""), payment.currency),
                reason=typed.get("reason", ""),
                note=typed.get("note", ""),
                kind=typed.get("kind", ""),
                # Keys are each person's own, and none of those that cancelling and bulk runs give.
                key=f"{by.id} {typed.get('key', '')[:64] or uuid4().hex}",
                by=by,
                again="again" in typed,
            )
        except (Invalid, Conflict) as refusal:
            return self._form(payment_id, typed, refusal=refusal), refusal.status
        # The draft of its note was kept for the form's own address.
        flash(self._form_address(payment.id), "saved")
        waits = refund.status == self.waiting
        said = "waits for a second person" if waits else "is on its way to Stripe"
        return done(f"The refund of {written(refund.amount_minor, refund.currency)} {said}.", self._address(refund.id))

    def _form_address(self, payment_id: int) -> str:
        return f"{self._address()}of/{payment_id}/"

    def _form(self, payment_id: int, typed: Mapping[str, str], refusal: Invalid | Conflict | None = None) -> str:
        by = session.actor()
        payment = find(Payment, payment_id, "payment")
        booking = db.session.get_one(Booking, payment.booking_id)
        quote, errors = None, {}
        if isinstance(refusal, Invalid):
            errors = {error.field: error.message for error in refusal.fields}
        elif "amount" in typed:
            try:
                amount = amount_typed(typed["amount"], payment.currency)
                quote = refunds.quote(payment.id, amount, typed.get("kind", "standard"), by=by)
            except Invalid as wrong:
                errors = {error.field: error.message for error in wrong.fields}
            try:
                refunds.checked_note(typed.get("reason", ""), typed.get("note", ""))
            except Invalid as wrong:
                errors |= {error.field: error.message for error in wrong.fields}
        left = max(refundable.left_of(payment), 0)
        entitled = booking_cancellation.entitlement(booking, payment)
        beyond_minor = max(quote.amount_minor - entitled.left_minor, 0) if quote else 0
        return str(
            self.render(
                "console/refunds/ask.html",
                booking=booking,
                payment=payment,
                back=f"/console/bookings/{booking.id}/",
                here=self._form_address(payment.id),
                typed=typed,
                amount=typed.get("amount") or as_typed(left, payment.currency),
                left=Money(left, payment.currency).json(),
                policy=policy_in_words(booking.policy),
                entitled=_entitled_in_words(entitled, payment.currency),
                entitled_left=Money(entitled.left_minor, payment.currency).json(),
                beyond=Money(beyond_minor, payment.currency).json() if beyond_minor else None,
                beyond_words=_beyond_in_words(beyond_minor, quote.kind, payment.currency) if quote else None,
                kinds=refunds.KINDS,
                reasons=refunds.REASONS,
                holds=[hold.words for hold in holds.of(payment.id)],
                nothing_left=refundable.too_much(payment, 1),
                errors=errors,
                refusal=refusal.detail if isinstance(refusal, Conflict) else None,
                is_twin=isinstance(refusal, TwinRefund),
                quote=quote,
                reason=refunds.REASONS.get(typed.get("reason", ""), ""),
                postings=posting_lines(quote.lines, quote.currency) if quote else (),
                key=typed.get("key") or uuid4().hex,
            )
        )


_KINDS = {**refunds.KINDS, "owed_back": "Owed back"}


def refund_actions(payment: Payment | None, by: Actor, *, due_minor: int = 0) -> tuple[list[Action], list[Blocked]]:
    """The way to a refund from a booking's or a payment's page, straight to the preview of what is still due; where
    there is none now, why.
    """
    if payment is None or payment.succeeded_at is None or not by.has(refunds.MAY_REQUEST):
        return [], []
    if standing := holds.of(payment.id):
        return [], [Blocked("Refund", " ".join(hold.words for hold in standing))]
    if (refusal := refundable.too_much(payment, 1)) is not None:
        return [], [Blocked("Refund", refusal)]
    left = refundable.left_of(payment)
    explain = f"Up to {written(left, payment.currency)} can go back; the next page shows what it will do."
    href = f"/console/refunds/of/{payment.id}/"
    if due_minor:
        explain = f"{written(due_minor, payment.currency)} is still due. {explain}"
        reason = "other&note=Paid+too+late" if cancellation.is_owed_back(payment) else "cancelled"
        href += f"?amount={as_typed(due_minor, payment.currency)}&kind=standard&reason={reason}"
    return [Action("refund", "Refund", href, explain, key="f", is_link=True)], []


def refund_groups(found: Sequence[Refund]) -> list[Group]:
    """Each refund of a booking or payment as facts, leading to its page where that opens for whoever looks."""
    may_open = session.actor().has(refunds.MAY_REQUEST)
    return [
        Group(
            f"Refund {number}" if len(found) > 1 else "Refund",
            (
                Fact("State", refund.status, "chip"),
                Fact(
                    "Amount",
                    Money(refund.amount_minor, refund.currency).json(),
                    "money",
                    refund_href(refund.id) if may_open else None,
                ),
                Fact("Reason", refunds.ALL_REASONS.get(refund.reason, refund.reason)),
                Fact("Note", refund.note),
                Fact("At Stripe", refund.stripe_refund_id, "mono"),
                Fact("Asked", refund.created_at, "time"),
                Fact("Stripe's words", _stripes_words(refund)),
            ),
        )
        for number, refund in enumerate(found, 1)
    ]


def _stripes_words(refund: Refund) -> str | None:
    # Where Stripe gives a code only: `expired_or_canceled_card`.
    said = refund.failure_reason
    return said.replace("_", " ").capitalize() if said and " " not in said else said


def hold_in_words(payment: Payment | None) -> str | None:
    """Why and until when nothing of a payment is refunded, for the head of a page; None when nothing holds it."""
    return " ".join(hold.words for hold in holds.of(payment.id)) or None if payment else None


def due_in_words(payment: Payment | None, due_minor: int) -> str | None:
    """What a cancellation, or a payment that came too late, has left to do, for the head of a page; None when that is
    nothing.
    """
    if payment is None or not due_minor:
        return None
    if cancellation.is_owed_back(payment):
        return (
            f"This was paid when the booking could not take it any more, and {written(due_minor, payment.currency)} of"
            " it has not gone back: the refund failed, or a dispute had taken it. It is still to be refunded."
        )
    return (
        f"The cancellation promised {written(due_minor, payment.currency)} that has not gone back: a dispute had taken"
        " it, or the refund failed. It is still to be refunded."
    )


def _entitled_in_words(entitled: Entitlement, currency: str) -> str:
    return f"{written(entitled.minor, currency)}: {entitled.because}"


def _beyond(refund: Refund, entitled: Entitlement) -> int:
    """How much of a refund that nobody has approved goes beyond what the guest is entitled to, in minor units."""
    is_open = "PENDING_APPROVAL" in (refund.status, refund.held_status)
    return max(refund.amount_minor - entitled.left_minor, 0) if is_open else 0


def _beyond_in_words(beyond_minor: int, kind: str, currency: str) -> str | None:
    if not beyond_minor or kind != "standard":
        return None
    return (
        f"{written(beyond_minor, currency)} of this goes beyond what the policy gives, and the provider bears a share"
        " of it. As goodwill, we alone would."
    )


def _others(refund: Refund) -> Sequence[Refund]:
    """The other refunds of its payment, the newest first."""
    others = select(Refund).where(Refund.payment_id == refund.payment_id, Refund.id != refund.id)
    return db.session.scalars(others.order_by(Refund.id.desc()).limit(_OTHERS_SHOWN)).all()


def refund_href(refund_id: int) -> str:
    """The page of a refund."""
    return f"/console/refunds/{refund_id}/"


def posting_lines(lines: Sequence[Line], currency: str) -> list[dict[str, Any]]:
    """What a refund posts, as the lines of a statement."""
    return [
        {
            "label": f"{line.debit} \N{RIGHTWARDS ARROW} {line.credit}",
            "hint": kind_in_words(line.kind),
            "amount": Money(line.amount_minor, currency).json(),
            "kind": "line",
        }
        for line in lines
    ]


def _around(refund_ids: Collection[int]) -> dict[int, Any]:
    asker, decider = aliased(User), aliased(User)
    rows = db.session.execute(
        select(
            Refund.id,
            Booking.id.label("booking_id"),
            Booking.reference,
            Booking.policy,
            Booking.starts_on,
            asker.name.label("asked_by"),
            decider.name.label("decided_by"),
        )
        .join(Payment, Payment.id == Refund.payment_id)
        .join(Booking, Booking.id == Payment.booking_id)
        .outerjoin(asker, asker.id == Refund.requested_by_id)
        .outerjoin(decider, decider.id == Refund.decided_by_id)
        .where(Refund.id.in_(refund_ids))
    )
    return {row.id: row for row in rows}
