"""What can be exported of each list, by name; that of the lists of money stands in `exports_of_money`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text, case, cast, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from app.accounts.models import ROLES, StaffRole, User
from app.audit.action_names import ACTIONS
from app.audit.models import AuditEntry
from app.bookings.models import Booking
from app.bulk import spreadsheet
from app.bulk.export import Export, Field, Mask, in_words
from app.bulk.exports_of_money import OF_MONEY
from app.catalog.models import CancellationPolicy, CancellationPolicyTier, Package, Provider
from app.notifications.models import Notification
from app.reviews.models import Review
from app.search.models import SearchedFor

_EVERYBODY = frozenset(ROLES)
_ADMIN = frozenset({"admin"})
_READS_REVIEWS = frozenset({"support", "moderator", "admin"})
# A file travels further than a page: only who writes to travellers takes their addresses along.
_SEES_ADDRESSES = frozenset({"support", "admin"})
_SEES_NAMES = frozenset({"support", "finance", "admin"})

_ADDRESS = Mask(_SEES_ADDRESSES, spreadsheet.masked_address)
_NAME = Mask(_SEES_NAMES, spreadsheet.masked_name)


def _of_packages(*conditions: Any) -> Any:
    wanted = select(func.count()).where(Package.provider_id == Provider.id, *conditions)
    return wanted.correlate(Provider).scalar_subquery()


def _of_bookings(figure: Any) -> Any:
    return select(figure).where(Booking.traveller_id == User.id).correlate(User).scalar_subquery()


_ACCOUNT = case((User.is_active, "ACTIVE"), else_="DEACTIVATED")
_ROLES = (
    select(func.string_agg(StaffRole.role, aggregate_order_by(cast(", ", Text), StaffRole.role)))
    .where(StaffRole.user_id == User.id)
    .correlate(User)
    .scalar_subquery()
)

_TIERS = (
    select(
        func.string_agg(
            cast(CancellationPolicyTier.refund_percent, Text)
            + " % until "
            + cast(CancellationPolicyTier.days_before, Text)
            + " days before",
            aggregate_order_by(cast(", ", Text), CancellationPolicyTier.days_before.desc()),
        )
    )
    .where(
        CancellationPolicyTier.policy_id == CancellationPolicy.id,
        CancellationPolicyTier.version == CancellationPolicy.version,
    )
    .correlate(CancellationPolicy)
    .scalar_subquery()
)
_PACKAGES_UNDER_IT = (
    select(func.count())
    .where(Package.cancellation_policy == CancellationPolicy.code)
    .correlate(CancellationPolicy)
    .scalar_subquery()
)

EXPORTS = {
    export.name: export
    for export in (
        *OF_MONEY,
        Export(
            "bookings",
            ("booking", "bookings"),
            _EVERYBODY,
            Booking,
            (
                Field("reference", "Booking", Booking.reference),
                Field("status", "State", Booking.status),
                Field("traveller", "Traveller", User.name, mask=_NAME),
                Field("package", "Package", Booking.package_name),
                Field("starts_on", "From", Booking.starts_on),
                Field("ends_on", "To", Booking.ends_on),
                Field("total", "Total", Booking.total_minor, is_money=True),
                Field("guests", "Guests", Booking.guests),
                Field("units", "Units", Booking.units),
                Field("created_at", "Booked", Booking.created_at),
            ),
            currency=Booking.currency,
            joined=lambda query: query.join(User, User.id == Booking.traveller_id),
        ),
        Export(
            "reviews",
            ("review", "reviews"),
            _READS_REVIEWS,
            Review,
            (
                Field("title", "Review", Review.title),
                Field("content", "Text", Review.content),
                Field("rating", "Stars", Review.rating),
                Field("package", "Package", Package.name),
                Field("status", "State", Review.status),
                Field("created_at", "Written", Review.created_at),
            ),
            joined=lambda query: query.join(Package, Package.id == Review.package_id),
        ),
        Export(
            "packages",
            ("package", "packages"),
            _EVERYBODY,
            Package,
            (
                Field("name", "Package", Package.name),
                Field("status", "State", Package.status),
                Field("what", "What", func.initcap(Package.type) + " in " + Package.city + ", " + Package.country),
                Field("provider", "Provider", Provider.name),
                Field("provider_status", "Provider's state", Provider.status),
                Field("price", "Price", Package.price_minor, is_money=True),
                Field("units", "Units", Package.units),
            ),
            currency=Package.currency,
            joined=lambda query: query.join(Provider, Provider.id == Package.provider_id),
        ),
        Export(
            "policies",
            ("policy", "policies"),
            _EVERYBODY,
            CancellationPolicy,
            (
                Field("name", "Policy", CancellationPolicy.name),
                Field("status", "State", CancellationPolicy.status),
                Field("gives", "A guest gets back", _TIERS),
                Field("code", "Code", CancellationPolicy.code),
                Field("packages", "Packages", _PACKAGES_UNDER_IT),
                Field("updated_at", "Changed", CancellationPolicy.updated_at),
                Field("created_at", "Made", CancellationPolicy.created_at),
            ),
        ),
        Export(
            "providers",
            ("provider", "providers"),
            _EVERYBODY,
            Provider,
            (
                Field("name", "Provider", Provider.name),
                Field("status", "State", Provider.status),
                Field("packages", "Packages", _of_packages()),
                Field("published", "Published", _of_packages(Package.status == "PUBLISHED")),
                Field("external_id", "External id", Provider.external_id),
                Field("created_at", "Added", Provider.created_at),
            ),
        ),
        Export(
            "travellers",
            ("traveller", "travellers"),
            _EVERYBODY,
            User,
            (
                Field("name", "Traveller", User.name, mask=_NAME),
                Field("email", "E-mail", User.email, mask=_ADDRESS),
                Field("status", "Account", _ACCOUNT),
                Field("bookings", "Bookings", _of_bookings(func.count())),
                Field("last_booking", "Last booking", _of_bookings(func.max(Booking.created_at))),
                Field("created_at", "Registered", User.created_at),
            ),
        ),
        Export(
            "staff",
            ("member of staff", "members of staff"),
            _ADMIN,
            User,
            (
                Field("name", "Name", User.name),
                Field("email", "E-mail", User.email),
                Field(
                    "state",
                    "State",
                    case((~User.is_active, "DEACTIVATED"), (User.password_hash.is_(None), "INVITED"), else_="ACTIVE"),
                ),
                Field("roles", "Roles", _ROLES),
                Field(
                    "two_factor",
                    "Signs in with",
                    case((User.two_factor_since.is_(None), "password only"), else_="second factor"),
                ),
                Field("created_at", "Since", User.created_at),
            ),
        ),
        Export(
            "searches",
            ("query", "queries"),
            _ADMIN,
            SearchedFor,
            (
                Field("words", "Words", SearchedFor.words),
                Field("searches", "Searches", SearchedFor.searches),
                Field("without_result", "Without a result", SearchedFor.without_result),
                Field("mean_ms", "Mean, ms", SearchedFor.mean_ms),
                Field("slowest_ms", "Slowest, ms", SearchedFor.slowest_ms),
                Field("degraded", "Engine stood in", SearchedFor.degraded),
                Field("engine", "Engine", SearchedFor.engine),
                Field("last_at", "Last", SearchedFor.last_at),
            ),
        ),
        Export(
            "mail",
            ("mail", "mails"),
            _SEES_ADDRESSES,
            Notification,
            (
                Field("kind", "Mail", Notification.kind),
                Field("status", "State", Notification.status),
                Field("recipient", "To", Notification.recipient),
                Field("subject", "Subject", Notification.subject),
                Field("created_at", "Written", Notification.created_at),
                Field("sent_at", "Sent", Notification.sent_at),
            ),
        ),
        Export(
            "audit",
            ("audit entry", "audit entries"),
            _ADMIN,
            AuditEntry,
            (
                Field("action", "Action", in_words(AuditEntry.action, ACTIONS)),
                Field("code", "Code", AuditEntry.action),
                Field("object", "To", AuditEntry.object_type + " " + cast(AuditEntry.object_id, Text)),
                Field("actor", "By", AuditEntry.actor_label),
                Field("reason", "Reason", AuditEntry.reason),
                Field("request_id", "Request", AuditEntry.request_id),
                Field("at", "When", AuditEntry.at),
            ),
        ),
    )
}
