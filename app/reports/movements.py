"""What each movement of Stripe's balance is booked as in the ledger: what the check of all of it and the reconciliation
of a day compare.
"""

from __future__ import annotations

from app.payments.stripe_objects import BalanceTransaction

# Stripe's types of balance transactions, and what each is booked as.
# https://docs.stripe.com/reports/balance-transaction-types
_BOOKED_AS = {
    "charge": "capture",
    "payment": "capture",
    "refund": "refund.paid",
    "payment_refund": "refund.paid",
    "refund_failure": "refund.failed",
    "payment_failure_refund": "refund.failed",
}

# Those of no payment, by what goes out and what comes in. A payout goes out, and comes back when it is cancelled or
# fails; one of a balance below zero comes in. Fees are for Stripe's products, and for what is billed apart from its
# payment, such as the answer to a dispute.
_PAYOUT = ("payout.sent", "payout.returned")
_FEE = ("account.fee", "account.fee_returned")
OF_NO_PAYMENT = {
    **dict.fromkeys(("payout", "payout_cancel", "payout_failure"), _PAYOUT),
    **dict.fromkeys(("stripe_fee", "stripe_fx_fee", "tax_fee"), _FEE),
}

# What is booked: the kinds of ledger entries that book its amount, and those that book its fee.
ENTRIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "capture": (("capture.provider_share", "capture.commission", "capture.owed_back"), ("capture.stripe_fee",)),
    "refund.paid": (("refund.paid",), ()),
    "refund.failed": (("refund.failed",), ()),
    "dispute.withdrawn": (("dispute.withdrawn",), ("dispute.fee",)),
    "dispute.reinstated": (("dispute.reinstated",), ("dispute.fee_returned",)),
    "payout.sent": (("payout.sent",), ("payout.fee",)),
    "payout.returned": (("payout.returned",), ("payout.fee_returned",)),
    "account.fee": (("account.fee",), ()),
    "account.fee_returned": (("account.fee_returned",), ()),
}

# The same as a relation, with what corrects them: (kind, booked_as, is_fee).
KINDS = "(VALUES {}) AS kinds(kind, booked_as, is_fee)".format(
    ", ".join(
        f"('{kind}{correction}', '{booked_as}', {is_fee})"
        for booked_as, sides in ENTRIES.items()
        for is_fee, kinds in zip((False, True), sides, strict=True)
        for kind in kinds
        for correction in ("", ".more", ".less")
    )
)

# What the ledger has of `told.booked_as` and `told.source`: `amount` and `fee` as Stripe tells them, and how many
# `entries`.
BOOKED = f"""
    SELECT coalesce(sum(signed) FILTER (WHERE NOT is_fee), 0)::bigint AS amount,
           coalesce(-sum(signed) FILTER (WHERE is_fee), 0)::bigint AS fee,
           count(*) AS entries, min(payment_id) AS payment_id
    FROM (SELECT CASE e.debit_account WHEN 'stripe_balance' THEN e.amount_minor ELSE -e.amount_minor END AS signed,
                 kinds.is_fee, e.payment_id
          FROM ledger_entries e JOIN {KINDS} ON kinds.kind = e.kind AND kinds.booked_as = told.booked_as
          WHERE e.source_id = told.source) AS entries
"""  # noqa: S608  # nosec B608 - constants of this module


def booked_as(row: BalanceTransaction) -> str | None:
    """What the ledger calls this movement; None for one that it has no posting for."""
    if row.type in OF_NO_PAYMENT:
        return OF_NO_PAYMENT[row.type][row.amount_minor > 0]
    if row.source_id is None:
        return None
    if row.type == "adjustment" and row.source_id.startswith(("dp_", "du_")):
        return "dispute.withdrawn" if row.amount_minor < 0 else "dispute.reinstated"
    return _BOOKED_AS.get(row.type)


def is_of_no_payment(row: BalanceTransaction) -> bool:
    """Whether Stripe made it by itself, so that no event of a payment tells of it."""
    return row.type in OF_NO_PAYMENT


def source_of(row: BalanceTransaction) -> str:
    """The object that it is about. A fee of no payment is about itself, whatever it is taken for: of one dispute or
    product there may be several.
    """
    is_fee = row.type in OF_NO_PAYMENT and OF_NO_PAYMENT[row.type] == _FEE
    return row.id if is_fee else row.source_id or row.id
