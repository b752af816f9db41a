"""Providers and what they have to show, packages, and availability, of which the database itself keeps
`held + booked <= capacity` for every day; and what the database notes of all that for search.
"""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    FetchedValue,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.models import User
from app.extensions import Model, words_index
from app.states import Stateful, moves, status_check

PACKAGE_TYPES = ("hotel", "tour")


class Provider(Stateful):
    """Somebody who sells packages on the marketplace. Only a verified provider's packages are on sale.

    How staff reach them (`contact_name`, `email`, `phone`, `address`, `country`) is typed in by staff; an import says
    nothing about it.
    """

    MOVES = moves(
        {"PENDING": "VERIFIED REJECTED", "REJECTED": "PENDING", "VERIFIED": "SUSPENDED", "SUSPENDED": "VERIFIED"}
    )

    __tablename__ = "providers"
    __table_args__ = (
        status_check(MOVES),
        words_index("providers", "name"),
        Index("ix_providers_name", "name", "id"),
        Index("ix_providers_created_at", "created_at", "id"),
        # The verification queue, and how much waits in it.
        Index("ix_providers_status", "status", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    external_id: Mapped[str | None] = mapped_column(unique=True)
    name: Mapped[str]
    contact_name: Mapped[str | None]
    email: Mapped[str | None]
    phone: Mapped[str | None]
    address: Mapped[str | None]
    country: Mapped[str | None]
    status: Mapped[str] = mapped_column(default="PENDING", server_default="PENDING")
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())


class ProviderCheck(Stateful):
    """What was decided about one item of a provider's checklist (`app/catalog/checklist.py`); no row means open.

    Accepted without `decided_by`: nobody here looked at it, and `reason` says why it counts all the same.
    """

    MOVES = moves({"OPEN": "ACCEPTED REFUSED", "ACCEPTED": "OPEN", "REFUSED": "OPEN"})
    STAMPS = {"ACCEPTED": "decided_at", "REFUSED": "decided_at"}

    __tablename__ = "provider_checks"
    __table_args__ = (
        status_check(MOVES),
        UniqueConstraint("provider_id", "item"),
        CheckConstraint("(status = 'OPEN') = (decided_at IS NULL)", name="decided"),
        CheckConstraint("status = 'ACCEPTED' OR (status = 'REFUSED') = (reason IS NOT NULL)", name="reason"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    provider_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("providers.id"))
    item: Mapped[str]
    status: Mapped[str] = mapped_column(default="OPEN", server_default="OPEN")
    reason: Mapped[str | None]
    decided_by_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[User | None] = relationship(lazy="joined")


class ProviderDocument(Stateful):
    """A paper that a provider has shown for one item of its checklist. Its file is in the storage under a key of ours.

    A document is never changed: a newer one replaces it. Of a removed one the row is left, and no file.
    """

    MOVES = moves({"CURRENT": "REPLACED REMOVED", "REPLACED": "REMOVED", "REMOVED": ""})
    STAMPS = {"REPLACED": "replaced_at", "REMOVED": "removed_at"}

    __tablename__ = "provider_documents"
    __table_args__ = (
        status_check(MOVES),
        UniqueConstraint("storage_key"),
        CheckConstraint("size > 0", name="size"),
        CheckConstraint("(status = 'REMOVED') = (removal_reason IS NOT NULL)", name="removed"),
        Index("ix_provider_documents_provider_id", "provider_id", "id"),
        Index(
            "uq_provider_documents_current",
            *("provider_id", "item"),
            unique=True,
            postgresql_where=text("status = 'CURRENT'"),
        ),
        Index("ix_provider_documents_expires_on", "expires_on", postgresql_where=text("status = 'CURRENT'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    provider_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("providers.id"))
    item: Mapped[str]
    status: Mapped[str] = mapped_column(default="CURRENT", server_default="CURRENT")
    storage_key: Mapped[str]
    file_name: Mapped[str]
    content_type: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[bytes]
    expires_on: Mapped[date | None]
    uploaded_by_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    uploaded_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    replaced_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]
    removal_reason: Mapped[str | None]
    uploaded_by: Mapped[User | None] = relationship(lazy="joined")


class CancellationPolicy(Stateful):
    """What part of the price a guest gets back, by when they cancel; its tiers are those of its `version`.

    A package names it by its `code`, which never changes; a booking keeps the terms that it was sold under. One that is
    retired is chosen for no package any more, and holds for those that have it.
    """

    MOVES = moves({"ACTIVE": "RETIRED", "RETIRED": "ACTIVE"})

    __tablename__ = "cancellation_policies"
    __table_args__ = (
        status_check(MOVES),
        CheckConstraint("version > 0", name="version"),
        Index("uq_cancellation_policies_name", text("lower(name)"), unique=True),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    status: Mapped[str] = mapped_column(default="ACTIVE", server_default="ACTIVE")
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    updated_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())


class CancellationPolicyTier(Model):
    """How much comes back from so many days before the start on, in one version of a policy; never changed."""

    __tablename__ = "cancellation_policy_tiers"
    __table_args__ = (
        CheckConstraint("days_before BETWEEN 0 AND 365", name="days"),
        CheckConstraint("refund_percent BETWEEN 0 AND 100", name="percent"),
    )

    policy_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("cancellation_policies.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    days_before: Mapped[int] = mapped_column(primary_key=True)
    refund_percent: Mapped[int]


class Package(Stateful):
    """A hotel package (sold by the night) or a tour package (sold by the departure).

    `capacity` is guests per unit, `units` how many are sold a day, `price_minor` the price of one unit for one night or
    departure unless the day says otherwise. `time_zone` is an IANA name; days and policies are counted in it.
    """

    MOVES = moves({"DRAFT": "PUBLISHED", "PUBLISHED": "DRAFT"})

    __tablename__ = "packages"
    __table_args__ = (
        status_check(MOVES),
        UniqueConstraint("provider_id", "external_id"),
        CheckConstraint("type IN ('hotel', 'tour')", name="type"),
        CheckConstraint("price_minor > 0", name="price"),
        CheckConstraint("capacity > 0 AND units > 0 AND min_nights > 0 AND duration_days > 0", name="counts"),
        CheckConstraint("latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180", name="position"),
        Index("ix_packages_provider_id", "provider_id", "id"),
        Index("ix_packages_name", "name", "id"),
        Index("ix_packages_price_minor", "price_minor", "id"),
        Index("ix_packages_cancellation_policy", "cancellation_policy", "id"),
        # Who is only for longer stays, and who isn't on sale.
        Index("ix_packages_min_nights", "min_nights", "id"),
        Index("ix_packages_off_sale", "id", postgresql_where=text("status <> 'PUBLISHED'")),
        words_index("packages", "name"),
        words_index("packages", "place"),
        words_index("packages", "city"),
        words_index("packages", "country"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    provider_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("providers.id"))
    external_id: Mapped[str | None]
    type: Mapped[str]
    status: Mapped[str] = mapped_column(default="DRAFT", server_default="DRAFT")
    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="", server_default="")
    place: Mapped[str | None]
    city: Mapped[str]
    country: Mapped[str]
    time_zone: Mapped[str]
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    price_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(default="USD", server_default="USD")
    capacity: Mapped[int]
    units: Mapped[int]
    min_nights: Mapped[int] = mapped_column(default=1, server_default="1")
    duration_days: Mapped[int] = mapped_column(default=1, server_default="1")
    amenities: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list, server_default="{}")
    cancellation_policy: Mapped[str] = mapped_column(
        ForeignKey("cancellation_policies.code"), default="moderate", server_default="moderate"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    updated_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    provider: Mapped[Provider] = relationship(lazy="joined", innerjoin=True)


class Availability(Model):
    """The stock of one package on one day: the night that starts then, or the departure.

    `min_nights` is for stays that check in on this day; without one the package's own counts. A closed day keeps its
    stock, price and bookings, and sells nothing.
    """

    __tablename__ = "availability"
    __table_args__ = (
        CheckConstraint("held >= 0 AND booked >= 0 AND capacity >= 0", name="counts"),
        CheckConstraint("held + booked <= capacity", name="not_oversold"),
        CheckConstraint("price_minor > 0", name="price"),
        CheckConstraint("min_nights > 0", name="min_nights"),
    )

    package_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("packages.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    capacity: Mapped[int]
    held: Mapped[int] = mapped_column(default=0, server_default="0")
    booked: Mapped[int] = mapped_column(default=0, server_default="0")
    price_minor: Mapped[int] = mapped_column(BigInteger)
    min_nights: Mapped[int | None]
    closed: Mapped[bool] = mapped_column(default=False, server_default="false")


class StockMonth(Model):
    """What can be had of a package in one month, kept by the database as `availability` changes, in its transaction.

    `month` is its first day; both arrays have 31 elements. `prices` holds what one unit costs on each day on which one
    can be had right now, and nothing for the others; `min_nights` each day's own minimum, and is empty when none has
    one. The key's index has them all, so that a month is read from it alone, in the order of the packages.
    """

    __tablename__ = "stock_months"
    __table_args__ = (
        CheckConstraint("extract(day FROM month) = 1", name="month"),
        CheckConstraint(
            "cardinality(prices) = 31 AND (min_nights IS NULL OR cardinality(min_nights) = 31)", name="days"
        ),
    )

    month: Mapped[date] = mapped_column(primary_key=True)
    package_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("packages.id"), primary_key=True)
    prices: Mapped[list[int | None]] = mapped_column(ARRAY(BigInteger))
    min_nights: Mapped[list[int | None] | None] = mapped_column(ARRAY(Integer))


class PackageChange(Model):
    """A package of which something has changed that it is found by, as the database noted it in the same transaction.

    There is one for each time, without any key to wait for: writers don't hinder each other. Search takes them.
    """

    __tablename__ = "package_changes"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    package_id: Mapped[int] = mapped_column(BigInteger)
    changed_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
