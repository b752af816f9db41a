"""What the ledger's accounts and postings are called where people read of them, instead of their codes."""

from __future__ import annotations

from app.payments.ledger import POSTINGS

# As the table of accounts has them.
ACCOUNTS = {
    "stripe_balance": "Stripe balance",
    "provider_payable": "Provider payable",
    "commission_revenue": "Commission revenue",
    "stripe_fees": "Stripe fees",
    "refunds_payable": "Refunds payable",
    "goodwill": "Goodwill",
    "disputes_held": "Disputes held",
    "dispute_losses": "Dispute losses",
    "bank": "Bank",
}

_NAMES = {
    "capture.provider_share": "Payment, provider's share",
    "capture.commission": "Payment, our commission",
    "capture.owed_back": "Late payment, owed back",
    "capture.stripe_fee": "Stripe's fee of a payment",
    "refund.provider_share": "Refund, provider's share",
    "refund.commission": "Refund, our commission",
    "refund.goodwill": "Refund, our goodwill",
    "refund.paid": "Refund paid",
    "refund.failed": "Refund came back from the bank",
    "dispute.withdrawn": "Dispute, taken by the bank",
    "dispute.fee": "Dispute fee",
    "dispute.reinstated": "Dispute, given back",
    "dispute.fee_returned": "Dispute fee given back",
    "dispute.lost.provider_share": "Dispute lost, provider's share",
    "dispute.lost.commission": "Dispute lost, our commission",
    "dispute.lost.owed_back": "Dispute lost, was owed back",
    "dispute.lost.excess": "Dispute lost, refunded as well",
    "payout.sent": "Paid out to our bank",
    "payout.fee": "Stripe's fee of a payout",
    "payout.returned": "Payout came back from our bank",
    "payout.fee_returned": "Fee of a payout given back",
    "account.fee": "Stripe's fee of no payment",
    "account.fee_returned": "Stripe's fee given back",
}
# What is posted about another posting.
_ABOUT = {"reversed": "taken back", "more": "corrected, more", "less": "corrected, less"}


def kind_in_words(kind: str) -> str:
    """What a posting is called; one that has no name yet by its code."""
    plain, _, about = kind.rpartition(".")
    if plain in _NAMES and about in _ABOUT:
        return f"{_NAMES[plain]}: {_ABOUT[about]}"
    return _NAMES.get(kind) or kind.replace(".", " ").replace("_", " ").capitalize()


KINDS = {kind: kind_in_words(kind) for kind in POSTINGS}
