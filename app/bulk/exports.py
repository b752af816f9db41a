"""What can be exported of each list: its columns as the database has them, and who gets which of them in clear."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BigInteger, Select, Text, any_, case, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from app.accounts.models import ROLES, StaffRole, User
from app.audit.action_names import ACTIONS
from app.audit.actor import Actor
from app.audit.models import AuditEntry
from app.bookings.models import Booking
from app.bulk import spreadsheet
from app.catalog.models import CancellationPolicy, CancellationPolicyTier, Package, Provider
from app.disputes.models import NO_ANSWER, Dispute
from app.errors import Invalid
from app.extensions import Model, db
from app.notifications.models import Notification
from app.payments.ledger_names import ACCOUNTS, KINDS
from app.payments.models import LedgerEntry, Payment, Refund, WebhookEvent
from app.reports import payables
from app.reports.models import Difference, Reconciliation
from app.reviews.models import Review

_EVERYBODY = frozenset(ROLES)
_FINANCE = frozenset({"finance", "admin"})
_ADMIN = frozenset({"admin"})
_READS_DISPUTES = frozenset({"support", "finance", "admin"})
_REFUNDS = frozenset({"support", "finance", "admin"})
_READS_REVIEWS = frozenset({"support", "moderator", "admin"})
# A file travels further than a page: only who writes to travellers takes their addresses along.
_SEES_ADDRESSES = frozenset({"support", "admin"})
_SEES_NAMES = frozenset({"support", "finance", "admin"})

GONE = "It is not there any more."


@dataclass(frozen=True)
class Mask:
    """Who sees a column in clear, and what the others get."""

    clear_to: frozenset[str]
    masked: Callable[[str], str]


_ADDRESS = Mask(_SEES_ADDRESSES, spreadsheet.masked_address)
_NAME = Mask(_SEES_NAMES, spreadsheet.masked_name)


@dataclass(frozen=True)
class Field:
    """A column of an export; `key` is that of the list's column. Money is in minor units of the export's currency."""

    key: str
    heading: str
    value: Any
    is_money: bool = False
    mask: Mask | None = None

    def is_clear_to(self, by: Actor) -> bool:
        """Whether `by` sees it unmasked."""
        return self.mask is None or by.has(self.mask.clear_to)


@dataclass(frozen=True)
class Export:
    """The rows of one list as CSV: an id, the columns that were chosen, and with money its currency."""

    name: str
    nouns: tuple[str, str]
    roles: frozenset[str]
    model: type[Model]
    fields: Sequence[Field]
    currency: Any = None
    joined: Callable[[Select[Any]], Select[Any]] = field(default=lambda query: query)

    def chosen(self, arguments: Mapping[str, Any]) -> list[Field]:
        """The columns that were asked for, in the order of the list. Raises Invalid for one that there isn't."""
        wanted = set(arguments["columns"])
        if unknown := wanted - {field.key for field in self.fields}:
            raise Invalid.field("columns", f"{self.nouns[1].capitalize()} have no column {min(unknown)}.")
        return [field for field in self.fields if field.key in wanted]

    def headings(self, arguments: Mapping[str, Any]) -> list[str]:
        """The first line of the file."""
        found = ["Id"]
        for chosen in self.chosen(arguments):
            is_masked = chosen.mask is not None and chosen.key not in arguments["clear"]
            found.append(f"{chosen.heading} (masked)" if is_masked else chosen.heading)
            if chosen.is_money and "Currency" not in found:
                found.append("Currency")
        return found

    def part(self, ids: list[int], arguments: Mapping[str, Any], by: Actor) -> tuple[bytes, list[int]]:
        """These rows as lines of CSV, in the order of the ids, and which of them there are.

        What was masked when it was asked for stays so; what `by` may not see any more is masked as well.
        """
        chosen = self.chosen(arguments)
        row_id = self.model.__table__.c.id
        values = [row_id, *(field.value for field in chosen)]
        if self.currency is not None:
            values.append(self.currency)
        query = self.joined(select(*values).select_from(self.model))
        rows = db.session.execute(query.where(row_id == any_(cast(ids, ARRAY(BigInteger)))))
        found = {row[0]: row for row in rows}
        clear = [field.key in arguments["clear"] and field.is_clear_to(by) for field in chosen]
        there = [row_id for row_id in ids if row_id in found]
        return spreadsheet.lines(_cells(found[row_id], chosen, clear) for row_id in there), there


def _cells(row: Sequence[Any], chosen: Sequence[Field], clear: Sequence[bool]) -> list[Any]:
    cells, has_currency = [row[0]], False
    for field_, value, is_clear in zip(chosen, row[1:], clear, strict=False):
        if field_.is_money:
            currency = row[-1]
            cells.append(None if value is None else spreadsheet.amount(value, currency))
            if not has_currency:
                cells.append(currency)
                has_currency = True
        elif field_.mask is None or is_clear or value is None:
            cells.append(value)
        else:
            cells.append(field_.mask.masked(value))
    return cells


def _of_packages(*conditions: Any) -> Any:
    wanted = select(func.count()).where(Package.provider_id == Provider.id, *conditions)
    return wanted.correlate(Provider).scalar_subquery()


def _in_words(column: Any, names: Mapping[str, str]) -> Any:
    return case(dict(names), value=column, else_=column)


def _name_of(person_id: Any) -> Any:
    return select(User.name).where(User.id == person_id).scalar_subquery()


def _of_bookings(figure: Any) -> Any:
    return select(figure).where(Booking.traveller_id == User.id).correlate(User).scalar_subquery()


