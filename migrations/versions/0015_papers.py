"""What providers have to show before they are verified: the checklist as far as it was decided, and the documents."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0015"
down_revision = "0014"

# The items that there were when this was written. Whoever was verified by then was verified without them, and stays so.
_ITEMS = ("legal_name", "proof_of_registration", "identity", "bank_account", "insurance", "tour_licence")


def upgrade() -> None:
    op.create_table(
        "provider_checks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("provider_id", sa.BigInteger(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="OPEN", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("decided_by_id", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('OPEN', 'ACCEPTED', 'REFUSED')", name=op.f("ck_provider_checks_status")),
        sa.CheckConstraint("(status = 'OPEN') = (decided_at IS NULL)", name=op.f("ck_provider_checks_decided")),
        sa.CheckConstraint(
            "status = 'ACCEPTED' OR (status = 'REFUSED') = (reason IS NOT NULL)", name=op.f("ck_provider_checks_reason")
        ),
        sa.ForeignKeyConstraint(["provider_id"], ["providers.id"], name=op.f("fk_provider_checks_provider_id")),
        sa.ForeignKeyConstraint(["decided_by_id"], ["users.id"], name=op.f("fk_provider_checks_decided_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_checks")),
        sa.UniqueConstraint("provider_id", "item", name=op.f("uq_provider_checks_provider_id_item")),
    )
    op.create_table(
        "provider_documents",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("provider_id", sa.BigInteger(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="CURRENT", nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("storage_key", "file_name", "content_type")),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=True),
        sa.Column("uploaded_by_id", sa.BigInteger(), nullable=True),
        sa.Column("uploaded_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("removal_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("status IN ('CURRENT', 'REPLACED', 'REMOVED')", name=op.f("ck_provider_documents_status")),
        sa.CheckConstraint("size > 0", name=op.f("ck_provider_documents_size")),
        sa.CheckConstraint(
            "(status = 'REMOVED') = (removal_reason IS NOT NULL)", name=op.f("ck_provider_documents_removed")
        ),
        sa.ForeignKeyConstraint(["provider_id"], ["providers.id"], name=op.f("fk_provider_documents_provider_id")),
        sa.ForeignKeyConstraint(["uploaded_by_id"], ["users.id"], name=op.f("fk_provider_documents_uploaded_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_documents")),
        sa.UniqueConstraint("storage_key", name=op.f("uq_provider_documents_storage_key")),
    )
    is_current = sa.text("status = 'CURRENT'")
    op.create_index("ix_provider_documents_provider_id", "provider_documents", ["provider_id", "id"])
    op.create_index(
        "uq_provider_documents_current",
        "provider_documents",
        ["provider_id", "item"],
        unique=True,
        postgresql_where=is_current,
    )
    op.create_index(
        "ix_provider_documents_expires_on", "provider_documents", ["expires_on"], postgresql_where=is_current
    )
    op.execute(
        "INSERT INTO provider_checks (provider_id, item, status, reason, decided_at)"
        " SELECT id, item, 'ACCEPTED', 'Verified before there was a checklist.', now()"
        f" FROM providers CROSS JOIN unnest(ARRAY{list(_ITEMS)}) AS item"  # nosec B608 - our own names
        " WHERE status IN ('VERIFIED', 'SUSPENDED')"
    )
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON provider_checks, provider_documents TO {app_role}")
    op.execute(f"GRANT USAGE ON SEQUENCE provider_checks_id_seq, provider_documents_id_seq TO {app_role}")


def downgrade() -> None:
    op.drop_table("provider_documents")
    op.drop_table("provider_checks")
