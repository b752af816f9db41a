"""Indexes that the headers of lists sort by, and the views of lists that people save."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0011"
down_revision = "0010"

# Each is followed by the id: rows that are alike have an order too, and a page begins after one of them.
SORTED = (
    ("bookings", "created_at"),
    ("bookings", "starts_on"),
    ("payments", "created_at"),
    ("payments", "amount_minor"),
    ("webhook_events", "received_at"),
    ("providers", "name"),
    ("providers", "created_at"),
    ("packages", "name"),
    ("packages", "price_minor"),
    ("users", "name"),
    ("users", "created_at"),
    ("notifications", "created_at"),
)


def upgrade() -> None:
    # Beside running writes; what failed halfway is run again.
    with op.get_context().autocommit_block():
        for table, column in SORTED:
            op.create_index(
                f"ix_{table}_{column}",
                table,
                [column, "id"],
                unique=False,
                postgresql_concurrently=True,
                if_not_exists=True,
            )
    op.create_table(
        "saved_views",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("page", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 60", name=op.f("ck_saved_views_name")),
        sa.CheckConstraint("length(query) <= 2000", name=op.f("ck_saved_views_query")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_saved_views_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_views")),
        sa.UniqueConstraint("user_id", "page", "name", name=op.f("uq_saved_views_user_id_page_name")),
    )
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON saved_views TO {app_role}")
    op.execute(f"GRANT USAGE ON SEQUENCE saved_views_id_seq TO {app_role}")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for table, column in SORTED:
            op.drop_index(f"ix_{table}_{column}", table_name=table, if_exists=True, postgresql_concurrently=True)
    op.drop_table("saved_views")
