"""People, their roles, how they prove who they are, and what keeps them signed in: console sessions and API refresh
tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    FetchedValue,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.extensions import Model, words_index
from app.queue import Outbox

ROLES = ("support", "moderator", "finance", "admin")
LINK_PURPOSES = ("password_reset", "staff_invitation", "verify_email")
THROTTLE_SCOPES = ("address", "email", "pair")


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN (" + ", ".join(f"'{value}'" for value in values) + ")", name=column)


class User(Model):
    """A person with an e-mail address: a traveller, and staff when they hold a role.

    Without a password until an invitation is accepted; `two_factor_since` says that signing in takes a second factor.
    """

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("email = lower(email)", name="email_lower"),
        words_index("users", "email"),
        words_index("users", "name"),
        Index("ix_users_name", "name", "id"),
        Index("ix_users_created_at", "created_at", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    password_hash: Mapped[str | None]
    is_active: Mapped[bool] = mapped_column(default=True, server_default="true")
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    email_verified_at: Mapped[datetime | None]
    two_factor_since: Mapped[datetime | None]
    staff_roles: Mapped[list[StaffRole]] = relationship(
        lazy="selectin", order_by="StaffRole.role", cascade="all, delete-orphan"
    )

    @property
    def roles(self) -> frozenset[str]:
        """The staff roles this person holds; empty for a traveller."""
        return frozenset(held.role for held in self.staff_roles)


@dataclass(frozen=True)
class StaffMember:
    """Who is behind a live console session, as every request reads them."""

    id: int
    email: str
    name: str
    roles: frozenset[str]
    two_factor_since: datetime | None


class StaffRole(Model):
    """One role that one person holds."""

    __tablename__ = "staff_roles"
    __table_args__ = (_one_of("role", ROLES),)

    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)


class StaffSession(Model):
    """One browser signed in to the console; the cookie holds the token, the row only its hash, so it can be revoked.

    `needs_code` while the password was right and the second factor is still to come; `proven_at` is when the person
    last showed that it is them.
    """

    __tablename__ = "staff_sessions"
    __table_args__ = (Index("ix_staff_sessions_user_id", "user_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    last_seen_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    address: Mapped[str | None]
    user_agent: Mapped[str | None]
    needs_code: Mapped[bool] = mapped_column(default=False, server_default="false")
    proven_at: Mapped[datetime | None]


class RefreshToken(Model):
    """One link of a family of refresh tokens: using it makes the next; using it twice ends the family."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (Index("ix_refresh_tokens_family", "family"), Index("ix_refresh_tokens_user_id", "user_id"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    family: Mapped[UUID]
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class TwoFactor(Model):
    """A person's authenticator app; in use once `users.two_factor_since` is set. `last_step` is the time step of the
    code accepted last, so that none is accepted twice.
    """

    __tablename__ = "two_factors"

    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"), primary_key=True)
    encrypted_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    last_step: Mapped[int | None] = mapped_column(BigInteger)


class RecoveryCode(Model):
    """One of the codes that stand in once for a lost authenticator app; replaced codes count as used."""

    __tablename__ = "recovery_codes"
    __table_args__ = (Index("ix_recovery_codes_user_id", "user_id", postgresql_where=text("used_at IS NULL")),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    code_hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    used_at: Mapped[datetime | None]


class AccountLink(Model):
    """A link that was mailed to a person and works once, for one purpose, until it expires."""

    __tablename__ = "account_links"
    __table_args__ = (_one_of("purpose", LINK_PURPOSES), Index("ix_account_links_user_id", "user_id", "purpose"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    purpose: Mapped[str]
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class SavedView(Model):
    """A list of the console as one person wants to see it again: its page, and what its address asked for."""

    __tablename__ = "saved_views"
    __table_args__ = (
        UniqueConstraint("user_id", "page", "name"),
        CheckConstraint("length(name) BETWEEN 1 AND 60", name="name"),
        CheckConstraint("length(query) <= 2000", name="query"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    page: Mapped[str]
    name: Mapped[str]
    query: Mapped[str]
    saved_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())


class PasswordResetRequest(Outbox):
    """Somebody asked to reset the password of an address, which may have no account: a job looks, so that asking takes
    equally long.
    """

    __tablename__ = "password_reset_requests"
    __table_args__ = (
        Index("ix_password_reset_requests_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_password_reset_requests_address", "address", "created_at"),
        Index("ix_password_reset_requests_email", "email", "created_at"),
    )
    JOB = "jobs.accounts.answer_password_reset_request"
    SWEEP = "jobs.sweeps.password_reset_requests"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    email: Mapped[str]
    address: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())


class SignInThrottle(Model):
    """Wrong sign-ins counted for an address, an e-mail address, or both together; the key is a hash of what it is for.

    `succeeded_at`, of a pair, makes this the person's usual address, which strangers can't block.
    """

    __tablename__ = "sign_in_throttles"
    __table_args__ = (_one_of("scope", THROTTLE_SCOPES), Index("ix_sign_in_throttles_changed_at", "changed_at"))

    scope: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    failed_at: Mapped[datetime | None]
    blocked_until: Mapped[datetime | None]
    succeeded_at: Mapped[datetime | None]
    changed_at: Mapped[datetime]


class Claim(Model):
    """Somebody of staff is looking at an item of a queue, `since` when; `seen_at` is their last sign of life there."""

    __tablename__ = "claims"
    __table_args__ = (Index("ix_claims_user_id", "user_id", "object_type"),)

    object_type: Mapped[str] = mapped_column(primary_key=True)
    object_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"))
    since: Mapped[datetime]
    seen_at: Mapped[datetime]
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class RecentRecord(Model):
    """A record of the console that one of the staff opened lately; `kind` is the page it has, as the app names it."""

    __tablename__ = "recent_records"

    person_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    opened_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
