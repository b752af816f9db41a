"""Bulk runs that leave a file: how long it is kept, and where in it the part of a chunk stands."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("bulks", sa.Column("file_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("bulks", sa.Column("file_deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("bulk_chunks", sa.Column("place", sa.Integer(), server_default="0", nullable=False))
    # To compress ids, which hardly get shorter, takes longer than everything else about keeping a million of them.
    for column in ("ids", "done", "undone"):
        op.execute(f"ALTER TABLE bulk_chunks ALTER COLUMN {column} SET STORAGE EXTERNAL")
    op.create_index(
        "ix_bulks_file_until",
        "bulks",
        ["file_until"],
        postgresql_where=sa.text("file_until IS NOT NULL AND file_deleted_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_bulks_file_until", table_name="bulks")
    for column in ("ids", "done", "undone"):
        op.execute(f"ALTER TABLE bulk_chunks ALTER COLUMN {column} SET STORAGE EXTENDED")
    op.drop_column("bulk_chunks", "place")
    op.drop_column("bulks", "file_deleted_at")
    op.drop_column("bulks", "file_until")
