"""Who of staff is looking at which item of a queue."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "claims",
        sa.Column("object_type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_claims_user_id")),
        sa.PrimaryKeyConstraint("object_type", "object_id", name=op.f("pk_claims")),
    )
    op.create_index("ix_claims_user_id", "claims", ["user_id", "object_type"], unique=False)
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON claims TO {app_role}")


def downgrade() -> None:
    op.drop_table("claims")
