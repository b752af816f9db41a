"""/console/reconciliation/differences/…: what differs from Stripe's balance, what would fix it, who looks into it."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_admin import expose
from werkzeug.wrappers import Response

from app.audit import trail
from app.console import session
from app.console.base import Column, RecordView, done, find, line, reason_given
from app.console.formatting import day as day_in_words
from app.console.payments import account_names, payment_href, references_of
from app.console.record import Action, Blocked, Fact, Group, Phrase, Record
from app.errors import Invalid
from app.extensions import db
from app.money import Money
from app.payments import ledger
from app.payments.ledger_names import kind_in_words
from app.reports import differences, proposals
from app.reports.models import Difference, Reconciliation
from app.reports.proposals import Proposal

KINDS = {
    "missing_here": "Missing in the ledger",
    "missing_there": "Missing at Stripe",
    "amount": "Another amount",
    "fee": "Another fee",
}
# One of them, and many.
_BOOKED_AS = {
    "capture": ("Payment", "Payments"),
    "refund.paid": ("Refund", "Refunds"),
    "refund.failed": ("Refund that came back", "Refunds that came back"),
    "dispute.withdrawn": ("Chargeback", "Chargebacks"),
    "dispute.reinstated": ("Chargeback given back", "Chargebacks given back"),
    "payout.sent": ("Payout to our bank", "Payouts to our bank"),
    "payout.returned": ("Payout that came back", "Payouts that came back"),
    "account.fee": ("Stripe's fee of no payment", "Stripe's fees of no payment"),
    "account.fee_returned": ("Stripe's fee given back", "Stripe's fees given back"),
}
_TITLES: dict[str, trail.Title] = {
    "difference.find": ("Found", "state", None),
    "difference.vanish": ("No longer differs", "state", "good"),
    "difference.assign": ("Assigned", "note", None),
    "difference.explain": ("Explained", "note", None),
    "difference.reopen": ("Explanation taken back", "note", None),
    "difference.fix": ("Fixed", "ledger", "good"),
}
_ENTRY_COLUMNS = (
    Column("kind", "Posting"),
    Column("debit", "Debit"),
    Column("credit", "Credit"),
    Column("amount", "Amount", "money", "right"),
)


class DifferencePages(RecordView):
    """The pages of the differences of each day, below the list of the days."""

    @expose("/differences/<int:difference_id>/")  # type: ignore[untyped-decorator]
    def difference(self, difference_id: int) -> str:
        """One difference."""
        row = find(Difference, difference_id, "difference")
        refusal = proposals.why_no_fix(row)
        proposal = None if refusal else proposals.propose(row)
        by = session.actor()
        return self.render_record(
            Record(
                title=f"{KINDS[row.kind]}: {what_moved(row.booked_as).lower()}",
                about=row,
                titles=_TITLES,
                status=row.status,
                lead=row.explanation,
                sub=_sub(row),
                actions=_actions(row, proposal, by.id),
                blocked=[Blocked("Fix", refusal)] if refusal and row.status != "FIXED" else [],
                facts=_facts(row),
                timeline=list(trail.moments({"differences": [row.id]}, titles=_TITLES, currency=row.currency)),
            ),
            "console/reconciliation/difference.html",
            proposal=proposal,
            entry_columns=_ENTRY_COLUMNS,
            entries=_entries(row, proposal) if proposal else [],
            assign_href=f"{difference_href(row.id)}assign" if row.status != "FIXED" else None,
            assignees=differences.assignees(),
            assigned_to_id=row.assigned_to_id,
        )

    @expose("/differences/<int:difference_id>/assign", methods=["POST"])  # type: ignore[untyped-decorator]
    def assign(self, difference_id: int) -> Response:
        """Say who looks into it."""
        person = request.form.get("person", "")
        if not (person == "" or (person.isascii() and person.isdigit() and len(person) <= 18)):
            raise Invalid.field("person", "Choose somebody of the list.")
        find(Difference, difference_id, "difference")
        row = differences.assign(difference_id, int(person) if person else None, by=session.actor())
        words = f"{row.assigned_to.name} looks into it." if row.assigned_to else "Nobody looks into it now."
        return done(words, difference_href(row.id))

    @expose("/differences/<int:difference_id>/explain", methods=["POST"])  # type: ignore[untyped-decorator]
    def explain(self, difference_id: int) -> Response:
        """Leave it as it is, and say why."""
        find(Difference, difference_id, "difference")
        row = differences.explain(difference_id, reason_given(), by=session.actor())
        return done("Explained. Should it change, it is open again.", difference_href(row.id))

    @expose("/differences/<int:difference_id>/reopen", methods=["POST"])  # type: ignore[untyped-decorator]
    def reopen(self, difference_id: int) -> Response:
        """Take the explanation back."""
        find(Difference, difference_id, "difference")
        row = differences.reopen(difference_id, reason_given(), by=session.actor())
        return done("Open again.", difference_href(row.id))

    @expose("/differences/<int:difference_id>/fix", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def fix(self, difference_id: int) -> Response:
        """Do what is proposed."""
        find(Difference, difference_id, "difference")
        row = differences.fix(difference_id, reason_given(), by=session.actor())
        return done("Fixed: the ledger agrees with Stripe.", difference_href(row.id))


def day_href(day_id: int) -> str:
    """The page of a reconciled day."""
    return f"/console/reconciliation/{day_id}/"


def difference_href(difference_id: int) -> str:
    """The page of a difference."""
    return f"/console/reconciliation/differences/{difference_id}/"


def what_moved(booked_as: str, *, many: bool = False) -> str:
    """What moved; of a type that the ledger has no posting for, Stripe's own word."""
    words = booked_as.replace("_", " ").capitalize()
    return _BOOKED_AS.get(booked_as, (words, words))[many]


