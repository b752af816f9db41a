"""Bulk runs: what is to be done to many rows, the chunks that they are frozen into, and what became of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "bulks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("arguments", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), server_default="PREPARED", nullable=False),
        sa.Column("by_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("retry_of_id", sa.BigInteger(), nullable=True),
        *(
            sa.Column(count, sa.Integer(), server_default="0", nullable=False)
            for count in ("total", "done", "skipped", "failures", "undone", "kept")
        ),
        sa.Column("ended_because", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('PREPARED', 'RUNNING', 'DONE', 'CANCELLED', 'FAILED', 'UNDOING', 'UNDONE')",
            name=op.f("ck_bulks_status"),
        ),
        sa.CheckConstraint(
            "done + skipped + failures <= total AND undone + kept <= done", name=op.f("ck_bulks_counts")
        ),
        sa.ForeignKeyConstraint(["by_id"], ["users.id"], name=op.f("fk_bulks_by_id")),
        sa.ForeignKeyConstraint(["retry_of_id"], ["bulks.id"], name=op.f("fk_bulks_retry_of_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulks")),
        sa.UniqueConstraint("retry_of_id", name=op.f("uq_bulks_retry_of_id")),
    )
    op.create_index("ix_bulks_due_at", "bulks", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))
    op.create_index("ix_bulks_by_id", "bulks", ["by_id", "id"])
    op.create_table(
        "bulk_chunks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("bulk_id", sa.BigInteger(), nullable=False),
        sa.Column("ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("done", postgresql.ARRAY(sa.BigInteger()), server_default="{}", nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("undone", postgresql.ARRAY(sa.BigInteger()), server_default="{}", nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["bulk_id"], ["bulks.id"], name=op.f("fk_bulk_chunks_bulk_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_chunks")),
    )
    op.create_index("ix_bulk_chunks_bulk_id", "bulk_chunks", ["bulk_id", "id"])
    op.create_table(
        "bulk_problems",
        sa.Column("bulk_id", sa.BigInteger(), nullable=False),
        sa.Column("row_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("outcome IN ('SKIPPED', 'FAILED', 'KEPT')", name=op.f("ck_bulk_problems_outcome")),
        sa.ForeignKeyConstraint(["bulk_id"], ["bulks.id"], name=op.f("fk_bulk_problems_bulk_id")),
        sa.PrimaryKeyConstraint("bulk_id", "row_id", name=op.f("pk_bulk_problems")),
    )
    op.create_index("ix_bulk_problems_outcome", "bulk_problems", ["bulk_id", "outcome", "row_id"])
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON bulks, bulk_chunks TO {app_role}")
    op.execute(f"GRANT SELECT, INSERT ON bulk_problems TO {app_role}")
    op.execute(f"GRANT USAGE ON SEQUENCE bulks_id_seq, bulk_chunks_id_seq TO {app_role}")


def downgrade() -> None:
    op.drop_table("bulk_problems")
    op.drop_table("bulk_chunks")
    op.drop_table("bulks")
