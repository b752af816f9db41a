"""Verbs of providers: verified or rejected before they sell, suspended and reinstated afterwards."""

from __future__ import annotations

from app.audit import history, reasons
from app.audit import service as audit
from app.audit.actor import Actor
from app.catalog import changes, checklist
from app.catalog.models import Provider
from app.db import lock, transaction

MAY_DECIDE = checklist.MAY_DECIDE

# What may be decided about a provider: from which state, to which.
DECISIONS = {
    "verify": ("PENDING", "VERIFIED"),
    "reject": ("PENDING", "REJECTED"),
    "reconsider": ("REJECTED", "PENDING"),
    "suspend": ("VERIFIED", "SUSPENDED"),
    "reinstate": ("SUSPENDED", "VERIFIED"),
}


def decide(provider_id: int, decision: str, *, by: Actor, reason: str | None) -> Provider:
    """Take one of the `DECISIONS` about a provider, with its reason.

    Only a verified provider's packages are on sale: verifying and reinstating puts the published ones on sale,
    suspending takes them out of it. Bookings that were made stand, whatever is decided. A rejection tells which items
    of the checklist were refused.
    Raises NotAllowed, NotFound, Invalid without a reason, and Conflict naming who was first, or what the checklist
    still lacks.
    """
    by.require(*MAY_DECIDE)
    source, to = DECISIONS[decision]
    reason = reasons.given(reason)
    with transaction():
        provider = lock(Provider, provider_id)
        if provider.status != source:
            history.refuse_move(provider, to)
        if to == "VERIFIED":
            checklist.require_complete(provider)
        elif decision == "reject" and (refused := checklist.refused(provider)):
            reason = f"{reason.rstrip('.')}. Refused: {'; '.join(refused)}"
        history.move(provider, to)
        audit.record(by, f"provider.{decision}", provider, reason=reason)
        changes.announce()
    return provider
