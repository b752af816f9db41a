"""Every table, in one place: what the migrations compare the database with."""

from app.accounts.models import RefreshToken, StaffRole, StaffSession, User
from app.audit.models import AuditEntry, AuditSeal
from app.bookings.models import Booking, BookingNote
from app.catalog.models import Availability, Package, Provider
from app.idempotency import IdempotencyKey
from app.notifications.models import Notification
from app.payments.models import LedgerAccount, LedgerEntry, Payment, Refund, WebhookEvent

__all__ = [
    "AuditEntry",
    "AuditSeal",
    "Availability",
    "Booking",
    "BookingNote",
    "IdempotencyKey",
    "LedgerAccount",
    "LedgerEntry",
    "Notification",
    "Package",
    "Payment",
    "Provider",
    "RefreshToken",
    "Refund",
    "StaffRole",
    "StaffSession",
    "User",
    "WebhookEvent",
]
