"""Bulk runs that leave a file: how long it is kept, and where in it the part of a chunk stands."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

IDS = ("ids", "done", "undone")


def upgrade() -> None:
    op.add_column("bulks", sa.Column("file_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("bulks", sa.Column("file_deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("bulk_chunks", sa.Column("place", sa.Integer(), server_default="0", nullable=False))
    # To compress ids, which hardly get shorter, takes longer than everything else about keeping a million of them.
    for column in IDS:
        op.execute(f"ALTER TABLE bulk_chunks ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade() -> None:
    for column in IDS:
        op.execute(f"ALTER TABLE bulk_chunks ALTER COLUMN {column} SET STORAGE EXTENDED")
    op.drop_column("bulk_chunks", "place")
    op.drop_column("bulks", "file_deleted_at")
    op.drop_column("bulks", "file_until")
