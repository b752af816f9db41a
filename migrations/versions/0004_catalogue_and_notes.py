"""Days of the catalogue with rules of their own, and notes on bookings."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("availability", sa.Column("min_nights", sa.Integer(), nullable=True))
    op.add_column("availability", sa.Column("closed", sa.Boolean(), server_default="false", nullable=False))
    op.execute("ALTER TABLE availability ADD CONSTRAINT ck_availability_min_nights CHECK (min_nights > 0) NOT VALID")
    op.create_table(
        "booking_notes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("booking_id", sa.BigInteger(), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("length(body) BETWEEN 1 AND 4000", name=op.f("ck_booking_notes_body")),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("fk_booking_notes_author_id")),
        sa.ForeignKeyConstraint(["booking_id"], ["bookings.id"], name=op.f("fk_booking_notes_booking_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_booking_notes")),
    )
    op.create_index("ix_booking_notes_booking_id", "booking_notes", ["booking_id", "id"], unique=False)
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT, INSERT ON booking_notes TO {app_role}")
    op.execute(f"GRANT USAGE ON SEQUENCE booking_notes_id_seq TO {app_role}")


def downgrade() -> None:
    op.drop_table("booking_notes")
    op.drop_constraint(op.f("ck_availability_min_nights"), "availability", type_="check")
    op.drop_column("availability", "closed")
    op.drop_column("availability", "min_nights")
