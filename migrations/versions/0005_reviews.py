"""Reviews, one a booking; and the index by which the audit trail is sealed in the order that its transactions began."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    # First, as it ends the transaction that is open; what follows has one of its own again.
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_audit_entries_transaction_id",
            "audit_entries",
            ["transaction_id", "id"],
            unique=False,
            if_not_exists=True,
            postgresql_concurrently=True,
        )
    op.create_table(
        "reviews",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("booking_id", sa.BigInteger(), nullable=False),
        sa.Column("package_id", sa.BigInteger(), nullable=False),
        sa.Column("traveller_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), server_default="PENDING", nullable=False),
        sa.Column("rating", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("moderated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("moderation_reason", sa.Text(), nullable=True),
        sa.Column("moderation_notes", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('PENDING', 'APPROVED', 'REJECTED', 'WITHDRAWN')", name=op.f("ck_reviews_status")
        ),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name=op.f("ck_reviews_rating")),
        sa.ForeignKeyConstraint(["booking_id"], ["bookings.id"], name=op.f("fk_reviews_booking_id")),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_reviews_package_id")),
        sa.ForeignKeyConstraint(["traveller_id"], ["users.id"], name=op.f("fk_reviews_traveller_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        sa.UniqueConstraint("booking_id", name=op.f("uq_reviews_booking_id")),
    )
    op.create_index(
        "ix_reviews_package_id",
        "reviews",
        ["package_id", "id"],
        unique=False,
        postgresql_include=["rating"],
        postgresql_where=sa.text("status = 'APPROVED'"),
    )
    op.create_index("ix_reviews_status", "reviews", ["status", "id"], unique=False)
    op.create_index("ix_reviews_traveller_id", "reviews", ["traveller_id", "id"], unique=False)
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON reviews TO {app_role}")
    op.execute(f"GRANT USAGE ON SEQUENCE reviews_id_seq TO {app_role}")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(
            "ix_audit_entries_transaction_id",
            table_name="audit_entries",
            if_exists=True,
            postgresql_concurrently=True,
        )
    op.drop_table("reviews")
