"""Every table, in one place: what the migrations compare the database with."""

from app.accounts.models import (
    AccountLink,
    Claim,
    PasswordResetRequest,
    RecentRecord,
    RecoveryCode,
    RefreshToken,
    SavedView,
    SignInThrottle,
    StaffRole,
    StaffSession,
    TwoFactor,
    User,
)
from app.audit.models import AuditEntry, AuditSeal
from app.bookings.models import Booking, BookingNote
from app.bulk.models import Bulk, BulkChunk, BulkProblem
from app.catalog.models import (
    Availability,
    CancellationPolicy,
    CancellationPolicyTier,
    Package,
    PackageChange,
    Provider,
    ProviderCheck,
    ProviderDocument,
    StockMonth,
)
from app.disputes.models import Dispute
from app.idempotency import IdempotencyKey
from app.imports.models import Import, ImportRejection, SavedMapping
from app.names import NameWord
from app.notifications.models import Notification
from app.payments.ledger_days import LedgerDay
from app.payments.models import LedgerAccount, LedgerEntry, Payment, PaymentHold, Refund, RefundLimit, WebhookEvent
from app.reports.activity_days import ActivityDay
from app.reports.models import Difference, Reconciliation, StripeMovement
from app.reports.provider_sums import ProviderSum
from app.reports.revenue_days import RevenueDay
from app.reviews.models import RatingCount, Review, ReviewText
from app.rollups import Rollup
from app.search.models import (
    IndexRebuild,
    SearchDocument,
    SearchedFor,
    SearchedWords,
    SearchLatency,
    SearchSynonyms,
    SearchWord,
)

__all__ = [
    "AccountLink",
    "ActivityDay",
    "AuditEntry",
    "AuditSeal",
    "Availability",
    "Booking",
    "BookingNote",
    "Bulk",
    "BulkChunk",
    "BulkProblem",
    "CancellationPolicy",
    "CancellationPolicyTier",
    "Claim",
    "Difference",
    "Dispute",
    "IdempotencyKey",
    "Import",
    "ImportRejection",
    "IndexRebuild",
    "LedgerAccount",
    "LedgerDay",
    "LedgerEntry",
    "NameWord",
    "Notification",
    "Package",
    "PackageChange",
    "PasswordResetRequest",
    "Payment",
    "PaymentHold",
    "Provider",
    "ProviderCheck",
    "ProviderDocument",
    "ProviderSum",
    "RatingCount",
    "RecentRecord",
    "Reconciliation",
    "RecoveryCode",
    "RefreshToken",
    "Refund",
    "RefundLimit",
    "RevenueDay",
    "Review",
    "ReviewText",
    "Rollup",
    "SavedMapping",
    "SavedView",
    "SearchDocument",
    "SearchLatency",
    "SearchSynonyms",
    "SearchWord",
    "SearchedFor",
    "SearchedWords",
    "SignInThrottle",
    "StaffRole",
    "StaffSession",
    "StockMonth",
    "StripeMovement",
    "TwoFactor",
    "User",
    "WebhookEvent",
]
