"""The double-entry ledger: what each event of a payment posts, and what the entries come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import Insert, insert

from app.db import require_transaction
from app.extensions import db
from app.payments.ledger_days import LEDGER_DAYS
from app.payments.models import LedgerEntry, Payment, Refund

STRIPE_BALANCE = "stripe_balance"
PROVIDER_PAYABLE = "provider_payable"
COMMISSION_REVENUE = "commission_revenue"
STRIPE_FEES = "stripe_fees"
REFUNDS_PAYABLE = "refunds_payable"
GOODWILL = "goodwill"
DISPUTES_HELD = "disputes_held"
DISPUTE_LOSSES = "dispute_losses"
BANK = "bank"

# Who bears a refund; what one posts when it is submitted, and takes back when it ends failed.
_SHARES = {
    "refund.provider_share": (PROVIDER_PAYABLE, REFUNDS_PAYABLE),
    "refund.commission": (COMMISSION_REVENUE, REFUNDS_PAYABLE),
    "refund.goodwill": (GOODWILL, REFUNDS_PAYABLE),
}

# Who bears a lost dispute; taken back, and posted anew, when there is something else to bear.
_LOSSES = {
    "dispute.lost.provider_share": (PROVIDER_PAYABLE, DISPUTES_HELD),
    "dispute.lost.commission": (COMMISSION_REVENUE, DISPUTES_HELD),
    "dispute.lost.owed_back": (REFUNDS_PAYABLE, DISPUTES_HELD),
    # What the traveller gets a second time, by a refund.
    "dispute.lost.excess": (DISPUTE_LOSSES, DISPUTES_HELD),
}

# Entry kind: (debited account, credited account). What people read instead of the codes is in `ledger_names`.
POSTINGS = {
    "capture.provider_share": (STRIPE_BALANCE, PROVIDER_PAYABLE),
    "capture.commission": (STRIPE_BALANCE, COMMISSION_REVENUE),
    # A payment that no booking can take: all of it is owed back to the traveller.
    "capture.owed_back": (STRIPE_BALANCE, REFUNDS_PAYABLE),
    "capture.stripe_fee": (STRIPE_FEES, STRIPE_BALANCE),
    **_SHARES,
    **_LOSSES,
    **{f"{kind}.reversed": (credit, debit) for kind, (debit, credit) in (_SHARES | _LOSSES).items()},
    "refund.paid": (REFUNDS_PAYABLE, STRIPE_BALANCE),
    "refund.failed": (STRIPE_BALANCE, REFUNDS_PAYABLE),
    "dispute.withdrawn": (DISPUTES_HELD, STRIPE_BALANCE),
    "dispute.fee": (STRIPE_FEES, STRIPE_BALANCE),
    "dispute.reinstated": (STRIPE_BALANCE, DISPUTES_HELD),
    "dispute.fee_returned": (STRIPE_BALANCE, STRIPE_FEES),
}

# What moves Stripe's balance may have been booked otherwise than Stripe did it. What corrects that, once the
# reconciliation has found it, adds to the same accounts (`.more`) or takes back (`.less`), for the same source.
CORRECTABLE = tuple(kind for kind, accounts in POSTINGS.items() if STRIPE_BALANCE in accounts)
POSTINGS |= {f"{kind}.more": POSTINGS[kind] for kind in CORRECTABLE}
POSTINGS |= {f"{kind}.less": POSTINGS[kind][::-1] for kind in CORRECTABLE}

# What moves Stripe's balance and is of no payment: what Stripe sends to our bank, and what it takes for itself. The
# database keeps these kinds, and no others, without one.
OF_NO_PAYMENT = {
    "payout.sent": (BANK, STRIPE_BALANCE),
    "payout.fee": (STRIPE_FEES, STRIPE_BALANCE),
    "payout.returned": (STRIPE_BALANCE, BANK),
    "payout.fee_returned": (STRIPE_BALANCE, STRIPE_FEES),
    "account.fee": (STRIPE_FEES, STRIPE_BALANCE),
    "account.fee_returned": (STRIPE_BALANCE, STRIPE_FEES),
}
POSTINGS |= OF_NO_PAYMENT


def post_capture(payment: Payment, *, fee_minor: int) -> None:
    """A captured payment: the provider's share, our commission, and what Stripe kept. Amounts in minor units."""
    amounts = {
        "capture.provider_share": payment.amount_minor - payment.commission_minor,
        "capture.commission": payment.commission_minor,
        "capture.stripe_fee": fee_minor,
    }
    _post(payment, amounts, source_id=_charge_of(payment))


