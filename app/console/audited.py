"""What an entry of the audit trail is about: what it is called, and where it can be looked at."""

from __future__ import annotations

from flask import current_app

from app.audit.models import AuditEntry

# What entries are about, by table: one of them, and many.
THINGS = {
    "bookings": ("booking", "Bookings"),
    "booking_notes": ("note of a booking", "Notes of bookings"),
    "reviews": ("review", "Reviews"),
    "payments": ("payment", "Payments"),
    "refunds": ("refund", "Refunds"),
    "refund_limits": ("limit for refunds", "Limits for refunds"),
    "disputes": ("dispute", "Disputes"),
    "webhook_events": ("Stripe's event", "Stripe's events"),
    "reconciliations": ("reconciliation", "Reconciliations"),
    "differences": ("difference", "Differences"),
    "ledger_entries": ("ledger entry", "Ledger entries"),
    "packages": ("package", "Packages"),
    "cancellation_policies": ("cancellation policy", "Cancellation policies"),
    "providers": ("provider", "Providers"),
    "provider_documents": ("document of a provider", "Documents of providers"),
    "search_synonyms": ("group of synonyms", "Groups of synonyms"),
    "imports": ("import", "Imports"),
    "import_mappings": ("choice of columns", "Choices of columns"),
    "bulks": ("bulk run", "Bulk runs"),
    "users": ("person", "People"),
    "staff_sessions": ("sign-in", "Sign-ins of staff"),
    "refresh_tokens": ("sign-in by the API", "Sign-ins by the API"),
    "password_reset_requests": ("request for a new password", "Requests for new passwords"),
    "notifications": ("mail", "Mail"),
}
# The pages of what entries are about; one that isn't served is not linked to.
_PAGES = {
    "bookings": "/console/bookings/{}/",
    "payments": "/console/payments/{}/",
    "refunds": "/console/refunds/{}/",
    "webhook_events": "/console/webhooks/{}/",
    "reconciliations": "/console/reconciliation/{}/",
    "differences": "/console/reconciliation/differences/{}/",
    "disputes": "/console/disputes/{}/",
    "ledger_entries": "/console/ledger/{}/",
    "packages": "/console/packages/{}/",
    "cancellation_policies": "/console/policies/{}/",
    "providers": "/console/providers/{}/",
    "search_synonyms": "/console/synonyms/{}/",
    "users": "/console/users/{}/",
    "notifications": "/console/mail/{}/",
}


def page_of(entry: AuditEntry) -> str | None:
    """The page of what an entry is about; None where there is none."""
    path = _PAGES.get(entry.object_type, "").format(entry.object_id)
    return path if path and current_app.url_map.bind("").test(path) else None


def object_in_words(entry: AuditEntry) -> str:
    """What an entry is about, as `payment 7`; of a table without a name here, by that."""
    one, _ = THINGS.get(entry.object_type, (entry.object_type.replace("_", " "), ""))
    return f"{one} {entry.object_id}"
