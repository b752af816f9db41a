"""Sums by day of the ledger, of revenue and of what happened, with the mark that each has come to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0023"
down_revision = "0022"

SUMS = ("ledger_days", "revenue_days", "activity_days")


def upgrade() -> None:
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.create_table(
        "rollups",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("settled_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rollups")),
    )
    op.create_table(
        "ledger_days",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("debit_minor", sa.BigInteger(), nullable=False),
        sa.Column("credit_minor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["ledger_accounts.code"], name=op.f("fk_ledger_days_account")),
        sa.PrimaryKeyConstraint("account", "currency", "day", name=op.f("pk_ledger_days")),
    )
    op.create_table(
        "revenue_days",
        sa.Column("dimension", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("gross_minor", sa.BigInteger(), nullable=False),
        sa.Column("refunds_minor", sa.BigInteger(), nullable=False),
        sa.Column("chargebacks_minor", sa.BigInteger(), nullable=False),
        sa.Column("commission_minor", sa.BigInteger(), nullable=False),
        sa.Column("fees_minor", sa.BigInteger(), nullable=False),
        sa.Column("captures", sa.BigInteger(), nullable=False),
        sa.Column("refunds", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("dimension IN ('all', 'type', 'place', 'provider')", name=op.f("ck_revenue_days_dimension")),
        sa.PrimaryKeyConstraint("dimension", "day", "key", "currency", name=op.f("pk_revenue_days")),
    )
    op.create_index("ix_revenue_days_key", "revenue_days", ["dimension", "key", "day"], unique=False)
    op.create_table(
        "activity_days",
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("action", "day", "detail", name=op.f("pk_activity_days")),
    )
    # Nothing is added up here: the job does that, a month at a time, and until then the rows are read as before.
    for table in SUMS:
        op.execute(f"INSERT INTO rollups (name, settled_until) VALUES ('{table}', '1970-01-01 00:00:00+00')")
    op.execute(f"GRANT SELECT, UPDATE ON rollups TO {app_role}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(SUMS)} TO {app_role}")


def downgrade() -> None:
    for table in reversed(("rollups", *SUMS)):
        op.drop_table(table)
