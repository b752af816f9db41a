"""Every table, in one place: what the migrations compare the database with."""

from app.accounts.models import RefreshToken, StaffRole, StaffSession, User
from app.audit.models import AuditEntry, AuditSeal
from app.bookings.models import Booking
from app.catalog.models import Availability, Package, Provider
from app.idempotency import IdempotencyKey
from app.payments.models import LedgerAccount, LedgerEntry, Payment, Refund, WebhookEvent
from app.reviews.models import Review

__all__ = [
    "AuditEntry",
    "AuditSeal",
    "Availability",
    "Booking",
    "IdempotencyKey",
    "LedgerAccount",
    "LedgerEntry",
    "Package",
    "Payment",
    "Provider",
    "RefreshToken",
    "Refund",
    "Review",
    "StaffRole",
    "StaffSession",
    "User",
    "WebhookEvent",
]
