"""What stands in for the world on a developer's machine: services, the local Stripe and the supervisor of `make demo`."""
