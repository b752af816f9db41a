"""Disputes over payments: chargebacks, which a traveller's bank opens at Stripe, and later those of guests."""
