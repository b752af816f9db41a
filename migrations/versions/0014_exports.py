"""Bulk runs that leave a file: how long it is kept, and where in it the part of a chunk stands."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

IDS = ("ids", "done", "undone")


def upgrade() -> None:
    for column in ("file_until", "file_deleted_at"):
        op.add_column("bulks", sa.Column(column, sa.DateTime(timezone=True), nullable=True), if_not_exists=True)
    op.add_column(
        "bulk_chunks", sa.Column("place", sa.Integer(), server_default="0", nullable=False), if_not_exists=True
    )
    # To compress ids, which hardly get shorter, takes longer than everything else about keeping a million of them.
    for column in IDS:
        op.execute(f"ALTER TABLE bulk_chunks ALTER COLUMN {column} SET STORAGE EXTERNAL")
    # Beside running writes; what failed halfway is run again.
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_bulks_file_until",
            "bulks",
            ["file_until"],
            unique=False,
            postgresql_where=sa.text("file_until IS NOT NULL AND file_deleted_at IS NULL"),
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def downgrade() -> None:
    op.drop_index("ix_bulks_file_until", table_name="bulks")
    for column in IDS:
        op.execute(f"ALTER TABLE bulk_chunks ALTER COLUMN {column} SET STORAGE EXTENDED")
    op.drop_column("bulk_chunks", "place")
    op.drop_column("bulks", "file_deleted_at")
    op.drop_column("bulks", "file_until")
