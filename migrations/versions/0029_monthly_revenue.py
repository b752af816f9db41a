"""Sums of revenue by month, for what is told apart by provider; the account that corrections went to is not used."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0029"
down_revision = "0026"


def upgrade() -> None:
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.create_table(
        "revenue_months",
        sa.Column("dimension", sa.Text(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("gross_minor", sa.BigInteger(), nullable=False),
        sa.Column("refunds_minor", sa.BigInteger(), nullable=False),
        sa.Column("chargebacks_minor", sa.BigInteger(), nullable=False),
        sa.Column("commission_minor", sa.BigInteger(), nullable=False),
        sa.Column("fees_minor", sa.BigInteger(), nullable=False),
        sa.Column("captures", sa.BigInteger(), nullable=False),
        sa.Column("refunds", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "dimension IN ('all', 'type', 'place', 'provider')", name=op.f("ck_revenue_months_dimension")
        ),
        sa.PrimaryKeyConstraint("dimension", "month", "key", "currency", name=op.f("pk_revenue_months")),
    )
    # As with the days, the job adds up what there is so far.
    op.execute("INSERT INTO rollups (name, settled_until) VALUES ('revenue_months', '1970-01-01 00:00:00+00')")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON revenue_months TO {app_role}")
    op.execute(
        "DELETE FROM ledger_accounts WHERE code = 'suspense' AND NOT EXISTS ("
        " SELECT FROM ledger_entries WHERE 'suspense' IN (debit_account, credit_account))"
    )


def downgrade() -> None:
    op.execute(
        "INSERT INTO ledger_accounts (code, name, kind) VALUES ('suspense', 'Suspense', 'liability')"
        " ON CONFLICT DO NOTHING"
    )
    op.execute("DELETE FROM rollups WHERE name = 'revenue_months'")
    op.drop_table("revenue_months")
