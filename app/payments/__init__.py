"""Money in and out: payments, refunds, Stripe's events, and the ledger."""
