"""What an entry of the audit trail is about: what it is called, and where it can be looked at."""

from __future__ import annotations

from flask import current_app

from app.audit.models import AuditEntry

# The pages of what entries are about, by table; one that isn't served is not linked to.
_PAGES = {
    "bookings": "/console/bookings/{}/",
    "payments": "/console/payments/{}/",
    "refunds": "/console/refunds/{}/",
    "webhook_events": "/console/webhooks/{}/",
    "reconciliations": "/console/reconciliation/{}/",
    "differences": "/console/reconciliation/differences/{}/",
    "ledger_entries": "/console/ledger/{}/",
    "packages": "/console/packages/{}/",
    "cancellation_policies": "/console/policies/{}/",
    "providers": "/console/providers/{}/",
    "users": "/console/users/{}/",
    "notifications": "/console/mail/{}/",
}


def page_of(entry: AuditEntry) -> str | None:
    """The page of what an entry is about; None where there is none."""
    path = _PAGES.get(entry.object_type, "").format(entry.object_id)
    return path if path and current_app.url_map.bind("").test(path) else None


def object_in_words(entry: AuditEntry) -> str:
    """What an entry is about, as `payments 7`."""
    return f"{entry.object_type.replace('_', ' ')} {entry.object_id}"
