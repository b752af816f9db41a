"""/console/verification/: providers that wait to be verified."""

from __future__ import annotations

from functools import partial

from app.catalog import providers
from app.catalog.models import Provider
from app.console.base import EVERYBODY, Column
from app.console.providers import REASONS, TITLES
from app.console.queue import Decision, QueueView

_verify, _reject = (partial(providers.decide, decision=decision) for decision in ("verify", "reject"))


class VerificationView(QueueView):
    """Providers to verify or reject before they sell."""

    roles = EVERYBODY
    icon = "shield-check"
    model = Provider
    title = "Verification"
    exported_as = "providers"
    noun = ("provider", "providers")
    columns = (Column("name", "Provider", "link"), Column("created_at", "Added", "time", "right"))
    titles = TITLES
    decisions = (
        Decision("verify", "Verify", "VERIFIED", _verify, providers.MAY_DECIDE, key="v", reasons=REASONS["verify"]),
        Decision("reject", "Reject", "REJECTED", _reject, providers.MAY_DECIDE, key="r", reasons=REASONS["reject"]),
    )