_REFERENCE = Field("booking", "Booking", Booking.reference)
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
_OPEN_DIFFERENCES = (
    select(func.count())
    .where(Difference.reconciliation_id == Reconciliation.id, Difference.status == "OPEN")
    .correlate(Reconciliation)
    .scalar_subquery()
)

EXPORTS = {
    export.name: export
    for export in (
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
            "payments",
            ("payment", "payments"),
            _FINANCE,
            Payment,
            (
                _REFERENCE,
                Field("status", "State", Payment.status),
                Field("amount", "Amount", Payment.amount_minor, is_money=True),
                Field("refunded", "Refunded", Payment.refunded_minor, is_money=True),
                Field("intent", "Intent", Payment.stripe_payment_intent_id),
                Field("failure", "Last refusal", Payment.failure_message),
                Field("created_at", "Started", Payment.created_at),
            ),
            currency=Payment.currency,
            joined=lambda query: query.join(Booking, Booking.id == Payment.booking_id),
        ),
        Export(
            "disputes",
            ("dispute", "disputes"),
            _READS_DISPUTES,
            Dispute,
            (
                _REFERENCE,
                Field("status", "State", Dispute.status),
                Field("answer_by", "Answer by", case((Dispute.answer_by < NO_ANSWER, Dispute.answer_by))),
                Field(
                    "evidence",
                    "Evidence",
                    case(
                        (Dispute.submitted_at.is_not(None), "SUBMITTED"),
                        (Dispute.evidence_at_stripe != {}, "STAGED"),
                        else_="DRAFT",
                    ),
                ),
                Field("reason", "Reason", Dispute.reason),
                Field("amount", "Amount", Dispute.amount_minor, is_money=True),
                Field("at_stripe", "Dispute", Dispute.stripe_dispute_id),
                Field("opened_at", "Opened", Dispute.opened_at),
            ),
            currency=Dispute.currency,
            joined=lambda query: query.join(Booking, Booking.id == Dispute.booking_id),
        ),
        Export(
            "refunds",
            ("refund", "refunds"),
            _REFUNDS,
            Refund,
            (
                Field("booking", "Refund of", Booking.reference),
                Field("amount", "Amount", Refund.amount_minor, is_money=True),
                Field("kind", "Kind", Refund.kind),
                Field("reason", "Reason", Refund.reason),
                Field("status", "State", Refund.status),
                Field("asked_by", "Asked by", _name_of(Refund.requested_by_id)),
                Field("failure", "Stripe's words", Refund.failure_reason),
                Field("created_at", "Asked", Refund.created_at),
            ),
            currency=Refund.currency,
            joined=lambda query: query.join(Payment, Payment.id == Refund.payment_id).join(
                Booking, Booking.id == Payment.booking_id
            ),
        ),
        Export(
            "ledger",
            ("entry", "entries"),
            _FINANCE,
            LedgerEntry,
            (
                Field("kind", "Posting", _in_words(LedgerEntry.kind, KINDS)),
                Field("debit", "Debit", _in_words(LedgerEntry.debit_account, ACCOUNTS)),
                Field("credit", "Credit", _in_words(LedgerEntry.credit_account, ACCOUNTS)),
                Field("amount", "Amount", LedgerEntry.amount_minor, is_money=True),
                Field("source", "Source", LedgerEntry.source_id),
                _REFERENCE,
                Field("posted_at", "Posted", LedgerEntry.posted_at),
            ),
            currency=LedgerEntry.currency,
            joined=lambda query: query.join(Booking, Booking.id == LedgerEntry.booking_id),
        ),
        Export(
            "payables",
            ("booking", "bookings"),
            _FINANCE,
            Booking,
            (
                Field("booking", "Booking", Booking.reference),
                Field("status", "State", Booking.status),
                Field("provider", "Provider", Provider.name),
                Field("package", "Package", Booking.package_name),
                Field("ends_on", "Stay ends", Booking.ends_on),
                Field("state", "Provider's part is", payables.STATE),
                Field("kept", "Provider's part", payables.KEPT_FOR_PROVIDER, is_money=True),
            ),
            currency=Booking.currency,
            joined=lambda query: query.join(Provider, Provider.id == Booking.provider_id),
        ),
        Export(
            "webhooks",
            ("event", "events"),
            _FINANCE,
            WebhookEvent,
            (
                Field("type", "Event", WebhookEvent.type),
                Field("event", "Stripe's id", WebhookEvent.stripe_event_id),
                Field("status", "State", WebhookEvent.status),
                Field("object_id", "About", WebhookEvent.object_id),
                Field("attempts", "Failed tries", WebhookEvent.attempts),
                Field("last_error", "Error", WebhookEvent.last_error),
                Field("received_at", "Received", WebhookEvent.received_at),
            ),
        ),
        Export(
            "reconciliations",
            ("day", "days"),
            _FINANCE,
            Reconciliation,
            (
                Field("day", "Day", Reconciliation.day),
                Field("state", "State", Reconciliation.status),
                Field("matched", "Agree", Reconciliation.matched),
                Field("differing", "Differ", Reconciliation.differing),
                Field("open", "To be dealt with", _OPEN_DIFFERENCES),
                Field("because", "Error", func.coalesce(Reconciliation.ended_because, Reconciliation.last_error)),
                Field("by", "Asked for by", User.name),
                Field("compared_at", "Compared", Reconciliation.compared_at),
            ),
            joined=lambda query: query.outerjoin(User, User.id == Reconciliation.by_id),
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
                Field("action", "Action", _in_words(AuditEntry.action, ACTIONS)),
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