def post_capture_owed_back(payment: Payment, *, fee_minor: int) -> None:
    """A captured payment that no booking can take; Stripe keeps its fee all the same."""
    _post(
        payment,
        {"capture.owed_back": payment.amount_minor, "capture.stripe_fee": fee_minor},
        source_id=_charge_of(payment),
    )


def post_correction(payment: Payment, amounts: dict[str, int], *, source_id: str) -> None:
    """What makes the books agree with what Stripe did with an object, by kind in minor units."""
    _post(payment, amounts, source_id=source_id)


def post_of_no_payment(amounts: dict[str, int], *, currency: str, source_id: str) -> Sequence[LedgerEntry]:
    """What moved Stripe's balance by itself, by kind (of OF_NO_PAYMENT) in minor units. Returns the entries that are
    new: what is booked already is not booked again.
    """
    require_transaction()
    rows = [
        {
            "kind": kind,
            "debit_account": OF_NO_PAYMENT[kind][0],
            "credit_account": OF_NO_PAYMENT[kind][1],
            "amount_minor": amount,
            "currency": currency,
            "source_id": source_id,
        }
        for kind, amount in amounts.items()
        if amount > 0
    ]
    return db.session.scalars(_new(rows).returning(LedgerEntry)).all() if rows else []


def posted_of(source_id: str) -> dict[str, int]:
    """What the entries of an object at Stripe come to, by kind in minor units, each with its corrections."""
    posted: dict[str, int] = {}
    entries = select(LedgerEntry.kind, LedgerEntry.amount_minor).where(LedgerEntry.source_id == source_id)
    for kind, amount in db.session.execute(entries):
        of = kind.removesuffix(".more").removesuffix(".less")
        posted[of] = posted.get(of, 0) + (-amount if kind.endswith(".less") else amount)
    return posted


def refund_lines(*, provider_minor: int, commission_minor: int, goodwill_minor: int) -> dict[str, int]:
    """What a refund of these shares posts when it is submitted: amounts in minor units by entry kind."""
    return dict(zip(_SHARES, (provider_minor, commission_minor, goodwill_minor), strict=True))


def post_refund_shares(payment: Payment, refund: Refund) -> None:
    """A submitted refund is owed to the traveller by who bears it. One that was owed back all along posts nothing."""
    amounts = refund_lines(
        provider_minor=refund.provider_minor,
        commission_minor=refund.commission_minor,
        goodwill_minor=refund.goodwill_minor,
    )
    _post(payment, amounts, source_id=_submission_of(refund))


def reverse_refund_shares(refund: Refund) -> None:
    """A refund has failed for good: what its submission posted is taken back, entry by entry."""
    posted = select(LedgerEntry).where(LedgerEntry.source_id == _submission_of(refund), LedgerEntry.kind.in_(_SHARES))
    _reverse(db.session.scalars(posted).all())


def _reverse(entries: Sequence[LedgerEntry]) -> None:
    require_transaction()
    _insert(
        [
            {
                "kind": f"{entry.kind}.reversed",
                "debit_account": entry.credit_account,
                "credit_account": entry.debit_account,
                "amount_minor": entry.amount_minor,
                "currency": entry.currency,
                "source_id": entry.source_id,
                "payment_id": entry.payment_id,
                "booking_id": entry.booking_id,
                "provider_id": entry.provider_id,
                "reverses_id": entry.id,
            }
            for entry in entries
        ]
    )


@dataclass(frozen=True)
class Sides:
    """What a payment has left for each side, in minor units; `owed_back` when it never was anybody's."""

    provider_minor: int
    commission_minor: int
    owed_back: bool


def sides_of(payment_id: int) -> Sides:
    """Read what the entries of a payment say. A verb that acts on it holds the payment's lock."""
    found = db.session.execute(_SIDES, {"payment_id": payment_id}).one()
    return Sides(found.provider_minor, found.commission_minor, found.owed_back)


_SIDES = text(
    """
    SELECT coalesce(sum(amount_minor) FILTER (WHERE credit_account = 'provider_payable'), 0)::bigint
           - coalesce(sum(amount_minor) FILTER (WHERE debit_account = 'provider_payable'), 0)::bigint AS provider_minor,
           coalesce(sum(amount_minor) FILTER (WHERE credit_account = 'commission_revenue'), 0)::bigint
           - coalesce(sum(amount_minor) FILTER (WHERE debit_account = 'commission_revenue'), 0)::bigint
           AS commission_minor,
           coalesce(bool_or(kind = 'capture.owed_back'), false) AS owed_back
    FROM ledger_entries WHERE payment_id = :payment_id
    """
)


