"""Imports of catalogues in the console: the file, how far it is, its rejected rows, and kept choices of columns."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "imports",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("status", sa.Text(), server_default="UPLOADING", nullable=False),
        sa.Column("by_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.BigInteger(), nullable=True),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("file_key", sa.Text(), nullable=True),
        sa.Column("file_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_rows", sa.Integer(), nullable=False),
        sa.Column("headings", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("samples", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("columns", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("defaults", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("currency", sa.Text(), server_default="USD", nullable=False),
        sa.Column("rate", sa.Numeric(), server_default="1", nullable=False),
        *(
            sa.Column(count, sa.Integer(), server_default="0", nullable=False)
            for count in ("created", "updated", "unchanged", "rejected")
        ),
        sa.Column("dry_run", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("ended_because", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('UPLOADING', 'UPLOADED', 'CHECKING', 'CHECKED', 'RUNNING', 'DONE', 'CANCELLED', 'FAILED')",
            name=op.f("ck_imports_status"),
        ),
        sa.CheckConstraint(
            "created >= 0 AND updated >= 0 AND unchanged >= 0 AND rejected >= 0"
            " AND created + updated + unchanged + rejected <= file_rows",
            name=op.f("ck_imports_counts"),
        ),
        sa.CheckConstraint("rate > 0", name=op.f("ck_imports_rate")),
        sa.ForeignKeyConstraint(["by_id"], ["users.id"], name=op.f("fk_imports_by_id")),
        sa.ForeignKeyConstraint(["provider_id"], ["providers.id"], name=op.f("fk_imports_provider_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    op.create_index("ix_imports_due_at", "imports", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))
    op.create_index("ix_imports_file_key", "imports", ["created_at"], postgresql_where=sa.text("file_key IS NOT NULL"))
    op.create_index(
        "uq_imports_running",
        "imports",
        [sa.text("coalesce(provider_id, 0)")],
        unique=True,
        postgresql_where=sa.text("status = 'RUNNING'"),
    )
    op.create_table(
        "import_rejections",
        sa.Column("import_id", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("faults", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_import_rejections_import_id")),
        sa.PrimaryKeyConstraint("import_id", "line", name=op.f("pk_import_rejections")),
    )
    op.create_table(
        "import_mappings",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("columns", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("defaults", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("rate", sa.Numeric(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("saved_by_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 60", name=op.f("ck_import_mappings_name")),
        sa.ForeignKeyConstraint(["saved_by_id"], ["users.id"], name=op.f("fk_import_mappings_saved_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_mappings")),
        sa.UniqueConstraint("name", name=op.f("uq_import_mappings_name")),
    )
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON imports TO {app_role}")
    op.execute(f"GRANT SELECT, INSERT, DELETE ON import_rejections TO {app_role}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON import_mappings TO {app_role}")
    op.execute(f"GRANT USAGE ON SEQUENCE imports_id_seq, import_mappings_id_seq TO {app_role}")


def downgrade() -> None:
    op.drop_table("import_mappings")
    op.drop_table("import_rejections")
    op.drop_table("imports")
