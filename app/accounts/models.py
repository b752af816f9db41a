"""People, their roles, and what keeps them signed in: console sessions and API refresh tokens."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, FetchedValue, ForeignKey, Identity, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.extensions import Model, words_index

ROLES = ("support", "moderator", "finance", "admin")


class User(Model):
    """A person with an e-mail address: a traveller, and staff when they hold a role."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("email = lower(email)", name="email_lower"),
        words_index("users", "email"),
        words_index("users", "name"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    password_hash: Mapped[str]
    is_active: Mapped[bool] = mapped_column(default=True, server_default="true")
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    staff_roles: Mapped[list[StaffRole]] = relationship(
        lazy="selectin", order_by="StaffRole.role", cascade="all, delete-orphan"
    )

    @property
    def roles(self) -> frozenset[str]:
        """The staff roles this person holds; empty for a traveller."""
        return frozenset(held.role for held in self.staff_roles)


class StaffRole(Model):
    """One role that one person holds."""

    __tablename__ = "staff_roles"
    __table_args__ = (CheckConstraint("role IN (" + ", ".join(f"'{role}'" for role in ROLES) + ")", name="role"),)

    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)


class StaffSession(Model):
    """One browser signed in to the console; the cookie holds the token, the row only its hash, so it can be revoked."""

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
