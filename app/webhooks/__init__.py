"""Stripe's door: verify, store, answer, enqueue."""
