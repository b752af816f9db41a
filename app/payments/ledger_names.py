"""What the ledger's accounts and postings are called where people read of them, instead of their codes."""

from __future__ import annotations

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
}

# The kinds of POSTINGS in `ledger`.
KINDS = {
    "capture.provider_share": "Payment, provider's share",
    "capture.commission": "Payment, our commission",
    "capture.owed_back": "Payment that came too late, owed back",
    "capture.stripe_fee": "Stripe's fee of a payment",
    "refund.provider_share": "Refund, provider's share",
    "refund.commission": "Refund, our commission",
    "refund.goodwill": "Refund, our goodwill",
    "refund.provider_share.reversed": "Refund failed, provider's share taken back",
    "refund.commission.reversed": "Refund failed, our commission taken back",
    "refund.goodwill.reversed": "Refund failed, our goodwill taken back",
    "refund.paid": "Refund paid",
    "refund.failed": "Refund came back from the bank",
    "dispute.withdrawn": "Dispute, taken by the bank",
    "dispute.fee": "Dispute fee",
    "dispute.reinstated": "Dispute won, given back",
    "dispute.fee_returned": "Dispute fee given back",
    "dispute.lost.provider_share": "Dispute lost, provider's share",
    "dispute.lost.commission": "Dispute lost, our commission",
    "dispute.lost.owed_back": "Dispute lost, was owed back",
    "dispute.lost.excess": "Dispute lost, refunded before",
}
# What a kind that stems from another one is called, beside what that is.
_ENDINGS = {".reversed": "taken back", ".more": "corrected up", ".less": "corrected down"}


def kind_in_words(kind: str) -> str:
    """What a posting is called; one that is not known yet by its code."""
    if kind in KINDS:
        return KINDS[kind]
    for ending, words in _ENDINGS.items():
        if kind.removesuffix(ending) in KINDS:
            return f"{KINDS[kind.removesuffix(ending)]}, {words}"
    return kind.replace(".", " ").replace("_", " ").capitalize()