def counted(count: int, one: str, many: str) -> str:
    """How many, and of what."""
    return f"{count:,} {one if count == 1 else many}"


def amounts_of(row: Difference) -> dict[str, Any]:
    """The four amounts, without those of a side that has nothing of it."""

    def money(minor: int) -> dict[str, Any]:
        return Money(minor, row.currency).json()

    there, here = row.kind != "missing_there", row.kind != "missing_here" or row.status == "FIXED"
    return {
        "there": money(row.there_minor) if there else None,
        "there_fee": money(row.there_fee_minor) if there else None,
        "here": money(row.here_minor) if here else None,
        "here_fee": money(row.here_fee_minor) if here else None,
    }


def _sub(row: Difference) -> tuple[Phrase, ...]:
    day = db.session.get_one(Reconciliation, row.reconciliation_id).day
    sub = [Phrase("of", day_in_words(day), href=day_href(row.reconciliation_id))]
    if row.booking_id:
        reference = references_of([row.booking_id])[row.booking_id]
        sub.append(Phrase("for", reference, href=f"/console/bookings/{row.booking_id}/"))
    return (*sub, Phrase("found", at=row.found_at))


def _facts(row: Difference) -> tuple[Group, ...]:
    amounts = amounts_of(row)
    reference = references_of([row.booking_id])[row.booking_id] if row.booking_id else None
    return (
        Group(
            "At Stripe",
            (
                Fact("Amount", amounts["there"], "money"),
                Fact("Fee", amounts["there_fee"], "money"),
                Fact("About", row.source_id, "mono"),
                Fact("Balance transaction", row.transaction_id, "mono"),
                Fact("Intent", row.stripe_payment_intent_id, "mono"),
            ),
        ),
        Group(
            "In the ledger",
            (
                Fact("Amount", amounts["here"], "money"),
                Fact("Fee", amounts["here_fee"], "money"),
                Fact(
                    "Payment",
                    (f"Payment of {reference}" if reference else "Open it") if row.payment_id else None,
                    href=payment_href(row.payment_id) if row.payment_id else None,
                ),
                Fact(
                    "Fixed by",
                    f"Entry {row.entry_id}" if row.entry_id else None,
                    href=f"/console/ledger/{row.entry_id}/" if row.entry_id else None,
                ),
            ),
        ),
    )


def _actions(row: Difference, proposal: Proposal | None, person_id: int | None) -> list[Action]:
    href, offered = difference_href(row.id), []
    if proposal is not None:
        what = (
            f"Asks Stripe about {row.source_id} and books it, as the event that never arrived would have."
            if proposal.asks_stripe
            else f"Posts {counted(len(proposal.entries), 'entry', 'entries')}, as shown. Entries stay."
            if proposal.entries
            else "The ledger has it by now: nothing is posted, and the difference is closed."
        )
        offered.append(Action("fix", "Fix", f"{href}fix", what, key="f", needs_reason=True))
    if row.status == "OPEN":
        what = "Leaves both as they are. The day counts as explained."
        offered.append(Action("explain", "Explain", f"{href}explain", what, key="e", needs_reason=True))
    if row.status == "EXPLAINED":
        what = "The difference has to be dealt with again."
        offered.append(Action("reopen", "Take the explanation back", f"{href}reopen", what, needs_reason=True))
    return offered


def _entries(row: Difference, proposal: Proposal) -> list[dict[str, Any]]:
    names = account_names()
    return [
        line(
            kind=kind_in_words(kind),
            debit=names[ledger.POSTINGS[kind][0]],
            credit=names[ledger.POSTINGS[kind][1]],
            amount=Money(minor, row.currency).json(),
        )
        for kind, minor in proposal.entries.items()
    ]
