"""A local stand-in for the part of Stripe that Tripdesk uses: `python -m dev.stripe --help` says how to start it."""