def post_refund_paid(payment: Payment, refund: Refund) -> None:
    """Money owed back has left for the traveller."""
    _post(payment, {"refund.paid": refund.amount_minor}, source_id=_stripe_id_of(refund))


def post_refund_failed(payment: Payment, refund: Refund) -> None:
    """Money that had left came back, as the traveller's bank refused it: owed again."""
    _post(payment, {"refund.failed": refund.amount_minor}, source_id=_stripe_id_of(refund))


def post_dispute(payment: Payment, amounts: dict[str, int], *, stripe_dispute_id: str) -> None:
    """What a dispute moved, by entry kind; see `disputed`."""
    _post(payment, amounts, source_id=stripe_dispute_id)


def losses_of(payment_id: int) -> dict[str, int]:
    """What is borne of each lost dispute of a payment, by Stripe's id of it, in minor units; the oldest first."""
    losses: dict[str, int] = {}
    for entry in _standing_losses(payment_id):
        dispute_id = _dispute_of(entry)
        losses[dispute_id] = losses.get(dispute_id, 0) + entry.amount_minor
    return losses


def reverse_losses(payment_id: int) -> None:
    """Take back what is borne of the lost disputes of a payment, entry by entry."""
    _reverse(_standing_losses(payment_id))


def post_loss(payment: Payment, amounts: dict[str, int], *, stripe_dispute_id: str) -> None:
    """Who bears a lost dispute, by entry kind. Borne anew, it has a number, as each submission of a refund does."""
    posted = select(LedgerEntry).where(LedgerEntry.payment_id == payment.id, LedgerEntry.kind.in_(_LOSSES))
    turns = {entry.source_id for entry in db.session.scalars(posted) if _dispute_of(entry) == stripe_dispute_id}
    _post(payment, amounts, source_id=f"{stripe_dispute_id}.{len(turns) + 1}" if turns else stripe_dispute_id)


def _standing_losses(payment_id: int) -> Sequence[LedgerEntry]:
    taken_back = select(LedgerEntry.reverses_id).where(
        LedgerEntry.payment_id == payment_id, LedgerEntry.reverses_id.is_not(None)
    )
    standing = select(LedgerEntry).where(
        LedgerEntry.payment_id == payment_id, LedgerEntry.kind.in_(_LOSSES), LedgerEntry.id.not_in(taken_back)
    )
    return db.session.scalars(standing.order_by(LedgerEntry.id)).all()


def _dispute_of(entry: LedgerEntry) -> str:
    return entry.source_id.partition(".")[0]


def _post(payment: Payment, amounts: dict[str, int], *, source_id: str) -> None:
    require_transaction()
    _insert(
        [
            {
                "kind": kind,
                "debit_account": POSTINGS[kind][0],
                "credit_account": POSTINGS[kind][1],
                "amount_minor": amount,
                "currency": payment.currency,
                "source_id": source_id,
                "payment_id": payment.id,
                "booking_id": payment.booking_id,
                "provider_id": payment.provider_id,
            }
            for kind, amount in amounts.items()
            if amount > 0
        ]
    )


def _insert(rows: list[dict[str, Any]]) -> None:
    if rows:
        db.session.execute(_new(rows))


def _new(rows: list[dict[str, Any]]) -> Insert:
    return insert(LedgerEntry).values(rows).on_conflict_do_nothing(index_elements=["source_id", "kind"])


def _submission_of(refund: Refund) -> str:
    return f"refund_{refund.id}.{refund.submission}"


def _stripe_id_of(refund: Refund) -> str:
    if refund.stripe_refund_id is None:
        raise ValueError(f"refund {refund.id} has no refund at Stripe to post")
    return refund.stripe_refund_id


def _charge_of(payment: Payment) -> str:
    if payment.stripe_charge_id is None:
        raise ValueError(f"payment {payment.id} has no charge to post")
    return payment.stripe_charge_id


@dataclass(frozen=True)
class Balance:
    """One account's totals in one currency, in minor units."""

    code: str
    name: str
    currency: str
    debit_minor: int
    credit_minor: int


def trial_balance() -> list[Balance]:
    """Every account's debits and credits; the two columns add up to the same in each currency."""
    rows = db.session.execute(
        text(
            f"""
            SELECT a.code, a.name, d.currency, CAST(sum(d.debit_minor) AS bigint), CAST(sum(d.credit_minor) AS bigint)
            FROM ({LEDGER_DAYS.all}) AS d JOIN ledger_accounts a ON a.code = d.account
            GROUP BY a.code, a.name, d.currency ORDER BY d.currency, a.code
            """  # noqa: S608  # nosec B608 - our own tables
        )
    )
    return [Balance(*row) for row in rows]
