"""Jobs of disputes: what Stripe is asked for one, and reminders of what waits for an answer."""
