"""What stands in for the world on a developer's machine: the services, the local Stripe, the supervisor."""
